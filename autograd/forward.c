#include "autograd/base/clock.h"
#include "autograd/tape_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BLOCK = 1 << 16 };

static void *arena_take(mla_tape *tape, size_t bytes) {
    mla_arena *a = &tape->arena;
    bytes = (bytes + 15) & ~(size_t)15;
    if (bytes > ARENA_BLOCK) {
        mla_fail(tape->context, MLA_ERROR_ARGUMENT,
                 "an op's attributes of %zu bytes are beyond the %d that the tape has for them: use mla_op_save", bytes,
                 ARENA_BLOCK);
        return NULL;
    }
    if (!a->used_blocks || a->used + bytes > ARENA_BLOCK) {
        if (a->used_blocks == a->count) {
            if (mla_grow(tape->context, &a->blocks, &a->capacity, a->count + 1, sizeof *a->blocks, "the tape"))
                return NULL;
            if (!(a->blocks[a->count] = mla_alloc(tape->context, 1, ARENA_BLOCK, "the tape"))) return NULL;
            a->count++;
        }
        a->used_blocks++;
        a->used = 0;
    }
    void *memory = a->blocks[a->used_blocks - 1] + a->used;
    a->used += bytes;
    return memset(memory, 0, bytes);
}

void *mla_tape_keep(mla_tape *tape, const void *data, size_t size) {
    void *copy = arena_take(tape, size ? size : 1);
    if (copy && data) memcpy(copy, data, size);
    return copy;
}

mla_status mla_tape_create(mla_context *context, mla_tape **out, const mla_tape_options *options) {
    mla_tape *tape = *out = mla_alloc(context, 1, sizeof *tape, "the tape");
    if (!tape) return MLA_ERROR_MEMORY;
    tape->context = context;
    if (options) tape->options = *options;
    mla_status status = mla_pool_create(context, &tape->pool, tape->options.shapes_only);
    if (status) {
        mla_tape_destroy(tape);
        *out = NULL;
    }
    return status;
}

void mla_tape_destroy(mla_tape *tape) {
    if (!tape) return;
    mla_pool_destroy(tape->pool);
    for (int64_t i = 0; i < tape->arena.count; i++) free(tape->arena.blocks[i]);
    free(tape->arena.blocks);
    free(tape->nodes);
    free(tape->open);
    free(tape);
}

mla_context *mla_tape_context(const mla_tape *tape) { return tape->context; }
const mla_step *mla_tape_step(const mla_tape *tape) { return &tape->step; }
const mla_pool *mla_tape_pool(const mla_tape *tape) { return tape->pool; }
bool mla_tape_is_inference(const mla_tape *tape) { return tape->step.inference; }
bool mla_tape_is_recomputing(const mla_tape *tape) { return tape->recomputing; }
mla_cost mla_tape_cost(const mla_tape *tape) { return tape->cost; }

static void drop_value(mla_tape *tape, mla_tensor *x) {
    if (!x->value_buffer) return;
    if (x->value_buffer->holders == 1) x->data = NULL;
    mla_buffer_release(tape->pool, x->value_buffer);
}

void mla_tape_drop_gradient(mla_tape *tape, mla_tensor *x) {
    mla_buffer_release(tape->pool, x->grad_buffer);
    x->grad_buffer = NULL;
    x->grad = NULL;
    x->has_grad = false;
}

static void release_saved(mla_node *n) {
    for (int i = 0; i < MLA_MAX_SAVED; i++) mla_buffer_release(n->tape->pool, n->saved_buffer[i]);
}

/* Gives back the node's own memory and its hold on the values that backward read. */
void mla_tape_release_node(mla_node *n) {
    release_saved(n);
    for (int i = 0; i < n->inputs; i++) mla_buffer_release(n->tape->pool, n->grad_buffer[i]);
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i] && n->op->keeps & MLA_INPUT(i)) drop_value(n->tape, n->in[i]);
    if (n->op->keeps & MLA_OUTPUT) drop_value(n->tape, n->out);
}

void mla_tape_begin(mla_tape *tape, const mla_step *step) {
    for (int64_t i = 0; i < tape->node_count; i++) {
        mla_node *n = tape->nodes[i];
        for (int k = 0; k < n->inputs; k++)
            if (n->in[k]) n->in[k]->uses = 0;
        mla_tape_drop_gradient(tape, n->out);
        mla_tape_release_node(n);
    }
    for (int64_t i = 0; i < tape->open_count; i++) {
        mla_tape_drop_gradient(tape, tape->open[i]);
        drop_value(tape, tape->open[i]);
    }
    tape->node_count = tape->open_count = 0;
    tape->arena.used_blocks = 0;
    tape->arena.used = 0;
    tape->sites = 0;
    tape->walking = false;
    tape->cost = (mla_cost){0};
    tape->recomputing = false;
    tape->step = *step;
}

/* ---- tensors and scopes ---- */

mla_tensor *mla_tape_new_tensor(mla_tape *tape, mla_dtype dtype, int ndim, const int64_t *shape) {
    mla_tensor *x = arena_take(tape, sizeof *x);
    if (!x || mla_grow(tape->context, &tape->open, &tape->open_capacity, tape->open_count + 1, sizeof *tape->open,
                       "the tape"))
        return NULL;
    x->dtype = dtype;
    x->ndim = ndim;
    memcpy(x->shape, shape, (size_t)ndim * sizeof *shape);
    tape->open[tape->open_count++] = x;
    return x;
}

mla_tensor *mla_inert(mla_tape *tape) { return &tape->inert; }

mla_tensor *mla_input(mla_tape *tape, mla_dtype dtype, int ndim, const int64_t *shape, const void *data) {
    if (mla_error_status(tape->context)) return mla_inert(tape);
    if (mla_shape_count(ndim, shape) < 0) {
        mla_fail(tape->context, MLA_ERROR_SHAPE, "an input needs 1 to %d dimensions of at least 1", MLA_MAX_DIMS);
        return mla_inert(tape);
    }
    mla_tensor *x = mla_tape_new_tensor(tape, dtype, ndim, shape);
    if (!x) return mla_inert(tape);
    x->data = (void *)(uintptr_t)data; /* ops read their inputs and never write them */
    return x;
}

mla_tensor *mla_input_with_gradient(mla_tape *tape, int ndim, const int64_t *shape, const float *data) {
    mla_tensor *x = mla_input(tape, MLA_F32, ndim, shape, data);
    if (x != mla_inert(tape)) x->needs_grad = !tape->step.inference;
    return x;
}

int64_t mla_scope_open(mla_tape *tape) { return tape->open_count; }

/* An input's gradient outlives its scope: it goes back to the pool when the next step begins. */
static bool is_leaf(const mla_tensor *x) { return x->needs_grad && !x->value_buffer && !x->overwritten_by; }

mla_tensor *mla_scope_close(mla_tape *tape, int64_t scope, mla_tensor *result) {
    int64_t kept = scope;
    for (int64_t i = scope; i < tape->open_count; i++) {
        mla_tensor *x = tape->open[i];
        const bool stays = x == result || x->kept;
        if (!stays) {
            x->out_of_scope = true;
            drop_value(tape, x);
        }
        if (stays || is_leaf(x)) tape->open[kept++] = x;
    }
    if (kept < tape->open_count) tape->open_count = kept;
    return result;
}

mla_tensor *mla_scope_keep(mla_tensor *x) {
    x->kept = true;
    return x;
}

/* The ops that follow have the same sites as without it. */
mla_tensor *mla_detached(mla_tape *tape, mla_graph graph, const void *user, mla_tensor *x) {
    const mla_step step = tape->step;
    const uint64_t sites = tape->sites;
    tape->step.inference = true;
    tape->step.training = false;
    mla_tensor *y = graph(tape, user, x);
    tape->step = step;
    tape->sites = sites;
    return y;
}

/* ---- making a node ---- */

/* Whether the gradient of x, where one will be asked for, can be given. */
static bool check_gradient(mla_tape *tape, const mla_op *op, int i, const mla_tensor *x) {
    if (tape->step.inference || !x->needs_grad || op->constant) return true;
    if (!op->backward && !op->passes && !op->composite)
        mla_fail(tape->context, MLA_ERROR_ARGUMENT,
                 "%s: no gradient flows through it, and input %d needs one: use it in a step of inference", op->name,
                 i);
    else if (x->walked)
        mla_fail(tape->context, MLA_ERROR_ARGUMENT,
                 "%s: the op that made input %d has been walked by mla_backward, so that no gradient flows through it "
                 "any more: compute it again, or use mla_detached",
                 op->name, i);
    else if (tape->walking && x->is_final)
        mla_fail(tape->context, MLA_ERROR_ARGUMENT,
                 "%s: the gradient of %s was final before a part of the graph that uses it was computed again: with "
                 "gradient_final, a parameter may be used in one such part only, and not after it",
                 op->name, x->name ? x->name : "a parameter");
    return !mla_error_status(tape->context);
}

static bool is_usable(mla_tape *tape, const mla_op *op, int i, const mla_tensor *x) {
    if (x == &tape->inert) return false;
    if (x->out_of_scope)
        mla_fail(tape->context, MLA_ERROR_ARGUMENT, "%s: input %d was made in a scope that is closed", op->name, i);
    else if (x->overwritten_by)
        mla_fail(tape->context, MLA_ERROR_ARGUMENT,
                 "%s: input %d was overwritten by %s: use the result of %s, or give it a copy (mla_scale by 1)",
                 op->name, i, x->overwritten_by, x->overwritten_by);
    else if (!x->data && !tape->options.shapes_only)
        mla_fail(tape->context, MLA_ERROR_ARGUMENT,
                 "%s: input %d has no values: parameters get theirs by mla_params_allocate, inputs by mla_input",
                 op->name, i);
    return !mla_error_status(tape->context) && check_gradient(tape, op, i, x);
}

mla_node *mla_op_begin(mla_tape *tape, const mla_op *op, int inputs, mla_tensor *const *in) {
    const uint64_t site = tape->sites++;
    if (mla_error_status(tape->context)) return NULL;
    for (int i = 0; i < inputs; i++) {
        if (!in[i]) continue;
        if (!is_usable(tape, op, i, in[i])) return NULL;
        if (!tape->walking) in[i]->is_final = false;
    }
    mla_node *n = arena_take(tape, sizeof *n);
    void *attributes = n && op->attributes ? arena_take(tape, op->attributes) : NULL;
    if (!n || (op->attributes && !attributes)) return NULL;
    n->op = op;
    n->attributes = attributes;
    n->tape = tape;
    n->inputs = inputs;
    n->site = site;
    memcpy(n->in, in, (size_t)inputs * sizeof *in);
    return n;
}

mla_node *mla_op_begin_f32(mla_tape *tape, const mla_op *op, int inputs, mla_tensor *const *in) {
    mla_node *n = mla_op_begin(tape, op, inputs, in);
    for (int i = 0; n && i < inputs; i++)
        if (in[i] && in[i]->dtype != MLA_F32) {
            mla_op_refuse(n, "inputs must be f32");
            return NULL;
        }
    return n;
}

mla_node *mla_op_begin_real(mla_tape *tape, const mla_op *op, int inputs, mla_tensor *const *in) {
    mla_node *n = mla_op_begin(tape, op, inputs, in);
    for (int i = 0; n && i < inputs; i++)
        if (in[i] && in[i]->dtype == MLA_I32) {
            mla_op_refuse(n, "inputs must be f32 or bf16");
            return NULL;
        }
    return n;
}

const void *mla_op_operand(const mla_node *n, int i, mla_dtype type) {
    const mla_tensor *x = n->in[i];
    if (x->dtype == type) return x->data;
    if (x->dtype == MLA_BF16)
        mla_fail(n->tape->context, MLA_ERROR_ARGUMENT, "%s: %s is kept in bf16 and serves steps of bf16 alone",
                 n->op->name, x->name ? x->name : "an input");
    else if (!x->bf16)
        mla_fail(n->tape->context, MLA_ERROR_ARGUMENT, "%s: %s has no bf16 copy: call mla_params_refresh_bf16 first",
                 n->op->name, x->name ? x->name : "an input");
    return x->bf16;
}

void mla_op_save(mla_node *n, int slot, int64_t bytes) {
    n->saved_buffer[slot] = mla_pool_take(n->tape->pool, bytes);
    if (n->saved_buffer[slot]) n->saved[slot] = n->saved_buffer[slot]->data;
}

bool mla_op_differentiates(const mla_node *n, int i) { return n->in[i] && n->in[i]->needs_grad; }
uint64_t mla_op_site(const mla_node *n) { return n->site; }
int mla_op_threads(const mla_node *n) { return mla_context_threads(n->tape->context); }

mla_tensor *mla_op_refuse(mla_node *n, const char *format, ...) {
    char why[256], inputs[MLA_MAX_INPUTS * MLA_SHAPE_TEXT] = "", text[MLA_SHAPE_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    for (int i = 0, length = 0; i < n->inputs && length < (int)sizeof inputs; i++) /* long names: cut off */
        length += snprintf(inputs + length, sizeof inputs - (size_t)length, "%s%s%s", i ? ", " : "",
                           n->in[i] && n->in[i]->name ? n->in[i]->name : "",
                           n->in[i] ? mla_shape_text(n->in[i], text) : "none");
    mla_fail(n->tape->context, MLA_ERROR_SHAPE, "%s: %s; got %s", n->op->name, why, inputs);
    return mla_inert(n->tape);
}

static mla_cost default_cost(const mla_node *n) {
    double bytes = (double)mla_size(n->out);
    for (int i = 0; i < n->inputs; i++)
        if (n->in[i]) bytes += (double)mla_size(n->in[i]);
    return (mla_cost){.forward_bytes = bytes, .backward_bytes = bytes};
}

static mla_cost cost_of(const mla_node *n) { return n->op->cost ? n->op->cost(n) : default_cost(n); }

static void add_cost(const mla_node *n) {
    const mla_cost cost = cost_of(n);
    mla_cost *sum = &n->tape->cost;
    sum->forward_flops += cost.forward_flops;
    sum->forward_bytes += cost.forward_bytes;
    if (cost.widened_bytes > sum->widened_bytes) sum->widened_bytes = cost.widened_bytes;
    if (!n->out->needs_grad) return;
    sum->backward_flops += cost.backward_flops;
    sum->backward_bytes += cost.backward_bytes;
}

static void run_timed(const mla_node *n, void (*pass)(const mla_node *)) {
    const mla_step *step = &n->tape->step;
    const mla_cost cost = cost_of(n);
    const double begin = mla_seconds();
    pass(n);
    step->timed(step->user, n->op->name, pass == n->op->backward, mla_seconds() - begin, &cost);
}

/* Runs forward or backward with the scratch memory it asked for. */
void mla_tape_run(mla_node *n, void (*pass)(const mla_node *), int64_t scratch_bytes) {
    if (!pass) return;
    mla_buffer *scratch = scratch_bytes ? mla_pool_take(n->tape->pool, scratch_bytes) : NULL;
    n->scratch = scratch ? scratch->data : NULL;
    if (!n->tape->options.shapes_only && !mla_error_status(n->tape->context)) {
        if (n->tape->step.timed) run_timed(n, pass);
        else pass(n);
    }
    n->scratch = NULL;
    mla_buffer_release(n->tape->pool, scratch);
}

/* Whether nobody will read the memory of input 0 but this op, and this op not by another input: neither a tensor that
 * shares it nor a recorded op holds it, and it is not a parameter's or the caller's. */
static bool may_overwrite(const mla_node *n) {
    const mla_buffer *memory = n->in[0]->value_buffer;
    for (int i = 1; i < n->inputs; i++)
        if (n->in[i] == n->in[0]) return false;
    return memory && memory->holders == 1;
}

static void share_memory(const mla_tensor *x, mla_tensor *out) {
    out->data = x->data;
    out->value_buffer = x->value_buffer;
}

static void give_memory(mla_node *n) {
    mla_tensor *x = n->in[0], *out = n->out;
    if (n->op->aliases) {
        share_memory(x, out);
        if (out->value_buffer) mla_buffer_hold(out->value_buffer);
    } else if (n->op->overwrites && may_overwrite(n)) {
        share_memory(x, out);
        x->data = x->value_buffer = NULL;
        x->overwritten_by = n->op->name;
    } else {
        out->value_buffer = mla_pool_take(n->tape->pool, mla_size(out));
        if (out->value_buffer) out->data = out->value_buffer->data;
        if (n->op->overwrites && out->data) memcpy(out->data, x->data, (size_t)mla_size(out));
    }
}

void mla_tape_record(mla_node *n) {
    mla_tape *tape = n->tape;
    if (mla_grow(tape->context, &tape->nodes, &tape->node_capacity, tape->node_count + 1, sizeof *tape->nodes,
                 "the tape")) {
        release_saved(n);
        return;
    }
    tape->nodes[tape->node_count++] = n;
    for (int i = 0; i < n->inputs; i++) {
        if (!n->in[i]) continue;
        if (n->in[i]->needs_grad) n->in[i]->uses++;
        if (n->op->keeps & MLA_INPUT(i) && n->in[i]->value_buffer) mla_buffer_hold(n->in[i]->value_buffer);
    }
    if (n->op->keeps & MLA_OUTPUT && n->out->value_buffer) mla_buffer_hold(n->out->value_buffer);
}

mla_tensor *mla_op_finish(mla_node *n, mla_dtype dtype, int ndim, const int64_t *shape) {
    mla_tape *tape = n->tape;
    if (mla_shape_count(ndim, shape) < 0) mla_op_refuse(n, "the result would have an impossible shape");
    else n->out = mla_tape_new_tensor(tape, dtype, ndim, shape);
    mla_tensor *out = n->out;
    if (!out) {
        release_saved(n);
        return mla_inert(tape);
    }
    for (int i = 0; i < n->inputs && (n->op->backward || n->op->passes); i++)
        out->needs_grad |= mla_op_differentiates(n, i) && !tape->step.inference;
    give_memory(n);
    mla_tape_run(n, n->op->forward, n->forward_scratch);
    const bool failed = mla_error_status(tape->context) != MLA_OK;
    if (!failed) add_cost(n);
    if (!failed && out->needs_grad) mla_tape_record(n);
    else release_saved(n);
    return mla_error_status(tape->context) ? mla_inert(tape) : out;
}
