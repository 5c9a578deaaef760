/* The same numbers however a step is cut: into microbatches (dropout included), and over threads. */
#include "autograd/kernels/gemm.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- microbatches ---- */

enum { B = 2, T = 11 };

typedef struct {
    mla_decoder *model;
    mla_tape *tape;
    int32_t ids[B * T], targets[B * T];
} setting;

static void create_setting(mla_context *context, setting *s, const char *settings) {
    s->model = small_decoder(context, settings);
    check_ok(context, mla_tape_create(context, &s->tape, NULL));
    fill_ids(B * T, s->ids);
    for (int i = 0; i < B * T; i++) s->targets[i] = i % T == T - 1 ? -1 : s->ids[i + 1];
}

static void destroy_setting(setting *s) {
    mla_tape_destroy(s->tape);
    mla_decoder_destroy(s->model);
}

static mla_tensor *begin(setting *s, uint64_t step, int64_t first, int64_t samples) {
    mla_tape_begin(s->tape, &(mla_step){.seed = 9, .step = step, .first_sample = first, .training = true});
    return mla_input(s->tape, MLA_I32, 2, (int64_t[]){samples, T}, s->ids + first * T);
}

/* Forward and backward over `samples` samples from `first`; gradients are added to those of before. */
static double train(setting *s, int64_t first, int64_t samples) {
    mla_tensor *ids = begin(s, 4, first, samples);
    mla_tensor *targets = mla_input(s->tape, MLA_I32, 2, (int64_t[]){samples, T}, s->targets + first * T);
    mla_tensor *loss = language_loss(s->tape, s->model, ids, targets, 1.0f / (B * (T - 1)), NULL);
    const double value = mla_error_status(s->model->context) ? (double)NAN : (double)*(float *)loss->data;
    check_ok(s->model->context, mla_backward(s->tape, loss));
    return value;
}

/* The hidden states of `samples` samples from `first`; the caller frees them. */
static float *hidden(setting *s, uint64_t step, int64_t first, int64_t samples) {
    const mla_tensor *y = mla_decoder_hidden(s->tape, s->model, begin(s, step, first, samples), NULL);
    check_ok(s->model->context, mla_error_status(s->model->context));
    float *kept = malloc((size_t)mla_size(y));
    assert_non_null(kept);
    return memcpy(kept, y->data, (size_t)mla_size(y));
}

static const char *const dropping[] = {
    "dropout=0.3", "dropout=0.3 q_lora_rank=6 tie_word_embeddings=true",
    "dropout=0.3 norm_position=post norm=layernorm",
    "dropout=0.3 position=learned attention=multi_head num_key_value_heads=2 gated=false"};
enum { DROPPING = sizeof dropping / sizeof *dropping };

/* Another mask would change states by about a third of themselves. */
static void masks_belong_to_samples(void **state) {
    enum { HALF = T * SMALL_WIDTH };
    for (int i = 0; i < DROPPING; i++) {
        setting s;
        create_setting(*state, &s, dropping[i]);
        float *both = hidden(&s, 4, 0, 2), *first = hidden(&s, 4, 0, 1), *second = hidden(&s, 4, 1, 1);
        float *later = hidden(&s, 5, 0, 2);
        assert_true(relative_error(HALF, first, both) < 1e-5);
        assert_true(relative_error(HALF, second, both + HALF) < 1e-5);
        assert_true(relative_error(2 * HALF, later, both) > 0.1);
        free(both);
        free(first);
        free(second);
        free(later);
        destroy_setting(&s);
    }
}

/* The same ids as two samples: without dropout the same states, with it other masks, so others. */
static void samples_have_masks_of_their_own(void **state) {
    for (int with = 0; with < 2; with++) {
        setting s;
        create_setting(*state, &s, with ? "dropout=0.3" : "");
        memcpy(s.ids + T, s.ids, T * sizeof *s.ids);
        float *both = hidden(&s, 4, 0, 2);
        const double difference = relative_error(T * SMALL_WIDTH, both, both + T * SMALL_WIDTH);
        if (with) assert_true(difference > 0.1);
        else assert_true(difference < 1e-6);
        free(both);
        destroy_setting(&s);
    }
}

static void microbatches_add_up(void **state) {
    for (int i = 0; i < DROPPING; i++) {
        setting s;
        create_setting(*state, &s, dropping[i]);
        const int64_t length = mla_params_gradients_length(s.model->params);
        const double whole = train(&s, 0, 2);
        float *expected = malloc((size_t)length * sizeof *expected);
        memcpy(expected, mla_params_gradients(s.model->params), (size_t)length * sizeof *expected);
        mla_params_clear_gradients(s.model->params);
        check_close(train(&s, 0, 1) + train(&s, 1, 1), whole, 1e-6);
        assert_true(relative_error(length, mla_params_gradients(s.model->params), expected) < 1e-5);
        for (int64_t k = 0; k < mla_params_count(s.model->params); k++) {
            const mla_param *p = mla_params_at(s.model->params, k);
            if (relative_error(p->count, p->tensor.grad, expected + p->grad_offset) > 1e-4)
                fail_msg("%s: the gradient of %s depends on microbatches", dropping[i], p->spec.name);
        }
        free(expected);
        destroy_setting(&s);
    }
}

/* ---- threads ---- */

enum { LARGER_B = 3, LARGER_T = 80, ROWS = LARGER_B * LARGER_T };
static const char *const larger[] = {
    "dropout=0.2 q_lora_rank=48", "attention=multi_head num_key_value_heads=2 norm=layernorm gated=false dropout=0.2"};

/* A decoder large enough that every op shares its work. */
static mla_decoder *larger_decoder(mla_context *context, const char *settings) {
    char text[512];
    snprintf(text, sizeof text,
             "%s hidden_size=96 intermediate_size=200 kv_lora_rank=40 qk_nope_head_dim=24 "
             "qk_rope_head_dim=8 v_head_dim=24 vocab_size=300 max_position_embeddings=128",
             settings);
    return small_decoder(context, text);
}

static mla_context *context_of(int threads) {
    mla_context *context;
    assert_int_equal(mla_context_create(&context, &(mla_context_options){.threads = threads}), MLA_OK);
    return context;
}

static mla_tensor *larger_loss(mla_tape *tape, const mla_decoder *model) {
    static int32_t ids[ROWS], targets[ROWS];
    static const int64_t shape[] = {LARGER_B, LARGER_T};
    fill_ids(ROWS, ids);
    for (int i = 0; i + 1 < ROWS; i++) targets[i] = ids[i + 1];
    return language_loss(tape, model, mla_input(tape, MLA_I32, 2, shape, ids),
                         mla_input(tape, MLA_I32, 2, shape, targets), 1.0f / ROWS, NULL);
}

/* The gradients of a step, the loss behind them; the caller frees. */
static float *step_on(int threads, const char *settings, int64_t *length) {
    mla_context *context = context_of(threads);
    mla_decoder *model = larger_decoder(context, settings);
    mla_tape *tape;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.seed = 1, .training = true});
    mla_tensor *loss = larger_loss(tape, model);
    check_ok(context, mla_error_status(context));
    *length = mla_params_gradients_length(model->params);
    float *out = malloc((size_t)(*length + 1) * sizeof *out);
    assert_non_null(out);
    out[*length] = *(float *)loss->data;
    check_ok(context, mla_backward(tape, loss));
    memcpy(out, mla_params_gradients(model->params), (size_t)*length * sizeof *out);
    mla_tape_destroy(tape);
    mla_decoder_destroy(model);
    mla_context_destroy(context);
    return out;
}

/* A product on so many threads; the caller frees. */
static float *multiply(int threads, mla_gemm_shape shape, const float *a, const float *b) {
    mla_context *context = context_of(threads);
    float *c = malloc((size_t)(shape.m * shape.n) * sizeof *c);
    assert_non_null(c);
    mla_gemm_now(context, &shape, a, b, c, NULL);
    check_ok(context, mla_error_status(context));
    mla_context_destroy(context);
    return c;
}

/* Whether the products of a weight (out,in), forward and backward, have the same bits on one and more threads:
 * oneDNN may divide the sums among threads where there are few of them and each is long. */
static bool products_agree(int threads, int64_t out, int64_t in) {
    static float a[ROWS * 300], b[ROWS * 300];
    const mla_gemm_shape shapes[] = {{.m = ROWS, .n = out, .k = in, .b_transposed = true},
                                     {.m = ROWS, .n = in, .k = out},
                                     {.m = out, .n = in, .k = ROWS, .a_transposed = true}};
    bool agree = true;
    fill_values(a, ROWS * 300, "a", 1);
    fill_values(b, ROWS * 300, "b", 1);
    for (int i = 0; i < 3; i++) {
        float *one = multiply(1, shapes[i], a, b), *more = multiply(threads, shapes[i], a, b);
        agree &= !memcmp(one, more, (size_t)(shapes[i].m * shapes[i].n) * sizeof *one);
        free(one);
        free(more);
    }
    return agree;
}

static bool all_products_agree(int threads, const char *settings) {
    mla_context *context = context_of(1);
    mla_decoder *model = larger_decoder(context, settings);
    bool agree = true;
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        const mla_param_spec *spec = &mla_params_at(model->params, i)->spec;
        if (spec->ndim == 2) agree &= products_agree(threads, spec->shape[0], spec->shape[1]);
    }
    mla_decoder_destroy(model);
    mla_context_destroy(context);
    return agree;
}

static bool same_bits(int64_t length, const float *a, const float *b) {
    return !memcmp(a, b, (size_t)(length + 1) * sizeof *a);
}

static void same_threads_same_bits(void **state) {
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        int64_t length;
        float *once = step_on(threads, larger[0], &length), *again = step_on(threads, larger[0], &length);
        assert_true(isfinite(once[length]) && once[length] > 1);
        assert_true(same_bits(length, once, again));
        free(once);
        free(again);
    }
}

/* Nothing but oneDNN's sums may depend on the number of threads. */
static void threads_do_not_matter(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        const char *settings = larger[i / 2];
        const int threads = 2 + i % 2;
        int64_t length;
        float *one = step_on(1, settings, &length), *more = step_on(threads, settings, &length);
        const double difference = relative_error(length + 1, more, one);
        assert_true(difference < 1e-5);
        if (!all_products_agree(threads, settings))
            print_message("oneDNN's own products differ on %d threads: bits are not compared\n", threads);
        else if (!same_bits(length, one, more))
            fail_msg("%s: other bits on %d threads (%.3g apart)", settings, threads, difference);
        free(one);
        free(more);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(masks_belong_to_samples),
                                       cmocka_unit_test(samples_have_masks_of_their_own),
                                       cmocka_unit_test(microbatches_add_up), cmocka_unit_test(same_threads_same_bits),
                                       cmocka_unit_test(threads_do_not_matter)};
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
