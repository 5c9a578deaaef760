/* One training of an arm, at one learning rate and seed: a run folder FOLDER/ARM/lr-X-seed-Y, made by `mla train` as a
 * process of its own, and in it result.json, written when the run is over and its model has been measured. */
#ifndef MLA_TRAIN_COMPARE_TRIAL_H
#define MLA_TRAIN_COMPARE_TRIAL_H

#include "train/compare/arms.h"
#include "train/compare/tasks.h"

#include <limits.h>
#include <signal.h>

typedef struct {
    const char *folder; /* of the comparison */
    const char *data;   /* where the data is now, as --set takes it; NULL: the arm's recipe says */
    const mla_arm *arm;
    double lr;
    int64_t seed;
} mla_trial;

/* What became of it. Numbers that it does not have are NaN. */
typedef struct {
    bool done;
    bool diverged; /* its loss was no number for train.max_skipped steps: it has nothing below but the step */
    int64_t step;
    double loss, held_out_loss, bits_per_byte; /* held-out: over all that is held out */
    mla_task_scores tasks;
    /* dependent on time and machine: */
    double seconds, tokens_per_second; /* of all sessions of training; the median of the steps */
    int64_t peak_memory;               /* bytes */
} mla_trial_result;

typedef struct {
    const mla_token_stream *held_out; /* for the tasks */
    const volatile sig_atomic_t *stop;
    char **warned; /* what the last run warned of, which is not said again; the caller's to free */
} mla_trial_options;

/* "ARM/lr-0.001-seed-1", within the comparison's folder; and that folder before it, with a file of it behind it, which
 * may be "". */
void mla_trial_name(const mla_trial *trial, size_t size, char *out);
mla_status mla_trial_path(mla_context *context, const mla_trial *trial, const char *file, char out[PATH_MAX]);

/* Reads its result; out->done is false where it has none yet. MLA_ERROR_FORMAT where it is damaged. */
mla_status mla_trial_read(mla_context *context, const mla_trial *trial, mla_trial_result *out);

/* Whether another process is at it. */
mla_status mla_trial_is_busy(mla_context *context, const mla_trial *trial, bool *busy);

/* Trains it to its end, from its last checkpoint where there is one, measures it and writes its result. No
 * other process may be at it. MLA_ERROR_STOPPED where it was asked to stop, and has saved; otherwise the
 * words of the run that failed. */
mla_status mla_trial_run(mla_context *context, const mla_trial *trial, const mla_trial_options *options,
                         mla_trial_result *out);

#endif
