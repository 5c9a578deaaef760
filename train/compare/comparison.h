/* A comparison: its arms, matched; its data, prepared once; the runs that it consists of, and their results so far. All
 * of it lives in a folder, which README.md describes. */
#ifndef MLA_TRAIN_COMPARE_COMPARISON_H
#define MLA_TRAIN_COMPARE_COMPARISON_H

#include "train/checkpoint/folder_lock.h"
#include "train/compare/match.h"
#include "train/compare/trial.h"
#include "train/run/mix.h"

#include <stdio.h>

enum { MLA_MOST_RATES = 16, MLA_MOST_SEEDS = 64 };

typedef struct {
    const char *folder;         /* NULL: none, for a plan */
    const char *recipe;         /* what the base was loaded from, for the record */
    const mla_list *arms, *own; /* mla_arms_create */
    mla_match match;
    mla_floats rates; /* learning rates to sweep; none: half, once and twice the base's */
    int64_t seeds;
    mla_ints contexts; /* positions behind which decoding is timed */
    int part, parts;   /* this process does only every parts-th run, from the part-th (from 1); 0: all */
    const volatile sig_atomic_t *stop;
    FILE *progress; /* NULL: none */
} mla_compare_options;

typedef struct {
    mla_context *context;
    const mla_compare_options *o;
    mla_recipe base; /* the effective one */
    mla_arms arms;
    mla_mix mix;        /* what the runs train on and are measured by */
    int64_t vocabulary; /* of it; in a plan for text that is not prepared yet, what it may be at most */
    double rates[MLA_MOST_RATES];
    int rate_count;
    int64_t first_seed;
    char *data; /* where what was prepared is, as --set takes it, for runs that are used from elsewhere later */
    int best[MLA_MOST_ARMS];                                /* of the rates; -1: not known yet */
    mla_trial_result sweep[MLA_MOST_ARMS][MLA_MOST_RATES];  /* at the first seed */
    mla_trial_result others[MLA_MOST_ARMS][MLA_MOST_SEEDS]; /* at the best rate; of the first seed it is in sweep */
} mla_comparison;

/* Opens a new one, or one that has begun, whose recipe and arms must be the same (rates, seeds and arms may be added).
 * The base is a checked recipe; a copy is made. Prepares the text, unless `plan`: then nothing is written. The caller
 * calls mla_comparison_close and frees *out with free(), in any case. MLA_ERROR_ARGUMENT where the folder holds another
 * comparison (the first difference is named), where there is no held-out text, and where arms cannot be made or
 * matched.
 */
mla_status mla_comparison_open(mla_context *context, mla_comparison **out, const mla_recipe *base,
                               const mla_compare_options *options, bool plan);
void mla_comparison_close(mla_comparison *comparison);

/* The runs in the order in which they are made: the rates of all arms, then each further seed of all arms. Run i, and
 * where its result is. Of the latter, the rate is known when the sweep of its arm is over. */
int mla_comparison_count(const mla_comparison *comparison);
mla_trial mla_comparison_trial(const mla_comparison *comparison, int i);
mla_trial_result *mla_comparison_result(mla_comparison *comparison, int i);
int mla_comparison_arm(const mla_comparison *comparison, int i);
bool mla_comparison_is_ready(const mla_comparison *comparison, int i);

/* The result at the best rate with the k-th seed; NULL where there is none yet. */
const mla_trial_result *mla_comparison_at_best(const mla_comparison *comparison, int arm, int64_t k);

/* Steps of a run; 0 where the data is not known yet. */
int64_t mla_comparison_steps(const mla_comparison *comparison);

/* "FOLDER/name". */
mla_status mla_comparison_path(const mla_comparison *comparison, const char *name, char out[PATH_MAX]);

/* The folder's lock, which processes hold only while they write what is common to all runs; waits for it. */
mla_status mla_comparison_lock(const mla_comparison *comparison, mla_folder_lock *lock);

#endif
