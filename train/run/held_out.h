/* The loss on what a run holds out of its data, on all ranks. */
#ifndef MLA_TRAIN_RUN_HELD_OUT_H
#define MLA_TRAIN_RUN_HELD_OUT_H

#include "train/log/metrics.h"
#include "train/run/label_evaluation.h"
#include "train/run/mix.h"

typedef struct {
    mla_tape *tape; /* free to be used */
    const mla_decoder *model;
    const mla_mix *mix;
    mla_team *team;
    const mla_comm *comm;
    const mla_recipe_train *recipe;
    int64_t rows; /* sequences of a microbatch */
    mla_dtype precision;
} mla_held_out;

/* Each part of a mix by itself, and in `out` the mean of them by weight; at most `batches` of each, 0: all. NaN where
 * nothing is held out. All ranks call it. Errors: the graph's, and MLA_ERROR_LIBRARY where a rank is lost. */
mla_status mla_held_out_evaluate(const mla_held_out *held_out, int64_t batches, mla_label_scores *out,
                                 mla_part_losses *parts);

/* Of that loss; NaN where the bytes of the text are unknown. */
double mla_held_out_bits_per_byte(const mla_mix *mix, double loss, const mla_part_losses *parts);

#endif
