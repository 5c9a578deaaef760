/* A run that is killed at a step of a save (creating the file, writing each dataset, closing, verifying, syncing,
 * renaming, syncing the folder; the same for `latest`) and resumed ends in the same bits as one that was
 * left alone; saves at once, and saves beside training. With the argument `all` each single write is tried, otherwise
 * some of them. */
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/tiny_run.h"
#include "train/run/trainer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLED_SAVE = 2, CHECKPOINTS = 3, SOME = 7 };

static bool all_writes;

/* Counts the steps of all saves, and kills its process at one of them. */
typedef struct {
    int64_t count, kill_at, creates;
    FILE *names; /* a line a step: the number of the save and the step's name; NULL: none */
} killer;

static void at_step(void *user, const char *name) {
    killer *k = user;
    k->creates += !strcmp(name, "create");
    if (k->names) fprintf(k->names, "%lld %s\n", (long long)k->creates, name);
    if (++k->count == k->kill_at) raise(SIGKILL);
}

static mla_status train(mla_context *context, const char *dir, bool resume, const char *const *more, killer *k) {
    mla_recipe recipe;
    mla_train_result result;
    mla_status status = tiny_recipe(context, &recipe, more);
    if (status) return status;
    const mla_train_options options = {.out = dir, .resume = resume, .save_hook = {at_step, k}};
    status = mla_train(context, &recipe, &options, &result);
    mla_recipe_free(&recipe);
    return status;
}

/* Trains in a process of its own, and returns how that ended. */
static int train_apart(const char *dir, bool resume, const char *const *more, killer k) {
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        mla_context *context;
        if (mla_context_create(&context, &(mla_context_options){.threads = 1})) _exit(2);
        const mla_status status = train(context, dir, resume, more, &k);
        if (status) fprintf(stderr, "%s\n", mla_error(context));
        if (k.names) fflush(k.names);
        _exit(status ? 1 : 0);
    }
    int ended;
    assert_int_equal(waitpid(child, &ended, 0), child);
    return ended;
}

static void check_same_file(const char *dir, const char *other, const char *name) {
    char *a = path_in(dir, name), *b = path_in(other, name);
    int64_t a_bytes, b_bytes;
    char *in_a = file_read(a, &a_bytes), *in_b = file_read(b, &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(in_a, in_b, (size_t)a_bytes);
    free(in_a), free(in_b), free(a), free(b);
}

/* The logs, but for what depends on the clock. */
static void check_same_log(mla_context *context, const char *dir, const char *other) {
    char *a = path_in(dir, "metrics.jsonl"), *b = path_in(other, "metrics.jsonl");
    mla_metrics *in_a, *in_b;
    int64_t lines, others;
    check_ok(context, mla_metrics_read(context, a, &in_a, &lines));
    check_ok(context, mla_metrics_read(context, b, &in_b, &others));
    assert_int_equal(lines, others);
    for (int64_t i = 0; i < lines; i++) {
        assert_int_equal(in_a[i].step, i + 1);
        assert_memory_equal(&in_a[i], &in_b[i], offsetof(mla_metrics, skipped));
    }
    free(in_a), free(in_b), free(a), free(b);
}

static void check_clean(const char *dir) {
    char command[256];
    snprintf(command, sizeof command, "[ -z \"$(find %s -name '*.tmp')\" ] && [ $(ls %s | grep -c step-) -eq %d ]", dir,
             dir, CHECKPOINTS);
    assert_int_equal(system(command), 0);
}

static void check_kill(mla_context *context, const char *folder, const char *whole, const char *const *more,
                       int64_t kill_at, const char *name) {
    char *dir = path_in(folder, "killed"), command[256];
    const int ended = train_apart(dir, false, more, (killer){.kill_at = kill_at});
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL);
    const int resumed = train_apart(dir, true, more, (killer){0});
    if (resumed) fail_msg("killed at step %lld of the saves, %s: cannot be resumed", (long long)kill_at, name);
    check_same_file(dir, whole, "step-00000002.h5");
    check_same_file(dir, whole, "step-00000003.h5");
    check_same_file(dir, whole, "latest");
    check_same_file(dir, whole, "recipe.yaml");
    check_same_log(context, dir, whole);
    check_clean(dir);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    free(dir);
}

static void a_run_killed_at_any_step_of_a_save_goes_on(void **state) {
    const char *const *more = *state;
    char *folder = folder_create(), *whole = path_in(folder, "whole"), *list = path_in(folder, "names"), name[32];
    mla_context *context; /* of this process, which computes nothing: its children do */
    killer names = {.names = fopen(list, "w")};
    assert_non_null(names.names);
    assert_int_equal(mla_context_create(&context, NULL), MLA_OK);
    assert_int_equal(train_apart(whole, false, more, names), 0);
    fclose(names.names);
    FILE *steps = fopen(list, "r");
    assert_non_null(steps);
    int64_t kills = 0;
    long long save;
    for (int64_t i = 1; fscanf(steps, "%lld %31s", &save, name) == 2; i++) {
        const bool first_save = save == 1 && strcmp(name, "write");           /* nothing to fall back to yet */
        const bool last_save = save == CHECKPOINTS && !strcmp(name, "fsync"); /* nothing is left to do but `latest` */
        if (!first_save && !last_save && (save != KILLED_SAVE || (!all_writes && !strcmp(name, "write") && i % SOME)))
            continue;
        if (!all_writes && *more && !last_save && i % 3)
            continue; /* a save beside training goes through the same steps */
        check_kill(context, folder, whole, more, i, name);
        kills++;
    }
    fclose(steps);
    print_message("%lld kills\n", (long long)kills);
    assert_true(kills > (*more ? 5 : 15));
    free(list), free(whole);
    mla_context_destroy(context);
    folder_remove(folder);
}

int main(int argc, char **argv) {
    all_writes = argc > 1 && !strcmp(argv[1], "all");
    static const char *background[] = {"checkpoint.background=true", NULL}, *at_once[] = {NULL};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_run_killed_at_any_step_of_a_save_goes_on, at_once),
        cmocka_unit_test_prestate(a_run_killed_at_any_step_of_a_save_goes_on, background),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
