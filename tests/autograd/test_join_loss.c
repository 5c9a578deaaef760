/* A loss that joins the one behind it. */
#include "autograd/ops.h"
#include "tests/support/check.h"

/* What is joined counts once, whatever is made of x behind it: 3 sum(x) + sum(l²). */
static void what_is_joined_counts_once(void **state) {
    static const float x[3] = {1, 2, 3}, l[2] = {0.5f, -4};
    mla_tape *tape;
    check_ok(*state, mla_tape_create(*state, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){0});
    mla_tensor *tx = mla_input_with_gradient(tape, 1, (int64_t[]){3}, x);
    mla_tensor *tl = mla_input_with_gradient(tape, 1, (int64_t[]){2}, l);
    mla_tensor *y = mla_join_loss(tape, tx, mla_sum(tape, mla_mul(tape, tl, tl)));
    check_ok(*state, mla_backward(tape, mla_scale(tape, mla_sum(tape, y), 3)));
    for (int i = 0; i < 3; i++) check_close((double)((float *)tx->grad)[i], 3, 0);
    for (int i = 0; i < 2; i++) check_close((double)((float *)tl->grad)[i], 2 * (double)l[i], 0);
    mla_tape_destroy(tape);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_joined_counts_once)};
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
