#include "layers/feed_forward/dense.h"
#include "layers/parts/linear.h"

typedef struct {
    const mla_model_config *config;
    mla_linear_layer gate_proj, up_proj, down_proj;
} dense_layer;

static mla_status dense_build(const mla_builder *b, void *memory) {
    const mla_model_config *c = b->config;
    const int64_t d = c->hidden_size, f = c->intermediate_size;
    dense_layer *layer = memory;
    layer->config = c;

    if (c->gated) mla_linear_build(b, &layer->gate_proj, &(mla_linear_spec){"gate_proj", d, f, c->mlp_bias});
    mla_linear_build(b, &layer->up_proj, &(mla_linear_spec){"up_proj", d, f, c->mlp_bias});
    return mla_linear_build_residual(b, &layer->down_proj, &(mla_linear_spec){"down_proj", f, d, c->mlp_bias});
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

static mla_tensor *hidden(mla_tape *tape, const dense_layer *layer, mla_tensor *x) {
    const mla_activation act = layer->config->hidden_act;
    mla_tensor *up = mla_linear_apply(tape, &layer->up_proj, x);
    if (!layer->config->gated) return activate(tape, act, up);
    mla_tensor *gate = mla_linear_apply(tape, &layer->gate_proj, x);
    return act == MLA_ACT_SILU ? mla_swiglu(tape, gate, up) : mla_mul(tape, activate(tape, act, gate), up);
}

static mla_tensor *dense_apply(mla_tape *tape, const void *memory, mla_tensor *x, const mla_pass *pass) {
    const dense_layer *layer = memory;
    const int64_t scope = mla_scope_open(tape);
    (void)pass; /* no loss of its own */
    mla_tensor *h = hidden(tape, layer, x);
    if (layer->config->dropout > 0) h = mla_dropout(tape, h, (float)layer->config->dropout);
    return mla_scope_close(tape, scope, mla_linear_apply(tape, &layer->down_proj, h));
}

const mla_feed_forward_kind mla_dense_kind = {
    .name = "dense", .size = sizeof(dense_layer), .build = dense_build, .apply = dense_apply};
