/* The arms of a comparison: models that differ in their attention, each a whole recipe made from one base.
 *
 *     mha        every head has keys and values of its own
 *     gqa        heads share them in groups: as many as divide the heads and come nearest to a quarter of them
 *     mqa        all heads share one
 *     mla        latent attention; of a multi-head base one that caches as much as mqa (layers/attention/replace.h)
 *     base       as the base has it
 *     ...-nope   any of these without positions: no RoPE, and for mla no rotary key
 *
 * and own ones, "NAME=ARM KEY=VALUE ...", which change keys of model and optim of one of them. */
#ifndef MLA_TRAIN_COMPARE_ARMS_H
#define MLA_TRAIN_COMPARE_ARMS_H

#include "train/recipe/recipe.h"

enum { MLA_MOST_ARMS = 16, MLA_ARM_NAME = 40 };

typedef struct {
    char name[MLA_ARM_NAME];
    mla_recipe recipe;
    bool sets_width; /* an own arm that says intermediate_size, which then cannot be adjusted */
    /* by mla_arms_match: */
    int64_t parameters, cache_bytes; /* of a token, in all layers */
    double flops;                    /* training FLOPs of a token, forward and backward */
} mla_arm;

typedef struct {
    mla_arm of[MLA_MOST_ARMS];
    int count;
} mla_arms;

/* Makes the arms of these names, then the own ones. The base is a checked recipe of a language model that is trained
 * from the start. The caller calls mla_arms_free in any case. MLA_ERROR_ARGUMENT for a name of nothing, one that is
 * there twice, and what an arm cannot be made of. */
mla_status mla_arms_create(mla_context *context, mla_arms *out, const mla_recipe *base, const mla_list *names,
                           const mla_list *own);
void mla_arms_free(mla_arms *arms);

#endif
