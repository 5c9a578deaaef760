#include "data/formats/h5_internal.h"

#include "autograd/tensor.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *name;
    size_t size;
} types[] = {[MLA_H5_F32] = {"f32", 4}, [MLA_H5_BF16] = {"bf16", 2}, [MLA_H5_I32] = {"i32", 4},
             [MLA_H5_I64] = {"i64", 8}, [MLA_H5_F64] = {"f64", 8},   [MLA_H5_U8] = {"u8", 1},
             [MLA_H5_U16] = {"u16", 2}, [MLA_H5_TEXT] = {"text", 0}, [MLA_H5_OTHER] = {"another type", 0}};

_Static_assert((int)MLA_H5_F32 == (int)MLA_F32 && (int)MLA_H5_BF16 == (int)MLA_BF16 && (int)MLA_H5_I32 == (int)MLA_I32,
               "a tensor's type is a dataset's type");

const char *mla_h5_type_name(mla_h5_type type) { return types[type].name; }
size_t mla_h5_type_size(mla_h5_type type) { return types[type].size; }

const char *mla_h5_library(void) {
    static char name[48];
    unsigned major, minor, release;
    H5get_libversion(&major, &minor, &release);
    snprintf(name, sizeof name, "HDF5 %u.%u.%u", major, minor, release);
    return name;
}

/* ---- One at a time */

static pthread_mutex_t turns = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

int mla_h5_take_turn(void) { return pthread_mutex_lock(&turns); }
void mla_h5_end_turn(const int *turn) {
    if (!*turn) pthread_mutex_unlock(&turns);
}

/* ---- Errors */

static herr_t keep_first(unsigned depth, const H5E_error2_t *error, void *out) {
    const char **first = out;
    if (depth == 0) *first = error->desc;
    return 0;
}

mla_status mla_h5_failed(mla_h5_file *file, const char *action, const char *name) {
    const char *why = "nothing", *locks = getenv("HDF5_USE_FILE_LOCKING");
    const bool forced = locks && (!strcmp(locks, "TRUE") || !strcmp(locks, "1"));
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &why);
    return mla_fail(
        file->context, MLA_ERROR_LIBRARY, "%s: cannot %s %s; HDF5 says: %s%s", file->path, action, name, why,
        forced ? "; HDF5_USE_FILE_LOCKING asks it for locks, which this file system may not have: unset it" : "");
}

mla_status mla_h5_system_failed(mla_h5_file *file, const char *action, const char *path) {
    return mla_fail(file->context, MLA_ERROR_IO, "cannot %s %s: %s", action, path, strerror(errno));
}

/* ---- Types and shapes */

hid_t mla_h5_type_id(mla_h5_type type) {
    const hid_t standard[] = {H5T_IEEE_F32LE, H5T_IEEE_F32LE, H5T_STD_I32LE, H5T_STD_I64LE,
                              H5T_IEEE_F64LE, H5T_STD_U8LE,   H5T_STD_U16LE};
    hid_t id = H5Tcopy(standard[type]);
    if (type == MLA_H5_BF16) { /* sign: bit 15, exponent: 8 bits from bit 7 (bias as f32), mantissa: 7 bits */
        H5Tset_fields(id, 15, 7, 8, 0, 7);
        H5Tset_size(id, 2);
    }
    return id;
}

/* Big-endian files of other machines count as the same type: HDF5 converts. */
static bool type_is(hid_t id, mla_h5_type type) {
    hid_t candidate = mla_h5_type_id(type);
    bool equal = H5Tequal(id, candidate) > 0;
    if (!equal && H5Tset_order(candidate, H5T_ORDER_BE) >= 0) equal = H5Tequal(id, candidate) > 0;
    H5Tclose(candidate);
    return equal;
}

static mla_h5_type type_of(hid_t id) {
    if (H5Tget_class(id) == H5T_STRING && H5Tis_variable_str(id) == 0) return MLA_H5_TEXT;
    mla_h5_type type = MLA_H5_F32;
    while (type < MLA_H5_TEXT && !type_is(id, type)) type++;
    return type < MLA_H5_TEXT ? type : MLA_H5_OTHER;
}

int64_t mla_h5_bytes(mla_h5_type type, int ndim, const int64_t *shape) {
    if (type >= MLA_H5_TEXT || ndim < 0 || ndim > MLA_H5_MAX_DIMS) return -1;
    int64_t bytes = (int64_t)types[type].size;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(bytes, shape[i], &bytes)) return -1;
    return bytes;
}

hid_t mla_h5_space(int ndim, const int64_t *shape) {
    hsize_t sizes[MLA_H5_MAX_DIMS];
    for (int i = 0; i < ndim; i++) sizes[i] = (hsize_t)shape[i];
    return ndim ? H5Screate_simple(ndim, sizes, NULL) : H5Screate(H5S_SCALAR);
}

hid_t mla_h5_rows_space(const mla_h5_info *info, int64_t rows) {
    int64_t shape[MLA_H5_MAX_DIMS] = {rows};
    for (int i = 1; i < info->ndim; i++) shape[i] = info->shape[i];
    return mla_h5_space(info->ndim, shape);
}

hid_t mla_h5_rows_select(const mla_h5_info *info, int64_t first, int64_t rows) {
    hid_t space = mla_h5_space(info->ndim, info->shape);
    if (!info->ndim) return space;
    hsize_t start[MLA_H5_MAX_DIMS] = {(hsize_t)first}, count[MLA_H5_MAX_DIMS] = {(hsize_t)rows};
    for (int i = 1; i < info->ndim; i++) count[i] = (hsize_t)info->shape[i];
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    return space;
}

int64_t mla_h5_offset(hid_t dataset) {
    haddr_t offset = H5Dget_offset(dataset);
    return offset == HADDR_UNDEF || offset > INT64_MAX ? -1 : (int64_t)offset;
}

/* ---- Opening and closing */

mla_status mla_h5_start(mla_context *context, mla_h5_file **out, const char *path) {
    MLA_H5_ALONE;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    mla_h5_file *file = *out = mla_alloc(context, 1, sizeof *file, "an HDF5 file");
    if (!file) return MLA_ERROR_MEMORY;
    *file = (mla_h5_file){.context = context, .path = strdup(path)};
    file->descriptor = -1;
    file->id = file->dataset = file->type = -1;
    return file->path ? MLA_OK : mla_fail(context, MLA_ERROR_MEMORY, "no memory for a path");
}

/* Plain POSIX files, and no locks, which some cluster file systems refuse, unless HDF5_USE_FILE_LOCKING asks for them:
 * it has the last word. */
hid_t mla_h5_access(void) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_sec2(access);
    H5Pset_file_locking(access, false, true);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    H5Pset_alignment(access, 1, 64); /* mapped datasets are aligned for every type and for vectors */
    return access;
}

mla_status mla_h5_open_id(mla_h5_file *file, const char *path) {
    MLA_H5_ALONE;
    hid_t access = mla_h5_access();
    file->id = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    return file->id < 0 ? mla_h5_failed(file, "open", path) : MLA_OK;
}

static mla_status check_origin(mla_h5_file *file, mla_h5_origin origin) {
    mla_status status = mla_seal_find(file->context, file->descriptor, file->path, &file->sealed);
    if (status) return status;
    if (file->sealed) return mla_seal_check(file->context, file->descriptor, file->path, MLA_SEAL_QUICK);
    if (origin == MLA_H5_ANY) return MLA_OK;
    return mla_fail(file->context, MLA_ERROR_FORMAT, "%s was written by another program: it has no seal of mla",
                    file->path);
}

mla_status mla_h5_open(mla_context *context, mla_h5_file **out, const char *path, mla_h5_origin origin) {
    mla_status status = mla_h5_start(context, out, path);
    mla_h5_file *file = *out;
    if (status) goto done;
    file->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (file->descriptor < 0) status = mla_h5_system_failed(file, "open", path);
    if (!status) status = check_origin(file, origin);
    if (!status) status = mla_h5_open_id(file, path);
done:
    if (status) mla_h5_close(file), *out = NULL;
    return status;
}

bool mla_h5_is_sealed(const mla_h5_file *file) { return file->sealed; }

void mla_h5_close(mla_h5_file *file) {
    if (!file) return;
    MLA_H5_ALONE;
    if (file->type >= 0) H5Tclose(file->type);
    if (file->dataset >= 0) H5Dclose(file->dataset);
    if (file->id >= 0) H5Fclose(file->id);
    if (file->map) munmap(file->map, (size_t)file->bytes);
    if (file->descriptor >= 0) close(file->descriptor);
    if (file->temporary) unlink(file->temporary);
    XXH3_freeState(file->hash);
    free(file->entries);
    free(file->temporary);
    free(file->path);
    free(file);
}

mla_status mla_h5_verify(mla_context *context, const char *path) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return mla_fail(context, MLA_ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    mla_status status = mla_seal_check(context, descriptor, path, MLA_SEAL_FULL);
    close(descriptor);
    return status;
}

/* ---- Looking */

static void describe_space(hid_t dataset, mla_h5_info *info) {
    hid_t space = H5Dget_space(dataset);
    hsize_t sizes[H5S_MAX_RANK] = {0};
    info->ndim = H5Sget_simple_extent_dims(space, sizes, NULL);
    if (H5Sget_simple_extent_type(space) == H5S_NULL || info->ndim < 0 || info->ndim > MLA_H5_MAX_DIMS)
        info->type = MLA_H5_OTHER, info->ndim = 0;
    for (int i = 0; i < info->ndim; i++) info->shape[i] = sizes[i] > INT64_MAX ? -1 : (int64_t)sizes[i];
    H5Sclose(space);
}

static void h5_describe(hid_t dataset, mla_h5_info *info) {
    hid_t type = H5Dget_type(dataset);
    info->type = type_of(type);
    describe_space(dataset, info);
    if (info->type == MLA_H5_TEXT) {
        info->type = info->ndim ? MLA_H5_OTHER : MLA_H5_TEXT;
        info->ndim = 1;
        info->shape[0] = (int64_t)H5Tget_size(type);
    }
    H5Tclose(type);
}

/* The dataset, to be closed, and what it is; negative after an error. */
static hid_t dataset_open(mla_h5_file *file, const char *name, mla_h5_info *info) {
    hid_t dataset = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (dataset < 0) {
        mla_fail(file->context, MLA_ERROR_FORMAT, "%s has no dataset %s", file->path, name);
        return -1;
    }
    *info = (mla_h5_info){.ndim = 0};
    snprintf(info->name, sizeof info->name, "%s%s", *name == '/' ? "" : "/", name);
    h5_describe(dataset, info);
    return dataset;
}

mla_status mla_h5_describe(mla_h5_file *file, const char *name, mla_h5_info *out) {
    MLA_H5_ALONE;
    hid_t dataset = dataset_open(file, name, out);
    if (dataset < 0) return MLA_ERROR_FORMAT;
    H5Dclose(dataset);
    return MLA_OK;
}

typedef struct {
    mla_h5_file *file;
    const char *group;
    mla_h5_info *infos;
    int64_t count, capacity;
    mla_status status;
} list_t;

static mla_status list_one(list_t *list, const char *name) {
    mla_h5_file *file = list->file;
    char path[MLA_H5_MAX_NAME];
    bool root = !list->group[strspn(list->group, "/")];
    int length = snprintf(path, sizeof path, "%s/%s", root ? "" : list->group, name);
    if (length >= (int)sizeof path)
        return mla_fail(file->context, MLA_ERROR_FORMAT, "%s: the name of dataset %s is too long", file->path, path);
    mla_status status = mla_grow(file->context, &list->infos, &list->capacity, list->count + 1, sizeof *list->infos,
                                 "a list of datasets");
    return status ? status : mla_h5_describe(file, path, &list->infos[list->count++]);
}

static herr_t list_visit(hid_t group, const char *name, const H5O_info_t *info, void *user) {
    (void)group;
    list_t *list = user;
    if (info->type == H5O_TYPE_DATASET) list->status = list_one(list, name);
    return list->status ? -1 : 0;
}

mla_status mla_h5_list(mla_h5_file *file, const char *group, mla_h5_info **out, int64_t *count) {
    MLA_H5_ALONE;
    list_t list = {.file = file, .group = group};
    *out = NULL;
    *count = 0;
    hid_t id = H5Gopen2(file->id, group, H5P_DEFAULT);
    if (id < 0) return mla_fail(file->context, MLA_ERROR_FORMAT, "%s has no group %s", file->path, group);
    herr_t failed = H5Ovisit(id, H5_INDEX_NAME, H5_ITER_INC, list_visit, &list);
    if (failed < 0 && !list.status) list.status = mla_h5_failed(file, "list", group);
    H5Gclose(id);
    if (list.status) free(list.infos);
    else *out = list.infos, *count = list.count;
    return list.status;
}

/* ---- Reading */

static const char *write_shape(char out[128], int ndim, const int64_t *shape) {
    int at = snprintf(out, 128, "(");
    for (int i = 0; i < ndim; i++) at += snprintf(out + at, 128 - (size_t)at, "%s%" PRId64, i ? ", " : "", shape[i]);
    snprintf(out + at, 128 - (size_t)at, ")");
    return out;
}

/* Opens a dataset that must have this type and shape; negative after an error. */
static hid_t dataset_expect(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape) {
    mla_h5_info info;
    char is[128], wanted[128];
    hid_t dataset = dataset_open(file, name, &info);
    if (dataset < 0) return dataset;
    if (info.type == type && info.ndim == ndim && mla_h5_bytes(type, ndim, shape) >= 0 &&
        !(ndim && memcmp(info.shape, shape, (size_t)ndim * sizeof *shape)))
        return dataset;
    mla_fail(file->context, MLA_ERROR_SHAPE, "%s: dataset %s is %s %s, not %s %s as it should be", file->path, name,
             types[info.type].name, write_shape(is, info.ndim, info.shape), types[type].name,
             write_shape(wanted, ndim, shape));
    H5Dclose(dataset);
    return -1;
}

mla_status mla_h5_read_rows(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape,
                            int64_t first, int64_t rows, void *out) {
    MLA_H5_ALONE;
    hid_t dataset = dataset_expect(file, name, type, ndim, shape);
    if (dataset < 0) return mla_error_status(file->context);
    mla_status status = MLA_OK;
    mla_h5_info info = {.ndim = ndim};
    if (ndim) memcpy(info.shape, shape, (size_t)ndim * sizeof *shape);
    hid_t memory = mla_h5_type_id(type), to = mla_h5_rows_space(&info, rows),
          from = mla_h5_rows_select(&info, first, rows);
    if (first < 0 || rows < 0 || first > (ndim ? shape[0] : 1) - rows)
        status = mla_fail(file->context, MLA_ERROR_ARGUMENT, "%s: dataset %s has no rows %" PRId64 " to %" PRId64,
                          file->path, name, first, first + rows);
    else if (H5Dread(dataset, memory, to, from, H5P_DEFAULT, out) < 0) status = mla_h5_failed(file, "read", name);
    H5Sclose(from);
    H5Sclose(to);
    H5Tclose(memory);
    H5Dclose(dataset);
    return status;
}

mla_status mla_h5_read(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape,
                       void *out) {
    return mla_h5_read_rows(file, name, type, ndim, shape, 0, ndim ? shape[0] : 1, out);
}

mla_status mla_h5_read_i64(mla_h5_file *file, const char *name, int64_t *out) {
    return mla_h5_read(file, name, MLA_H5_I64, 0, NULL, out);
}

mla_status mla_h5_read_f64(mla_h5_file *file, const char *name, double *out) {
    return mla_h5_read(file, name, MLA_H5_F64, 0, NULL, out);
}

mla_status mla_h5_read_text(mla_h5_file *file, const char *name, char **out) {
    MLA_H5_ALONE;
    *out = NULL;
    mla_h5_info info;
    hid_t dataset = dataset_open(file, name, &info);
    if (dataset < 0) return MLA_ERROR_FORMAT;
    mla_status status = MLA_OK;
    hid_t type = H5Dget_type(dataset);
    if (info.type != MLA_H5_TEXT)
        status = mla_fail(file->context, MLA_ERROR_SHAPE, "%s: dataset %s is %s, not text as it should be", file->path,
                          name, types[info.type].name);
    else if (H5Dget_storage_size(dataset) < (hsize_t)info.shape[0])
        status = mla_fail(file->context, MLA_ERROR_FORMAT,
                          "%s: dataset %s is a text of %" PRId64 " bytes, of which the file has only %" PRIu64,
                          file->path, name, info.shape[0], (uint64_t)H5Dget_storage_size(dataset));
    else if (!(*out = mla_alloc(file->context, info.shape[0] + 1, 1, name))) status = MLA_ERROR_MEMORY;
    else if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, *out) < 0)
        status = mla_h5_failed(file, "read", name);
    H5Tclose(type);
    H5Dclose(dataset);
    if (status) free(*out), *out = NULL;
    return status;
}

/* ---- Mapping */

static mla_status map_file(mla_h5_file *file) {
    struct stat info;
    if (file->map) return MLA_OK;
    if (fstat(file->descriptor, &info)) return mla_h5_system_failed(file, "read", file->path);
    void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, file->descriptor, 0);
    if (map == MAP_FAILED) return mla_h5_system_failed(file, "map", file->path);
    file->map = map;
    file->bytes = info.st_size;
    return MLA_OK;
}

static bool stored_as_in_memory(hid_t dataset, mla_h5_type type) {
    hid_t stored = H5Dget_type(dataset), native = mla_h5_type_id(type);
    bool equal = H5Tequal(stored, native) > 0;
    H5Tclose(native);
    H5Tclose(stored);
    return equal;
}

mla_status mla_h5_map(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape,
                      const void **out) {
    MLA_H5_ALONE;
    *out = NULL;
    mla_status status = map_file(file);
    if (status) return status;
    hid_t dataset = dataset_expect(file, name, type, ndim, shape);
    if (dataset < 0) return mla_error_status(file->context);
    int64_t bytes = mla_h5_bytes(type, ndim, shape), offset = bytes ? mla_h5_offset(dataset) : 0;
    if (offset < 0 || offset > file->bytes || bytes > file->bytes - offset || offset % (int64_t)types[type].size ||
        !stored_as_in_memory(dataset, type))
        status = mla_fail(file->context, MLA_ERROR_FORMAT,
                          "%s: dataset %s cannot be mapped: it is not contiguous, aligned and little-endian",
                          file->path, name);
    else *out = (const char *)file->map + offset;
    H5Dclose(dataset);
    return status;
}
