/* Dropout: how much it keeps and how it scales that; off where nothing is trained; masks belong to samples. */
#include "tests/support/check.h"

#include "autograd/base/random.h"
#include "autograd/ops.h"

#include <math.h>
#include <string.h>

enum { ROWS = 70, WIDTH = 131, COUNT = ROWS * WIDTH };

static float values[2][COUNT];
static const int64_t matrix[] = {ROWS, WIDTH};

static void begin(tape_fixture *f) { mla_tape_begin(f->tape, &(mla_step){.seed = 1, .step = 2, .training = true}); }

static void keeps_its_share(void **state) {
    tape_fixture *f = *state;
    begin(f);
    mla_tensor *a = mla_input(f->tape, MLA_F32, 2, matrix, values[0]);
    const mla_tensor *y = mla_dropout(f->tape, a, 0.2f), *z = mla_dropout(f->tape, a, 0.2f);
    int kept = 0, same = 0;
    for (int i = 0; i < COUNT; i++) {
        const float value = ((float *)y->data)[i];
        if (value != 0) check_close((double)value, (double)values[0][i] / 0.8, 1e-6);
        kept += value != 0;
        same += (value != 0) == (((float *)z->data)[i] != 0);
    }
    const double deviation = sqrt(0.2 * 0.8 * COUNT);
    assert_true(fabs(kept - 0.8 * COUNT) < 4 * deviation);
    assert_true(fabs(same - (0.8 * 0.8 + 0.2 * 0.2) * COUNT) < 5 * deviation); /* another op, another mask */
}

static void is_off_outside_training(void **state) {
    tape_fixture *f = *state;
    mla_tape_begin(f->tape, &(mla_step){.training = false});
    mla_tensor *a = mla_input(f->tape, MLA_F32, 2, matrix, values[0]),
               *b = mla_input(f->tape, MLA_F32, 2, matrix, values[1]);
    assert_ptr_equal(mla_dropout(f->tape, a, 0.5f), a);
    const mla_tensor *sum = mla_residual_add(f->tape, a, b, 0.5f);
    for (int i = 0; i < COUNT; i++) assert_true(((float *)sum->data)[i] == values[0][i] + values[1][i]);
    begin(f);
    a = mla_input(f->tape, MLA_F32, 2, matrix, values[0]);
    assert_ptr_equal(mla_dropout(f->tape, a, 0), a);
}

/* A batch gives the same whether it comes as a whole or in two parts. */
static void depends_on_the_sample(void **state) {
    tape_fixture *f = *state;
    float whole[COUNT];
    begin(f);
    mla_tensor *a = mla_input(f->tape, MLA_F32, 2, matrix, values[0]);
    memcpy(whole, mla_dropout(f->tape, a, 0.5f)->data, sizeof whole);
    mla_tape_begin(f->tape, &(mla_step){.seed = 1, .step = 2, .first_sample = 30, .training = true});
    a = mla_input(f->tape, MLA_F32, 2, (const int64_t[]){ROWS - 30, WIDTH}, values[0] + 30 * WIDTH);
    assert_memory_equal(mla_dropout(f->tape, a, 0.5f)->data, whole + 30 * WIDTH, (COUNT - 30 * WIDTH) * sizeof(float));
    mla_tape_begin(f->tape, &(mla_step){.seed = 1, .step = 3, .training = true});
    a = mla_input(f->tape, MLA_F32, 2, matrix, values[0]);
    assert_memory_not_equal(mla_dropout(f->tape, a, 0.5f)->data, whole, sizeof whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_its_share), cmocka_unit_test(is_off_outside_training),
                                       cmocka_unit_test(depends_on_the_sample)};
    for (uint64_t i = 0; i < 2; i++) mla_random_normal(mla_random_stream(4, "values", i, 0, 0), 0, COUNT, values[i]);
    return cmocka_run_group_tests(tests, create_tape, destroy_tape);
}
