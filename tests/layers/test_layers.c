/* Every layer in every form: the gradients of its parameters and of its input against differences of its values,
 * and that a gradient which is wrong anywhere inside a layer is found. */
#include "autograd/op.h"
#include "layers/attention/latent_attention.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 5 };
static const int64_t shape[] = {B, T, SMALL_WIDTH};

/* ---- a layer on its own ---- */

typedef struct subject subject;
typedef enum { LATENT, MULTI_HEAD, FEED_FORWARD, NORM, BLOCK } layer_kind;

struct subject {
    layer_kind kind;
    mla_model_config config;
    mla_decoder *decoder; /* only for its rotary table */
    mla_params *params;
    mla_block block; /* or only the part that is tested */
    float x[B * T * SMALL_WIDTH];
};

static mla_status build(mla_context *context, subject *s) {
    const mla_model_config *c = &s->config;
    const mla_builder builder = {.context = context,
                                 .params = s->params,
                                 .config = c,
                                 .prefix = "",
                                 .rope = c->position == MLA_POSITION_ROPE ? &s->decoder->rope : NULL};
    switch (s->kind) {
    case LATENT:
    case MULTI_HEAD:
        s->block.attention = calloc(1, c->attention->size);
        return c->attention->build(&builder, s->block.attention);
    case FEED_FORWARD:
        s->block.feed_forward = calloc(1, c->feed_forward->size);
        return c->feed_forward->build(&builder, s->block.feed_forward);
    case NORM:
        return mla_norm_build(&builder, &s->block.input_norm,
                              &(mla_norm_spec){"norm", c->norm, SMALL_WIDTH, c->rms_norm_eps});
    case BLOCK: break;
    }
    return mla_block_build(&builder, &s->block);
}

static mla_tensor *apply(mla_tape *tape, const subject *s, mla_tensor *x) {
    const mla_pass pass = {0};
    switch (s->kind) {
    case LATENT:
    case MULTI_HEAD: return s->config.attention->apply(tape, s->block.attention, x, &pass, NULL);
    case FEED_FORWARD: return s->config.feed_forward->apply(tape, s->block.feed_forward, x, &pass);
    case NORM: return mla_norm_apply(tape, &s->block.input_norm, x, MLA_F32);
    case BLOCK: break;
    }
    return mla_block_apply(tape, &s->block, x, &pass, NULL);
}

/* The kink of ReLU at 0 is no place for differences: its biases keep what goes into it far from there. */
static void keep_away_from_kinks(const subject *s) {
    for (int64_t i = 0; s->config.hidden_act == MLA_ACT_RELU && i < mla_params_count(s->params); i++) {
        const mla_param *p = mla_params_at(s->params, i);
        if (!strstr(p->spec.name, "up_proj.bias") && !strstr(p->spec.name, "gate_proj.bias")) continue;
        for (int64_t j = 0; j < p->count; j++) ((float *)p->tensor.data)[j] = j % 3 ? 3 : -3;
    }
}

static void create_subject(mla_context *context, subject *s, layer_kind kind, const char *settings) {
    *s = (subject){.kind = kind, .config = small_config(context, settings)};
    check_ok(context, mla_decoder_create(context, &s->decoder, &s->config));
    check_ok(context, mla_params_create(context, &s->params));
    check_ok(context, build(context, s));
    check_ok(context, mla_params_allocate(s->params, true));
    fill_layer(s->params, 0.3f);
    keep_away_from_kinks(s);
    fill_values(s->x, B * T * SMALL_WIDTH, "x", 1);
}

static void destroy_subject(subject *s) {
    mla_block_free(&s->block);
    mla_params_destroy(s->params);
    mla_decoder_destroy(s->decoder);
}

/* ---- the checks ---- */

static mla_tensor *apply_to_own_input(mla_tape *tape, const void *user) {
    const subject *s = user;
    return apply(tape, s, mla_input(tape, MLA_F32, 3, shape, s->x));
}

static mla_tensor *apply_to_input(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return apply(tape, user, in[0]);
}

static void check_layer(mla_context *context, layer_kind kind, const char *settings) {
    subject s;
    char why[GRADCHECK_WORDS] = "";
    create_subject(context, &s, kind, settings);
    const gradcheck input = {apply_to_input, &s, {{3, {B, T, SMALL_WIDTH}}}, .tolerance = 5e-4, .step = 0x1p-8f};
    if (!layer_is_right(context, &(layercheck){s.params, apply_to_own_input, &s}, why) ||
        !gradients_are_right(context, &input, why))
        fail_msg("%s: %s", settings, why);
    destroy_subject(&s);
}

static void check_each(mla_context *context, layer_kind kind, int count, const char *const *settings) {
    for (int i = 0; i < count; i++) check_layer(context, kind, settings[i]);
}
#define CHECK_EACH(context, kind, settings) check_each(context, kind, sizeof settings / sizeof *settings, settings)

#define YARN                                                                                        \
    "rope_scaling.type=yarn rope_scaling.factor=4 rope_scaling.original_max_position_embeddings=4 " \
    "rope_scaling.beta_fast=2 rope_scaling.beta_slow=0.1 rope_scaling.mscale=1 rope_scaling.mscale_all_dim=0.7"

#define LLAMA3                                                                                         \
    "rope_scaling.type=llama3 rope_scaling.factor=4 rope_scaling.original_max_position_embeddings=64 " \
    "rope_scaling.low_freq_factor=1 rope_scaling.high_freq_factor=4"

static void latent_attention(void **state) {
    static const char *const settings[] = {"",
                                           "latent_norm=false",
                                           "q_lora_rank=6",
                                           "q_lora_rank=6 latent_norm=false",
                                           "q_lora_rank=6 attention_bias=true",
                                           "rope_interleave=false",
                                           "causal=false",
                                           YARN,
                                           YARN " q_lora_rank=6 rope_interleave=false attention_bias=true causal=false",
                                           "position=learned",
                                           "position=none causal=false latent_norm=false"};
    CHECK_EACH(*state, LATENT, settings);
}

static void multi_head_attention(void **state) {
    static const char *const settings[] = {
        "attention=multi_head",
        "attention=multi_head rope_interleave=false attention_bias=true",
        "attention=multi_head position=learned causal=false",
        "attention=multi_head position=none attention_bias=true",
        "attention=multi_head num_key_value_heads=2",
        "attention=multi_head num_key_value_heads=2 position=none head_dim=3",
        "attention=multi_head num_key_value_heads=2 causal=false attention_bias=true " YARN,
        "attention=multi_head num_key_value_heads=1 rope_interleave=false",
        "attention=multi_head num_key_value_heads=1 position=learned",
        "attention=multi_head num_key_value_heads=2 qk_norm=true head_dim=8",
        "attention=multi_head num_key_value_heads=2 qkv_bias=true "
        "qk_norm=true head_dim=8 rope_interleave=false " LLAMA3};
    CHECK_EACH(*state, MULTI_HEAD, settings);
}

static void feed_forward(void **state) {
    static const char *const settings[] = {"hidden_act=silu",
                                           "hidden_act=silu mlp_bias=true dropout=0.3",
                                           "hidden_act=relu mlp_bias=true",
                                           "hidden_act=gelu",
                                           "hidden_act=gelu_new dropout=0.3",
                                           "gated=false hidden_act=silu",
                                           "gated=false hidden_act=relu mlp_bias=true dropout=0.3",
                                           "gated=false hidden_act=gelu mlp_bias=true",
                                           "gated=false hidden_act=gelu_new"};
    CHECK_EACH(*state, FEED_FORWARD, settings);
}

static void norm(void **state) {
    static const char *const settings[] = {"norm=rmsnorm", "norm=layernorm", "norm=layernorm rms_norm_eps=0.1"};
    CHECK_EACH(*state, NORM, settings);
}

static void block(void **state) {
    static const char *const settings[] = {
        "", "q_lora_rank=6 dropout=0.2", "norm=layernorm dropout=0.2", "norm_position=post",
        "norm_position=post dropout=0.2", "attention=multi_head num_key_value_heads=2 dropout=0.2",
        "attention=multi_head norm_position=post norm=layernorm gated=false hidden_act=gelu",
        /* the article's TransformerLayer */
        "norm_position=post norm=layernorm gated=false hidden_act=relu mlp_bias=true latent_norm=false "
        "position=none causal=false dropout=0.1"};
    CHECK_EACH(*state, BLOCK, settings);
}

/* ---- decoders ---- */

static mla_tensor *loss_of(mla_tape *tape, const void *user) {
    static const int64_t ids_shape[] = {B, T};
    static int32_t ids[B * T], targets[B * T];
    fill_ids(B * T, ids);
    for (int i = 0; i < B * T; i++) targets[i] = i % T == T - 1 ? -1 : ids[i + 1];
    return language_loss(tape, user, mla_input(tape, MLA_I32, 2, ids_shape, ids),
                         mla_input(tape, MLA_I32, 2, ids_shape, targets), 1.0f / (B * (T - 1)), NULL);
}

static void decoder(void **state) {
    static const char *const settings[] = {
        "",
        "tie_word_embeddings=true",
        "q_lora_rank=6 dropout=0.2",
        "final_norm=false norm_position=post norm=layernorm",
        "position=learned tie_word_embeddings=true dropout=0.2",
        "attention=multi_head num_key_value_heads=2",
        "attention=multi_head position=learned tie_word_embeddings=true norm=layernorm gated=false hidden_act=gelu"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char why[GRADCHECK_WORDS] = "";
        mla_decoder *model = small_decoder(*state, settings[i]);
        /* one number in f32: rounding weighs more than in a sum of many in double */
        const layercheck check = {model->params, loss_of, model, .tolerance = 1e-3};
        if (!layer_is_right(*state, &check, why)) fail_msg("%s: %s", settings[i], why);
        mla_decoder_destroy(model);
    }
}

/* ---- the sharpness of the checks: ops that pass values on and gradients wrongly ---- */

typedef enum { FLIPPED, DROPPED, SCALED, RIGHT } fault;

static void pass_on(const mla_node *n) { memcpy(n->out->data, n->in[0]->data, (size_t)mla_size(n->out)); }

/* Of the wrong sign, a quarter missing, or a little too large; RIGHT: right. */
static float spoilt(fault f, int64_t i, int64_t count, float dy) {
    switch (f) {
    case FLIPPED: return -dy;
    case DROPPED: return i < count - count / 4 ? dy : 0;
    case SCALED: return 1.02f * dy;
    case RIGHT: break;
    }
    return dy;
}

static void pass_back_wrongly(const mla_node *n) {
    const float *dy = n->out->grad;
    float *dx = n->grad[0];
    const int64_t count = mla_count(n->out);
    for (int64_t i = 0; i < count; i++) {
        const float d = spoilt(*(fault *)n->attributes, i, count, dy[i]);
        dx[i] = n->mode[0] == MLA_ADD ? dx[i] + d : d;
    }
}

static const mla_op faulty_op = {
    .name = "faulty", .forward = pass_on, .backward = pass_back_wrongly, .attributes = sizeof(fault)};

static mla_tensor *faulty(mla_tape *tape, mla_tensor *x, fault f) {
    mla_node *n = mla_op_begin_f32(tape, &faulty_op, 1, &x);
    if (!n) return mla_inert(tape);
    *(fault *)n->attributes = f;
    return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
}

typedef struct {
    const subject *subject;
    int place; /* which of the layer's members stands behind a faulty op; -1: its input */
    fault fault;
} spoilt_layer;

enum { PLACES = 10 };

static mla_tensor **member(mla_latent_layer *l, int place) {
    mla_tensor **const all[PLACES] = {
        &l->q_a_proj.weight, &l->q_a_proj.bias,  &l->q_a_norm.gain,    &l->q_b_proj.weight, &l->kv_a_proj.weight,
        &l->kv_a_proj.bias,  &l->kv_a_norm.gain, &l->kv_b_proj.weight, &l->o_proj.weight,   &l->o_proj.bias};
    return all[place];
}

static mla_tensor *apply_spoilt(mla_tape *tape, mla_tensor *const *in, const void *user) {
    const spoilt_layer *s = user;
    const mla_pass pass = {0};
    mla_latent_layer layer = *(const mla_latent_layer *)s->subject->block.attention;
    if (s->place < 0) return mla_latent_layer_apply(tape, &layer, faulty(tape, in[0], s->fault), &pass, NULL);
    mla_tensor **tensor = member(&layer, s->place);
    *tensor = faulty(tape, *tensor, s->fault);
    return mla_latent_layer_apply(tape, &layer, in[0], &pass, NULL);
}

static mla_tensor *apply_spoilt_to_own_input(mla_tape *tape, const void *user) {
    const spoilt_layer *s = user;
    mla_tensor *x = mla_input(tape, MLA_F32, 3, shape, s->subject->x);
    return apply_spoilt(tape, &x, user);
}

/* A fault behind any one parameter is found, and its name told. */
static void faults_behind_parameters_are_found(void **state) {
    subject s;
    create_subject(*state, &s, LATENT, "q_lora_rank=6 attention_bias=true");
    for (int place = 0; place < PLACES; place++)
        for (fault f = FLIPPED; f <= RIGHT; f++) {
            char why[GRADCHECK_WORDS] = "";
            const spoilt_layer spoilt = {&s, place, f};
            const bool right = layer_is_right(*state, &(layercheck){s.params, apply_spoilt_to_own_input, &spoilt}, why);
            if (right != (f == RIGHT)) fail_msg("fault %d at place %d: %s", (int)f, place, right ? "not found" : why);
            if (!right && !strstr(why, (*member(s.block.attention, place))->name))
                fail_msg("fault %d at place %d gave: %s", (int)f, place, why);
        }
    destroy_subject(&s);
}

static void faults_behind_the_input_are_found(void **state) {
    subject s;
    create_subject(*state, &s, LATENT, "");
    for (fault f = FLIPPED; f <= RIGHT; f++) {
        char why[GRADCHECK_WORDS] = "";
        const spoilt_layer spoilt = {&s, -1, f};
        const gradcheck check = {apply_spoilt, &spoilt, {{3, {B, T, SMALL_WIDTH}}}, .tolerance = 5e-4, .step = 0x1p-8f};
        const bool right = gradients_are_right(*state, &check, why);
        if (right != (f == RIGHT)) fail_msg("fault %d: %s", (int)f, right ? "not found" : why);
    }
    destroy_subject(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(latent_attention),
                                       cmocka_unit_test(multi_head_attention),
                                       cmocka_unit_test(feed_forward),
                                       cmocka_unit_test(norm),
                                       cmocka_unit_test(block),
                                       cmocka_unit_test(decoder),
                                       cmocka_unit_test(faults_behind_parameters_are_found),
                                       cmocka_unit_test(faults_behind_the_input_are_found)};
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
