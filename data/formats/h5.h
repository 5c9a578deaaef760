/* HDF5 files, as the checkpoints, the token files and the logits use them: groups of whole, contiguous
 * datasets. The only place of the library that includes hdf5.h.
 *
 * A file that was written here is sealed (data/formats/seal.h): a changed bit or a cut is found when the file is
 * opened, and the message names the dataset. Every other HDF5 tool reads such files; h5py shows bf16 as
 * float32.
 *
 * Nothing is ever half-written: data goes to PATH.tmp, and mla_h5_commit closes it, reads it back, and only
 * then renames it to PATH. Whatever interrupts that, PATH is the old file or the new one.
 *
 *     mla_h5_file *file;
 *     if ((status = mla_h5_create(context, &file, "a.h5", NULL))) return status;
 *     mla_h5_write(file, "/model/w", MLA_H5_F32, 2, (int64_t[]){3, 4}, w);   // errors stick to the file
 *     mla_h5_write_text(file, "/config", json);
 *     status = mla_h5_commit(file);                                         // ... and come out here
 *     mla_h5_close(file);
 *
 * Threads may use different files at once: their calls to HDF5 wait for each other in here.
 *
 * Scalars are datasets of 0 dimensions and text is a dataset too (HDF5 attributes end at 64 KB and have no
 * hash of their own). Groups come into being with the names that need them; names are paths from the root,
 * shorter than 256 bytes. HDF5's printing of errors is switched off for the process. */
#ifndef MLA_DATA_FORMATS_H5_H
#define MLA_DATA_FORMATS_H5_H

#include "autograd/base/atomic_file.h"
#include "autograd/base/context.h"

enum { MLA_H5_MAX_DIMS = 4, MLA_H5_MAX_NAME = 256 };

/* The first three are those of mla_dtype (autograd/tensor.h), with the same numbers. */
typedef enum {
    MLA_H5_F32,
    MLA_H5_BF16,
    MLA_H5_I32,
    MLA_H5_I64,
    MLA_H5_F64,
    MLA_H5_U8,
    MLA_H5_U16,
    MLA_H5_TEXT, /* a string; its shape is its length in bytes; mla_h5_write_text, mla_h5_read_text */
    MLA_H5_OTHER /* anything else, in a file made elsewhere; cannot be read */
} mla_h5_type;

typedef struct {
    char name[MLA_H5_MAX_NAME]; /* with the leading slash */
    mla_h5_type type;
    int ndim;
    int64_t shape[MLA_H5_MAX_DIMS];
} mla_h5_info;

typedef enum {
    MLA_H5_SEALED, /* only files written here, verified whole */
    MLA_H5_ANY     /* plain HDF5 files of other programs as well; sealed ones are still verified */
} mla_h5_origin;

typedef struct mla_h5_file mla_h5_file;

/* "HDF5 1.10.8". Static storage. */
const char *mla_h5_library(void);

/* "f32", "bf16", ... Static storage. */
const char *mla_h5_type_name(mla_h5_type type);
/* Bytes of one element; 0 for text and others. */
size_t mla_h5_type_size(mla_h5_type type);

/* ---- Writing. A failure sticks to the file: later calls return it and do nothing, and so does commit. */

typedef struct {
    mla_step_hook hook; /* the steps: create, write (once a dataset), close, verify, fsync, rename, folder */
} mla_h5_options;

/* Starts PATH.tmp. Options may be NULL. MLA_ERROR_IO if the folder cannot be written to. */
mla_status mla_h5_create(mla_context *context, mla_h5_file **out, const char *path, const mla_h5_options *options);

/* Writes a whole dataset; data holds shape[0] * ... * shape[ndim - 1] elements. MLA_ERROR_IO if the disk is
 * full: space is reserved before a dataset is written. */
mla_status mla_h5_write(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape,
                        const void *data);
mla_status mla_h5_write_text(mla_h5_file *file, const char *name, const char *text);
mla_status mla_h5_write_i64(mla_h5_file *file, const char *name, int64_t value);
mla_status mla_h5_write_f64(mla_h5_file *file, const char *name, double value);

/* Writes a dataset of known shape (ndim >= 1) piece by piece: begin, then append until all shape[0] rows are
 * there. One dataset at a time; a dataset with rows missing fails the next write or the commit. */
mla_status mla_h5_begin(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape);
mla_status mla_h5_append(mla_h5_file *file, int64_t rows, const void *data);

/* Makes the file real: closes PATH.tmp, reads it back against the hashes of what was written, syncs it,
 * renames it to PATH and syncs the folder. After a failure PATH is untouched and PATH.tmp gone (unless the
 * last step failed: then PATH is the new file and may not outlive a power cut). Only close may follow. */
mla_status mla_h5_commit(mla_h5_file *file);

/* ---- Reading */

/* Opens and verifies a file; see mla_h5_origin. MLA_ERROR_IO if it is missing, MLA_ERROR_FORMAT if it is
 * damaged or no HDF5 file. */
mla_status mla_h5_open(mla_context *context, mla_h5_file **out, const char *path, mla_h5_origin origin);

/* Whether an opened file has a seal, which opening it has verified. */
bool mla_h5_is_sealed(const mla_h5_file *file);

/* What a dataset is. MLA_ERROR_FORMAT if there is none of that name. */
mla_status mla_h5_describe(mla_h5_file *file, const char *name, mla_h5_info *out);

/* All datasets below a group ("/" for all), sorted by name. *out is the caller's, to be freed with free(). */
mla_status mla_h5_list(mla_h5_file *file, const char *group, mla_h5_info **out, int64_t *count);

/* Reads a whole dataset, or rows [first, first + rows) of it, into out. Type and shape must be those of the
 * file: otherwise MLA_ERROR_SHAPE, with both named. */
mla_status mla_h5_read(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape,
                       void *out);
mla_status mla_h5_read_rows(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape,
                            int64_t first, int64_t rows, void *out);
/* *out is the caller's, to be freed with free(). */
mla_status mla_h5_read_text(mla_h5_file *file, const char *name, char **out);
mla_status mla_h5_read_i64(mla_h5_file *file, const char *name, int64_t *out);
mla_status mla_h5_read_f64(mla_h5_file *file, const char *name, double *out);

/* The dataset where it lies in the file, mapped read-only: valid until close, and no memory of its own. */
mla_status mla_h5_map(mla_h5_file *file, const char *name, mla_h5_type type, int ndim, const int64_t *shape,
                      const void **out);

/* ---- Both */

/* Closes; a file that was created but not committed is given up and PATH.tmp removed. NULL is fine. */
void mla_h5_close(mla_h5_file *file);

/* Reads the whole file and holds each dataset against its hash; the error names the first that differs. */
mla_status mla_h5_verify(mla_context *context, const char *path);

#endif
