/* Losses of labels against torch's cross_entropy, binary_cross_entropy_with_logits and mse_loss, with weights and
 * smoothing, all summed over rows; means over documents; what is refused. */
#include "autograd/ops.h"
#include "tests/support/check.h"

static const float logits[] = {0.5f, -1.25f, 2, 0.125f, 1.5f, 0.25f, -0.75f, 3, -2, 0.5f, 1, -0.25f};
static const float values[] = {0, 1, 0.25f, 1, 1, 0, 0, 1}; /* of rows 0 and 1 */
static const float weights[] = {0.5f, 2, 1, 3};
static const int32_t classes[] = {0, 2, 3}, targets[] = {2, 0, 1}; /* rows have classes 3, 0 and 2 */

static double loss_of(const tape_fixture *f, mla_labels_kind kind, bool weighted, float smoothing) {
    static const int32_t rows[] = {0, 1, 1};
    const bool is_class = kind == MLA_LABELS_CLASSES;
    mla_tape_begin(f->tape, &(mla_step){.inference = true});
    mla_label_loss_options o = {.kind = kind, .scale = 0.5f, .smoothing = smoothing};
    if (weighted) o.weights = mla_input(f->tape, MLA_F32, 1, (int64_t[]){4}, weights);
    const mla_tensor *loss = mla_label_loss(f->tape, mla_input(f->tape, MLA_F32, 2, (int64_t[]){3, 4}, logits),
                                            mla_input(f->tape, MLA_I32, 1, (int64_t[]){3}, is_class ? targets : rows),
                                            is_class ? mla_input(f->tape, MLA_I32, 1, (int64_t[]){3}, classes)
                                                     : mla_input(f->tape, MLA_F32, 2, (int64_t[]){2, 4}, values),
                                            &o);
    check_ok(f->context, mla_error_status(f->context));
    return 2 * (double)*(const float *)loss->data;
}

static void losses_are_torchs(void **state) {
    const tape_fixture *f = *state;
    check_close(loss_of(f, MLA_LABELS_CLASSES, false, 0), 4.6569211728886195, 1e-6);
    check_close(loss_of(f, MLA_LABELS_CLASSES, true, 0.2f), 8.445925160131448, 1e-6);
    check_close(loss_of(f, MLA_LABELS_FLAGS, false, 0), 2.859637567514001, 1e-6);
    check_close(loss_of(f, MLA_LABELS_FLAGS, true, 0), 3.697640080107006, 1e-6);
    check_close(loss_of(f, MLA_LABELS_NUMBERS, false, 0), 6.45703125, 1e-6);
}

static void rows_without_a_target_do_not_count(void **state) {
    static const int32_t first[] = {2, -1, -1};
    const tape_fixture *f = *state;
    mla_tape_begin(f->tape, &(mla_step){.inference = true});
    const mla_tensor *loss = mla_label_loss(f->tape, mla_input(f->tape, MLA_F32, 2, (int64_t[]){3, 4}, logits),
                                            mla_input(f->tape, MLA_I32, 1, (int64_t[]){3}, first),
                                            mla_input(f->tape, MLA_I32, 1, (int64_t[]){3}, classes),
                                            &(mla_label_loss_options){.scale = 1});
    check_ok(f->context, mla_error_status(f->context));
    check_close((double)*(const float *)loss->data, 2.2223127, 1e-6); /* log(sum of exp) - 0.125 */
}

static void try_target(const tape_fixture *f, int32_t target, int32_t class, const char *words) {
    mla_tape_begin(f->tape, &(mla_step){.inference = true});
    mla_label_loss(f->tape, mla_input(f->tape, MLA_F32, 2, (int64_t[]){1, 4}, logits),
                   mla_input(f->tape, MLA_I32, 1, (int64_t[]){1}, &target),
                   mla_input(f->tape, MLA_I32, 1, (int64_t[]){1}, &class), &(mla_label_loss_options){.scale = 1});
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_ARGUMENT, words);
}

static void targets_are_checked(void **state) {
    try_target(*state, 1, 0, "the target of row 0 is label 1, but there are 1");
    try_target(*state, -2, 0, "the target of row 0 is label -2");
    try_target(*state, 0, 4, "the label of row 0 is class 4, but the head has 4");
    try_target(*state, 0, -1, "class -1");
}

static void means_stay_in_their_documents(void **state) {
    static const float x[] = {1, 10, 3, 20, 8, -3, 2, 6, 4, 0};
    static const int32_t starts[] = {0, 0, 2, 2, 4};
    static const float expected[] = {1, 10, 2, 15, 8, -3, 5, 1.5f, 4, 0};
    const tape_fixture *f = *state;
    mla_tape_begin(f->tape, &(mla_step){.inference = true});
    const mla_tensor *y = mla_running_mean(f->tape, mla_input(f->tape, MLA_F32, 3, (int64_t[]){1, 5, 2}, x), starts);
    check_ok(f->context, mla_error_status(f->context));
    for (int i = 0; i < 10; i++) check_close((double)((const float *)y->data)[i], (double)expected[i], 1e-7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_torchs), cmocka_unit_test(rows_without_a_target_do_not_count),
        cmocka_unit_test(targets_are_checked), cmocka_unit_test(means_stay_in_their_documents)};
    return cmocka_run_group_tests(tests, create_tape, destroy_tape);
}
