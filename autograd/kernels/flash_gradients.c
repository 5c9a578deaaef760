#include "autograd/kernels/flash_gradients.h"

static int64_t shared_floats(const mla_flash *a, int64_t width) {
    return mla_flash_shared(a) == 1 ? 0 : a->batch * a->heads * a->keys * width;
}

int64_t mla_flash_shared_floats(const mla_flash *a) { return shared_floats(a, a->key_width + a->value_width); }

mla_key_gradient mla_flash_key_gradient(const mla_flash *a, const mla_flash_gradients *d, float *shared) {
    return (mla_key_gradient){d->k, a->key_width, d->add_k, shared};
}

mla_key_gradient mla_flash_value_gradient(const mla_flash *a, const mla_flash_gradients *d, float *shared) {
    return (mla_key_gradient){d->v, a->value_width, d->add_v, shared + shared_floats(a, a->key_width)};
}

void mla_flash_deliver_keys(const mla_flash *a, const mla_key_gradient *d, const float *x, mla_stretch keys, int64_t b,
                            int64_t h) {
    if (!d->out.data) return;
    if (mla_flash_shared(a) > 1) {
        memcpy(d->sums + ((b * a->heads + h) * a->keys + keys.begin) * d->width, x,
               (size_t)(keys.size * d->width) * sizeof *x);
        return;
    }
    const mla_values out = mla_flash_at(a, d->out, a->keys, b, keys.begin, h);
    for (int64_t i = 0; i < keys.size; i++)
        mla_store(out, d->add ? MLA_ADD : MLA_SET, i * d->out.row, d->width, x + i * d->width);
}

void mla_flash_deliver_queries(const mla_flash *a, const mla_flash_gradients *d, const float *x, int64_t pitch,
                               int64_t b, int64_t h) {
    if (!d->q.data) return;
    const mla_values out = mla_flash_at(a, d->q, a->queries, b, 0, h);
    for (int64_t i = 0; i < a->queries; i++)
        mla_store(out, d->add_q ? MLA_ADD : MLA_SET, i * d->q.row, a->key_width, x + i * pitch);
}

void mla_flash_add_shared(mla_context *context, const mla_flash *a, const mla_key_gradient *d) {
    const int64_t shared = mla_flash_shared(a), head = a->keys * d->width;
    if (!d->out.data || shared == 1) return;
    #pragma omp parallel for num_threads(mla_context_threads(context)) collapse(2) schedule(static)
    for (int64_t task = 0; task < a->batch * a->key_heads; task++)
        for (int64_t t = 0; t < a->keys; t++) {
            float *sum = d->sums + task * shared * head + t * d->width;
            for (int64_t i = 1; i < shared; i++) mla_deliver(MLA_ADD, d->width, sum + i * head, sum);
            mla_store(mla_flash_at(a, d->out, a->keys, task / a->key_heads, t, task % a->key_heads),
                      d->add ? MLA_ADD : MLA_SET, 0, d->width, sum);
        }
}

int64_t mla_flash_working_threads(mla_context *context, const mla_flash *a) {
    const int64_t threads = mla_context_threads(context), tasks = a->batch * a->heads;
    return tasks < threads ? tasks : threads;
}
