#include "layers/decoder.h"
#include "layers/parts/rope.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- building ---- */

static mla_tensor *add_embedding(mla_decoder *model, const char *name, int64_t rows, bool takes_bf16) {
    return mla_params_add(model->params, &(mla_param_spec){.name = name,
                                                           .ndim = 2,
                                                           .shape = {rows, model->config.hidden_size},
                                                           .init = MLA_INIT_NORMAL,
                                                           .scale = (float)model->config.initializer_range,
                                                           .decay = true,
                                                           .takes_bf16 = takes_bf16});
}

static mla_status make_rope(mla_decoder *model) {
    const mla_model_config *c = &model->config;
    const mla_rope_options options = {.rotary = c->attention->rotary(c),
                                      .positions = c->max_position_embeddings,
                                      .theta = c->rope_theta,
                                      .interleaved = c->rope_interleave,
                                      .scaling = c->rope_scaling};
    if (c->position != MLA_POSITION_ROPE || !options.rotary) return MLA_OK;
    return mla_rope_create(model->context, &model->rope, &options);
}

static mla_status build_blocks(mla_decoder *model, const mla_builder *builder) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < model->config.num_hidden_layers && !status; i++) {
        char prefix[64];
        mla_builder b = *builder;
        snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)i);
        b.prefix = prefix;
        b.layer = i;
        status = mla_block_build(&b, &model->blocks[i]);
    }
    return status;
}

static mla_status decoder_build(mla_decoder *model) {
    const mla_model_config *c = &model->config;
    const mla_builder builder = {.context = model->context,
                                 .params = model->params,
                                 .config = c,
                                 .rope = model->rope.cosine ? &model->rope : NULL,
                                 .projections = &model->projections,
                                 .prefix = "model."};
    model->blocks = mla_alloc(model->context, c->num_hidden_layers, sizeof *model->blocks, "the blocks");
    model->head = mla_alloc(model->context, 1, c->head->size, "the head");
    if (!model->blocks || !model->head) return MLA_ERROR_MEMORY;

    model->embed_tokens = add_embedding(model, "model.embed_tokens.weight", c->vocab_size, true);
    if (c->position == MLA_POSITION_LEARNED)
        model->embed_positions = add_embedding(model, "model.embed_positions.weight", c->max_position_embeddings,
                                               false);
    const mla_status status = build_blocks(model, &builder);
    if (!status && c->final_norm)
        mla_norm_build(&builder, &model->norm, &(mla_norm_spec){"norm", c->norm, c->hidden_size, c->rms_norm_eps});
    return status ? status : c->head->build(&builder, model->head, model->embed_tokens);
}

mla_status mla_decoder_create(mla_context *context, mla_decoder **out, const mla_model_config *config) {
    mla_decoder *model = *out = mla_alloc(context, 1, sizeof *model, "the model");
    if (!model) return MLA_ERROR_MEMORY;
    model->context = context;
    model->config = *config;
    mla_status status = mla_model_config_check(context, "", &model->config);
    if (!status) status = mla_params_create(context, &model->params);
    if (!status) status = make_rope(model);
    if (!status) status = decoder_build(model);
    if (status) {
        mla_decoder_destroy(model);
        *out = NULL;
    }
    return status;
}

mla_linear_layer *mla_decoder_projection(const mla_decoder *model, int64_t i) {
    return i < model->projections.count ? model->projections.items[i] : NULL;
}

void mla_decoder_remove_adapters(mla_decoder *model) {
    for (int64_t i = 0; i < model->projections.count; i++) mla_linear_remove_adapters(model->projections.items[i]);
}

void mla_decoder_destroy(mla_decoder *model) {
    if (!model) return;
    mla_decoder_remove_adapters(model);
    mla_params_destroy(model->params);
    mla_rope_free(&model->rope);
    for (int64_t i = 0; model->blocks && i < model->config.num_hidden_layers; i++) mla_block_free(&model->blocks[i]);
    free(model->blocks);
    free(model->head);
    free(model->projections.items);
    free(model);
}

/* ---- applying ---- */

/* x (B,1,D) + the learned embedding of the position that each sequence goes on with. */
static mla_tensor *add_positions_of_each(mla_tape *tape, const mla_decoder *model, mla_tensor *x,
                                         const mla_layer_cache *cache) {
    int64_t lengths[MLA_MOST_SEQUENCES];
    int32_t positions[MLA_MOST_SEQUENCES];
    mla_layer_cache_lengths(cache, lengths);
    for (int64_t b = 0; b < x->shape[0]; b++) positions[b] = (int32_t)lengths[b];
    mla_tensor *ids = mla_input(tape, MLA_I32, 2, x->shape, positions); /* read at once: nothing runs backward */
    return mla_add(tape, x, mla_gather(tape, model->embed_positions, ids));
}

/* x + the learned embedding of each position. */
static mla_tensor *add_positions(mla_tape *tape, const mla_decoder *model, mla_tensor *x, mla_kv_cache *cache) {
    if (cache && x->shape[0] > 1) return add_positions_of_each(tape, model, x, mla_kv_cache_layer(cache, 0));
    const int64_t first = cache ? mla_kv_cache_length(cache) : 0;
    const int64_t b = x->shape[0], t = x->shape[1], d = x->shape[2];
    mla_tensor *positions = mla_slice(tape, model->embed_positions, 0, first, t);
    x = mla_add(tape, mla_reshape(tape, x, 2, (int64_t[]){b, t * d}),
                mla_reshape(tape, positions, 1, (int64_t[]){t * d}));
    return mla_reshape(tape, x, 3, (int64_t[]){b, t, d});
}

static mla_status check_length(const mla_decoder *model, int64_t length) {
    const int64_t longest = model->config.max_position_embeddings;
    if (length <= longest) return MLA_OK;
    return mla_fail(model->context, MLA_ERROR_SHAPE,
                    "a sequence of %lld tokens is longer than max_position_embeddings "
                    "%lld: make it shorter, or the model for longer ones",
                    (long long)length, (long long)longest);
}

/* RoPE knows distances only; learned positions would have to begin anew in each document. */
static mla_status check_starts(const mla_decoder *model, const mla_pass *pass) {
    if (!pass->starts || !model->embed_positions) return MLA_OK;
    return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                    "documents cannot be kept apart in a model with learned positions: "
                    "use data.packing: stream, or model.position: rope");
}

static mla_status check_cache(const mla_decoder *model, const mla_kv_cache *cache) {
    if (!cache) return MLA_OK;
    if (!model->config.causal)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "a model with causal: false cannot use a cache: its first "
                        "tokens depend on those that follow");
    return mla_kv_cache_check(model->context, cache, &model->config);
}

static mla_status check_ids(const mla_decoder *model, const mla_tensor *ids, mla_kv_cache *cache) {
    const int64_t sequences = cache ? mla_kv_cache_sequences(cache) : 1;
    const int64_t first = cache ? mla_layer_cache_lengths(mla_kv_cache_layer(cache, 0), NULL) : 0;
    char text[MLA_SHAPE_TEXT];
    if (ids->ndim != 2)
        return mla_fail(model->context, MLA_ERROR_SHAPE, "ids must be (B,T); got %s", mla_shape_text(ids, text));
    if (cache && sequences > 1 && (ids->shape[0] != sequences || ids->shape[1] != 1))
        return mla_fail(model->context, MLA_ERROR_SHAPE, "with a batch of %lld caches, ids must be (%lld,1); got %s",
                        (long long)sequences, (long long)sequences, mla_shape_text(ids, text));
    if (cache && (ids->shape[0] != sequences || (first && ids->shape[1] != 1)))
        return mla_fail(model->context, MLA_ERROR_SHAPE, "with a cache, ids must be (1,T) at first, then (1,1); got %s",
                        mla_shape_text(ids, text));
    return check_length(model, first + ids->shape[1]);
}

/* Nothing in f32, and in a run on shapes alone. */
static mla_status refresh_bf16(mla_tape *tape, const mla_decoder *model) {
    const bool uses_bf16 = mla_tape_step(tape)->precision == MLA_BF16 && mla_params_values(model->params);
    return uses_bf16 ? mla_params_refresh_bf16(model->params) : MLA_OK;
}

typedef struct {
    const mla_block *block;
    mla_pass pass;
} block_call;

static mla_tensor *block_graph(mla_tape *tape, const void *user, mla_tensor *x) {
    const block_call *call = user;
    return mla_block_apply(tape, call->block, x, &call->pass, NULL);
}

static mla_tensor *apply_block(mla_tape *tape, const mla_decoder *model, int64_t i, mla_tensor *x,
                               const mla_pass *pass) {
    const block_call call = {&model->blocks[i], *pass};
    if (pass->recompute && !pass->cache) return mla_recompute(tape, block_graph, &call, sizeof call, x);
    return mla_block_apply(tape, call.block, x, pass, pass->cache ? mla_kv_cache_layer(pass->cache, i) : NULL);
}

mla_tensor *mla_decoder_hidden(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, const mla_pass *given) {
    const mla_pass ordinary = {0}, *pass = given ? given : &ordinary;
    const mla_model_config *c = &model->config;
    const int64_t scope = mla_scope_open(tape);
    if (check_starts(model, pass) || check_cache(model, pass->cache) || check_ids(model, ids, pass->cache) ||
        refresh_bf16(tape, model))
        return mla_inert(tape);

    mla_tensor *x = mla_gather(tape, model->embed_tokens, ids);
    if (model->embed_positions) x = add_positions(tape, model, x, pass->cache);
    if (model->embed_positions && c->dropout > 0) x = mla_dropout(tape, x, (float)c->dropout);
    for (int64_t i = 0; i < c->num_hidden_layers; i++) x = apply_block(tape, model, i, x, pass);
    if (c->final_norm) x = mla_norm_apply(tape, &model->norm, x, mla_tape_step(tape)->precision);
    return mla_scope_close(tape, scope, x);
}

mla_tensor *mla_decoder_logits(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, const mla_pass *pass) {
    const mla_pass ordinary = {0};
    return model->config.head->logits(tape, model->head, mla_decoder_hidden(tape, model, ids, pass),
                                      pass ? pass : &ordinary);
}

mla_tensor *mla_decoder_loss(mla_tape *tape, const mla_decoder *model, const mla_batch *batch) {
    const int64_t scope = mla_scope_open(tape);
    mla_tensor *hidden = mla_decoder_hidden(tape, model, batch->ids, &batch->pass);
    return mla_scope_close(tape, scope, model->config.head->loss(tape, model->head, hidden, batch));
}
