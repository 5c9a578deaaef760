/* Every op's gradients against differences of its values. */
#include "tests/support/constant_ops.h"
#include "tests/support/files.h"
#include "tests/support/layercheck.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- fused ops ---- */

static mla_tensor *build_linear(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_linear(tape, in[0], in[1], in[2]);
}

static mla_tensor *build_linear_without_bias(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_linear(tape, in[0], in[1], NULL);
}

static void gradient_of_linear(void **state) {
    check_gradients(*state, build_linear, NULL, {{3, {2, 5, 7}}, {2, {9, 7}}, {1, {9}}});
    check_gradients(*state, build_linear, NULL, {{2, {40, 3}}, {2, {130, 3}}, {1, {130}}});
    check_gradients(*state, build_linear_without_bias, NULL, {{2, {4, 6}}, {2, {3, 6}}});
}

static mla_tensor *build_rmsnorm(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_rmsnorm(tape, in[0], in[1], *(const float *)user, MLA_F32);
}

static void gradient_of_rmsnorm(void **state) {
    check_gradients(*state, build_rmsnorm, &(float){1e-6f}, {{3, {2, 3, 37}}, {1, {37}}});
    check_gradients(*state, build_rmsnorm, &(float){0.5f}, {{2, {50, 70}}, {1, {70}}});
}

static mla_tensor *build_layernorm(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_layernorm(tape, in[0], in[1], in[2], *(const float *)user, MLA_F32);
}

static mla_tensor *build_layernorm_without_bias(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_layernorm(tape, in[0], in[1], NULL, *(const float *)user, MLA_F32);
}

static void gradient_of_layernorm(void **state) {
    const float small = 1e-5f, large = 0.5f;
    check_gradients(*state, build_layernorm, &small, {{3, {2, 3, 37}}, {1, {37}}, {1, {37}}});
    check_gradients(*state, build_layernorm, &large, {{2, {50, 70}}, {1, {70}}, {1, {70}}});
    check_gradients(*state, build_layernorm_without_bias, &small, {{2, {5, 37}}, {1, {37}}});
}

typedef struct {
    mla_rope_table table;
    int64_t first;
} rope_case;

static mla_tensor *build_rope(mla_tape *tape, mla_tensor *const *in, const void *user) {
    const rope_case *c = user;
    return mla_rope(tape, in[0], &c->table, c->first);
}

static void gradient_of_rope(void **state) {
    float cosine[9 * 4], sine[9 * 4];
    for (int i = 0; i < 9 * 4; i++) {
        cosine[i] = cosf(0.3f * (float)i);
        sine[i] = sinf(0.3f * (float)i);
    }
    rope_case c = {{.positions = 9, .rotary = 8, .cosine = cosine, .sine = sine}, 4};
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        c.table.interleaved = interleaved;
        check_gradients(*state, build_rope, &c, {{4, {2, 5, 3, 11}}});
        check_gradients(*state, build_rope, &c, {{4, {2, 5, 1, 8}}});
    }
}

static mla_tensor *build_attention(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_attention(tape, in[0], in[1], in[2], user);
}

/* (2,9): two documents, the second from position 4 on; three, and a position alone. */
static const int32_t starts[] = {0, 0, 0, 0, 4, 4, 4, 4, 4, 0, 0, 2, 2, 2, 5, 5, 5, 8};

static void gradient_of_attention(void **state) {
    const mla_attention_options whole = {.scale = 0.4f}, causal = {.mask.causal = true};
    check_gradients(*state, build_attention, &whole, {{4, {2, 5, 4, 6}}, {4, {2, 7, 2, 6}}, {4, {2, 7, 2, 3}}});
    check_gradients(*state, build_attention, &causal, {{4, {2, 9, 2, 6}}, {4, {2, 9, 2, 6}}, {4, {2, 9, 2, 3}}});
    check_gradients(*state, build_attention, &causal, {{4, {1, 80, 1, 4}}, {4, {1, 80, 1, 4}}, {4, {1, 80, 1, 4}}});
    const mla_attention_options apart = {.mask.causal = true, .mask.starts = starts};
    check_gradients(*state, build_attention, &apart, {{4, {2, 9, 4, 6}}, {4, {2, 9, 2, 6}}, {4, {2, 9, 2, 3}}});
}

static mla_tensor *build_latent_attention(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_latent_attention(tape, in[0], in[1], in[2], in[3], 2, user);
}

static mla_tensor *build_latent_attention_without_rope(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_latent_attention(tape, in[0], in[1], NULL, in[2], 2, user);
}

static void gradient_of_latent_attention(void **state) {
    enum { N = 6, R = 4, V = 3, C = 5, H = 2 };
    const mla_attention_options whole = {.scale = 0.4f}, causal = {.mask.causal = true};
    check_gradients(*state, build_latent_attention, &causal,
                    {{4, {2, 9, H, N + R}}, {3, {2, 9, C}}, {3, {2, 9, R}}, {2, {H * (N + V), C}}});
    check_gradients(*state, build_latent_attention_without_rope, &whole,
                    {{4, {2, 9, H, N}}, {3, {2, 9, C}}, {2, {H * (N + V), C}}});
    const mla_attention_options apart = {.mask.causal = true, .mask.starts = starts};
    check_gradients(*state, build_latent_attention, &apart,
                    {{4, {2, 9, H, N + R}}, {3, {2, 9, C}}, {3, {2, 9, R}}, {2, {H * (N + V), C}}});
}

static mla_tensor *build_swiglu(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_swiglu(tape, in[0], in[1]);
}

static void gradient_of_swiglu(void **state) {
    check_gradients(*state, build_swiglu, NULL, {{2, {5, 37}, -4, 4}, {2, {5, 37}}});
    check_gradients(*state, build_swiglu, NULL, {{2, {3, 1000}, -4, 4}, {2, {3, 1000}}});
}

static mla_tensor *build_dropout(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_dropout(tape, in[0], *(const float *)user);
}

static void gradient_of_dropout(void **state) {
    check_gradients(*state, build_dropout, &(float){0.3f}, {{3, {3, 4, 5}}});
    check_gradients(*state, build_dropout, &(float){0.3f}, {{2, {2, 3001}}});
}

static mla_tensor *build_residual_add(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_residual_add(tape, in[0], in[1], *(const float *)user);
}

static void gradient_of_residual_add(void **state) {
    check_gradients(*state, build_residual_add, &(float){0}, {{2, {3, 37}}, {2, {3, 37}}});
    check_gradients(*state, build_residual_add, &(float){0.3f}, {{2, {3, 37}}, {2, {3, 37}}});
}

/* ---- the general set ---- */

static mla_tensor *build_gather(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_gather(tape, in[0], mla_input(tape, MLA_I32, 2, (const int64_t[]){2, 5}, user));
}

static void gradient_of_gather(void **state) {
    static const int32_t ids[] = {3, 0, 3, 3, 6, 1, 0, 6, 6, 4};
    check_gradients(*state, build_gather, ids, {{2, {7, 5}}});
    check_gradients(*state, build_gather, ids, {{2, {7, 67}}});
}

static mla_tensor *build_add(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_add(tape, in[0], in[1]);
}

static void gradient_of_add(void **state) {
    check_gradients(*state, build_add, NULL, {{3, {3, 5, 70}}, {3, {3, 5, 70}}});
    check_gradients(*state, build_add, NULL, {{3, {3, 5, 70}}, {1, {70}}});
}

static mla_tensor *build_mul(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_mul(tape, in[0], in[1]);
}

static mla_tensor *build_square(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_mul(tape, in[0], in[0]);
}

static void gradient_of_mul(void **state) {
    check_gradients(*state, build_mul, NULL, {{3, {3, 5, 70}}, {3, {3, 5, 70}}});
    check_gradients(*state, build_mul, NULL, {{3, {3, 5, 70}}, {1, {70}}});
    check_gradients(*state, build_square, NULL, {{2, {3, 5}}});
}

static mla_tensor *build_sum(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_sum(tape, in[0]);
}

static void gradient_of_sum(void **state) {
    check_gradients(*state, build_sum, NULL, {{3, {3, 5, 7}}});
    check_gradients(*state, build_sum, NULL, {{2, {3, 1500}}});
}

static mla_tensor *build_reshape(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_reshape(tape, in[0], 2, (const int64_t[]){5, 6});
}

static void gradient_of_reshape(void **state) { check_gradients(*state, build_reshape, NULL, {{3, {2, 3, 5}}}); }

static mla_tensor *build_scale(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_scale(tape, in[0], *(const float *)user);
}

static void gradient_of_scale(void **state) { check_gradients(*state, build_scale, &(float){-1.7f}, {{2, {3, 1000}}}); }

/* A loss that is always 0: x must come through. */
static mla_tensor *build_join_loss(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_join_loss(tape, in[0], mla_sum(tape, mla_scale(tape, in[1], 0)));
}

static void gradient_of_join_loss(void **state) {
    check_gradients(*state, build_join_loss, NULL, {{2, {3, 5}}, {1, {4}}});
}

typedef mla_tensor *(*function)(mla_tape *tape, mla_tensor *x);

static mla_tensor *build_function(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return (*(const function *)user)(tape, in[0]);
}

static void gradient_of_exp(void **state) {
    check_gradients(*state, build_function, &(function){mla_exp}, {{2, {3, 37}, -2, 2}});
}
static void gradient_of_log(void **state) {
    check_gradients(*state, build_function, &(function){mla_log}, {{2, {3, 37}, 0.5, 4}});
}
static void gradient_of_tanh(void **state) {
    check_gradients(*state, build_function, &(function){mla_tanh}, {{2, {3, 1000}, -3, 3}});
}
static void gradient_of_sigmoid(void **state) {
    check_gradients(*state, build_function, &(function){mla_sigmoid}, {{2, {3, 37}, -5, 5}});
}
static void gradient_of_relu(void **state) {
    check_gradients(*state, build_function, &(function){mla_relu}, {{2, {3, 37}, .hole = 0.25f}});
}
static void gradient_of_gelu(void **state) {
    check_gradients(*state, build_function, &(function){mla_gelu}, {{2, {3, 37}, -3, 3}});
}
static void gradient_of_gelu_tanh(void **state) {
    check_gradients(*state, build_function, &(function){mla_gelu_tanh}, {{2, {3, 37}, -3, 3}});
}
static void gradient_of_silu(void **state) {
    check_gradients(*state, build_function, &(function){mla_silu}, {{2, {3, 37}, -5, 5}});
}

static mla_tensor *build_matmul(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_matmul(tape, in[0], in[1]);
}

static void gradient_of_matmul(void **state) {
    check_gradients(*state, build_matmul, NULL, {{2, {5, 7}}, {2, {7, 3}}});
    check_gradients(*state, build_matmul, NULL, {{4, {2, 3, 5, 7}}, {4, {2, 3, 7, 4}}});
    check_gradients(*state, build_matmul, NULL, {{3, {1, 5, 1}}, {3, {1, 1, 4}}});
}

static mla_tensor *build_transpose(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_transpose(tape, in[0], user);
}

static void gradient_of_transpose(void **state) {
    check_gradients(*state, build_transpose, ((const int[]){1, 0}), {{2, {5, 7}}});
    check_gradients(*state, build_transpose, ((const int[]){1, 2, 0}), {{3, {2, 5, 7}}});
    check_gradients(*state, build_transpose, ((const int[]){0, 2, 1, 3}), {{4, {2, 3, 4, 5}}});
    check_gradients(*state, build_transpose, ((const int[]){3, 1, 0, 2}), {{4, {2, 3, 4, 5}}});
}

typedef struct {
    int dimension;
    int64_t begin, length;
} part;

static mla_tensor *build_slice(mla_tape *tape, mla_tensor *const *in, const void *user) {
    const part *p = user;
    return mla_slice(tape, in[0], p->dimension, p->begin, p->length);
}

static void gradient_of_slice(void **state) {
    check_gradients(*state, build_slice, (&(part){0, 1, 1}), {{3, {3, 5, 7}}});
    check_gradients(*state, build_slice, (&(part){1, 2, 3}), {{3, {3, 5, 7}}});
    check_gradients(*state, build_slice, (&(part){2, 0, 6}), {{3, {3, 5, 7}}});
}

static mla_tensor *build_concat(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_concat(tape, in[0], in[1], *(const int *)user);
}

static void gradient_of_concat(void **state) {
    check_gradients(*state, build_concat, &(int){0}, {{3, {3, 5, 7}}, {3, {1, 5, 7}}});
    check_gradients(*state, build_concat, &(int){1}, {{3, {3, 5, 7}}, {3, {3, 2, 7}}});
    check_gradients(*state, build_concat, &(int){2}, {{3, {3, 5, 7}}, {3, {3, 5, 4}}});
}

static mla_tensor *build_softmax(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_softmax(tape, in[0], *(const bool *)user);
}

static void gradient_of_softmax(void **state) {
    check_gradients(*state, build_softmax, &(bool){false}, {{2, {5, 37}, -3, 3}});
    check_gradients(*state, build_softmax, &(bool){true}, {{3, {2, 7, 7}, -3, 3}});
    check_gradients(*state, build_softmax, &(bool){true}, {{3, {2, 5, 3}, -3, 3}});
}

/* ---- adapters ---- */

/* Those of rank R are taken row by row, those of rank HIGH by matrix products. */
enum { ROWS = 70, IN = 7, OUT = 9, R = 3, HIGH = 10 };
static const float scale = 0.7f;

/* Between 0.5 and 2. */
static const float *some_numbers(void) {
    static float numbers[OUT * IN];
    for (int i = 0; i < OUT * IN; i++) numbers[i] = 0.5f + 1.5f * (float)(i * 37 % 41) / 41;
    return numbers;
}

static mla_tensor *build_lora(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_lora(tape, in[0], in[1], in[2], in[3], scale);
}

/* The same input for y and x. */
static mla_tensor *build_lora_of_one(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_lora(tape, in[0], in[0], in[1], in[2], scale);
}

static void gradient_of_lora(void **state) {
    check_gradients(*state, build_lora, NULL, {{3, {2, 5, OUT}}, {3, {2, 5, IN}}, {2, {R, IN}}, {2, {OUT, R}}});
    check_gradients(*state, build_lora, NULL, {{2, {ROWS, OUT}}, {2, {ROWS, IN}}, {2, {1, IN}}, {2, {OUT, 1}}});
    check_gradients(*state, build_lora, NULL, {{2, {ROWS, OUT}}, {2, {ROWS, IN}}, {2, {HIGH, IN}}, {2, {OUT, HIGH}}});
    check_gradients(*state, build_lora, NULL, {{2, {300, OUT}}, {2, {300, IN}}, {2, {R, IN}}, {2, {OUT, R}}});
    check_gradients(*state, build_lora_of_one, NULL, {{2, {ROWS, IN}}, {2, {R, IN}}, {2, {IN, R}}});
}

static mla_tensor *build_dora(mla_tape *tape, mla_tensor *const *in, const void *user) {
    mla_tensor *norm = mla_input(tape, MLA_F32, 1, (const int64_t[]){OUT}, some_numbers());
    return mla_dora(tape, in[0], in[1], norm, user ? in[2] : NULL);
}

static void gradient_of_dora(void **state) {
    check_gradients(*state, build_dora, "bias", {{2, {50, OUT}}, {1, {OUT}}, {1, {OUT}}});
    check_gradients(*state, build_dora, NULL, {{3, {2, 5, OUT}}, {1, {OUT}}});
}

static mla_tensor *build_lora_weight(mla_tape *tape, mla_tensor *const *in, const void *user) {
    const bool dora = user;
    mla_tensor *norm = mla_input(tape, MLA_F32, 1, (const int64_t[]){OUT}, some_numbers());
    mla_tensor *weight = mla_input(tape, MLA_F32, 2, (const int64_t[]){OUT, IN}, some_numbers());
    return mla_lora_weight(tape, in[0], weight, in[1], in[2], dora ? in[3] : NULL, norm,
                           &(mla_lora_weight_options){.scale = scale, .share = 0.6f});
}

static void gradient_of_lora_weight(void **state) {
    check_gradients(*state, build_lora_weight, NULL, {{2, {OUT, IN}}, {2, {R, IN}}, {2, {OUT, R}}});
    check_gradients(*state, build_lora_weight, "dora", {{2, {OUT, IN}}, {2, {R, IN}}, {2, {OUT, R}}, {1, {OUT}}});
}

/* ---- the loss, which gives the gradient of a parameter on the way ---- */

typedef struct {
    mla_tensor *x, *weight;
    bool taught;
} loss_case;

static mla_tensor *apply_output_loss(mla_tape *tape, const void *user) {
    static const int32_t ids[] = {3, -1, 0, 6, 3};
    static float teacher[5 * 4], teacher_weight[7 * 4];
    const loss_case *c = user;
    fill_values(teacher, 5 * 4, "teacher", 1);
    fill_values(teacher_weight, 7 * 4, "teacher's weight", 1);
    mla_output_loss_options options = {.scale = 0.3f, .share = 0.4f, .temperature = 1.5f};
    if (c->taught) options.teacher = mla_input(tape, MLA_F32, 2, (int64_t[]){5, 4}, teacher);
    if (c->taught) options.teacher_weight = mla_input(tape, MLA_F32, 2, (int64_t[]){7, 4}, teacher_weight);
    return mla_output_loss(tape, c->x, c->weight, mla_input(tape, MLA_I32, 1, (int64_t[]){5}, ids), &options);
}

static void gradient_of_output_loss(void **state) {
    for (int taught = 0; taught < 2; taught++) {
        char why[GRADCHECK_WORDS] = "";
        mla_params *params;
        check_ok(*state, mla_params_create(*state, &params));
        loss_case c = {.taught = taught};
        c.x = mla_params_add(params, &(mla_param_spec){.name = "x", .ndim = 2, .shape = {5, 6}});
        c.weight = mla_params_add(params, &(mla_param_spec){.name = "weight", .ndim = 2, .shape = {7, 6}});
        check_ok(*state, mla_params_allocate(params, true));
        fill_layer(params, 1);
        const layercheck check = {.params = params, .apply = apply_output_loss, .user = &c};
        if (!layer_is_right(*state, &check, why)) fail_msg("%s", why);
        mla_params_destroy(params);
    }
}

static mla_tensor *build_running_mean(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_running_mean(tape, in[0], user);
}

static void gradient_of_running_mean(void **state) {
    check_gradients(*state, build_running_mean, NULL, {{3, {2, 6, 5}}});
    check_gradients(*state, build_running_mean, starts, {{3, {2, 9, 70}}});
}

static mla_tensor *build_relative_error(mla_tape *tape, mla_tensor *const *in, const void *user) {
    static const int32_t targets[] = {1, -1, 0, -1, -1, 2};
    static float values[2 * 3 * 5];
    (void)user;
    fill_values(values, 2 * 3 * 5, "y", 1);
    return mla_relative_error(tape, in[0], mla_input(tape, MLA_F32, 3, in[0]->shape, values),
                              mla_input(tape, MLA_I32, 2, in[0]->shape, targets));
}

static void gradient_of_relative(void **state) {
    check_gradients(*state, build_relative_error, NULL, {{3, {2, 3, 5}}});
}

static mla_tensor *build_label_loss(mla_tape *tape, mla_tensor *const *in, const void *user) {
    static const int32_t targets[] = {1, -1, 0, 2, 1}, classes[] = {3, 0, 2};
    static const float values[] = {0, 1, 0.25f, 1, 1, 0, -1, 2, 1, 0, 0, 1}, weights[] = {0.5f, 2, 1, 3};
    mla_label_loss_options o = *(const mla_label_loss_options *)user;
    mla_tensor *labels = o.kind ? mla_input(tape, MLA_F32, 2, (int64_t[]){3, 4}, values)
                                : mla_input(tape, MLA_I32, 1, (int64_t[]){3}, classes);
    if (o.kind != MLA_LABELS_NUMBERS) o.weights = mla_input(tape, MLA_F32, 1, (int64_t[]){4}, weights);
    return mla_label_loss(tape, in[0], mla_input(tape, MLA_I32, 1, (int64_t[]){5}, targets), labels, &o);
}

static void gradient_of_label_loss(void **state) {
    static const mla_label_loss_options all[] = {
        {.scale = 0.3f}, {.scale = 0.3f, .smoothing = 0.2f}, {MLA_LABELS_FLAGS, 0.3f}, {MLA_LABELS_NUMBERS, 0.3f}};
    for (int k = 0; k < 4; k++) check_gradients(*state, build_label_loss, &all[k], {{2, {5, 4}}});
}

/* ---- no op without a check ---- */

/* The last of the tests: by then all the others have been made. */
static void every_op_has_been_checked(void **state) {
    int64_t bytes;
    int count = 0;
    char *declared = file_read(MLA_SOURCE_DIR "/autograd/ops.h", &bytes), op[64];
    for (const char *at = declared; (at = strstr(at, "\nmla_tensor *mla_")); count++) {
        at += strlen("\nmla_tensor *mla_");
        snprintf(op, sizeof op, "%.*s", (int)strcspn(at, "("), at);
        if (!gradcheck_has_seen(op) && !gives_no_gradient(*state, op)) fail_msg("no gradient of %s was checked", op);
    }
    assert_true(count > 30);
    free(declared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_linear),        cmocka_unit_test(gradient_of_rmsnorm),
        cmocka_unit_test(gradient_of_layernorm),     cmocka_unit_test(gradient_of_rope),
        cmocka_unit_test(gradient_of_attention),     cmocka_unit_test(gradient_of_latent_attention),
        cmocka_unit_test(gradient_of_swiglu),        cmocka_unit_test(gradient_of_dropout),
        cmocka_unit_test(gradient_of_residual_add),  cmocka_unit_test(gradient_of_gather),
        cmocka_unit_test(gradient_of_add),           cmocka_unit_test(gradient_of_mul),
        cmocka_unit_test(gradient_of_scale),         cmocka_unit_test(gradient_of_join_loss),
        cmocka_unit_test(gradient_of_exp),           cmocka_unit_test(gradient_of_log),
        cmocka_unit_test(gradient_of_tanh),          cmocka_unit_test(gradient_of_sigmoid),
        cmocka_unit_test(gradient_of_relu),          cmocka_unit_test(gradient_of_gelu),
        cmocka_unit_test(gradient_of_gelu_tanh),     cmocka_unit_test(gradient_of_silu),
        cmocka_unit_test(gradient_of_matmul),        cmocka_unit_test(gradient_of_reshape),
        cmocka_unit_test(gradient_of_transpose),     cmocka_unit_test(gradient_of_slice),
        cmocka_unit_test(gradient_of_concat),        cmocka_unit_test(gradient_of_sum),
        cmocka_unit_test(gradient_of_softmax),       cmocka_unit_test(gradient_of_lora),
        cmocka_unit_test(gradient_of_dora),          cmocka_unit_test(gradient_of_lora_weight),
        cmocka_unit_test(gradient_of_output_loss),   cmocka_unit_test(gradient_of_running_mean),
        cmocka_unit_test(gradient_of_relative),      cmocka_unit_test(gradient_of_label_loss),
        cmocka_unit_test(every_op_has_been_checked),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
