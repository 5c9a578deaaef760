/* The training loop: load, step, log, evaluate, save.
 *
 * A run lives in a folder: recipe.yaml, metrics.jsonl, step-*.h5, latest, tokenizer.json, and tokens.h5 where the
 * text was prepared for it. The folder is locked while a run uses it. */
#ifndef MLA_TRAIN_RUN_TRAINER_H
#define MLA_TRAIN_RUN_TRAINER_H

#include "autograd/base/atomic_file.h"
#include "train/checkpoint/saver.h"
#include "train/distributed/comm.h"
#include "train/log/metrics.h"
#include "train/recipe/recipe.h"
#include "train/run/label_evaluation.h"
#include "train/run/memory_plan.h"

#include <signal.h>

/* What a run will be, known before its first step. */
typedef struct {
    int64_t first_step, steps;             /* steps done already, and in all */
    int64_t parameters, trained;           /* elements, and those of them that are not frozen */
    int64_t train_tokens, held_out_tokens; /* in the data */
    const char *labels;                    /* and how often each is there to train on; NULL: there are none */
    mla_memory_plan memory;
    int64_t predicted_memory; /* bytes, with what the process took before */
    mla_dtype precision;      /* chosen: MLA_F32 or MLA_BF16 */
    double peak_flops;        /* of this machine's matrix products of that type, per second, measured */
} mla_run_plan;

typedef struct {
    mla_comm *comm;      /* the ranks that train together, which all call mla_train; NULL: this process alone */
    const char *out;     /* the run folder; made where it is missing */
    const char *version; /* of the program, for the log; NULL: that of the library */
    bool resume;         /* resume from the newest good checkpoint in it */
    const volatile sig_atomic_t *stop; /* not 0: save after this step and return MLA_ERROR_STOPPED. NULL: never */
    void (*started)(void *user, const mla_run_plan *plan);   /* before the first step; may be NULL */
    void (*stepped)(void *user, const mla_metrics *metrics); /* after each step; may be NULL */
    void (*saved)(void *user, const mla_saved *saved);       /* after each checkpoint; may be NULL */
    void *user;
    mla_step_hook save_hook; /* for tests that stop a save; called by the thread that writes */
} mla_train_options;

/* What a part of a mix has given. */
typedef struct {
    char path[256]; /* cut where it is longer */
    double weight;  /* its share, 0 to 1 */
    double held_out_loss;
    int64_t sequences;
    double epochs; /* above 1: it has run out, and begun again in another order */
} mla_train_part;

/* What a finished run reports. */
typedef struct {
    mla_run_plan plan;
    int64_t step;
    double loss;               /* of the last step, nats per token */
    mla_label_scores held_out; /* over all that is held out; of a language model the loss alone, nats per token; of a
                                * mix: the mean by weight */
    mla_head_labels labels;    /* what the model labels */
    mla_train_part parts[MLA_MOST_PARTS]; /* of a mix; or what there is, without a path */
    int part_count;
    double bits_per_byte; /* of the held-out text; NaN where its bytes are unknown */
    double entropy;       /* of a synthetic source, nats per token; NaN otherwise */
    double source_loss;   /* of that source itself on the held-out tokens: no model can be better, but by chance */
    int64_t peak_memory;  /* bytes */
    double seconds;
} mla_train_result;

/* Trains. Rank 0 prepares the data, reads and writes the checkpoints and the log; the others need to see the folder
 * only for the tokens in it. A new run needs a folder without checkpoints. Errors are those of all parts; after any of
 * them the folder has every checkpoint that was saved, and the run can be resumed. */
mla_status mla_train(mla_context *context, const mla_recipe *recipe, const mla_train_options *options,
                     mla_train_result *result);

#endif
