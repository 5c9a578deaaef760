/* What layers and models do with what does not fit: an error that names it, nothing half-made, no crash. */
#include "tests/support/allocations.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <stdlib.h>

enum { B = 2, T = 5 };

/* ---- models ---- */

static void models_check_their_configuration(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *key, *value, *message;
    } cases[] = {{"vocab_size", "0", "vocab_size: 0"},
                 {"kv_lora_rank", "0", "kv_lora_rank: 0 is too small"},
                 {"kv_lora_rank", "-4", "kv_lora_rank: -4 is too small"},
                 {"qk_rope_head_dim", "3", "qk_rope_head_dim: 3, but rotary pairs need an even width"},
                 {"hidden_size", "0", "hidden_size: 0 is too small"},
                 {"num_hidden_layers", "0", "num_hidden_layers: 0 is too small"},
                 {"q_lora_rank", "-1", "q_lora_rank: -1 is too small"},
                 {"dropout", "1", "dropout: 1 is too large"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_model_config config = small_config(context, "");
        mla_decoder *model;
        void *member;
        const mla_field *field = mla_fields_find(&mla_model_fields, &config, cases[i].key, &member);
        if (field->type == MLA_FIELD_INT) *(int64_t *)member = strtoll(cases[i].value, NULL, 10);
        else *(double *)member = strtod(cases[i].value, NULL);
        check_error(context, mla_decoder_create(context, &model, &config), MLA_ERROR_ARGUMENT, cases[i].message);
        assert_null(model);
    }
}

/* What 0 stands for is derived there too. */
static void models_derive_what_is_left_out(void **state) {
    mla_context *context = *state;
    mla_model_config config = small_config(context, "");
    mla_decoder *model;
    config.qk_nope_head_dim = config.v_head_dim = 0;
    check_ok(context, mla_decoder_create(context, &model, &config));
    assert_int_equal(model->config.v_head_dim, 4);
    mla_decoder_destroy(model);
}

static mla_status create_everything(mla_context *context, const mla_model_config *config) {
    mla_decoder *model;
    mla_kv_cache *cache = NULL;
    mla_status status = mla_decoder_create(context, &model, config);
    if (!status) status = mla_params_allocate(model->params, true);
    if (!status) status = mla_kv_cache_create(context, &cache, config, 5, MLA_F32);
    mla_kv_cache_destroy(cache);
    mla_decoder_destroy(model);
    return status;
}

static void every_allocation_may_fail(void **state) {
    mla_context *context = *state;
    const mla_model_config config = small_config(context, "q_lora_rank=6");
    bool failed = allocations_can_be_watched();
    int64_t n = 0;
    while (failed) {
        allocations_watch(++n);
        const mla_status status = create_everything(context, &config);
        const allocation_count count = allocations_stop();
        failed = count.failed;
        assert_int_equal(count.live, 0);
        if (failed) check_error(context, status, MLA_ERROR_MEMORY, "no memory for");
        else check_ok(context, status);
    }
    assert_true(n == 0 || n > 40); /* names and tensors of a model of two layers */
}

static void names_are_taken_once(void **state) {
    mla_context *context = *state;
    const mla_model_config config = small_config(context, "");
    mla_params *params;
    mla_block one, other;
    check_ok(context, mla_params_create(context, &params));
    const mla_builder builder = {.context = context, .params = params, .config = &config, .prefix = "model.layers.0."};
    check_ok(context, mla_block_build(&builder, &one));
    check_error(context, mla_block_build(&builder, &other), MLA_ERROR_ARGUMENT,
                "model.layers.0.input_layernorm.weight");
    mla_block_free(&one);
    mla_block_free(&other);
    mla_params_destroy(params);
}

/* ---- ids ---- */

typedef struct {
    mla_decoder *model;
    mla_tape *tape;
} setting;

static setting create_setting(mla_context *context, const char *settings) {
    setting s = {.model = small_decoder(context, settings)};
    check_ok(context, mla_tape_create(context, &s.tape, NULL));
    mla_tape_begin(s.tape, &(mla_step){.training = true});
    return s;
}

static void destroy_setting(setting *s) {
    mla_tape_destroy(s->tape);
    mla_decoder_destroy(s->model);
}

static void ids_must_fit(void **state) {
    mla_context *context = *state;
    static const int32_t good[B * SMALL_LENGTH + B], large[T] = {0, 1, 2, SMALL_VOCABULARY, 3}, negative[T] = {-1};
    static const struct {
        const int32_t *ids;
        int ndim;
        int64_t shape[3];
        mla_status status;
        const char *message;
    } cases[] = {{good,
                  2,
                  {B, SMALL_LENGTH + 1},
                  MLA_ERROR_SHAPE,
                  "a sequence of 17 tokens is longer than max_position_embeddings 16"},
                 {good, 1, {T}, MLA_ERROR_SHAPE, "ids must be (B,T); got (5) i32"},
                 {good, 3, {1, T, 1}, MLA_ERROR_SHAPE, "ids must be (B,T); got (1,5,1) i32"},
                 {large, 2, {1, T}, MLA_ERROR_ARGUMENT, "23"},
                 {negative, 2, {1, T}, MLA_ERROR_ARGUMENT, "-1"}};
    static const char *const settings[] = {"", "position=learned", "attention=multi_head position=none"};
    for (size_t i = 0; i < 3 * sizeof cases / sizeof *cases; i++) {
        setting s = create_setting(context, settings[i % 3]);
        mla_tensor *ids = mla_input(s.tape, MLA_I32, cases[i / 3].ndim, cases[i / 3].shape, cases[i / 3].ids);
        mla_decoder_logits(s.tape, s.model, ids, NULL);
        check_error(context, mla_error_status(context), cases[i / 3].status, cases[i / 3].message);
        destroy_setting(&s);
    }
}

static void ids_must_be_whole_numbers(void **state) {
    static const float numbers[T];
    setting s = create_setting(*state, "");
    mla_decoder_logits(s.tape, s.model, mla_input(s.tape, MLA_F32, 2, (int64_t[]){1, T}, numbers), NULL);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "gather");
    destroy_setting(&s);
}

static void targets_must_fit(void **state) {
    mla_context *context = *state;
    static const int32_t ids[T], large[T] = {0, 1, 2, 3, 1000};
    static const struct {
        const int32_t *targets;
        int64_t length;
        mla_status status;
        const char *message;
    } cases[] = {{large, T, MLA_ERROR_ARGUMENT, "target 1000 at place 4 is not in the vocabulary of 23"},
                 {ids, T - 1, MLA_ERROR_SHAPE, "the targets must be i32, one for each row"}};
    for (int i = 0; i < 2; i++) {
        setting s = create_setting(context, "");
        mla_tensor *targets = mla_input(s.tape, MLA_I32, 2, (int64_t[]){1, cases[i].length}, cases[i].targets);
        mla_tensor *loss = language_loss(s.tape, s.model, mla_input(s.tape, MLA_I32, 2, (int64_t[]){1, T}, ids),
                                         targets, 1, NULL);
        check_error(context, mla_backward(s.tape, loss), cases[i].status, cases[i].message);
        destroy_setting(&s);
    }
}

/* ---- inputs of layers ---- */

typedef struct {
    const char *settings, *message;
    int ndim;
    int64_t shape[MLA_MAX_DIMS];
} misfit;

static void refuse(mla_context *context, const misfit *c) {
    static const float numbers[B * T * SMALL_WIDTH * 2];
    setting s = create_setting(context, c->settings);
    mla_tensor *x = mla_input(s.tape, MLA_F32, c->ndim, c->shape, numbers);
    mla_tensor *y = mla_block_apply(s.tape, &s.model->blocks[1], x, &(mla_pass){0}, NULL);
    assert_ptr_equal(y, mla_inert(s.tape));
    y = mla_block_apply(s.tape, &s.model->blocks[0], y, &(mla_pass){0},
                        NULL); /* a second layer on what failed does nothing */
    check_error(context, mla_backward(s.tape, mla_sum(s.tape, y)), MLA_ERROR_SHAPE, c->message);
    destroy_setting(&s);
}

/* The message names the op, the parameter that met the input, and both shapes. */
static void inputs_must_fit(void **state) {
    static const misfit cases[] = {
        {"", "rmsnorm", 3, {B, T, 15}},
        {"", "model.layers.1.input_layernorm.weight", 3, {B, T, 15}},
        {"norm=layernorm", "layernorm", 3, {B, T, 17}},
        {"norm_position=post", "model.layers.1.self_attn.q_proj.weight", 3, {B, T, 15}},
        {"norm_position=post", "(2,5,15)", 3, {B, T, 15}},
        {"norm_position=post q_lora_rank=6", "model.layers.1.self_attn.q_a_proj.weight", 3, {B, T, 15}},
        {"norm_position=post attention=multi_head", "model.layers.1.self_attn.q_proj.weight", 3, {B, T, 17}},
        {"", "rope", 3, {1, SMALL_LENGTH + 1, SMALL_WIDTH}},
        {"attention=multi_head", "rope", 3, {1, SMALL_LENGTH + 1, SMALL_WIDTH}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse(*state, &cases[i]);
}

/* Layers take (B,T,D) and nothing else. */
static void inputs_have_three_dimensions(void **state) {
    static const char *const settings[] = {"", "position=none", "q_lora_rank=6", "attention=multi_head",
                                           "attention=multi_head position=none"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        refuse(*state, &(misfit){settings[i], "got", 2, {T, SMALL_WIDTH}});
        refuse(*state, &(misfit){settings[i], "got", 4, {1, B, T, SMALL_WIDTH}});
        refuse(*state, &(misfit){settings[i], "got", 1, {SMALL_WIDTH}});
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(models_check_their_configuration),
                                       cmocka_unit_test(models_derive_what_is_left_out),
                                       cmocka_unit_test(every_allocation_may_fail),
                                       cmocka_unit_test(names_are_taken_once),
                                       cmocka_unit_test(ids_must_fit),
                                       cmocka_unit_test(ids_must_be_whole_numbers),
                                       cmocka_unit_test(targets_must_fit),
                                       cmocka_unit_test(inputs_must_fit),
                                       cmocka_unit_test(inputs_have_three_dimensions)};
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
