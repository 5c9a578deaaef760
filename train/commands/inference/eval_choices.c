/* A row is read (read_row) and its choices become requests; when enough have come together, flush scores them and adds
 * each row's result to the figures. */
#include "train/commands/inference/eval_choices.h"
#include "data/labels/table.h"
#include "train/commands/output.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BY_SUM, BY_CHARACTERS, BY_BYTES, MEASURES };
static const char *const measures[] = {"acc", "acc_norm", "acc_bytes"};

typedef struct {
    char *place;
    int64_t first, count; /* requests; 1: a continuation */
    int64_t gold;
} row;

typedef struct {
    int64_t characters, bytes;
} choice_size;

typedef struct {
    mla_context *context;
    const char *delimiter;
    bool reading_choices; /* in this row */
    mla_scoring scoring;
    mla_table *table;
    row *rows; /* those that wait */
    choice_size *sizes;
    int64_t row_count, row_capacity, size_count, size_capacity;
    mla_bytes text; /* a choice behind the delimiter */
    int64_t done, requests, right[MEASURES];
    double total;         /* of the log-likelihoods of continuations */
    int64_t with_choices; /* rows; the others have a continuation */
} job;

/* ---- reading ---- */

static mla_status wrong_row(const job *j, const char *what) {
    return mla_fail(j->context, MLA_ERROR_FORMAT, "%s: %s", mla_table_place(j->table), what);
}

static mla_text_part part_of(const json_t *text) {
    return (mla_text_part){json_string_value(text), (int64_t)json_string_length(text)};
}

/* The delimiter is for choices: a continuation is what it is (lm-evaluation-harness, api/task.py). */
static mla_status add_request(job *j, const char *what, int64_t number, mla_text_part context, mla_text_part text) {
    const char *delimiter = j->reading_choices ? j->delimiter : "";
    const size_t between = strlen(delimiter);
    const int64_t length = (int64_t)between + text.length;
    mla_continued e;
    mla_status status = mla_grow(j->context, &j->text.bytes, &j->text.capacity, length + 1, 1, "a choice");
    if (!status)
        status = mla_grow(j->context, &j->sizes, &j->size_capacity, j->size_count + 1, sizeof *j->sizes, "choices");
    if (status) return status;
    memcpy(j->text.bytes, delimiter, between);
    memcpy(j->text.bytes + between, text.bytes, (size_t)text.length);
    status = mla_continuation_encode(j->scoring.continuation, context, (mla_text_part){j->text.bytes, length}, &e);
    if (status) return status;
    if (e.scored < 1)
        return mla_fail(j->context, MLA_ERROR_FORMAT,
                        "%s: no token of %s %lld is behind those of the context: give a --delimiter, or end the "
                        "context elsewhere",
                        mla_table_place(j->table), what, (long long)number);
    if (e.scored > j->scoring.options.sequence)
        return mla_fail(j->context, MLA_ERROR_FORMAT,
                        "%s: %s %lld has %lld tokens, and the model sees %lld: make it shorter, or --sequence longer",
                        mla_table_place(j->table), what, (long long)number, (long long)e.scored,
                        (long long)j->scoring.options.sequence);
    j->sizes[j->size_count++] = (choice_size){mla_count_characters(text), text.length};
    return mla_likelihood_add(j->scoring.likelihood, e.ids, e.count, e.scored);
}

/* A number from 0 on, or the text of the choice. */
static mla_status read_gold(const job *j, const json_t *gold, const json_t *choices, int64_t *out) {
    const json_t *choice;
    size_t i;
    *out = -1;
    if (!gold) return wrong_row(j, "there is no \"gold\": the number of the right choice, from 0 on");
    if (json_is_integer(gold)) *out = (int64_t)json_integer_value(gold);
    else if (json_is_string(gold)) {
        json_array_foreach(choices, i, choice) if (*out < 0 && json_equal(choice, gold)) *out = (int64_t)i;
        return *out < 0 ? wrong_row(j, "\"gold\" is a text that none of the choices is") : MLA_OK;
    } else return wrong_row(j, "\"gold\" must be the number of the right choice, from 0 on, or its text");
    if (*out >= 0 && *out < (int64_t)json_array_size(choices)) return MLA_OK;
    return mla_fail(j->context, MLA_ERROR_FORMAT, "%s: \"gold\" is %lld, but the choices are numbered 0 to %lld",
                    mla_table_place(j->table), (long long)*out, (long long)json_array_size(choices) - 1);
}

static mla_status read_choices(job *j, mla_text_part context, const json_t *choices, row *r) {
    const json_t *choice;
    size_t i;
    mla_status status = MLA_OK;
    if (!json_is_array(choices)) return wrong_row(j, "\"choices\" must be a list of texts");
    if (json_array_size(choices) < 2) return wrong_row(j, "\"choices\" must be at least two");
    json_array_foreach(choices, i, choice) {
        if (!json_is_string(choice)) status = wrong_row(j, "\"choices\" must be a list of texts");
        else if (!json_string_length(choice))
            status = mla_fail(j->context, MLA_ERROR_FORMAT, "%s: choice %lld is empty", mla_table_place(j->table),
                              (long long)i);
        else status = add_request(j, "choice", (int64_t)i, context, part_of(choice));
        if (status) return status;
    }
    r->count = (int64_t)json_array_size(choices);
    return MLA_OK;
}

static mla_status read_continuation(job *j, mla_text_part context, const json_t *text, row *r) {
    if (!json_is_string(text)) return wrong_row(j, "\"continuation\" must be a text");
    if (!json_string_length(text)) return wrong_row(j, "\"continuation\" is empty");
    r->count = 1;
    return add_request(j, "continuation", 1, context, part_of(text));
}

static mla_status check_keys(const job *j, const json_t *object) {
    const bool choices = json_object_get(object, "choices"), continuation = json_object_get(object, "continuation");
    if (!object) return wrong_row(j, "rows of choices are objects of a file named .jsonl");
    if (!json_object_get(object, "context")) return wrong_row(j, "there is no \"context\"");
    if (!json_is_string(json_object_get(object, "context"))) return wrong_row(j, "\"context\" must be a text");
    if (choices && continuation) return wrong_row(j, "give either \"choices\" or \"continuation\", not both");
    if (!choices && !continuation)
        return wrong_row(j, "there are no \"choices\" (with \"gold\"), and no \"continuation\"");
    if (continuation && json_object_get(object, "gold")) return wrong_row(j, "\"gold\" is for \"choices\"");
    if (j->done + j->row_count && choices != (j->with_choices > 0))
        return wrong_row(j, "rows with \"choices\" and rows with \"continuation\" are evaluated in files of their own");
    return MLA_OK;
}

static mla_status read_row(job *j) {
    const json_t *object = mla_table_object(j->table), *choices = json_object_get(object, "choices");
    const mla_text_part context = part_of(json_object_get(object, "context"));
    row r = {.first = j->size_count};
    mla_status status = check_keys(j, object);
    j->reading_choices = choices != NULL;
    if (!status && choices) status = read_choices(j, context, choices, &r);
    if (!status && choices) status = read_gold(j, json_object_get(object, "gold"), choices, &r.gold);
    if (!status && !choices) status = read_continuation(j, context, json_object_get(object, "continuation"), &r);
    if (!status)
        status = mla_grow(j->context, &j->rows, &j->row_capacity, j->row_count + 1, sizeof *j->rows, "the rows");
    if (status) return status;
    r.place = strdup(mla_table_place(j->table));
    if (!r.place) return mla_fail(j->context, MLA_ERROR_MEMORY, "no memory for a row");
    j->rows[j->row_count++] = r;
    j->with_choices += choices != NULL;
    return MLA_OK;
}

/* ---- results ---- */

static double value_of(const job *j, int64_t request, int measure) {
    const double sum = mla_likelihood_of(j->scoring.likelihood, request).sum;
    const choice_size size = j->sizes[request];
    return measure == BY_SUM ? sum : sum / (double)(measure == BY_CHARACTERS ? size.characters : size.bytes);
}

/* Of equal ones the first. */
static int64_t best_choice(const job *j, const row *r, int measure) {
    int64_t best = 0;
    for (int64_t i = 1; i < r->count; i++)
        if (value_of(j, r->first + i, measure) > value_of(j, r->first + best, measure)) best = i;
    return best;
}

static json_t *sample_of(const job *j, const row *r) {
    json_t *line = json_object(), *sums = json_array(), *greedy = json_array();
    json_object_set_new(line, "place", json_string(r->place));
    for (int64_t i = 0; i < r->count; i++) {
        const mla_likelihood_score score = mla_likelihood_of(j->scoring.likelihood, r->first + i);
        json_array_append_new(sums, json_real(score.sum));
        json_array_append_new(greedy, json_boolean(score.greedy));
    }
    json_object_set_new(line, "loglikelihood", sums);
    json_object_set_new(line, "greedy", greedy);
    return line;
}

static mla_status count_row(job *j, const row *r) {
    json_t *line = sample_of(j, r);
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < r->count && !status; i++)
        if (!isfinite(value_of(j, r->first + i, BY_SUM)))
            status = mla_fail(j->context, MLA_ERROR_NUMERIC, "%s: the model's logits are not numbers", r->place);
    if (j->with_choices) json_object_set_new(line, "gold", json_integer(r->gold));
    for (int m = 0; m < (j->with_choices ? MEASURES : 1); m++) {
        const bool right = j->with_choices ? best_choice(j, r, m) == r->gold
                                           : mla_likelihood_of(j->scoring.likelihood, r->first).greedy;
        json_object_set_new(line, measures[m], json_integer(right));
        j->right[m] += right;
    }
    if (!j->with_choices) j->total += value_of(j, r->first, BY_SUM);
    mla_scoring_sample(&j->scoring, line);
    return status;
}

static mla_status flush(job *j) {
    mla_status status = mla_likelihood_run(j->scoring.likelihood);
    for (int64_t i = 0; i < j->row_count; i++) {
        if (!status) status = count_row(j, &j->rows[i]);
        free(j->rows[i].place);
    }
    j->done += j->row_count;
    j->requests += j->size_count;
    j->row_count = j->size_count = 0;
    mla_likelihood_clear(j->scoring.likelihood);
    return status;
}

/* ---- figures ---- */

static double share(const job *j, int measure) { return (double)j->right[measure] / (double)j->done; }

/* The sample's standard deviation over sqrt(n): of ones and zeros. NaN of a single row. */
static double standard_error(const job *j, int measure) {
    const double p = share(j, measure);
    return j->done > 1 ? sqrt(p * (1 - p) / (double)(j->done - 1)) : NAN;
}

static void print_json(const job *j) {
    json_t *json = mla_scoring_json(&j->scoring);
    char key[32];
    json_object_set_new(json, "rows", json_integer(j->done));
    json_object_set_new(json, "requests", json_integer(j->requests));
    for (int m = 0; m < (j->with_choices ? MEASURES : 1); m++) {
        mla_output_number(json, measures[m], share(j, m));
        snprintf(key, sizeof key, "%s_stderr", measures[m]);
        mla_output_number(json, key, standard_error(j, m));
    }
    if (!j->with_choices) mla_output_number(json, "perplexity", exp(-j->total / (double)j->done));
    mla_output_print(j->scoring.call->out, json);
}

static void print_text(const job *j) {
    FILE *out = j->scoring.call->out;
    fprintf(out, "checkpoint       %s\n", mla_checkpoint_path(j->scoring.loaded->checkpoint));
    for (int m = 0; m < (j->with_choices ? MEASURES : 1); m++) {
        fprintf(out, "%-16s %.4f", measures[m], share(j, m));
        if (j->done > 1) fprintf(out, " +- %.4f", standard_error(j, m));
        fprintf(out, " of %lld rows\n", (long long)j->done);
    }
    if (!j->with_choices) fprintf(out, "perplexity       %.4f\n", exp(-j->total / (double)j->done));
    mla_scoring_print(&j->scoring, j->requests);
}

static mla_status evaluate_rows(job *j) {
    bool more = true;
    mla_status status = MLA_OK;
    while (!status && !(status = mla_table_next(j->table, &more)) && more) {
        status = read_row(j);
        if (!status && mla_likelihood_tokens(j->scoring.likelihood) >= MLA_SCORED_TOGETHER) status = flush(j);
    }
    return status ? status : flush(j);
}

mla_status mla_eval_choices(const mla_call *call, const mla_loaded *l, const char *path, const char *delimiter,
                            const mla_scoring_options *options) {
    job j = {.context = call->context, .delimiter = delimiter};
    mla_status status = mla_scoring_open(&j.scoring, call, l, options);
    if (!status) status = mla_table_open(call->context, &j.table, &path, 1);
    if (!status) status = evaluate_rows(&j);
    if (!status && !j.done) status = mla_fail(call->context, MLA_ERROR_FORMAT, "%s: there are no rows in it", path);
    if (!status) status = mla_scoring_finish(&j.scoring);
    if (!status) (options->json ? print_json : print_text)(&j);

    for (int64_t i = 0; i < j.row_count; i++) free(j.rows[i].place);
    free(j.rows);
    free(j.sizes);
    free(j.text.bytes);
    mla_table_close(j.table);
    mla_scoring_close(&j.scoring);
    return status;
}
