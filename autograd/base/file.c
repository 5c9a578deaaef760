#include "autograd/base/file.h"

#include "autograd/base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mla_status fail(mla_context *context, const char *what, const char *path) {
    return mla_fail(context, MLA_ERROR_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

static mla_status read_all(mla_context *context, int file, char *bytes, int64_t length, const char *path) {
    for (int64_t done = 0; done < length;) {
        const ssize_t n = read(file, bytes + done, (size_t)(length - done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(context, "read", path);
        if (n == 0) return mla_fail(context, MLA_ERROR_IO, "%s became shorter while it was read", path);
        done += n;
    }
    return MLA_OK;
}

mla_status mla_file_read(mla_context *context, char **bytes, int64_t *length, const char *path, int64_t limit) {
    struct stat info;
    mla_status status = MLA_OK;
    *bytes = NULL;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return fail(context, "open", path);
    if (fstat(file, &info)) status = fail(context, "read", path);
    else if (!S_ISREG(info.st_mode)) status = mla_fail(context, MLA_ERROR_FORMAT, "%s is not a regular file", path);
    else if (info.st_size > limit)
        status = mla_fail(context, MLA_ERROR_FORMAT, "%s has %lld bytes; at most %lld are read of such a file", path,
                          (long long)info.st_size, (long long)limit);
    else if (!(*bytes = mla_alloc(context, (int64_t)info.st_size + 1, 1, path))) status = MLA_ERROR_MEMORY;
    else status = read_all(context, file, *bytes, *length = info.st_size, path);
    close(file);
    if (status) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

static mla_status write_all(mla_context *context, int file, const char *bytes, int64_t length, const char *path) {
    for (int64_t done = 0; done < length;) {
        const ssize_t n = write(file, bytes + done, (size_t)(length - done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(context, "write", path);
        done += n;
    }
    return MLA_OK;
}

static mla_status write_new(mla_context *context, const char *path, const char *bytes, int64_t length) {
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0) return fail(context, "write", path);
    mla_status status = write_all(context, file, bytes, length, path);
    if (close(file) && !status) status = fail(context, "write", path);
    if (status) unlink(path);
    return status;
}

mla_status mla_file_write(mla_context *context, const char *path, const char *bytes, int64_t length) {
    char *temporary = mla_alloc(context, (int64_t)strlen(path) + 5, 1, "a path");
    if (!temporary) return MLA_ERROR_MEMORY;
    sprintf(temporary, "%s.tmp", path);
    mla_status status = write_new(context, temporary, bytes, length);
    if (!status && (status = mla_replace(context, temporary, path, (mla_step_hook){0}))) unlink(temporary);
    free(temporary);
    return status;
}

bool mla_ends_with(const char *text, const char *ending) {
    const size_t a = strlen(text), b = strlen(ending);
    return a >= b && !strcmp(text + a - b, ending);
}
