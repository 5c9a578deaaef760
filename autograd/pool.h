/* The step's memory: activations, gradients and scratch, in buffers of a few size classes that are kept and
 * handed out again, so that from the second step on nothing is allocated.
 *
 * A counting pool hands out buffers without memory: a step run on shapes alone with it gives the peak that a
 * real step will need. Not for use by several threads at once. */
#ifndef MLA_AUTOGRAD_POOL_H
#define MLA_AUTOGRAD_POOL_H

#include "autograd/base/context.h"
#include "autograd/tensor.h"

typedef struct mla_pool mla_pool;

struct mla_buffer {
    void *data;    /* 64-byte aligned; NULL in a counting pool */
    int64_t bytes; /* of the size class, at least what was asked for */
    int holders;   /* back in the pool when it falls to 0 */
    int size_class;
    mla_buffer *next; /* in the free list */
};

/* Only error: MLA_ERROR_MEMORY. The pool must outlive all that was taken from it; destroying it frees all. */
mla_status mla_pool_create(mla_context *context, mla_pool **out, bool counting);
void mla_pool_destroy(mla_pool *pool);

/* A buffer of at least `bytes` with one holder, its content undefined. NULL after an error (no memory). */
mla_buffer *mla_pool_take(mla_pool *pool, int64_t bytes);
void mla_buffer_hold(mla_buffer *buffer);
void mla_buffer_release(mla_pool *pool, mla_buffer *buffer); /* NULL is allowed */

/* Bytes got from the system so far (never given back before the end, so also the peak). */
int64_t mla_pool_reserved(const mla_pool *pool);
/* Bytes held at this moment. */
int64_t mla_pool_held(const mla_pool *pool);

#endif
