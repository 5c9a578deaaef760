/* The seal: 512 bytes in front of an HDF5 file (a "user block", which HDF5 skips) that make damage visible.
 * It holds the length of the file, a hash of everything after it, the place and hash of a table of all
 * datasets, and a hash of itself, so no bit of the file is left uncovered. The check reads plain bytes: a
 * damaged file never reaches the HDF5 library. Hashes are XXH3, 64 bits. Used by data/formats/h5.c only.
 *
 * The table is text, one line a dataset: hash (16 hex digits), offset in the file, bytes, name. */
#ifndef MLA_DATA_FORMATS_SEAL_H
#define MLA_DATA_FORMATS_SEAL_H

#include "autograd/base/context.h"

enum { MLA_SEAL_BYTES = 512 };

typedef struct {
    int64_t offset, bytes; /* from the start of the file */
    uint64_t hash;
} mla_seal_range;

typedef enum {
    MLA_SEAL_QUICK, /* one pass; the datasets are looked at only to name the damaged one */
    MLA_SEAL_FULL   /* each dataset against its own hash as well */
} mla_seal_depth;

/* Writes the seal of a finished file open for reading and writing. `table`: where the table is, and the hash
 * it should have. */
mla_status mla_seal_write(mla_context *context, int descriptor, const char *path, mla_seal_range table);

/* Tells a sealed file from a plain HDF5 file by its first bytes. MLA_ERROR_FORMAT if it is neither, and
 * then says whether it looks empty or damaged. */
mla_status mla_seal_find(mla_context *context, int descriptor, const char *path, bool *sealed);

/* MLA_ERROR_FORMAT if the file is cut or a bit in it has changed; the message names the file and the dataset
 * (or the seal, the table, or HDF5's own records) where the damage is. */
mla_status mla_seal_check(mla_context *context, int descriptor, const char *path, mla_seal_depth depth);

#endif
