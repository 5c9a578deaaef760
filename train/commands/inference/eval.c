/* mla eval: what a model says to text that it was not trained on. */
#include "autograd/base/clock.h"
#include "autograd/base/file.h"
#include "data/tokens/mixture.h"
#include "layers/head/head.h"
#include "train/commands/commands.h"
#include "train/commands/inference/eval_choices.h"
#include "train/commands/inference/eval_labels.h"
#include "train/commands/inference/eval_rolling.h"
#include "train/commands/load.h"
#include "train/commands/output.h"
#include "train/inference/logits.h"
#include "train/run/dataset.h"
#include "train/run/evaluate.h"
#include "train/run/machine.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    mla_load_options load;
    char *tokens, *logits, *field, *choices, *delimiter, *samples;
    int64_t batch, sequence;
    mla_use_precision precision;
    bool no_bos, rolling, json;
    mla_label_figures figures;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    MLA_LOAD_FIELDS(AT(load)),
    {"tokens", MLA_FIELD_STRING, AT(tokens),
     .help = "a token file, of which the held-out half counts; default: the run's"},
    {"logits", MLA_FIELD_STRING, AT(logits),
     .help = "write the logits (N,T,V) of the dataset ids, i32 (N,T), in --tokens to this file instead"},
    {"choices", MLA_FIELD_STRING, AT(choices),
     .help = "a .jsonl file of questions, {context, choices, gold}, or of {context, continuation}: how often the model "
             "finds the right one most likely"},
    {"delimiter", MLA_FIELD_STRING, AT(delimiter), .text = " ", .keeps_empty = true,
     .help = "--choices: what stands between the context and a choice"},
    {"rolling", MLA_FIELD_BOOL, AT(rolling), .help = "texts: perplexity by words and by bytes, each text by itself"},
    {"samples", MLA_FIELD_STRING, AT(samples),
     .help = "--choices, --rolling: write the log-likelihoods of each row to this file, as JSON lines"},
    {"field", MLA_FIELD_STRING, AT(field), .text = "text", .help = "JSONL: the key that holds the text"},
    {"batch", MLA_FIELD_INT, AT(batch), 0, 0, 1 << 20, .help = "sequences at a time; 0: as in training"},
    {"sequence", MLA_FIELD_INT, AT(sequence), 0, 0, 1 << 30,
     .help = "tokens that are seen together; 0: as in training"},
    {"no-bos", MLA_FIELD_BOOL, AT(no_bos),
     .help = "texts: leave out what the tokenizer puts at the beginning (and end) of each; they follow each other"},
    {"precision", MLA_FIELD_ENUM, AT(precision), .names = mla_use_precisions,
     .help = "of the matrix products; auto: as in training, f32 for a model that was imported"},
    MLA_LABEL_FIGURE_FIELDS(AT(figures)),
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the result as JSON"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* ---- what is evaluated on: texts, a token file, or the data of the model's own run */

typedef struct {
    mla_dataset own;      /* or */
    mla_token_file *file; /* or */
    mla_text_ids ids;     /* of texts */
    mla_token_stream stream;
    mla_packing *packing; /* of the stream; NULL: cut into sequences */
    int64_t tokens;       /* that stand for stream.bytes */
    double entropy;       /* of a synthetic source, nats per token; NaN otherwise */
} material;

static void free_material(material *m) {
    mla_packing_destroy(m->packing);
    mla_dataset_close(&m->own);
    mla_token_file_close(m->file);
    mla_text_ids_free(&m->ids);
}

static mla_status open_texts(const mla_call *call, const mla_loaded *l, material *m) {
    const options *o = call->options;
    const mla_status status = mla_loaded_encode(call->context, l, &(mla_texts){call->operands, o->field, o->no_bos},
                                                &m->ids);
    m->stream = m->ids.stream;
    m->tokens = m->ids.targets;
    return status;
}

static mla_status open_tokens(const mla_call *call, const mla_loaded *l, const char *path, material *m) {
    const mla_status status = mla_loaded_open_tokens(call->context, l, path, &m->file);
    if (status) return status;
    m->stream = *mla_token_file_stream(m->file, MLA_HELD_OUT);
    m->tokens = m->stream.count;
    return MLA_OK;
}

/* The held-out data of the run that made the checkpoint. */
static mla_status open_own(const mla_call *call, const mla_loaded *l, const mla_recipe *recipe, material *m) {
    char dir[PATH_MAX], path[PATH_MAX];
    mla_loaded_own_tokens(l, recipe, path);
    if (*path) return open_tokens(call, l, path, m);
    if (!recipe->data.synthetic.tokens)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "%s: there is no tokens.h5 beside it; name what to evaluate "
                        "on: --tokens FILE.h5, or text files",
                        mla_checkpoint_path(l->checkpoint));
    mla_loaded_folder(l, dir);
    const mla_status status = mla_dataset_open(call->context, &m->own, recipe, dir, MLA_TEXT_PREPARE_MISSING);
    m->stream = m->own.held_out;
    m->entropy = m->own.entropy;
    return status;
}

static mla_status open_material(const mla_call *call, const mla_loaded *l, const mla_recipe *recipe, material *m) {
    const options *o = call->options;
    if (o->tokens && call->operands->count)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "give either --tokens or text files, not both");
    if (call->operands->count) return open_texts(call, l, m);
    if (o->no_bos)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--no-bos is for texts; a token file has what mla prepare put in it");
    return o->tokens ? open_tokens(call, l, o->tokens, m) : open_own(call, l, recipe, m);
}

/* ---- the result */

typedef struct {
    mla_evaluation evaluation;
    double bits_per_byte, seconds;
    int64_t sequence;
    mla_dtype precision;
} result;

static const char *precision_word(const result *r) { return r->precision == MLA_BF16 ? "bf16" : "f32"; }

static void eval_print_json(const mla_call *call, const mla_loaded *l, const material *m, const result *r) {
    json_t *json = json_object();
    json_object_set_new(json, "checkpoint", json_string(mla_checkpoint_path(l->checkpoint)));
    json_object_set_new(json, "tokens", json_integer(r->evaluation.tokens));
    json_object_set_new(json, "bytes", m->stream.bytes ? json_integer(m->stream.bytes) : json_null());
    json_object_set_new(json, "sequence", json_integer(r->sequence));
    json_object_set_new(json, "precision", json_string(precision_word(r)));
    mla_output_number(json, "loss", r->evaluation.loss);
    mla_output_number(json, "perplexity", exp(r->evaluation.loss));
    mla_output_number(json, "bits_per_byte", r->bits_per_byte);
    mla_output_number(json, "entropy", m->entropy);
    mla_output_number(json, "seconds", r->seconds);
    mla_output_print(call->out, json);
}

static void eval_print_text(const mla_call *call, const mla_loaded *l, const material *m, const result *r) {
    fprintf(call->out, "checkpoint       %s\n", mla_checkpoint_path(l->checkpoint));
    fprintf(call->out, "loss             %.4f nats per token over %lld tokens, in %s\n", r->evaluation.loss,
            (long long)r->evaluation.tokens, precision_word(r));
    fprintf(call->out, "perplexity       %.3f\n", exp(r->evaluation.loss));
    if (isfinite(r->bits_per_byte) && m->stream.bytes)
        fprintf(call->out, "bits per byte    %.4f over %lld bytes\n", r->bits_per_byte, (long long)m->stream.bytes);
    else if (isfinite(r->bits_per_byte)) fprintf(call->out, "bits per byte    %.4f\n", r->bits_per_byte);
    if (isfinite(m->entropy)) fprintf(call->out, "source entropy   %.4f nats per token\n", m->entropy);
    fprintf(call->out, "speed            %.0f tokens/s\n", (double)r->evaluation.tokens / r->seconds);
}

/* ---- running */

static mla_status check_sequence(mla_context *context, int64_t sequence, const mla_model_config *config) {
    if (sequence <= config->max_position_embeddings) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "--sequence %lld: the model has %lld positions (max_position_embeddings)", (long long)sequence,
                    (long long)config->max_position_embeddings);
}

static int64_t eval_smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* As in training; texts that are apart stay so. */
static mla_status pack(const mla_call *call, const mla_recipe *recipe, material *m, int64_t sequence) {
    const mla_recipe_packing packing = recipe->data.packing;
    if (m->ids.documents) return mla_packing_create(call->context, &m->packing, &m->stream, sequence);
    if (packing == MLA_PACKING_STREAM || (packing == MLA_PACKING_AUTO && !m->stream.answers)) return MLA_OK;
    return mla_packing_create(call->context, &m->packing, &m->stream, sequence);
}

static mla_status choose_precision(const mla_call *call, const mla_loaded *l, mla_dtype *out) {
    mla_recipe_precision wanted;
    const mla_status status = mla_loaded_precision(call->context, l, ((const options *)call->options)->precision,
                                                   &wanted);
    *out = status ? MLA_F32 : mla_precision_choose(call->context, wanted);
    return status;
}

static mla_status eval_measure(const mla_call *call, const mla_loaded *l, const mla_recipe *recipe, material *m,
                               result *r) {
    const options *o = call->options;
    const mla_model_config *c = &l->model->config;
    const int64_t usual = recipe->train.microbatch ? recipe->train.microbatch : recipe->train.batch;
    const int64_t batch = o->batch ? o->batch : usual;
    mla_tape *tape = NULL;
    r->sequence = o->sequence ? o->sequence : eval_smaller(recipe->train.sequence, c->max_position_embeddings);
    mla_status status = choose_precision(call, l, &r->precision);
    if (!status) status = check_sequence(call->context, r->sequence, c);
    if (!status) status = pack(call, recipe, m, r->sequence);
    if (!status) status = mla_tape_create(call->context, &tape, NULL);
    const double begin = mla_seconds();
    if (!status)
        status = mla_evaluate(tape, l->model,
                              &(mla_evaluation_data){&m->stream, m->packing, batch, r->sequence, r->precision}, 0,
                              &r->evaluation);
    r->seconds = mla_seconds() - begin;
    const mla_token_stream counted = {.count = m->tokens, .bytes = m->stream.bytes};
    r->bits_per_byte = mla_bits_per_byte(r->evaluation.loss, &counted);
    mla_tape_destroy(tape);
    return status;
}

/* ---- a mix: each part by itself, and the mean by weight */

typedef struct {
    char *path;
    double weight;
    result r;
    double bytes_per_token;
} eval_part;

/* Its token file: its own, or what the run has prepared of its text. */
static mla_status measure_part(const mla_call *call, const mla_loaded *l, const mla_recipe *recipe, int k,
                               eval_part *part) {
    char dir[PATH_MAX], path[PATH_MAX + 32];
    material m = {.entropy = NAN};
    mla_loaded_folder(l, dir);
    mla_status status = mla_recipe_mix_entry(call->context, "", recipe->data.mix.items[k], &part->path, &part->weight);
    if (status) return status;
    if (mla_ends_with(part->path, ".h5")) snprintf(path, sizeof path, "%s", part->path);
    else snprintf(path, sizeof path, "%s/part-%d/tokens.h5", dir, k + 1);
    part->r = (result){.evaluation.loss = NAN, .bits_per_byte = NAN};
    status = open_tokens(call, l, path, &m);
    if (!status && m.stream.count > 1) status = eval_measure(call, l, recipe, &m, &part->r);
    part->bytes_per_token = m.stream.bytes && m.stream.count ? (double)m.stream.bytes / (double)m.stream.count : NAN;
    free_material(&m);
    return status;
}

/* As mla_mix_mean and mla_mix_bytes_per_token do it in training. */
static result mean_of(const eval_part *parts, int64_t count) {
    double weights = 0, loss = 0, bytes = 0;
    result mean = {.sequence = parts[0].r.sequence};
    for (int64_t k = 0; k < count; k++) {
        const result *r = &parts[k].r;
        mean.seconds += r->seconds;
        mean.evaluation.tokens += r->evaluation.tokens;
        if (!isfinite(r->evaluation.loss)) continue;
        weights += parts[k].weight;
        loss += parts[k].weight * r->evaluation.loss;
        bytes += parts[k].weight * parts[k].bytes_per_token;
    }
    mean.evaluation.loss = weights > 0 ? loss / weights : NAN;
    mean.bits_per_byte = loss / M_LN2 / bytes;
    return mean;
}

static void print_parts_json(const mla_call *call, const eval_part *parts, int64_t count) {
    const result mean = mean_of(parts, count);
    json_t *json = json_object(), *list = json_array();
    mla_output_number(json, "loss", mean.evaluation.loss);
    mla_output_number(json, "perplexity", exp(mean.evaluation.loss));
    mla_output_number(json, "bits_per_byte", mean.bits_per_byte);
    json_object_set_new(json, "tokens", json_integer(mean.evaluation.tokens));
    mla_output_number(json, "seconds", mean.seconds);
    for (int64_t k = 0; k < count; k++) {
        json_t *part = json_object();
        json_object_set_new(part, "path", json_string(parts[k].path));
        mla_output_number(part, "weight", parts[k].weight);
        json_object_set_new(part, "tokens", json_integer(parts[k].r.evaluation.tokens));
        mla_output_number(part, "loss", parts[k].r.evaluation.loss);
        mla_output_number(part, "bits_per_byte", parts[k].r.bits_per_byte);
        json_array_append_new(list, part);
    }
    json_object_set_new(json, "parts", list);
    mla_output_print(call->out, json);
}

static void print_parts(const mla_call *call, const mla_loaded *l, const eval_part *parts, int64_t count) {
    const result mean = mean_of(parts, count);
    const material m = {.entropy = NAN};
    eval_print_text(call, l, &m, &mean);
    for (int64_t k = 0; k < count; k++)
        fprintf(call->out, "part %-11lld %s: loss %.4f over %lld tokens, %.4f bits per byte\n", (long long)k + 1,
                parts[k].path, parts[k].r.evaluation.loss, (long long)parts[k].r.evaluation.tokens,
                parts[k].r.bits_per_byte);
}

static mla_status evaluate_mix(const mla_call *call, const mla_loaded *l, const mla_recipe *recipe) {
    const int64_t count = recipe->data.mix.count;
    eval_part parts[MLA_MOST_PARTS] = {0};
    mla_status status = MLA_OK;
    for (int k = 0; k < count && !status; k++) status = measure_part(call, l, recipe, k, &parts[k]);
    if (!status && ((const options *)call->options)->json) print_parts_json(call, parts, count);
    else if (!status) print_parts(call, l, parts, count);
    for (int k = 0; k < count; k++) free(parts[k].path);
    return status;
}

/* The recipe of the checkpoint; defaults where it has none. */
static mla_status read_recipe(mla_context *context, const mla_loaded *l, mla_recipe *recipe) {
    const char *json = mla_loaded_recipe(l);
    return json ? mla_recipe_parse_json(context, mla_loaded_path(l), json, recipe)
                : mla_recipe_default(context, recipe);
}

/* On tables, on --tokens, or on what the run of the model held out. */
static mla_status evaluate_labels(const mla_call *call, const mla_loaded *l, const mla_recipe *recipe) {
    const options *o = call->options;
    char dir[PATH_MAX], path[PATH_MAX + 16];
    mla_eval_labels_options labels = {
        .tokens = o->tokens,
        .sequence = o->sequence ? o->sequence
                                : eval_smaller(recipe->train.sequence, l->model->config.max_position_embeddings),
        .json = o->json,
        .figures = &o->figures};
    mla_loaded_folder(l, dir);
    snprintf(path, sizeof path, "%s/tokens.h5", dir);
    if (strcmp(o->field, "text")) labels.field = o->field;
    if (o->tokens && call->operands->count)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "give either --tokens or text files, not both");
    if (o->figures.out && o->load.adapter.count)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--out: merge the adapters into the model first (mla merge)");
    if (!o->tokens && !call->operands->count) labels.tokens = recipe->data.tokens ? recipe->data.tokens : path;
    mla_status status = choose_precision(call, l, &labels.precision);
    if (!status) status = check_sequence(call->context, labels.sequence, &l->model->config);
    return status ? status : mla_eval_labels(call, l, recipe, &labels);
}

static mla_status evaluate_likelihood(const mla_call *call, const mla_loaded *l) {
    const options *o = call->options;
    mla_scoring_options scoring = {
        .samples = o->samples, .sequence = o->sequence, .no_bos = o->no_bos, .json = o->json};
    mla_status status = choose_precision(call, l, &scoring.precision);
    if (!status) status = check_sequence(call->context, o->sequence, &l->model->config);
    if (status) return status;
    return o->choices ? mla_eval_choices(call, l, o->choices, o->delimiter, &scoring)
                      : mla_eval_rolling(call, l, o->field, &scoring);
}

static mla_status evaluate(const mla_call *call, const mla_loaded *l) {
    const options *o = call->options;
    mla_recipe recipe;
    material m = {.entropy = NAN};
    result r;
    mla_status status = read_recipe(call->context, l, &recipe);
    if (status) return status;
    if (o->choices || o->rolling) {
        status = evaluate_likelihood(call, l);
        mla_recipe_free(&recipe);
        return status;
    }
    if (l->model->config.head->labels) {
        status = evaluate_labels(call, l, &recipe);
        mla_recipe_free(&recipe);
        return status;
    }
    if (mla_label_figures_given(&o->figures)) {
        mla_recipe_free(&recipe);
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "%s: its head gives no labels; --at-fpr, --positive, "
                        "--bootstrap, --seed, --plot, --choose and --out are for those that do",
                        mla_checkpoint_path(l->checkpoint));
    }
    if (recipe.data.mix.count && !o->tokens && !call->operands->count) {
        status = evaluate_mix(call, l, &recipe);
        mla_recipe_free(&recipe);
        return status;
    }
    status = open_material(call, l, &recipe, &m);
    if (!status) status = eval_measure(call, l, &recipe, &m, &r);
    if (!status) (o->json ? eval_print_json : eval_print_text)(call, l, &m, &r);
    free_material(&m);
    mla_recipe_free(&recipe);
    return status;
}

static mla_status write_logits(const mla_call *call, const mla_loaded *l) {
    const options *o = call->options;
    int64_t shape[3];
    const mla_status status = mla_logits_write(call->context, l->model, o->tokens, o->logits, shape);
    if (status) return status;
    if (!o->json) {
        fprintf(call->out, "logits           %lld x %lld x %lld, f32, in %s\n", (long long)shape[0],
                (long long)shape[1], (long long)shape[2], o->logits);
        return MLA_OK;
    }
    json_t *json = json_object();
    json_object_set_new(json, "logits", json_string(o->logits));
    json_object_set_new(json, "shape",
                        json_pack("[I,I,I]", (json_int_t)shape[0], (json_int_t)shape[1], (json_int_t)shape[2]));
    mla_output_print(call->out, json);
    return MLA_OK;
}

/* What belongs to another way to evaluate than the one that is asked for. */
static mla_status check_options(const mla_call *call) {
    const options *o = call->options;
    const bool texts = call->operands->count;
    const char *wrong = NULL;
    if (o->choices && (o->rolling || texts))
        wrong = "--choices FILE.jsonl is evaluated alone: without --rolling, and no text";
    if ((o->choices || o->rolling) && (o->tokens || o->logits || o->batch))
        wrong = "--tokens, --logits and --batch do not go with --choices and --rolling";
    if (o->rolling && !texts && !wrong) wrong = "--rolling is for texts: name them";
    if (mla_label_figures_given(&o->figures) && (o->choices || o->rolling))
        wrong =
            "what is said of labels (--bootstrap, --plot, --choose and the like) does not go with --choices and --rolling";
    if (o->samples && !o->choices && !o->rolling) wrong = "--samples is for --choices and --rolling";
    if (o->logits && o->precision == MLA_USE_BF16) wrong = "--logits writes those of f32: leave out --precision bf16";
    if (!o->choices && strcmp(o->delimiter, " ")) wrong = "--delimiter is for --choices";
    if (o->choices && strcmp(o->field, "text")) wrong = "--field is for texts; --choices has its own keys";
    return wrong ? mla_fail(call->context, MLA_ERROR_ARGUMENT, "%s", wrong) : MLA_OK;
}

static mla_status eval_run(const mla_call *call) {
    const options *o = call->options;
    if (o->logits && (!o->tokens || call->operands->count || !strcmp(o->logits, o->tokens)))
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--logits OUT.h5 needs --tokens IDS.h5, another file with a dataset ids, and no text");
    mla_loaded l = {0};
    mla_status status = check_options(call);
    if (!status) status = mla_load_model(call->context, &l, &o->load);
    if (!status) status = o->logits ? write_logits(call, &l) : evaluate(call, &l);
    mla_loaded_close(&l);
    return status;
}

const mla_command mla_command_eval = {
    .name = "eval",
    .summary =
        "Measure a model on held-out text: loss, perplexity, bits per byte, or accuracy and F1; or write its logits",
    .operands = "[TEXT|-]...",
    .min_operands = 0,
    .max_operands = INT64_MAX,
    .example = "  mla eval --checkpoint runs/quickstart\n"
               "  mla eval --checkpoint runs/quickstart/step-00000400.h5 notes.txt 'letters/*.txt'\n"
               "  mla eval --checkpoint runs/quickstart --choices questions.jsonl --samples scores.jsonl\n"
               "  git log | mla eval --checkpoint runs/quickstart -\n"
               "  mla eval --checkpoint runs/mail test.csv --bootstrap 1000 --plot mail.svg\n"
               "  mla eval --checkpoint runs/quickstart --tokens ids.h5 --logits logits.h5\n",
    .options = &table,
    .run = eval_run,
};
