/* All ops that graphs are built from. Each lives in autograd/ops/, with its formula.
 *
 * Inputs of the general set are f32; the fused ops, slice, concat and reshape also take bf16 and give what they got,
 * unless said otherwise. Parameters and their gradients are f32, frozen ones may be bf16 (mla_params_keep_bf16);
 * products of bf16 use the bf16 copies of parameters (mla_params_refresh_bf16). "Rows" are all dimensions but the last.
 * Inputs that do not fit give an inert tensor and an error that names the op and the shapes. Every op can be
 * differentiated by every f32 input, unless it says otherwise. */
#ifndef MLA_AUTOGRAD_OPS_H
#define MLA_AUTOGRAD_OPS_H

#include "autograd/kernels/attention_mask.h"
#include "autograd/tape.h"

/* ---- fused ops that the models use ---- */

/* y (..., out) = x (..., in) weight (out,in)ᵀ + bias (out); bias may be NULL. The product is of the step's
 * precision, and so is y: f32 x is rounded to bf16 where that is it. */
mla_tensor *mla_linear(mla_tape *tape, mla_tensor *x, mla_tensor *weight, mla_tensor *bias);
/* The same without a bias, and y is f32 whatever the precision, so that close logits stay apart. Inference only. */
mla_tensor *mla_logits(mla_tape *tape, mla_tensor *x, mla_tensor *weight);

/* ---- adapters of low rank: A (r,in), B (out,r), both f32 parameters (Hu et al. 2021, "LoRA") ---- */

/* y + scale B A x: y (..., out), x (..., in). It is written into y's memory where nothing else reads that, and y may
 * not be used any more (MLA_ERROR_ARGUMENT); otherwise into a copy, as of what is an input, a parameter or the result
 * of an op that keeps it (mla_sigmoid). */
mla_tensor *mla_lora(mla_tape *tape, mla_tensor *y, mla_tensor *x, mla_tensor *a, mla_tensor *b, float scale);
/* The norms of the rows of weight + scale B A, f32 (out); the weight may be bf16. No gradient flows: DoRA takes them
 * for constants. */
mla_tensor *mla_lora_norm(mla_tape *tape, mla_tensor *weight, mla_tensor *a, mla_tensor *b, float scale);
/* y = u * magnitude / norm + bias, where u (..., out) = x (weight + scale B A)ᵀ; magnitude, norm (from
 * mla_lora_norm) and bias (or NULL) are f32 (out). (Liu et al. 2024, "DoRA", eq. 5) */
mla_tensor *mla_dora(mla_tape *tape, mla_tensor *u, mla_tensor *magnitude, mla_tensor *norm, mla_tensor *bias);

typedef struct {
    float scale;   /* of B A */
    float share;   /* of the adapter in a stack of several */
    mla_dtype out; /* type of the result */
} mla_lora_weight_options;
/* A weight with an adapter in it, for where it is used as such: sum + share * dW, (out,in), where dW = scale B A or,
 * with magnitude and norm, DoRA's magnitude / norm * (weight + scale B A) - weight. `sum` is the weight, or the
 * result of the adapter before, f32 or bf16; the weight itself, only read for DoRA, must need no gradient. */
mla_tensor *mla_lora_weight(mla_tape *tape, mla_tensor *sum, mla_tensor *weight, mla_tensor *a, mla_tensor *b,
                            mla_tensor *magnitude, mla_tensor *norm, const mla_lora_weight_options *options);

/* Row by row: gain * x / sqrt(mean(x²) + eps), of type `out`. */
mla_tensor *mla_rmsnorm(mla_tape *tape, mla_tensor *x, mla_tensor *gain, float eps, mla_dtype out);
/* Row by row: gain * (x - mean) / sqrt(variance + eps) + bias, of type `out`; bias may be NULL. */
mla_tensor *mla_layernorm(mla_tape *tape, mla_tensor *x, mla_tensor *gain, mla_tensor *bias, float eps, mla_dtype out);

/* Cosines and sines of the rotary angles, (positions, rotary/2) each; owned by the caller (layers/parts/rope). */
typedef struct {
    int64_t positions, rotary;
    const float *cosine, *sine;
    bool interleaved; /* pairs are (2i, 2i+1), as DeepSeek's; otherwise (i, i + rotary/2) */
    /* LongRoPE: texts of more than `original` positions are turned by other angles; 0: all by the same. The first
     * tables then have only `original` rows. */
    int64_t original;
    const float *long_cosine, *long_sine;
} mla_rope_table;
/* x (B,T,H,W): turns the last `rotary` elements of every head by the angles of its position, first_position + t; the
 * text has first_position + T. */
mla_tensor *mla_rope(mla_tape *tape, mla_tensor *x, const mla_rope_table *table, int64_t first_position);
/* The same, each of the B sequences from a position of its own; inference only. The table outlives the tape's step;
 * `positions` need not outlive the call. */
mla_tensor *mla_rope_each(mla_tape *tape, mla_tensor *x, const mla_rope_table *table, const int64_t *positions);

typedef struct {
    mla_attention_mask mask;
    float scale; /* of the scores; 0: 1/sqrt(key width) */
    /* Latent attention whose kv_b (without gradient) has kv_b_scale B A in it: A (r,C), B (H*(N+V),r) get their
     * gradients, without that of kv_b as a whole. NULL: none. */
    mla_tensor *kv_b_a, *kv_b_b;
    float kv_b_scale;
} mla_attention_options;
/* softmax(scale q kᵀ) v in blocks: q (B,T,H,K), k (B,S,G,K), v (B,S,G,V) -> (B,T,H*V). G divides H: each of the
 * G key heads serves H/G query heads. No T x S array ever exists. */
mla_tensor *mla_attention(mla_tape *tape, mla_tensor *q, mla_tensor *k, mla_tensor *v,
                          const mla_attention_options *options);
/* Attention whose keys and values are expanded from a latent: q (B,T,H,N+R), latent (B,T,C), rotary key
 * k_rope (B,T,R), one for all heads, or NULL (R = 0), kv_b (H*(N+V), C) with rows [k_nope; v] per head
 * -> (B,T,H*V). Keeps the latent, not the keys and values, for the backward pass. */
mla_tensor *mla_latent_attention(mla_tape *tape, mla_tensor *q, mla_tensor *latent, mla_tensor *k_rope,
                                 mla_tensor *kv_b, int64_t heads, const mla_attention_options *options);

/* ---- decoding one position of each of B sequences from their caches; in a step of inference where inputs need a
 * gradient: none flows ---- */

/* Where the cached keys and values of one layer stand: position s, head g at keys + s*key_row + g*K. */
typedef struct {
    const void *keys, *values;  /* of f32 or bf16; the same where values are the first elements of keys */
    int64_t key_row, value_row; /* elements from position to position */
    int64_t length;             /* positions, the new one included */
    int64_t key_heads, value_width;
    mla_dtype type; /* bf16 is widened on its way: all is computed in f32 */
} mla_cache_view;
/* q (1,1,H,K) -> (1,1,H*V): as mla_attention over the cached positions. */
mla_tensor *mla_cached_attention(mla_tape *tape, mla_tensor *q, const mla_cache_view *cache, float scale);
/* q (B,1,H,K) -> (B,1,H*V): the same of B sequences, each over a cache of its own; what one gives does not depend on
 * the others. The B views may differ in where they stand and in length; they need not outlive the call. */
mla_tensor *mla_cached_attention_each(mla_tape *tape, mla_tensor *q, const mla_cache_view *caches, float scale);
/* The absorbed form of latent attention: instead of expanding every cached latent c, the query goes to the latent
 * side, q_nopeᵀ (W_k c) = (W_kᵀ q_nope)ᵀ c. q (B,1,H,N+R), kv_b (H*(N+V),C) -> (B,1,H,C+R), to be used with one
 * key head whose keys are [c; k_rope] and whose values are c ... */
mla_tensor *mla_absorb_query(mla_tape *tape, mla_tensor *q, mla_tensor *kv_b, int64_t rope);
/* ... and what comes out, (B,1,H*C), is expanded once: o = W_v (sum of p c). -> (B,1,H*V). */
mla_tensor *mla_expand_values(mla_tape *tape, mla_tensor *summed, mla_tensor *kv_b, int64_t heads, int64_t nope);

/* silu(gate) * up, with silu(x) = x / (1 + exp(-x)). */
mla_tensor *mla_swiglu(mla_tape *tape, mla_tensor *gate, mla_tensor *up);
/* x with each element zero with probability p, the others divided by 1-p. x itself outside training. The first
 * dimension counts samples: the mask depends on seed, step, op and sample, not on threads, ranks or batches. */
mla_tensor *mla_dropout(mla_tape *tape, mla_tensor *x, float p);
/* x + dropout(y, p); x is f32, and so is the result. */
mla_tensor *mla_residual_add(mla_tape *tape, mla_tensor *x, mla_tensor *y, float p);

typedef struct {
    float scale; /* of each row's loss: 1 / (number of valid targets in the whole batch) */
    /* With a teacher, what is learned is its distribution too: (1 - share) of the cross-entropy, and share T² times
     * KL(teacher || student), both softened by temperature T (Hinton et al. 2015). */
    mla_tensor *teacher, *teacher_weight; /* (..., E), (V,E), without gradient; NULL: none */
    float share, temperature;             /* with a teacher: 0 to 1, and above 0 */
    double *divergence;                   /* the sum of the KLs, unscaled, is added to it; NULL: not wanted */
} mla_output_loss_options;
/* scale * sum over rows of -log softmax(x weightᵀ)[target]: x (..., D), weight (V,D), targets i32 (...), -1 where
 * a row does not count. One element. Gradients are computed on the way, so the result must itself be the loss
 * that mla_backward starts from, or a sum that it is a part of: refused where it is scaled, or where the loss does not
 * depend on it. To look at it alone, use a step of inference. The logits never exist as a whole. */
mla_tensor *mla_output_loss(mla_tape *tape, mla_tensor *x, mla_tensor *weight, mla_tensor *targets,
                            const mla_output_loss_options *options);

/* y (B,T,D), f32: at each position the mean of x over its document, from the first position to itself; starts as in
 * mla_attention_mask, NULL: each sequence is one document. */
mla_tensor *mla_running_mean(mla_tape *tape, mla_tensor *x, const int32_t *starts);

/* What labels are: one of K classes, the probabilities of K flags, or K numbers. */
typedef enum { MLA_LABELS_CLASSES, MLA_LABELS_FLAGS, MLA_LABELS_NUMBERS } mla_labels_kind;
typedef struct {
    mla_labels_kind kind;
    float scale;         /* of each row's loss */
    float smoothing;     /* of classes: the share of the label that all classes get alike, 0 to below 1 */
    mla_tensor *weights; /* f32 (K): of the classes, of flags that are 1; NULL: 1 */
} mla_label_loss_options;
/* scale * sum over rows of the loss of logits (..., K): cross-entropy, binary cross-entropy, squared error, the latter
 * two as means over K. targets i32 (...): the row of `labels` that each is compared with, -1 where none; labels: i32
 * (N) of classes, otherwise f32 (N,K). One element. MLA_ERROR_ARGUMENT for a target or a class that is not there. */
mla_tensor *mla_label_loss(mla_tape *tape, mla_tensor *logits, mla_tensor *targets, mla_tensor *labels,
                           const mla_label_loss_options *options);

/* |x - y|² / |y|² of each sequence, as their mean: x, y (B,T,D), f32 or bf16, y without gradient; targets i32 (B,T), -1
 * where a row does not count. A sequence weighs as many rows as count; one where y is zero adds nothing. One element.
 */
mla_tensor *mla_relative_error(mla_tape *tape, mla_tensor *x, mla_tensor *y, mla_tensor *targets);

/* ---- the general set, for layers of your own ---- */

/* table (V,D), f32, or bf16 without gradient, ids i32 (...) -> (...,D) f32; ids must be in [0,V): checked, an error
 * names the first that is not. */
mla_tensor *mla_gather(mla_tape *tape, mla_tensor *table, mla_tensor *ids);

/* Elementwise; b has a's shape, or is one row (width of a) that serves all rows. */
mla_tensor *mla_add(mla_tape *tape, mla_tensor *a, mla_tensor *b);
mla_tensor *mla_mul(mla_tape *tape, mla_tensor *a, mla_tensor *b);
mla_tensor *mla_scale(mla_tape *tape, mla_tensor *x, float factor);
mla_tensor *mla_exp(mla_tape *tape, mla_tensor *x);
mla_tensor *mla_log(mla_tape *tape, mla_tensor *x);
mla_tensor *mla_tanh(mla_tape *tape, mla_tensor *x);
mla_tensor *mla_sigmoid(mla_tape *tape, mla_tensor *x);
mla_tensor *mla_relu(mla_tape *tape, mla_tensor *x);
mla_tensor *mla_gelu(mla_tape *tape, mla_tensor *x);      /* x Φ(x), by erf */
mla_tensor *mla_gelu_tanh(mla_tape *tape, mla_tensor *x); /* its tanh approximation ("gelu_new") */
mla_tensor *mla_silu(mla_tape *tape, mla_tensor *x);

/* a (..., m, k) times b (..., k, n) -> (..., m, n); leading dimensions equal. */
mla_tensor *mla_matmul(mla_tape *tape, mla_tensor *a, mla_tensor *b);
/* The same elements under another shape; shares memory. */
mla_tensor *mla_reshape(mla_tape *tape, mla_tensor *x, int ndim, const int64_t *shape);
/* x as f32 or bf16, rounded to nearest even; x itself where it is. Inference only. */
mla_tensor *mla_convert(mla_tape *tape, mla_tensor *x, mla_dtype type);
/* Dimension i of the result is dimension order[i] of x. */
mla_tensor *mla_transpose(mla_tape *tape, mla_tensor *x, const int *order);
/* Elements begin ... begin + length - 1 along a dimension. */
mla_tensor *mla_slice(mla_tape *tape, mla_tensor *x, int dimension, int64_t begin, int64_t length);
/* a and b joined along a dimension. */
mla_tensor *mla_concat(mla_tape *tape, mla_tensor *a, mla_tensor *b, int dimension);
/* x itself, with which `loss`, of one element, becomes part of what mla_backward goes back from: its gradient is 1. For
 * a layer with a loss of its own, whose result goes on to the loss of the whole. */
mla_tensor *mla_join_loss(mla_tape *tape, mla_tensor *x, mla_tensor *loss);

/* The sum of all elements; one element. */
mla_tensor *mla_sum(mla_tape *tape, mla_tensor *x);
/* Softmax of each row. With `causal`, x is (..., T, S) and position t leaves out s > t. */
mla_tensor *mla_softmax(mla_tape *tape, mla_tensor *x, bool causal);

#endif
