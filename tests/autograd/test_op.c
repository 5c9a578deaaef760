/* Making ops, as in autograd/op.h: what cannot be had is an error, and nothing is lost by it. */
#include "tests/support/allocations.h"
#include "tests/support/check.h"

#include "autograd/op.h"

#include <string.h>

enum { N = 6 };

static const mla_step step = {.training = true};
static const float values[N] = {1, -2, 3, 0.5f, -1, 4};

enum { LARGE = 40 << 10, TOO_LARGE = 80 << 10 }; /* of blocks of 64 KiB */
static const mla_op large = {.name = "large", .attributes = LARGE};
static const mla_op too_large = {.name = "too large", .attributes = TOO_LARGE};

static mla_tensor *make(mla_tape *tape, const mla_op *op, mla_tensor *x, int64_t length) {
    mla_node *n = mla_op_begin(tape, op, 1, &x);
    if (!n) return mla_inert(tape);
    memset(n->attributes, 1, op->attributes);
    mla_op_save(n, 0, 1000);
    return mla_op_finish(n, MLA_F32, 1, &length);
}

static void attributes_that_cannot_be_had_are_errors(void **state) {
    tape_fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = mla_input(f->tape, MLA_F32, 1, (const int64_t[]){N}, values);
    make(f->tape, &too_large, x, N);
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_ARGUMENT, "beyond");
    if (!allocations_can_be_watched()) return;
    assert_ptr_not_equal(make(f->tape, &large, x, N), mla_inert(f->tape));
    allocations_watch(1);
    const mla_tensor *y = make(f->tape, &large, x, N);
    allocations_stop();
    assert_ptr_equal(y, mla_inert(f->tape));
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_MEMORY, "the tape");
}

static void an_op_that_fails_gives_back_what_it_saved(void **state) {
    tape_fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = mla_input(f->tape, MLA_F32, 1, (const int64_t[]){N}, values);
    make(f->tape, &large, x, 0);
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_SHAPE, "an impossible shape");
    assert_int_equal(mla_pool_held(mla_tape_pool(f->tape)), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(attributes_that_cannot_be_had_are_errors),
                                       cmocka_unit_test(an_op_that_fails_gives_back_what_it_saved)};
    return cmocka_run_group_tests(tests, create_tape, destroy_tape);
}
