#include "autograd/base/file.h"

#include "autograd/base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
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

static mla_status open_to_read(mla_context *context, const char *path, int *file) {
    if (mla_file_is_pipe(path)) return mla_file_spool(context, path, file);
    *file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return *file < 0 ? fail(context, "open", path) : MLA_OK;
}

mla_status mla_file_read(mla_context *context, char **bytes, int64_t *length, const char *path, int64_t limit) {
    struct stat info;
    int file;
    *bytes = NULL;
    mla_status status = open_to_read(context, path, &file);
    if (status) return status;
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

mla_status mla_file_append(mla_context *context, int descriptor, const char *bytes, int64_t length) {
    return write_all(context, descriptor, bytes, length, "a temporary file (TMPDIR says where they are)");
}

mla_status mla_file_nameless(mla_context *context, int *descriptor) {
    const char *folder = getenv("TMPDIR");
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/mla-XXXXXX", folder && folder[0] ? folder : "/tmp");
    *descriptor = mkostemp(name, O_CLOEXEC);
    if (*descriptor < 0) return fail(context, "make a temporary file", name);
    unlink(name);
    return MLA_OK;
}

/* ---- pipes */

bool mla_file_is_pipe(const char *path) {
    struct stat info;
    return !strcmp(path, "-") || (!stat(path, &info) && S_ISFIFO(info.st_mode));
}

/* Waits until a pipe with a name is open to somebody who writes. Before, read says 0, as it does at the end. */
static mla_status wait_for_writer(mla_context *context, int pipe, const char *path, int spool) {
    enum { WARNS = 2, MOST = 60 };
    struct pollfd event = {.fd = pipe, .events = POLLIN};
    for (int seconds = 1; poll(&event, 1, 1000) == 0; seconds++) {
        char first;
        const ssize_t n = read(pipe, &first, 1);
        if (n > 0) return mla_file_append(context, spool, &first, 1);
        if (n < 0) return errno == EAGAIN ? MLA_OK : fail(context, "read", path);
        if (seconds == WARNS) mla_warn(context, "%s: waiting for somebody to write to this pipe", path);
        if (seconds == MOST)
            return mla_fail(context, MLA_ERROR_IO, "%s: nobody has written to this pipe for %d seconds", path, MOST);
    }
    return MLA_OK;
}

/* That of <(COMMAND) and of a shell's | has no name, and its end is always the end. */
static bool has_name(int pipe) {
    struct statfs info;
    return fstatfs(pipe, &info) || info.f_type != PIPEFS_MAGIC;
}

static mla_status open_pipe(mla_context *context, const char *path, int spool, int *pipe) {
    const bool standard = !strcmp(path, "-");
    *pipe = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*pipe < 0) return fail(context, "read", path);
    if (standard) return MLA_OK;
    const mla_status status = has_name(*pipe) ? wait_for_writer(context, *pipe, path, spool) : MLA_OK;
    if (!status && fcntl(*pipe, F_SETFL, 0)) return fail(context, "read", path);
    return status;
}

static mla_status copy_pipe(mla_context *context, int pipe, const char *path, int spool) {
    char bytes[1 << 16];
    for (;;) {
        const ssize_t n = read(pipe, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n ? fail(context, "read", path) : MLA_OK;
        const mla_status status = mla_file_append(context, spool, bytes, n);
        if (status) return status;
    }
}

mla_status mla_file_spool(mla_context *context, const char *path, int *descriptor) {
    int pipe = -1;
    mla_status status = mla_file_nameless(context, descriptor);
    if (status) return status;
    status = open_pipe(context, path, *descriptor, &pipe);
    if (!status) status = copy_pipe(context, pipe, strcmp(path, "-") ? path : "the standard input", *descriptor);
    if (!status && lseek(*descriptor, 0, SEEK_SET)) status = fail(context, "read", path);
    if (pipe >= 0) close(pipe);
    if (status) close(*descriptor);
    return status;
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

mla_status mla_folder_make(mla_context *context, const char *path, bool *made) {
    char part[PATH_MAX];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = part + 1; *slash; slash++) {
        if (*slash != '/') continue;
        *slash = '\0';
        mkdir(part, 0777);
        *slash = '/';
    }
    *made = !mkdir(part, 0777);
    if (*made || errno == EEXIST) return MLA_OK;
    return mla_fail(context, MLA_ERROR_IO, "%s: the folder cannot be made: %s; choose another with --out", path,
                    strerror(errno));
}

bool mla_ends_with(const char *text, const char *ending) {
    const size_t a = strlen(text), b = strlen(ending);
    return a >= b && !strcmp(text + a - b, ending);
}
