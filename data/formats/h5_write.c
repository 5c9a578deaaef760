#include "data/formats/h5_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void h5_write_step(const mla_h5_file *file, const char *name) {
    if (file->hook.call) file->hook.call(file->hook.user, name);
}

/* ---- Disk space: HDF5 1.10 does not survive a full disk. A close that cannot write leaves the process to
 * crash at its exit, or reports success. So the blocks of a dataset, and of the records that HDF5 will write
 * about it, are taken before HDF5 gives them a place: when they are not to be had, all that HDF5 has still to
 * write fits into those taken before. */

enum { BLOCK = 4096, RECORDS = 1 << 16 }; /* RECORDS: more than those of an empty file, or of one dataset */

/* Where a file system cannot reserve (or only behind our back, as a limit on the size of files is no matter of
 * blocks to it), a byte in each block does it. Behind what is reserved nothing was written yet. */
static int fill_blocks(int descriptor, int64_t from, int64_t end) {
    for (int64_t at = from; at < end; at += BLOCK)
        if (pwrite(descriptor, "", 1, at) != 1) return errno ? errno : ENOSPC;
    return 0;
}

static int allocate_blocks(int descriptor, int64_t from, int64_t end) {
    struct rlimit limit;
    if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY && (rlim_t)end > limit.rlim_cur)
        return EFBIG;
    int failed;
    do failed = fallocate(descriptor, FALLOC_FL_KEEP_SIZE, from, end - from) ? errno : 0;
    while (failed == EINTR);
    return failed == EOPNOTSUPP || failed == ENOSYS ? fill_blocks(descriptor, from, end) : failed;
}

static mla_status take_blocks(mla_h5_file *file, int64_t end) {
    if (end <= file->reserved) return MLA_OK;
    const int64_t rounded = (end + BLOCK - 1) / BLOCK * BLOCK;
    const int failed = allocate_blocks(file->descriptor, file->reserved, rounded);
    if (failed)
        return mla_fail(
            file->context, MLA_ERROR_IO, "cannot write %s: %s at %" PRId64 " bytes: %s", file->path, strerror(failed),
            end, failed == EFBIG ? "raise the limit on files (ulimit -f)" : "free space there, or use another disk");
    file->reserved = rounded;
    return MLA_OK;
}

/* Takes the blocks of a dataset that will be created next. */
static mla_status reserve(mla_h5_file *file, int64_t bytes) {
    hsize_t used = 0;
    if (H5Fget_filesize(file->id, &used) < 0) return mla_h5_failed(file, "write", file->temporary);
    return take_blocks(file, (int64_t)used + bytes + RECORDS);
}

/* ---- Creating */

static mla_status create_id(mla_h5_file *file) {
    MLA_H5_ALONE;
    mla_status status = take_blocks(file, RECORDS);
    if (status) return status;
    hid_t access = mla_h5_access(), creation = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_userblock(creation, MLA_SEAL_BYTES);
    file->id = H5Fcreate(file->temporary, H5F_ACC_TRUNC, creation, access); /* ... gives the blocks back */
    H5Pclose(creation);
    H5Pclose(access);
    if (file->id < 0) return mla_h5_failed(file, "create", file->temporary);
    file->reserved = 0;
    return take_blocks(file, RECORDS);
}

mla_status mla_h5_create(mla_context *context, mla_h5_file **out, const char *path, const mla_h5_options *options) {
    mla_status status = mla_h5_start(context, out, path);
    mla_h5_file *file = *out;
    if (status) goto done;
    if (options) file->hook = options->hook;
    h5_write_step(file, "create");
    if (!(file->hash = XXH3_createState()) || asprintf(&file->temporary, "%s.tmp", path) < 0) {
        status = mla_fail(context, MLA_ERROR_MEMORY, "no memory for writing %s", path);
        goto done;
    }
    file->descriptor = open(file->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    status = file->descriptor < 0 ? mla_h5_system_failed(file, "create", file->temporary) : create_id(file);
done:
    if (status) mla_h5_close(file), *out = NULL;
    return status;
}

/* ---- Writing */

static mla_status set_name(mla_h5_file *file, const char *name) {
    char *out = file->info.name;
    int length = snprintf(out, MLA_H5_MAX_NAME, "%s%s", *name == '/' ? "" : "/", name);
    bool fits = length > 1 && length < MLA_H5_MAX_NAME && out[length - 1] != '/';
    for (int i = 0; fits && i < length; i++) fits = (unsigned char)out[i] >= ' ';
    if (fits) return MLA_OK;
    return mla_fail(file->context, MLA_ERROR_ARGUMENT,
                    "%s: \"%s\" cannot name a dataset: 1 to 254 printable bytes, no slash at the end", file->path,
                    name);
}

static int64_t all_rows(const mla_h5_info *info) { return info->ndim ? info->shape[0] : 1; }

/* Ends the dataset being written, if any, and notes its hash. */
static mla_status finish(mla_h5_file *file) {
    if (file->dataset < 0) return MLA_OK;
    if (file->rows != all_rows(&file->info))
        return mla_fail(file->context, MLA_ERROR_ARGUMENT, "%s: dataset %s got %" PRId64 " rows of %" PRId64,
                        file->path, file->info.name, file->rows, all_rows(&file->info));
    file->entries[file->count++].range.hash = XXH3_64bits_digest(file->hash);
    H5Tclose(file->type);
    herr_t failed = H5Dclose(file->dataset);
    file->dataset = file->type = -1;
    return failed < 0 ? mla_h5_failed(file, "write", file->info.name) : MLA_OK;
}

static hid_t dataset_create(hid_t file, const char *name, hid_t type, hid_t space) {
    hid_t links = H5Pcreate(H5P_LINK_CREATE), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    H5Pset_layout(creation, H5D_CONTIGUOUS);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(creation, false); /* equal content, equal file */
    hid_t dataset = H5Dcreate2(file, name, type, space, links, creation, H5P_DEFAULT);
    H5Pclose(creation);
    H5Pclose(links);
    return dataset;
}

/* Begins the dataset that file->info describes, with elements of file->type. */
static mla_status begin(mla_h5_file *file, int64_t bytes) {
    const mla_h5_info *info = &file->info;
    h5_write_step(file, "write");
    mla_status status = mla_grow(file->context, &file->entries, &file->capacity, file->count + 1, sizeof *file->entries,
                                 "the table of datasets");
    if (!status) status = reserve(file, bytes);
    if (status) return status;
    hid_t space = mla_h5_space(info->ndim, info->shape);
    file->dataset = dataset_create(file->id, info->name, file->type, space);
    H5Sclose(space);
    if (file->dataset < 0) return mla_h5_failed(file, "create", info->name);
    mla_h5_entry *entry = &file->entries[file->count];
    entry->range = (mla_seal_range){.offset = bytes ? mla_h5_offset(file->dataset) : MLA_SEAL_BYTES, .bytes = bytes};
    memcpy(entry->name, info->name, sizeof entry->name);
    file->rows = 0;
    XXH3_64bits_reset(file->hash);
    return MLA_OK;
}

static mla_status h5_write_append(mla_h5_file *file, int64_t rows, const void *data) {
    const mla_h5_info *info = &file->info;
    if (file->dataset < 0 || rows < 0 || rows > all_rows(info) - file->rows)
        return mla_fail(file->context, MLA_ERROR_ARGUMENT, "%s: dataset %s does not take %" PRId64 " more rows",
                        file->path, info->name, rows);
    hid_t from = mla_h5_rows_space(info, rows), to = mla_h5_rows_select(info, file->rows, rows);
    herr_t failed = H5Dwrite(file->dataset, file->type, from, to, H5P_DEFAULT, data);
    size_t bytes = (size_t)H5Sget_simple_extent_npoints(from) * H5Tget_size(file->type);
    if (bytes) XXH3_64bits_update(file->hash, data, bytes);
    file->rows += rows;
    H5Sclose(to);
    H5Sclose(from);
    return failed < 0 ? mla_h5_failed(file, "write", info->name) : MLA_OK;
}

static mla_status begin_numbers(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape) {
    int64_t bytes = mla_h5_bytes(type, ndim, shape);
    if (bytes < 0)
        return mla_fail(file->context, MLA_ERROR_SHAPE, "%s: dataset %s cannot have such a type or shape", file->path,
                        name);
    mla_status status = finish(file);
    if (!status) status = set_name(file, name);
    if (status) return status;
    file->info.ndim = ndim;
    if (ndim) memcpy(file->info.shape, shape, (size_t)ndim * sizeof *shape);
    file->type = mla_h5_type_id(type);
    return begin(file, bytes);
}

/* HDF5 has no strings of 0 bytes: an empty one is a single zero byte. */
static mla_status begin_text(mla_h5_file *file, const char *name, const char *text) {
    size_t bytes = *text ? strlen(text) : 1;
    mla_status status = finish(file);
    if (!status) status = set_name(file, name);
    if (status) return status;
    file->info.ndim = 0;
    file->type = H5Tcopy(H5T_C_S1);
    H5Tset_size(file->type, bytes);
    H5Tset_cset(file->type, H5T_CSET_UTF8);
    H5Tset_strpad(file->type, H5T_STR_NULLPAD);
    return begin(file, (int64_t)bytes);
}

mla_status mla_h5_begin(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape) {
    MLA_H5_ALONE;
    if (!file->status) file->status = begin_numbers(file, name, type, ndim, shape);
    return file->status;
}

mla_status mla_h5_append(mla_h5_file *file, int64_t rows, const void *data) {
    MLA_H5_ALONE;
    if (!file->status) file->status = h5_write_append(file, rows, data);
    return file->status;
}

mla_status mla_h5_write(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape,
                        const void *data) {
    mla_status status = mla_h5_begin(file, name, type, ndim, shape);
    return status ? status : mla_h5_append(file, ndim ? shape[0] : 1, data);
}

mla_status mla_h5_write_text(mla_h5_file *file, const char *name, const char *text) {
    MLA_H5_ALONE;
    if (!file->status) file->status = begin_text(file, name, text);
    return mla_h5_append(file, 1, text);
}

mla_status mla_h5_write_i64(mla_h5_file *file, const char *name, int64_t value) {
    return mla_h5_write(file, name, MLA_H5_I64, 0, NULL, &value);
}

mla_status mla_h5_write_f64(mla_h5_file *file, const char *name, double value) {
    return mla_h5_write(file, name, MLA_H5_F64, 0, NULL, &value);
}

/* ---- Committing */

/* Writes the table of all datasets (data/formats/seal.h) as the last one, and says where it is. */
static mla_status write_table(mla_h5_file *file, mla_seal_range *out) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *table = open_memstream(&text, &bytes);
    for (int64_t i = 0; table && i < file->count; i++) {
        const mla_seal_range *range = &file->entries[i].range;
        fprintf(table, "%016" PRIx64 " %" PRId64 " %" PRId64 " %s\n", range->hash, range->offset, range->bytes,
                file->entries[i].name);
    }
    mla_status status = MLA_OK;
    if (!table || fclose(table))
        status = mla_fail(file->context, MLA_ERROR_MEMORY, "no memory for the table of datasets");
    if (!status) status = mla_h5_write(file, "/integrity", MLA_H5_U8, 1, (int64_t[]){(int64_t)bytes}, text);
    if (!status) status = finish(file);
    if (!status) *out = file->entries[--file->count].range;
    free(text);
    return status;
}

static mla_status close_id(mla_h5_file *file) {
    hid_t id = file->id;
    file->id = -1;
    return H5Fclose(id) < 0 ? mla_h5_failed(file, "close", file->temporary) : MLA_OK;
}

/* Closes the file and cuts off what was reserved beyond its end. */
static mla_status close_at_end(mla_h5_file *file) {
    MLA_H5_ALONE;
    hsize_t bytes = 0;
    if (H5Fflush(file->id, H5F_SCOPE_LOCAL) < 0 || H5Fget_filesize(file->id, &bytes) < 0)
        return mla_h5_failed(file, "write", file->temporary);
    const mla_status status = close_id(file);
    if (status) return status;
    return ftruncate(file->descriptor, (off_t)bytes) ? mla_h5_system_failed(file, "cut", file->temporary) : MLA_OK;
}

/* HDF5 finds each dataset where it was written: its own records have reached the file as well. */
static mla_status check_places(mla_h5_file *file) {
    MLA_H5_ALONE;
    mla_status status = mla_h5_open_id(file, file->temporary);
    for (int64_t i = 0; !status && i < file->count; i++) {
        const mla_h5_entry *entry = &file->entries[i];
        hid_t dataset = H5Dopen2(file->id, entry->name, H5P_DEFAULT);
        if (dataset < 0 || H5Dget_storage_size(dataset) != (hsize_t)entry->range.bytes ||
            (entry->range.bytes && mla_h5_offset(dataset) != entry->range.offset))
            status = mla_fail(file->context, MLA_ERROR_IO, "cannot write %s: dataset %s is not in it when read back",
                              file->path, entry->name);
        if (dataset >= 0) H5Dclose(dataset);
    }
    if (!status) status = close_id(file);
    return status;
}

static mla_status end_datasets(mla_h5_file *file, mla_seal_range *table) {
    MLA_H5_ALONE;
    const mla_status status = finish(file);
    return status ? status : write_table(file, table);
}

static mla_status commit(mla_h5_file *file) {
    mla_seal_range table = {0};
    mla_status status = end_datasets(file, &table);
    if (status) return status;
    h5_write_step(file, "close");
    status = close_at_end(file);
    if (!status) status = mla_seal_write(file->context, file->descriptor, file->temporary, table);
    if (status) return status;
    h5_write_step(file, "verify");
    status = mla_seal_check(file->context, file->descriptor, file->temporary, MLA_SEAL_FULL);
    if (!status) status = check_places(file);
    return status ? status : mla_replace(file->context, file->temporary, file->path, file->hook);
}

mla_status mla_h5_commit(mla_h5_file *file) {
    if (file->status) return file->status;
    file->status = commit(file);
    if (file->status) return file->status;
    free(file->temporary);
    file->temporary = NULL;
    return MLA_OK;
}
