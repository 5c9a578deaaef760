/* mla classify: labels for texts, by a model whose head gives such. */
#include "autograd/base/clock.h"
#include "autograd/base/file.h"
#include "data/labels/examples.h"
#include "data/labels/label_set.h"
#include "data/text/text_source.h"
#include "layers/head/classification.h"
#include "train/commands/commands.h"
#include "train/commands/load.h"
#include "train/commands/output.h"
#include "train/inference/classifier.h"
#include "train/recipe/recipe.h"
#include "train/run/machine.h"
#include "train/scoring/thresholds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_load_options load;
    char *text, *field;
    int64_t batch;
    mla_use_precision precision;
    bool json, all, stats;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    MLA_LOAD_FIELDS(AT(load)),
    {"text", MLA_FIELD_STRING, AT(text), .help = "one text, instead of files and of lines on the standard input"},
    {"field", MLA_FIELD_STRING, AT(field),
     .help = "the column of text in .jsonl, .csv and .tsv; default: as in training"},
    {"batch", MLA_FIELD_INT, AT(batch), 1, 1, 1 << 16, .help = "texts at a time: more are faster, each comes later"},
    {"precision", MLA_FIELD_ENUM, AT(precision), .names = mla_use_precisions,
     .help = "of the matrix products; auto: as in training, f32 for a model that was imported"},
    {"all", MLA_FIELD_BOOL, AT(all), .help = "with --json: the probabilities of all labels"},
    {"stats", MLA_FIELD_BOOL, AT(stats), .help = "at the end, on the errors: how long a text took, with percentiles"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print a JSON object for each text"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

typedef struct {
    const mla_call *call;
    const options *options;
    mla_context *context;
    mla_loaded loaded;
    mla_recipe recipe; /* of the model */
    mla_label_set names;
    mla_thresholds thresholds; /* those that were chosen for the model */
    mla_dtype precision;
    mla_classifier *classifier;
    char **texts; /* those that wait, of a head that labels tokens; */
    char **keys;  /* or the keys of sequences of rows (data.sequence_field) */
    int64_t text_capacity, key_capacity;
    double *seconds; /* from each text's arrival to its labels */
    int64_t done, second_capacity;
} job;

/* ---- one text's labels ---- */

static int64_t best_of(const job *j, const float *values) {
    int64_t best = 0;
    for (int64_t k = 1; k < j->names.count; k++) best = values[k] > values[best] ? k : best;
    return best;
}

static void set_all(const job *j, json_t *json, const char *key, const float *values) {
    json_t *all = json_object();
    for (int64_t k = 0; k < j->names.count; k++) mla_output_number(all, j->names.names[k], (double)values[k]);
    json_object_set_new(json, key, all);
}

/* From which probability on a label is said, where that was chosen. */
static void set_thresholds(const job *j, json_t *json) {
    json_t *all = j->thresholds.values ? json_object() : NULL;
    for (int64_t k = 0; all && k < j->names.count; k++)
        if (isfinite(j->thresholds.values[k])) mla_output_number(all, j->names.names[k], j->thresholds.values[k]);
    if (all) json_object_set_new(json, "thresholds", all);
}

/* The likeliest; of two classes with a threshold, the one that it is for from there on. */
static int64_t class_of(const job *j, const float *values) {
    const int64_t positive = j->thresholds.positive;
    if (!j->thresholds.values) return best_of(j, values);
    return (double)values[positive] >= j->thresholds.values[positive] ? positive : 1 - positive;
}

static void print_class(const job *j, json_t *json, const float *values) {
    const int64_t best = class_of(j, values);
    if (!json) {
        fprintf(j->call->out, "%s\t%.4f\n", j->names.names[best], (double)values[best]);
        return;
    }
    json_object_set_new(json, "label", json_string(j->names.names[best]));
    mla_output_number(json, "probability", (double)values[best]);
    set_thresholds(j, json);
    if (j->options->all) set_all(j, json, "probabilities", values);
}

static void print_flags(const job *j, json_t *json, const float *values) {
    json_t *found = json ? json_object() : NULL;
    int64_t count = 0;
    for (int64_t k = 0; k < j->names.count; k++) {
        if ((double)values[k] < (j->thresholds.values ? j->thresholds.values[k] : 0.5)) continue;
        if (json) mla_output_number(found, j->names.names[k], (double)values[k]);
        else fprintf(j->call->out, "%s%s\t%.4f", count++ ? "\t" : "", j->names.names[k], (double)values[k]);
    }
    if (!json) {
        fputc('\n', j->call->out);
        return;
    }
    json_object_set_new(json, "labels", found);
    set_thresholds(j, json);
    if (j->options->all) set_all(j, json, "probabilities", values);
}

static void print_numbers(const job *j, json_t *json, const float *values) {
    if (json) set_all(j, json, "values", values);
    for (int64_t k = 0; k < j->names.count && !json; k++)
        fprintf(j->call->out, "%s%s\t%g", k ? "\t" : "", j->names.names[k], (double)values[k]);
    if (!json) fputc('\n', j->call->out);
}

/* ---- spans ---- */

typedef struct {
    int64_t begin, end;
    const char *label;
    double probability; /* the smallest of its tokens */
} span;

static int64_t characters(const char *text, int64_t bytes) {
    int64_t count = 0;
    for (int64_t i = 0; i < bytes; i++) count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static void print_span(const job *j, const char *text, span *s, json_t *list) {
    if (!s->label) return;
    while (s->begin < s->end && text[s->begin] == ' ') s->begin++; /* which belongs to the token, not to the name */
    const int64_t begin = characters(text, s->begin), end = characters(text, s->end);
    if (list) {
        json_t *item = json_pack("{s:I, s:I, s:s}", "start", (json_int_t)begin, "end", (json_int_t)end, "label",
                                 s->label);
        mla_output_number(item, "probability", s->probability);
        json_array_append_new(list, item);
    } else
        fprintf(j->call->out, "%lld\t%lld\t%s\t%.4f\t%.*s\n", (long long)begin, (long long)end, s->label,
                s->probability, (int)(s->end - s->begin), text + s->begin);
    s->label = NULL;
}

/* "B-PER" begins a span; "I-PER" goes on with one of PER, or begins one where there is none; others are outside. */
static void print_spans(const job *j, json_t *json, int64_t index) {
    const char *text = j->texts[index];
    json_t *list = json ? json_array() : NULL;
    span open = {0};
    for (int64_t i = 0; i < mla_classifier_token_count(j->classifier, index); i++) {
        const mla_classified_token t = mla_classifier_token(j->classifier, index, i);
        const int64_t best = t.values ? best_of(j, t.values) : -1;
        const char *name = best < 0 ? "O" : j->names.names[best], *label = name[0] && name[1] == '-' ? name + 2 : NULL;
        const bool goes_on = label && open.label && *name == 'I' && !strcmp(open.label, label);
        if (!goes_on) print_span(j, text, &open, list);
        if (label && !goes_on) open = (span){t.begin, t.end, label, 1};
        if (!label) continue;
        open.end = t.end;
        if ((double)t.values[best] < open.probability) open.probability = (double)t.values[best];
    }
    print_span(j, text, &open, list);
    if (json) json_object_set_new(json, "spans", list);
}

/* ---- texts, a few at a time ---- */

static bool labels_tokens(const job *j) { return j->loaded.model->config.head->labels == MLA_LABELS_OF_TOKENS; }

static void print_one(const job *j, int64_t i) {
    const float *values = labels_tokens(j) ? NULL : mla_classifier_values(j->classifier, i);
    json_t *json = j->options->json ? json_object() : NULL;
    if (j->keys && json) json_object_set_new(json, "key", json_string(j->keys[i]));
    else if (j->keys) fprintf(j->call->out, "%s\t", j->keys[i]);
    switch (mla_classification_labels(&j->loaded.model->config)) {
    case MLA_LABELS_CLASSES: values ? print_class(j, json, values) : print_spans(j, json, i); break;
    case MLA_LABELS_FLAGS: print_flags(j, json, values); break;
    case MLA_LABELS_NUMBERS: print_numbers(j, json, values); break;
    }
    if (json) mla_output_print(j->call->out, json);
}

static void forget(job *j) {
    const int64_t count = j->classifier ? mla_classifier_count(j->classifier) : 0;
    for (int64_t i = 0; j->texts && i < count; i++) free(j->texts[i]);
    for (int64_t i = 0; j->keys && i < count; i++) free(j->keys[i]);
    if (count) mla_classifier_clear(j->classifier);
}

static mla_status flush(job *j) {
    const int64_t count = mla_classifier_count(j->classifier);
    const mla_status status = mla_classifier_run(j->classifier);
    for (int64_t i = 0; i < count && !status; i++) {
        print_one(j, i);
        j->seconds[j->done] = mla_seconds() - j->seconds[j->done];
        j->done++;
    }
    fflush(j->call->out);
    forget(j);
    return status;
}

/* Keeps text of the newest that waits, until its labels are printed. */
static mla_status keep(job *j, char ***list, int64_t *capacity, const char *bytes, int64_t length) {
    const int64_t at = mla_classifier_count(j->classifier) - 1;
    mla_status status = mla_grow(j->context, list, capacity, at + 1, sizeof **list, "the texts");
    if (status) return status;
    (*list)[at] = mla_alloc(j->context, length + 1, 1, "a text");
    if ((*list)[at]) memcpy((*list)[at], bytes, (size_t)length);
    return mla_error_status(j->context);
}

/* key: of a sequence of rows; NULL: the text is none. */
static mla_status classify_text(job *j, const char *key, const char *bytes, int64_t length) {
    const int64_t waiting = mla_classifier_count(j->classifier);
    mla_status status = mla_grow(j->context, &j->seconds, &j->second_capacity, j->done + waiting + 1,
                                 sizeof *j->seconds, "the times");
    if (status) return status;
    j->seconds[j->done + waiting] = mla_seconds();
    status = mla_classifier_add(j->classifier, bytes, length);
    if (!status && labels_tokens(j)) status = keep(j, &j->texts, &j->text_capacity, bytes, length);
    if (!status && key) status = keep(j, &j->keys, &j->key_capacity, key, (int64_t)strlen(key));
    return status || waiting + 1 < j->options->batch ? status : flush(j);
}

/* ---- where they come from ---- */

static mla_status classify_lines(job *j) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int64_t number = 0;
    mla_status status = MLA_OK;
    while (!status && (length = getline(&line, &capacity, stdin)) >= 0) {
        number++;
        while (length && (line[length - 1] == '\n' || line[length - 1] == '\r')) length--;
        line[length] = '\0';
        status = strspn(line, " \t") < (size_t)length
                     ? classify_text(j, NULL, line, length)
                     : mla_fail(j->context, MLA_ERROR_FORMAT, "line %lld is empty: there is no text to label",
                                (long long)number);
    }
    free(line);
    return status;
}

static mla_status classify_tables(job *j, const char *const *paths, int64_t count) {
    mla_examples *examples;
    const mla_example *e;
    const mla_example_options o = {.paths = paths,
                                   .count = count,
                                   .sequence_field = j->recipe.data.sequence_field,
                                   .order_field = j->recipe.data.order_field,
                                   .field = j->options->field ? j->options->field : j->recipe.data.field,
                                   .text_template = j->options->field ? NULL : j->recipe.data.text_template};
    mla_status status = mla_examples_open(j->context, &examples, &o);
    while (!status && !(status = mla_examples_next(examples, &e)) && e)
        status = classify_text(j, e->key, e->text, e->length);
    mla_examples_close(examples);
    return status;
}

static mla_status classify_file(job *j, const char *path) {
    mla_text_source *source;
    const mla_document *document;
    mla_status status = mla_text_open(j->context, &source, &(mla_text_options){.paths = &path, .count = 1});
    while (!status && !(status = mla_text_next(source, &document)) && document)
        status = classify_text(j, NULL, document->bytes, document->length);
    mla_text_close(source);
    return status;
}

static bool is_table(const char *path) {
    static const char *const endings[] = {".jsonl", ".csv", ".tsv", ".tab", NULL};
    int i = 0;
    while (endings[i] && !mla_ends_with(path, endings[i])) i++;
    return endings[i] != NULL;
}

static bool has_table(const mla_list *paths) {
    for (int64_t i = 0; i < paths->count; i++)
        if (is_table(paths->items[i])) return true;
    return false;
}

/* A sequence may have rows in several tables. */
static mla_status classify_sequences(job *j, const mla_list *paths) {
    for (int64_t i = 0; i < paths->count; i++)
        if (!is_table(paths->items[i]))
            return mla_fail(
                j->context, MLA_ERROR_ARGUMENT,
                "%s: the model labels sequences of rows (data.sequence_field: %s): give .jsonl, .csv or .tsv",
                paths->items[i], j->recipe.data.sequence_field);
    return classify_tables(j, (const char *const *)paths->items, paths->count);
}

static mla_status classify_all(job *j) {
    const mla_list *paths = j->call->operands;
    const bool gathers = j->recipe.data.sequence_field && paths->count;
    mla_status status = MLA_OK;
    if (j->options->all && !j->options->json)
        return mla_fail(j->context, MLA_ERROR_ARGUMENT, "--all is for --json, which has room for all labels");
    if (j->options->field && !has_table(paths))
        return mla_fail(j->context, MLA_ERROR_ARGUMENT,
                        "--field names a column of .jsonl, .csv or .tsv: give such a file");
    if (j->options->text && paths->count)
        return mla_fail(j->context, MLA_ERROR_ARGUMENT, "give either --text or files, not both");
    if (j->options->text) status = classify_text(j, NULL, j->options->text, (int64_t)strlen(j->options->text));
    else if (!paths->count) status = classify_lines(j);
    else if (gathers) status = classify_sequences(j, paths);
    for (int64_t i = 0; i < paths->count && !status && !gathers; i++)
        status = is_table(paths->items[i]) ? classify_tables(j, (const char *const *)&paths->items[i], 1)
                                           : classify_file(j, paths->items[i]);
    return status ? status : flush(j);
}

/* ---- figures ---- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_stats(job *j) {
    const int64_t n = j->done;
    double sum = 0;
    if (!n) return;
    for (int64_t i = 0; i < n; i++) sum += j->seconds[i];
    qsort(j->seconds, (size_t)n, sizeof *j->seconds, by_size);
    fprintf(stderr,
            "%lld texts, in %s; milliseconds for each: mean %.2f, 50 %% %.2f, 95 %% %.2f, 99 %% %.2f, most %.2f\n",
            (long long)n, mla_dtype_name(j->precision), 1e3 * sum / (double)n, 1e3 * j->seconds[n / 2],
            1e3 * j->seconds[n * 95 / 100], 1e3 * j->seconds[n * 99 / 100], 1e3 * j->seconds[n - 1]);
}

/* ---- running ---- */

static mla_status open_classifier(job *j) {
    const char *path = mla_loaded_path(&j->loaded), *recipe = mla_loaded_recipe(&j->loaded);
    const char *names = mla_loaded_labels(&j->loaded);
    const mla_decoder *model = j->loaded.model;
    mla_status status = recipe ? mla_recipe_parse_json(j->context, path, recipe, &j->recipe)
                               : mla_recipe_default(j->context, &j->recipe);
    if (!status) status = mla_loaded_expect_tokenizer(j->context, &j->loaded);
    const int64_t longest = status ? 0 : model->config.max_position_embeddings;
    mla_recipe_precision precision = MLA_PRECISION_F32;
    if (!status) status = mla_loaded_precision(j->context, &j->loaded, j->options->precision, &precision);
    if (!status) j->precision = mla_precision_choose(j->context, precision);
    const mla_classifier_options o = {
        .model = model,
        .tokenizer = j->loaded.tokenizer,
        .precision = j->precision,
        .sequence = recipe && j->recipe.train.sequence < longest ? j->recipe.train.sequence : longest,
        .bos = j->recipe.data.bos,
        .too_long = mla_recipe_too_long(&j->recipe.data)};
    if (!status) status = mla_classifier_create(j->context, &j->classifier, &o);
    if (!status && !names) status = mla_fail(j->context, MLA_ERROR_FORMAT, "%s: does not name its labels", path);
    if (!status) status = mla_label_set_parse(j->context, path, names, &j->names);
    if (!status && j->names.count != model->config.num_labels)
        status = mla_fail(j->context, MLA_ERROR_FORMAT, "%s: names %lld labels, but its head has %lld", path,
                          (long long)j->names.count, (long long)model->config.num_labels);
    return status;
}

/* Says so on the standard error, for the labels are not those of the highest probability. */
static mla_status read_thresholds(job *j) {
    const char *path = mla_loaded_path(&j->loaded), *json = mla_loaded_thresholds(&j->loaded);
    if (!json) return MLA_OK;
    const mla_status status = mla_thresholds_parse(j->context, path, json, &j->names,
                                                   mla_classification_labels(&j->loaded.model->config), &j->thresholds);
    for (int64_t k = 0; k < j->names.count && !status; k++)
        if (isfinite(j->thresholds.values[k]))
            fprintf(stderr, "%s from a probability of %.4g on, the model's threshold (chosen by %s)\n",
                    j->names.names[k], j->thresholds.values[k], j->thresholds.chosen_by);
    return status;
}

static mla_status classify_run(const mla_call *call) {
    job j = {.call = call, .options = call->options, .context = call->context};
    mla_status status = mla_load_model(call->context, &j.loaded, &j.options->load);
    if (!status) status = open_classifier(&j);
    if (!status) status = read_thresholds(&j);
    if (!status) status = classify_all(&j);
    if (!status && j.options->stats) print_stats(&j);
    forget(&j);
    mla_classifier_destroy(j.classifier);
    mla_label_set_free(&j.names);
    mla_thresholds_free(&j.thresholds);
    mla_recipe_free(&j.recipe);
    mla_loaded_close(&j.loaded);
    free(j.texts);
    free(j.keys);
    free(j.seconds);
    return status;
}

const mla_command mla_command_classify = {
    .name = "classify",
    .summary = "Label texts: lines of the standard input, files, or rows of .jsonl, .csv and .tsv",
    .operands = "[FILE]...",
    .min_operands = 0,
    .max_operands = INT64_MAX,
    .example = "  mla classify --checkpoint runs/mail --text 'please cancel my order'\n"
               "  tail -f mail.log | mla classify --checkpoint runs/mail --json\n"
               "  mla classify --checkpoint runs/mail --batch 32 --stats new.jsonl >labels.tsv\n"
               "  mla classify --checkpoint runs/language-model --adapter runs/mail-adapter new.csv\n",
    .options = &table,
    .run = classify_run,
};
