/* y[i] = table[ids[i]]:  table (V,D), ids (...), y (...,D)
 * dtable[v] = sum of dy[i] over all i with ids[i] = v, in the order of i */
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

enum { TABLE, IDS };
enum { STRIPE = 32 };

/* Reports the first id that is not in [0,V). */
static bool ids_fit(const mla_node *n) {
    const int32_t *ids = n->in[IDS]->data;
    const int64_t count = mla_count(n->in[IDS]), rows = n->in[TABLE]->shape[0];
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] >= 0 && ids[i] < rows) continue;
        mla_fail(mla_tape_context(n->tape), MLA_ERROR_ARGUMENT,
                 "gather: the id at position %lld is %d, but the table has rows 0 to %lld", (long long)i, (int)ids[i],
                 (long long)(rows - 1));
        return false;
    }
    return true;
}

static void gather_forward(const mla_node *n) {
    if (!ids_fit(n)) return;
    const int32_t *ids = n->in[IDS]->data;
    const int64_t count = mla_count(n->in[IDS]), width = mla_width(n->out);
    const mla_values table = mla_data(n->in[TABLE]), y = mla_data(n->out);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i++)
        mla_store(y, MLA_SET, i * width, width, mla_load(table, ids[i] * width, width, mla_row(n->out, i)));
}

static void clear(const mla_node *n, int64_t count, float *x) {
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t i = 0; i < count; i += MLA_PIECE) memset(x + i, 0, (size_t)mla_piece(count, i) * sizeof *x);
}

/* Each stripe of columns is one thread's, so that rows that occur often are summed in order and without locks. */
static void gather_backward(const mla_node *n) {
    const int32_t *ids = n->in[IDS]->data;
    const int64_t count = mla_count(n->in[IDS]), width = mla_width(n->out);
    const float *dy = n->out->grad;
    float *dtable = n->grad[TABLE];
    if (n->mode[TABLE] == MLA_SET) clear(n, mla_count(n->in[TABLE]), dtable);
    #pragma omp parallel for num_threads(mla_op_threads(n)) schedule(static)
    for (int64_t from = 0; from < width; from += STRIPE)
        for (int64_t i = 0; i < count; i++)
            mla_deliver(MLA_ADD, width - from < STRIPE ? width - from : STRIPE, dy + i * width + from,
                        dtable + ids[i] * width + from);
}

static const mla_op gather = {
    .name = "gather", .forward = gather_forward, .backward = gather_backward, .keeps = MLA_INPUT(IDS)};

mla_tensor *mla_gather(mla_tape *tape, mla_tensor *table, mla_tensor *ids) {
    mla_node *n = mla_op_begin(tape, &gather, 2, (mla_tensor *[]){table, ids});
    if (!n) return mla_inert(tape);
    if (table->ndim != 2 || table->dtype == MLA_I32) return mla_op_refuse(n, "the table must be (V,D) f32 or bf16");
    if (table->dtype == MLA_BF16 && table->needs_grad) return mla_op_refuse(n, "a table of bf16 must need no gradient");
    if (ids->ndim == MLA_MAX_DIMS || ids->dtype != MLA_I32)
        return mla_op_refuse(n, "the ids must be i32 of at most %d dimensions", MLA_MAX_DIMS - 1);
    int64_t shape[MLA_MAX_DIMS];
    memcpy(shape, ids->shape, sizeof shape);
    shape[ids->ndim] = table->shape[1];
    return mla_op_finish(n, MLA_F32, ids->ndim + 1, shape);
}
