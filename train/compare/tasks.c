#include "train/compare/tasks.h"
#include "autograd/base/random.h"
#include "data/tokens/permutation.h"
#include "layers/head/head.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 64, AT_ONCE = 4, MOST_PAIRS = 16, CACHED = 8 };

typedef struct {
    mla_tape *tape;
    const mla_decoder *model;
    const mla_task_options *o;
    int64_t length;         /* of a row */
    int32_t *ids, *targets; /* (ROWS, length) */
} task;

static mla_status open_task(mla_context *context, task *t, int64_t length) {
    t->length = length;
    t->ids = mla_alloc(context, ROWS * length, sizeof *t->ids, "a task");
    t->targets = mla_alloc(context, ROWS * length, sizeof *t->targets, "a task");
    return t->ids && t->targets ? MLA_OK : MLA_ERROR_MEMORY;
}

static void close_task(task *t) {
    free(t->ids);
    free(t->targets);
    t->ids = t->targets = NULL;
}

/* The mean loss of the targets that are not -1. */
static mla_status loss_of(task *t, double *out) {
    const int64_t shape[] = {AT_ONCE, t->length};
    int64_t valid = 0;
    double sum = 0;
    for (int64_t i = 0; i < ROWS * t->length; i++) valid += t->targets[i] >= 0;
    for (int64_t row = 0; row < ROWS && !mla_error_status(t->model->context); row += AT_ONCE) {
        mla_tape_begin(t->tape, &(mla_step){.inference = true});
        const mla_batch batch = {.ids = mla_input(t->tape, MLA_I32, 2, shape, t->ids + row * t->length),
                                 .targets = mla_input(t->tape, MLA_I32, 2, shape, t->targets + row * t->length),
                                 .scale = 1};
        const mla_tensor *loss = mla_decoder_loss(t->tape, t->model, &batch);
        if (!mla_error_status(t->model->context)) sum += (double)*(const float *)loss->data;
    }
    *out = valid ? sum / (double)valid : NAN;
    return mla_error_status(t->model->context);
}

/* ---- copy ---- */

/* Targets are those of the first or the second time; but the first token of a stretch, which nothing tells. */
static void lay_out_copies(task *t, bool second) {
    const mla_token_stream *s = t->o->held_out;
    const int64_t half = t->length / 2, from = second ? half : 0;
    for (int64_t row = 0; row < ROWS; row++) {
        int32_t *ids = t->ids + row * t->length, *targets = t->targets + row * t->length;
        const int64_t first = (int64_t)((double)(s->count - half) * (double)row / ROWS);
        mla_tokens_copy(s, first, half, ids);
        mla_tokens_copy(s, first, half, ids + half);
        for (int64_t i = 0; i < t->length; i++) targets[i] = i >= from && i < from + half - 1 ? ids[i + 1] : -1;
    }
}

static mla_status copy(mla_context *context, task *t, mla_task_scores *out) {
    const int64_t half = t->o->sequence / 2;
    out->copy_first = out->copy_second = NAN;
    if (half < 2 || t->o->held_out->count < 2 * half) return MLA_OK;
    mla_status status = open_task(context, t, 2 * half);
    if (!status) lay_out_copies(t, false);
    if (!status) status = loss_of(t, &out->copy_first);
    if (!status) lay_out_copies(t, true);
    if (!status) status = loss_of(t, &out->copy_second);
    close_task(t);
    return status;
}

/* ---- recall ---- */

static bool is_among(const int32_t *tokens, int64_t count, int32_t token) {
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] == token) return true;
    return false;
}

/* Different tokens of the held-out text, in an order by chance; false where there are too few. */
static bool draw(const task *t, int64_t row, int64_t count, int32_t *out) {
    const mla_token_stream *s = t->o->held_out;
    const mla_stream random = mla_random_stream(t->o->seed, "recall", (uint64_t)row, 0, 0);
    int64_t have = 0;
    for (uint64_t tries = 0; tries < 4096 && have < count; tries++) {
        uint32_t bits[4];
        int32_t token;
        mla_random_bits(random, tries, bits);
        mla_tokens_copy(s, (int64_t)((((uint64_t)bits[0] << 32) | bits[1]) % (uint64_t)s->count), 1, &token);
        if (!is_among(out, have, token)) out[have++] = token;
    }
    return have == count;
}

/* key value key value ... key value key value: the second half has the keys in another order, and the loss is that of
 * the values there. */
static bool lay_out_pairs(task *t, int64_t pairs) {
    for (int64_t row = 0; row < ROWS; row++) {
        int32_t *ids = t->ids + row * t->length, *targets = t->targets + row * t->length;
        int32_t drawn[2 * MOST_PAIRS];
        if (!draw(t, row, 2 * pairs, drawn)) return false;
        for (int64_t i = 0; i < 2 * pairs; i++) {
            const int64_t pair = i < pairs ? i : mla_permute(t->o->seed, (uint64_t)row, pairs, i - pairs);
            ids[2 * i] = drawn[2 * pair];
            ids[2 * i + 1] = drawn[2 * pair + 1];
            targets[2 * i] = i < pairs ? -1 : drawn[2 * pair + 1];
            targets[2 * i + 1] = -1;
        }
    }
    return true;
}

static int64_t largest(const float *values, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

static mla_status accuracy_of(task *t, double *out) {
    const int64_t vocabulary = t->model->config.vocab_size, shape[] = {AT_ONCE, t->length};
    int64_t valid = 0, right = 0;
    for (int64_t row = 0; row < ROWS && !mla_error_status(t->model->context); row += AT_ONCE) {
        mla_tape_begin(t->tape, &(mla_step){.inference = true});
        mla_tensor *ids = mla_input(t->tape, MLA_I32, 2, shape, t->ids + row * t->length);
        const mla_tensor *logits = mla_decoder_logits(t->tape, t->model, ids, NULL);
        const int32_t *targets = t->targets + row * t->length;
        for (int64_t i = 0; i < AT_ONCE * t->length && !mla_error_status(t->model->context); i++) {
            if (targets[i] < 0) continue;
            valid++;
            right += largest((const float *)logits->data + i * vocabulary, vocabulary) == targets[i];
        }
    }
    *out = valid ? (double)right / (double)valid : NAN;
    return mla_error_status(t->model->context);
}

static mla_status recall(mla_context *context, task *t, mla_task_scores *out) {
    const int64_t pairs = t->o->sequence / 4 < MOST_PAIRS ? t->o->sequence / 4 : MOST_PAIRS;
    out->recall_loss = out->recall_accuracy = NAN;
    if (pairs < 2 || t->o->held_out->count < 1) return MLA_OK;
    mla_status status = open_task(context, t, 4 * pairs);
    const bool enough = !status && lay_out_pairs(t, pairs);
    if (enough) status = loss_of(t, &out->recall_loss);
    if (enough && !status) status = accuracy_of(t, &out->recall_accuracy);
    close_task(t);
    return status;
}

/* ---- the cache ---- */

static mla_status count_cache(mla_context *context, task *t, int64_t *out) {
    const mla_model_config *c = &t->model->config;
    const int64_t length = t->o->sequence < CACHED ? t->o->sequence : CACHED;
    int32_t ids[CACHED] = {0};
    mla_kv_cache *cache;
    mla_status status = mla_kv_cache_create(context, &cache, c, length, MLA_F32);
    if (!status) {
        mla_tape_begin(t->tape, &(mla_step){.inference = true});
        mla_decoder_logits(t->tape, t->model, mla_input(t->tape, MLA_I32, 2, (int64_t[]){1, length}, ids),
                           &(mla_pass){.cache = cache});
        status = mla_error_status(context);
    }
    *out = 0;
    for (int64_t i = 0; i < c->num_hidden_layers && !status; i++) {
        const mla_layer_cache *layer = mla_kv_cache_layer(cache, i);
        *out += layer->length * layer->width * (int64_t)mla_dtype_size(layer->type) / length;
    }
    mla_kv_cache_destroy(cache);
    return status;
}

mla_status mla_tasks_measure(mla_context *context, const mla_decoder *model, const mla_task_options *options,
                             mla_task_scores *out) {
    task t = {.model = model, .o = options};
    mla_status status = mla_tape_create(context, &t.tape, NULL);
    if (!status) status = copy(context, &t, out);
    if (!status) status = recall(context, &t, out);
    if (!status) status = count_cache(context, &t, &out->cache_bytes);
    mla_tape_destroy(t.tape);
    return status;
}
