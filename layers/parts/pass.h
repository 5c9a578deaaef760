/* What a pass through a model has beside its input, the same for all layers: which positions see which, what was seen
 * before, and where layers leave what they have to say. */
#ifndef MLA_LAYERS_PARTS_PASS_H
#define MLA_LAYERS_PARTS_PASS_H

#include "autograd/ops.h"

/* Sums that layers leave by name, such as an auxiliary loss or how evenly experts are used. */
enum { MLA_MOST_STATISTICS = 16 };
typedef struct {
    int count;
    struct {
        const char *name; /* a constant */
        double sum;
        int64_t parts; /* how many values were added: sum / parts is their mean */
    } of[MLA_MOST_STATISTICS];
} mla_statistics;

/* The zero value is an ordinary pass over a batch of single documents. */
typedef struct {
    const int32_t *starts;      /* documents in one sequence: see mla_attention_mask; NULL: one in each */
    struct mla_kv_cache *cache; /* layers/attention/kv_cache.h; NULL: none, as in training */
    bool recompute;             /* activation checkpointing: blocks keep their input and are computed again */
    float loss_share;           /* of auxiliary losses: this batch's share of the step; 0: they are left out */
    mla_statistics *statistics; /* NULL: nobody asks */
} mla_pass;

/* x, with which `loss` (one element) becomes part of what is minimised, times the pass's loss_share: for a layer with a
 * loss of its own. The value is noted under `name`. The same inside of recomputed blocks, where it is noted once. */
mla_tensor *mla_pass_add_loss(mla_tape *tape, const mla_pass *pass, mla_tensor *x, const char *name, mla_tensor *loss);

/* Adds the value of a tensor of one element to the statistics; not again when a block is recomputed, nor in a run on
 * shapes alone. Names beyond MLA_MOST_STATISTICS: MLA_ERROR_ARGUMENT in the tape's context. */
void mla_pass_note(mla_tape *tape, const mla_pass *pass, const char *name, const mla_tensor *value);

#endif
