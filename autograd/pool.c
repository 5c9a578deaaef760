#include "autograd/pool.h"

#include <stdlib.h>
#include <sys/mman.h>

/* Classes step by an eighth of a power of two from 256 bytes up: at most 12.5 % above what was asked for,
 * and what is never touched is never resident. A class serves only its own requests, so that a step that asks for
 * the same as the last one finds it all. (Handing out larger buffers too was tried: it took more memory, not less.) */
enum { SMALLEST_SHIFT = 8, STEPS = 8, CLASSES = 40 * STEPS };
static const int64_t huge_page = 2 << 20;

struct mla_pool {
    mla_context *context;
    bool counting;
    int64_t reserved, held;
    mla_buffer *free[CLASSES];
    mla_buffer **all; /* every buffer ever made, for the end */
    int64_t count, capacity;
};

static int64_t class_bytes(int size_class) {
    int64_t base = (int64_t)1 << (SMALLEST_SHIFT + size_class / STEPS);
    return base + base / STEPS * (size_class % STEPS);
}

static int class_of(int64_t bytes) {
    int size_class = 0;
    while (size_class < CLASSES && class_bytes(size_class) < bytes) size_class++;
    return size_class;
}

mla_status mla_pool_create(mla_context *context, mla_pool **out, bool counting) {
    *out = mla_alloc(context, 1, sizeof **out, "the memory pool");
    if (!*out) return MLA_ERROR_MEMORY;
    (*out)->context = context;
    (*out)->counting = counting;
    return MLA_OK;
}

void mla_pool_destroy(mla_pool *pool) {
    if (!pool) return;
    for (int64_t i = 0; i < pool->count; i++) {
        free(pool->all[i]->data);
        free(pool->all[i]);
    }
    free(pool->all);
    free(pool);
}

static void *system_memory(int64_t bytes) {
    void *memory;
    const bool large = bytes >= 2 * huge_page;
    if (posix_memalign(&memory, large ? (size_t)huge_page : 64, (size_t)bytes)) return NULL;
    if (large) madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
    return memory;
}

static mla_buffer *new_buffer(mla_pool *pool, int size_class) {
    const int64_t bytes = class_bytes(size_class);
    if (mla_grow(pool->context, &pool->all, &pool->capacity, pool->count + 1, sizeof *pool->all, "the pool's list"))
        return NULL;
    mla_buffer *buffer = mla_alloc(pool->context, 1, sizeof *buffer, "a buffer of the pool");
    if (!buffer) return NULL;
    if (!pool->counting && !(buffer->data = system_memory(bytes))) {
        mla_fail(pool->context, MLA_ERROR_MEMORY,
                 "no memory for a buffer of %lld MiB beside the %lld MiB of this step: lower the batch, the "
                 "sequence length or the model's size",
                 (long long)(bytes >> 20), (long long)(pool->reserved >> 20));
        free(buffer);
        return NULL;
    }
    buffer->bytes = bytes;
    buffer->size_class = size_class;
    pool->all[pool->count++] = buffer;
    pool->reserved += bytes;
    return buffer;
}

mla_buffer *mla_pool_take(mla_pool *pool, int64_t bytes) {
    const int size_class = class_of(bytes);
    if (size_class == CLASSES) {
        mla_fail(pool->context, MLA_ERROR_MEMORY, "a buffer of %lld bytes is beyond any machine", (long long)bytes);
        return NULL;
    }
    mla_buffer *buffer = pool->free[size_class];
    if (buffer) pool->free[size_class] = buffer->next;
    else if (!(buffer = new_buffer(pool, size_class))) return NULL;
    buffer->holders = 1;
    buffer->next = NULL;
    pool->held += buffer->bytes;
    return buffer;
}

void mla_buffer_hold(mla_buffer *buffer) { buffer->holders++; }

void mla_buffer_release(mla_pool *pool, mla_buffer *buffer) {
    if (!buffer || --buffer->holders > 0) return;
    pool->held -= buffer->bytes;
    buffer->next = pool->free[buffer->size_class];
    pool->free[buffer->size_class] = buffer;
}

int64_t mla_pool_reserved(const mla_pool *pool) { return pool->reserved; }
int64_t mla_pool_held(const mla_pool *pool) { return pool->held; }
