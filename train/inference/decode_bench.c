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

static void fill_cache(mla_kv_cache *cache, int64_t layers, int64_t length) {
    for (int64_t i = 0; i < layers; i++) fill_layer(mla_kv_cache_layer(cache, i), i, length);
}

enum { TURN = 8 }; /* tokens of one model before the next has its turn */

typedef struct {
    mla_decoder *model;
    mla_kv_cache *cache;
    mla_tape *tape;
    double seconds[MLA_DECODE_TOKENS];
} runner;

static mla_status open_runner(mla_context *context, runner *r, const mla_model_config *config, int64_t length) {
    mla_status status = mla_decoder_create(context, &r->model, config);
    if (!status) status = mla_params_allocate(r->model->params, false);
    if (!status) status = mla_kv_cache_create(context, &r->cache, config, length + MLA_DECODE_TOKENS, MLA_F32);
    if (!status) status = mla_tape_create(context, &r->tape, NULL);
    if (status) return status;
    mla_params_initialise(r->model->params, 1);
    fill_cache(r->cache, config->num_hidden_layers, length);
    return MLA_OK;
}

static void close_runner(runner *r) {
    mla_tape_destroy(r->tape);
    mla_kv_cache_destroy(r->cache);
    mla_decoder_destroy(r->model);
}

static mla_status decode(runner *r, int first) {
    for (int i = first; i < first + TURN; i++) {
        const int32_t id = (int32_t)(i % r->model->config.vocab_size);
        const double begin = mla_seconds();
        mla_tape_begin(r->tape, &(mla_step){.inference = true});
        mla_decoder_logits(r->tape, r->model, mla_input(r->tape, MLA_I32, 2, (int64_t[]){1, 1}, &id),
                           &(mla_pass){.cache = r->cache});
        r->seconds[i] = mla_seconds() - begin;
    }
    return mla_error_status(r->model->context);
}

mla_status mla_measure_decode(mla_context *context, int count, const mla_model_config *const *configs, int64_t length,
                              mla_decode_speed *out) {
    runner *runners = mla_alloc(context, count, sizeof *runners, "the models to measure");
    mla_status status = runners ? MLA_OK : MLA_ERROR_MEMORY;
    for (int i = 0; i < count && !status; i++) status = open_runner(context, &runners[i], configs[i], length);
    for (int first = 0; first < MLA_DECODE_TOKENS; first += TURN)
        for (int i = 0; i < count && !status; i++) status = decode(&runners[i], first);
    for (int i = 0; i < count && !status; i++) {
        out[i].tokens_per_second = 1 / mla_median(runners[i].seconds, MLA_DECODE_TOKENS);
        out[i].cache_bytes = length * mla_kv_cache_bytes_per_token(configs[i], MLA_F32);
    }
    for (int i = 0; i < count && runners; i++) close_runner(&runners[i]);
    free(runners);
    return status;
}
