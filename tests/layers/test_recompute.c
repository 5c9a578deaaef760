/* A step that computes its blocks again gives the bits of one that keeps everything, dropout included, in less memory.
 */
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 16 };

typedef struct {
    float loss;
    float *gradients; /* the registry's whole block */
    int64_t finals;   /* calls of gradient_final */
} outcome;

static void count_final(void *user, mla_tensor *parameter) {
    (void)parameter;
    ++*(int64_t *)user;
}

/* Two microbatches, so that gradients are set and added to. */
static outcome train(mla_context *context, mla_decoder *model, mla_tape *tape, bool recompute, mla_dtype precision) {
    outcome o = {0};
    int32_t ids[B * T];
    fill_ids(B * T, ids);
    mla_params_clear_gradients(model->params);
    for (int sample = 0; sample < B; sample++) {
        mla_tape_begin(tape, &(mla_step){.seed = 5,
                                         .step = 2,
                                         .first_sample = sample,
                                         .training = true,
                                         .precision = precision,
                                         .gradient_final = count_final,
                                         .user = &o.finals});
        mla_tensor *in = mla_input(tape, MLA_I32, 2, (int64_t[]){1, T}, ids + sample * T);
        mla_tensor *loss = language_loss(tape, model, in, in, 1.0f / (B * T), &(mla_pass){.recompute = recompute});
        check_ok(context, mla_backward(tape, loss));
        o.loss += *(float *)loss->data;
    }
    const size_t bytes = (size_t)mla_params_gradients_length(model->params) * sizeof(float);
    o.gradients = malloc(bytes);
    memcpy(o.gradients, mla_params_gradients(model->params), bytes);
    return o;
}

static void compare(mla_context *context, const char *settings, mla_dtype precision) {
    mla_decoder *model = small_decoder(context, settings);
    mla_tape *keeping, *recomputing;
    check_ok(context, mla_tape_create(context, &keeping, NULL));
    check_ok(context, mla_tape_create(context, &recomputing, NULL));
    outcome kept = train(context, model, keeping, false, precision),
            again = train(context, model, recomputing, true, precision);
    assert_true(kept.loss == again.loss);
    assert_int_equal(kept.finals, again.finals);
    assert_memory_equal(kept.gradients, again.gradients,
                        (size_t)mla_params_gradients_length(model->params) * sizeof(float));
    assert_true(mla_pool_held(mla_tape_pool(recomputing)) <= mla_pool_held(mla_tape_pool(keeping)));
    mla_tape_destroy(keeping);
    mla_tape_destroy(recomputing);
    mla_decoder_destroy(model);
    free(kept.gradients);
    free(again.gradients);
}

static void gives_the_same_bits(void **state) {
    static const char *const settings[] = {"num_hidden_layers=3", "num_hidden_layers=3 kv_lora_ranks=7,4,9",
                                           "dropout=0.3 q_lora_rank=6 tie_word_embeddings=true",
                                           "dropout=0.3 norm_position=post norm=layernorm position=learned "
                                           "attention=multi_head num_key_value_heads=2"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        compare(*state, settings[i], MLA_F32);
        compare(*state, settings[i], MLA_BF16);
    }
}

static int64_t predicted(mla_context *context, const char *settings, bool recompute) {
    const mla_model_config config = small_config(context, settings);
    const int64_t shape[] = {B, T};
    mla_decoder *model;
    mla_tape *tape;
    check_ok(context, mla_decoder_create(context, &model, &config));
    check_ok(context, mla_tape_create(context, &tape, &(mla_tape_options){.shapes_only = true}));
    mla_params_lay_out(model->params);
    mla_tape_begin(tape, &(mla_step){.training = true});
    mla_tensor *ids = mla_input(tape, MLA_I32, 2, shape, NULL);
    check_ok(context, mla_backward(tape, language_loss(tape, model, ids, ids, 1, &(mla_pass){.recompute = recompute})));
    const int64_t bytes = mla_pool_reserved(mla_tape_pool(tape));
    mla_tape_destroy(tape);
    mla_decoder_destroy(model);
    return bytes;
}

/* Each further block costs its input only. */
static void takes_less_memory(void **state) {
    const int64_t shallow = predicted(*state, "num_hidden_layers=2", true);
    const int64_t deep = predicted(*state, "num_hidden_layers=10", true);
    const int64_t input = B * T * SMALL_WIDTH * (int64_t)sizeof(float);
    assert_true(deep - shallow <= 8 * (input + input / 8));
    assert_true(deep < predicted(*state, "num_hidden_layers=10", false));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(gives_the_same_bits), cmocka_unit_test(takes_less_memory)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
