#include "train/decode_bench.h"
#include "autograd/random.h"
#include "train/machine.h"

#include <stdlib.h>

static void fill_cache(mla_kv_cache *cache, int64_t layers, int64_t length) {
    for (int64_t i = 0; i < layers; i++) {
        mla_layer_cache *layer = mla_kv_cache_layer(cache, i);
        mla_random_uniform(mla_random_stream(1, "cache", (uint64_t)i, 0, 0), 0, length * layer->width, layer->rows);
        layer->length = length;
    }
}

static mla_status decode(mla_tape *tape, const mla_decoder *model, mla_kv_cache *cache, int64_t tokens,
                         double *seconds) {
    for (int64_t i = 0; i < tokens; i++) {
        const int32_t id = (int32_t)(i % model->config.vocab_size);
        const double begin = mla_seconds();
        mla_tape_begin(tape, &(mla_step){.inference = true});
        mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, 1}, &id), cache);
        seconds[i] = mla_seconds() - begin;
    }
    return mla_error_status(model->context);
}

mla_status mla_measure_decode(mla_context *context, const mla_model_config *config, int64_t length, int64_t tokens,
                              mla_decode_speed *out) {
    mla_decoder *model = NULL;
    mla_kv_cache *cache = NULL;
    mla_tape *tape = NULL;
    double *seconds = mla_alloc(context, tokens, sizeof *seconds, "the times");
    mla_status status = seconds ? mla_decoder_create(context, &model, config) : MLA_ERROR_MEMORY;
    if (!status) status = mla_params_allocate(model->params, false);
    if (!status) status = mla_kv_cache_create(context, &cache, config, length + tokens);
    if (!status) status = mla_tape_create(context, &tape, NULL);
    if (status) goto done;
    mla_params_initialise(model->params, 1);
    fill_cache(cache, config->num_hidden_layers, length);
    status = decode(tape, model, cache, tokens, seconds);
    out->tokens_per_second = 1 / mla_median(seconds, tokens);
    out->cache_bytes = length * mla_kv_cache_bytes_per_token(config);
done:
    mla_tape_destroy(tape);
    mla_kv_cache_destroy(cache);
    mla_decoder_destroy(model);
    free(seconds);
    return status;
}
