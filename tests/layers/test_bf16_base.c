/* A base that is kept in bf16 under its adapters: a step of bf16 is the same, bit by bit, as with the same weights in
 * f32 and bf16 copies of them; half the memory or less; and what needs f32 refuses it. */
#include "autograd/base/bfloat16.h"
#include "layers/adapt/adapters.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 6 };

/* Weights that bf16 can hold; everything else as it comes. */
static void round_base(mla_params *params) {
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        const mla_param *p = mla_params_at(params, i);
        for (int64_t j = 0; p->spec.frozen && p->spec.takes_bf16 && p->tensor.dtype == MLA_F32 && j < p->count; j++)
            ((float *)p->tensor.data)[j] = mla_bf16_to_float(mla_bf16_from_float(((float *)p->tensor.data)[j]));
    }
}

static mla_decoder *adapted(mla_context *context, const char *settings, mla_lora_options *lora, bool half) {
    const mla_model_config config = small_config(context, settings);
    mla_decoder *model;
    check_ok(context, mla_decoder_create(context, &model, &config));
    check_ok(context, mla_adapters_attach(model, lora));
    mla_adapters_keep_base_bf16(model, lora, half ? MLA_BF16 : MLA_F32);
    check_ok(context, mla_params_allocate(model->params, true));
    mla_params_initialise(model->params, 5);
    round_base(model->params);
    check_ok(context, mla_adapters_begin(model));
    for (int64_t i = 0; i < mla_params_count(model->params); i++) { /* B is not zero */
        const mla_param *p = mla_params_at(model->params, i);
        if (!p->spec.frozen && strstr(p->spec.name, ".lora_B."))
            fill_values(p->tensor.data, p->count, p->spec.name, 0.1f);
    }
    return model;
}

static float loss_of(mla_decoder *model, mla_dtype precision) {
    int32_t ids[B * T];
    mla_tape *tape;
    fill_ids(B * T, ids);
    check_ok(model->context, mla_tape_create(model->context, &tape, NULL));
    mla_params_clear_gradients(model->params);
    mla_tape_begin(tape, &(mla_step){.training = true, .precision = precision});
    mla_tensor *in = mla_input(tape, MLA_I32, 2, (int64_t[]){B, T}, ids);
    mla_tensor *loss = language_loss(tape, model, in, in, 1, NULL);
    const float value = mla_backward(tape, loss) ? -1 : *(float *)loss->data;
    mla_tape_destroy(tape);
    return value;
}

static mla_lora_options options_of(mla_context *context, bool dora, mla_lora_init init) {
    mla_lora_options lora;
    check_ok(context, mla_fields_default(context, &mla_lora_fields, &lora));
    check_ok(context, mla_list_append(context, &lora.targets, "*"));
    lora.rank = 2;
    lora.dora = dora;
    lora.init = init;
    return lora;
}

static void steps_are_the_same_bit_by_bit(void **state) {
    static const char *const models[] = {"", "q_lora_rank=6 tie_word_embeddings=true",
                                         "attention=multi_head num_key_value_heads=2 head_dim=6", "position=learned"};
    for (int m = 0; m < 4; m++)
        for (int kind = 0; kind < 3; kind++) {
            mla_lora_options lora = options_of(*state, kind == 1, kind == 2 ? MLA_LORA_PISSA : MLA_LORA_UNIFORM);
            mla_decoder *whole = adapted(*state, models[m], &lora, false),
                        *half = adapted(*state, models[m], &lora, true);
            const float a = loss_of(whole, MLA_BF16), b = loss_of(half, MLA_BF16);
            assert_true(a > 0 && a == b);
            assert_memory_equal(mla_params_gradients(whole->params), mla_params_gradients(half->params),
                                (size_t)mla_params_gradients_length(whole->params) * sizeof(float));
            mla_fields_free(&mla_lora_fields, &lora);
            mla_decoder_destroy(whole);
            mla_decoder_destroy(half);
        }
}

static void it_takes_a_third_of_the_memory(void **state) {
    mla_lora_options lora = options_of(*state, false, MLA_LORA_UNIFORM);
    const char *const sizes = "hidden_size=64 intermediate_size=128 q_lora_rank=32 kv_lora_rank=32";
    mla_decoder *whole = adapted(*state, sizes, &lora, false), *half = adapted(*state, sizes, &lora, true);
    const mla_params *w = whole->params, *h = half->params;
    const int64_t before = 4 * mla_params_values_length(w) + 2 * mla_params_bf16_length(w);
    const int64_t after = 4 * mla_params_values_length(h) + 2 * mla_params_bf16_length(h);
    assert_true((double)after < 0.45 * (double)before); /* the norms and the adapters stay in f32 */
    for (int64_t i = 0; i < mla_params_count(h); i++) {
        const mla_param *p = mla_params_at(h, i);
        assert_int_equal(p->tensor.dtype == MLA_BF16, p->spec.frozen && p->spec.ndim == 2);
        assert_true(p->offset % 16 == 0 && p->bf16_offset % 16 <= 0);
    }
    mla_fields_free(&mla_lora_fields, &lora);
    mla_decoder_destroy(whole);
    mla_decoder_destroy(half);
}

static void what_needs_f32_says_so(void **state) {
    mla_lora_options lora = options_of(*state, false, MLA_LORA_UNIFORM);
    mla_decoder *model = adapted(*state, "", &lora, true);
    mla_kv_cache *cache;
    mla_tape *tape;
    int32_t id = 1;
    loss_of(model, MLA_F32);
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, "is kept in bf16 and serves steps of bf16 alone");
    check_error(*state, mla_adapters_merge(model), MLA_ERROR_ARGUMENT, "adapters are merged into f32 only");
    mla_decoder_remove_adapters(model);
    check_ok(*state, mla_kv_cache_create(*state, &cache, &model->config, 4, MLA_F32));
    check_ok(*state, mla_tape_create(*state, &tape, NULL));
    for (int i = 0; i < 2 && !mla_error_status(*state); i++) { /* the second position is decoded in the absorbed form */
        mla_tape_begin(tape, &(mla_step){.inference = true, .precision = MLA_F32});
        mla_decoder_hidden(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, 1}, &id),
                           &(mla_pass){.cache = cache});
    }
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, "is kept in bf16");
    mla_tape_destroy(tape);
    mla_kv_cache_destroy(cache);
    mla_fields_free(&mla_lora_fields, &lora);
    mla_decoder_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_are_the_same_bit_by_bit),
                                       cmocka_unit_test(it_takes_a_third_of_the_memory),
                                       cmocka_unit_test(what_needs_f32_says_so)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
