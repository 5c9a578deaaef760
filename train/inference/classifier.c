#include "train/inference/classifier.h"
#include "layers/head/classification.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that go through the model together, of one text. */
typedef struct {
    int64_t text, first, count; /* first: of all tokens */
} piece;

typedef struct {
    int64_t first, count; /* tokens */
    int64_t pieces;
} text_entry;

struct mla_classifier {
    mla_context *context;
    mla_classifier_options options;
    mla_encoder *encoder;
    mla_frame frame; /* around texts */
    mla_tape *tape;
    mla_id_list ids;
    text_entry *texts;
    piece *pieces;
    int64_t text_count, text_capacity, piece_count, piece_capacity;
    int64_t *ends; /* of tokens: behind their last byte in the text */
    int64_t end_capacity;
    float *values; /* (texts or tokens, K) */
    int64_t value_capacity;
    int32_t *row_ids, *starts; /* (sequence) */
    float *logits;             /* (K) */
};

static bool labels_tokens(const mla_classifier *c) {
    return c->options.model->config.head->labels == MLA_LABELS_OF_TOKENS;
}

static mla_status check_options(mla_context *context, const mla_classifier_options *o) {
    const mla_model_config *c = &o->model->config;
    if (!c->head->labels)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "the model's head is %s: it gives no labels; train one with model.head: sequence or token",
                        c->head->name);
    if (o->sequence >= 1 && o->sequence <= c->max_position_embeddings) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "a sequence of %lld tokens: the model has %lld positions",
                    (long long)o->sequence, (long long)c->max_position_embeddings);
}

mla_status mla_classifier_create(mla_context *context, mla_classifier **out, const mla_classifier_options *options) {
    *out = NULL;
    mla_status status = check_options(context, options);
    mla_classifier *c = status ? NULL : mla_alloc(context, 1, sizeof *c, "a classifier");
    if (!c) return status ? status : MLA_ERROR_MEMORY;
    *c = (mla_classifier){.context = context, .options = *options};
    c->row_ids = mla_alloc(context, options->sequence, sizeof *c->row_ids, "a sequence");
    c->starts = mla_alloc(context, options->sequence, sizeof *c->starts, "a sequence");
    c->logits = mla_alloc(context, options->model->config.num_labels, sizeof *c->logits, "logits");
    status = mla_error_status(context);
    const mla_encoder_options encoder = {.added = MLA_ADDED_PLAIN, .frame = options->bos};
    if (options->bos) c->frame = mla_tokenizer_frame(options->tokenizer);
    if (!status) status = mla_encoder_create(context, &c->encoder, options->tokenizer, &encoder);
    if (!status) status = mla_tape_create(context, &c->tape, NULL);
    if (status) mla_classifier_destroy(c);
    else *out = c;
    return status;
}

void mla_classifier_destroy(mla_classifier *c) {
    if (!c) return;
    mla_tape_destroy(c->tape);
    mla_encoder_destroy(c->encoder);
    free(c->ids.ids);
    free(c->texts);
    free(c->pieces);
    free(c->ends);
    free(c->values);
    free(c->row_ids);
    free(c->starts);
    free(c->logits);
    free(c);
}

void mla_classifier_clear(mla_classifier *c) { c->text_count = c->piece_count = c->ids.count = 0; }

int64_t mla_classifier_count(const mla_classifier *c) { return c->text_count; }
int64_t mla_classifier_tokens(const mla_classifier *c) { return c->ids.count; }

/* ---- texts ---- */

static mla_status add_piece(mla_classifier *c, int64_t first, int64_t count) {
    const mla_status status = mla_grow(c->context, &c->pieces, &c->piece_capacity, c->piece_count + 1,
                                       sizeof *c->pieces, "the pieces of texts");
    if (status) return status;
    c->pieces[c->piece_count++] = (piece){c->text_count, first, count};
    c->texts[c->text_count].pieces++;
    return MLA_OK;
}

/* As data/tokens/packing.c does in training. */
static mla_status divide(mla_classifier *c, int64_t first, int64_t count) {
    const int64_t most = c->options.sequence, step = labels_tokens(c) || most < 2 ? most : most / 2;
    mla_status status = MLA_OK;
    if (count > most && c->options.too_long == MLA_TOO_LONG_REFUSE)
        return mla_fail(c->context, MLA_ERROR_ARGUMENT, "a text of %lld tokens, more than %lld", (long long)count,
                        (long long)most);
    if (count <= most || c->options.too_long == MLA_TOO_LONG_CUT)
        return add_piece(c, first, count < most ? count : most);
    if (c->options.too_long == MLA_TOO_LONG_CUT_START) return add_piece(c, first + count - most, most);
    int64_t at = 0;
    for (; at + most < count && !status; at += step) status = add_piece(c, first + at, most);
    if (!labels_tokens(c)) at = count - most;
    return status ? status : add_piece(c, first + at, count - at);
}

static mla_status note_ends(mla_classifier *c, int64_t first) {
    const int64_t inside = first + c->frame.before_count, behind = c->ids.count - c->frame.behind_count;
    int64_t end = 0;
    mla_status status = mla_grow(c->context, &c->ends, &c->end_capacity, c->ids.count, sizeof *c->ends, "tokens");
    for (int64_t i = first; i < c->ids.count && !status; i++) {
        const char *bytes;
        int64_t length = 0;
        status = mla_tokenizer_token(c->context, c->options.tokenizer, c->ids.ids[i], &bytes, &length);
        c->ends[i] = end += i >= inside && i < behind ? length : 0;
    }
    return status;
}

mla_status mla_classifier_add(mla_classifier *c, const char *bytes, int64_t length) {
    const int64_t first = c->ids.count;
    mla_status status = mla_grow(c->context, &c->texts, &c->text_capacity, c->text_count + 1, sizeof *c->texts,
                                 "texts");
    if (!status) status = mla_encoder_encode(c->context, c->encoder, bytes, length, &c->ids);
    const int64_t count = c->ids.count - first;
    if (!status && count <= c->frame.before_count + c->frame.behind_count)
        status = mla_fail(c->context, MLA_ERROR_ARGUMENT, "there is no text to label");
    if (!status) c->texts[c->text_count] = (text_entry){first, count, 0};
    if (!status && labels_tokens(c)) status = note_ends(c, first);
    if (!status) status = divide(c, first, count);
    c->text_count += !status;
    return status;
}

/* ---- the model ---- */

/* In place: probabilities, where they are such. */
static void decide(const mla_model_config *config, float *z) {
    const mla_labels_kind kind = mla_classification_labels(config);
    double top = -INFINITY, total = 0;
    for (int64_t k = 0; k < config->num_labels; k++) top = fmax(top, (double)z[k]);
    for (int64_t k = 0; k < config->num_labels; k++) total += exp((double)z[k] - top);
    for (int64_t k = 0; k < config->num_labels; k++)
        z[k] = kind == MLA_LABELS_CLASSES ? (float)(exp((double)z[k] - top) / total)
               : kind == MLA_LABELS_FLAGS ? (float)(1 / (1 + exp(-(double)z[k])))
                                          : z[k];
}

/* A piece's part in the values of its text, from the logits of its last position; or those of its tokens. */
static void take(mla_classifier *c, const piece *p, const float *logits, int64_t at) {
    const mla_model_config *config = &c->options.model->config;
    const int64_t classes = config->num_labels;
    const bool tokens = labels_tokens(c);
    for (int64_t i = tokens ? 0 : p->count - 1; i < p->count; i++) {
        float *to = c->values + (tokens ? p->first + i : p->text) * classes;
        const float share = tokens ? 1 : 1 / (float)c->texts[p->text].pieces;
        memcpy(c->logits, logits + (at + i) * classes, (size_t)classes * sizeof *c->logits);
        decide(config, c->logits);
        for (int64_t k = 0; k < classes; k++) to[k] += share * c->logits[k];
    }
}

/* Pieces first ... that fit into one row: *next is behind the last. A model that cannot keep documents apart sees them
 * one by one. */
static mla_status run_row(mla_classifier *c, int64_t first, int64_t *next) {
    const mla_decoder *model = c->options.model;
    const bool alone = model->embed_positions || !model->config.causal;
    int64_t count = 0, i = first;
    for (; i < c->piece_count && (i == first || !alone); i++) {
        const piece *p = &c->pieces[i];
        if (count + p->count > c->options.sequence) break;
        memcpy(c->row_ids + count, c->ids.ids + p->first, (size_t)p->count * sizeof *c->row_ids);
        for (int64_t k = 0; k < p->count; k++) c->starts[count + k] = (int32_t)count;
        count += p->count;
    }
    *next = i;
    mla_tape_begin(c->tape, &(mla_step){.inference = true, .precision = c->options.precision});
    const mla_pass pass = {.starts = i - first > 1 ? c->starts : NULL};
    mla_tensor *ids = mla_input(c->tape, MLA_I32, 2, (int64_t[]){1, count}, c->row_ids);
    const mla_tensor *logits = mla_convert(c->tape, mla_decoder_logits(c->tape, model, ids, &pass), MLA_F32);
    if (mla_error_status(c->context)) return mla_error_status(c->context);
    for (int64_t k = first, at = 0; k < i; at += c->pieces[k++].count) take(c, &c->pieces[k], logits->data, at);
    return MLA_OK;
}

mla_status mla_classifier_run(mla_classifier *c) {
    const int64_t count = (labels_tokens(c) ? c->ids.count : c->text_count) * c->options.model->config.num_labels;
    mla_status status = mla_grow(c->context, &c->values, &c->value_capacity, count, sizeof *c->values, "labels");
    if (!status) memset(c->values, 0, (size_t)count * sizeof *c->values);
    for (int64_t i = 0; i < c->piece_count && !status;) status = run_row(c, i, &i);
    return status;
}

/* ---- results ---- */

const float *mla_classifier_values(const mla_classifier *c, int64_t text) {
    return c->values + text * c->options.model->config.num_labels;
}

int64_t mla_classifier_token_count(const mla_classifier *c, int64_t text) { return c->texts[text].count; }

mla_classified_token mla_classifier_token(const mla_classifier *c, int64_t text, int64_t token) {
    const text_entry *t = &c->texts[text];
    const int64_t at = t->first + token, classes = c->options.model->config.num_labels;
    const bool around = token < c->frame.before_count || token >= t->count - c->frame.behind_count;
    const bool seen = !around && (c->options.too_long != MLA_TOO_LONG_CUT || token < c->options.sequence);
    return (mla_classified_token){token ? c->ends[at - 1] : 0, c->ends[at], seen ? c->values + at * classes : NULL};
}
