/* AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), as torch.optim.AdamW computes it. */
#ifndef MLA_OPTIM_ADAMW_H
#define MLA_OPTIM_ADAMW_H

#include "autograd/params.h"

typedef struct {
    float beta1, beta2, eps, weight_decay;
} mla_adamw_options;

/* What changes from step to step. */
typedef struct {
    float lr, grad_scale; /* gradients are multiplied by grad_scale (clipping) on the way */
    int64_t step;         /* from 1 */
} mla_adamw_pace;

/* A flat range of parameters with their gradients and moments. */
typedef struct {
    int64_t count;
    float *value;
    const float *grad;
    float *m, *v;
} mla_adamw_range;

/* One update of a range:
 *     m = b1 m + (1-b1) g,  v = b2 v + (1-b2) g²
 *     p = p (1 - lr decay) - lr / (1-b1^step) m / (sqrt(v / (1-b2^step)) + eps) */
void mla_adamw_update(const mla_context *context, const mla_adamw_options *options, const mla_adamw_pace *pace,
                      float decay, const mla_adamw_range *range);

/* The moments of a registry's trainable parameters, in the layout of its gradients. */
typedef struct {
    float *m, *v;  /* mla_params_gradients_length floats each, 64-byte aligned */
    int64_t steps; /* updates done */
} mla_adamw_state;

/* The caller frees with mla_adamw_state_free. Only error: MLA_ERROR_MEMORY. */
mla_status mla_adamw_state_allocate(mla_context *context, mla_adamw_state *state, const mla_params *params);
/* As above, for `length` elements of the gradients only. */
mla_status mla_adamw_state_allocate_part(mla_context *context, mla_adamw_state *state, int64_t length);
void mla_adamw_state_free(mla_adamw_state *state);

/* The same for elements begin ... of a registry's block of gradients, and the values that belong to them; the moments
 * are those of these elements. Gradients must all be set. Does not raise the registry's version. */
void mla_adamw_update_part(const mla_adamw_options *options, const mla_adamw_pace *pace, mla_params *params,
                           int64_t begin, int64_t count, const mla_adamw_state *moments);

/* Updates all trainable parameters: decay on those whose spec asks for it. Those that got no gradient since
 * mla_params_clear_gradients count as having gradient 0. Raises the registry's version. */
void mla_adamw_step(mla_adamw_state *state, mla_params *params, const mla_adamw_options *options, float lr,
                    float grad_scale);

#endif
