/* A folder that only one run uses at a time. Where a file system has no flock (Lustre and NFS as many clusters mount
 * them), a lock of fcntl on FOLDER/run.lock takes its place, or, where there is none of that either, this file alone,
 * with the host, the process and the Slurm job of the run. */
#ifndef MLA_TRAIN_CHECKPOINT_FOLDER_LOCK_H
#define MLA_TRAIN_CHECKPOINT_FOLDER_LOCK_H

#include "autograd/base/context.h"

#include <limits.h>

typedef struct {
    int handle;          /* of the folder or of run.lock; -1: none */
    char file[PATH_MAX]; /* run.lock, where it takes flock's place; otherwise empty */
} mla_folder_lock;

/* MLA_ERROR_ARGUMENT where another run uses the folder. A run.lock that is left of a process of this host that has
 * ended, or of this Slurm job before it was requeued, is taken over. Any lock but flock is a warning. Release it in any
 * case; when the process dies, flock and fcntl let go by themselves. */
mla_status mla_folder_lock_take(mla_context *context, mla_folder_lock *lock, const char *folder);
void mla_folder_lock_release(mla_folder_lock *lock);

#endif
