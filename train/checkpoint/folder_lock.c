#include "train/checkpoint/folder_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME = 256 };

/* ---- who holds it ---- */

typedef struct {
    char host[NAME], job[NAME]; /* job: "-" outside of Slurm */
    long process;
} holder;

static holder self(void) {
    holder h = {.process = (long)getpid()};
    const char *job = getenv("SLURM_JOB_ID");
    if (gethostname(h.host, sizeof h.host - 1) || !h.host[0]) snprintf(h.host, sizeof h.host, "unknown");
    snprintf(h.job, sizeof h.job, "%s", job && *job ? job : "-");
    return h;
}

static void write_holder(int file) {
    const holder h = self();
    char text[3 * NAME];
    const int length = snprintf(text, sizeof text, "%s %ld %s\n", h.host, h.process, h.job);
    if (ftruncate(file, 0) || write(file, text, (size_t)length) != length) return; /* it says less, and locks as well */
    fsync(file);
}

static bool read_holder(const char *path, holder *h) {
    FILE *file = fopen(path, "re");
    *h = (holder){0};
    const bool good = file && fscanf(file, "%255s %ld %255s", h->host, &h->process, h->job) == 3;
    if (file) fclose(file);
    return good;
}

static bool has_ended(const holder *h) {
    const holder us = self();
    if (strcmp(us.job, "-") && !strcmp(us.job, h->job) && strcmp(us.host, h->host)) return true; /* was requeued */
    return !strcmp(us.host, h->host) && h->process > 0 && kill((pid_t)h->process, 0) && errno == ESRCH;
}

/* ---- the three locks ---- */

static mla_status busy(mla_context *context, const char *folder) {
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: another run is using this folder; choose another with --out",
                    folder);
}

static mla_status busy_by_file(mla_context *context, const mla_folder_lock *lock, const char *folder) {
    holder h;
    if (!read_holder(lock->file, &h)) snprintf(h.host, sizeof h.host, "an unknown host");
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s: another run is using this folder: process %ld on %s, by %s; choose another with --out, or "
                    "remove that file if this run has ended",
                    folder, h.process, h.host, lock->file);
}

/* Whether the open file is still the one of that name. */
static bool is_there(const mla_folder_lock *lock) {
    struct stat ours, there;
    return !fstat(lock->handle, &ours) && !stat(lock->file, &there) && ours.st_ino == there.st_ino;
}

typedef enum { HELD_BY_FCNTL, HELD_BY_FILE, HELD_BY_ANOTHER, GONE } outcome;

static outcome try_file(mla_folder_lock *lock) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    holder h;
    lock->handle = open(lock->file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    const bool made = lock->handle >= 0;
    if (!made) lock->handle = open(lock->file, O_RDWR | O_CLOEXEC);
    if (lock->handle < 0) return errno == ENOENT ? GONE : HELD_BY_ANOTHER;
    const int failed = fcntl(lock->handle, F_SETLK, &whole) ? errno : 0;
    if (!failed && is_there(lock)) return HELD_BY_FCNTL;
    if (failed && failed != EAGAIN && failed != EACCES && made) return HELD_BY_FILE;
    close(lock->handle);
    lock->handle = -1;
    if (!failed) return GONE;
    if (failed == EAGAIN || failed == EACCES || !read_holder(lock->file, &h) || !has_ended(&h)) return HELD_BY_ANOTHER;
    unlink(lock->file);
    return GONE;
}

static mla_status take_another(mla_context *context, mla_folder_lock *lock, const char *folder, int error) {
    outcome is = GONE;
    snprintf(lock->file, sizeof lock->file, "%.4000s/run.lock", folder);
    for (int tries = 0; tries < 3 && is == GONE; tries++) is = try_file(lock);
    if (is == HELD_BY_ANOTHER || is == GONE) return busy_by_file(context, lock, folder);
    write_holder(lock->handle);
    mla_warn(context, "%s: its file system has no flock (%s); %s", folder, strerror(error),
             is == HELD_BY_FCNTL ? "run.lock in it is locked by fcntl instead"
                                 : "the file run.lock in it keeps other runs out instead");
    return MLA_OK;
}

mla_status mla_folder_lock_take(mla_context *context, mla_folder_lock *lock, const char *folder) {
    *lock = (mla_folder_lock){.handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (lock->handle < 0)
        return mla_fail(context, MLA_ERROR_IO, "%s: cannot be used as a run folder: %s", folder, strerror(errno));
    if (!flock(lock->handle, LOCK_EX | LOCK_NB)) return MLA_OK;
    const int error = errno;
    close(lock->handle);
    lock->handle = -1;
    return error == EWOULDBLOCK ? busy(context, folder) : take_another(context, lock, folder, error);
}

void mla_folder_lock_release(mla_folder_lock *lock) {
    if (lock->handle < 0) return;
    if (lock->file[0]) unlink(lock->file);
    close(lock->handle);
    lock->handle = -1;
}
