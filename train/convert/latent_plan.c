#include "train/convert/latent_plan.h"
#include "layers/adapt/latent_form.h"
#include "layers/attention/multi_head_attention.h"
#include "train/convert/latent_rank.h"

#include <math.h>

const char *const mla_stage_names[] = {"norms", "exact", "rotary", "latent"};

static int64_t key_width(const mla_model_config *c) { return c->num_key_value_heads * c->head_dim; }

int64_t mla_to_latent_all_rotary(const mla_model_config *c) {
    return c->position == MLA_POSITION_ROPE ? key_width(c) : 0;
}

/* Of those that turn at last. */
static int64_t rotary_of(const mla_decoder *model, const mla_to_latent_options *o) {
    return o->rope_dim ? o->rope_dim : mla_to_latent_all_rotary(&model->config);
}

static bool wants_latent(const mla_to_latent_options *o) { return o->latent.count || o->budget; }
static bool wants_rotary(const mla_decoder *model, const mla_to_latent_options *o) {
    return o->rope_dim && o->rope_dim < key_width(&model->config);
}

/* ---- the model ---- */

static mla_status refuse_model(const mla_decoder *model, const char *what) {
    return mla_fail(model->context, MLA_ERROR_ARGUMENT, "the model cannot be converted: %s", what);
}

static mla_status check_values(const mla_decoder *model) {
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        const mla_param *p = mla_params_at(model->params, i);
        for (int64_t k = 0; k < p->count; k++)
            if (!isfinite(((const float *)p->tensor.data)[k]))
                return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                                "the model cannot be converted: %s has values that are no numbers; take a checkpoint "
                                "from before training went wrong, or the file anew",
                                p->spec.name);
    }
    return MLA_OK;
}

static mla_status check_model(const mla_decoder *model) {
    const mla_model_config *c = &model->config;
    if (c->attention == &mla_latent_kind)
        return refuse_model(model, "its attention is latent already; mla rank changes the rank of its latent");
    if (c->attention != &mla_multi_head_kind) return refuse_model(model, "its attention is not multi_head");
    if (c->num_hidden_layers > MLA_MOST_INTS)
        return refuse_model(model, "it has more layers than a list of ranks can name");
    if (c->position == MLA_POSITION_ROPE && key_width(c) / 2 > MLA_MOST_INTS)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "the keys of all heads have %lld frequencies; a model's configuration can name %d",
                        (long long)key_width(c) / 2, MLA_MOST_INTS);
    return check_values(model);
}

/* ---- the options ---- */

static mla_status check_rotary(const mla_decoder *model, const mla_to_latent_options *o) {
    const mla_model_config *c = &model->config;
    const int64_t width = key_width(c), half = c->head_dim / 2;
    const bool turns = c->position == MLA_POSITION_ROPE;
    if (o->rope_dim && (!turns || o->rope_dim % 2 || o->rope_dim > width))
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        turns ? "a rope_dim of %lld: it must be even and at most %lld, the width of all keys"
                              : "a rope_dim of %lld: the model has no RoPE; leave it out",
                        (long long)o->rope_dim, (long long)width);
    if (o->fold && !wants_rotary(model, o))
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "a fold of %lld: frequencies are folded where fewer rows of the keys turn; give a --rope-dim "
                        "below %lld, or leave --freqfold out",
                        (long long)o->fold, (long long)width);
    if (o->fold && half % o->fold)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "a fold of %lld does not divide the %lld frequencies of a head", (long long)o->fold,
                        (long long)half);
    if (wants_latent(o) && turns && !o->rope_dim)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "a latent or a budget needs --rope-dim, how many rows of the keys go on turning; %lld, the "
                        "width of a head, is a usual choice",
                        (long long)c->head_dim);
    return MLA_OK;
}

static mla_status check_text(const mla_decoder *model, const mla_to_latent_options *o) {
    if (o->calibrate.text) return mla_calibration_check_text(model, &o->calibrate);
    if (o->fold_norms)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "folding norms of heads needs text that tells how large heads are: --calibrate TEXT");
    if (wants_latent(o) || o->rope_dim)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "all but the exact stage needs text that tells what the keys hold: --calibrate TEXT");
    if (o->max_loss > 0)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                        "without text no loss is measured that --max-loss could limit: --calibrate TEXT");
    return MLA_OK;
}

/* What the stages after the norms are made of. */
static mla_model_config without_norms(const mla_decoder *model, const mla_to_latent_options *o) {
    mla_model_config c = model->config;
    c.qk_norm &= !o->fold_norms;
    return c;
}

/* The latent stage begins with the model that the rotary stage leaves. */
static mla_status check_latent(const mla_decoder *model, const mla_to_latent_options *o) {
    const mla_model_config from = without_norms(model, o), c = mla_latent_form_config(&from, rotary_of(model, o));
    return wants_latent(o) ? mla_latent_rank_check(model->context, &c, true, &o->latent, o->budget) : MLA_OK;
}

static mla_status check_norms(const mla_decoder *model, const mla_to_latent_options *o) {
    if (!o->fold_norms || model->config.qk_norm) return MLA_OK;
    return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                    "the model has no norms of heads (qk_norm: false) to fold; leave --fold-qk-norm out");
}

mla_status mla_to_latent_check(const mla_decoder *model, const mla_to_latent_options *o) {
    mla_status status = check_model(model);
    if (!status) status = check_norms(model, o);
    if (!status) status = check_rotary(model, o);
    if (!status) status = check_text(model, o);
    return status ? status : check_latent(model, o);
}

/* ---- what it will be ---- */

void mla_to_latent_begin_report(const mla_decoder *model, const mla_to_latent_options *o, mla_conversion_report *r) {
    const mla_model_config *c = &model->config;
    *r = (mla_conversion_report){.layers = c->num_hidden_layers,
                                 .loss = NAN,
                                 .bytes_per_token = mla_kv_cache_bytes_per_token(c, MLA_F32),
                                 .rope_dim = rotary_of(model, o),
                                 .refused = -1};
    for (int s = 0; s < MLA_STAGES; s++) {
        r->stage[s].loss = r->stage[s].divergence = NAN;
        for (int64_t i = 0; i < r->layers; i++) r->stage[s].error[i] = NAN;
    }
}

/* What a stage caches where `rotary` rows turn and the layers have latents of these ranks: one for all, or one each. */
static void plan_stage(mla_conversion_report *report, int which, int64_t rotary, const mla_ints *ranks) {
    mla_conversion_stage *stage = &report->stage[which];
    stage->made = true;
    for (int64_t i = 0; i < report->layers; i++) {
        stage->rank[i] = ranks->items[ranks->count > 1 ? i : 0];
        stage->bytes_per_token += (stage->rank[i] + rotary) * (int64_t)sizeof(float);
    }
    report->last = which;
}

/* Where `rotary` of a layer's rows turn, and nothing is left out yet. */
static mla_ints whole_rank(const mla_model_config *c, int64_t rotary) {
    return (mla_ints){.count = 1, .items = {mla_latent_form_config(c, rotary).kv_lora_rank}};
}

mla_status mla_to_latent_plan(const mla_decoder *model, const mla_to_latent_options *o, mla_conversion_report *report) {
    const mla_model_config *c = &model->config;
    const int64_t all = mla_to_latent_all_rotary(c);
    const mla_status status = mla_to_latent_check(model, o);
    if (status) return status;
    mla_to_latent_begin_report(model, o, report);
    const mla_ints exact = whole_rank(c, all), rotary = whole_rank(c, report->rope_dim);
    if (o->fold_norms) {
        report->stage[MLA_STAGE_NORMS].made = true;
        report->stage[MLA_STAGE_NORMS].bytes_per_token = report->bytes_per_token;
    }
    plan_stage(report, MLA_STAGE_EXACT, all, &exact);
    if (wants_rotary(model, o)) plan_stage(report, MLA_STAGE_ROTARY, report->rope_dim, &rotary);
    if (o->latent.count) plan_stage(report, MLA_STAGE_LATENT, report->rope_dim, &o->latent);
    if (o->budget) {
        report->stage[MLA_STAGE_LATENT].made = true;
        report->stage[MLA_STAGE_LATENT].bytes_per_token = o->budget;
    }
    return MLA_OK;
}
