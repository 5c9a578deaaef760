/* Products with packed weights against those from rows: in both directions, for several numbers of rows, and
 * after the weight has changed. Where a processor does not gain by packing, the context's option asks for it.
 */
#include "autograd/base/random.h"
#include "autograd/ops.h"
#include "autograd/packed_weight.h"
#include "autograd/params.h"
#include "tests/support/check.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 300, IN = 80, OUT = 56 };

/* A linear layer of bf16: x (rows,IN) f32, y as f32 (rows,OUT), dx (rows,IN). */
typedef struct {
    mla_context *context;
    mla_params *params;
    mla_tensor *weight;
    mla_tape *tape;
    float y[MOST_ROWS * OUT], dx[MOST_ROWS * IN];
} layer;

static layer *make(bool packed) {
    layer *l = calloc(1, sizeof *l);
    assert_int_equal(mla_context_create(&l->context, &(mla_context_options){.pack_weights = packed}), MLA_OK);
    check_ok(l->context, mla_params_create(l->context, &l->params));
    l->weight = mla_params_add(
        l->params, &(mla_param_spec){.name = "w", .ndim = 2, .shape = {OUT, IN}, .init = MLA_INIT_NORMAL, .scale = 1});
    check_ok(l->context, mla_params_allocate(l->params, true));
    mla_params_initialise(l->params, 1);
    check_ok(l->context, mla_tape_create(l->context, &l->tape, NULL));
    return l;
}

static void destroy(layer *l) {
    mla_tape_destroy(l->tape);
    mla_params_destroy(l->params);
    mla_context_destroy(l->context);
    free(l);
}

static void run(layer *l, int64_t rows) {
    static float x[MOST_ROWS * IN], zeros[MOST_ROWS * OUT];
    mla_random_normal(mla_random_stream(2, "x", 0, 0, 0), 0, MOST_ROWS * IN, x);
    check_ok(l->context, mla_params_refresh_bf16(l->params));
    mla_params_clear_gradients(l->params);
    mla_tape_begin(l->tape, &(mla_step){.training = true, .precision = MLA_BF16});
    mla_tensor *in = mla_input(l->tape, MLA_F32, 2, (int64_t[]){rows, IN}, x);
    in->needs_grad = true;
    mla_tensor *y = mla_linear(l->tape, in, l->weight, NULL);
    mla_tensor *wide = mla_residual_add(l->tape, mla_input(l->tape, MLA_F32, 2, (int64_t[]){rows, OUT}, zeros), y, 0);
    memcpy(l->y, wide->data, (size_t)(rows * OUT) * sizeof(float));
    check_ok(l->context, mla_backward(l->tape, mla_sum(l->tape, mla_mul(l->tape, wide, wide))));
    memcpy(l->dx, in->grad, (size_t)(rows * IN) * sizeof(float));
}

static void compare(layer *a, layer *b, int64_t rows) {
    run(a, rows);
    run(b, rows);
    assert_true(relative_error(rows * OUT, a->y, b->y) < 1e-3);
    assert_true(relative_error(rows * IN, a->dx, b->dx) < 1e-3);
}

static void packed_is_as_rows(void **state) {
    (void)state;
    layer *packed = make(true), *rows = make(false);
    const int64_t sizes[] = {256, 1, 17, 300};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) compare(packed, rows, sizes[i]);
    assert_non_null(packed->weight->packed[0].data);
    assert_non_null(packed->weight->packed[1].data);
    if (!mla_gemm_has_amx()) assert_null(rows->weight->packed[0].data);
    destroy(packed);
    destroy(rows);
}

static void packed_follows_the_weight(void **state) {
    (void)state;
    layer *packed = make(true), *rows = make(false);
    compare(packed, rows, 256);
    for (layer *const *l = (layer *[]){packed, rows, NULL}; *l; l++) {
        for (int64_t i = 0; i < OUT * IN; i++) ((float *)(*l)->weight->data)[i] *= i % 3 ? 1 : -2;
        mla_params_stepped((*l)->params);
    }
    compare(packed, rows, 256);
    destroy(packed);
    destroy(rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(packed_is_as_rows),
                                       cmocka_unit_test(packed_follows_the_weight)};
    if (!mla_gemm_has_bf16()) {
        print_message("[  SKIPPED ] this processor has no bf16, and without that weights are not packed\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
