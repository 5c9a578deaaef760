/* A valid HDF5 file of ours, with things in it changed through the HDF5 library: the input says which. */
#ifndef MLA_TESTS_FUZZ_EDITS_H
#define MLA_TESTS_FUZZ_EDITS_H

#include "autograd/base/context.h"

/* A file of this process in memory (/dev/shm), removed at its end. */
const char *fuzz_path(void);

/* Keeps the file at fuzz_path() as the valid one that every input begins with. */
void fuzz_keep_valid(void);

/* Brings it back, and makes the changes that the input spells. With `sealed` it is sealed again after them, as a file
 * of ours whose writer lied; otherwise its seal is taken off, as of a file that comes from another program. */
void fuzz_edit(mla_context *context, const uint8_t *data, size_t size, bool sealed);

#endif
