#include "autograd/base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void atomic_file_step(mla_step_hook hook, const char *name) {
    if (hook.call) hook.call(hook.user, name);
}

static mla_status atomic_file_failed(mla_context *context, const char *action, const char *path) {
    return mla_fail(context, MLA_ERROR_IO, "cannot %s %s: %s", action, path, strerror(errno));
}

/* EINVAL: a file system that cannot sync folders has no need to. */
static mla_status sync_path(mla_context *context, const char *path, int flags) {
    int descriptor = open(path, flags | O_CLOEXEC);
    if (descriptor < 0) return atomic_file_failed(context, "open", path);
    mla_status status = fsync(descriptor) && errno != EINVAL ? atomic_file_failed(context, "sync", path) : MLA_OK;
    if (close(descriptor) && !status) status = atomic_file_failed(context, "close", path);
    return status;
}

static mla_status sync_folder_of(mla_context *context, const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash > path ? (size_t)(slash - path) : 1) : strdup(".");
    if (!folder) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for a path");
    mla_status status = sync_path(context, folder, O_RDONLY | O_DIRECTORY);
    free(folder);
    return status;
}

mla_status mla_replace(mla_context *context, const char *temporary, const char *path, mla_step_hook hook) {
    atomic_file_step(hook, "fsync");
    mla_status status = sync_path(context, temporary, O_RDONLY);
    if (status) return status;
    atomic_file_step(hook, "rename");
    if (rename(temporary, path)) return atomic_file_failed(context, "rename to", path);
    atomic_file_step(hook, "folder");
    return sync_folder_of(context, path);
}
