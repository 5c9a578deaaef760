#include "train/compare/trial.h"
#include "autograd/base/file.h"
#include "train/checkpoint/checkpoint.h"
#include "train/checkpoint/folder_lock.h"
#include "train/compare/child.h"
#include "train/log/metrics.h"
#include "train/run/machine.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FORMAT = 1, MOST_RESULT = 1 << 16, STOPPED = 75 };

/* ---- names ---- */

void mla_trial_name(const mla_trial *t, size_t size, char *out) {
    char lr[32];
    mla_float_text(t->lr, sizeof lr, lr);
    snprintf(out, size, "%s/lr-%s-seed-%lld", t->arm->name, lr, (long long)t->seed);
}

mla_status mla_trial_path(mla_context *context, const mla_trial *t, const char *file, char out[PATH_MAX]) {
    char name[MLA_ARM_NAME + 80];
    mla_trial_name(t, sizeof name, name);
    if (snprintf(out, PATH_MAX, "%s/%s%s%s", t->folder, name, *file ? "/" : "", file) < PATH_MAX) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: the name of the folder is too long", t->folder);
}

/* ---- results in files ---- */

typedef struct {
    const char *key;
    size_t offset; /* of a double in mla_trial_result */
    bool time;     /* it stands in the object "time" */
} number;

#define AT(member) offsetof(mla_trial_result, member)
static const number numbers[] = {
    {"loss", AT(loss), false},
    {"held_out_loss", AT(held_out_loss), false},
    {"bits_per_byte", AT(bits_per_byte), false},
    {"copy_first", AT(tasks.copy_first), false},
    {"copy_second", AT(tasks.copy_second), false},
    {"recall_loss", AT(tasks.recall_loss), false},
    {"recall_accuracy", AT(tasks.recall_accuracy), false},
    {"seconds", AT(seconds), true},
    {"tokens_per_second", AT(tokens_per_second), true},
};
#undef AT
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static double *number_at(mla_trial_result *r, const number *n) { return (double *)(void *)((char *)r + n->offset); }

static mla_status write_result(mla_context *context, const mla_trial *t, mla_trial_result *r) {
    char path[PATH_MAX];
    json_t *json = json_object(), *time = json_object();
    json_object_set_new(json, "format", json_integer(FORMAT));
    json_object_set_new(json, "diverged", json_boolean(r->diverged));
    json_object_set_new(json, "step", json_integer(r->step));
    json_object_set_new(json, "cache_bytes_per_token", json_integer(r->tasks.cache_bytes));
    for (int i = 0; i < NUMBERS; i++) {
        const double value = *number_at(r, &numbers[i]);
        json_object_set_new(numbers[i].time ? time : json, numbers[i].key,
                            isfinite(value) ? json_real(value) : json_null());
    }
    json_object_set_new(time, "peak_memory", json_integer(r->peak_memory));
    json_object_set_new(json, "time", time);
    char *text = mla_json_text(context, json);
    mla_status status = text ? mla_trial_path(context, t, "result.json", path) : MLA_ERROR_MEMORY;
    if (!status) status = mla_file_write(context, path, text, (int64_t)strlen(text));
    free(text);
    json_decref(json);
    return status;
}

static bool take_result(const json_t *json, mla_trial_result *r) {
    const json_t *time = json_object_get(json, "time"), *step = json_object_get(json, "step"),
                 *cache = json_object_get(json, "cache_bytes_per_token"),
                 *memory = json_object_get(time, "peak_memory");
    bool good = json_integer_value(json_object_get(json, "format")) == FORMAT && json_is_integer(step) &&
                json_is_integer(cache) && json_is_integer(memory) && json_is_boolean(json_object_get(json, "diverged"));
    for (int i = 0; i < NUMBERS; i++) {
        const json_t *value = json_object_get(numbers[i].time ? time : json, numbers[i].key);
        good = good && (json_is_number(value) || json_is_null(value));
        *number_at(r, &numbers[i]) = json_is_number(value) ? json_number_value(value) : NAN;
    }
    r->done = good;
    r->diverged = json_is_true(json_object_get(json, "diverged"));
    r->step = json_integer_value(step);
    r->tasks.cache_bytes = json_integer_value(cache);
    r->peak_memory = json_integer_value(memory);
    return good && (r->diverged || isfinite(r->held_out_loss));
}

mla_status mla_trial_read(mla_context *context, const mla_trial *t, mla_trial_result *out) {
    char path[PATH_MAX], where[PATH_MAX + 2], *bytes = NULL;
    int64_t length;
    json_t *json = NULL;
    *out = (mla_trial_result){0};
    mla_status status = mla_trial_path(context, t, "result.json", path);
    if (status || access(path, F_OK)) return status;
    snprintf(where, sizeof where, "%s: ", path);
    status = mla_file_read(context, &bytes, &length, path, MOST_RESULT);
    if (!status) status = mla_json_read(context, where, bytes, length, 0, &json);
    if (!status && !take_result(json, out))
        status = mla_fail(context, MLA_ERROR_FORMAT,
                          "%s: is not the result of a run: remove it, and the run is measured again", path);
    json_decref(json);
    free(bytes);
    return status;
}

/* ---- training ---- */

mla_status mla_trial_is_busy(mla_context *context, const mla_trial *t, bool *busy) {
    char path[PATH_MAX];
    mla_folder_lock lock;
    *busy = false;
    mla_status status = mla_trial_path(context, t, "", path);
    if (status || access(path, F_OK)) return status;
    status = mla_folder_lock_take(context, &lock, path);
    mla_folder_lock_release(&lock);
    if (status != MLA_ERROR_ARGUMENT) return status;
    mla_clear_error(context);
    *busy = true;
    return MLA_OK;
}

static mla_status has_checkpoint(mla_context *context, const mla_trial *t, bool *out) {
    char path[PATH_MAX];
    int64_t count = 0;
    mla_status status = mla_trial_path(context, t, "", path);
    if (!status && !access(path, F_OK)) status = mla_checkpoint_count(context, path, &count);
    *out = count > 0;
    return status;
}

static mla_status train(mla_context *context, const mla_trial *t, const mla_trial_options *o, mla_child_result *child) {
    char recipe[MLA_ARM_NAME + 32], lr[64], seed[64], text[32], out[MLA_ARM_NAME + 80];
    bool resumes;
    mla_status status = has_checkpoint(context, t, &resumes);
    if (status) return status;
    mla_float_text(t->lr, sizeof text, text);
    mla_trial_name(t, sizeof out, out);
    snprintf(recipe, sizeof recipe, "%s/recipe.yaml", t->arm->name);
    snprintf(lr, sizeof lr, "optim.lr=%s", text);
    snprintf(seed, sizeof seed, "train.seed=%lld", (long long)t->seed);
    const char *set = t->data ? "--set" : NULL; /* ends the words otherwise */
    const char *const anew[] = {"mla",   "train", recipe,   "--set", lr,      "--set", seed,
                                "--out", out,     "--json", set,     t->data, NULL};
    const char *const again[] = {"mla", "train", "--resume", out, "--json", set, t->data, NULL};
    return mla_child_run(
        context, &(mla_child_options){.folder = t->folder, .words = resumes ? again : anew, .stop = o->stop}, child);
}

/* ---- what it has become ---- */

/* The loss of the last step, the median speed of all and how long they took together; and how many in a row were
 * skipped at the end. */
static mla_status read_metrics(mla_context *context, const mla_trial *t, mla_trial_result *out, int64_t *last,
                               int64_t *skipped) {
    char path[PATH_MAX];
    mla_metrics *all = NULL;
    int64_t count = 0;
    *skipped = *last = 0;
    mla_status status = mla_trial_path(context, t, "metrics.jsonl", path);
    if (!status) status = mla_metrics_read(context, path, &all, &count);
    double *speeds = status ? NULL : mla_alloc(context, count, sizeof *speeds, "the speeds of steps");
    out->seconds = 0;
    for (int64_t i = 0; i < count && speeds; i++) {
        speeds[i] = all[i].tokens_per_second;
        out->seconds += isfinite(all[i].seconds) ? all[i].seconds : 0;
        *skipped = all[i].skipped ? *skipped + 1 : 0;
    }
    if (count) *last = all[count - 1].step;
    out->loss = count ? all[count - 1].loss : NAN;
    out->tokens_per_second = speeds && count ? mla_median(speeds, count) : NAN;
    free(speeds);
    free(all);
    return status ? status : mla_error_status(context);
}

/* Of a run that is over: a line for each of its steps. */
static mla_status read_whole_metrics(mla_context *context, const mla_trial *t, mla_trial_result *out) {
    char path[PATH_MAX];
    int64_t last, skipped;
    mla_status status = read_metrics(context, t, out, &last, &skipped);
    if (status || last == out->step) return status;
    status = mla_trial_path(context, t, "", path);
    return status ? status
                  : mla_fail(context, MLA_ERROR_FORMAT,
                             "%s/metrics.jsonl: has %lld of %lld steps, as it was damaged: remove the folder %s, and "
                             "the run is made again",
                             path, (long long)last, (long long)out->step, path);
}

static mla_status read_printed(mla_context *context, const mla_trial *t, const char *text, mla_trial_result *out) {
    char name[MLA_ARM_NAME + 80];
    json_t *json = NULL;
    mla_trial_name(t, sizeof name, name);
    const mla_status status = mla_json_parse(context, name, text ? text : "", &json);
    out->step = json_integer_value(json_object_get(json, "step"));
    out->held_out_loss = mla_json_number_of(json, "held_out_loss");
    out->bits_per_byte = mla_json_number_of(json, "bits_per_byte");
    out->peak_memory = json_integer_value(json_object_get(json, "peak_memory"));
    json_decref(json);
    if (status || isfinite(out->held_out_loss)) return status;
    out->diverged = true;
    return MLA_OK;
}

static mla_status measure(mla_context *context, const mla_trial *t, const mla_trial_options *o, mla_trial_result *out) {
    char path[PATH_MAX];
    mla_checkpoint *checkpoint = NULL;
    mla_decoder *model = NULL;
    mla_status status = mla_trial_path(context, t, "", path);
    if (!status) status = mla_checkpoint_load(context, path, &checkpoint, &model);
    const mla_recipe *recipe = &t->arm->recipe;
    const mla_task_options tasks = {o->held_out, recipe->train.sequence, mla_recipe_data_seed(recipe)};
    if (!status) status = mla_tasks_measure(context, model, &tasks, &out->tasks);
    mla_decoder_destroy(model);
    mla_checkpoint_close(checkpoint);
    return status;
}

/* The last line of what a run printed, without "mla: ". */
static void last_words(const char *text, size_t size, char *out) {
    const char *line = text, *end = text + strlen(text);
    while (end > text && end[-1] == '\n') end--;
    for (const char *c = text; c < end; c++)
        if (*c == '\n') line = c + 1;
    if (!strncmp(line, "mla: ", 5)) line += 5;
    snprintf(out, size, "%.*s", (int)(end - line), line);
}

/* What a run warned of, line by line. All runs have the same to say, so it is said once. */
static void pass_warnings(mla_context *context, const mla_trial *t, const mla_trial_options *o,
                          const mla_child_result *child) {
    static const char mark[] = "mla: warning: ";
    char name[MLA_ARM_NAME + 80], *copy = child->errors ? strdup(child->errors) : NULL, *rest = NULL;
    if (!copy || (*o->warned && !strcmp(*o->warned, copy))) return free(copy);
    free(*o->warned);
    *o->warned = strdup(copy);
    mla_trial_name(t, sizeof name, name);
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (!strncmp(line, mark, sizeof mark - 1)) mla_warn(context, "%s: %s", name, line + sizeof mark - 1);
    free(copy);
}

/* Diverged at its learning rate, or stopped, or a failure of its own. */
static mla_status judge_failure(mla_context *context, const mla_trial *t, const mla_trial_options *o,
                                const mla_child_result *child, mla_trial_result *out) {
    char path[PATH_MAX], words[1024];
    int64_t skipped = 0;
    const mla_status status = mla_trial_path(context, t, "", path);
    if (status) return status;
    const bool asked = o->stop && *o->stop; /* maybe so early that there was nothing to save */
    if (child->code == STOPPED || (asked && child->code == 128 + SIGTERM))
        return mla_fail(context, MLA_ERROR_STOPPED, "stopped in %s, which has saved; the same command goes on", path);
    if (child->code == 1 && read_metrics(context, t, out, &out->step, &skipped)) mla_clear_error(context);
    if (child->code == 1 && skipped && skipped >= t->arm->recipe.train.max_skipped) {
        out->diverged = true;
        return MLA_OK;
    }
    last_words(child->errors ? child->errors : "", sizeof words, words);
    if (child->code > 128)
        return mla_fail(context, MLA_ERROR_LIBRARY,
                        "%s: the run was killed by signal %d%s; the same command goes on from its last checkpoint",
                        path, child->code - 128, child->code == 128 + SIGKILL ? ", for lack of memory maybe" : "");
    return mla_fail(context, MLA_ERROR_LIBRARY, "%s: the run failed: %s", path,
                    words[0] ? words : "without a word (is the program still there?)");
}

static mla_status finish(mla_context *context, const mla_trial *t, const mla_trial_options *o,
                         const mla_child_result *child, mla_trial_result *out) {
    *out = (mla_trial_result){.loss = NAN, .held_out_loss = NAN, .bits_per_byte = NAN, .seconds = NAN};
    out->tokens_per_second = NAN;
    out->tasks = (mla_task_scores){NAN, NAN, NAN, NAN, 0};
    mla_status status = child->code ? judge_failure(context, t, o, child, out)
                                    : read_printed(context, t, child->out, out);
    if (!status && !out->diverged) status = read_whole_metrics(context, t, out);
    if (!status && !out->diverged) status = measure(context, t, o, out);
    if (!status) status = write_result(context, t, out);
    out->done = !status;
    return status;
}

mla_status mla_trial_run(mla_context *context, const mla_trial *t, const mla_trial_options *o, mla_trial_result *out) {
    mla_child_result child = {0};
    mla_status status = train(context, t, o, &child);
    if (!status) pass_warnings(context, t, o, &child);
    if (!status) status = finish(context, t, o, &child, out);
    mla_child_free(&child);
    return status;
}
