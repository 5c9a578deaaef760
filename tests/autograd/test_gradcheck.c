/* The check of gradients itself, against ops that are wrong. */
#include "tests/support/gradcheck.h"

#include "autograd/op.h"

#include <math.h>
#include <string.h>

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

static const mla_op sample = {.name = "sample",
                              .forward = sample_forward,
                              .backward = sample_backward,
                              .attributes = sizeof(fault),
                              .keeps = MLA_INPUT(0) | MLA_INPUT(1)};

static mla_tensor *build_sample(mla_tape *tape, mla_tensor *const *in, const void *user) {
    mla_node *n = mla_op_begin_f32(tape, &sample, 2, in);
    if (!n) return mla_inert(tape);
    *(fault *)n->attributes = *(const fault *)user;
    return mla_op_finish(n, MLA_F32, in[0]->ndim, in[0]->shape);
}

static void check_is_sharp(void **state) {
    static const char *const words[] = {
        [FLIPPED] = "input 1", [DROPPED] = "input 0", [IGNORES_ADD] = "used elsewhere", [NOT_A_NUMBER] = "nan"};
    for (fault f = RIGHT; f <= NOT_A_NUMBER; f++) {
        char why[GRADCHECK_WORDS] = "";
        const gradcheck check = {build_sample, &f, {{2, {5, 7}}, {2, {5, 7}}}};
        assert_int_equal(gradients_are_right(*state, &check, why), f == RIGHT);
        if (f != RIGHT && !strstr(why, words[f])) fail_msg("\"%s\" does not tell of \"%s\"", why, words[f]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(check_is_sharp)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
