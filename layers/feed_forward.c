#include "layers/feed_forward.h"

mla_status mla_feed_forward_build(mla_context *context, mla_params *params, mla_feed_forward *layer,
                                  const mla_model_config *c, const char *prefix) {
    const int64_t d = c->hidden_size, f = c->intermediate_size;
    const double deviation = c->initializer_range;
    *layer = (mla_feed_forward){.config = c};
    if (c->gated)
        mla_linear_build(context, params, &layer->gate_proj,
                         &(mla_linear_spec){prefix, "gate_proj", d, f, c->mlp_bias, deviation});
    mla_linear_build(context, params, &layer->up_proj,
                     &(mla_linear_spec){prefix, "up_proj", d, f, c->mlp_bias, deviation});
    return mla_linear_build(context, params, &layer->down_proj,
                            &(mla_linear_spec){prefix, "down_proj", f, d, c->mlp_bias, deviation});
}

static mla_tensor *activate(mla_tape *tape, mla_activation act, mla_tensor *x) {
    switch (act) {
    case MLA_ACT_RELU: return mla_relu(tape, x);
    case MLA_ACT_GELU: return mla_gelu(tape, x);
    case MLA_ACT_GELU_NEW: return mla_gelu_tanh(tape, x);
    case MLA_ACT_SILU: break;
    }
    return mla_silu(tape, x);
}

static mla_tensor *hidden(mla_tape *tape, const mla_feed_forward *layer, mla_tensor *x) {
    const mla_activation act = layer->config->hidden_act;
    mla_tensor *up = mla_linear_apply(tape, &layer->up_proj, x);
    if (!layer->config->gated) return activate(tape, act, up);
    mla_tensor *gate = mla_linear_apply(tape, &layer->gate_proj, x);
    return act == MLA_ACT_SILU ? mla_swiglu(tape, gate, up) : mla_mul(tape, activate(tape, act, gate), up);
}

mla_tensor *mla_feed_forward_apply(mla_tape *tape, const mla_feed_forward *layer, mla_tensor *x) {
    const int64_t scope = mla_scope_open(tape);
    mla_tensor *h = hidden(tape, layer, x);
    if (layer->config->dropout > 0) h = mla_dropout(tape, h, (float)layer->config->dropout);
    return mla_scope_close(tape, scope, mla_linear_apply(tape, &layer->down_proj, h));
}
