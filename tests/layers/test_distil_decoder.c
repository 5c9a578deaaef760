/* A decoder that learns from another: without a share of the teacher nothing changes, not even dropout; a teacher that
 * is the same model has nothing to teach; the teacher itself is left alone; a loss that falls brings the two together.
 */
#include "layers/objective.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 8 };

static mla_decoder *decoder(mla_context *context, const char *settings, uint64_t seed, bool gradients) {
    const mla_model_config config = small_config(context, settings);
    mla_decoder *model;
    check_ok(context, mla_decoder_create(context, &model, &config));
    if (!gradients) mla_params_freeze(model->params);
    check_ok(context, mla_params_allocate(model->params, gradients));
    mla_params_initialise(model->params, seed);
    return model;
}

/* A step's loss; its gradients stay in the model. */
static float step(mla_decoder *model, const mla_objective *objective, bool recompute) {
    int32_t ids[B * T];
    mla_tape *tape;
    fill_ids(B * T, ids);
    check_ok(model->context, mla_tape_create(model->context, &tape, NULL));
    mla_params_clear_gradients(model->params);
    mla_tape_begin(tape, &(mla_step){.seed = 3, .training = true});
    mla_tensor *in = mla_input(tape, MLA_I32, 2, (int64_t[]){B, T}, ids);
    const mla_batch batch = {in, in, 1.0f / (B * T), .pass = {.recompute = recompute}};
    mla_tensor *loss = mla_objective_loss(tape, model, &batch, objective ? objective : &(mla_objective){0});
    check_ok(model->context, mla_backward(tape, loss));
    const float value = *(float *)loss->data;
    mla_tape_destroy(tape);
    return value;
}

static float *copy_of_gradients(const mla_decoder *model) {
    const size_t bytes = (size_t)mla_params_gradients_length(model->params) * sizeof(float);
    return memcpy(malloc(bytes), mla_params_gradients(model->params), bytes);
}

static bool same_gradients(const mla_decoder *model, const float *gradients) {
    return !memcmp(gradients, mla_params_gradients(model->params),
                   (size_t)mla_params_gradients_length(model->params) * sizeof(float));
}

static void a_teacher_without_share_changes_nothing(void **state) {
    mla_decoder *model = decoder(*state, "dropout=0.3", 1, true),
                *teacher = decoder(*state, "kv_lora_rank=3 dropout=0.3", 2, false);
    const float plain = step(model, NULL, false);
    float *gradients = copy_of_gradients(model);
    for (int recompute = 0; recompute < 2; recompute++) {
        check_close((double)step(model, &(mla_objective){teacher, 0, 2, NULL}, recompute), (double)plain, 1e-6);
        assert_true(relative_error(mla_params_gradients_length(model->params), mla_params_gradients(model->params),
                                   gradients) < 1e-6);
    }
    free(gradients);
    mla_decoder_destroy(model);
    mla_decoder_destroy(teacher);
}

static void the_same_model_teaches_nothing(void **state) {
    mla_decoder *model = decoder(*state, "", 1, true), *teacher = decoder(*state, "", 1, false);
    double divergence = 0;
    const float loss = step(model, &(mla_objective){teacher, 1, 1, &divergence}, false);
    assert_true(loss < 1e-6f && loss > -1e-6f && divergence < 1e-5 && divergence > -1e-5);
    for (int64_t i = 0; i < mla_params_gradients_length(model->params); i++) {
        const float g = mla_params_gradients(model->params)[i];
        assert_true(g < 1e-6f && g > -1e-6f);
    }
    mla_decoder_destroy(model);
    mla_decoder_destroy(teacher);
}

/* Blocks computed again give the same bits with a teacher too. */
static void recompute_changes_nothing(void **state) {
    mla_decoder *model = decoder(*state, "dropout=0.3", 1, true),
                *teacher = decoder(*state, "attention=multi_head dropout=0.3", 2, false);
    double divergence[2] = {0, 0};
    const float plain = step(model, &(mla_objective){teacher, 0.5f, 2, &divergence[0]}, false);
    float *gradients = copy_of_gradients(model);
    assert_true(step(model, &(mla_objective){teacher, 0.5f, 2, &divergence[1]}, true) == plain);
    assert_true(same_gradients(model, gradients) && divergence[0] == divergence[1] && divergence[0] > 1e-3);
    free(gradients);
    mla_decoder_destroy(model);
    mla_decoder_destroy(teacher);
}

static void following_the_gradient_comes_closer(void **state) {
    mla_decoder *model = decoder(*state, "kv_lora_rank=3", 1, true), *teacher = decoder(*state, "", 2, false);
    const int64_t length = mla_params_gradients_length(model->params),
                  taught = mla_params_values_length(teacher->params);
    float *before = memcpy(malloc((size_t)taught * sizeof(float)), mla_params_values(teacher->params),
                           (size_t)taught * sizeof(float));
    double first = 0, last = 0;
    for (int i = 0; i < 60; i++) {
        last = 0;
        step(model, &(mla_objective){teacher, 1, 1, &last}, false);
        if (!i) first = last;
        for (int64_t j = 0; j < length; j++)
            mla_params_values(model->params)[j] -= 5 * mla_params_gradients(model->params)[j];
        mla_params_changed(model->params);
    }
    assert_true(first > 0 && last < 0.3 * first);
    assert_memory_equal(before, mla_params_values(teacher->params), (size_t)taught * sizeof(float));
    free(before);
    mla_decoder_destroy(model);
    mla_decoder_destroy(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_teacher_without_share_changes_nothing), cmocka_unit_test(the_same_model_teaches_nothing),
        cmocka_unit_test(recompute_changes_nothing), cmocka_unit_test(following_the_gradient_comes_closer)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
