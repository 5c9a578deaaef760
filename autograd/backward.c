#include "autograd/kernels/rows.h"
#include "autograd/tape_state.h"

#include <string.h>

static void add_into(const mla_tape *tape, const mla_tensor *like, void *sum, const void *x) {
    const int threads = mla_context_threads(tape->context);
    const int64_t count = mla_count(like);
    const mla_values to = {sum, like->dtype}, from = {(void *)(uintptr_t)x, like->dtype};
    #pragma omp parallel for num_threads(threads) schedule(static) if (count > MLA_PIECE)
    for (int64_t i = 0; i < count; i += MLA_PIECE) {
        float buffer[MLA_PIECE];
        mla_store(to, MLA_ADD, i, mla_piece(count, i), mla_load(from, i, mla_piece(count, i), buffer));
    }
}

/* Memory for x's gradient that nobody else reads: there already, taken anew, or copied from a shared buffer. */
static bool own_gradient(mla_tape *tape, mla_tensor *x) {
    if (x->is_parameter || (x->grad_buffer && x->grad_buffer->holders == 1)) return true;
    mla_buffer *own = mla_pool_take(tape->pool, mla_size(x));
    if (!own) return false;
    if (x->has_grad && own->data) memcpy(own->data, x->grad, (size_t)mla_size(x));
    mla_buffer_release(tape->pool, x->grad_buffer);
    x->grad_buffer = own;
    x->grad = own->data;
    return true;
}

static bool is_repeated(const mla_node *n, int i) {
    for (int j = 0; j < i; j++)
        if (n->in[j] == n->in[i]) return true;
    return false;
}

static void pass_gradient(mla_node *n, int i) {
    mla_tensor *x = n->in[i], *out = n->out;
    const bool shapes_only = n->tape->options.shapes_only;
    if (!x->has_grad && !x->is_parameter) { /* share the output's */
        x->grad = out->grad;
        x->grad_buffer = out->grad_buffer;
        mla_buffer_hold(x->grad_buffer);
    } else if (own_gradient(n->tape, x) && !shapes_only) {
        if (x->has_grad) add_into(n->tape, x, x->grad, out->grad);
        else memcpy(x->grad, out->grad, (size_t)mla_size(x));
    }
}

/* Where backward shall write the gradient of input i, and how. An input that stands twice gets the second
 * part in memory of its own, so that no op need think of it. */
static void ask_for_gradient(mla_node *n, int i) {
    mla_tensor *x = n->in[i];
    n->mode[i] = MLA_SKIP;
    if (!mla_op_differentiates(n, i) || n->op->passes & MLA_INPUT(i)) return;
    if (is_repeated(n, i)) {
        n->grad_buffer[i] = mla_pool_take(n->tape->pool, mla_size(x));
        n->grad[i] = n->grad_buffer[i] ? n->grad_buffer[i]->data : NULL;
        n->mode[i] = MLA_SET;
    } else if (own_gradient(n->tape, x)) {
        n->grad[i] = x->grad;
        n->mode[i] = x->has_grad ? MLA_ADD : MLA_SET;
    }
}

static void take_gradient(mla_node *n, int i) {
    mla_tensor *x = n->in[i];
    if (!mla_op_differentiates(n, i)) return;
    if (n->op->passes & MLA_INPUT(i)) pass_gradient(n, i);
    x->has_grad = true;
    if (n->grad_buffer[i] && own_gradient(n->tape, x) && n->grad[i]) add_into(n->tape, x, x->grad, n->grad[i]);
}

/* One recorded use of input i less; with the last one a parameter's gradient is final, if it got one. */
static void settle_use(const mla_node *n, int i) {
    mla_tensor *x = n->in[i];
    const mla_step *step = &n->tape->step;
    if (!mla_op_differentiates(n, i) || --x->uses > 0) return;
    if (!x->is_parameter || !x->has_grad || !step->gradient_final) return;
    x->is_final = true;
    step->gradient_final(step->user, x);
}

static void backward_recompute(mla_node *n);

static void backward_node(mla_node *n) {
    if (n->out->has_grad && n->op->composite) backward_recompute(n);
    else if (n->out->has_grad) {
        for (int i = 0; i < n->inputs; i++) ask_for_gradient(n, i);
        mla_tape_run(n, n->op->backward, n->backward_scratch);
        for (int i = 0; i < n->inputs; i++) take_gradient(n, i);
    } else if (n->op->early)
        mla_fail(n->tape->context, MLA_ERROR_ARGUMENT,
                 "%s: its gradients are computed already, but the loss that mla_backward began with does not depend on "
                 "it: add it to that loss, or use mla_detached",
                 n->op->name);
    for (int i = 0; i < n->inputs; i++) settle_use(n, i);
    n->out->walked = true;
    mla_tape_drop_gradient(n->tape, n->out);
    mla_tape_release_node(n);
}

static void backward_down_to(mla_tape *tape, int64_t count) {
    while (tape->node_count > count && !mla_error_status(tape->context)) {
        backward_node(tape->nodes[--tape->node_count]);
        if (tape->step.between) tape->step.between(tape->step.user);
    }
}

mla_status mla_backward(mla_tape *tape, mla_tensor *loss) {
    if (mla_error_status(tape->context)) return mla_error_status(tape->context);
    if (mla_count(loss) != 1 || loss->dtype != MLA_F32 || !loss->needs_grad) {
        char text[MLA_SHAPE_TEXT];
        return mla_fail(tape->context, MLA_ERROR_SHAPE,
                        "mla_backward needs a loss of one f32 element on which a gradient depends; got %s%s",
                        mla_shape_text(loss, text), loss->needs_grad ? "" : " that depends on no parameter");
    }
    if (loss->walked)
        return mla_fail(tape->context, MLA_ERROR_ARGUMENT,
                        "the op that made this loss has been walked by mla_backward, with all that were recorded: "
                        "compute the loss again, or add up losses before");
    if (!own_gradient(tape, loss)) return mla_error_status(tape->context);
    if (loss->grad) *(float *)loss->grad = loss->has_grad ? *(float *)loss->grad + 1 : 1;
    loss->has_grad = true;
    tape->walking = true;
    backward_down_to(tape, 0);
    tape->walking = false;
    return mla_error_status(tape->context);
}

/* ---- computing again instead of keeping ---- */

typedef struct {
    mla_graph graph;
    const void *user;    /* a copy */
    uint64_t first_site; /* of its ops: the same numbers again, so the same dropout masks */
} recomputed;

static const mla_op recompute = {
    .name = "recompute", .attributes = sizeof(recomputed), .keeps = MLA_INPUT(0), .composite = true};

static bool is_made_since(const mla_tape *tape, int64_t scope, const mla_tensor *x) {
    for (int64_t i = scope; i < tape->open_count; i++)
        if (tape->open[i] == x) return true;
    return false;
}

/* Nothing in the graph may write into x, which is kept. */
static mla_tensor *run_unrecorded(mla_tape *tape, mla_graph graph, const void *user, mla_tensor *x) {
    if (x->value_buffer) mla_buffer_hold(x->value_buffer);
    tape->step.inference = true;
    mla_tensor *y = graph(tape, user, x);
    tape->step.inference = false;
    mla_buffer_release(tape->pool, x->value_buffer);
    return y;
}

mla_tensor *mla_recompute(mla_tape *tape, mla_graph graph, const void *user, size_t size, mla_tensor *x) {
    if (tape->step.inference || mla_error_status(tape->context)) return graph(tape, user, x);
    mla_node *n = mla_op_begin(tape, &recompute, 1, &x);
    if (!n) return mla_inert(tape);
    recomputed *r = n->attributes;
    *r = (recomputed){graph, mla_tape_keep(tape, user, size), --tape->sites}; /* those of the graph without this op */
    if (!r->user) return mla_inert(tape);
    const int64_t scope = mla_scope_open(tape);
    n->out = run_unrecorded(tape, graph, user, x);
    const bool is_new = is_made_since(tape, scope, n->out);
    mla_scope_close(tape, scope, n->out);
    if (mla_error_status(tape->context)) return mla_inert(tape);
    if (!is_new) return n->out; /* x itself, say: there is nothing to compute again */
    n->out->needs_grad = true;
    mla_tape_record(n);
    return n->out;
}

/* x again, as the start of a graph of its own. */
static mla_tensor *leaf_of(mla_tape *tape, const mla_tensor *x) {
    mla_tensor *leaf = mla_tape_new_tensor(tape, x->dtype, x->ndim, x->shape);
    if (!leaf) return mla_inert(tape);
    leaf->data = x->data;
    leaf->needs_grad = true;
    return leaf;
}

static bool is_same_again(mla_tape *tape, const mla_tensor *first, const mla_tensor *again) {
    char text[2][MLA_SHAPE_TEXT];
    if (mla_same_shape(first, again) && first->dtype == again->dtype) return true;
    mla_fail(tape->context, MLA_ERROR_ARGUMENT,
             "recompute: the graph gave %s, and computed again %s: it must depend on its input and the step alone",
             mla_shape_text(first, text[0]), mla_shape_text(again, text[1]));
    return false;
}

/* Runs the graph once more, recording, and goes back through it from the gradient of the result. What that costs
 * forward has been counted. */
static void backward_recompute(mla_node *n) {
    mla_tape *tape = n->tape;
    const recomputed *r = n->attributes;
    const int64_t recorded = tape->node_count, scope = mla_scope_open(tape);
    const uint64_t sites = tape->sites;
    const mla_cost cost = tape->cost;
    tape->sites = r->first_site;
    tape->recomputing = true;
    mla_tensor *x = leaf_of(tape, n->in[0]), *y = r->graph(tape, r->user, x);
    tape->recomputing = false;
    tape->sites = sites;
    tape->cost.forward_flops = cost.forward_flops;
    tape->cost.forward_bytes = cost.forward_bytes;
    if (mla_error_status(tape->context) || !is_same_again(tape, n->out, y)) return;
    y->grad = n->out->grad;
    y->grad_buffer = n->out->grad_buffer;
    y->has_grad = true;
    mla_buffer_hold(y->grad_buffer);
    backward_down_to(tape, recorded);
    if (mla_op_differentiates(n, 0) && x->has_grad) {
        mla_node from = {.tape = tape, .out = x, .inputs = 1, .in = {n->in[0]}};
        pass_gradient(&from, 0);
        n->in[0]->has_grad = true;
    }
    mla_tape_drop_gradient(tape, x);
    mla_scope_close(tape, scope, NULL);
}
