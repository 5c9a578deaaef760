/* Whole files, read and written in one go; and endings of their names. */
#ifndef MLA_AUTOGRAD_BASE_FILE_H
#define MLA_AUTOGRAD_BASE_FILE_H

#include "autograd/base/context.h"

/* Reads a regular file of at most `limit` bytes. *bytes has a NUL after the end; free() it.
 * Errors: MLA_ERROR_IO, MLA_ERROR_FORMAT (larger than the limit, or not a file), MLA_ERROR_MEMORY. */
mla_status mla_file_read(mla_context *context, char **bytes, int64_t *length, const char *path, int64_t limit);

/* Writes path.tmp, then renames it to path, each forced to disk: path is wholly there, or as it was before.
 */
mla_status mla_file_write(mla_context *context, const char *path, const char *bytes, int64_t length);

bool mla_ends_with(const char *text, const char *ending);

#endif
