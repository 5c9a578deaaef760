/* Whole models and the article's layers against PyTorch and transformers (tests/golden): values within 1e-5,
 * gradients within 1e-4. */
#include "layers/decoder.h"
#include "tests/support/check.h"
#include "tests/support/golden.h"
#include "tests/support/small_model.h"

#include <stdio.h>
#include <stdlib.h>

static const double value_error = 1e-5, gradient_error = 1e-4;

static mla_model_config read_config(mla_context *context, hid_t file, const char *fixture) {
    mla_model_config config;
    mla_list ignored = {0};
    char *text = golden_text(file, "config/model");
    check_ok(context, mla_model_config_parse_json(context, fixture, text, &config, &ignored));
    mla_list_free(&ignored);
    free(text);
    return config;
}

static void fill_params(hid_t file, mla_params *params) {
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        const mla_param *p = mla_params_at(params, i);
        golden_fill_parameter(file, p->spec.name, p->count, p->tensor.data);
    }
}

static void check_gradients(hid_t file, const mla_params *params) {
    char path[256];
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        const mla_param *p = mla_params_at(params, i);
        snprintf(path, sizeof path, "grad/%s", p->spec.name);
        assert_true(p->tensor.has_grad);
        golden_check(file, path, p->count, p->tensor.grad, gradient_error);
    }
}

/* The targets are the ids shifted by one; the last position of each sequence has none. */
static void shift(const int32_t *ids, int32_t *targets, int64_t count, int64_t length) {
    for (int64_t i = 0; i < count; i++) targets[i] = i % length == length - 1 ? -1 : ids[i + 1];
}

static void compare_model(mla_context *context, const char *fixture) {
    enum { B = 2, T = 48 };
    const hid_t file = golden_open(fixture);
    const mla_model_config config = read_config(context, file, fixture);
    const int64_t shape[] = {B, T};
    int32_t ids[B * T], targets[B * T];
    double loss;
    mla_decoder *model;
    mla_tape *tape;
    golden_read_ints(file, "ids", B * T, ids);
    golden_read_doubles(file, "loss", 1, &loss);
    shift(ids, targets, B * T, T);
    check_ok(context, mla_decoder_create(context, &model, &config));
    check_ok(context, mla_params_allocate(model->params, true));
    check_ok(context, mla_tape_create(context, &tape, NULL));
    fill_params(file, model->params);

    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_tensor *logits = mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, shape, ids), NULL);
    check_ok(context, mla_error_status(context));
    golden_check(file, "logits", mla_count(logits), logits->data, value_error);

    mla_tape_begin(tape, &(mla_step){.training = true});
    mla_tensor *result = language_loss(tape, model, mla_input(tape, MLA_I32, 2, shape, ids),
                                       mla_input(tape, MLA_I32, 2, shape, targets), 1.0f / (float)(B * (T - 1)), NULL);
    check_ok(context, mla_backward(tape, result));
    check_close((double)*(float *)result->data, loss, value_error);
    check_gradients(file, model->params);
    mla_tape_destroy(tape);
    mla_decoder_destroy(model);
    golden_close(file);
}

static void models_of_transformers(void **state) {
    static const char *const fixtures[] = {
        "v2",          "v2-noq",  "v2-yarn",     "v2-noq-yarn",       "v3",
        "v3-noq",      "v3-yarn", "v3-noq-yarn", "v3-half-bias-tied", "llama",
        "llama3-tied", "qwen2",   "qwen3",       "gpt2-gelu",         "gpt2-gelu-new"};
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) compare_model(*state, fixtures[i]);
}

typedef mla_tensor *(*apply)(mla_tape *tape, const mla_block *block, mla_tensor *x);

static mla_tensor *attention_only(mla_tape *tape, const mla_block *block, mla_tensor *x) {
    return block->config->attention->apply(tape, block->attention, x, &(mla_pass){0}, NULL);
}

static mla_tensor *whole_block(mla_tape *tape, const mla_block *block, mla_tensor *x) {
    return mla_block_apply(tape, block, x, &(mla_pass){0}, NULL);
}

/* y = f(x) and all gradients of sum(y * dy), at 32 x 128 x 512. */
static void compare_article(mla_context *context, const char *fixture, apply f, const char *prefix) {
    const hid_t file = golden_open(fixture);
    const mla_model_config config = read_config(context, file, fixture);
    const int64_t shape[] = {32, 128, config.hidden_size}, count = shape[0] * shape[1] * shape[2];
    float *x = malloc((size_t)count * sizeof *x), *dy = malloc((size_t)count * sizeof *dy);
    mla_params *params;
    mla_block block = {.config = &config, .attention = calloc(1, config.attention->size)};
    mla_tape *tape;
    golden_fill(x, count, "x", 1);
    golden_fill(dy, count, "dy", 1);
    check_ok(context, mla_params_create(context, &params));
    const mla_builder builder = {.context = context, .params = params, .config = &config, .prefix = prefix};
    if (f == attention_only) check_ok(context, config.attention->build(&builder, block.attention));
    else {
        free(block.attention);
        check_ok(context, mla_block_build(&builder, &block));
    }
    check_ok(context, mla_params_allocate(params, true));
    fill_params(file, params);
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.training = true});
    mla_tensor *in = mla_input_with_gradient(tape, 3, shape, x), *y = f(tape, &block, in);
    mla_tensor *loss = mla_sum(tape, mla_mul(tape, y, mla_input(tape, MLA_F32, 3, shape, dy)));
    check_ok(context, mla_error_status(context));
    golden_check(file, "y", count, y->data, value_error);
    check_ok(context, mla_backward(tape, loss));
    golden_check(file, "dx", count, in->grad, gradient_error);
    check_gradients(file, params);
    mla_tape_destroy(tape);
    mla_block_free(&block);
    mla_params_destroy(params);
    golden_close(file);
    free(x);
    free(dy);
}

static void layers_of_the_article(void **state) {
    compare_article(*state, "article-attention", attention_only, "self_attn.");
    compare_article(*state, "article-layer", whole_block, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(models_of_transformers),
                                       cmocka_unit_test(layers_of_the_article)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
