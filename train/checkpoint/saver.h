/* Saves the checkpoints of a run: at once, or (checkpoint.background) by a thread that writes a copy while training
 * goes on. Rank 0 has one; all functions but create take NULL, and then do nothing.
 *
 * One save is in flight at most: the next one waits for it. What the thread could not do is an error of the next call,
 * as if it had been tried at once. All MPI stays in the thread that trains; the other one sees nothing but the copy. */
#ifndef MLA_TRAIN_CHECKPOINT_SAVER_H
#define MLA_TRAIN_CHECKPOINT_SAVER_H

#include "train/checkpoint/checkpoint.h"
#include "train/log/metrics.h"

typedef struct mla_saver mla_saver;

/* A checkpoint that is there. */
typedef struct {
    int64_t step;
    double paused, seconds; /* how long training stood still for it, and how long the writing took */
} mla_saved;

typedef struct {
    const char *dir;      /* the run folder */
    mla_metrics_log *log; /* forced to disk before a checkpoint of the same step; or NULL */
    int64_t keep;         /* as in mla_checkpoint_save_step */
    bool background;
    mla_step_hook hook; /* called by the thread that writes */
    void (*saved)(void *user,
                  const mla_saved *saved); /* called within the functions below, when one is done; or NULL */
    void *user;
} mla_saver_options;

/* What options point to outlives the saver. Only error: MLA_ERROR_MEMORY. */
mla_status mla_saver_create(mla_context *context, mla_saver **out, const mla_saver_options *options);
/* Waits for the save in flight, whose error is then lost. */
void mla_saver_destroy(mla_saver *saver);

/* Saves. In the background: returns when the copy is taken; the texts of the content must stay. */
mla_status mla_saver_save(mla_saver *saver, const mla_checkpoint_content *content);
/* Whether the save in flight has gone wrong so far: to be asked once a step. */
mla_status mla_saver_poll(mla_saver *saver);
/* Waits for the save in flight. */
mla_status mla_saver_wait(mla_saver *saver);

#endif
