/* mla generate: text from a model, as it comes; or the texts of many prompts, each when it and those before it have
 * ended. */
#include "autograd/base/clock.h"
#include "autograd/base/utf8.h"
#include "train/commands/commands.h"
#include "train/commands/inference/prompt.h"
#include "train/commands/output.h"
#include "train/inference/generation.h"
#include "train/run/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_load_options load;
    mla_prompt_options how;
    char *prompt, *prompt_file, *prompts;
    int64_t tokens, top_k, seed, batch;
    double temperature, top_p;
    mla_use_precision precision, cache_precision;
    bool greedy, no_cache, expanded, json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    MLA_LOAD_FIELDS(AT(load)),
    {"prompt", MLA_FIELD_STRING, AT(prompt), .help = "the text to continue; default: the start of a document"},
    {"prompt-file", MLA_FIELD_STRING, AT(prompt_file), .help = "a file with that text; -: the standard input"},
    {"prompts", MLA_FIELD_STRING, AT(prompts),
     .help = "a file with a prompt a line, or JSONL with prompt or messages, and id; -: the standard input"},
    {"batch", MLA_FIELD_INT, AT(batch), 8, 1, MLA_MOST_SEQUENCES, .help = "of --prompts, how many at a time"},
    {"chat", MLA_FIELD_BOOL, AT(how.chat), .help = "the prompt is what a user says in a conversation: answer it"},
    {"template", MLA_FIELD_ENUM, AT(how.chat_template), .names = mla_chat_template_names,
     .help = "of the conversation; auto: that of the model's recipe, or its own"},
    {"no-bos", MLA_FIELD_BOOL, AT(how.no_bos),
     .help = "do not begin with the tokens that the tokenizer puts before texts, if any"},
    {"special", MLA_FIELD_BOOL, AT(how.special),
     .help = "take special tokens that are spelled out, as <|endoftext|>, for the tokens, not for text"},
    {"date", MLA_FIELD_STRING, AT(how.date), .help = "what the template gets for today's date, as 2024-07-26"},
    {"tokens", MLA_FIELD_INT, AT(tokens), 200, 1, 1 << 30, .help = "how many to generate at most"},
    {"temperature", MLA_FIELD_FLOAT, AT(temperature), 0.8, 0, 1e6, .help = "divides the logits; 0: greedy"},
    {"top-k", MLA_FIELD_INT, AT(top_k), 0, 0, 1 << 30, .help = "draw from the k most probable tokens; 0: all"},
    {"top-p", MLA_FIELD_FLOAT, AT(top_p), 0.95, 1e-6, 1,
     .help = "draw from the fewest with this share of the probability"},
    {"seed", MLA_FIELD_INT, AT(seed), 0, 0, INT32_MAX, .help = "another seed, another text"},
    {"greedy", MLA_FIELD_BOOL, AT(greedy), .help = "always the most probable token, as --temperature 0"},
    {"precision", MLA_FIELD_ENUM, AT(precision), .names = mla_use_precisions,
     .help = "of the matrix products; auto: as in training, f32 for a model that was imported"},
    {"cache-precision", MLA_FIELD_ENUM, AT(cache_precision), .names = mla_use_precisions,
     .help = "of what is cached of earlier tokens; bf16 takes half of the memory; auto: that of the products"},
    {"no-cache", MLA_FIELD_BOOL, AT(no_cache),
     .help = "for checks: run the whole text through the model for each token"},
    {"expanded", MLA_FIELD_BOOL, AT(expanded),
     .help = "for checks: expand keys and values from the cached latents each time"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the ids, the text and the figures as JSON, at the end"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

static const char *const ends[] = {
    [MLA_END_TOKENS] = "tokens", [MLA_END_SEPARATOR] = "separator", [MLA_END_POSITIONS] = "positions"};

/* ---- the prompt */

static mla_status read_prompt(const options *o, mla_prompter *p, mla_prompt *out) {
    if (o->prompt_file) return mla_prompt_of_file(p, o->prompt_file, out);
    return mla_prompt_of_text(p, "--prompt", o->prompt, o->prompt ? (int64_t)strlen(o->prompt) : 0, out);
}

/* The prompts of a call, one where it has no list of them. */
static mla_status read_prompts(const mla_call *call, mla_prompter *p, mla_prompt_list *out) {
    const options *o = call->options;
    if (o->prompts) return mla_prompts_read(p, o->prompts, out);
    out->items = mla_alloc(call->context, 1, sizeof *out->items, "the prompt");
    if (!out->items) return MLA_ERROR_MEMORY;
    out->count = 1;
    return read_prompt(o, p, out->items);
}

/* ---- the text */

typedef struct {
    struct job *job;
    mla_context *context;
    const mla_tokenizer *tokenizer;
    FILE *out; /* NULL: only collect */
    const mla_prompt *prompt;
    bool ended;
    mla_id_list ids;
    mla_bytes text;
    int64_t shown; /* bytes of the text that are out */
} writer;

/* Shows what is there, but for a character of which bytes are still to come. */
static void show(writer *w, bool all) {
    const int64_t left = w->text.count - w->shown;
    const int64_t ready = left - (all ? 0 : mla_utf8_unfinished(w->text.bytes + w->shown, left));
    if (!w->out || ready <= 0) return;
    fwrite(w->text.bytes + w->shown, 1, (size_t)ready, w->out);
    fflush(w->out);
    w->shown += ready;
}

static mla_status take(void *user, int32_t id, const float *logits) {
    writer *w = user;
    (void)logits;
    mla_status status = mla_grow(w->context, &w->ids.ids, &w->ids.capacity, w->ids.count + 1, sizeof *w->ids.ids,
                                 "the text");
    if (status) return status;
    w->ids.ids[w->ids.count++] = id;
    status = (w->prompt->begins && w->ids.count == 1 ? mla_tokenizer_decode : mla_tokenizer_decode_on)(
        w->context, w->tokenizer, &id, 1, &w->text);
    if (!status) show(w, false);
    return status;
}

/* ---- the result */

typedef struct job {
    const mla_call *call;
    const mla_loaded *loaded;
    mla_prompt_list prompts;
    writer *writers; /* of each prompt, and so are the others */
    mla_generation_options *requests;
    mla_generation *results;
    mla_generation_plan plan;
    int64_t printed; /* of the texts, in the order of their prompts */
} job;

/* Tokens that were computed one by one, per second: the first comes with the prompt. */
static double rate(const mla_generation *g) { return g->tokens > 1 ? (double)(g->tokens - 1) / g->seconds : NAN; }

static json_t *text_as_json(const writer *w, const mla_generation *g) {
    json_t *json = json_object(), *ids = json_array();
    for (int64_t i = 0; i < w->ids.count; i++) json_array_append_new(ids, json_integer(w->ids.ids[i]));
    json_object_set_new(json, "prompt_tokens", json_integer(w->prompt->ids.count));
    json_object_set_new(json, "tokens", json_integer(g->tokens));
    json_object_set_new(json, "ids", ids);
    json_object_set_new(json, "text", mla_output_text(w->context, &w->text));
    json_object_set_new(json, "end", json_string(ends[g->end]));
    mla_output_number(json, "prompt_seconds", g->prompt_seconds);
    mla_output_number(json, "tokens_per_second", rate(g));
    return json;
}

static int64_t cached_bytes(const job *j) {
    return mla_kv_cache_bytes_per_token(&j->loaded->model->config, j->plan.cache);
}

static void generate_print_json(const job *j) {
    const mla_call *call = j->call;
    const mla_loaded *l = j->loaded;
    json_t *json = json_object(), *text = text_as_json(j->writers, j->results);
    json_object_set_new(json, "checkpoint", json_string(mla_checkpoint_path(l->checkpoint)));
    json_object_update(json, text);
    json_object_set_new(json, "cache_bytes_per_token", json_integer(cached_bytes(j)));
    json_object_set_new(json, "precision", json_string(mla_dtype_name(j->plan.precision)));
    json_object_set_new(json, "cache_precision", json_string(mla_dtype_name(j->plan.cache)));
    json_decref(text);
    mla_output_print(call->out, json);
}

/* Beside the text, not in it. */
static void print_figures(const job *j) {
    const mla_call *call = j->call;
    const mla_loaded *l = j->loaded;
    const mla_generation *g = j->results;
    const options *o = call->options;
    const mla_model_config *c = &l->model->config;
    fputc('\n', call->out);
    fflush(call->out);
    if (g->end == MLA_END_SEPARATOR) fprintf(stderr, "the model ended the %s\n", o->how.chat ? "answer" : "document");
    if (g->end == MLA_END_POSITIONS)
        fprintf(stderr, "stopped: the model has no more than %lld positions (max_position_embeddings)\n",
                (long long)c->max_position_embeddings);
    fprintf(stderr, "%lld tokens", (long long)g->tokens);
    if (isfinite(rate(g))) fprintf(stderr, ", %.0f per second", rate(g));
    fprintf(stderr, ", in %s", mla_dtype_name(j->plan.precision));
    fprintf(stderr, "; cache: %lld bytes per token (multi-head attention: %lld)\n", (long long)cached_bytes(j),
            (long long)mla_kv_cache_multi_head_bytes_per_token(c, j->plan.cache));
}

/* ---- many texts */

static void print_line(const job *j, int64_t i) {
    const writer *w = &j->writers[i];
    json_t *json = json_object(), *text = text_as_json(w, &j->results[i]);
    json_object_set_new(json, "index", json_integer(i));
    if (w->prompt->id) json_object_set(json, "id", w->prompt->id);
    json_object_update(json, text);
    json_decref(text);
    mla_output_print(j->call->out, json);
}

static void print_under_title(const job *j, int64_t i) {
    const writer *w = &j->writers[i];
    fprintf(j->call->out, "%s==> %lld <==\n", i ? "\n" : "", (long long)(i + 1));
    fwrite(w->text.bytes, 1, (size_t)w->text.count, j->call->out);
    fputc('\n', j->call->out);
}

/* A text has ended: it is shown, and those that waited for it. */
static mla_status print_ended(void *user, const mla_generation *result) {
    writer *w = user;
    job *j = w->job;
    (void)result;
    w->ended = true;
    for (; j->printed < j->prompts.count && j->writers[j->printed].ended; j->printed++)
        if (((const options *)j->call->options)->json) print_line(j, j->printed);
        else print_under_title(j, j->printed);
    fflush(j->call->out);
    return MLA_OK;
}

static void print_total(const job *j, double seconds) {
    int64_t tokens = 0;
    for (int64_t i = 0; i < j->prompts.count; i++) tokens += j->results[i].tokens;
    fprintf(stderr, "%lld texts, %lld tokens, %.0f per second with their prompts, in %s\n", (long long)j->prompts.count,
            (long long)tokens, (double)tokens / seconds, mla_dtype_name(j->plan.precision));
}

/* ---- running */

static mla_decode_form form_of(const options *o) {
    return o->no_cache ? MLA_DECODE_FULL : o->expanded ? MLA_DECODE_EXPANDED : MLA_DECODE_ABSORBED;
}

static mla_generation_options request_of(const job *j, int64_t i) {
    const options *o = j->call->options;
    const mla_prompt *prompt = &j->prompts.items[i];
    return (mla_generation_options){
        .prompt = prompt->ids.ids,
        .prompt_count = prompt->ids.count,
        .tokens = o->tokens,
        .vocabulary = mla_tokenizer_vocab_size(j->loaded->tokenizer),
        .ending = &prompt->ending,
        .sampling = {o->greedy ? 0 : o->temperature, o->top_k, o->top_p, (uint64_t)o->seed, (uint64_t)i},
        .form = form_of(o),
        .token = take,
        .done = o->prompts ? print_ended : NULL,
        .user = &j->writers[i]};
}

static mla_status make_room(job *j) {
    const options *o = j->call->options;
    mla_context *context = j->call->context;
    const int64_t count = j->prompts.count;
    j->writers = mla_alloc(context, count, sizeof *j->writers, "the texts");
    j->requests = mla_alloc(context, count, sizeof *j->requests, "the texts");
    j->results = mla_alloc(context, count, sizeof *j->results, "the texts");
    if (!j->writers || !j->requests || !j->results) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        j->writers[i] = (writer){.job = j,
                                 .context = context,
                                 .tokenizer = j->loaded->tokenizer,
                                 .prompt = &j->prompts.items[i],
                                 .out = o->json || o->prompts ? NULL : j->call->out};
        j->requests[i] = request_of(j, i);
    }
    return MLA_OK;
}

static void free_job(job *j) {
    for (int64_t i = 0; j->writers && i < j->prompts.count; i++) {
        free(j->writers[i].ids.ids);
        free(j->writers[i].text.bytes);
    }
    free(j->writers);
    free(j->requests);
    free(j->results);
    mla_prompts_free(&j->prompts);
}

static void print_result(job *j, double seconds) {
    const options *o = j->call->options;
    show(j->writers, true);
    if (o->prompts) print_total(j, seconds);
    else if (o->json) generate_print_json(j);
    else print_figures(j);
}

static mla_status make_plan(job *j) {
    const options *o = j->call->options;
    mla_recipe_precision wanted;
    const mla_status status = mla_loaded_precision(j->call->context, j->loaded, o->precision, &wanted);
    if (status) return status;
    j->plan.batch = o->prompts ? o->batch : 1;
    j->plan.precision = mla_precision_choose_decoding(wanted);
    j->plan.cache = mla_cache_precision(o->cache_precision, j->plan.precision);
    return MLA_OK;
}

static mla_status run_loaded(const mla_call *call, const mla_loaded *l) {
    const options *o = call->options;
    mla_prompter prompter = {.context = call->context, .loaded = l, .options = o->how};
    job j = {.call = call, .loaded = l};
    mla_status status = read_prompts(call, &prompter, &j.prompts);
    if (!status) status = make_room(&j);
    if (!status) status = make_plan(&j);
    const double begin = mla_seconds();
    if (!status) status = mla_generate_all(call->context, l->model, j.prompts.count, j.requests, &j.plan, j.results);
    if (!status) print_result(&j, mla_seconds() - begin);
    free_job(&j);
    mla_prompter_free(&prompter);
    return status;
}

/* Options that do not go together. */
static mla_status check_options(const mla_call *call) {
    const options *o = call->options;
    if ((o->prompt != NULL) + (o->prompt_file != NULL) + (o->prompts != NULL) > 1)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "give one of --prompt, --prompt-file and --prompts, not both");
    if (o->how.chat && !o->prompt && !o->prompt_file && !o->prompts)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--chat needs --prompt, --prompt-file or --prompts: what the user says");
    if (o->prompts && (o->no_cache || o->expanded))
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--no-cache and --expanded check how one text is made: give them with --prompt, not --prompts");
    if (o->no_cache && o->cache_precision != MLA_USE_AS_TRAINED)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--cache-precision is of a cache, and --no-cache uses none: leave one of them out");
    if (o->no_cache && o->expanded)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "give either --no-cache or --expanded, not both");
    if (o->how.chat && o->how.no_bos)
        return mla_fail(
            call->context, MLA_ERROR_ARGUMENT,
            "--no-bos: what a conversation begins with is part of its template; choose another by --template");
    if (o->how.chat && o->how.special)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--special: what is said in a conversation is text, and only its template puts special tokens");
    return MLA_OK;
}

static mla_status generate_run(const mla_call *call) {
    const options *o = call->options;
    mla_loaded l;
    mla_status status = check_options(call);
    if (status) return status;
    status = mla_load_model(call->context, &l, &o->load);
    if (!status) status = mla_loaded_expect_tokenizer(call->context, &l);
    if (!status) status = run_loaded(call, &l);
    mla_loaded_close(&l);
    return status;
}

const mla_command mla_command_generate = {
    .name = "generate",
    .summary = "Continue a text with a model; the text goes to the output as it comes, figures to the errors",
    .operands = "",
    .min_operands = 0,
    .max_operands = 0,
    .example =
        "  mla generate --checkpoint runs/quickstart --prompt 'The licensee may' --tokens 100\n"
        "  mla generate --checkpoint runs/quickstart --prompt-file start.txt --temperature 1 --top-k "
        "40 --seed 7\n"
        "  mla generate --checkpoint runs/quickstart --adapter runs/legal --adapter runs/terse:0.5\n"
        "  mla generate --checkpoint runs/chat --chat --prompt 'What may the licensee do?'\n"
        "  mla generate --checkpoint runs/quickstart --greedy --json\n"
        "  mla generate --checkpoint runs/quickstart --prompts questions.jsonl --batch 16 --json >answers.jsonl\n",
    .options = &table,
    .run = generate_run,
};
