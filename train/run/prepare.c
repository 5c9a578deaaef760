#include "train/run/prepare.h"
#include "autograd/base/file.h"
#include "data/text/chat_encoder.h"
#include "data/text/text_source.h"
#include "data/tokens/token_file.h"
#include "train/hugging_face/chat_files.h"
#include "train/run/text_sample.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

mla_prepare_options mla_prepare_options_of(const mla_recipe_data *data) {
    return (mla_prepare_options){.sources = (const char *const *)data->source.items,
                                 .source_count = data->source.count,
                                 .format = data->format,
                                 .field = data->field,
                                 .chat_template = data->chat_template,
                                 .fields = data->fields,
                                 .date = data->date,
                                 .bad_lines = data->bad_lines,
                                 .tokenizer = data->tokenizer,
                                 .vocab_size = data->vocab_size,
                                 .no_bos = !data->bos,
                                 .held_out = data->held_out};
}

static bool is_chat(const mla_prepare_options *options) { return options->format == MLA_RECIPE_CHAT; }

/* ---- the tokenizer */

/* A conversation; without messages where it is broken, if such are counted in `bad` instead of being errors. */
static mla_status read_chat(mla_context *context, const mla_document *document, const mla_chat_fields *fields,
                            mla_bad_lines *bad, mla_chat *chat) {
    const mla_status status = mla_chat_parse(context, document->name, document->bytes, document->length, fields, chat);
    if (status != MLA_ERROR_FORMAT || !bad) return status;
    mla_bad_lines_add(context, bad);
    chat->count = 0;
    return MLA_OK;
}

/* What is said in a conversation. */
static mla_status add_chat_to_sample(mla_context *context, mla_text_sample *s, const mla_document *document,
                                     const mla_chat_fields *fields, bool skip) {
    mla_bad_lines bad = {0}; /* encoding tells of them */
    mla_chat chat = {0};
    mla_status status = read_chat(context, document, fields, skip ? &bad : NULL, &chat);
    for (int64_t i = 0; i < chat.count && !status; i++) {
        int64_t length;
        const char *content = mla_chat_content(&chat, i, &length);
        if (content) status = mla_text_sample_add(context, s, content, length);
    }
    mla_chat_free(&chat);
    return status;
}

/* Takes a document as long as the sample does not run ahead of its share of what was seen. */
static mla_status take_sample(mla_context *context, mla_text_source *source, const mla_prepare_options *options,
                              const mla_chat_fields *fields, mla_text_sample *out) {
    const bool skip = options->bad_lines == MLA_BAD_LINES_SKIP;
    const double share = (double)MLA_SAMPLE_BYTES / (double)mla_text_bytes(source);
    const mla_document *document = NULL;
    double seen = 0;
    mla_status status = MLA_OK;
    mla_text_rewind(source);
    while (!(status = mla_text_next(source, &document)) && document) {
        seen += (double)document->length;
        const bool fits = (double)(out->bytes + document->length) <= share * seen || share >= 1;
        if (document->held_out || !fits) continue;
        status = is_chat(options) ? add_chat_to_sample(context, out, document, fields, skip)
                                  : mla_text_sample_add(context, out, document->bytes, document->length);
        if (status) break;
    }
    return status;
}

static mla_status make_tokenizer(mla_context *context, mla_text_source *source, const mla_prepare_options *options,
                                 mla_tokenizer **out) {
    mla_text_sample sample = {0};
    mla_chat_fields fields;
    mla_status status = mla_chat_fields_read(context, options->fields.items, options->fields.count, &fields);
    if (!status && !strcmp(options->tokenizer, "bpe")) status = take_sample(context, source, options, &fields, &sample);
    if (!status) status = mla_tokenizer_make(context, options->tokenizer, options->vocab_size, &sample, out);
    mla_text_sample_free(&sample);
    return status;
}

static mla_status create_chat_encoder(mla_context *context, const mla_prepare_options *options,
                                      const mla_tokenizer *tokenizer, mla_chat_encoder **out) {
    mla_chat_files files = {0};
    mla_status status = MLA_OK;
    if (mla_tokenizer_is_file(options->tokenizer) && options->chat_template == MLA_CHAT_AUTO)
        status = mla_chat_files_beside(context, options->tokenizer, &files);
    const mla_chat_options chat = {options->chat_template, files.chat_template, files.tokens, options->date};
    if (!status) status = mla_chat_encoder_create(context, out, tokenizer, &chat);
    mla_chat_files_free(&files);
    return status;
}

/* ---- the token file */

/* What turns documents into tokens. */
typedef struct {
    mla_context *context;
    mla_encoder *encoder; /* or */
    bool ends;            /* its texts end with the separator, as they are */
    mla_chat_encoder *chat_encoder;
    mla_chat_fields fields;
    mla_chat chat;
    mla_id_list ids;
    mla_bytes answers;
    mla_token_writer *writer;
    mla_prepare_report *report;
    bool skip; /* bad lines */
} encoding;

static void free_encoding(encoding *e) {
    mla_encoder_destroy(e->encoder);
    mla_chat_encoder_destroy(e->chat_encoder);
    mla_chat_free(&e->chat);
    free(e->ids.ids);
    free(e->answers.bytes);
}

static mla_status write_document(encoding *e, const mla_document *document, const uint8_t *answers) {
    mla_prepare_count *count = document->held_out ? &e->report->held_out : &e->report->train;
    count->documents++;
    count->bytes += document->length;
    count->tokens += e->ids.count + 1;
    return mla_token_writer_append(e->writer, document->held_out ? MLA_HELD_OUT : MLA_TRAIN, e->ids.count, e->ids.ids,
                                   answers, answers ? 0 : document->length); /* bits per byte: of plain text */
}

static mla_status encode_text(encoding *e, const mla_document *document) {
    e->ids.count = 0;
    const mla_status status = mla_encoder_encode(e->context, e->encoder, document->bytes, document->length, &e->ids);
    e->ids.count -= !status && e->ends; /* the writer puts one */
    return status ? status : write_document(e, document, NULL);
}

static mla_status encode_chat(encoding *e, const mla_document *document) {
    int64_t answers = 0;
    e->ids.count = e->answers.count = 0;
    mla_status status = read_chat(e->context, document, &e->fields, e->skip ? &e->report->bad : NULL, &e->chat);
    if (status || !e->chat.count) return status;
    status = mla_chat_encode(e->context, e->chat_encoder, document->name, &e->chat, &e->ids, &e->answers);
    if (status) return status;
    for (int64_t i = 0; i < e->answers.count; i++) answers += e->answers.bytes[i];
    if (!answers) return e->report->left_out++, MLA_OK;
    (document->held_out ? &e->report->held_out : &e->report->train)->answers += answers;
    return write_document(e, document, (const uint8_t *)e->answers.bytes);
}

/* The encoder of texts: each becomes what the tokenizer makes of it, and one that ends with the separator has it once.
 */
static mla_status create_text_encoder(encoding *e, const mla_tokenizer *tokenizer, const mla_prepare_options *o) {
    const mla_encoder_options options = {.added = o->special ? MLA_ADDED_ALL : MLA_ADDED_PLAIN, .frame = !o->no_bos};
    const mla_frame frame = mla_tokenizer_frame(tokenizer);
    e->ends = !o->no_bos && frame.behind_count &&
              frame.behind[frame.behind_count - 1] == mla_tokenizer_separator(tokenizer);
    return mla_encoder_create(e->context, &e->encoder, tokenizer, &options);
}

static mla_status create_encoder(encoding *e, const mla_tokenizer *tokenizer, const mla_prepare_options *o) {
    if (!is_chat(o)) return create_text_encoder(e, tokenizer, o);
    mla_status status = mla_chat_fields_read(e->context, o->fields.items, o->fields.count, &e->fields);
    if (!status) status = create_chat_encoder(e->context, o, tokenizer, &e->chat_encoder);
    if (!status)
        snprintf(e->report->chat_template, sizeof e->report->chat_template, "%s",
                 mla_chat_encoder_template(e->chat_encoder));
    return status;
}

static mla_status encode_all(encoding *e, mla_text_source *source, const mla_tokenizer *tokenizer,
                             const mla_prepare_options *o) {
    const mla_document *document = NULL;
    mla_status status = create_encoder(e, tokenizer, o);
    if (status) return status;
    mla_text_rewind(source);
    while (!(status = mla_text_next(source, &document)) && document)
        if ((status = is_chat(o) ? encode_chat(e, document) : encode_text(e, document))) break;
    if (!status && e->chat_encoder) mla_chat_encoder_report(e->context, e->chat_encoder);
    if (is_chat(o)) mla_bad_lines_warn(e->context, &e->report->bad);
    else e->report->bad = *mla_text_bad_lines(source);
    if (!status && e->report->left_out)
        mla_warn(e->context, "%lld of %lld conversations have no answer and are left out",
                 (long long)e->report->left_out, (long long)mla_text_documents(source));
    return status;
}

/* A model that learns conversations by a template that is named speaks by that one afterwards. */
static mla_status keep_files(mla_context *context, const mla_prepare_options *o, char **out) {
    const bool named = is_chat(o) && o->chat_template != MLA_CHAT_AUTO;
    *out = NULL;
    if (!mla_tokenizer_is_file(o->tokenizer)) return MLA_OK;
    return mla_chat_files_keep(context, o->tokenizer, named ? mla_chat_template_text(o->chat_template) : NULL, out);
}

static mla_status write_tokens(mla_context *context, mla_text_source *source, const mla_tokenizer *tokenizer,
                               const mla_prepare_options *o, const char *path, mla_prepare_report *report) {
    mla_token_writer *writer = NULL;
    char *json = mla_tokenizer_json(context, tokenizer), *files = NULL;
    mla_status status = json ? keep_files(context, o, &files) : MLA_ERROR_MEMORY;
    const mla_token_options options = {.vocabulary_size = mla_tokenizer_vocab_size(tokenizer),
                                       .separator = mla_tokenizer_separator(tokenizer),
                                       .tokenizer = json,
                                       .hugging_face = files,
                                       .answers = is_chat(o)};
    report->vocabulary_size = options.vocabulary_size;
    if (!status) status = mla_token_writer_create(context, &writer, path, &options);
    encoding e = {.context = context, .writer = writer, .report = report, .skip = o->bad_lines == MLA_BAD_LINES_SKIP};
    if (!status) status = encode_all(&e, source, tokenizer, o);
    if (!status) status = mla_token_writer_commit(writer);
    mla_token_writer_close(writer);
    free_encoding(&e);
    free(files);
    free(json);
    return status;
}

static mla_status append_bytes(mla_context *context, const mla_document *document, char **bytes, int64_t *length,
                               int64_t *capacity) {
    const mla_status status = mla_grow(context, bytes, capacity, *length + document->length, 1, "the held-out text");
    if (status) return status;
    memcpy(*bytes + *length, document->bytes, (size_t)document->length);
    *length += document->length;
    return MLA_OK;
}

static mla_status write_held_out_text(mla_context *context, mla_text_source *source, const char *path) {
    char *bytes = NULL;
    int64_t length = 0, capacity = 0;
    const mla_document *document = NULL;
    mla_status status;
    mla_text_rewind(source);
    while (!(status = mla_text_next(source, &document)) && document)
        if (document->held_out && (status = append_bytes(context, document, &bytes, &length, &capacity))) break;
    if (!status) status = mla_file_write(context, path, bytes, length);
    free(bytes);
    return status;
}

/* Training a tokenizer takes a while: find out before it that its result could not be written. */
static mla_status check_folder_of(mla_context *context, const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path + 1)) : strdup(".");
    if (!folder) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for a path");
    mla_status status = MLA_OK;
    if (access(folder, W_OK))
        status = mla_fail(context, MLA_ERROR_IO, "cannot write %s: %s: %s", path, folder, strerror(errno));
    free(folder);
    return status;
}

static mla_text_options text_options(const mla_prepare_options *options) {
    const bool has_field = options->format == MLA_RECIPE_AUTO || options->format == MLA_RECIPE_JSONL;
    return (mla_text_options){.paths = options->sources,
                              .count = options->source_count,
                              .jsonl_field = has_field ? options->field : NULL,
                              .jsonl = options->format == MLA_RECIPE_JSONL,
                              .lines = is_chat(options),
                              .bad_lines = options->bad_lines,
                              .held_out = options->held_out};
}

/* Tables of labelled text are read where a model with a head that labels is trained (data/labels). */
static mla_status check_format(mla_context *context, const mla_prepare_options *options) {
    if (options->format != MLA_RECIPE_LABELS) return MLA_OK;
    return mla_fail(
        context, MLA_ERROR_ARGUMENT,
        "format labels: labelled text is not prepared beforehand; train reads it by itself, as data.source of "
        "a recipe with model.head: sequence or token");
}

mla_status mla_prepare(mla_context *context, const mla_prepare_options *options, const char *path,
                       mla_prepare_report *report) {
    mla_prepare_report unused;
    mla_text_source *source = NULL;
    mla_tokenizer *tokenizer = NULL;
    const mla_text_options text = text_options(options);
    if (!report) report = &unused;
    *report = (mla_prepare_report){0};
    mla_status status = check_format(context, options);
    if (!status) status = check_folder_of(context, path);
    if (!status && options->held_out_text) status = check_folder_of(context, options->held_out_text);
    if (!status) status = mla_text_open(context, &source, &text);
    if (!status) status = make_tokenizer(context, source, options, &tokenizer);
    if (!status) status = write_tokens(context, source, tokenizer, options, path, report);
    if (!status && options->held_out_text) status = write_held_out_text(context, source, options->held_out_text);
    mla_tokenizer_destroy(tokenizer);
    mla_text_close(source);
    return status;
}

mla_status mla_prepare_tokenizer(mla_context *context, const mla_prepare_options *options, const char *path) {
    const mla_text_options text = text_options(options);
    mla_text_source *source = NULL;
    mla_tokenizer *tokenizer = NULL;
    mla_status status = mla_text_open(context, &source, &text);
    if (!status) status = make_tokenizer(context, source, options, &tokenizer);
    char *json = status ? NULL : mla_tokenizer_json(context, tokenizer);
    if (!status) status = json ? mla_file_write(context, path, json, (int64_t)strlen(json)) : MLA_ERROR_MEMORY;
    free(json);
    mla_tokenizer_destroy(tokenizer);
    mla_text_close(source);
    return status;
}
