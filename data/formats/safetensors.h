/* safetensors files, as Hugging Face's models and adapters come in: a length (8 bytes, little-endian), a JSON
 * header of names, types, shapes and offsets, then the numbers. Large models are cut into shards, and
 * model.safetensors.index.json says which tensor is in which.
 *
 *     mla_safetensors *file;
 *     if ((status = mla_safetensors_open(context, &file, "model"))) return status;
 *     const mla_safetensors_info *t = mla_safetensors_find(file, "model.norm.weight");
 *     if (t) status = mla_safetensors_read(file, t, values);              // t->count floats
 *     mla_safetensors_close(file);
 *
 * Nothing in a file is trusted: the whole layout is checked when it is opened, as strictly as the reference
 * implementation does (no overlap, no hole, nothing after the last tensor), and a message names file and
 * tensor. Files are mapped: opening costs no memory beyond the header. */
#ifndef MLA_DATA_FORMATS_SAFETENSORS_H
#define MLA_DATA_FORMATS_SAFETENSORS_H

#include "autograd/base/context.h"

enum { MLA_SAFETENSORS_MAX_DIMS = 8 };

typedef enum {
    MLA_SAFETENSORS_F32,
    MLA_SAFETENSORS_BF16,
    MLA_SAFETENSORS_F16,
    MLA_SAFETENSORS_F8_E4M3, /* those of eight bits are read, but not written */
    MLA_SAFETENSORS_F8_E5M2,
    MLA_SAFETENSORS_F8_E8M0,
    MLA_SAFETENSORS_OTHER /* any other type of the format: listed, but not read */
} mla_safetensors_type;

/* "F32", "BF16", "F16", "F8_E4M3" ... */
const char *mla_safetensors_type_name(mla_safetensors_type type);

typedef struct {
    char *name;
    const char *file; /* the path of its file */
    mla_safetensors_type type;
    const char *type_name; /* as in the file: "F32", "I64" ... */
    int ndim;
    int64_t shape[MLA_SAFETENSORS_MAX_DIMS];
    int64_t count;             /* elements */
    int64_t begin, end;        /* its bytes, counted from the end of the header */
    const unsigned char *data; /* not aligned */
} mla_safetensors_info;

typedef struct mla_safetensors mla_safetensors;

/* Opens a file, an index of shards (*.index.json) with all its files, or the model in a folder: its
 * model.safetensors or, without that, its model.safetensors.index.json. MLA_ERROR_IO: a file or shard is
 * missing or cannot be read; MLA_ERROR_FORMAT: it is not what the format or the index says. */
mla_status mla_safetensors_open(mla_context *context, mla_safetensors **out, const char *path);

/* The same from `length` bytes in memory, which must stay until close; `name` is for messages. */
mla_status mla_safetensors_parse(mla_context *context, mla_safetensors **out, const char *name,
                                 const unsigned char *bytes, int64_t length);
void mla_safetensors_close(mla_safetensors *file);

/* The tensors of all shards, sorted by name. find: NULL where there is none. Owned by the file. */
int64_t mla_safetensors_count(const mla_safetensors *file);
const mla_safetensors_info *mla_safetensors_at(const mla_safetensors *file, int64_t i);
const mla_safetensors_info *mla_safetensors_find(const mla_safetensors *file, const char *name);

/* The numbers as f32, which holds those of 16 and 8 bits exactly; out has room for `count`. MLA_ERROR_FORMAT names a
 * type that is not read. */
mla_status mla_safetensors_read(const mla_safetensors *file, const mla_safetensors_info *tensor, float *out);

/* ---- Writing */

typedef struct {
    const char *name;
    int ndim;
    int64_t shape[MLA_SAFETENSORS_MAX_DIMS];
    const float *values;
} mla_safetensors_item;

/* Writes one file of one type, rounding to nearest even; the file is wholly there, or as it was before.
 * Values are converted piece by piece. MLA_ERROR_NUMERIC: a finite value is too large for the type.
 * MLA_ERROR_IO. */
mla_status mla_safetensors_write(mla_context *context, const char *path, mla_safetensors_type type,
                                 const mla_safetensors_item *items, int64_t count);

/* Writes a model into a folder: model.safetensors or, where it takes more than shard_bytes,
 * model-00001-of-0000N files of at most that (a larger tensor has a shard of its own) and their index. */
mla_status mla_safetensors_write_model(mla_context *context, const char *folder, mla_safetensors_type type,
                                       const mla_safetensors_item *items, int64_t count, int64_t shard_bytes);

#endif
