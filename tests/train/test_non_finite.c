/* Steps whose loss or gradient is no finite number change nothing, are logged, and end the run when there are too
 * many in a row; the last good checkpoint stays, and stays the run's. */
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/tiny_run.h"
#include "train/checkpoint/checkpoint.h"
#include "train/run/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_context *context;
    char *run, *path; /* of the checkpoint after step 3 */
    int warnings;
} fixture;

/* A checkpoint, read whole. */
typedef struct {
    mla_checkpoint *checkpoint;
    mla_decoder *model;
    mla_adamw_state moments;
    mla_run_state state;
} content;

static void warn(void *user, const char *message) {
    fixture *f = user;
    if (strstr(message, "the step is skipped")) f->warnings++;
}

static void read_content(const fixture *f, const char *path, content *c) {
    check_ok(f->context, mla_checkpoint_open(f->context, &c->checkpoint, path));
    check_ok(f->context, mla_decoder_create(f->context, &c->model, mla_checkpoint_config(c->checkpoint)));
    check_ok(f->context, mla_params_allocate(c->model->params, true));
    check_ok(f->context, mla_adamw_state_allocate(f->context, &c->moments, c->model->params));
    check_ok(f->context, mla_checkpoint_read_params(c->checkpoint, c->model->params));
    check_ok(f->context, mla_checkpoint_read_moments(c->checkpoint, c->model->params, &c->moments));
    check_ok(f->context, mla_checkpoint_read_state(c->checkpoint, &c->state));
}

static void free_content(content *c) {
    mla_adamw_state_free(&c->moments);
    mla_decoder_destroy(c->model);
    mla_checkpoint_close(c->checkpoint);
}

static mla_status train(const fixture *f, bool resume, const char *const *more, const volatile sig_atomic_t *stop) {
    mla_recipe recipe;
    mla_train_result result;
    mla_status status = tiny_recipe(f->context, &recipe, more);
    if (status) return status;
    status = mla_train(f->context, &recipe, &(mla_train_options){.out = f->run, .resume = resume, .stop = stop},
                       &result);
    mla_recipe_free(&recipe);
    return status;
}

/* Trains three steps; then makes a gain so large that the gradient of the output weights overflows when squared. */
static int set_up(void **state) {
    fixture *f = *state = calloc(1, sizeof *f);
    content c;
    assert_non_null(f);
    assert_int_equal(mla_context_create(&f->context, &(mla_context_options){.threads = 1, .warn = warn, .user = f}),
                     MLA_OK);
    f->run = folder_create();
    f->path = path_in(f->run, "step-00000003.h5");
    check_ok(f->context, train(f, false, NULL, NULL));
    read_content(f, f->path, &c);
    float *weight = mla_params_find(c.model->params, "model.norm.weight")->tensor.data;
    for (int i = 0; i < 32; i++) weight[i] = 3e38f;
    const mla_checkpoint_content saved = {
        .model = c.model, .moments = &c.moments, .state = &c.state, .recipe = mla_checkpoint_recipe(c.checkpoint)};
    check_ok(f->context, mla_checkpoint_save(f->context, f->path, &saved, (mla_step_hook){0}));
    free_content(&c);
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    folder_remove(f->run);
    mla_context_destroy(f->context);
    free(f->path), free(f);
    return 0;
}

static void check_log(const fixture *f, int64_t lines) {
    char *path = path_in(f->run, "metrics.jsonl");
    mla_metrics *m;
    int64_t count;
    check_ok(f->context, mla_metrics_read(f->context, path, &m, &count));
    assert_int_equal(count, lines);
    for (int64_t i = 0; i < count; i++) assert_true(m[i].skipped == (m[i].step > 3));
    free(m), free(path);
}

static void a_skipped_step_changes_nothing(void **state) {
    fixture *f = *state;
    const volatile sig_atomic_t stop = 1;
    content before, after;
    char *path = path_in(f->run, "step-00000004.h5");
    check_error(f->context, train(f, true, (const char *const[]){"train.steps=20", NULL}, &stop), MLA_ERROR_STOPPED,
                "step 4");
    assert_int_equal(f->warnings, 1);
    check_log(f, 4);
    read_content(f, f->path, &before);
    read_content(f, path, &after);
    const size_t values = (size_t)mla_params_values_length(before.model->params) * sizeof(float);
    const size_t moments = (size_t)mla_params_gradients_length(before.model->params) * sizeof(float);
    assert_memory_equal(mla_params_values(before.model->params), mla_params_values(after.model->params), values);
    assert_memory_equal(before.moments.m, after.moments.m, moments);
    assert_memory_equal(before.moments.v, after.moments.v, moments);
    assert_int_equal(after.moments.steps, 3);
    assert_int_equal(after.state.step, 4);
    assert_int_equal(after.state.samples, 4 * before.state.samples / 3);
    assert_int_equal(after.state.skipped_in_a_row, 1);
    free_content(&before);
    free_content(&after);
    free(path);
}

static void too_many_in_a_row_end_the_run(void **state) {
    fixture *f = *state;
    const char *const more[] = {"train.steps=20", "train.max_skipped=5", NULL};
    content c;
    char *next = path_in(f->run, "step-00000004.h5");
    for (int i = 0; i < 2; i++) { /* the end does not change what the run resumes from */
        f->warnings = 0;
        check_error(f->context, train(f, true, more, NULL), MLA_ERROR_NUMERIC, "5 steps in a row");
        assert_int_equal(f->warnings, 5);
        check_log(f, 8);
        assert_false(file_exists(next));
        read_content(f, f->run, &c);
        assert_int_equal(c.state.step, 3);
        assert_int_equal(c.state.skipped_in_a_row, 0);
        free_content(&c);
    }
    free(next);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_skipped_step_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_in_a_row_end_the_run, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
