/* Saves beside training: the same bits as saves at once, one in flight at most, and what goes wrong ends the run. */
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/tiny_run.h"
#include "train/checkpoint/checkpoint.h"
#include "train/run/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the tests do to a run. `steps` and `saved` count what the run has told; the writer's hook looks at `steps`. */
typedef struct {
    mla_context *context;
    char *folder, *run; /* the run's folder in the test's */
    int steps;          /* atomically */
    int saved, creates;
    int late;    /* all saves up to this step begin when the next step is done */
    bool vanish; /* the folder does, in the second save */
    mla_saved last;
    mla_metrics lines[16];
} fixture;

static void after_step(void *user, const mla_metrics *m) {
    fixture *f = user;
    f->lines[m->step] = *m;
    __atomic_store_n(&f->steps, (int)m->step, __ATOMIC_RELEASE);
}

static void after_save(void *user, const mla_saved *saved) {
    fixture *f = user;
    f->saved++;
    f->last = *saved;
}

/* Half a minute, where training does not go on. */
static void wait_for_step(const fixture *f, int step) {
    for (int i = 0; i < 30000 && __atomic_load_n(&f->steps, __ATOMIC_ACQUIRE) < step; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void in_save(void *user, const char *name) {
    fixture *f = user;
    if (strcmp(name, "create")) return;
    f->creates++;
    if (f->creates <= f->late) wait_for_step(f, f->creates + 1);
    char *gone = path_in(f->folder, "gone");
    if (f->vanish && f->creates == 2) assert_int_equal(rename(f->run, gone), 0);
    free(gone);
}

static mla_status train(fixture *f, const char *run, bool background, const char *steps) {
    const char *const more[] = {background ? "checkpoint.background=true" : "checkpoint.background=false", steps, NULL};
    mla_recipe recipe;
    mla_train_result result;
    f->steps = f->saved = f->creates = 0;
    free(f->run);
    f->run = path_in(f->folder, run);
    mla_status status = tiny_recipe(f->context, &recipe, more);
    if (status) return status;
    recipe.checkpoint.keep = 20;
    const mla_train_options options = {
        .out = f->run, .stepped = after_step, .saved = after_save, .user = f, .save_hook = {in_save, f}};
    status = mla_train(f->context, &recipe, &options, &result);
    mla_recipe_free(&recipe);
    return status;
}

static int set_up(void **state) {
    fixture *f = *state = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(mla_context_create(&f->context, &(mla_context_options){.threads = 1}), MLA_OK);
    f->folder = folder_create();
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    folder_remove(f->folder);
    mla_context_destroy(f->context);
    free(f->run), free(f);
    return 0;
}

/* Values, moments and state of a checkpoint in one block of bytes. */
static char *content_of(const fixture *f, const char *run, int step, int64_t *bytes) {
    char name[32];
    snprintf(name, sizeof name, "step-%08d.h5", step);
    char *dir = path_in(f->folder, run), *path = path_in(dir, name);
    mla_checkpoint *checkpoint;
    mla_decoder *model;
    mla_adamw_state moments;
    mla_run_state run_state;
    check_ok(f->context, mla_checkpoint_open(f->context, &checkpoint, path));
    check_ok(f->context, mla_decoder_create(f->context, &model, mla_checkpoint_config(checkpoint)));
    check_ok(f->context, mla_params_allocate(model->params, true));
    check_ok(f->context, mla_adamw_state_allocate(f->context, &moments, model->params));
    check_ok(f->context, mla_checkpoint_read_params(checkpoint, model->params));
    check_ok(f->context, mla_checkpoint_read_moments(checkpoint, model->params, &moments));
    check_ok(f->context, mla_checkpoint_read_state(checkpoint, &run_state));
    const size_t values = (size_t)mla_params_values_length(model->params) * sizeof(float);
    const size_t each = (size_t)mla_params_gradients_length(model->params) * sizeof(float);
    char *all = malloc(values + 2 * each + sizeof run_state);
    memcpy(all, mla_params_values(model->params), values);
    memcpy(all + values, moments.m, each);
    memcpy(all + values + each, moments.v, each);
    memcpy(all + values + 2 * each, &run_state, sizeof run_state);
    *bytes = (int64_t)(values + 2 * each + sizeof run_state);
    mla_adamw_state_free(&moments);
    mla_decoder_destroy(model);
    mla_checkpoint_close(checkpoint);
    free(dir), free(path);
    return all;
}

static void check_same(const fixture *f, const char *run, const char *other, int step) {
    int64_t bytes, others;
    char *a = content_of(f, run, step, &bytes), *b = content_of(f, other, step, &others);
    assert_int_equal(bytes, others);
    assert_memory_equal(a, b, (size_t)bytes);
    free(a), free(b);
}

/* The files are those of their steps, though each is written when the next step has changed everything. */
static void a_copy_is_saved_while_training_goes_on(void **state) {
    fixture *f = *state;
    mla_metrics lines[4];
    f->late = 2;
    check_ok(f->context, train(f, "beside", true, "train.steps=3"));
    memcpy(lines, f->lines, sizeof lines);
    f->late = 0;
    check_ok(f->context, train(f, "at once", false, "train.steps=3"));
    for (int step = 1; step <= 3; step++) {
        check_same(f, "beside", "at once", step);
        assert_memory_equal(&lines[step], &f->lines[step], offsetof(mla_metrics, skipped));
    }
}

static void all_saves_are_reported(void **state) {
    fixture *f = *state;
    for (int background = 0; background < 2; background++) {
        check_ok(f->context, train(f, background ? "beside" : "at once", background, "train.steps=5"));
        assert_int_equal(f->saved, 5);
        assert_int_equal(f->last.step, 5);
        assert_true(f->last.paused > 0 && f->last.seconds > 0);
        assert_true(isnan(f->lines[1].paused) && isnan(f->lines[1].written));
        for (int step = 2; step <= 5; step++) assert_true(f->lines[step].paused > 0);
        for (int step = 3; step <= 5; step++) assert_true(f->lines[step].written > 0);
    }
}

static void a_folder_that_vanishes_ends_the_run(void **state) {
    fixture *f = *state;
    f->vanish = true;
    for (int background = 0; background < 2; background++) {
        const mla_status status = train(f, "run", background, "train.steps=9");
        check_error(f->context, status, MLA_ERROR_IO, "step-00000002.h5.tmp: No such file");
        assert_int_equal(f->saved, 1);
        assert_true(f->steps <= 2 + background); /* the save of step 3 waits for that of step 2 */
        char *gone = path_in(f->folder, "gone"), *left = path_in(gone, "step-00000001.h5");
        assert_true(file_exists(left));
        assert_false(file_exists(f->run));
        folder_remove(gone); /* frees the name */
        free(left);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_is_saved_while_training_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_saves_are_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_vanishes_ends_the_run, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
