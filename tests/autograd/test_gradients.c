/* Every op's gradients against differences of its values; and the check itself against wrong ops. */
#include "tests/support/gradcheck.h"

#include "autograd/op.h"

#include <glob.h>
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
    return mla_mul(tape, mla_reshape(tape, in[0], 2, (const int64_t[]){5, 6}), in[1]);
}

static void gradient_of_reshape(void **state) {
    check_gradients(*state, build_reshape, NULL, {{3, {2, 3, 5}}, {2, {5, 6}}});
}

static mla_tensor *build_scale(mla_tape *tape, mla_tensor *const *in, const void *user) {
    return mla_scale(tape, in[0], *(const float *)user);
}

static void gradient_of_scale(void **state) {
    check_gradients(*state, build_scale, &(float){-1.7f}, {{2, {3, 1000}}});
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

/* ---- the check itself ---- */

typedef enum { RIGHT, FLIPPED, DROPPED, IGNORES_ADD, NOT_A_NUMBER } fault;

/* y = x0² + x0 x1 / 8, with a fault in the backward. */
static void sample_forward(const mla_node *n) {
    const float *a = n->in[0]->data, *b = n->in[1]->data;
    float *y = n->out->data;
    for (int64_t i = 0; i < mla_count(n->out); i++) y[i] = a[i] * a[i] + a[i] * b[i] / 8;
}

static void sample_backward(const mla_node *n) {
    const float *a = n->in[0]->data, *b = n->in[1]->data, *dy = n->out->grad;
    const fault f = *(fault *)n->attributes;
    for (int64_t i = 0; i < mla_count(n->out); i++) {
        const float slope[] = {2 * a[i] + (f == DROPPED ? 0 : b[i] / 8), (f == FLIPPED ? -a[i] : a[i]) / 8};
        for (int k = 0; k < 2; k++) {
            float *dx = n->grad[k];
            if (!n->mode[k]) continue;
            dx[i] = (n->mode[k] == MLA_ADD && f != IGNORES_ADD ? dx[i] : 0) + dy[i] * slope[k];
            if (f == NOT_A_NUMBER) dx[i] = NAN;
        }
    }
}

static const mla_op sample = {.name = "sample", .forward = sample_forward, .backward = sample_backward,
                              .attributes = sizeof(fault), .keeps = MLA_INPUT(0) | MLA_INPUT(1)};

static mla_tensor *build_sample(mla_tape *tape, mla_tensor *const *in, const void *user) {
    mla_node *n = mla_op_begin_f32(tape, &sample, 2, in);
    if (!n) return mla_inert(tape);
    *(fault *)n->attributes = *(const fault *)user;
    return mla_op_finish(n, MLA_F32, in[0]->ndim, in[0]->shape);
}

static void check_is_sharp(void **state) {
    static const char *const words[] = {[FLIPPED] = "input 1", [DROPPED] = "input 0",
                                        [IGNORES_ADD] = "used elsewhere", [NOT_A_NUMBER] = "nan"};
    for (fault f = RIGHT; f <= NOT_A_NUMBER; f++) {
        char why[GRADCHECK_WORDS] = "";
        const gradcheck check = {build_sample, &f, {{2, {5, 7}}, {2, {5, 7}}}};
        assert_int_equal(gradients_are_right(*state, &check, why), f == RIGHT);
        if (f != RIGHT && !strstr(why, words[f])) fail_msg("\"%s\" does not tell of \"%s\"", why, words[f]);
    }
}

/* ---- no op without a check ---- */

/* All files that match, one after the other; the caller frees. */
static char *read_files(const char *pattern) {
    glob_t found;
    size_t length = 0, room = 1 << 22;
    char *text = calloc(1, room);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "r");
        assert_non_null(file);
        length += fread(text + length, 1, room - 1 - length, file);
        fclose(file);
    }
    assert_true(length < room - 1);
    globfree(&found);
    return text;
}

static void every_op_has_a_check(void **state) {
    (void)state;
    char *ops = read_files(MLA_SOURCE_DIR "/autograd/ops/*.c");
    char *tests = read_files(MLA_SOURCE_DIR "/tests/autograd/test_*.c");
    int count = 0;
    for (const char *at = ops; (at = strstr(at, "\nmla_tensor *mla_")); count++) {
        char mark[64];
        at += strlen("\nmla_tensor *mla_");
        snprintf(mark, sizeof mark, "GRADCHECK(%.*s)", (int)strcspn(at, "("), at);
        if (!strstr(tests, mark)) fail_msg("no test has %s", mark);
    }
    assert_true(count > 20);
    free(ops);
    free(tests);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_is_sharp),
        cmocka_unit_test(every_op_has_a_check),
        GRADCHECK(linear),
        GRADCHECK(rmsnorm),
        GRADCHECK(layernorm),
        GRADCHECK(rope),
        GRADCHECK(attention),
        GRADCHECK(latent_attention),
        GRADCHECK(swiglu),
        GRADCHECK(dropout),
        GRADCHECK(residual_add),
        GRADCHECK(gather),
        GRADCHECK(add),
        GRADCHECK(mul),
        GRADCHECK(scale),
        GRADCHECK(exp),
        GRADCHECK(log),
        GRADCHECK(tanh),
        GRADCHECK(sigmoid),
        GRADCHECK(relu),
        GRADCHECK(gelu),
        GRADCHECK(gelu_tanh),
        GRADCHECK(silu),
        GRADCHECK(matmul),
        GRADCHECK(reshape),
        GRADCHECK(transpose),
        GRADCHECK(slice),
        GRADCHECK(concat),
        GRADCHECK(sum),
        GRADCHECK(softmax),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
