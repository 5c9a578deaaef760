/* safetensors files, written. */
#include "autograd/base/atomic_file.h"
#include "autograd/base/bfloat16.h"
#include "autograd/base/file.h"
#include "autograd/base/float16.h"
#include "data/formats/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 14, ALIGNMENT = 8, LONGEST_PATH = PATH_MAX };

static int64_t element_bytes(mla_safetensors_type type) { return type == MLA_SAFETENSORS_F32 ? 4 : 2; }

static int64_t count_of(const mla_safetensors_item *item) {
    int64_t count = 1;
    for (int i = 0; i < item->ndim; i++) count *= item->shape[i];
    return count;
}

static int64_t bytes_of(const mla_safetensors_item *item, mla_safetensors_type type) {
    return count_of(item) * element_bytes(type);
}

/* ---- the header ---- */

static json_t *entry_of(const mla_safetensors_item *item, mla_safetensors_type type, int64_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < item->ndim; i++) json_array_append_new(shape, json_integer(item->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", mla_safetensors_type_name(type), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + bytes_of(item, type)));
}

static json_t *header_of(mla_safetensors_type type, const mla_safetensors_item *items, int64_t count) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    int64_t begin = 0;
    for (int64_t i = 0; header && i < count; i++) {
        if (json_object_set_new(header, items[i].name, entry_of(&items[i], type, begin))) {
            json_decref(header);
            return NULL;
        }
        begin += bytes_of(&items[i], type);
    }
    return header;
}

/* The length, the JSON, and spaces so that the numbers are aligned. */
static bool write_header(FILE *file, const char *text) {
    const size_t length = strlen(text), padding = (ALIGNMENT - length % ALIGNMENT) % ALIGNMENT;
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)(length + padding) >> (8 * i));
    return fwrite(bytes, 1, sizeof bytes, file) == sizeof bytes && fwrite(text, 1, length, file) == length &&
           fprintf(file, "%*s", (int)padding, "") == (int)padding;
}

/* ---- the numbers ---- */

typedef struct {
    mla_context *context;
    const char *path; /* of the temporary file */
    FILE *file;
    mla_safetensors_type type;
} sink;

static mla_status safetensors_write_failed(const sink *s) {
    return mla_fail(s->context, MLA_ERROR_IO, "cannot write %s: %s", s->path, strerror(errno));
}

static mla_status too_large(const sink *s, const mla_safetensors_item *item, int64_t i) {
    return mla_fail(s->context, MLA_ERROR_NUMERIC,
                    "%s: tensor %s: element %lld, %g, is too large for %s; write F32 or BF16", s->path, item->name,
                    (long long)i, (double)item->values[i], mla_safetensors_type_name(s->type));
}

static mla_status write_halves(const sink *s, const mla_safetensors_item *item) {
    const int64_t count = count_of(item);
    const bool brain = s->type == MLA_SAFETENSORS_BF16;
    uint16_t piece[PIECE];
    for (int64_t first = 0; first < count; first += PIECE) {
        const int64_t n = count - first < PIECE ? count - first : PIECE;
        for (int64_t i = 0; i < n; i++) {
            const float value = item->values[first + i];
            piece[i] = brain ? mla_bf16_from_float(value) : mla_f16_from_float(value);
            const float again = brain ? mla_bf16_to_float(piece[i]) : mla_f16_to_float(piece[i]);
            if (isinf(again) && !isinf(value)) return too_large(s, item, first + i);
        }
        if (fwrite(piece, sizeof *piece, (size_t)n, s->file) != (size_t)n) return safetensors_write_failed(s);
    }
    return MLA_OK;
}

static mla_status write_numbers(const sink *s, const mla_safetensors_item *item) {
    const size_t count = (size_t)count_of(item);
    if (s->type != MLA_SAFETENSORS_F32) return write_halves(s, item);
    return fwrite(item->values, sizeof(float), count, s->file) == count ? MLA_OK : safetensors_write_failed(s);
}

/* ---- one file ---- */

static mla_status write_file(const sink *s, const char *header, const mla_safetensors_item *items, int64_t count) {
    mla_status status = write_header(s->file, header) ? MLA_OK : safetensors_write_failed(s);
    for (int64_t i = 0; i < count && !status; i++) status = write_numbers(s, &items[i]);
    return status;
}

static mla_status write_temporary(mla_context *context, const char *path, const char *header, mla_safetensors_type type,
                                  const mla_safetensors_item *items, int64_t count) {
    sink s = {context, path, fopen(path, "wbe"), type};
    if (!s.file) return safetensors_write_failed(&s);
    mla_status status = write_file(&s, header, items, count);
    if (fclose(s.file) && !status) status = safetensors_write_failed(&s);
    return status;
}

mla_status mla_safetensors_write(mla_context *context, const char *path, mla_safetensors_type type,
                                 const mla_safetensors_item *items, int64_t count) {
    char temporary[LONGEST_PATH];
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= LONGEST_PATH)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: the path is too long", path);
    json_t *header = header_of(type, items, count);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text)
        return mla_fail(context, MLA_ERROR_MEMORY, "%s: no memory for the header, or a name that is not UTF-8", path);
    mla_status status = write_temporary(context, temporary, text, type, items, count);
    if (!status) status = mla_replace(context, temporary, path, (mla_step_hook){0});
    if (status) unlink(temporary);
    free(text);
    return status;
}

/* ---- a model, in shards ---- */

/* How many of the items the next shard takes: at least one. */
static int64_t take(mla_safetensors_type type, const mla_safetensors_item *items, int64_t count, int64_t shard_bytes) {
    int64_t taken = 1, bytes = bytes_of(items, type);
    while (taken < count && bytes + bytes_of(&items[taken], type) <= shard_bytes)
        bytes += bytes_of(&items[taken++], type);
    return taken;
}

static int64_t shards_of(mla_safetensors_type type, const mla_safetensors_item *items, int64_t count,
                         int64_t shard_bytes) {
    int64_t shards = 0;
    for (int64_t first = 0; first < count; shards++) first += take(type, items + first, count - first, shard_bytes);
    return shards;
}

static void shard_name(char name[64], int64_t i, int64_t shards) {
    if (shards > 1) snprintf(name, 64, "model-%05lld-of-%05lld.safetensors", (long long)i + 1, (long long)shards);
    else snprintf(name, 64, "model.safetensors");
}

static mla_status write_index(mla_context *context, const char *folder, int64_t total, json_t *map) {
    char path[LONGEST_PATH];
    json_t *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = index ? json_dumps(index, JSON_INDENT(2)) : NULL;
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    const mla_status status = text ? mla_file_write(context, path, text, (int64_t)strlen(text))
                                   : mla_fail(context, MLA_ERROR_MEMORY, "no memory for %s", path);
    json_decref(index);
    free(text);
    return status;
}

mla_status mla_safetensors_write_model(mla_context *context, const char *folder, mla_safetensors_type type,
                                       const mla_safetensors_item *items, int64_t count, int64_t shard_bytes) {
    const int64_t shards = shards_of(type, items, count, shard_bytes);
    char name[64], path[LONGEST_PATH];
    json_t *map = json_object();
    mla_status status = MLA_OK;
    int64_t first = 0, total = 0;
    for (int64_t i = 0; i < shards && !status; i++) {
        const int64_t taken = take(type, items + first, count - first, shard_bytes);
        shard_name(name, i, shards);
        if (snprintf(path, sizeof path, "%s/%s", folder, name) >= LONGEST_PATH)
            status = mla_fail(context, MLA_ERROR_ARGUMENT, "%s: the path is too long", folder);
        else status = mla_safetensors_write(context, path, type, items + first, taken);
        for (int64_t k = first; k < first + taken; k++) {
            json_object_set_new(map, items[k].name, json_string(name));
            total += bytes_of(&items[k], type);
        }
        first += taken;
    }
    if (!status && shards > 1) status = write_index(context, folder, total, map);
    json_decref(map);
    return status;
}
