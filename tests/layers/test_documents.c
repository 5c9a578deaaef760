/* Documents in one sequence, kept apart by mla_pass.starts: the same losses and gradients as one by one. */
#include "layers/adapt/adapters.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <stdlib.h>
#include <string.h>

enum { T = 16, DOCUMENTS = 3 };

/* Three documents, of which the last ends before the sequence: what is left sees itself alone, and has no target. */
static const int begins[DOCUMENTS + 1] = {0, 5, 6, 14};

typedef struct {
    int32_t ids[T], targets[T], starts[T];
} sequence;

static sequence packed(void) {
    sequence s;
    fill_ids(T, s.ids);
    for (int d = 0; d < DOCUMENTS; d++)
        for (int t = begins[d]; t < begins[d + 1]; t++) {
            s.targets[t] = t % 3 ? (s.ids[t] * 7 + t) % SMALL_VOCABULARY : -1;
            s.starts[t] = begins[d];
        }
    for (int t = begins[DOCUMENTS]; t < T; t++) s.targets[t] = -1, s.starts[t] = t;
    return s;
}

typedef struct {
    mla_tape *tape;
    mla_decoder *model;
    mla_dtype precision;
    bool recompute;
} setting;

/* Adds to the gradients; returns the loss. */
static double train(const setting *s, int length, const int32_t *ids, const int32_t *targets, const int32_t *starts) {
    const int64_t shape[] = {1, length};
    mla_tape_begin(s->tape, &(mla_step){.training = true, .precision = s->precision});
    mla_tensor *loss = language_loss(s->tape, s->model, mla_input(s->tape, MLA_I32, 2, shape, ids),
                                     mla_input(s->tape, MLA_I32, 2, shape, targets), 0.25f,
                                     &(mla_pass){.starts = starts, .recompute = s->recompute});
    check_ok(s->model->context, mla_backward(s->tape, loss));
    return (double)*(float *)loss->data;
}

static double tolerance_of(const setting *s) { return s->precision == MLA_BF16 ? 0.02 : 1e-6; }

static void compare(mla_context *context, const char *settings, mla_dtype precision, bool recompute) {
    setting s = {.model = small_decoder(context, settings), .precision = precision, .recompute = recompute};
    const mla_params *params = s.model->params;
    const int64_t count = mla_params_gradients_length(params);
    float *together = malloc((size_t)count * sizeof *together);
    const sequence q = packed();
    double apart = 0;
    check_ok(context, mla_tape_create(context, &s.tape, NULL));
    mla_params_clear_gradients(s.model->params);
    const double loss = train(&s, T, q.ids, q.targets, q.starts);
    memcpy(together, mla_params_gradients(params), (size_t)count * sizeof *together);
    mla_params_clear_gradients(s.model->params);
    for (int d = 0; d < DOCUMENTS; d++)
        apart += train(&s, begins[d + 1] - begins[d], q.ids + begins[d], q.targets + begins[d], NULL);
    const double error = relative_error(count, together, mla_params_gradients(params));
    check_close(loss, apart, tolerance_of(&s));
    if (!(error < tolerance_of(&s))) fail_msg("%s: the gradients differ by %g", settings, error);
    mla_params_clear_gradients(s.model->params);
    const double mixed = train(&s, T, q.ids, q.targets, NULL);
    assert_true(mixed - loss > 1e-3 || loss - mixed > 1e-3); /* without starts, they do meet */
    mla_tape_destroy(s.tape);
    mla_decoder_destroy(s.model);
    free(together);
}

static void are_as_if_alone(void **state) {
    compare(*state, "", MLA_F32, false);
    compare(*state, "q_lora_rank=9 rope_interleave=false", MLA_F32, true);
    compare(*state, "position=none", MLA_F32, false);
    compare(*state, "attention=multi_head num_key_value_heads=2 head_dim=8 qk_norm=true", MLA_F32, false);
    compare(*state, "attention=multi_head norm_position=post", MLA_F32, true);
    compare(*state, "", MLA_BF16, false);
}

/* The composition that stands for latent attention where an adapter of kv_b_proj drops latents. */
static void meet_not_with_dropped_latents(void **state) {
    mla_context *context = *state;
    setting s = {.model = NULL};
    const mla_model_config config = small_config(context, "");
    char *target = (char[]){"kv_b_proj"};
    const mla_lora_options lora = {.targets = {.items = &target, .count = 1}, .rank = 2, .alpha = 4, .dropout = 0.5};
    sequence q = packed();
    check_ok(context, mla_decoder_create(context, &s.model, &config));
    check_ok(context, mla_adapters_attach(s.model, &lora));
    check_ok(context, mla_params_allocate(s.model->params, true));
    fill_layer(s.model->params, 0.3f);
    check_ok(context, mla_tape_create(context, &s.tape, NULL));
    for (int t = 0; t < begins[2]; t++) q.targets[t] = -1; /* only the last document counts */
    const double before = train(&s, T, q.ids, q.targets, q.starts);
    for (int t = 0; t < begins[2]; t++) q.ids[t] = (q.ids[t] + 1) % SMALL_VOCABULARY;
    check_close(train(&s, T, q.ids, q.targets, q.starts), before, 1e-6);
    const double mixed = train(&s, T, q.ids, q.targets, NULL);
    assert_true(mixed - before > 1e-4 || before - mixed > 1e-4);
    mla_tape_destroy(s.tape);
    mla_decoder_destroy(s.model);
}

static void need_relative_positions(void **state) {
    mla_context *context = *state;
    setting s = {.model = small_decoder(context, "position=learned")};
    const sequence q = packed();
    const int64_t shape[] = {1, T};
    check_ok(context, mla_tape_create(context, &s.tape, NULL));
    mla_tape_begin(s.tape, &(mla_step){0});
    mla_decoder_hidden(s.tape, s.model, mla_input(s.tape, MLA_I32, 2, shape, q.ids), &(mla_pass){.starts = q.starts});
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "learned positions");
    mla_tape_destroy(s.tape);
    mla_decoder_destroy(s.model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(are_as_if_alone),
                                       cmocka_unit_test(meet_not_with_dropped_latents),
                                       cmocka_unit_test(need_relative_positions)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
