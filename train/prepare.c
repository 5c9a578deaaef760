#include "train/prepare.h"
#include "data/bpe.h"
#include "data/file.h"
#include "data/text_source.h"
#include "data/token_file.h"
#include "data/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLE_BYTES = 64 << 20 };

mla_prepare_options mla_prepare_options_of(const mla_recipe_data *data) {
    return (mla_prepare_options){.sources = (const char *const *)data->source.items,
                                 .source_count = data->source.count,
                                 .jsonl_field = data->format == MLA_RECIPE_AUTO ? data->field : NULL,
                                 .tokenizer = data->tokenizer,
                                 .vocab_size = data->vocab_size,
                                 .held_out = data->held_out};
}

/* ---- the tokenizer */

/* Copies of documents: those of the source are gone with the next one. */
typedef struct {
    mla_text_chunk *chunks;
    int64_t count, capacity;
    int64_t bytes;
} sample;

static void free_sample(sample *s) {
    for (int64_t i = 0; i < s->count; i++) free((char *)s->chunks[i].bytes);
    free(s->chunks);
}

static mla_status add_to_sample(mla_context *context, sample *s, const mla_document *document) {
    mla_status status =
        mla_grow(context, &s->chunks, &s->capacity, s->count + 1, sizeof *s->chunks, "a sample");
    if (status) return status;
    char *copy = mla_alloc(context, document->length, 1, "a sample of the text");
    if (!copy) return MLA_ERROR_MEMORY;
    memcpy(copy, document->bytes, (size_t)document->length);
    s->chunks[s->count++] = (mla_text_chunk){copy, document->length};
    s->bytes += document->length;
    return MLA_OK;
}

/* Takes a document as long as the sample does not run ahead of its share of what was seen. */
static mla_status take_sample(mla_context *context, mla_text_source *source, sample *out) {
    const double share = (double)SAMPLE_BYTES / (double)mla_text_bytes(source);
    const mla_document *document = NULL;
    double seen = 0;
    mla_status status = MLA_OK;
    mla_text_rewind(source);
    while (!(status = mla_text_next(source, &document)) && document) {
        seen += (double)document->length;
        const bool fits = (double)(out->bytes + document->length) <= share * seen || share >= 1;
        if (!document->held_out && fits && (status = add_to_sample(context, out, document))) break;
    }
    return status;
}

static mla_status train_tokenizer(mla_context *context, mla_text_source *source, int64_t vocab_size,
                                  mla_tokenizer **out) {
    sample documents = {0};
    const mla_bpe_options options = {.vocab_size = (int32_t)vocab_size};
    mla_status status = take_sample(context, source, &documents);
    if (!status) status = mla_tokenizer_train(context, out, &options, documents.chunks, documents.count);
    free_sample(&documents);
    return status;
}

static mla_status make_tokenizer(mla_context *context, mla_text_source *source,
                                 const mla_prepare_options *options, mla_tokenizer **out) {
    mla_status status;
    if (!strcmp(options->tokenizer, "bytes"))
        status = mla_tokenizer_bytes(context, out);
    else if (!strcmp(options->tokenizer, "bpe"))
        status = train_tokenizer(context, source, options->vocab_size, out);
    else
        status = mla_tokenizer_load(context, out, options->tokenizer);
    if (status || mla_tokenizer_separator(*out) >= 0) return status;
    return mla_fail(
        context, MLA_ERROR_ARGUMENT,
        "%s: the tokenizer has no token that ends a document; add <|endoftext|> to its added_tokens",
        options->tokenizer);
}

/* ---- the token file */

static void count_document(mla_prepare_count *count, int64_t bytes, int64_t tokens) {
    count->documents++;
    count->bytes += bytes;
    count->tokens += tokens + 1;
}

static mla_status encode_document(mla_context *context, const mla_document *document, mla_encoder *encoder,
                                  mla_id_list *ids, mla_token_writer *writer, mla_prepare_report *report) {
    ids->count = 0;
    mla_status status = mla_encoder_encode(context, encoder, document->bytes, document->length, ids);
    if (status) return status;
    count_document(document->held_out ? &report->held_out : &report->train, document->length, ids->count);
    return mla_token_writer_append(writer, document->held_out ? MLA_HELD_OUT : MLA_TRAIN, ids->count,
                                   ids->ids, document->length);
}

static mla_status encode_all(mla_context *context, mla_text_source *source, const mla_tokenizer *tokenizer,
                             mla_token_writer *writer, mla_prepare_report *report) {
    mla_encoder *encoder;
    mla_id_list ids = {0};
    const mla_document *document = NULL;
    mla_status status = mla_encoder_create(context, &encoder, tokenizer, NULL);
    if (status) return status;
    mla_text_rewind(source);
    while (!(status = mla_text_next(source, &document)) && document)
        if ((status = encode_document(context, document, encoder, &ids, writer, report))) break;
    mla_encoder_destroy(encoder);
    free(ids.ids);
    return status;
}

static mla_status write_tokens(mla_context *context, mla_text_source *source, const mla_tokenizer *tokenizer,
                               const char *path, mla_prepare_report *report) {
    mla_token_writer *writer = NULL;
    char *json = mla_tokenizer_json(context, tokenizer);
    if (!json) return MLA_ERROR_MEMORY;
    const mla_token_options options = {.vocabulary_size = mla_tokenizer_vocab_size(tokenizer),
                                       .separator = mla_tokenizer_separator(tokenizer),
                                       .tokenizer = json};
    report->vocabulary_size = options.vocabulary_size;
    mla_status status = mla_token_writer_create(context, &writer, path, &options);
    if (!status) status = encode_all(context, source, tokenizer, writer, report);
    if (!status) status = mla_token_writer_commit(writer);
    mla_token_writer_close(writer);
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

mla_status mla_prepare(mla_context *context, const mla_prepare_options *options, const char *path,
                       mla_prepare_report *report) {
    mla_prepare_report unused;
    mla_text_source *source = NULL;
    mla_tokenizer *tokenizer = NULL;
    const mla_text_options text = {.paths = options->sources,
                                   .count = options->source_count,
                                   .jsonl_field = options->jsonl_field,
                                   .held_out = options->held_out};
    if (!report) report = &unused;
    *report = (mla_prepare_report){0};
    mla_status status = check_folder_of(context, path);
    if (!status && options->held_out_text) status = check_folder_of(context, options->held_out_text);
    if (!status) status = mla_text_open(context, &source, &text);
    if (!status) status = make_tokenizer(context, source, options, &tokenizer);
    if (!status) status = write_tokens(context, source, tokenizer, path, report);
    if (!status && options->held_out_text) status = write_held_out_text(context, source, options->held_out_text);
    mla_tokenizer_destroy(tokenizer);
    mla_text_close(source);
    return status;
}
