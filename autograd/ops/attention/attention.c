/* o = softmax(scale q kᵀ) v per head, in blocks: see autograd/kernels/flash_attention.h.
 * q (B,T,H,K), k (B,S,G,K), v (B,S,G,V), o (B,T,H*V); saved: the log-sum-exp (B,H,T). */
#include "autograd/kernels/flash_attention.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <math.h>

enum { Q, K, V };

static mla_heads heads_of(const mla_tensor *x, void *data) {
    return (mla_heads){data, x->shape[2] * x->shape[3], x->shape[3]};
}

static mla_heads out_heads(const mla_node *n, void *data) {
    const int64_t width = n->in[V]->shape[3];
    return (mla_heads){data, n->out->shape[2], width};
}

static mla_flash_operands operands_of(const mla_node *n) {
    const mla_tensor *q = n->in[Q], *k = n->in[K], *v = n->in[V];
    return (mla_flash_operands){heads_of(q, q->data), heads_of(k, k->data), heads_of(v, v->data),
                                out_heads(n, n->out->data), n->saved[0]};
}

static void attention_forward(const mla_node *n) {
    const mla_flash_operands x = operands_of(n);
    mla_flash_forward(mla_tape_context(n->tape), n->attributes, &x, n->scratch);
}

static void attention_backward(const mla_node *n) {
    const mla_tensor *q = n->in[Q], *k = n->in[K], *v = n->in[V];
    const mla_flash_operands x = operands_of(n);
    const mla_flash_gradients d = {.dout = out_heads(n, n->out->grad),
                                   .q = heads_of(q, n->mode[Q] ? n->grad[Q] : NULL),
                                   .add_q = n->mode[Q] == MLA_ADD,
                                   .k = heads_of(k, n->mode[K] ? n->grad[K] : NULL),
                                   .add_k = n->mode[K] == MLA_ADD,
                                   .v = heads_of(v, n->mode[V] ? n->grad[V] : NULL),
                                   .add_v = n->mode[V] == MLA_ADD};
    mla_flash_backward(mla_tape_context(n->tape), n->attributes, &x, &d, n->scratch);
}

static mla_cost attention_cost(const mla_node *n) { return mla_flash_cost(n->attributes); }

static const mla_op attention = {.name = "attention",
                                 .forward = attention_forward,
                                 .backward = attention_backward,
                                 .cost = attention_cost,
                                 .attributes = sizeof(mla_flash),
                                 .keeps = MLA_INPUT(Q) | MLA_INPUT(K) | MLA_INPUT(V) | MLA_OUTPUT};

static const char *attention_misfit(const mla_tensor *q, const mla_tensor *k, const mla_tensor *v,
                                    const mla_attention_options *options) {
    if (q->ndim != 4 || k->ndim != 4 || v->ndim != 4) return "q, k and v must be (B,T,H,K), (B,S,G,K), (B,S,G,V)";
    if (k->shape[0] != q->shape[0] || v->shape[0] != q->shape[0]) return "q, k and v must have one batch size";
    if (k->shape[1] != v->shape[1] || k->shape[2] != v->shape[2])
        return "k and v must have the same positions and heads";
    if (k->shape[3] != q->shape[3]) return "q and k must have one width";
    if (q->dtype != k->dtype || q->dtype != v->dtype) return "q, k and v must have one type";
    if (q->shape[2] % k->shape[2]) return "the number of key heads must divide the number of query heads";
    if (options->mask.causal && q->shape[1] != k->shape[1]) return "a causal mask needs as many keys as queries";
    if (options->mask.starts && !options->mask.causal) return "starts need a causal mask";
    return NULL;
}

mla_tensor *mla_attention(mla_tape *tape, mla_tensor *q, mla_tensor *k, mla_tensor *v,
                          const mla_attention_options *options) {
    mla_node *n = mla_op_begin_real(tape, &attention, 3, (mla_tensor *[]){q, k, v});
    if (!n) return mla_inert(tape);
    const char *why = attention_misfit(q, k, v, options);
    if (why) return mla_op_refuse(n, "%s", why);
    mla_flash *a = n->attributes;
    *a = (mla_flash){.batch = q->shape[0],
                     .heads = q->shape[2],
                     .key_heads = k->shape[2],
                     .queries = q->shape[1],
                     .keys = k->shape[1],
                     .key_width = q->shape[3],
                     .value_width = v->shape[3],
                     .mask = options->mask,
                     .type = q->dtype,
                     .block = mla_flash_usual_blocks(q->dtype),
                     .scale = options->scale > 0 ? options->scale : 1 / sqrtf((float)q->shape[3])};
    mla_op_save(n, 0, a->batch * a->heads * a->queries * (int64_t)sizeof(float));
    n->forward_scratch = (int64_t)sizeof(float) * mla_flash_forward_scratch(mla_tape_context(tape), a);
    n->backward_scratch = (int64_t)sizeof(float) * mla_flash_backward_scratch(mla_tape_context(tape), a);
    return mla_op_finish(n, q->dtype, 3, (int64_t[]){a->batch, a->queries, a->heads * a->value_width});
}
