/* Which parts of a multi-head layer's keys go on turning with their position when the layer becomes a latent one.
 *
 * The keys of all G heads together have G K/2 rotary pairs, as complex numbers z_p = a + ib. RoPE multiplies a pair of
 * frequency w by exp(iwt), so a score is Re sum_p conj(q_p) exp(-iw_p (t-s)) z_p, where a query is zero outside its
 * head's group. Pairs of one frequency may be mixed: with any invertible complex A,
 *
 *     z' = A z,   q' = A^-H q    leave the scores as they were.
 *
 * A = Tᴴ S, with S_p² = E|q_p|², and T the eigenvectors of S E[z zᴴ] S: then the first of the z' carry most of
 * the scores, and those that turn can be few. (TransMLA, Meng et al. 2025, does this by real rotations of the keys
 * alone; a complex A weighted by the queries keeps more in as many pairs.) `fold` neighbouring frequencies may be
 * taken for one, so that their pairs mix too.
 *
 * A pair that no longer turns keeps exp(-iw(t-s)) at its mean over distances, which falls on the query's side:
 * q' = A^-H (mu q), mu = E exp(iw(t-s)), near distances more often than far ones, as 1/(1 + distance). What is lost
 * of it is the share 1 - |mu|². */
#ifndef MLA_LAYERS_ADAPT_KEY_FRAME_H
#define MLA_LAYERS_ADAPT_KEY_FRAME_H

#include "layers/attention/multi_head_attention.h"

/* Sums over the calibration text; rows of a head in neighbours' order, row 2i with row 2i+1 whatever the model has. */
typedef struct {
    int64_t heads, width; /* G, K */
    int64_t tokens;
    double *keys;    /* (G K, G K): of k kᵀ */
    double *queries; /* (G, K/2): of |q|² over the group's heads */
} mla_key_moments;

mla_status mla_key_moments_create(mla_context *context, mla_key_moments *out, const mla_model_config *config);
void mla_key_moments_free(mla_key_moments *moments);
/* Adds what a probe sees: q (B,T,H,K), k (B,T,G,K). Errors: memory, those of products. */
mla_status mla_key_moments_add(mla_context *context, mla_key_moments *moments, const mla_model_config *config,
                               const mla_tensor *q, const mla_tensor *k);

/* Where row i of a head in neighbours' order stands in the model's parameters. */
int64_t mla_key_row(const mla_model_config *config, int64_t i);

/* The pairs of a layer, mixed: pair k of group g, the most important first, is number g (G fold) + k, and pair p is
 * rows 2p and 2p+1 of both matrices. */
typedef struct {
    double *keys, *queries, *settled; /* (G K, G K): z' of z, q' of q, and q' where the pair no longer turns */
    double *value;                    /* (G K/2): what the pair carries of the scores, E|q'|²|z'|² */
} mla_key_basis;

/* What positions are, the same for all layers. */
typedef struct {
    const double *frequencies; /* (K/2) */
    int64_t fold;              /* divides K/2 */
    int64_t distances;         /* tokens that calibration sees together */
} mla_key_positions;

/* mu of a frequency. */
double _Complex mla_key_mean_turn(const mla_key_positions *positions, double frequency);

/* The basis of one layer. Error: MLA_ERROR_MEMORY. */
mla_status mla_key_basis_measure(mla_context *context, const mla_key_moments *moments,
                                 const mla_key_positions *positions, mla_key_basis *out);
void mla_key_basis_free(mla_key_basis *basis);

/* A layer's keys and queries as a latent layer has them: the first `rotary` rows turn, pair by pair, the others have no
 * position. */
typedef struct {
    int64_t width, rotary;
    double *keys, *queries; /* (width,width) */
} mla_key_frame;

/* With pairs chosen by `turns` (width/2), one flag for each pair of the basis. */
mla_status mla_key_frame_create(mla_context *context, mla_key_frame *out, int64_t width, const mla_key_basis *basis,
                                const bool *turns);
/* All pairs turn, as they are. */
mla_status mla_key_frame_identity(mla_context *context, mla_key_frame *out, int64_t width);
void mla_key_frame_free(mla_key_frame *frame);

#endif
