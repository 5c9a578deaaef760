#include "train/inference/decode_bench.h"
#include "autograd/base/clock.h"
#include "autograd/base/random.h"
#include "autograd/kernels/rows.h"
#include "train/run/machine.h"

#include <stdlib.h>

static void fill_layer(mla_layer_cache *layer, int64_t index, int64_t length) {
    const int64_t count = length * layer->width;
    for (int64_t at = 0; at < count; at += MLA_PIECE) {
        float numbers[MLA_PIECE];
        mla_random_uniform(mla_random_stream(1, "cache", (uint64_t)index, 0, 0), (uint64_t)at, mla_piece(count, at),
                           numbers);
        mla_store((mla_values){layer->rows, layer->type}, MLA_SET, at, mla_piece(count, at), numbers);
    }
    layer->length = length;
}

static mla_status open_cache(mla_context *context, mla_kv_cache **out, const mla_decode_case *of, int64_t length) {
    const mla_status status = mla_kv_cache_create(context, out, of->config, length + MLA_DECODE_TOKENS, of->cache);
    for (int64_t i = 0; i < of->config->num_hidden_layers && !status; i++)
        fill_layer(mla_kv_cache_layer(*out, i), i, length);
    return status;
}

enum { TURN = 8 }; /* steps of one case before the next has its turn */

typedef struct {
    mla_decode_case of;
    mla_decoder *model;
    mla_kv_cache *caches[MLA_MOST_SEQUENCES];
    mla_tape *tape;
    double seconds[MLA_DECODE_TOKENS];
} runner;

static mla_status open_runner(mla_context *context, runner *r, const mla_decode_case *of, int64_t length) {
    r->of = *of;
    mla_status status = mla_decoder_create(context, &r->model, of->config);
    if (!status) status = mla_params_allocate(r->model->params, false);
    if (!status) status = mla_tape_create(context, &r->tape, NULL);
    for (int64_t b = 0; b < of->batch && !status; b++) status = open_cache(context, &r->caches[b], of, length);
    if (status) return status;
    mla_params_initialise(r->model->params, 1);
    mla_kv_cache_join(r->caches, of->batch);
    return of->precision == MLA_BF16 ? mla_params_refresh_bf16(r->model->params) : MLA_OK;
}

static void close_runner(runner *r) {
    mla_tape_destroy(r->tape);
    for (int64_t b = 0; b < r->of.batch; b++) mla_kv_cache_destroy(r->caches[b]);
    mla_decoder_destroy(r->model);
}

static mla_status decode(runner *r, int first) {
    for (int i = first; i < first + TURN; i++) {
        int32_t ids[MLA_MOST_SEQUENCES];
        for (int64_t b = 0; b < r->of.batch; b++) ids[b] = (int32_t)((i + b) % r->model->config.vocab_size);
        const double begin = mla_seconds();
        mla_tape_begin(r->tape, &(mla_step){.inference = true, .decoding = true, .precision = r->of.precision});
        mla_decoder_logits(r->tape, r->model, mla_input(r->tape, MLA_I32, 2, (int64_t[]){r->of.batch, 1}, ids),
                           &(mla_pass){.cache = r->caches[0]});
        r->seconds[i] = mla_seconds() - begin;
    }
    return mla_error_status(r->model->context);
}

mla_status mla_measure_decode(mla_context *context, int count, const mla_decode_case *cases, int64_t length,
                              mla_decode_speed *out) {
    runner *runners = mla_alloc(context, count, sizeof *runners, "the models to measure");
    mla_status status = runners ? MLA_OK : MLA_ERROR_MEMORY;
    for (int i = 0; i < count && !status; i++) status = open_runner(context, &runners[i], &cases[i], length);
    for (int first = 0; first < MLA_DECODE_TOKENS; first += TURN)
        for (int i = 0; i < count && !status; i++) status = decode(&runners[i], first);
    for (int i = 0; i < count && !status; i++) {
        const mla_decode_case *of = &cases[i];
        out[i].tokens_per_second = (double)of->batch / mla_median(runners[i].seconds, MLA_DECODE_TOKENS);
        out[i].cache_bytes = of->batch * length * mla_kv_cache_bytes_per_token(of->config, of->cache);
    }
    for (int i = 0; i < count && runners; i++) close_runner(&runners[i]);
    free(runners);
    return status;
}
