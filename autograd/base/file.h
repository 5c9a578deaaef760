/* Whole files, read and written in one go; files without a name; and endings of names. */
#ifndef MLA_AUTOGRAD_BASE_FILE_H
#define MLA_AUTOGRAD_BASE_FILE_H

#include "autograd/base/context.h"

/* Reads a regular file, or a pipe, of at most `limit` bytes. *bytes has a NUL after the end; free() it.
 * Errors: MLA_ERROR_IO, MLA_ERROR_FORMAT (larger than the limit, or not a file), MLA_ERROR_MEMORY. */
mla_status mla_file_read(mla_context *context, char **bytes, int64_t *length, const char *path, int64_t limit);

/* Writes path.tmp, then renames it to path, each forced to disk: path is wholly there, or as it was before.
 */
mla_status mla_file_write(mla_context *context, const char *path, const char *bytes, int64_t length);

/* Opens a new file without a name in TMPDIR, or /tmp: gone when it is closed, or when the process ends. MLA_ERROR_IO.
 */
mla_status mla_file_nameless(mla_context *context, int *descriptor);
/* Writes behind what is there. */
mla_status mla_file_append(mla_context *context, int descriptor, const char *bytes, int64_t length);

/* Whether a path is no file but gives its bytes once: "-", the standard input, or a pipe, as in <(COMMAND). */
bool mla_file_is_pipe(const char *path);
/* Reads such a path to its end into a file without a name. A pipe that nobody writes to is waited for, with a warning
 * after 2 seconds, and is MLA_ERROR_IO after 60. */
mla_status mla_file_spool(mla_context *context, const char *path, int *descriptor);

/* Makes a folder and those above it, where they are missing; *made: it was, by this call. MLA_ERROR_IO. */
mla_status mla_folder_make(mla_context *context, const char *path, bool *made);

bool mla_ends_with(const char *text, const char *ending);

#endif
