/* Text with a known entropy, for a check that training truly learns: a Markov chain whose next token depends
 * on the last `order` ones, with random but fixed probabilities, p(x | s) = softmax(sharpness * normal
 * noise). No model can have a lower loss than its entropy rate,
 *
 *     H = - sum over states s of pi(s) * sum over x of p(x | s) ln p(x | s),   pi the stationary
 * distribution. */
#ifndef MLA_DATA_TEXT_SYNTHETIC_H
#define MLA_DATA_TEXT_SYNTHETIC_H

#include "autograd/base/context.h"

typedef struct {
    int64_t vocabulary; /* tokens, 2 or more; 0: 32 */
    int order;          /* 1 or 2; 0: 1 */
    double sharpness;   /* 0 < sharpness <= 8; 0: 2 */
    uint64_t seed;      /* of the probabilities and of what is generated */
} mla_synthetic_options;

typedef struct mla_synthetic mla_synthetic;

/* Needs vocabulary^(order + 1) numbers, of which 2^26 are allowed. MLA_ERROR_ARGUMENT for others. */
mla_status mla_synthetic_create(mla_context *context, mla_synthetic **out, const mla_synthetic_options *options);
void mla_synthetic_destroy(mla_synthetic *source);

int64_t mla_synthetic_vocabulary(const mla_synthetic *source);
/* The entropy rate, nats per token. */
double mla_synthetic_entropy(const mla_synthetic *source);

/* Generates `count` tokens from the stationary distribution on. Equal numbers `part` give equal tokens; the
 * training part and the held-out one are two of them. */
void mla_synthetic_generate(const mla_synthetic *source, uint64_t part, int64_t count, int32_t *out);

/* -ln p of these tokens (ids of the vocabulary) under the chain itself, averaged over all but the first
 * `order`: the entropy rate with the sampling error of these tokens in it. */
double mla_synthetic_loss(const mla_synthetic *source, int64_t count, const int32_t *tokens);

#endif
