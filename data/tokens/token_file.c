#include "data/tokens/token_file.h"

#include "data/formats/h5.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { SPLITS = 2, NARROW_VOCABULARY = 65536, CHUNK = 1 << 16, HASH_TEXT = 17 };

static const char *const split_names[SPLITS] = {"train", "held_out"};

static const char *const label_datasets[] = {
    [MLA_UNLABELLED] = "", [MLA_CLASSES] = "classes", [MLA_VALUES] = "values", [MLA_TAGS] = "tags"};

static void hash_text(const char *text, char out[HASH_TEXT]) {
    snprintf(out, HASH_TEXT, "%016" PRIx64, (uint64_t)XXH3_64bits(text, strlen(text)));
}

static mla_h5_type token_type(int64_t vocabulary_size) {
    return vocabulary_size <= NARROW_VOCABULARY ? MLA_H5_U16 : MLA_H5_I32;
}

/* "/train/tokens" and the like. */
static const char *name_in(char out[64], int split, const char *name) {
    snprintf(out, 64, "/%s/%s", split_names[split], name);
    return out;
}

void mla_tokens_copy(const mla_token_stream *stream, int64_t first, int64_t count, int32_t *out) {
    if (stream->wide) memcpy(out, stream->wide + first, (size_t)count * sizeof *out);
    else
        for (int64_t i = 0; i < count; i++) out[i] = stream->narrow[first + i];
}

void mla_tokens_copy_targets(const mla_token_stream *stream, int64_t first, int64_t count, int32_t *out) {
    mla_tokens_copy(stream, first, count, out);
    for (int64_t i = 0; i < count && stream->answers; i++)
        if (!stream->answers[first + i]) out[i] = -1;
}

/* ---- Writing */

typedef struct {
    FILE *tokens, *answers, *labels; /* without a name: gone when closed, or when the process ends */
    int64_t count, bytes;
    int64_t label_count; /* numbers */
    int64_t *offsets, documents, capacity;
} pile_t;

struct mla_token_writer {
    mla_context *context;
    char *path, *tokenizer, *hugging_face, *label_names;
    int64_t vocabulary_size;
    int32_t separator;
    bool answers;
    mla_label_form labels;
    int64_t label_width;
    mla_h5_options options;
    pile_t piles[SPLITS];
};

static mla_status write_failed(mla_token_writer *w) {
    return mla_fail(w->context, MLA_ERROR_IO, "cannot write the tokens of %s: %s", w->path, strerror(errno));
}

static mla_status open_nameless(mla_token_writer *w, FILE **out) {
    char *name = NULL;
    if (asprintf(&name, "%s.XXXXXX", w->path) < 0)
        return mla_fail(w->context, MLA_ERROR_MEMORY, "no memory for a path");
    int descriptor = mkstemp(name);
    if (descriptor >= 0) unlink(name);
    free(name);
    *out = descriptor < 0 ? NULL : fdopen(descriptor, "w+b");
    if (*out) return MLA_OK;
    mla_status status = write_failed(w);
    if (descriptor >= 0) close(descriptor);
    return status;
}

static mla_status open_pile(mla_token_writer *w, pile_t *pile) {
    mla_status status = open_nameless(w, &pile->tokens);
    if (!status && w->answers) status = open_nameless(w, &pile->answers);
    if (!status && w->labels) status = open_nameless(w, &pile->labels);
    if (!status)
        status = mla_grow(w->context, &pile->offsets, &pile->capacity, 1, sizeof *pile->offsets, "document offsets");
    if (!status) pile->offsets[0] = 0;
    return status;
}

static mla_status check_options(mla_context *context, const char *path, const mla_token_options *o) {
    if (o->vocabulary_size < 1 || o->vocabulary_size > INT32_MAX)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: a vocabulary of %" PRId64 " tokens is impossible", path,
                        o->vocabulary_size);
    if (o->separator < 0 || o->separator >= o->vocabulary_size)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%s: the separator %" PRId32 " is not in the vocabulary of %" PRId64 " tokens", path,
                        o->separator, o->vocabulary_size);
    return MLA_OK;
}

mla_status mla_token_writer_create(mla_context *context, mla_token_writer **out, const char *path,
                                   const mla_token_options *options) {
    *out = NULL;
    mla_status status = check_options(context, path, options);
    mla_token_writer *w = status ? NULL : mla_alloc(context, 1, sizeof *w, "a token writer");
    if (!w) return status ? status : MLA_ERROR_MEMORY;
    *w = (mla_token_writer){.context = context,
                            .path = strdup(path),
                            .tokenizer = strdup(options->tokenizer),
                            .hugging_face = options->hugging_face ? strdup(options->hugging_face) : NULL,
                            .vocabulary_size = options->vocabulary_size,
                            .separator = options->separator,
                            .answers = options->answers,
                            .labels = options->labels,
                            .label_width = options->label_width,
                            .label_names = options->labels ? strdup(options->label_names) : NULL,
                            .options = {.hook = options->hook}};
    if (!w->path || !w->tokenizer || (options->hugging_face && !w->hugging_face) || (w->labels && !w->label_names))
        status = mla_fail(context, MLA_ERROR_MEMORY, "no memory for a token writer");
    for (int i = 0; !status && i < SPLITS; i++) status = open_pile(w, &w->piles[i]);
    if (status) mla_token_writer_close(w);
    else *out = w;
    return status;
}

void mla_token_writer_close(mla_token_writer *w) {
    if (!w) return;
    for (int i = 0; i < SPLITS; i++) {
        if (w->piles[i].tokens) fclose(w->piles[i].tokens);
        if (w->piles[i].answers) fclose(w->piles[i].answers);
        if (w->piles[i].labels) fclose(w->piles[i].labels);
        free(w->piles[i].offsets);
    }
    free(w->tokenizer);
    free(w->hugging_face);
    free(w->label_names);
    free(w->path);
    free(w);
}

static mla_status put_tokens(mla_token_writer *w, pile_t *pile, int64_t count, const int32_t *tokens) {
    bool narrow = token_type(w->vocabulary_size) == MLA_H5_U16, written = true;
    for (int64_t i = 0; i < count && written; i++) {
        if (tokens[i] < 0 || tokens[i] >= w->vocabulary_size)
            return mla_fail(w->context, MLA_ERROR_ARGUMENT,
                            "%s: token %" PRId64 " of document %" PRId64 " is %" PRId32
                            ", not in the vocabulary of %" PRId64,
                            w->path, i, pile->documents, tokens[i], w->vocabulary_size);
        uint16_t half = (uint16_t)tokens[i];
        written = narrow ? fwrite(&half, sizeof half, 1, pile->tokens) : fwrite(&tokens[i], 4, 1, pile->tokens);
    }
    pile->count += count;
    return written ? MLA_OK : write_failed(w);
}

static mla_status put_answers(mla_token_writer *w, pile_t *pile, int64_t count, const uint8_t *answers) {
    if (!w->answers) return MLA_OK;
    return fwrite(answers, 1, (size_t)count, pile->answers) == (size_t)count ? MLA_OK : write_failed(w);
}

mla_status mla_token_writer_append(mla_token_writer *w, mla_token_split split, int64_t count, const int32_t *tokens,
                                   const uint8_t *answers, int64_t bytes) {
    pile_t *pile = &w->piles[split];
    mla_status status = mla_grow(w->context, &pile->offsets, &pile->capacity, pile->documents + 2,
                                 sizeof *pile->offsets, "document offsets");
    if (!status) status = put_tokens(w, pile, count, tokens);
    if (!status) status = put_tokens(w, pile, 1, &w->separator);
    if (!status) status = put_answers(w, pile, count + 1, answers);
    if (status) return status;
    pile->offsets[++pile->documents] = pile->count;
    pile->bytes += bytes;
    return MLA_OK;
}

mla_status mla_token_writer_label(mla_token_writer *w, mla_token_split split, int64_t count, const void *labels) {
    pile_t *pile = &w->piles[split];
    const int64_t *last = pile->offsets + pile->documents;
    const int64_t wanted = w->labels == MLA_CLASSES ? 1 : w->labels == MLA_VALUES ? w->label_width : last[0] - last[-1];
    const int32_t separator = -1;
    if (count + (w->labels == MLA_TAGS) != wanted)
        return mla_fail(w->context, MLA_ERROR_ARGUMENT, "%s: document %" PRId64 " has %" PRId64 " labels, not %" PRId64,
                        w->path, pile->documents - 1, count, wanted - (w->labels == MLA_TAGS));
    bool written = fwrite(labels, 4, (size_t)count, pile->labels) == (size_t)count;
    if (w->labels == MLA_TAGS) written = written && fwrite(&separator, 4, 1, pile->labels) == 1;
    pile->label_count += wanted;
    return written ? MLA_OK : write_failed(w);
}

/* The dataset of `count` elements that wait in a nameless file. */
static mla_status write_list(mla_token_writer *w, mla_h5_file *file, const char *name, mla_h5_type type,
                             int64_t count_all, FILE *from) {
    size_t size = mla_h5_type_size(type);
    if (fflush(from)) return write_failed(w);
    rewind(from);
    void *chunk = mla_alloc(w->context, CHUNK, size, "a read buffer");
    mla_status status = chunk ? mla_h5_begin(file, name, type, 1, &count_all) : MLA_ERROR_MEMORY;
    for (int64_t left = count_all; !status && left > 0;) {
        int64_t count = (int64_t)fread(chunk, size, left < CHUNK ? (size_t)left : CHUNK, from);
        status = count ? mla_h5_append(file, count, chunk) : write_failed(w);
        left -= count;
    }
    free(chunk);
    return status;
}

static mla_status write_split(mla_token_writer *w, mla_h5_file *file, int split) {
    const pile_t *pile = &w->piles[split];
    char name[64];
    mla_status status = write_list(w, file, name_in(name, split, "tokens"), token_type(w->vocabulary_size), pile->count,
                                   pile->tokens);
    if (!status && w->answers)
        status = write_list(w, file, name_in(name, split, "answers"), MLA_H5_U8, pile->count, pile->answers);
    if (!status && w->labels)
        status = write_list(w, file, name_in(name, split, label_datasets[w->labels]),
                            w->labels == MLA_VALUES ? MLA_H5_F32 : MLA_H5_I32, pile->label_count, pile->labels);
    if (status) return status;
    mla_h5_write(file, name_in(name, split, "document_offsets"), MLA_H5_I64, 1, &(int64_t){pile->documents + 1},
                 pile->offsets);
    return mla_h5_write_i64(file, name_in(name, split, "bytes"), pile->bytes);
}

mla_status mla_token_writer_commit(mla_token_writer *w) {
    mla_h5_file *file = NULL;
    char hash[HASH_TEXT];
    mla_status status = mla_h5_create(w->context, &file, w->path, &w->options);
    for (int i = 0; !status && i < SPLITS; i++) status = write_split(w, file, i);
    if (status) goto done;
    hash_text(w->tokenizer, hash);
    mla_h5_write_i64(file, "/vocabulary_size", w->vocabulary_size);
    mla_h5_write_i64(file, "/separator", w->separator);
    mla_h5_write_text(file, "/tokenizer", w->tokenizer);
    mla_h5_write_text(file, "/tokenizer_hash", hash);
    if (w->hugging_face) mla_h5_write_text(file, "/hugging_face", w->hugging_face);
    if (w->label_names) mla_h5_write_text(file, "/labels", w->label_names);
    status = mla_h5_commit(file);
done:
    mla_h5_close(file);
    return status;
}

/* ---- Reading */

struct mla_token_file {
    mla_context *context;
    char *path, *tokenizer, *hugging_face, *label_names;
    mla_h5_file *h5;
    int64_t vocabulary_size, separator;
    mla_token_stream streams[SPLITS];
};

static mla_status check_ids(const mla_token_file *f, int split) {
    const mla_token_stream *s = &f->streams[split];
    int64_t at = 0, limit = f->vocabulary_size;
    if (s->narrow)
        while (at < s->count && s->narrow[at] < limit) at++;
    else
        while (at < s->count && s->wide[at] >= 0 && s->wide[at] < limit) at++;
    if (at == s->count) return MLA_OK;
    return mla_fail(f->context, MLA_ERROR_FORMAT,
                    "%s: token %" PRId64 " of /%s/tokens is %" PRId32 ", not in the vocabulary of %" PRId64, f->path,
                    at, split_names[split], s->narrow ? s->narrow[at] : s->wide[at], limit);
}

static mla_status check_offsets(const mla_token_file *f, int split) {
    const mla_token_stream *s = &f->streams[split];
    bool right = s->offsets[0] == 0 && s->offsets[s->documents] == s->count;
    for (int64_t i = 0; right && i < s->documents; i++) right = s->offsets[i] < s->offsets[i + 1];
    if (right) return MLA_OK;
    return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: /%s/document_offsets do not ascend from 0 to %" PRId64, f->path,
                    split_names[split], s->count);
}

static mla_status check_answers(const mla_token_file *f, int split, int64_t count) {
    const mla_token_stream *s = &f->streams[split];
    bool right = count == s->count;
    for (int64_t i = 0; right && i < count; i++) right = s->answers[i] <= 1;
    if (right) return MLA_OK;
    return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: /%s/answers is not a 0 or 1 for each of %" PRId64 " tokens",
                    f->path, split_names[split], s->count);
}

/* Maps a dataset of one dimension; *count is its length. */
static mla_status map_list(const mla_token_file *f, const char *name, mla_h5_type type, int64_t *count,
                           const void **out) {
    mla_h5_info info;
    mla_status status = mla_h5_describe(f->h5, name, &info);
    if (status) return status;
    *count = info.ndim == 1 ? info.shape[0] : 0;
    return mla_h5_map(f->h5, name, type, 1, count, out);
}

static mla_status map_answers(mla_token_file *f, int split) {
    const void *answers = NULL;
    char name[64];
    int64_t count;
    mla_status status = map_list(f, name_in(name, split, "answers"), MLA_H5_U8, &count, &answers);
    f->streams[split].answers = answers;
    return status ? status : check_answers(f, split, count);
}

static mla_status map_labels(mla_token_file *f, int split, mla_label_form form) {
    mla_token_stream *s = &f->streams[split];
    const int64_t rows = form == MLA_TAGS ? s->count : s->documents;
    const void *labels = NULL;
    char name[64];
    int64_t count;
    const mla_status status = map_list(f, name_in(name, split, label_datasets[form]),
                                       form == MLA_VALUES ? MLA_H5_F32 : MLA_H5_I32, &count, &labels);
    if (status) return status;
    s->labels = (mla_stream_labels){form, rows && form == MLA_VALUES ? count / rows : 1, NULL, NULL, MLA_TOO_LONG_CUT};
    if (form == MLA_VALUES) s->labels.values = labels;
    else s->labels.index = labels;
    if (count == rows * s->labels.width) return MLA_OK;
    return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: %s are %" PRId64 " labels for %" PRId64 " %s", f->path, name,
                    count, rows, form == MLA_TAGS ? "tokens" : "documents");
}

/* What only some files have. */
static mla_status find_others(const mla_token_file *f, bool *answers, bool *hugging_face, mla_label_form *labels) {
    mla_h5_info *all = NULL;
    int64_t count = 0;
    mla_status status = mla_h5_list(f->h5, "/", &all, &count);
    *answers = *hugging_face = false;
    *labels = MLA_UNLABELLED;
    for (int64_t i = 0; i < count; i++) {
        *answers |= strstr(all[i].name, "/answers") != NULL;
        *hugging_face |= !strcmp(all[i].name, "/hugging_face");
        for (int form = MLA_CLASSES; form <= MLA_TAGS; form++)
            if (!strcmp(strrchr(all[i].name, '/') + 1, label_datasets[form])) *labels = (mla_label_form)form;
    }
    free(all);
    return status;
}

static mla_status map_others(mla_token_file *f) {
    bool answers, hugging_face;
    mla_label_form labels;
    mla_status status = find_others(f, &answers, &hugging_face, &labels);
    if (!status && hugging_face) status = mla_h5_read_text(f->h5, "/hugging_face", &f->hugging_face);
    for (int i = 0; !status && answers && i < SPLITS; i++) status = map_answers(f, i);
    for (int i = 0; !status && labels && i < SPLITS; i++) status = map_labels(f, i, labels);
    return !status && labels ? mla_h5_read_text(f->h5, "/labels", &f->label_names) : status;
}

static mla_status map_split(mla_token_file *f, int split) {
    mla_token_stream *s = &f->streams[split];
    mla_h5_type type = token_type(f->vocabulary_size);
    const void *tokens = NULL, *offsets = NULL;
    char name[64];
    int64_t offset_count = 0;
    mla_status status = map_list(f, name_in(name, split, "tokens"), type, &s->count, &tokens);
    if (!status) status = map_list(f, name_in(name, split, "document_offsets"), MLA_H5_I64, &offset_count, &offsets);
    if (!status) status = mla_h5_read_i64(f->h5, name_in(name, split, "bytes"), &s->bytes);
    if (status) return status;
    if (offset_count < 1 || s->bytes < 0)
        return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: /%s is not a list of documents", f->path,
                        split_names[split]);
    s->narrow = type == MLA_H5_U16 ? tokens : NULL;
    s->wide = type == MLA_H5_I32 ? tokens : NULL;
    s->offsets = offsets;
    s->documents = offset_count - 1;
    status = check_offsets(f, split);
    return status ? status : check_ids(f, split);
}

static mla_status read_tokenizer(mla_token_file *f) {
    char hash[HASH_TEXT], *stored = NULL;
    mla_status status = mla_h5_read_text(f->h5, "/tokenizer", &f->tokenizer);
    if (!status) status = mla_h5_read_text(f->h5, "/tokenizer_hash", &stored);
    if (status) goto done;
    hash_text(f->tokenizer, hash);
    if (strcmp(hash, stored))
        status = mla_fail(f->context, MLA_ERROR_FORMAT, "%s: /tokenizer is not the one of /tokenizer_hash", f->path);
done:
    free(stored);
    return status;
}

static mla_status read_head(mla_token_file *f) {
    mla_status status = mla_h5_read_i64(f->h5, "/vocabulary_size", &f->vocabulary_size);
    if (!status) status = mla_h5_read_i64(f->h5, "/separator", &f->separator);
    if (status) return status;
    if (f->vocabulary_size < 1 || f->vocabulary_size > INT32_MAX || f->separator < 0 ||
        f->separator >= f->vocabulary_size)
        return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: vocabulary %" PRId64 " with separator %" PRId64, f->path,
                        f->vocabulary_size, f->separator);
    return read_tokenizer(f);
}

mla_status mla_token_file_open(mla_context *context, mla_token_file **out, const char *path) {
    *out = NULL;
    mla_token_file *f = mla_alloc(context, 1, sizeof *f, "a token file");
    if (!f) return MLA_ERROR_MEMORY;
    *f = (mla_token_file){.context = context, .path = strdup(path)};
    mla_status status = f->path ? mla_h5_open(context, &f->h5, path, MLA_H5_SEALED)
                                : mla_fail(context, MLA_ERROR_MEMORY, "no memory for a path");
    if (!status) status = read_head(f);
    for (int i = 0; !status && i < SPLITS; i++) status = map_split(f, i);
    if (!status) status = map_others(f);
    if (status) mla_token_file_close(f);
    else *out = f;
    return status;
}

void mla_token_file_close(mla_token_file *f) {
    if (!f) return;
    mla_h5_close(f->h5);
    free(f->label_names);
    free(f->hugging_face);
    free(f->tokenizer);
    free(f->path);
    free(f);
}

const mla_token_stream *mla_token_file_stream(const mla_token_file *f, mla_token_split split) {
    return &f->streams[split];
}
int64_t mla_token_file_vocabulary_size(const mla_token_file *f) { return f->vocabulary_size; }
int32_t mla_token_file_separator(const mla_token_file *f) { return (int32_t)f->separator; }
const char *mla_token_file_tokenizer(const mla_token_file *f) { return f->tokenizer; }
const char *mla_token_file_hugging_face(const mla_token_file *f) { return f->hugging_face; }
const char *mla_token_file_label_names(const mla_token_file *f) { return f->label_names; }

mla_status mla_token_file_expect_tokenizer(const mla_token_file *f, const char *tokenizer) {
    if (!strcmp(f->tokenizer, tokenizer)) return MLA_OK;
    char ours[HASH_TEXT], theirs[HASH_TEXT];
    hash_text(f->tokenizer, ours);
    hash_text(tokenizer, theirs);
    return mla_fail(f->context, MLA_ERROR_ARGUMENT,
                    "%s was made with another tokenizer (%s, not %s): prepare the text again with this one", f->path,
                    ours, theirs);
}
