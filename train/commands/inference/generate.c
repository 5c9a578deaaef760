/* mla generate: text from a model, as it comes. */
#include "autograd/base/file.h"
#include "autograd/base/utf8.h"
#include "data/text/chat_encoder.h"
#include "train/commands/commands.h"
#include "train/commands/load.h"
#include "train/commands/report.h"
#include "train/hugging_face/chat_files.h"
#include "train/inference/generation.h"
#include "train/recipe/recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_PROMPT = 64 << 20 }; /* bytes */

typedef struct {
    mla_load_options load;
    char *prompt, *prompt_file, *date;
    int64_t tokens, top_k, seed;
    double temperature, top_p;
    mla_chat_template chat_template;
    bool chat, no_bos, special, greedy, no_cache, expanded, json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    MLA_LOAD_FIELDS(AT(load)),
    {"prompt", MLA_FIELD_STRING, AT(prompt), .help = "the text to continue; default: the start of a document"},
    {"prompt-file", MLA_FIELD_STRING, AT(prompt_file), .help = "a file with that text; -: the standard input"},
    {"chat", MLA_FIELD_BOOL, AT(chat), .help = "the prompt is what a user says in a conversation: answer it"},
    {"template", MLA_FIELD_ENUM, AT(chat_template), .names = mla_chat_template_names,
     .help = "of the conversation; auto: that of the model's recipe, or its own"},
    {"no-bos", MLA_FIELD_BOOL, AT(no_bos),
     .help = "do not begin with the tokens that the tokenizer puts before texts, if any"},
    {"special", MLA_FIELD_BOOL, AT(special),
     .help = "take special tokens that are spelled out, as <|endoftext|>, for the tokens, not for text"},
    {"date", MLA_FIELD_STRING, AT(date), .help = "what the template gets for today's date, as 2024-07-26"},
    {"tokens", MLA_FIELD_INT, AT(tokens), 200, 1, 1 << 30, .help = "how many to generate at most"},
    {"temperature", MLA_FIELD_FLOAT, AT(temperature), 0.8, 0, 1e6, .help = "divides the logits; 0: greedy"},
    {"top-k", MLA_FIELD_INT, AT(top_k), 0, 0, 1 << 30, .help = "draw from the k most probable tokens; 0: all"},
    {"top-p", MLA_FIELD_FLOAT, AT(top_p), 0.95, 1e-6, 1,
     .help = "draw from the fewest with this share of the probability"},
    {"seed", MLA_FIELD_INT, AT(seed), 0, 0, INT32_MAX, .help = "another seed, another text"},
    {"greedy", MLA_FIELD_BOOL, AT(greedy), .help = "always the most probable token, as --temperature 0"},
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

/* As the recipe of the model has it, where the options do not say. */
static mla_status read_recipe(const mla_call *call, const mla_loaded *l, mla_recipe *recipe) {
    const char *json = mla_checkpoint_recipe(l->checkpoint);
    return json ? mla_recipe_parse_json(call->context, mla_checkpoint_path(l->checkpoint), json, recipe) : MLA_OK;
}

static mla_status create_chat_encoder(const mla_call *call, const mla_loaded *l, mla_chat_encoder **out) {
    const options *o = call->options;
    mla_recipe recipe = {0};
    mla_chat_files files = {0};
    mla_status status = read_recipe(call, l, &recipe);
    const mla_chat_template chosen = o->chat_template == MLA_CHAT_AUTO ? recipe.data.chat_template : o->chat_template;
    if (!status && chosen == MLA_CHAT_AUTO)
        status = mla_chat_files_of_checkpoint(call->context, mla_checkpoint_hugging_face(l->checkpoint), &files);
    const mla_chat_options chat = {chosen, files.chat_template, files.tokens, o->date ? o->date : recipe.data.date};
    if (!status) status = mla_chat_encoder_create(call->context, out, l->tokenizer, &chat);
    mla_chat_files_free(&files);
    mla_recipe_free(&recipe);
    return status;
}

/* What a user says, and all that stands before the answer; *ending is what stands after it. */
static mla_status encode_chat(const mla_call *call, const mla_loaded *l, const char *text, int64_t length,
                              mla_id_list *out, int32_t *ending) {
    mla_chat_encoder *encoder = NULL;
    mla_chat chat = {0};
    mla_status status = create_chat_encoder(call, l, &encoder);
    if (!status) status = mla_chat_ask(call->context, text, length, &chat);
    if (!status) status = mla_chat_encode_prompt(call->context, encoder, "--prompt", &chat, out);
    if (!status) status = mla_chat_ending(call->context, encoder, ending);
    mla_chat_free(&chat);
    mla_chat_encoder_destroy(encoder);
    return status;
}

static mla_status append_ids(const mla_call *call, mla_id_list *out, const int32_t *ids, int64_t count) {
    const mla_status status = mla_grow(call->context, &out->ids, &out->capacity, out->count + count, sizeof *out->ids,
                                       "the prompt");
    for (int64_t i = 0; i < count && !status; i++) out->ids[out->count++] = ids[i];
    return status;
}

/* What the tokenizer puts before a text. What it puts behind one would be in the way: the text goes on. */
static mla_status begin_text(const mla_call *call, const mla_loaded *l, mla_id_list *out) {
    const mla_frame frame = mla_tokenizer_frame(l->tokenizer);
    if (((const options *)call->options)->no_bos) return MLA_OK;
    return append_ids(call, out, frame.before, frame.before_count);
}

static mla_status encode_text(const mla_call *call, const mla_loaded *l, const char *text, int64_t length,
                              mla_id_list *out, int32_t *ending) {
    if (((const options *)call->options)->chat) return encode_chat(call, l, text, length, out, ending);
    const bool special = ((const options *)call->options)->special;
    const mla_encoder_options kind = {.added = special ? MLA_ADDED_ALL : MLA_ADDED_PLAIN};
    mla_encoder *encoder = NULL;
    mla_status status = begin_text(call, l, out);
    if (!status) status = mla_encoder_create(call->context, &encoder, l->tokenizer, &kind);
    if (!status) status = mla_encoder_encode(call->context, encoder, text, length, out);
    mla_encoder_destroy(encoder);
    return status;
}

static mla_status encode_file(const mla_call *call, const mla_loaded *l, const char *path, mla_id_list *out,
                              int32_t *ending) {
    char *text = NULL;
    int64_t length = 0;
    mla_status status = mla_file_read(call->context, &text, &length, path, LONGEST_PROMPT);
    if (!status && !length)
        status = mla_fail(call->context, MLA_ERROR_ARGUMENT,
                          "%s: the prompt is empty; without --prompt-file the text "
                          "starts a new document",
                          path);
    if (!status) status = encode_text(call, l, text, length, out, ending);
    free(text);
    return status;
}

/* *ending: the token that ends the text. */
static mla_status encode_prompt(const mla_call *call, const mla_loaded *l, mla_id_list *out, int32_t *ending) {
    const options *o = call->options;
    const int32_t separator = *ending = mla_tokenizer_separator(l->tokenizer);
    if (o->prompt && o->prompt_file)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "give either --prompt or --prompt-file, not both");
    if (o->prompt_file) return encode_file(call, l, o->prompt_file, out, ending);
    if (o->prompt) return encode_text(call, l, o->prompt, (int64_t)strlen(o->prompt), out, ending);
    if (o->chat)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--chat needs --prompt or --prompt-file: what the user says");
    const mla_status status = begin_text(call, l, out);
    return status || out->count ? status : append_ids(call, out, &separator, 1);
}

/* ---- the text */

typedef struct {
    mla_context *context;
    const mla_tokenizer *tokenizer;
    FILE *out;   /* NULL: only collect */
    bool begins; /* what comes is a text of its own: an answer, a new document */
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
    status = (w->begins && w->ids.count == 1 ? mla_tokenizer_decode : mla_tokenizer_decode_on)(w->context, w->tokenizer,
                                                                                               &id, 1, &w->text);
    if (!status) show(w, false);
    return status;
}

/* ---- the result */

/* Tokens that were computed one by one, per second: the first comes with the prompt. */
static double rate(const mla_generation *g) { return g->tokens > 1 ? (double)(g->tokens - 1) / g->seconds : NAN; }

static void generate_print_json(const mla_call *call, const mla_loaded *l, const mla_id_list *prompt, const writer *w,
                                const mla_generation *g) {
    json_t *json = json_object(), *ids = json_array();
    for (int64_t i = 0; i < w->ids.count; i++) json_array_append_new(ids, json_integer(w->ids.ids[i]));
    json_object_set_new(json, "checkpoint", json_string(mla_checkpoint_path(l->checkpoint)));
    json_object_set_new(json, "prompt_tokens", json_integer(prompt->count));
    json_object_set_new(json, "tokens", json_integer(g->tokens));
    json_object_set_new(json, "ids", ids);
    json_object_set_new(json, "text", mla_report_text(call->context, &w->text));
    json_object_set_new(json, "end", json_string(ends[g->end]));
    mla_report_number(json, "prompt_seconds", g->prompt_seconds);
    mla_report_number(json, "tokens_per_second", rate(g));
    json_object_set_new(json, "cache_bytes_per_token", json_integer(mla_kv_cache_bytes_per_token(&l->model->config)));
    mla_report_print(call->out, json);
}

/* Beside the text, not in it. */
static void print_figures(const mla_call *call, const mla_loaded *l, const mla_generation *g) {
    const options *o = call->options;
    const mla_model_config *c = &l->model->config;
    fputc('\n', call->out);
    fflush(call->out);
    if (g->end == MLA_END_SEPARATOR) fprintf(stderr, "the model ended the %s\n", o->chat ? "answer" : "document");
    if (g->end == MLA_END_POSITIONS)
        fprintf(stderr, "stopped: the model has no more than %lld positions (max_position_embeddings)\n",
                (long long)c->max_position_embeddings);
    fprintf(stderr, "%lld tokens", (long long)g->tokens);
    if (isfinite(rate(g))) fprintf(stderr, ", %.0f per second", rate(g));
    fprintf(stderr, "; cache: %lld bytes per token (multi-head attention: %lld)\n",
            (long long)mla_kv_cache_bytes_per_token(c), (long long)mla_kv_cache_multi_head_bytes_per_token(c));
}

/* ---- running */

static mla_decode_form form_of(const options *o) {
    return o->no_cache ? MLA_DECODE_FULL : o->expanded ? MLA_DECODE_EXPANDED : MLA_DECODE_ABSORBED;
}

static mla_status generate(const mla_call *call, const mla_loaded *l, const mla_id_list *prompt, writer *w,
                           int32_t ending, mla_generation *g) {
    const options *o = call->options;
    const mla_generation_options request = {
        .prompt = prompt->ids,
        .prompt_count = prompt->count,
        .tokens = o->tokens,
        .vocabulary = mla_tokenizer_vocab_size(l->tokenizer),
        .ending = &ending,
        .sampling = {o->greedy ? 0 : o->temperature, o->top_k, o->top_p, (uint64_t)o->seed},
        .form = form_of(o),
        .token = take,
        .user = w};
    const mla_status status = mla_generate(call->context, l->model, &request, g);
    show(w, true);
    return status;
}

static mla_status run_loaded(const mla_call *call, const mla_loaded *l) {
    const options *o = call->options;
    mla_id_list prompt = {0};
    mla_generation g;
    writer w = {.context = call->context,
                .tokenizer = l->tokenizer,
                .out = o->json ? NULL : call->out,
                .begins = o->chat || !(o->prompt || o->prompt_file)};
    int32_t ending;
    mla_status status = encode_prompt(call, l, &prompt, &ending);
    if (!status) status = generate(call, l, &prompt, &w, ending, &g);
    if (!status && o->json) generate_print_json(call, l, &prompt, &w, &g);
    if (!status && !o->json) print_figures(call, l, &g);
    free(prompt.ids);
    free(w.ids.ids);
    free(w.text.bytes);
    return status;
}

static mla_status generate_run(const mla_call *call) {
    const options *o = call->options;
    mla_loaded l;
    if (o->no_cache && o->expanded)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "give either --no-cache or --expanded, not both");
    if (o->chat && o->no_bos)
        return mla_fail(
            call->context, MLA_ERROR_ARGUMENT,
            "--no-bos: what a conversation begins with is part of its template; choose another by --template");
    if (o->chat && o->special)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--special: what is said in a conversation is text, and only its template puts special tokens");
    mla_status status = mla_load_model(call->context, &l, &o->load);
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
    .example = "  mla generate --checkpoint runs/quickstart --prompt 'The licensee may' --tokens 100\n"
               "  mla generate --checkpoint runs/quickstart --prompt-file start.txt --temperature 1 --top-k "
               "40 --seed 7\n"
               "  mla generate --checkpoint runs/quickstart --adapter runs/legal --adapter runs/terse:0.5\n"
               "  mla generate --checkpoint runs/chat --chat --prompt 'What may the licensee do?'\n"
               "  mla generate --checkpoint runs/quickstart --greedy --json\n",
    .options = &table,
    .run = generate_run,
};
