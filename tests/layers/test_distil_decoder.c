/* A decoder that learns from another: without a share of the teacher nothing changes, not even dropout; a teacher that
 * is the same model has nothing to teach; the teacher itself is left alone; a loss that falls brings the two together.
 * What is learned layer by layer is measured from outside, and differentiated by differences. */
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

/* ---- layer by layer ---- */

enum { PUPIL_LAYERS = 2 };

/* The mean relative error, by the definition: from what is seen of both models' attentions. */
typedef struct {
    float output[PUPIL_LAYERS][B * T * SMALL_WIDTH];
} seen;

static void see_output(void *user, mla_tape *tape, const mla_attention_sight *sight) {
    seen *s = user;
    (void)tape;
    if (sight->step == MLA_STEP_OUTPUT) memcpy(s->output[sight->layer], sight->first->data, sizeof s->output[0]);
}

static void look(const mla_decoder *model, seen *out) {
    const mla_onlooker onlooker = {see_output, out};
    int32_t ids[B * T];
    mla_tape *tape;
    fill_ids(B * T, ids);
    check_ok(model->context, mla_tape_create(model->context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_decoder_hidden(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){B, T}, ids),
                       &(mla_pass){.onlooker = &onlooker});
    check_ok(model->context, mla_error_status(model->context));
    mla_tape_destroy(tape);
}

static double error_of(const float *x, const float *y, const int32_t *targets) {
    double error = 0, size = 0;
    for (int i = 0; i < T * SMALL_WIDTH; i++)
        if (targets[i / SMALL_WIDTH] >= 0) {
            error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
            size += (double)y[i] * (double)y[i];
        }
    return error / size;
}

/* Six positions of the first sequence count, and all of the second. */
static void fill_targets(int32_t *targets) {
    fill_ids(B * T, targets);
    targets[1] = targets[T - 1] = -1;
}

static double expected_error(const mla_decoder *model, const mla_decoder *teacher) {
    static seen own, taught;
    int32_t targets[B * T];
    double sum = 0;
    fill_targets(targets);
    look(model, &own);
    look(teacher, &taught);
    for (int l = 0; l < PUPIL_LAYERS; l++) {
        const float *x = own.output[l], *y = taught.output[l];
        sum += (T - 2) * error_of(x, y, targets) + T * error_of(x + T * SMALL_WIDTH, y + T * SMALL_WIDTH, targets + T);
    }
    return sum / (2 * T - 2) / PUPIL_LAYERS;
}

typedef struct {
    mla_decoder *model, *teacher;
    float weight;
    bool recompute;
    mla_statistics *statistics;
} lesson;

static mla_tensor *taught_loss(mla_tape *tape, const lesson *l) {
    static int32_t ids[B * T], targets[B * T];
    fill_ids(B * T, ids);
    fill_targets(targets);
    const float scale = 1.0f / (B * T - 2);
    const mla_batch batch = {mla_input(tape, MLA_I32, 2, (int64_t[]){B, T}, ids),
                             mla_input(tape, MLA_I32, 2, (int64_t[]){B, T}, targets), scale,
                             .pass = {.recompute = l->recompute, .loss_share = 1, .statistics = l->statistics}};
    return mla_objective_loss(tape, l->model, &batch, &(mla_objective){l->teacher, 0, 1, NULL, l->weight});
}

static void learn(const lesson *l) {
    mla_tape *tape;
    check_ok(l->model->context, mla_tape_create(l->model->context, &tape, NULL));
    mla_params_clear_gradients(l->model->params);
    mla_tape_begin(tape, &(mla_step){.seed = 3, .training = true});
    check_ok(l->model->context, mla_backward(tape, taught_loss(tape, l)));
    mla_tape_destroy(tape);
}

static const char *const pupils[] = {"", "kv_lora_rank=3", "attention=multi_head num_key_value_heads=2 head_dim=6",
                                     "norm_position=post"};

static void what_is_noted_is_the_error_of_the_layers(void **state) {
    for (int i = 0; i < 4; i++) {
        mla_decoder *model = decoder(*state, pupils[i], 1, true), *teacher = decoder(*state, pupils[2], 2, false);
        for (int recompute = 0; recompute < 2; recompute++) {
            mla_statistics noted = {0};
            learn(&(lesson){model, teacher, 1, recompute, &noted});
            assert_int_equal(noted.count, 1);
            assert_string_equal(noted.of[0].name, "distil_layers");
            assert_int_equal(noted.of[0].parts, PUPIL_LAYERS);
            check_close(noted.of[0].sum / PUPIL_LAYERS, expected_error(model, teacher), 1e-5);
        }
        mla_decoder_destroy(model);
        mla_decoder_destroy(teacher);
    }
}

/* With what is minimised beside the loss in its value. */
static mla_tensor *whole_loss(mla_tape *tape, const void *user) {
    mla_statistics noted = {0};
    lesson l = *(const lesson *)user;
    l.statistics = &noted;
    mla_tensor *loss = taught_loss(tape, &l);
    const float beside = l.weight * (float)(noted.of[0].sum / PUPIL_LAYERS);
    return mla_add(tape, loss, mla_input(tape, MLA_F32, 1, (int64_t[]){1}, &beside));
}

static void gradients_of_layers_are_right(void **state) {
    for (int i = 0; i < 4; i++) {
        mla_decoder *model = decoder(*state, pupils[i], 1, true), *teacher = decoder(*state, pupils[2], 2, false);
        lesson l = {model, teacher, 30, false, NULL};
        char why[GRADCHECK_WORDS];
        fill_layer(model->params, 0.3f);
        fill_values(model->embed_tokens->data, mla_count(model->embed_tokens), "embed_tokens", 1);
        fill_layer(teacher->params, 0.5f);
        if (!layer_is_right(*state, &(layercheck){model->params, whole_loss, &l, 2e-3, 0}, why))
            fail_msg("%s: %s", pupils[i], why);
        learn(&l);
        float *gradients = copy_of_gradients(model);
        l.recompute = true;
        learn(&l);
        assert_true(same_gradients(model, gradients));
        free(gradients);
        mla_decoder_destroy(model);
        mla_decoder_destroy(teacher);
    }
}

static void layers_that_do_not_fit_are_refused(void **state) {
    static const char *const teachers[] = {"num_hidden_layers=3", "hidden_size=24"};
    for (int i = 0; i < 2; i++) {
        mla_decoder *model = decoder(*state, "", 1, true), *teacher = decoder(*state, teachers[i], 2, false);
        mla_tape *tape;
        check_ok(*state, mla_tape_create(*state, &tape, NULL));
        mla_tape_begin(tape, &(mla_step){.training = true});
        mla_tensor *loss = taught_loss(tape, &(lesson){model, teacher, 1, false, NULL});
        check_error(*state, mla_backward(tape, loss), MLA_ERROR_ARGUMENT, "both have as many, as wide");
        mla_tape_destroy(tape);
        mla_decoder_destroy(model);
        mla_decoder_destroy(teacher);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_teacher_without_share_changes_nothing),
                                       cmocka_unit_test(the_same_model_teaches_nothing),
                                       cmocka_unit_test(recompute_changes_nothing),
                                       cmocka_unit_test(following_the_gradient_comes_closer),
                                       cmocka_unit_test(what_is_noted_is_the_error_of_the_layers),
                                       cmocka_unit_test(gradients_of_layers_are_right),
                                       cmocka_unit_test(layers_that_do_not_fit_are_refused)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
