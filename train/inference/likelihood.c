/* Requests are sorted by what the model sees of them, so that those that see the beginning of another's stand right
 * before it: such a group takes the room of its longest. Groups are laid one behind the other into a row (run_row), and
 * the positions that any request of the row asks for go through the head in chunks (score_chunk). */
#include "train/inference/likelihood.h"
#include "autograd/base/bfloat16.h"
#include "layers/head/head.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROW = 1024, CHUNK = 64 }; /* tokens of a row, where no request is longer; positions at a time in the head */

typedef struct {
    const int32_t *ids; /* set when run */
    int64_t first;      /* of all ids */
    int64_t seen, scored;
    int64_t at; /* in the row */
    mla_likelihood_score score;
} request;

struct mla_likelihood {
    mla_context *context;
    mla_likelihood_options options;
    mla_tape *tape, *head_tape; /* the second is begun anew for each chunk */
    int32_t *ids;
    request *requests, **order;
    int64_t id_count, id_capacity, count, capacity, order_capacity, cut, tokens_seen;
    int32_t *row, *starts;
    int64_t *wanted; /* positions of the row that a request asks for, in their order */
    bool *asked;     /* whether one does */
    int64_t row_capacity, starts_capacity, wanted_capacity, asked_capacity;
    void *hidden; /* (CHUNK,D) */
};

static mla_status check_options(mla_context *context, const mla_likelihood_options *o) {
    const mla_model_config *c = &o->model->config;
    if (c->head->labels)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "the model's head is %s: only a language model says how likely text is", c->head->name);
    if (!c->causal)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "a model with causal: false sees the tokens whose likelihood is asked for");
    if (o->sequence >= 1 && o->sequence <= c->max_position_embeddings) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "a sequence of %lld tokens: the model has %lld positions",
                    (long long)o->sequence, (long long)c->max_position_embeddings);
}

mla_status mla_likelihood_create(mla_context *context, mla_likelihood **out, const mla_likelihood_options *options) {
    *out = NULL;
    mla_status status = check_options(context, options);
    mla_likelihood *l = status ? NULL : mla_alloc(context, 1, sizeof *l, "likelihoods");
    if (!l) return status ? status : MLA_ERROR_MEMORY;
    *l = (mla_likelihood){.context = context, .options = *options};
    l->hidden = mla_alloc(context, CHUNK * options->model->config.hidden_size, sizeof(float), "hidden states");
    status = mla_error_status(context);
    if (!status) status = mla_tape_create(context, &l->tape, NULL);
    if (!status) status = mla_tape_create(context, &l->head_tape, NULL);
    if (status) mla_likelihood_destroy(l);
    else *out = l;
    return status;
}

void mla_likelihood_destroy(mla_likelihood *l) {
    if (!l) return;
    mla_tape_destroy(l->tape);
    mla_tape_destroy(l->head_tape);
    free(l->ids);
    free(l->requests);
    free(l->order);
    free(l->row);
    free(l->starts);
    free(l->wanted);
    free(l->asked);
    free(l->hidden);
    free(l);
}

void mla_likelihood_clear(mla_likelihood *l) { l->count = l->id_count = 0; }

int64_t mla_likelihood_count(const mla_likelihood *l) { return l->count; }
int64_t mla_likelihood_tokens(const mla_likelihood *l) { return l->id_count; }
int64_t mla_likelihood_cut(const mla_likelihood *l) { return l->cut; }
int64_t mla_likelihood_seen(const mla_likelihood *l) { return l->tokens_seen; }
mla_likelihood_score mla_likelihood_of(const mla_likelihood *l, int64_t i) { return l->requests[i].score; }

/* ---- requests ---- */

mla_status mla_likelihood_add(mla_likelihood *l, const int32_t *ids, int64_t count, int64_t scored) {
    const int64_t most = l->options.sequence + 1, kept = count < most ? count : most;
    if (scored >= kept)
        return mla_fail(l->context, MLA_ERROR_ARGUMENT, "%lld tokens are more than the %lld that are seen together",
                        (long long)scored, (long long)l->options.sequence);
    mla_status status = mla_grow(l->context, &l->requests, &l->capacity, l->count + 1, sizeof *l->requests, "requests");
    if (!status)
        status = mla_grow(l->context, &l->ids, &l->id_capacity, l->id_count + kept, sizeof *l->ids, "the tokens");
    if (status) return status;
    memcpy(l->ids + l->id_count, ids + count - kept, (size_t)kept * sizeof *ids);
    l->requests[l->count++] = (request){.first = l->id_count, .seen = kept - 1, .scored = scored, .score.greedy = true};
    l->id_count += kept;
    l->cut += kept < count;
    return MLA_OK;
}

static int by_what_is_seen(const void *a, const void *b) {
    const request *x = *(request *const *)a, *y = *(request *const *)b;
    const int64_t shorter = x->seen < y->seen ? x->seen : y->seen;
    for (int64_t i = 0; i < shorter; i++)
        if (x->ids[i] != y->ids[i]) return x->ids[i] < y->ids[i] ? -1 : 1;
    return (x->seen > y->seen) - (x->seen < y->seen);
}

static mla_status sort(mla_likelihood *l) {
    const mla_status status = mla_grow(l->context, &l->order, &l->order_capacity, l->count, sizeof(request *),
                                       "requests");
    if (status || !l->count) return status;
    for (int64_t i = 0; i < l->count; i++) {
        l->requests[i].ids = l->ids + l->requests[i].first;
        l->order[i] = &l->requests[i];
    }
    qsort(l->order, (size_t)l->count, sizeof *l->order, by_what_is_seen);
    return MLA_OK;
}

/* The angles of LongRoPE depend on how long the row is: there, up to this length. 0: they do not. */
static int64_t short_length(const mla_model_config *c) {
    return c->rope_scaling.type == MLA_ROPE_SCALING_LONGROPE ? c->rope_scaling.original_max_position_embeddings : 0;
}

static bool begins(const mla_likelihood *l, const request *a, const request *b) {
    const int64_t limit = short_length(&l->options.model->config);
    return a->seen <= b->seen && (a->seen > limit) == (b->seen > limit) &&
           !memcmp(a->ids, b->ids, (size_t)a->seen * sizeof *a->ids);
}

/* The last of the group that begins at order[i]. */
static int64_t group_end(const mla_likelihood *l, int64_t i) {
    while (i + 1 < l->count && begins(l, l->order[i], l->order[i + 1])) i++;
    return i;
}

/* ---- the head ---- */

static float logit(const mla_tensor *logits, int64_t i) {
    return logits->dtype == MLA_BF16 ? mla_bf16_to_float(((const mla_bf16 *)logits->data)[i])
                                     : ((const float *)logits->data)[i];
}

/* log(sum of exp) of a position's logits, and which is the largest. */
static double normaliser(const mla_tensor *logits, int64_t row, int64_t vocabulary, int64_t *best) {
    const int64_t first = row * vocabulary;
    double total = 0;
    *best = 0;
    for (int64_t k = 1; k < vocabulary; k++)
        if (logit(logits, first + k) > logit(logits, first + *best)) *best = k;
    const double top = (double)logit(logits, first + *best);
    for (int64_t k = 0; k < vocabulary; k++) total += exp((double)logit(logits, first + k) - top);
    return top + log(total);
}

/* What a position's logits are to the requests of the row that ask for it. */
static void take(mla_likelihood *l, int64_t from, int64_t to, int64_t position, const mla_tensor *logits, int64_t row) {
    const int64_t vocabulary = l->options.model->config.vocab_size;
    int64_t best;
    const double total = normaliser(logits, row, vocabulary, &best);
    for (int64_t i = from; i < to; i++) {
        request *r = l->order[i];
        const int64_t place = position - r->at;
        if (place >= r->seen || place < r->seen - r->scored) continue;
        const int32_t id = r->ids[place + 1];
        r->score.sum += (double)logit(logits, row * vocabulary + id) - total;
        r->score.greedy &= id == best;
    }
}

/* Requests order[from ... to - 1] at `count` of the wanted positions. */
static mla_status score_chunk(mla_likelihood *l, int64_t from, int64_t to, const int64_t *positions, int64_t count,
                              const mla_tensor *hidden) {
    const mla_decoder *model = l->options.model;
    const int64_t width = model->config.hidden_size;
    const size_t bytes = (size_t)width * mla_dtype_size(hidden->dtype);
    for (int64_t i = 0; i < count; i++)
        memcpy((char *)l->hidden + (size_t)i * bytes, (const char *)hidden->data + (size_t)positions[i] * bytes, bytes);
    mla_tape_begin(l->head_tape, &(mla_step){.inference = true, .precision = l->options.precision});
    mla_tensor *in = mla_input(l->head_tape, hidden->dtype, 3, (int64_t[]){1, count, width}, l->hidden);
    const mla_tensor *logits = model->config.head->logits(l->head_tape, model->head, in, &(mla_pass){0});
    if (mla_error_status(l->context)) return mla_error_status(l->context);
    for (int64_t i = 0; i < count; i++) take(l, from, to, positions[i], logits, i);
    return MLA_OK;
}

/* ---- rows ---- */

static mla_status make_room(mla_likelihood *l, int64_t tokens) {
    mla_status status = mla_grow(l->context, &l->row, &l->row_capacity, tokens, sizeof *l->row, "a row");
    if (!status) status = mla_grow(l->context, &l->starts, &l->starts_capacity, tokens, sizeof *l->starts, "a row");
    if (!status) status = mla_grow(l->context, &l->wanted, &l->wanted_capacity, tokens, sizeof *l->wanted, "a row");
    return status ? status : mla_grow(l->context, &l->asked, &l->asked_capacity, tokens, sizeof *l->asked, "a row");
}

static void lay_group(mla_likelihood *l, int64_t from, int64_t to, int64_t at) {
    const request *longest = l->order[to];
    memcpy(l->row + at, longest->ids, (size_t)longest->seen * sizeof *l->row);
    memset(l->asked + at, 0, (size_t)longest->seen * sizeof *l->asked);
    for (int64_t k = 0; k < longest->seen; k++) l->starts[at + k] = (int32_t)at;
    for (int64_t i = from; i <= to; i++) {
        request *r = l->order[i];
        r->at = at;
        for (int64_t k = r->seen - r->scored; k < r->seen; k++) l->asked[at + k] = true;
    }
}

/* Lays groups from order[first] on into a row of at most `room` tokens, at least one; *next is behind the last. */
static mla_status fill_row(mla_likelihood *l, int64_t first, int64_t room, int64_t *next, int64_t *tokens) {
    mla_status status = MLA_OK;
    int64_t i = first;
    *tokens = 0;
    while (i < l->count && !status) {
        const int64_t end = group_end(l, i), length = l->order[end]->seen;
        if (*tokens && *tokens + length > room) break;
        status = make_room(l, *tokens + length);
        if (!status) lay_group(l, i, end, *tokens);
        *tokens += length;
        i = end + 1;
    }
    *next = i;
    return status;
}

/* Learned positions would have to begin anew in each request. */
static int64_t room_of_a_row(const mla_likelihood *l) {
    const int64_t limit = short_length(&l->options.model->config), positions = l->options.sequence;
    const int64_t most = limit && limit < positions ? limit : positions;
    return l->options.model->embed_positions ? 0 : most < ROW ? most : ROW;
}

static mla_status run_row(mla_likelihood *l, int64_t first, int64_t *next) {
    const mla_decoder *model = l->options.model;
    int64_t tokens, count = 0;
    mla_status status = fill_row(l, first, room_of_a_row(l), next, &tokens);
    if (status) return status;
    mla_tape_begin(l->tape, &(mla_step){.inference = true, .precision = l->options.precision});
    const mla_pass pass = {.starts = l->starts[tokens - 1] ? l->starts : NULL};
    mla_tensor *ids = mla_input(l->tape, MLA_I32, 2, (int64_t[]){1, tokens}, l->row);
    const mla_tensor *hidden = mla_decoder_hidden(l->tape, model, ids, &pass);
    status = mla_error_status(l->context);
    l->tokens_seen += tokens;
    for (int64_t i = 0; i < tokens; i++)
        if (l->asked[i]) l->wanted[count++] = i;
    for (int64_t i = 0; i < count && !status; i += CHUNK)
        status = score_chunk(l, first, *next, l->wanted + i, count - i < CHUNK ? count - i : CHUNK, hidden);
    return status;
}

mla_status mla_likelihood_run(mla_likelihood *l) {
    mla_status status = sort(l);
    for (int64_t i = 0; i < l->count && !status;) status = run_row(l, i, &i);
    return status;
}
