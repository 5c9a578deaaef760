/* What train/checkpoint/checkpoint.c (reading) and train/checkpoint/checkpoint_save.c (writing) share; not for others.
 */
#ifndef MLA_TRAIN_CHECKPOINT_CHECKPOINT_INTERNAL_H
#define MLA_TRAIN_CHECKPOINT_CHECKPOINT_INTERNAL_H

#include "train/checkpoint/checkpoint.h"

#include <limits.h>

/* The members of mla_run_state and their names in the file; NULL after the last. */
typedef struct {
    const char *name;
    size_t offset;
} mla_state_member;
extern const mla_state_member mla_state_members[];

/* Moments that are not in this process come and go in pieces of some megabytes, whole rows of a parameter. */
static inline int64_t mla_piece_rows(int64_t width) {
    enum { PIECE = 1 << 20 };
    return width < PIECE ? PIECE / width : 1;
}

/* The steps of all checkpoints in a folder, newest first; the caller frees. */
mla_status mla_checkpoint_steps(mla_context *context, const char *dir, int64_t **steps, int64_t *count);
void mla_checkpoint_step_path(char path[PATH_MAX], const char *dir, int64_t step);

#endif
