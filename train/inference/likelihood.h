/* How likely a language model finds tokens behind others: requests are gathered and go through the model together.
 *
 * The last position of a request predicts its last token, so what the model sees is all of it but that. A request of
 * which the model sees the beginning of what it sees of another (choices of one token behind a context) costs nothing
 * beside that one; others are packed into rows and kept apart. The hidden states alone are there as a whole, never the
 * logits: the head sees the positions that are asked for, a few at a time.
 *
 *     mla_likelihood_add(likelihood, ids, count, scored);
 *     if ((status = mla_likelihood_run(likelihood))) return status;
 *     mla_likelihood_of(likelihood, 0).sum
 */
#ifndef MLA_TRAIN_INFERENCE_LIKELIHOOD_H
#define MLA_TRAIN_INFERENCE_LIKELIHOOD_H

#include "layers/decoder.h"

typedef struct {
    const mla_decoder *model;
    int64_t sequence;    /* tokens that the model sees of a request at most */
    mla_dtype precision; /* of the matrix products */
} mla_likelihood_options;

typedef struct mla_likelihood mla_likelihood;

/* The model must outlive it. MLA_ERROR_ARGUMENT where the head is not a language model's, tokens see those behind them
 * (causal: false), or the sequence is longer than the model's positions. */
mla_status mla_likelihood_create(mla_context *context, mla_likelihood **out, const mla_likelihood_options *options);
void mla_likelihood_destroy(mla_likelihood *likelihood);

/* One more request: how likely the last `scored` of `count` ids are, 1 <= scored < count, behind those before them, of
 * which as many at the end count as the sequence has room for. MLA_ERROR_ARGUMENT where even `scored` are too many. */
mla_status mla_likelihood_add(mla_likelihood *likelihood, const int32_t *ids, int64_t count, int64_t scored);
int64_t mla_likelihood_count(const mla_likelihood *likelihood);  /* requests since the last clear */
int64_t mla_likelihood_tokens(const mla_likelihood *likelihood); /* of these */
int64_t mla_likelihood_cut(const mla_likelihood *likelihood);    /* requests ever that were cut at their beginning */
int64_t mla_likelihood_seen(const mla_likelihood *likelihood);   /* tokens that ever went through the model */
mla_status mla_likelihood_run(mla_likelihood *likelihood);
/* Forgets the requests. */
void mla_likelihood_clear(mla_likelihood *likelihood);

/* After a run. */
typedef struct {
    double sum;  /* of the natural logarithms of the probabilities */
    bool greedy; /* each token is the most likely one in its place (of equal ones, the first) */
} mla_likelihood_score;
mla_likelihood_score mla_likelihood_of(const mla_likelihood *likelihood, int64_t request);

#endif
