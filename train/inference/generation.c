/* Prompts go through the model one by one; then all sequences that are under way go on together, a token each in one
 * pass. One that ends makes room for the next prompt. */
#include "train/inference/generation.h"
#include "autograd/base/clock.h"
#include "layers/head/head.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const mla_generation_options *options;
    mla_generation *out;
    mla_kv_cache *cache; /* NULL: the whole text each time */
    int32_t *ids;        /* the text */
    int64_t length, capacity;
    double begin;
} sequence;

typedef struct {
    mla_context *context;
    const mla_decoder *model;
    mla_generation_plan plan;
    mla_tape *tape;
    mla_candidate *candidates;
    int64_t running;
    sequence of[MLA_MOST_SEQUENCES];
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
    if (c->head->labels)
        return mla_fail(g->context, MLA_ERROR_ARGUMENT,
                        "this model labels text (head: %s) and continues none: use mla classify", c->head->name);
    g->candidates = mla_alloc(g->context, c->vocab_size, sizeof *g->candidates, "the vocabulary");
    return g->candidates ? mla_tape_create(g->context, &g->tape, NULL) : MLA_ERROR_MEMORY;
}

static void close_sequence(sequence *s) {
    mla_kv_cache_destroy(s->cache);
    free(s->ids);
}

static void tear_down(generator *g) {
    for (int64_t i = 0; i < g->running; i++) close_sequence(&g->of[i]);
    mla_tape_destroy(g->tape);
    free(g->candidates);
}

static mla_status open_sequence(generator *g, const mla_generation_options *o, mla_generation *out) {
    const mla_model_config *c = &g->model->config;
    const int64_t room = c->max_position_embeddings - o->prompt_count;
    sequence *s = &g->of[g->running++];
    *s = (sequence){.options = o, .out = out, .begin = mla_seconds()};
    s->capacity = o->prompt_count + (o->tokens < room ? o->tokens : room);
    s->length = o->prompt_count;
    s->ids = mla_alloc(g->context, s->capacity, sizeof *s->ids, "the text");
    if (!s->ids) return MLA_ERROR_MEMORY;
    memcpy(s->ids, o->prompt, (size_t)s->length * sizeof *s->ids);
    if (o->form == MLA_DECODE_FULL) return MLA_OK;
    const mla_status status = mla_kv_cache_create(g->context, &s->cache, c, s->capacity, g->plan.cache);
    if (!status && o->form == MLA_DECODE_EXPANDED) mla_kv_cache_expand(s->cache);
    return status;
}

/* LongRoPE turns a text that outgrows the original length by other angles, from its first position on. */
static void forget_short_keys(const generator *g, const sequence *s) {
    const int64_t original = g->model->rope.original;
    if (s->cache && original && s->length == original + 1) mla_kv_cache_clear(s->cache);
}

/* Ids that the model has not seen. */
static int64_t fresh_of(const sequence *s) { return s->length - (s->cache ? mla_kv_cache_length(s->cache) : 0); }

/* What the model says at the last of the ids (B,T): logits (B,V), which live until the next call. */
static mla_status last_logits(generator *g, int64_t batch, int64_t count, const int32_t *ids, mla_kv_cache *cache,
                              const float **logits) {
    mla_tape_begin(g->tape, &(mla_step){.inference = true, .decoding = true, .precision = g->plan.precision});
    mla_tensor *input = mla_input(g->tape, MLA_I32, 2, (int64_t[]){batch, count}, ids);
    mla_tensor *hidden = mla_decoder_hidden(g->tape, g->model, input, &(mla_pass){.cache = cache});
    mla_tensor *last = mla_slice(g->tape, hidden, 1, count - 1, 1);
    *logits = g->model->config.head->logits(g->tape, g->model->head, last, &(mla_pass){0})->data;
    return mla_error_status(g->context);
}

/* There is no room for another token; so it is for one that has ended. */
static bool is_full(const sequence *s) { return s->length == s->capacity; }

static mla_status finish(sequence *s, bool ended) {
    const mla_generation_options *o = s->options;
    s->out->seconds = mla_seconds() - s->begin - s->out->prompt_seconds;
    s->out->tokens = s->length - o->prompt_count;
    s->out->end = ended ? MLA_END_SEPARATOR : s->out->tokens == o->tokens ? MLA_END_TOKENS : MLA_END_POSITIONS;
    s->length = s->capacity;
    return o->done ? o->done(o->user, s->out) : MLA_OK;
}

/* One more token, or the ending. */
static mla_status extend(const generator *g, sequence *s, const float *logits) {
    const mla_generation_options *o = s->options;
    const int64_t vocabulary = o->vocabulary ? o->vocabulary : g->model->config.vocab_size;
    int32_t id;
    if (s->length == o->prompt_count) s->out->prompt_seconds = mla_seconds() - s->begin;
    mla_status status = mla_sample(g->context, &o->sampling, logits, vocabulary, s->length, g->candidates, &id);
    if (status) return status;
    if (o->ending && id == *o->ending) return finish(s, true);
    s->ids[s->length++] = id;
    if (o->token) status = o->token(o->user, id, logits);
    return !status && is_full(s) ? finish(s, false) : status;
}

/* A token of a sequence by itself: after its prompt, or without a cache. */
static mla_status step_alone(generator *g, sequence *s) {
    const int64_t fresh = fresh_of(s);
    const float *logits;
    if (s->cache) mla_kv_cache_join(&s->cache, 1);
    const mla_status status = last_logits(g, 1, fresh, s->ids + s->length - fresh, s->cache, &logits);
    return status ? status : extend(g, s, logits);
}

/* A token of each of several sequences. */
static mla_status step_together(generator *g, int64_t count, sequence *const *of) {
    mla_kv_cache *caches[MLA_MOST_SEQUENCES];
    int32_t ids[MLA_MOST_SEQUENCES];
    const float *logits;
    for (int64_t i = 0; i < count; i++) {
        caches[i] = of[i]->cache;
        ids[i] = of[i]->ids[of[i]->length - 1];
    }
    if (!count) return MLA_OK;
    mla_kv_cache_join(caches, count);
    mla_status status = last_logits(g, count, 1, ids, caches[0], &logits);
    for (int64_t i = 0; i < count && !status; i++) status = extend(g, of[i], logits + i * g->model->config.vocab_size);
    return status;
}

/* Another token of each sequence that is under way. */
static mla_status step(generator *g) {
    sequence *together[MLA_MOST_SEQUENCES];
    int64_t count = 0;
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < g->running && !status; i++) {
        sequence *s = &g->of[i];
        forget_short_keys(g, s);
        if (s->cache && fresh_of(s) == 1) together[count++] = s;
        else status = step_alone(g, s);
    }
    return status ? status : step_together(g, count, together);
}

static void close_ended(generator *g) {
    int64_t left = 0;
    for (int64_t i = 0; i < g->running; i++)
        if (is_full(&g->of[i])) close_sequence(&g->of[i]);
        else g->of[left++] = g->of[i];
    g->running = left;
}

static mla_status generate(generator *g, int64_t count, const mla_generation_options *options, mla_generation *out) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < count && !status; i++)
        status = generation_check(g->context, &g->model->config, &options[i]);
    for (int64_t next = 0; !status && (next < count || g->running);) {
        for (; next < count && g->running < g->plan.batch && !status; next++) {
            status = open_sequence(g, &options[next], &out[next]);
            if (!status && is_full(&g->of[g->running - 1])) status = finish(&g->of[g->running - 1], false);
        }
        if (!status) close_ended(g);
        if (!status && g->running) status = step(g);
        if (!status) close_ended(g);
    }
    return status;
}

mla_status mla_generate_all(mla_context *context, const mla_decoder *model, int64_t count,
                            const mla_generation_options *options, const mla_generation_plan *plan,
                            mla_generation *out) {
    generator g = {.context = context, .model = model, .plan = *plan};
    for (int64_t i = 0; i < count; i++) out[i] = (mla_generation){0};
    if (plan->batch < 1 || plan->batch > MLA_MOST_SEQUENCES)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%lld texts at a time: it must be 1 to %d", (long long)plan->batch,
                        MLA_MOST_SEQUENCES);
    mla_status status = set_up(&g);
    if (!status) status = generate(&g, count, options, out);
    tear_down(&g);
    return status;
}

mla_status mla_generate(mla_context *context, const mla_decoder *model, const mla_generation_options *options,
                        mla_generation *out) {
    return mla_generate_all(context, model, 1, options, &(mla_generation_plan){.batch = 1}, out);
}
