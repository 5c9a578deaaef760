/* Every op's gradients against differences of its values; and the check itself against wrong ops. */
#include "tests/support/gradcheck.h"

#include "autograd/op.h"

#include <math.h>
#include <string.h>

static int setup(void **state) { return mla_context_create((mla_context **)state, NULL) != MLA_OK; }
static int teardown(void **state) {
    mla_context_destroy(*state);
    return 0;
}

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
    return mla_rmsnorm(tape, in[0], in[1], *(const float *)user);
}

static void gradient_of_rmsnorm(void **state) {
    check_gradients(*state, build_rmsnorm, &(float){1e-6f}, {{3, {2, 3, 37}}, {1, {37}}});
    check_gradients(*state, build_rmsnorm, &(float){0.5f}, {{2, {50, 70}}, {1, {70}}});
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
                              .keeps = MLA_INPUT(0) | MLA_INPUT(1)};

static mla_tensor *build_sample(mla_tape *tape, mla_tensor *const *in, const void *user) {
    mla_node *n = mla_op_begin_f32(tape, &sample, 2, in);
    if (!n) return mla_inert(tape);
    *(fault *)mla_op_attributes(n, sizeof(fault)) = *(const fault *)user;
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_is_sharp), GRADCHECK(linear),       GRADCHECK(rmsnorm), GRADCHECK(rope),
        GRADCHECK(swiglu),                GRADCHECK(dropout),      GRADCHECK(gather),  GRADCHECK(add),
        GRADCHECK(mul),                   GRADCHECK(residual_add), GRADCHECK(sum),     GRADCHECK(reshape),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
