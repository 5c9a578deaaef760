#include "train/compare/match.h"
#include "layers/attention/latent_attention.h"
#include "train/log/progress.h"
#include "train/run/memory_plan.h"

#include <math.h>
#include <stdlib.h>

const char *const mla_match_names[] = {"parameters", "flops", "cache", "none", NULL};

/* ---- what an arm has ---- */

static mla_status count_parameters(mla_context *context, const mla_model_config *config, int64_t *out) {
    mla_decoder *model;
    const mla_status status = mla_decoder_create(context, &model, config);
    if (!status) *out = mla_params_elements(model->params, false);
    mla_decoder_destroy(model);
    return status;
}

/* Of a training step, a token. */
static mla_status count_flops(mla_context *context, const mla_recipe *recipe, double *out) {
    mla_memory_plan plan;
    const mla_status status = mla_memory_predict(context, recipe, NULL, 1, MLA_F32, &plan);
    if (!status) *out = (plan.cost.forward_flops + plan.cost.backward_flops) / (double)recipe->train.sequence;
    return status;
}

/* The arm's recipe with the vocabulary filled in; shares its strings. */
static mla_recipe completed(const mla_arm *arm, int64_t vocabulary) {
    mla_recipe recipe = arm->recipe;
    if (!recipe.model.vocab_size) recipe.model.vocab_size = vocabulary;
    recipe.train.recompute = MLA_RECOMPUTE_NONE; /* what it computes twice is no other model */
    return recipe;
}

static mla_status look_at(mla_context *context, mla_arm *arm, int64_t vocabulary) {
    const mla_recipe recipe = completed(arm, vocabulary);
    arm->cache_bytes = mla_kv_cache_bytes_per_token(&recipe.model, MLA_F32);
    const mla_status status = count_parameters(context, &recipe.model, &arm->parameters);
    return status ? status : count_flops(context, &recipe, &arm->flops);
}

/* ---- widths ---- */

typedef struct {
    mla_context *context;
    mla_arm *arm;
    const mla_arm *first;
    int64_t vocabulary;
    bool flops; /* these are matched; otherwise parameters */
} matching;

static double amount_of(const mla_arm *arm, bool flops) { return flops ? arm->flops : (double)arm->parameters; }

static mla_status amount_at(const matching *m, int64_t width, double *out) {
    m->arm->recipe.model.intermediate_size = width;
    const mla_status status = look_at(m->context, m->arm, m->vocabulary);
    *out = amount_of(m->arm, m->flops);
    return status;
}

/* `least`: what the arm has with a feed-forward of width 1. */
static mla_status out_of_reach(const matching *m, double least) {
    const double wanted = amount_of(m->first, m->flops);
    const char *what = m->flops ? "training FLOPs a token" : "parameters";
    char own[32], other[32];
    mla_count_text(least, sizeof own, own);
    mla_count_text(wanted, sizeof other, other);
    if (least > wanted)
        return mla_fail(m->context, MLA_ERROR_ARGUMENT,
                        "%s cannot be matched to %s: even with a feed-forward of width 1 it has %s %s, and %s has %s. "
                        "Give the recipe a larger model.intermediate_size, or use --match none",
                        m->arm->name, m->first->name, own, what, m->first->name, other);
    return mla_fail(m->context, MLA_ERROR_ARGUMENT,
                    "%s cannot be matched to %s within %g %%: no width of its feed-forward comes as near to %s %s, as "
                    "one more adds too much. Compare larger models, or use --match none",
                    m->arm->name, m->first->name, 100 * MLA_MATCH_TOLERANCE, other, what);
}

/* What is matched grows by the same for each unit of width, so two widths tell the right one; of those near enough, the
 * roundest. */
static mla_status match_width(const matching *m) {
    const double wanted = amount_of(m->first, m->flops);
    double one, two, got;
    mla_status status = amount_at(m, 1, &one);
    if (!status) status = amount_at(m, 2, &two);
    if (status) return status;
    const double exact = 1 + (wanted - one) / (two - one);
    for (int64_t unit = 8; unit >= 1 && exact >= 0.5; unit /= 2) {
        const int64_t width = (int64_t)unit * llround(exact / (double)unit);
        if (width < 1) continue;
        status = amount_at(m, width, &got);
        if (status || fabs(got / wanted - 1) <= MLA_MATCH_TOLERANCE) return status;
    }
    return out_of_reach(m, one);
}

static mla_status match_feed_forward(const matching *m) {
    if (m->arm->sets_width)
        return mla_fail(m->context, MLA_ERROR_ARGUMENT,
                        "the arm %s sets model.intermediate_size, which is what is adjusted to match arms: leave it "
                        "out, or use --match none",
                        m->arm->name);
    return match_width(m);
}

/* ---- caches ---- */

/* The rank at which latent attention caches as much as is wanted; it may be no width at all. */
static int64_t rank_for(const mla_model_config *c, int64_t bytes) {
    const double row = (double)bytes / (double)(c->num_hidden_layers * (int64_t)sizeof(float));
    return llround(row) - c->qk_rope_head_dim;
}

static mla_status match_cache(const matching *m) {
    mla_model_config *c = &m->arm->recipe.model;
    const int64_t wanted = m->first->cache_bytes;
    const bool latent = c->attention == &mla_latent_kind;
    const int64_t rank = latent ? rank_for(c, wanted) : 0;
    if (rank >= 1) {
        c->kv_lora_rank = rank;
        c->kv_lora_ranks = (mla_ints){0};
    }
    m->arm->cache_bytes = mla_kv_cache_bytes_per_token(c, MLA_F32);
    if (fabs((double)m->arm->cache_bytes / (double)wanted - 1) <= MLA_MATCH_TOLERANCE) return match_feed_forward(m);
    return mla_fail(m->context, MLA_ERROR_ARGUMENT,
                    "%s cannot be matched to %s: it caches %lld bytes a token%s, and %s %lld. Heads stay as they are, "
                    "and only a latent rank is adjusted: leave it out of --arms, or match parameters or flops",
                    m->arm->name, m->first->name, (long long)m->arm->cache_bytes,
                    latent ? " with its rotary key, however small its latent" : "", m->first->name, (long long)wanted);
}

mla_status mla_arms_match(mla_context *context, mla_arms *arms, mla_match how, int64_t vocabulary) {
    mla_status status = MLA_OK;
    for (int i = 0; i < arms->count && !status; i++) {
        const matching m = {context, &arms->of[i], &arms->of[0], vocabulary, how == MLA_MATCH_FLOPS};
        status = look_at(context, m.arm, vocabulary);
        if (status || !i || how == MLA_MATCH_NONE) continue;
        status = how == MLA_MATCH_CACHE ? match_cache(&m) : match_feed_forward(&m);
    }
    return status;
}
