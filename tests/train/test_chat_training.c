/* Training on conversations: the loss is the mean over the tokens of answers, each example seen by itself, as computed
 * by hand from the logits of one example after the other; and the parts that every run has work with it. */
#include "data/tokens/packing.h"
#include "data/tokens/token_file.h"
#include "tests/support/allocations.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/tiny_run.h"
#include "train/run/prepare.h"
#include "train/run/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = 64, SEPARATOR = 256 };

static char *folder;
static char warnings[4096];

static void take_warning(void *user, const char *message) {
    (void)user;
    strncat(warnings, message, sizeof warnings - strlen(warnings) - 1);
}

/* What the plain template makes of prompt and completion, in bytes, and how it was written down. */
typedef struct {
    const char *prompt, *completion;
} example;

static const example examples[] = {
    {"Hi", "Hello."},
    {"2+2?", "4"},
    {"Say nothing", ""},                                               /* no answer: left out */
    {"Tell me more", "It is a long story that does not end in time."}, /* cut */
    {"A very long question that takes more than all of it", "no"},     /* its answer is cut away: left out */
    {"Bye", "See you"},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

static char *write_examples(void) {
    char *path = path_in(folder, "chats.jsonl"), text[4096] = "";
    for (int i = 0; i < EXAMPLES; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "{\"prompt\": \"%s\", \"completion\": \"%s\"}\n",
                 examples[i].prompt, examples[i].completion);
    file_write(path, text, (int64_t)strlen(text));
    return path;
}

/* -log softmax(row)[target] in double. */
static double cross_entropy(const float *row, int64_t width, int32_t target) {
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < width; j++) top = fmax(top, (double)row[j]);
    for (int64_t j = 0; j < width; j++) sum += exp((double)row[j] - top);
    return log(sum) + top - (double)row[target];
}

/* The sum over an example's answer: from the space behind "Assistant:" to the separator, as far as T inputs go. */
static double loss_of(mla_context *context, const mla_decoder *model, mla_tape *tape, const example *e,
                      int64_t *count) {
    char text[256];
    int32_t ids[256];
    double sum = 0;
    const int before = snprintf(text, sizeof text, "User: %s\n\nAssistant:", e->prompt);
    const int length = before + snprintf(text + before, sizeof text - (size_t)before, " %s", e->completion);
    for (int i = 0; i < length; i++) ids[i] = (unsigned char)text[i];
    ids[length] = SEPARATOR;
    const int inputs = length < T ? length : T;
    mla_tape_begin(tape, &(mla_step){.inference = true});
    const mla_tensor *logits = mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, inputs}, ids),
                                                  NULL);
    check_ok(context, mla_error_status(context));
    for (int t = 0; t < inputs && e->completion[0]; t++) {
        if (t + 1 < before) continue;
        sum += cross_entropy(mla_row(logits, t), model->config.vocab_size, ids[t + 1]);
        ++*count;
    }
    return sum;
}

/* Whether the stream has the example, among its documents. */
static bool has(const mla_token_stream *stream, const example *e) {
    char text[256];
    const int length = snprintf(text, sizeof text, "User: %s\n\nAssistant: %s", e->prompt, e->completion);
    for (int64_t d = 0; d < stream->documents; d++) {
        bool same = stream->offsets[d + 1] - stream->offsets[d] - 1 == length;
        for (int i = 0; i < length && same; i++)
            same = stream->narrow[stream->offsets[d] + i] == (unsigned char)text[i];
        if (same) return true;
    }
    return false;
}

/* Of those examples that a stream has (NULL: of all), by a model as the run begins with it: the mean. */
static double loss_by_hand(mla_context *context, const mla_recipe *recipe, const mla_token_stream *stream) {
    mla_model_config config = recipe->model;
    mla_decoder *model;
    mla_tape *tape;
    double sum = 0;
    int64_t count = 0;
    config.vocab_size = 257;
    check_ok(context, mla_decoder_create(context, &model, &config));
    check_ok(context, mla_params_allocate(model->params, false));
    mla_params_initialise(model->params, (uint64_t)recipe->train.seed);
    check_ok(context, mla_tape_create(context, &tape, NULL));
    for (int i = 0; i < EXAMPLES; i++)
        if (!stream || has(stream, &examples[i])) sum += loss_of(context, model, tape, &examples[i], &count);
    if (!stream)
        assert_int_equal(count,
                         8 + 3 + 9 + 35); /* " Hello." and the end; " 4"; " See you"; what is left of the story */
    mla_tape_destroy(tape);
    mla_decoder_destroy(model);
    return sum / (double)count;
}

static void chat_recipe(mla_context *context, mla_recipe *recipe, const char *const *more) {
    char source[256];
    const char *sets[24] = {source,
                            "data.format=chat",
                            "data.tokenizer=bytes",
                            "data.held_out=0",
                            "data.synthetic.tokens=0",
                            "train.sequence=64",
                            "model.max_position_embeddings=64",
                            "model.dropout=0",
                            "train.batch=3",
                            "train.microbatch=0",
                            "train.steps=1",
                            "train.precision=f32"};
    char *path = write_examples();
    snprintf(source, sizeof source, "data.source=%s", path);
    int count = 12;
    while (more && *more) sets[count++] = *more++;
    check_ok(context, tiny_recipe(context, recipe, sets));
    free(path);
}

static void the_loss_is_of_answers_alone(void **state) {
    mla_context *context = *state;
    mla_recipe recipe;
    mla_train_result result;
    chat_recipe(context, &recipe, NULL);
    const double expected = loss_by_hand(context, &recipe, NULL);
    for (int microbatch = 1; microbatch <= 3; microbatch += 2) {
        char *out = path_in(folder, microbatch == 1 ? "one" : "all");
        recipe.train.microbatch = microbatch;
        warnings[0] = '\0';
        check_ok(context, mla_train(context, &recipe, &(mla_train_options){.out = out}, &result));
        check_close(result.loss, expected, 1e-6);
        assert_non_null(strstr(warnings, "1 of 6 conversations have no answer and are left out"));
        assert_non_null(strstr(warnings, "1 of 5 examples are longer than train.sequence 64: their ends are cut off"));
        assert_non_null(strstr(warnings, "1 of 5 examples are left out: no answer begins within train.sequence 64"));
        free(out);
    }
    mla_recipe_free(&recipe);
}

/* What is held out is measured in the same way. */
static void evaluation_is_of_answers_alone(void **state) {
    mla_context *context = *state;
    mla_recipe recipe;
    mla_train_result result;
    mla_prepare_report report;
    mla_token_file *file;
    char *tokens = path_in(folder, "half.h5"), *source = write_examples(), *out = path_in(folder, "half");
    const mla_prepare_options options = {.sources = (const char *const[]){source},
                                         .source_count = 1,
                                         .tokenizer = "bytes",
                                         .format = MLA_RECIPE_CHAT,
                                         .held_out = 0.8};
    check_ok(context, mla_prepare(context, &options, tokens, &report));
    assert_int_equal(report.left_out, 1);
    assert_int_equal(report.train.documents + report.held_out.documents, EXAMPLES - 1);
    assert_int_equal(report.train.answers + report.held_out.answers, 8 + 3 + 9 + 47 + 4);
    assert_string_equal(report.chat_template, "plain");
    check_ok(context, mla_token_file_open(context, &file, tokens));
    const mla_token_stream *held_out = mla_token_file_stream(file, MLA_HELD_OUT);
    assert_non_null(held_out->answers);
    assert_int_equal(held_out->bytes, 0);
    mla_packing *packing; /* some must stand in one sequence, or nothing is tested */
    check_ok(context, mla_packing_create(context, &packing, held_out, T));
    assert_true(mla_packing_report_of(packing).sequences < mla_packing_report_of(packing).documents - 1);
    mla_packing_destroy(packing);
    char set[256];
    snprintf(set, sizeof set, "data.tokens=%s", tokens);
    chat_recipe(context, &recipe, (const char *const[]){"data.source=", set, "optim.lr=1e-12", NULL});
    check_ok(context, mla_train(context, &recipe, &(mla_train_options){.out = out}, &result));
    check_close(result.held_out.loss, loss_by_hand(context, &recipe, held_out), 1e-6);
    assert_true(isnan(result.bits_per_byte));
    mla_token_file_close(file);
    mla_recipe_free(&recipe);
    free(tokens), free(source), free(out);
}

/* Runs that stop and go on, blocks that are computed again, and steps that allocate nothing. */
typedef struct {
    double losses[16];
    int64_t allocated, tokens;
} record;

static void after_step(void *user, const mla_metrics *m) {
    record *r = user;
    if (m->step > 2) r->allocated += allocations_stop().made;
    r->losses[m->step] = m->loss;
    r->tokens = m->tokens;
    if (m->step > 1 && m->step < 8) allocations_watch(0);
}

static record run(mla_context *context, const char *name, bool resume, const char *const *sets) {
    mla_recipe recipe;
    mla_train_result result;
    record r = {0};
    char *out = path_in(folder, name);
    chat_recipe(context, &recipe, sets);
    recipe.checkpoint.every = recipe.train.eval_every = 0;
    const mla_train_options options = {.out = out, .resume = resume, .stepped = after_step, .user = &r};
    check_ok(context, mla_train(context, &recipe, &options, &result));
    mla_recipe_free(&recipe);
    free(out);
    return r;
}

static void runs_are_as_others(void **state) {
    const char *const eight[] = {"train.steps=8", "train.batch=2", "optim.schedule=constant", "model.dropout=0.1",
                                 NULL};
    const char *const four[] = {"train.steps=4", "train.batch=2", "optim.schedule=constant", "model.dropout=0.1", NULL};
    const char *const again[] = {"train.steps=8",
                                 "train.batch=2",
                                 "optim.schedule=constant",
                                 "model.dropout=0.1",
                                 "train.recompute=block",
                                 "train.microbatch=1",
                                 NULL};
    const record whole = run(*state, "whole", false, eight), recomputed = run(*state, "again", false, again);
    run(*state, "parts", false, four);
    const record rest = run(*state, "parts", true, eight);
    assert_memory_equal(whole.losses + 5, rest.losses + 5, 4 * sizeof *whole.losses);
    assert_int_equal(whole.tokens, rest.tokens);
    assert_true(whole.tokens >= 8 * 2 * 3 && whole.tokens <= 8 * 2 * 40); /* answers, not positions */
    for (int i = 1; i <= 8; i++) check_close(whole.losses[i], recomputed.losses[i], 1e-5);
    if (allocations_can_be_watched()) assert_int_equal(whole.allocated, 0);
}

static int set_up(void **state) {
    folder = folder_create();
    return mla_context_create((mla_context **)state, &(mla_context_options){.warn = take_warning}) != MLA_OK;
}

static int tear_down(void **state) {
    folder_remove(folder);
    return destroy_context(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_loss_is_of_answers_alone),
                                       cmocka_unit_test(evaluation_is_of_answers_alone),
                                       cmocka_unit_test(runs_are_as_others)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
