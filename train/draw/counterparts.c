#include "train/draw/counterparts.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/replace.h"
#include "layers/decoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which there are */

/* LongRoPE has a factor for each wave length, and so is for one width only. */
static void drop_factors(mla_model_config *c) {
    if (c->rope_scaling.type == MLA_ROPE_SCALING_LONGROPE) c->rope_scaling.type = MLA_ROPE_SCALING_NONE;
}

static mla_model_config with_groups(const mla_model_config *own, int64_t groups) {
    mla_model_config c = *own;
    mla_replace_by_multi_head(&c, groups);
    if (own->attention == c.attention) return c;
    drop_factors(&c);
    if (c.head_dim % 2 && c.position == MLA_POSITION_ROPE) c.position = MLA_POSITION_NONE;
    return c;
}

static mla_model_config supposed_latent(const mla_model_config *own) {
    mla_model_config c = *own;
    mla_replace_by_latent(&c);
    drop_factors(&c);
    return c;
}

bool mla_has_latent(const mla_model_config *c) { return c->attention == &mla_latent_kind; }

/* 0: there are none between one and as many as heads. */
static int64_t usual_groups(const mla_model_config *own) {
    const int64_t heads = own->num_attention_heads, kept = own->num_key_value_heads;
    if (!mla_has_latent(own) && kept > 1 && kept < heads) return kept;
    return mla_usual_groups(own);
}

static mla_counterpart grouped(const mla_model_config *own, int64_t groups) {
    const int64_t heads = own->num_attention_heads;
    mla_counterpart c = {.config = with_groups(own, groups),
                         .own = !mla_has_latent(own) && own->num_key_value_heads == groups};
    if (groups == heads) strcpy(c.name, "MHA");
    else if (groups == 1) strcpy(c.name, "MQA");
    else snprintf(c.name, sizeof c.name, "GQA, %lld groups", (long long)groups);
    return c;
}

static mla_counterpart latent(const mla_model_config *own) {
    mla_counterpart c = {.config = mla_has_latent(own) ? *own : supposed_latent(own), .own = mla_has_latent(own)};
    const long long rank = c.config.kv_lora_rank, rotary = c.config.qk_rope_head_dim;
    const char *up_to = c.config.kv_lora_ranks.count ? "up to " : "";
    if (rotary) snprintf(c.name, sizeof c.name, "MLA, rank %s%lld + %lld", up_to, rank, rotary);
    else snprintf(c.name, sizeof c.name, "MLA, rank %s%lld", up_to, rank);
    return c;
}

mla_status mla_counterparts(mla_context *context, const mla_model_config *own, mla_counterpart *out, int *count) {
    const int64_t heads = own->num_attention_heads, groups = usual_groups(own);
    mla_status status = MLA_OK;
    *count = 0;
    out[(*count)++] = grouped(own, heads);
    if (groups) out[(*count)++] = grouped(own, groups);
    if (heads > 1) out[(*count)++] = grouped(own, 1);
    out[(*count)++] = latent(own);
    for (int i = 0; i < *count && !status; i++) status = mla_model_config_check(context, "", &out[i].config);
    return status;
}

/* ---- what they cost */

static void count_parameters(const mla_decoder *model, mla_attention_costs *out) {
    out->parameters = mla_params_elements(model->params, false);
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        const mla_param *p = mla_params_at(model->params, i);
        if (strstr(p->spec.name, ".self_attn.")) out->attention_parameters += p->count;
    }
}

/* The attention of all layers on shapes alone: x (1,count,D), after `before` cached positions. */
static mla_status run_attentions(const mla_decoder *model, mla_tape *tape, int64_t count, int64_t before,
                                 mla_cost *out) {
    const mla_model_config *c = &model->config;
    const int64_t shape[] = {1, count, c->hidden_size};
    mla_kv_cache *row = NULL; /* the one row stands for all: nothing is read or written */
    mla_status status = before ? mla_kv_cache_create(model->context, &row, c, 1, MLA_F32) : MLA_OK;
    mla_tape_begin(tape, &(mla_step){.inference = true});
    for (int64_t i = 0; i < c->num_hidden_layers && !status; i++) {
        mla_layer_cache *cache = row ? mla_kv_cache_layer(row, i) : NULL;
        if (cache) cache->length = before;
        if (cache) cache->capacity = before + count;
        c->attention->apply(tape, model->blocks[i].attention, mla_input(tape, MLA_F32, 3, shape, NULL), &(mla_pass){0},
                            cache);
        status = mla_error_status(model->context);
    }
    *out = mla_tape_cost(tape);
    mla_kv_cache_destroy(row);
    return status;
}

static mla_status count_costs(const mla_decoder *model, int64_t tokens, mla_attention_costs *out) {
    mla_tape *tape;
    mla_cost prompt, next = {.forward_flops = NAN, .forward_bytes = NAN};
    mla_status status = mla_tape_create(model->context, &tape, &(mla_tape_options){.shapes_only = true});
    if (status) return status;
    mla_params_lay_out(model->params);
    status = run_attentions(model, tape, tokens, 0, &prompt);
    if (!status && model->config.causal) status = run_attentions(model, tape, 1, tokens, &next);
    out->prompt_flops = prompt.forward_flops / (double)tokens;
    out->decode_flops = next.forward_flops;
    out->decode_bytes = next.forward_bytes;
    mla_tape_destroy(tape);
    return status;
}

mla_status mla_count_attention_costs(mla_context *context, const mla_model_config *config, int64_t tokens,
                                     mla_attention_costs *out) {
    mla_decoder *model;
    mla_model_config longer = *config;
    *out = (mla_attention_costs){.cache_bytes_per_token = mla_kv_cache_bytes_per_token(config, MLA_F32)};
    mla_status status = mla_decoder_create(context, &model, config);
    if (status) return status;
    count_parameters(model, out);
    mla_decoder_destroy(model);

    if (longer.max_position_embeddings <= tokens) longer.max_position_embeddings = tokens + 1;
    status = mla_decoder_create(context, &model, &longer);
    if (status) return status;
    status = count_costs(model, tokens, out);
    mla_decoder_destroy(model);
    return status;
}
