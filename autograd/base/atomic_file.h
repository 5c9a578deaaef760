/* Replacing a file so that it is the old one or the new one at any instant, also after a power cut. */
#ifndef MLA_AUTOGRAD_BASE_ATOMIC_FILE_H
#define MLA_AUTOGRAD_BASE_ATOMIC_FILE_H

#include "autograd/base/context.h"

/* Called before each step of a save with its name, for tests that stop the process there. */
typedef struct {
    void (*call)(void *user, const char *name); /* NULL: none */
    void *user;
} mla_step_hook;

/* Puts `temporary`, a file written and closed (or a folder, and `path` an empty one or none), in the place of
 * `path`: syncs it, renames it, syncs the folder around (the steps fsync, rename, folder). Both are in one folder.
 * The caller removes `temporary` after MLA_ERROR_IO. */
mla_status mla_replace(mla_context *context, const char *temporary, const char *path, mla_step_hook hook);

#endif
