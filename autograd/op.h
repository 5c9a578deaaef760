/* How an op is made; only the files in autograd/ops and new ops of users include this.
 *
 * An op is one file: a constant descriptor, a forward, a backward that mirrors it, and a builder:
 *
 *     mla_tensor *mla_twice(mla_tape *tape, mla_tensor *x) {
 *         mla_node *n = mla_op_begin_f32(tape, &twice, 1, &x);
 *         if (!n) return mla_inert(tape);
 *         return mla_op_finish(n, MLA_F32, x->ndim, x->shape);
 *     }
 *
 * Forward computes n->out from n->in. Backward writes n->grad[i] for each input whose n->mode[i] is not
 * MLA_SKIP, from n->out->grad: MLA_SET overwrites, MLA_ADD adds. It may read the values of those inputs and of
 * the output that `keeps` names, and n->saved; all else is gone by then. */
#ifndef MLA_AUTOGRAD_OP_H
#define MLA_AUTOGRAD_OP_H

#include "autograd/kernels/rows.h"
#include "autograd/tape.h"

enum { MLA_MAX_INPUTS = 8, MLA_MAX_SAVED = 3 };

#define MLA_INPUT(i) (1u << (i))
#define MLA_OUTPUT   (1u << MLA_MAX_INPUTS)

typedef struct mla_node mla_node;

typedef struct {
    const char *name;
    void (*forward)(const mla_node *n);  /* NULL where `aliases` says it all */
    void (*backward)(const mla_node *n); /* NULL where `passes` says it all, or no gradient flows */
    mla_cost (*cost)(const mla_node *n); /* NULL: each input and the output are moved once, each way */
    size_t attributes;                   /* bytes that the builder fills and the passes read: n->attributes */
    unsigned keeps;                      /* MLA_INPUT(i) | MLA_OUTPUT: values that backward reads */
    unsigned passes;                     /* inputs whose gradient is the output's, shared and not copied */
    bool aliases;                        /* the output is input 0's memory under another shape */
    bool overwrites;                     /* the output begins as input 0's values, of one shape and type: in their own
                                          * memory where nobody else reads them, so that they are gone, or in a copy */
    bool composite;                      /* a graph of other ops, run again by the tape: mla_recompute */
    bool constant;                       /* the output counts as a constant. Other ops without backward and passes
                                          * refuse inputs that need a gradient, but in a step of inference */
    bool early;                          /* forward gives a parameter's gradient: the loss must depend on the output */
} mla_op;

struct mla_node {
    const mla_op *op;
    mla_tape *tape;
    int inputs;
    mla_tensor *in[MLA_MAX_INPUTS]; /* NULL for an optional input that is not there */
    mla_tensor *out;
    void *attributes; /* op->attributes bytes, zeroed, which live as long as the node */
    void *saved[MLA_MAX_SAVED];
    void *scratch; /* of the builder's forward_scratch or backward_scratch bytes, during that call */
    int64_t forward_scratch, backward_scratch;
    mla_grad_mode mode[MLA_MAX_INPUTS]; /* during backward */
    void *grad[MLA_MAX_INPUTS];
    uint64_t site;
    mla_buffer *saved_buffer[MLA_MAX_SAVED], *grad_buffer[MLA_MAX_INPUTS];
};

/* Starts a node; NULL after an error: an earlier one, an input that is inert or can no longer be used, no memory. */
mla_node *mla_op_begin(mla_tape *tape, const mla_op *op, int inputs, mla_tensor *const *in);
/* The same for ops whose inputs must all be f32; others are refused. */
mla_node *mla_op_begin_f32(mla_tape *tape, const mla_op *op, int inputs, mla_tensor *const *in);
/* The same for ops whose inputs may be f32 or bf16. */
mla_node *mla_op_begin_real(mla_tape *tape, const mla_op *op, int inputs, mla_tensor *const *in);
/* Memory that forward fills and backward reads: n->saved[slot]. Without it, there is an error and neither runs. */
void mla_op_save(mla_node *n, int slot, int64_t bytes);
/* Makes the output, runs forward and records the node. */
mla_tensor *mla_op_finish(mla_node *n, mla_dtype dtype, int ndim, const int64_t *shape);
/* Reports inputs that do not fit; the message gets the op's name and the inputs' shapes. */
mla_tensor *mla_op_refuse(mla_node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What goes into a matrix product of the given type: x's data, or the bf16 copy of a parameter. An error names
 * the parameter that has none. */
const void *mla_op_operand(const mla_node *n, int i, mla_dtype type);
/* A tensor's elements, as kernels/rows.h takes them. */
static inline mla_values mla_data(const mla_tensor *x) { return (mla_values){x->data, x->dtype}; }
/* The gradient of a node's result, and of an input (f32 for parameters, otherwise of the input's type). */
static inline mla_values mla_out_gradient(const mla_node *n) { return (mla_values){n->out->grad, n->out->dtype}; }
static inline mla_values mla_in_gradient(const mla_node *n, int i) {
    return (mla_values){n->grad[i], n->in[i] ? n->in[i]->dtype : MLA_F32};
}
/* How many threads a parallel region of the op takes: those of its context. */
int mla_op_threads(const mla_node *n);
/* Whether a gradient will be asked for input i. */
bool mla_op_differentiates(const mla_node *n, int i);
/* A number for this op that is the same in every step: the order in which it was begun on the tape. */
uint64_t mla_op_site(const mla_node *n);

#endif
