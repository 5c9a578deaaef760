/* mla data show: the tokens that a model is trained on, as they are, with the ones that it learns marked. */
#include "autograd/base/file.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"
#include "train/run/finetune.h"
#include "train/run/mix.h"
#include "train/run/prepare.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int64_t samples, sequence;
    mla_recipe_format format;
    mla_chat_template chat_template;
    mla_bad_lines_choice bad_lines;
    char *tokenizer, *field, *date;
    mla_list set, fields;
    bool no_bos, special, held_out, ids, json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"samples", MLA_FIELD_INT, AT(samples), 3, 1, 1 << 30, .help = "how many to show"},
    {"sequence", MLA_FIELD_INT, AT(sequence), 0, 0, 1 << 24,
     .help = "pack into sequences of so many tokens; 0: documents, or a recipe's sequences"},
    {"held-out", MLA_FIELD_BOOL, AT(held_out), .help = "show what is held out"},
    {"ids", MLA_FIELD_BOOL, AT(ids), .help = "one token a line: place, id, * where it is learned, text"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "one JSON object a line, with ids and 1 for those that are learned"},
    {"tokenizer", MLA_FIELD_STRING, AT(tokenizer), .text = "bytes",
     .help = "of text: bytes, bpe, or a tokenizer.json or its folder"},
    {"format", MLA_FIELD_ENUM, AT(format), MLA_RECIPE_CHAT, .names = mla_recipe_formats,
     .help = "of text, as in mla prepare; chat: lines of conversations"},
    {"template", MLA_FIELD_ENUM, AT(chat_template), .names = mla_chat_template_names,
     .help = "of text, as in mla prepare"},
    {"fields", MLA_FIELD_WORDS, AT(fields), .help = "of chat, as in mla prepare"},
    {"date", MLA_FIELD_STRING, AT(date), .help = "of chat, as in mla prepare"},
    {"field", MLA_FIELD_STRING, AT(field), .text = "text",
     .help = "JSONL that is not chat: the key that holds the text"},
    {"bad-lines", MLA_FIELD_ENUM, AT(bad_lines), .names = mla_bad_lines_names, .help = "of text, as in mla prepare"},
    {"no-bos", MLA_FIELD_BOOL, AT(no_bos),
     .help = "of text: leave out the tokens that the tokenizer puts at the beginning (and end)"},
    {"special", MLA_FIELD_BOOL, AT(special),
     .help = "of text: take special tokens that are spelled out, as <|endoftext|>, for the tokens, not for text"},
    {"set", MLA_FIELD_LIST, AT(set), .help = "of a recipe: section.key=value instead; may be repeated"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* What is shown, from wherever it comes. */
typedef struct {
    const mla_call *call;
    char folder[PATH_MAX];     /* for text that is prepared; "": none */
    mla_recipe loaded, recipe; /* recipe: completed by the base; shares its strings with the other */
    mla_finetune base;
    mla_mix mix;
    const mla_dataset *data; /* its first part */
    mla_tokenizer *tokenizer;
} material;

/* ---- one document, or what is left of one in a sequence ---- */

static void data_print_text(FILE *out, const char *bytes, int64_t length) {
    for (int64_t i = 0; i < length; i++) {
        if (bytes[i] == '\n') fputs("\\n", out);
        else if ((unsigned char)bytes[i] < ' ') fprintf(out, "\\x%02x", (unsigned char)bytes[i]);
        else fputc(bytes[i], out);
    }
}

static mla_status print_lines(const material *m, int64_t count, const int32_t *ids, const bool *learned) {
    FILE *out = m->call->out;
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        const char *bytes;
        int64_t length;
        status = mla_tokenizer_token(m->call->context, m->tokenizer, ids[i], &bytes, &length);
        if (status) break;
        fprintf(out, "%8lld %8d %c ", (long long)i, ids[i], learned[i] ? '*' : ' ');
        data_print_text(out, bytes, length);
        fputc('\n', out);
    }
    return status;
}

/* What is learned is green on a terminal, and between brackets of a kind that text seldom has elsewhere. */
static mla_status print_running(const material *m, int64_t count, const int32_t *ids, const bool *learned) {
    FILE *out = m->call->out;
    const bool terminal = isatty(fileno(out));
    const char *const begin = terminal ? "\033[32m" : "⟦", *const end = terminal ? "\033[0m" : "⟧";
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        const char *bytes;
        int64_t length;
        status = mla_tokenizer_token(m->call->context, m->tokenizer, ids[i], &bytes, &length);
        if (status) break;
        if (learned[i] && (!i || !learned[i - 1])) fputs(begin, out);
        fwrite(bytes, 1, (size_t)length, out);
        if (learned[i] && (i + 1 == count || !learned[i + 1])) fputs(end, out);
    }
    fputc('\n', out);
    return status;
}

static mla_status data_print_json(const material *m, const char *kind, int64_t number, int64_t begin, int64_t count,
                                  const int32_t *ids, const bool *learned) {
    json_t *json = json_pack("{s:I, s:I}", kind, (json_int_t)number, "position", (json_int_t)begin);
    json_t *all = json_array(), *marks = json_array();
    mla_bytes text = {0};
    const mla_status status = mla_tokenizer_decode(m->call->context, m->tokenizer, ids, count, &text);
    for (int64_t i = 0; i < count; i++) {
        json_array_append_new(all, json_integer(ids[i]));
        json_array_append_new(marks, json_integer(learned[i]));
    }
    json_object_set_new(json, "ids", all);
    json_object_set_new(json, "learned", marks);
    json_object_set_new(json, "text", mla_output_text(m->call->context, &text));
    mla_output_print(m->call->out, json);
    free(text.bytes);
    return status;
}

static mla_status print_document(const material *m, const char *kind, int64_t number, int64_t begin, int64_t count,
                                 const int32_t *ids, const bool *learned) {
    const options *o = m->call->options;
    int64_t sum = 0;
    if (o->json) return data_print_json(m, kind, number, begin, count, ids, learned);
    for (int64_t i = 0; i < count; i++) sum += learned[i];
    fprintf(m->call->out, "--- %s %lld, from position %lld: %lld tokens, %lld learned\n", kind, (long long)number,
            (long long)begin, (long long)count, (long long)sum);
    return (o->ids ? print_lines : print_running)(m, count, ids, learned);
}

/* ---- documents as they lie in the stream ---- */

static mla_status show_documents(const material *m, const mla_token_stream *stream, int64_t samples) {
    mla_context *context = m->call->context;
    mla_status status = MLA_OK;
    for (int64_t d = 0; d < stream->documents && d < samples && !status; d++) {
        const int64_t first = stream->offsets[d], count = stream->offsets[d + 1] - first;
        int32_t *ids = mla_alloc(context, count, sizeof *ids, "a document");
        bool *learned = mla_alloc(context, count, sizeof *learned, "a document");
        status = mla_error_status(context);
        if (!status) {
            mla_tokens_copy(stream, first, count, ids);
            for (int64_t i = 1; i < count; i++) learned[i] = !stream->answers || stream->answers[first + i];
            status = print_document(m, "document", d, 0, count, ids, learned);
        }
        free(ids);
        free(learned);
    }
    return status;
}

/* ---- sequences as the model gets them ---- */

typedef struct {
    int32_t *ids, *targets, *starts; /* ids: with room for one more, the last target */
    bool *learned;
} sequence;

static void free_sequence(sequence *s) {
    free(s->ids);
    free(s->targets);
    free(s->starts);
    free(s->learned);
}

static mla_status make_sequence(mla_context *context, int64_t length, sequence *s) {
    s->ids = mla_alloc(context, length + 1, sizeof *s->ids, "a sequence");
    s->targets = mla_alloc(context, length, sizeof *s->targets, "a sequence");
    s->starts = mla_alloc(context, length, sizeof *s->starts, "a sequence"); /* 0: one document, where none is apart */
    s->learned = mla_alloc(context, length + 1, sizeof *s->learned, "a sequence");
    return mla_error_status(context);
}

/* Positions begin ... end - 1, and the target of the last where it has one. Padding is told by its number alone. */
static mla_status show_part(const material *m, sequence *s, int64_t number, int64_t begin, int64_t end) {
    const int32_t after = s->ids[end], last = s->targets[end - 1];
    for (int64_t t = begin; t < end; t++) s->learned[t] = t > begin && s->targets[t - 1] >= 0;
    if (last >= 0) s->ids[end] = last;
    s->learned[end] = last >= 0;
    const mla_status status = print_document(m, "sequence", number, begin, end - begin + (last >= 0), s->ids + begin,
                                             s->learned + begin);
    s->ids[end] = after; /* the first id of the next part */
    return status;
}

static mla_status show_sequence(const material *m, sequence *s, int64_t number, int64_t length) {
    const options *o = m->call->options;
    mla_status status = MLA_OK;
    int64_t padding = 0;
    for (int64_t begin = 0, end; begin < length && !status; begin = end) {
        for (end = begin + 1; end < length && s->starts[end] == s->starts[begin];) end++;
        const bool is_padding = end == begin + 1 && s->targets[begin] < 0; /* a document alone would have its target */
        padding += is_padding;
        if (!is_padding) status = show_part(m, s, number, begin, end);
    }
    if (!o->json && padding)
        fprintf(m->call->out, "--- sequence %lld: %lld positions of padding\n", (long long)number, (long long)padding);
    return status;
}

/* What is held out of a part, in the order of evaluation. */
static mla_status show_windows(const material *m, const mla_dataset *d, sequence *s, int64_t length, int64_t samples) {
    const int64_t all = mla_window_count(&d->held_out, d->packed_held_out, length);
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < all && i < samples && !status; i++) {
        mla_window_get(&d->held_out, d->packed_held_out, length, i, s->ids, s->targets, s->starts);
        status = show_sequence(m, s, i, length);
    }
    return status;
}

/* What is trained on, in the order of the run. */
static mla_status show_run(const material *m, sequence *s, int64_t length, int64_t samples) {
    const int64_t all = mla_mix_samples(&m->mix);
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < all && i < samples && !status; i++) {
        mla_mix_get(&m->mix, i, s->ids, s->targets, s->starts);
        status = show_sequence(m, s, i, length);
    }
    return status;
}

static mla_status show_sequences(const material *m, int64_t length, int64_t samples) {
    const options *o = m->call->options;
    sequence s = {0};
    mla_status status = make_sequence(m->call->context, length, &s);
    if (!status && !o->held_out) status = show_run(m, &s, length, samples);
    for (int k = 0; k < m->mix.count && o->held_out && !status; k++) {
        if (m->mix.count > 1 && !o->json) fprintf(m->call->out, "--- part %d: %s\n", k + 1, m->mix.parts[k].path);
        status = show_windows(m, &m->mix.parts[k].data, &s, length, samples);
    }
    free_sequence(&s);
    return status;
}

/* ---- where it comes from ---- */

static mla_status make_folder(material *m) {
    const char *tmp = getenv("TMPDIR");
    snprintf(m->folder, sizeof m->folder, "%s/mla-data-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (mkdtemp(m->folder)) return MLA_OK;
    const mla_status status = mla_fail(m->call->context, MLA_ERROR_IO, "cannot make a folder for the tokens, %s: %s",
                                       m->folder, strerror(errno));
    m->folder[0] = '\0';
    return status;
}

static void remove_folder(material *m) {
    static const char *const names[] = {"tokens.h5", "tokenizer.json", "chat_template.jinja", "tokenizer_config.json"};
    char path[sizeof m->folder + 32];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", m->folder, names[i]);
        unlink(path);
    }
    for (int k = 1; k <= m->mix.count; k++) {
        snprintf(path, sizeof path, "%s/part-%d/tokens.h5", m->folder, k);
        unlink(path);
        *strrchr(path, '/') = '\0';
        rmdir(path);
    }
    rmdir(m->folder);
}

/* The recipe's data as a run would have it. */
static mla_status open_recipe(material *m, const char *name) {
    const options *o = m->call->options;
    mla_context *context = m->call->context;
    mla_status status = mla_recipe_load(context, &m->loaded, name, (const char *const *)o->set.items, o->set.count);
    if (status) return status;
    m->recipe = m->loaded;
    status = make_folder(m);
    if (!status) status = mla_finetune_open(context, &m->base, &m->recipe, m->folder);
    return status ? status : mla_mix_open(context, &m->mix, &m->recipe, m->folder, MLA_TEXT_PREPARE);
}

/* A token file; or texts, that are prepared into one. */
static mla_status open_files(material *m, bool is_tokens) {
    const options *o = m->call->options;
    mla_context *context = m->call->context;
    char path[sizeof m->folder + 32];
    const mla_prepare_options prepare = {.sources = (const char *const *)m->call->operands->items + 1,
                                         .source_count = m->call->operands->count - 1,
                                         .format = o->format,
                                         .field = o->field,
                                         .chat_template = o->chat_template,
                                         .bad_lines = o->bad_lines,
                                         .no_bos = o->no_bos,
                                         .special = o->special,
                                         .fields = o->fields,
                                         .date = o->date,
                                         .tokenizer = o->tokenizer,
                                         .vocab_size = 4096};
    mla_status status = mla_recipe_default(context, &m->loaded);
    if (!status && !is_tokens) status = make_folder(m);
    if (status) return status;
    snprintf(path, sizeof path, "%s/tokens.h5", m->folder);
    m->recipe = m->loaded;
    m->recipe.data.tokens = is_tokens ? m->call->operands->items[1] : path;
    if (!is_tokens) status = mla_prepare(context, &prepare, path, NULL);
    return status ? status : mla_mix_open(context, &m->mix, &m->recipe, m->folder, MLA_TEXT_PREPARED);
}

static mla_status show(material *m) {
    const options *o = m->call->options;
    const char *name = m->call->operands->items[1];
    mla_context *context = m->call->context;
    const bool is_recipe = mla_ends_with(name, ".yaml") || (access(name, F_OK) && !mla_file_is_pipe(name));
    if (o->no_bos && (is_recipe || mla_ends_with(name, ".h5")))
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "--no-bos is for text; of a recipe say --set data.bos=false, and prepare a token file anew");
    if (o->special && (is_recipe || mla_ends_with(name, ".h5")))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "--special is for text; a recipe reads special tokens as text");
    mla_status status = is_recipe ? open_recipe(m, name) : open_files(m, mla_ends_with(name, ".h5"));
    const int64_t length = o->sequence ? o->sequence : is_recipe ? m->recipe.train.sequence : 0;
    if (!status && !m->data->tokenizer)
        status = mla_fail(context, MLA_ERROR_ARGUMENT, "a synthetic source has no text to show");
    if (!status)
        status = mla_tokenizer_parse(context, &m->tokenizer, m->data->tokenizer, (int64_t)strlen(m->data->tokenizer));
    if (!status && !length) return show_documents(m, o->held_out ? &m->data->held_out : &m->data->train, o->samples);
    m->recipe.train.sequence = length;
    if (!is_recipe) m->recipe.data.packing = MLA_PACKING_WHOLE;
    if (!status) status = mla_mix_begin(context, &m->mix, &m->recipe);
    for (int k = 0; k < m->mix.count && !status; k++) mla_dataset_warn(context, &m->mix.parts[k].data, length);
    return status ? status : show_sequences(m, length, o->samples);
}

static mla_status data_run(const mla_call *call) {
    material m = {.call = call};
    m.data = &m.mix.parts[0].data;
    if (strcmp(call->operands->items[0], "show"))
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "data: there is no %s: use show", call->operands->items[0]);
    const mla_status status = show(&m);
    mla_tokenizer_destroy(m.tokenizer);
    if (m.folder[0]) remove_folder(&m);
    mla_mix_close(&m.mix);
    mla_finetune_close(&m.base);
    mla_recipe_free(&m.loaded);
    return status;
}

const mla_command mla_command_data = {
    .name = "data",
    .summary = "Show the tokens that a model is trained on, with those that it learns between ⟦ and ⟧",
    .operands = "show FILE.h5|RECIPE|TEXT...",
    .min_operands = 2,
    .max_operands = INT64_MAX,
    .example = "  mla data show chats.jsonl --tokenizer runs/first/tokenizer.json\n"
               "  mla data show chats.h5 --sequence 256 --samples 1 --ids\n"
               "  mla data show chat --set finetune.base=runs/first --set data.source=chats.jsonl\n",
    .options = &table,
    .run = data_run,
};
