/* The tape: computes each op at once and remembers it, if a gradient will flow through it, for mla_backward.
 *
 * A tape is made once and used for many steps: mla_tape_begin forgets the last step and keeps its memory.
 * After any error the ops return an inert tensor and do nothing; the context has the first error, and
 * mla_backward returns its status, so code that builds a graph need not check each op.
 *
 *     mla_tape_begin(tape, &(mla_step){.step = 7});
 *     mla_tensor *x = mla_input(tape, MLA_F32, 2, (int64_t[]){rows, width}, data);
 *     mla_tensor *loss = mla_mean(tape, mla_mul(tape, x, w));
 *     mla_status status = mla_backward(tape, loss);
 */
#ifndef MLA_AUTOGRAD_TAPE_H
#define MLA_AUTOGRAD_TAPE_H

#include "autograd/base/context.h"
#include "autograd/base/cost.h"
#include "autograd/pool.h"
#include "autograd/tensor.h"

typedef struct mla_tape mla_tape;

typedef struct {
    bool shapes_only; /* compute nothing: shapes, errors, costs and memory only (the pool counts) */
} mla_tape_options;

/* What random numbers depend on, and how the step is used. */
typedef struct {
    uint64_t seed;
    uint64_t step;
    int64_t first_sample; /* place of this microbatch's first sample in the global batch */
    mla_dtype precision;  /* of what goes into matrix products, and of what they give: MLA_F32 or MLA_BF16 */
    bool training;        /* dropout is active */
    bool inference;       /* record nothing: no gradients, memory is free again as scopes close */
    bool decoding;        /* of a step of inference: products of few rows in another order of sums, which is faster */
    /* Called when a parameter's gradient is final in this backward pass, if it has one. May be NULL. */
    void (*gradient_final)(void *user, mla_tensor *parameter);
    /* Called after the backward pass of each op: for what has to be looked after meanwhile. May be NULL. */
    void (*between)(void *user);
    /* Called after each pass of each op, with its time. May be NULL: then no clock is read. */
    void (*timed)(void *user, const char *op, bool backward, double seconds, const mla_cost *cost);
    void *user;
} mla_step;

/* The tape owns its pool and everything made on it. options may be NULL. Only error: MLA_ERROR_MEMORY. */
mla_status mla_tape_create(mla_context *context, mla_tape **out, const mla_tape_options *options);
void mla_tape_destroy(mla_tape *tape);

/* Starts a step: all tensors of the last one are gone. */
void mla_tape_begin(mla_tape *tape, const mla_step *step);

mla_context *mla_tape_context(const mla_tape *tape);
const mla_step *mla_tape_step(const mla_tape *tape);
const mla_pool *mla_tape_pool(const mla_tape *tape);
bool mla_tape_is_inference(const mla_tape *tape);
mla_cost mla_tape_cost(const mla_tape *tape); /* of all ops since mla_tape_begin */

/* A tensor over the caller's memory, which must outlive the step (NULL in a run on shapes alone). */
mla_tensor *mla_input(mla_tape *tape, mla_dtype dtype, int ndim, const int64_t *shape, const void *data);
/* As mla_input for f32, and mla_backward leaves its gradient in ->grad, until the next mla_tape_begin. */
mla_tensor *mla_input_with_gradient(mla_tape *tape, int ndim, const int64_t *shape, const float *data);

/* The tensor that stands for the result of a failed op. */
mla_tensor *mla_inert(mla_tape *tape);

/* Scopes free what only the forward pass needed. All tensors made since the matching open, except `result`,
 * may no longer be used by the caller; what the backward pass needs of them stays. Returns `result`. */
int64_t mla_scope_open(mla_tape *tape);
mla_tensor *mla_scope_close(mla_tape *tape, int64_t scope, mla_tensor *result);
/* x, which outlives the scopes it was made in: until the next mla_tape_begin. For what a graph gives on the side. */
mla_tensor *mla_scope_keep(mla_tensor *x);

/* `size` bytes, at most 64 KiB, that live as long as the step: a copy of `data`, or zeros where that is NULL. NULL
 * after an error. */
void *mla_tape_keep(mla_tape *tape, const void *data, size_t size);

/* Part of a graph: x to a result, from `user`, with the tape's ops. Always the same for the same x, user and step. */
typedef mla_tensor *(*mla_graph)(mla_tape *tape, const void *user, mla_tensor *x);
/* graph(tape, user, x), of which nothing is kept but x and a copy of `user`, of `size` bytes: mla_backward computes it
 * again. With gradient_final, a parameter may be used in one such part only, and not behind it (MLA_ERROR_ARGUMENT):
 * its gradient would be final too early. (Chen et al. 2016, "Training deep nets with sublinear memory cost") */
mla_tensor *mla_recompute(mla_tape *tape, mla_graph graph, const void *user, size_t size, mla_tensor *x);
/* Whether a part is being computed for the second time. */
bool mla_tape_is_recomputing(const mla_tape *tape);

/* graph(tape, user, x) as in inference: nothing is recorded or kept, and there is no dropout. */
mla_tensor *mla_detached(mla_tape *tape, mla_graph graph, const void *user, mla_tensor *x);

/* Walks the recorded ops in reverse from `loss` (one element), whose gradient is `1`. Gradients of parameters
 * are set where they had none, added to where they had one. Once: all ops that were recorded are forgotten, and what
 * they made can be read, but no gradient be asked for through it. Returns the context's first error, of ops too. */
mla_status mla_backward(mla_tape *tape, mla_tensor *loss);

#endif
