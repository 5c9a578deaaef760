#include "layers/decoder.h"
#include "layers/rope.h"

#include <stdio.h>
#include <stdlib.h>

static mla_tensor *add_matrix(mla_decoder *model, const char *name, int64_t rows, bool takes_half) {
    return mla_params_add(model->params, &(mla_param_spec){.name = name, .ndim = 2,
                                                           .shape = {rows, model->config.hidden_size},
                                                           .init = MLA_INIT_NORMAL,
                                                           .scale = (float)model->config.initializer_range,
                                                           .decay = true, .takes_half = takes_half});
}

static mla_status make_rope(mla_decoder *model) {
    const mla_model_config *c = &model->config;
    const bool latent = c->attention == MLA_ATTENTION_LATENT;
    const mla_rope_options options = {.rotary = latent ? c->qk_rope_head_dim : c->head_dim,
                                .positions = c->max_position_embeddings, .theta = c->rope_theta,
                                .interleaved = c->rope_interleave, .scaling = c->rope_scaling};
    if (c->position != MLA_POSITION_ROPE || !options.rotary) return MLA_OK;
    return mla_rope_create(model->context, &model->rope, &options);
}

static mla_status build(mla_decoder *model) {
    const mla_model_config *c = &model->config;
    mla_context *context = model->context;
    model->embed_tokens = add_matrix(model, "model.embed_tokens.weight", c->vocab_size, true);
    if (c->position == MLA_POSITION_LEARNED)
        model->embed_positions = add_matrix(model, "model.embed_positions.weight", c->max_position_embeddings, false);
    for (int64_t i = 0; i < c->num_hidden_layers; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)i);
        if (mla_block_build(context, model->params, &model->blocks[i], c, &model->rope, i, prefix))
            return mla_error_status(context);
    }
    if (c->final_norm)
        mla_norm_build(context, model->params, &model->norm, c->norm, "model.", "norm", c->hidden_size,
                       c->rms_norm_eps);
    model->lm_head = c->tie_word_embeddings ? model->embed_tokens
                                            : add_matrix(model, "lm_head.weight", c->vocab_size, true);
    return mla_error_status(context);
}

mla_status mla_decoder_create(mla_context *context, mla_decoder **out, const mla_model_config *config) {
    mla_decoder *model = *out = mla_alloc(context, 1, sizeof *model, "the model");
    if (!model) return MLA_ERROR_MEMORY;
    model->context = context;
    model->config = *config;
    mla_status status = mla_model_config_check(context, "", &model->config);
    if (!status) status = mla_params_create(context, &model->params);
    if (!status) status = make_rope(model);
    if (!status) model->blocks = mla_alloc(context, config->num_hidden_layers, sizeof *model->blocks, "the blocks");
    if (!status) status = model->blocks ? build(model) : MLA_ERROR_MEMORY;
    if (status) {
        mla_decoder_destroy(model);
        *out = NULL;
    }
    return status;
}

mla_linear_layer *mla_decoder_projection(const mla_decoder *model, int64_t i) {
    mla_linear_layer *all[MLA_BLOCK_PROJECTIONS];
    for (int64_t b = 0; model->blocks && b < model->config.num_hidden_layers; b++) {
        const int count = mla_block_projections(&model->blocks[b], all);
        if (i < count) return all[i];
        i -= count;
    }
    return NULL;
}

void mla_decoder_remove_adapters(mla_decoder *model) {
    mla_linear_layer *p;
    for (int64_t i = 0; (p = mla_decoder_projection(model, i)); i++) mla_linear_remove_adapters(p);
}

void mla_decoder_destroy(mla_decoder *model) {
    if (!model) return;
    mla_decoder_remove_adapters(model);
    mla_params_destroy(model->params);
    mla_rope_free(&model->rope);
    free(model->blocks);
    free(model);
}

/* x + the learned embedding of each position. */
static mla_tensor *add_positions(mla_tape *tape, const mla_decoder *model, mla_tensor *x, int64_t first) {
    const int64_t b = x->shape[0], t = x->shape[1], d = x->shape[2];
    mla_tensor *positions = mla_slice(tape, model->embed_positions, 0, first, t);
    x = mla_add(tape, mla_reshape(tape, x, 2, (int64_t[]){b, t * d}),
                mla_reshape(tape, positions, 1, (int64_t[]){t * d}));
    return mla_reshape(tape, x, 3, (int64_t[]){b, t, d});
}

static mla_status check_length(const mla_decoder *model, int64_t length) {
    const int64_t longest = model->config.max_position_embeddings;
    if (length <= longest) return MLA_OK;
    return mla_fail(model->context, MLA_ERROR_SHAPE, "a sequence of %lld tokens is longer than max_position_embeddings "
                    "%lld: make it shorter, or the model for longer ones", (long long)length, (long long)longest);
}

/* RoPE knows distances only; learned positions would have to begin anew in each document. */
static mla_status check_starts(mla_tape *tape, const mla_decoder *model) {
    if (!mla_tape_step(tape)->starts || !model->embed_positions) return MLA_OK;
    return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                    "documents cannot be kept apart in a model with learned positions: "
                    "use data.packing: stream, or model.position: rope");
}

static mla_status check_ids(const mla_decoder *model, const mla_tensor *ids, int64_t first, bool cached) {
    char text[MLA_SHAPE_TEXT];
    if (ids->ndim != 2)
        return mla_fail(model->context, MLA_ERROR_SHAPE, "ids must be (B,T); got %s", mla_shape_text(ids, text));
    if (cached && !model->config.causal)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT, "a model with causal: false cannot use a cache: its first "
                        "tokens depend on those that follow");
    if (cached && (ids->shape[0] != 1 || (first && ids->shape[1] != 1)))
        return mla_fail(model->context, MLA_ERROR_SHAPE, "with a cache, ids must be (1,T) at first, then (1,1); got %s",
                        mla_shape_text(ids, text));
    return check_length(model, first + ids->shape[1]);
}

/* Nothing in f32, and in a run on shapes alone. */
static mla_status refresh_half(mla_tape *tape, const mla_decoder *model) {
    const bool uses_half = mla_tape_step(tape)->precision == MLA_BF16 && mla_params_values(model->params);
    return uses_half ? mla_params_refresh_half(model->params) : MLA_OK;
}

static mla_tensor *block_graph(mla_tape *tape, const void *block, mla_tensor *x) {
    return mla_block_apply(tape, block, x, NULL);
}

mla_tensor *mla_decoder_hidden(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_kv_cache *cache) {
    const int64_t first = cache ? mla_kv_cache_length(cache) : 0, scope = mla_scope_open(tape);
    if (check_starts(tape, model) || check_ids(model, ids, first, cache != NULL) || refresh_half(tape, model))
        return mla_inert(tape);
    mla_tensor *x = mla_gather(tape, model->embed_tokens, ids);
    if (model->embed_positions) x = add_positions(tape, model, x, first);
    if (model->embed_positions && model->config.dropout > 0) x = mla_dropout(tape, x, (float)model->config.dropout);
    for (int64_t i = 0; i < model->config.num_hidden_layers; i++)
        x = mla_tape_step(tape)->recompute && !cache
                ? mla_recompute(tape, block_graph, &model->blocks[i], x)
                : mla_block_apply(tape, &model->blocks[i], x, cache ? mla_kv_cache_layer(cache, i) : NULL);
    if (model->config.final_norm) x = mla_norm_apply(tape, &model->norm, x, mla_tape_step(tape)->precision);
    return mla_scope_close(tape, scope, x);
}

mla_tensor *mla_decoder_logits(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_kv_cache *cache) {
    return mla_linear(tape, mla_decoder_hidden(tape, model, ids, cache), model->lm_head, NULL);
}

mla_tensor *mla_decoder_loss(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_tensor *targets,
                             float scale) {
    return mla_decoder_distil_loss(tape, model, ids, targets, scale, &(mla_distillation){0});
}

static mla_tensor *hidden_graph(mla_tape *tape, const void *model, mla_tensor *ids) {
    return mla_decoder_hidden(tape, model, ids, NULL);
}

/* The teacher first: what it needs on the way is free again before the model keeps anything. */
mla_tensor *mla_decoder_distil_loss(mla_tape *tape, const mla_decoder *model, mla_tensor *ids, mla_tensor *targets,
                                    float scale, const mla_distillation *d) {
    mla_output_loss_options options = {.scale = scale, .share = d->share, .temperature = d->temperature,
                                       .divergence = d->divergence};
    const int64_t scope = mla_scope_open(tape);
    if (d->teacher) {
        options.teacher = mla_detached(tape, hidden_graph, d->teacher, ids);
        options.teacher_weight = d->teacher->lm_head;
    }
    mla_tensor *hidden = mla_decoder_hidden(tape, model, ids, NULL);
    return mla_scope_close(tape, scope, mla_output_loss(tape, hidden, model->lm_head, targets, &options));
}
