/* Which files a text source has. */
#ifndef MLA_DATA_TEXT_TEXT_FILES_H
#define MLA_DATA_TEXT_TEXT_FILES_H

#include "autograd/base/context.h"

typedef struct {
    char *path;    /* "standard input" for - */
    int spool;     /* of a pipe: a file without a name with all that came out of it; otherwise -1 */
    bool named;    /* by a path of its own; otherwise it was found in a folder, or by a glob */
    bool left_out; /* it holds no text */
} mla_text_file;

/* How many files were left out, and the names of the first three. */
typedef struct {
    int64_t count;
    char names[512];
} mla_text_names;

typedef struct {
    mla_context *context;
    mla_text_file *items;
    int64_t count, capacity;
    mla_text_names hidden, no_text; /* that are left out: .x in a folder; what holds no text */
} mla_text_files;

/* Finds the files of files, folders, globs and pipes, in the order that text_source.h states; pipes are read to their
 * ends. The caller calls mla_text_files_free in any case. MLA_ERROR_IO, MLA_ERROR_MEMORY. */
mla_status mla_text_files_find(mla_context *context, mla_text_files *out, const char *const *paths, int64_t count);
void mla_text_files_free(mla_text_files *files);

/* Leaves a file out, for what it is ("a PDF document"). */
void mla_text_files_leave_out(mla_text_files *files, mla_text_file *file, const char *what);
/* Warns of those that were left out, once. */
void mla_text_files_warn(mla_text_files *files);

#endif
