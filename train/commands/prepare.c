/* mla prepare: text to a token file. */
#include "train/run/prepare.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"

#include <string.h>

typedef struct {
    char *out, *tokenizer, *field, *held_out_text, *date;
    mla_list fields;
    int64_t vocab_size;
    double held_out;
    bool no_bos, special;
    mla_recipe_format format;
    mla_chat_template chat_template;
    mla_bad_lines_choice bad_lines;
    bool json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, AT(out), .help = "the token file to write; needed"},
    {"tokenizer", MLA_FIELD_STRING, AT(tokenizer), .text = "bpe",
     .help = "bytes, bpe, or a tokenizer.json or its folder"},
    {"vocab-size", MLA_FIELD_INT, AT(vocab_size), 4096, 257, 1 << 20, .help = "tokens of a new BPE"},
    {"held-out", MLA_FIELD_FLOAT, AT(held_out), 0.02, 0, 0.9, .help = "share of documents to evaluate on"},
    {"held-out-text", MLA_FIELD_STRING, AT(held_out_text),
     .help = "a file that gets the held-out documents as they are, to hold other programs against"},
    {"format", MLA_FIELD_ENUM, AT(format), .names = mla_recipe_formats,
     .help = "auto: files named as JSONL are; text: none is; jsonl: all are; chat: of conversations"},
    {"template", MLA_FIELD_ENUM, AT(chat_template), .names = mla_chat_template_names,
     .help = "chat: how conversations become text; auto: by the files beside the tokenizer, or its tokens"},
    {"fields", MLA_FIELD_WORDS, AT(fields),
     .help = "chat: keys of a line that hold a question and its answer: prompt=question,completion=answer"},
    {"date", MLA_FIELD_STRING, AT(date), .help = "chat: what a template gets for today's date, as 2024-07-26"},
    {"no-bos", MLA_FIELD_BOOL, AT(no_bos),
     .help = "leave out the tokens that the tokenizer puts at the beginning (and end) of texts"},
    {"special", MLA_FIELD_BOOL, AT(special),
     .help = "take special tokens that are spelled out, as <|endoftext|>, for the tokens, not for text"},
    {"field", MLA_FIELD_STRING, AT(field), .text = "text",
     .help = "JSONL: the key that holds the text; meta.text: one within another"},
    {"bad-lines", MLA_FIELD_ENUM, AT(bad_lines), .names = mla_bad_lines_names,
     .help = "JSONL and chat: lines that are broken or lack the field end it, or are left out and counted"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print as JSON"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

static double ratio(int64_t a, int64_t b) { return b ? (double)a / (double)b : 0; }

static void print_chat(FILE *out, const mla_prepare_report *r) {
    fprintf(out, "template         %s\n", r->chat_template);
    fprintf(out, "answers          %lld of the tokens, %.1f %%; %lld conversations have none and are left out\n",
            (long long)(r->train.answers + r->held_out.answers),
            100 * ratio(r->train.answers + r->held_out.answers, r->train.tokens + r->held_out.tokens),
            (long long)r->left_out);
}

static void print_report(FILE *out, const mla_prepare_report *r, const char *path) {
    const mla_prepare_count *t = &r->train, *h = &r->held_out;
    const int64_t bytes = t->bytes + h->bytes, tokens = t->tokens + h->tokens;
    fprintf(out, "documents        %lld, %lld of them held out\n", (long long)(t->documents + h->documents),
            (long long)h->documents);
    fprintf(out, "bytes            %lld, %.2f %% of them held out\n", (long long)bytes, 100 * ratio(h->bytes, bytes));
    fprintf(out, "vocabulary       %lld tokens\n", (long long)r->vocabulary_size);
    fprintf(out, "tokens           %lld for training, %lld held out\n", (long long)t->tokens, (long long)h->tokens);
    if (*r->chat_template) print_chat(out, r);
    else fprintf(out, "bytes per token  %.3f\n", ratio(bytes, tokens));
    if (r->bad.count) fprintf(out, "bad lines        %lld are left out\n", (long long)r->bad.count);
    fprintf(out, "token file       %s\n", path);
}

static json_t *split_json(const mla_prepare_count *count) {
    return json_pack("{s:I, s:I, s:I, s:I}", "documents", (json_int_t)count->documents, "bytes",
                     (json_int_t)count->bytes, "tokens", (json_int_t)count->tokens, "answers",
                     (json_int_t)count->answers);
}

static void print_json(const mla_call *call, const mla_prepare_report *r, const char *path) {
    json_t *bad = json_array();
    for (int64_t i = 0; i < r->bad.count && i < MLA_BAD_LINES_TOLD; i++)
        json_array_append_new(bad,
                              mla_output_text(call->context, &(mla_bytes){.bytes = (char *)(uintptr_t)r->bad.first[i],
                                                                          .count = (int64_t)strlen(r->bad.first[i])}));
    json_t *json = json_pack("{s:s, s:o, s:o, s:I, s:I, s:{s:I, s:o}}", "token_file", path, "train",
                             split_json(&r->train), "held_out", split_json(&r->held_out), "vocabulary",
                             (json_int_t)r->vocabulary_size, "without_answer", (json_int_t)r->left_out, "bad_lines",
                             "count", (json_int_t)r->bad.count, "first", bad);
    if (*r->chat_template) json_object_set_new(json, "template", json_string(r->chat_template));
    mla_output_print(call->out, json);
}

static mla_status prepare_run(const mla_call *call) {
    const options *o = call->options;
    if (!o->out)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "prepare needs --out FILE.h5, the token file to write");
    const mla_prepare_options prepare = {.sources = (const char *const *)call->operands->items,
                                         .source_count = call->operands->count,
                                         .format = o->format,
                                         .field = o->field,
                                         .chat_template = o->chat_template,
                                         .bad_lines = o->bad_lines,
                                         .no_bos = o->no_bos,
                                         .special = o->special,
                                         .fields = o->fields,
                                         .date = o->date,
                                         .tokenizer = o->tokenizer,
                                         .vocab_size = o->vocab_size,
                                         .held_out = o->held_out,
                                         .held_out_text = o->held_out_text};
    mla_prepare_report report;
    mla_status status = mla_prepare(call->context, &prepare, o->out, &report);
    if (status) return status;
    if (o->json) print_json(call, &report, o->out);
    else print_report(call->out, &report, o->out);
    return MLA_OK;
}

const mla_command mla_command_prepare = {
    .name = "prepare",
    .summary = "Turn text into a token file, with a new or an existing tokenizer",
    .operands = "SOURCE...",
    .min_operands = 1,
    .max_operands = INT64_MAX,
    .example = "  zcat logs/*.gz | mla prepare - --out logs.h5\n"
               "  mla prepare /usr/share/common-licenses '/usr/share/doc/*/copyright' --out licences.h5\n"
               "  mla prepare chats.jsonl --format chat --tokenizer runs/first/tokenizer.json --out chats.h5\n"
               "  mla prepare cases.jsonl --field body --tokenizer tokenizer.json --out cases.h5\n",
    .options = &table,
    .run = prepare_run,
};
