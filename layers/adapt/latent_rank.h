/* Another rank for the latent of a trained layer (layers/attention/latent_attention).
 *
 * A latent c = gain * u with u = h / rms(h), h = kv_a x, gets another width r in place of C.
 *
 * Growing keeps the function: rms is over r elements then, so the rows of kv_a become sqrt(r/C) times as long
 * and the new ones zero, which leaves mean(h²) and so rms, eps included, as they were; the gain is divided by
 * the same factor. The new columns of kv_b are random, so that the new rows of kv_a have a gradient.
 *
 * Shrinking chooses r directions in the space of u. A direction counts by what its loss would change: with
 * S = E[u uᵀ], and G = E[g gᵀ] where g is the gradient of the loss on the calibration text by u, putting û
 * for u costs about E[(u - û)ᵀ G (u - û)] / 2 (Gauss-Newton, with the Fisher information for G). G knows what
 * queries, keys, values and all that follows make of a latent. With S = L Lᵀ and the eigenvectors W of Lᵀ G L
 * with the r largest eigenvalues, y = Wᵀ L⁻¹ u is the best to keep, and û = L W y; the other eigenvalues are
 * what is lost.
 *
 * Of y any mixture would do, kv_b' undoes it, but the new norm takes away its length. So it becomes z = R y,
 * where L W = Q R with orthonormal columns of Q: then |z| = |û|, and |û|² is |u|² = C, the same for every
 * token, less what is lost. Hence kv_a' = sqrt(r/C) R Wᵀ L⁻¹ kv_a, the gain is 1, and kv_b' = kv_b gain
 * sqrt(C/r) Q; least squares with the latents that the new layer really has then make good what the norm
 * still does to them.
 *
 * Where the norm is a neutral one (layers/adapt/neutral_norm.h) there is no length to lose: u is c, less its mean, and
 * c' = R Wᵀ L⁻¹ (c - mean), kv_b' = kv_b Q with what the mean makes in the constant's column. Then the moments of the
 * text are all that is needed of it. */
#ifndef MLA_LAYERS_ADAPT_LATENT_RANK_H
#define MLA_LAYERS_ADAPT_LATENT_RANK_H

#include "layers/attention/latent_attention.h"
#include "layers/decoder.h"

/* The i-th layer's attention where it is latent; NULL where it is not. */
mla_latent_layer *mla_latent_layer_at(const mla_decoder *model, int64_t i);

/* What a layer's latents were on the calibration text. */
typedef struct {
    int64_t rank, count, capacity; /* C, tokens */
    float *h;                      /* (count,C), before the norm; NULL where that is neutral, and instead */
    double *second, *sum;          /* (C,C), (C): the sums of h hᵀ and of h */
    double *weight;                /* (C,C): the sum of g gᵀ, by c instead of u */
} mla_latent_sample;

/* Of a layer, for up to `capacity` tokens, which matters only where its norm is not neutral. MLA_ERROR_MEMORY; free it
 * in any case. */
mla_status mla_latent_sample_create(mla_context *context, mla_latent_sample *out, const mla_latent_layer *layer,
                                    int64_t capacity);
void mla_latent_sample_free(mla_latent_sample *sample);
/* Adds tokens: h (count,C); and the gradients g (count,C) of tokens, whenever they are there. There must be
 * room. Errors: memory, those of products. */
mla_status mla_latent_sample_add(mla_context *context, mla_latent_sample *sample, int64_t count, const float *h);
mla_status mla_latent_sample_add_gradients(mla_context *context, mla_latent_sample *sample, int64_t count,
                                           const float *g);

/* For any r, the most important first. With a neutral norm the constant is none of the C directions of the matrices,
 * which then are C - 1; in `cost` it comes first. */
typedef struct {
    double *kept;  /* (C,C): rows of Wᵀ L⁻¹ */
    double *basis; /* (C,C): columns of Q as rows */
    double *turn;  /* (C,C): R, upper triangular */
    double *cost;  /* (C): lost, those from the i-th on cost sum(cost[i ...]) / 2 nats per token */
} mla_latent_directions;
void mla_latent_directions_free(mla_latent_directions *directions);

/* By the sample. MLA_ERROR_MEMORY. */
mla_status mla_latent_directions_measure(mla_context *context, const mla_latent_layer *layer,
                                         const mla_latent_sample *sample, mla_latent_directions *out);
/* By the singular values of kv_b gain kv_a alone, whatever the text: to compare with. */
mla_status mla_latent_directions_weights(mla_context *context, const mla_latent_layer *layer,
                                         mla_latent_directions *out);

/* Fills kv_a_proj, kv_a_norm and kv_b_proj of `to`, a layer of the same sizes but another rank or the same.
 * Growing needs neither directions nor sample; without a sample, shrinking scales kv_b' by sqrt(C/r) instead
 * of least squares. MLA_ERROR_MEMORY. */
mla_status mla_latent_layer_resize(mla_context *context, const mla_latent_layer *from,
                                   const mla_latent_directions *directions, const mla_latent_sample *sample,
                                   const mla_latent_layer *to);

#endif
