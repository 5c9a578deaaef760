/* One safetensors file, read. */
#include "data/formats/safetensors.h"
#include "autograd/base/bfloat16.h"
#include "autograd/base/float16.h"
#include "autograd/base/float8.h"
#include "autograd/json/tree.h"
#include "data/formats/safetensors_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LENGTH_BYTES = 8, LONGEST_HEADER = 100000000 }; /* the reference implementation's limit */

/* The types of the format that fill whole bytes; those that are read come first, numbered as the enum. */
static const struct {
    const char *name;
    int bytes;
} types[] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1},
             {"F64", 8}, {"I64", 8},  {"U64", 8}, {"C64", 8},     {"I32", 4},     {"U32", 4},
             {"I16", 2}, {"U16", 2},  {"I8", 1},  {"U8", 1},      {"BOOL", 1}};
enum { TYPES = sizeof types / sizeof *types };

const char *mla_safetensors_type_name(mla_safetensors_type type) {
    return type < MLA_SAFETENSORS_OTHER ? types[type].name : "another type";
}

/* What is being read: one file and where its numbers begin. */
typedef struct {
    mla_safetensors *st;
    const char *path;
    const unsigned char *data;
    int64_t data_bytes;
} source;

static mla_status safetensors_refuse(const source *s, const char *tensor, const char *words) {
    return mla_fail(s->st->context, MLA_ERROR_FORMAT, "%s: tensor %s: %s", s->path, tensor, words);
}

/* ---- one entry of the header ---- */

/* A whole number of at least 0 in an array; -1 where it is none. */
static int64_t natural(const json_t *array, size_t i) {
    const json_t *item = json_array_get(array, i);
    return json_is_integer(item) && json_integer_value(item) >= 0 ? (int64_t)json_integer_value(item) : -1;
}

static mla_status read_type(const source *s, mla_safetensors_info *t, const json_t *entry, int *bytes) {
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    for (int i = 0; name && i < TYPES; i++) {
        if (strcmp(types[i].name, name)) continue;
        t->type = i < MLA_SAFETENSORS_OTHER ? (mla_safetensors_type)i : MLA_SAFETENSORS_OTHER;
        t->type_name = types[i].name;
        *bytes = types[i].bytes;
        return MLA_OK;
    }
    return mla_fail(s->st->context, MLA_ERROR_FORMAT,
                    "%s: tensor %s: dtype %.100s is not known; F32, BF16, F16, F8_E4M3 and F8_E5M2 are read", s->path,
                    t->name, name ? name : "(none)");
}

static mla_status read_shape(const source *s, mla_safetensors_info *t, const json_t *entry) {
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape)) return safetensors_refuse(s, t->name, "its shape is not a list of whole numbers");
    if (json_array_size(shape) > MLA_SAFETENSORS_MAX_DIMS)
        return safetensors_refuse(s, t->name, "it has more than 8 dimensions");
    t->ndim = (int)json_array_size(shape);
    t->count = 1;
    for (int i = 0; i < t->ndim; i++) {
        t->shape[i] = natural(shape, (size_t)i);
        if (t->shape[i] < 0) return safetensors_refuse(s, t->name, "its shape is not a list of whole numbers");
        if (__builtin_mul_overflow(t->count, t->shape[i], &t->count))
            return safetensors_refuse(s, t->name, "its shape is too large");
    }
    return MLA_OK;
}

static mla_status read_expected(const source *s, mla_safetensors_info *t, const json_t *entry, int bytes) {
    const json_t *offsets = json_object_get(entry, "data_offsets");
    int64_t size;
    t->begin = natural(offsets, 0);
    t->end = natural(offsets, 1);
    if (json_array_size(offsets) != 2 || t->begin < 0 || t->end < t->begin)
        return safetensors_refuse(s, t->name, "its data_offsets are not two whole numbers, begin and end");
    if (t->end > s->data_bytes)
        return mla_fail(s->st->context, MLA_ERROR_FORMAT,
                        "%s: tensor %s: its bytes %lld to %lld are not in the file, which has %lld; it was "
                        "cut short, or its "
                        "header is wrong",
                        s->path, t->name, (long long)t->begin, (long long)t->end, (long long)s->data_bytes);
    if (__builtin_mul_overflow(t->count, bytes, &size) || size != t->end - t->begin)
        return mla_fail(s->st->context, MLA_ERROR_FORMAT,
                        "%s: tensor %s: it has %lld bytes, but its shape has %lld elements of %s (%d bytes each)",
                        s->path, t->name, (long long)(t->end - t->begin), (long long)t->count, t->type_name, bytes);
    t->data = s->data + t->begin;
    return MLA_OK;
}

static mla_status read_entry(const source *s, const char *name, const json_t *entry) {
    mla_safetensors *st = s->st;
    int bytes = 0;
    mla_status status = mla_grow(st->context, &st->tensors, &st->capacity, st->count + 1, sizeof *st->tensors,
                                 "tensors");
    if (status) return status;
    mla_safetensors_info *t = &st->tensors[st->count];
    *t = (mla_safetensors_info){.name = strdup(name), .file = s->path};
    if (!t->name) return mla_fail(st->context, MLA_ERROR_MEMORY, "no memory for the tensors of %s", s->path);
    st->count++;
    if (!json_is_object(entry)) return safetensors_refuse(s, name, "its entry is not a JSON object");
    status = read_type(s, t, entry, &bytes);
    if (!status) status = read_shape(s, t, entry);
    return status ? status : read_expected(s, t, entry, bytes);
}

static mla_status read_metadata(const source *s, const json_t *metadata) {
    const char *key;
    json_t *value;
    bool good = json_is_object(metadata);
    json_object_foreach((json_t *)metadata, key, value) good = good && json_is_string(value);
    return good ? MLA_OK
                : mla_fail(s->st->context, MLA_ERROR_FORMAT, "%s: __metadata__ is not an object of strings", s->path);
}

/* ---- the whole header ---- */

static int by_expected(const void *a, const void *b) {
    const mla_safetensors_info *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Every byte belongs to one tensor. */
static mla_status check_layout(const source *s, mla_safetensors_info *tensors, int64_t count) {
    int64_t expected = 0;
    if (count) qsort(tensors, (size_t)count, sizeof *tensors, by_expected);
    for (int64_t i = 0; i < count; i++) {
        const mla_safetensors_info *t = &tensors[i];
        if (t->begin < expected)
            return mla_fail(s->st->context, MLA_ERROR_FORMAT,
                            "%s: tensors %s and %s overlap: one ends at byte %lld, the "
                            "other begins at %lld",
                            s->path, tensors[i - 1].name, t->name, (long long)expected, (long long)t->begin);
        if (t->begin > expected)
            return mla_fail(s->st->context, MLA_ERROR_FORMAT, "%s: bytes %lld to %lld before tensor %s belong to none",
                            s->path, (long long)expected, (long long)t->begin, t->name);
        expected = t->end;
    }
    if (expected == s->data_bytes) return MLA_OK;
    return mla_fail(s->st->context, MLA_ERROR_FORMAT, "%s: %lld bytes after the last tensor belong to none", s->path,
                    (long long)(s->data_bytes - expected));
}

static mla_status read_entries(const source *s, const json_t *header) {
    const int64_t first = s->st->count;
    const char *name;
    json_t *entry;
    mla_status status = MLA_OK;
    if (!json_is_object(header))
        return mla_fail(s->st->context, MLA_ERROR_FORMAT, "%s: its header is not a JSON object", s->path);
    json_object_foreach((json_t *)header, name, entry) {
        status = strcmp(name, "__metadata__") ? read_entry(s, name, entry) : read_metadata(s, entry);
        if (status) return status;
    }
    return check_layout(s, s->st->tensors + first, s->st->count - first);
}

static mla_status read_header(mla_safetensors *st, const char *path, const unsigned char *bytes, int64_t size) {
    char where[PATH_MAX + 32];
    uint64_t length = 0;
    json_t *header;
    if (size < LENGTH_BYTES)
        return mla_fail(st->context, MLA_ERROR_FORMAT, "%s: has %lld bytes, too few for a safetensors file", path,
                        (long long)size);
    for (int i = 0; i < LENGTH_BYTES; i++) length |= (uint64_t)bytes[i] << (8 * i);
    if (length > LONGEST_HEADER || (int64_t)length > size - LENGTH_BYTES)
        return mla_fail(st->context, MLA_ERROR_FORMAT,
                        "%s: its header should have %llu bytes, but the file has %lld and a header at most "
                        "%d; it was cut "
                        "short, or is no safetensors file",
                        path, (unsigned long long)length, (long long)size, LONGEST_HEADER);
    snprintf(where, sizeof where, "%s: its header: ", path);
    mla_status status = mla_json_read(st->context, where, (const char *)bytes + LENGTH_BYTES, (int64_t)length,
                                      MLA_JSON_UNIQUE, &header);
    if (status) return status;
    const int64_t start = LENGTH_BYTES + (int64_t)length;
    status = read_entries(&(source){st, path, bytes + start, size - start}, header);
    json_decref(header);
    return status;
}

/* ---- files ---- */

/* The name of a new part, which st frees. */
static mla_safetensors_part *add_part(mla_safetensors *st, const char *path) {
    if (mla_grow(st->context, &st->parts, &st->part_capacity, st->part_count + 1, sizeof *st->parts, "files"))
        return NULL;
    mla_safetensors_part *part = &st->parts[st->part_count];
    *part = (mla_safetensors_part){.path = strdup(path)};
    if (!part->path) {
        mla_fail(st->context, MLA_ERROR_MEMORY, "no memory for a path");
        return NULL;
    }
    st->part_count++;
    return part;
}

static mla_status map_file(mla_context *context, mla_safetensors_part *part) {
    struct stat info;
    mla_status status = MLA_OK;
    const int file = open(part->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return mla_fail(context, MLA_ERROR_IO, "cannot open %s: %s", part->path, strerror(errno));
    if (fstat(file, &info)) status = mla_fail(context, MLA_ERROR_IO, "cannot read %s: %s", part->path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = mla_fail(context, MLA_ERROR_FORMAT, "%s is not a regular file", part->path);
    else if (info.st_size > 0) {
        part->map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (part->map == MAP_FAILED) {
            part->map = NULL;
            status = mla_fail(context, MLA_ERROR_IO, "cannot map %s: %s", part->path, strerror(errno));
        } else part->size = (size_t)info.st_size;
    }
    close(file);
    return status;
}

mla_status mla_safetensors_add_file(mla_safetensors *st, const char *path) {
    mla_safetensors_part *part = add_part(st, path);
    if (!part) return mla_error_status(st->context);
    const mla_status status = map_file(st->context, part);
    return status ? status : read_header(st, part->path, part->map, (int64_t)part->size);
}

mla_status mla_safetensors_parse(mla_context *context, mla_safetensors **out, const char *name,
                                 const unsigned char *bytes, int64_t length) {
    mla_safetensors *st = *out = mla_alloc(context, 1, sizeof *st, name);
    if (!st) return MLA_ERROR_MEMORY;
    st->context = context;
    mla_safetensors_part *part = add_part(st, name);
    mla_status status = part ? read_header(st, part->path, bytes, length) : MLA_ERROR_MEMORY;
    if (!status) status = mla_safetensors_sort(st);
    if (status) {
        mla_safetensors_close(st);
        *out = NULL;
    }
    return status;
}

void mla_safetensors_close(mla_safetensors *st) {
    if (!st) return;
    for (int64_t i = 0; i < st->count; i++) free(st->tensors[i].name);
    for (int64_t i = 0; i < st->part_count; i++) {
        if (st->parts[i].map) munmap(st->parts[i].map, st->parts[i].size);
        free(st->parts[i].path);
    }
    free(st->tensors);
    free(st->parts);
    free(st);
}

/* ---- tensors ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const mla_safetensors_info *)a)->name, ((const mla_safetensors_info *)b)->name);
}

mla_status mla_safetensors_sort(mla_safetensors *st) {
    const mla_safetensors_info *t = st->tensors;
    if (st->count) qsort(st->tensors, (size_t)st->count, sizeof *t, by_name);
    for (int64_t i = 1; i < st->count; i++)
        if (!strcmp(t[i].name, t[i - 1].name))
            return mla_fail(st->context, MLA_ERROR_FORMAT, "tensor %s is in two shards, %s and %s; it must be in one",
                            t[i].name, t[i - 1].file, t[i].file);
    return MLA_OK;
}

int64_t mla_safetensors_count(const mla_safetensors *st) { return st->count; }
const mla_safetensors_info *mla_safetensors_at(const mla_safetensors *st, int64_t i) { return &st->tensors[i]; }

const mla_safetensors_info *mla_safetensors_find(const mla_safetensors *st, const char *name) {
    const mla_safetensors_info key = {.name = (char *)(uintptr_t)name};
    return st->count ? bsearch(&key, st->tensors, (size_t)st->count, sizeof key, by_name) : NULL;
}

static void widen_bytes(const unsigned char *data, int64_t count, float (*convert)(uint8_t), float *out) {
    for (int64_t i = 0; i < count; i++) out[i] = convert(data[i]);
}

static void widen(const unsigned char *data, int64_t count, float (*convert)(uint16_t), float *out) {
    for (int64_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, data + 2 * i, sizeof bits);
        out[i] = convert(bits);
    }
}

mla_status mla_safetensors_read(const mla_safetensors *st, const mla_safetensors_info *t, float *out) {
    switch (t->type) {
    case MLA_SAFETENSORS_F32: memcpy(out, t->data, (size_t)t->count * sizeof *out); return MLA_OK;
    case MLA_SAFETENSORS_BF16: widen(t->data, t->count, mla_bf16_to_float, out); return MLA_OK;
    case MLA_SAFETENSORS_F16: widen(t->data, t->count, mla_f16_to_float, out); return MLA_OK;
    case MLA_SAFETENSORS_F8_E4M3: widen_bytes(t->data, t->count, mla_f8_e4m3_to_float, out); return MLA_OK;
    case MLA_SAFETENSORS_F8_E5M2: widen_bytes(t->data, t->count, mla_f8_e5m2_to_float, out); return MLA_OK;
    case MLA_SAFETENSORS_F8_E8M0: widen_bytes(t->data, t->count, mla_f8_e8m0_to_float, out); return MLA_OK;
    case MLA_SAFETENSORS_OTHER: break;
    }
    return mla_fail(st->context, MLA_ERROR_FORMAT,
                    "%s: tensor %s: numbers of type %s are not supported; F32, BF16, F16, F8_E4M3 and F8_E5M2 are",
                    t->file, t->name, t->type_name);
}
