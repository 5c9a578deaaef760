/* A context works beside others, with its own number of threads and from any thread, and leaves the number of threads
 * of whoever calls as it was. */
#include "tests/support/check.h"
#include "tests/support/small_model.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { B = 3, T = 80, ROWS = B * T, STEPS = 2, FEW = 1, MANY = 4 /* more than some machines have cores */ };

/* ---- training of a model so large that every op shares its work ---- */

typedef struct {
    mla_context *context;
    mla_decoder *model;
    mla_tape *tape;
    mla_dtype precision;
    int32_t ids[ROWS + 1];
    int64_t length; /* of a step's results: the gradients, the loss behind them */
    float *results[STEPS];
    int steps; /* that went well */
} training;

static training *training_on(int threads, mla_dtype precision) {
    training *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->precision = precision;
    assert_int_equal(mla_context_create(&t->context, &(mla_context_options){.threads = threads}), MLA_OK);
    t->model = small_decoder(t->context, "hidden_size=96 intermediate_size=200 kv_lora_rank=40 qk_nope_head_dim=24 "
                                         "qk_rope_head_dim=8 v_head_dim=24 vocab_size=300 q_lora_rank=48 dropout=0.2 "
                                         "max_position_embeddings=128");
    check_ok(t->context, mla_params_refresh_bf16(t->model->params));
    check_ok(t->context, mla_tape_create(t->context, &t->tape, NULL));
    t->length = mla_params_gradients_length(t->model->params) + 1;
    for (int i = 0; i < STEPS; i++) assert_non_null(t->results[i] = malloc((size_t)t->length * sizeof(float)));
    fill_ids(ROWS + 1, t->ids);
    return t;
}

static void destroy(training *t) {
    for (int i = 0; i < STEPS; i++) free(t->results[i]);
    mla_tape_destroy(t->tape);
    mla_decoder_destroy(t->model);
    mla_context_destroy(t->context);
    free(t);
}

/* One more step; without assertions, as any thread may take it. */
static void step(training *t) {
    static const int64_t shape[] = {B, T};
    float *result = t->results[t->steps];
    mla_params_clear_gradients(t->model->params);
    mla_tape_begin(t->tape,
                   &(mla_step){.seed = 1, .step = (uint64_t)t->steps, .training = true, .precision = t->precision});
    mla_tensor *loss = language_loss(t->tape, t->model, mla_input(t->tape, MLA_I32, 2, shape, t->ids),
                                     mla_input(t->tape, MLA_I32, 2, shape, t->ids + 1), 1.0f / ROWS, NULL);
    if (mla_error_status(t->context)) return;
    result[t->length - 1] = *(float *)loss->data;
    if (mla_backward(t->tape, loss)) return;
    memcpy(result, mla_params_gradients(t->model->params), (size_t)(t->length - 1) * sizeof *result);
    t->steps++;
}

static void *all_steps(void *user) {
    for (int i = 0; i < STEPS; i++) step(user);
    return NULL;
}

/* Whether it took all steps, and got what a context with as many threads gets that is alone in the process. */
static void check_results(const training *t) {
    training *alone = training_on(mla_context_threads(t->context), t->precision);
    all_steps(alone);
    check_ok(t->context, mla_error_status(t->context));
    check_ok(alone->context, mla_error_status(alone->context));
    for (int i = 0; i < STEPS; i++)
        assert_memory_equal(t->results[i], alone->results[i], (size_t)t->length * sizeof(float));
    assert_true(t->results[0][t->length - 1] > 1);
    destroy(alone);
}

/* ---- contexts beside each other ---- */

static void take_turns(mla_dtype precision) {
    training *few = training_on(FEW, precision), *many = training_on(MANY, precision);
    for (int i = 0; i < STEPS; i++) {
        step(few);
        step(many);
    }
    check_results(few);
    check_results(many);
    destroy(few);
    destroy(many);
}

static void contexts_take_turns(void **state) {
    (void)state;
    take_turns(MLA_F32);
    take_turns(MLA_BF16);
}

static void contexts_work_at_the_same_time(void **state) {
    (void)state;
    training *all[] = {training_on(FEW, MLA_F32), training_on(MANY, MLA_F32), training_on(MANY, MLA_BF16)};
    enum { COUNT = sizeof all / sizeof *all };
    pthread_t threads[COUNT];
    for (int i = 0; i < COUNT; i++) assert_int_equal(pthread_create(&threads[i], NULL, all_steps, all[i]), 0);
    for (int i = 0; i < COUNT; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < COUNT; i++) check_results(all[i]);
    for (int i = 0; i < COUNT; i++) destroy(all[i]);
}

/* ---- whoever calls ---- */

/* A thread that has set a number of its own. */
static void *all_steps_in_a_busy_thread(void *user) {
    omp_set_num_threads(MANY + 1);
    all_steps(user);
    return omp_get_max_threads() == MANY + 1 ? user : NULL;
}

static void another_thread_may_use_a_context(void **state) {
    (void)state;
    for (mla_dtype precision = MLA_F32; precision <= MLA_BF16; precision++) {
        training *few = training_on(FEW, precision);
        pthread_t thread;
        void *left_it;
        assert_int_equal(pthread_create(&thread, NULL, all_steps_in_a_busy_thread, few), 0);
        assert_int_equal(pthread_join(thread, &left_it), 0);
        assert_non_null(left_it);
        check_results(few);
        destroy(few);
    }
}

static void the_caller_keeps_its_number(void **state) {
    (void)state;
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= MANY; threads++) {
        training *t = training_on(threads, MLA_BF16);
        assert_int_equal(omp_get_max_threads(), before);
        all_steps(t);
        assert_int_equal(omp_get_max_threads(), before);
        mla_context_set_threads(t->context, threads + 1);
        assert_int_equal(omp_get_max_threads(), before);
        destroy(t);
    }
    assert_int_equal(omp_get_max_threads(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contexts_take_turns), cmocka_unit_test(contexts_work_at_the_same_time),
        cmocka_unit_test(another_thread_may_use_a_context), cmocka_unit_test(the_caller_keeps_its_number)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
