#include "train/inference/generation.h"
#include "autograd/base/clock.h"
#include "layers/head/head.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_context *context;
    const mla_decoder *model;
    const mla_generation_options *options;
    mla_tape *tape;
    mla_kv_cache *cache; /* NULL: the whole text each time */
    int32_t *ids;        /* the text */
    int64_t length, capacity;
    mla_candidate *candidates;
} generator;

static mla_status generation_check(mla_context *context, const mla_model_config *c, const mla_generation_options *o) {
    if (!c->causal)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "the model was made without a mask (model.causal: false): every "
                        "position sees those after it, so it cannot continue a text");
    if (o->prompt_count < 1) return mla_fail(context, MLA_ERROR_ARGUMENT, "the prompt has no token");
    if (o->prompt_count >= c->max_position_embeddings)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "the prompt has %lld tokens, and the model has %lld positions "
                        "(max_position_embeddings): shorten the prompt",
                        (long long)o->prompt_count, (long long)c->max_position_embeddings);
    if (o->vocabulary < 0 || o->vocabulary > c->vocab_size || o->tokens < 0)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%lld tokens of a vocabulary of %lld were asked of a model of %lld", (long long)o->tokens,
                        (long long)o->vocabulary, (long long)c->vocab_size);
    return mla_sampling_check(context, &o->sampling);
}

static mla_status set_up(generator *g) {
    const mla_model_config *c = &g->model->config;
    const mla_generation_options *o = g->options;
    const int64_t room = c->max_position_embeddings - o->prompt_count;
    mla_status status = generation_check(g->context, c, o);
    if (status) return status;
    g->capacity = o->prompt_count + (o->tokens < room ? o->tokens : room);
    g->length = o->prompt_count;
    g->ids = mla_alloc(g->context, g->capacity, sizeof *g->ids, "the text");
    g->candidates = mla_alloc(g->context, c->vocab_size, sizeof *g->candidates, "the vocabulary");
    if (!g->ids || !g->candidates) return MLA_ERROR_MEMORY;
    memcpy(g->ids, o->prompt, (size_t)g->length * sizeof *g->ids);
    status = mla_tape_create(g->context, &g->tape, NULL);
    if (!status && o->form != MLA_DECODE_FULL) status = mla_kv_cache_create(g->context, &g->cache, c, g->capacity);
    if (!status && o->form == MLA_DECODE_EXPANDED) mla_kv_cache_expand(g->cache);
    return status;
}

static void tear_down(generator *g) {
    mla_kv_cache_destroy(g->cache);
    mla_tape_destroy(g->tape);
    free(g->candidates);
    free(g->ids);
}

/* LongRoPE turns a text that outgrows the original length by other angles, from its first position on. */
static void forget_short_keys(const generator *g) {
    const int64_t original = g->model->rope.original;
    if (g->cache && original && g->length == original + 1) mla_kv_cache_clear(g->cache);
}

/* What the model says after the text: the logits of its last position only. They live until the next call. */
static mla_status next_logits(generator *g, const float **logits) {
    forget_short_keys(g);
    const int64_t seen = g->cache ? mla_kv_cache_length(g->cache) : 0, fresh = g->length - seen;
    mla_tape_begin(g->tape, &(mla_step){.inference = true});
    mla_tensor *ids = mla_input(g->tape, MLA_I32, 2, (int64_t[]){1, fresh}, g->ids + seen);
    mla_tensor *hidden = mla_decoder_hidden(g->tape, g->model, ids, &(mla_pass){.cache = g->cache});
    mla_tensor *last = mla_slice(g->tape, hidden, 1, fresh - 1, 1);
    *logits = g->model->config.head->logits(g->tape, g->model->head, last, &(mla_pass){0})->data;
    return mla_error_status(g->context);
}

/* One more token, or the ending. */
static mla_status extend(generator *g, const float *logits, bool *ended) {
    const mla_generation_options *o = g->options;
    const int64_t vocabulary = o->vocabulary ? o->vocabulary : g->model->config.vocab_size;
    int32_t id;
    const mla_status status = mla_sample(g->context, &o->sampling, logits, vocabulary, g->length, g->candidates, &id);
    *ended = !status && o->ending && id == *o->ending;
    if (status || *ended) return status;
    g->ids[g->length++] = id;
    return o->token ? o->token(o->user, id, logits) : MLA_OK;
}

static mla_status generate(generator *g, mla_generation *out) {
    const double begin = mla_seconds();
    bool ended = false;
    while (g->length < g->capacity && !ended) {
        const float *logits;
        mla_status status = next_logits(g, &logits);
        if (g->length == g->options->prompt_count) out->prompt_seconds = mla_seconds() - begin;
        if (!status) status = extend(g, logits, &ended);
        if (status) return status;
    }
    out->seconds = mla_seconds() - begin - out->prompt_seconds;
    out->tokens = g->length - g->options->prompt_count;
    out->end = ended ? MLA_END_SEPARATOR : out->tokens == g->options->tokens ? MLA_END_TOKENS : MLA_END_POSITIONS;
    return MLA_OK;
}

mla_status mla_generate(mla_context *context, const mla_decoder *model, const mla_generation_options *options,
                        mla_generation *out) {
    generator g = {.context = context, .model = model, .options = options};
    *out = (mla_generation){0};
    if (model->config.head->labels)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "this model labels text (head: %s) and continues none: use mla classify",
                        model->config.head->name);
    mla_status status = set_up(&g);
    if (!status) status = generate(&g, out);
    tear_down(&g);
    return status;
}
