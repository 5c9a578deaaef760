/* Another rank for the latent of a trained layer (layers/latent_attention).
 *
 * A latent c = gain * u with u = h / rms(h), h = kv_a x, gets another width r in place of C.
 *
 * Growing keeps the function: rms is over r elements then, so the rows of kv_a become sqrt(r/C) times as long
 * and the new ones zero, which leaves mean(h²) and so rms, eps included, as they were; the gain is divided by
 * the same factor. The new columns of kv_b are random, so that the new rows of kv_a have a gradient.
 *
 * Shrinking chooses r directions in the space of u. A direction counts by what its loss would change: with
 * S = E[u uᵀ], and G = E[g gᵀ] where g is the gradient of the loss on the calibration text by u, losing u - û
 * costs about E[(u - û)ᵀ G (u - û)] / 2 (Gauss-Newton, the Fisher information for G). G knows what queries,
 * keys, values and all that follows make of a latent. With S = L Lᵀ the best directions are W ᵀ Lᵀ G for the
 * eigenvectors W of Lᵀ G L with the largest eigenvalues, and the others' eigenvalues are what is lost.
 *
 * The norm would undo any scale that such directions have from token to token. It stays right because they
 * are made orthonormal, rows of Q: since |u|² = C for every token, |Q u|² is C less what is lost, nearly a
 * constant. So kv_a' = sqrt(r/C) Q kv_a, the gain is 1, and kv_b' = kv_b gain E[u u'ᵀ] E[u' u'ᵀ]⁻¹, least
 * squares with the latents u' that the new layer really has, makes good the rest. */
#ifndef MLA_LAYERS_LATENT_RANK_H
#define MLA_LAYERS_LATENT_RANK_H

#include "layers/latent_attention.h"

/* What a layer's latents were on the calibration text. */
typedef struct {
    int64_t rank, count, capacity; /* C, tokens */
    float *h;                      /* (count,C), before the norm */
    double *weight;                /* (C,C): the sum of g gᵀ, by c instead of u */
} mla_latent_sample;

/* For up to `capacity` tokens. MLA_ERROR_MEMORY; free it in any case. */
mla_status mla_latent_sample_create(mla_context *context, mla_latent_sample *out, int64_t rank,
                                    int64_t capacity);
void mla_latent_sample_free(mla_latent_sample *sample);
/* Adds tokens: h (count,C); and the gradients g (count,C) of tokens, whenever they are there. There must be
 * room. */
void mla_latent_sample_add(mla_latent_sample *sample, int64_t count, const float *h);
mla_status mla_latent_sample_add_gradients(mla_context *context, mla_latent_sample *sample, int64_t count,
                                           const float *g);

/* Orthonormal rows, the most important first, for any r; what losing the i-th and all behind it costs is the
 * sum of cost[i ...] / 2, in the units of the loss. Both are the caller's to free. */
typedef struct {
    double *rows; /* (C,C) */
    double *cost; /* (C) */
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
