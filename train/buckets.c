#include "train/buckets.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 16, ON_THE_WAY = 3, PIECE = 1 << 12 }; /* floats, buckets, floats */

typedef struct {
    mla_link *link;
    int64_t begin;
    int64_t parameters, missing; /* that lie in it; that are not final yet */
} bucket;

struct mla_buckets {
    mla_context *context;
    mla_comm *comm;
    mla_params *params;
    bool shard;
    float *gradients;
    int64_t length, size, count; /* of the block, of a bucket, of buckets */
    bucket *items;
    float *received[ON_THE_WAY];
    int64_t sent, summed, done; /* buckets, in order, that have come so far */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t size_of(int64_t length, int64_t bytes) {
    const int64_t wanted = bytes / (int64_t)sizeof(float) / ALIGNMENT * ALIGNMENT;
    return smaller(wanted > ALIGNMENT ? wanted : ALIGNMENT, length > ALIGNMENT ? length : ALIGNMENT);
}

int64_t mla_buckets_memory(int64_t gradients_length, int64_t bytes) {
    const int64_t size = size_of(gradients_length, bytes), count = (gradients_length + size - 1) / size;
    return smaller(count, ON_THE_WAY) * size * (int64_t)sizeof(float);
}

/* ---- making ---- */

/* Bucket i ends where i of them end before the end of the block. */
static int64_t bucket_of(const mla_buckets *b, int64_t at) { return (b->length - 1 - at) / b->size; }
static int64_t end_of(const mla_buckets *b, int64_t i) { return b->length - i * b->size; }

static mla_status make_bucket(mla_buckets *b, int64_t i) {
    bucket *item = &b->items[i];
    item->begin = end_of(b, i) > b->size ? end_of(b, i) - b->size : 0;
    const mla_status status = mla_link_create(b->comm, end_of(b, i) - item->begin, &item->link);
    if (status || b->received[i % ON_THE_WAY]) return status;
    b->received[i % ON_THE_WAY] = mla_alloc(b->context, mla_link_room(item->link), sizeof(float), "gradients of other ranks");
    return b->received[i % ON_THE_WAY] ? MLA_OK : MLA_ERROR_MEMORY;
}

/* The buckets, first to last, that a range of the gradients has a part in. */
static int64_t touched(const mla_buckets *b, int64_t begin, int64_t count, int64_t *last) {
    *last = bucket_of(b, begin);
    return bucket_of(b, begin + count - 1);
}

static void count_parameters(mla_buckets *b) {
    for (int64_t i = 0, last; i < mla_params_count(b->params); i++) {
        const mla_param *p = mla_params_at(b->params, i);
        if (p->spec.frozen) continue;
        for (int64_t k = touched(b, p->grad_offset, p->count, &last); k <= last; k++) b->items[k].parameters++;
    }
}

mla_status mla_buckets_create(mla_context *context, mla_comm *comm, mla_params *params, int64_t bytes, bool shard,
                              mla_buckets **out) {
    mla_buckets *b = *out = mla_alloc(context, 1, sizeof *b, "the buckets of gradients");
    if (!b) return MLA_ERROR_MEMORY;
    *b = (mla_buckets){.context = context, .comm = comm, .params = params, .shard = shard,
                       .gradients = mla_params_gradients(params), .length = mla_params_gradients_length(params)};
    b->size = size_of(b->length, bytes);
    b->count = (b->length + b->size - 1) / b->size;
    b->items = mla_alloc(context, b->count, sizeof *b->items, "the buckets of gradients");
    mla_status status = b->items ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < b->count && !status; i++) status = make_bucket(b, i);
    if (!status) count_parameters(b);
    return status;
}

void mla_buckets_destroy(mla_buckets *b) {
    if (!b) return;
    for (int64_t i = 0; b->items && i < b->count; i++) mla_link_destroy(b->items[i].link);
    for (int i = 0; i < ON_THE_WAY; i++) free(b->received[i]);
    free(b->items);
    free(b);
}

/* ---- a step ---- */

/* sum = part of rank 0 + part of rank 1 + ..., where this rank's own part lies in place. */
static void add_up(const mla_buckets *b, float *own, int64_t count, const float *received) {
    const int world = mla_comm_world(b->comm), me = mla_comm_rank(b->comm);
    #pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < count; at += PIECE) {
        const int64_t n = smaller(count - at, PIECE);
        float sum[PIECE];
        memcpy(sum, me == 0 ? own + at : received + at, (size_t)n * sizeof *sum);
        for (int r = 1; r < world; r++) {
            const float *part = r == me ? own + at : received + r * count + at;
            for (int64_t i = 0; i < n; i++) sum[i] += part[i];
        }
        memcpy(own + at, sum, (size_t)n * sizeof *sum);
    }
}

static bool may_send(const mla_buckets *b) {
    return b->sent < b->count && !b->items[b->sent].missing && b->sent - b->summed < ON_THE_WAY;
}

static void send_bucket(mla_buckets *b) {
    const bucket *item = &b->items[b->sent];
    mla_link_deal(item->link, b->gradients + item->begin, b->received[b->sent % ON_THE_WAY]);
    b->sent++;
}

static void sum_bucket(mla_buckets *b) {
    const bucket *item = &b->items[b->summed];
    int64_t begin;
    const int64_t count = mla_link_segment(item->link, mla_comm_rank(b->comm), &begin);
    add_up(b, b->gradients + item->begin + begin, count, b->received[b->summed % ON_THE_WAY]);
    if (!b->shard) mla_link_collect(item->link, b->gradients + item->begin);
    b->summed++;
}

/* Each stage is gone through in the order of the buckets, so that all ranks begin the same things in one order. */
void mla_buckets_poll(void *buckets) {
    mla_buckets *b = buckets;
    while (may_send(b)) send_bucket(b);
    while (b->summed < b->sent && mla_link_done(b->items[b->summed].link)) {
        sum_bucket(b);
        if (may_send(b)) send_bucket(b);
    }
    while (b->done < b->summed && (b->shard || mla_link_done(b->items[b->done].link))) b->done++;
}

void mla_buckets_begin(mla_buckets *b) {
    b->sent = b->summed = b->done = 0;
    for (int64_t i = 0; i < b->count; i++) b->items[i].missing = b->items[i].parameters;
}

void mla_buckets_final(void *buckets, mla_tensor *parameter) {
    mla_buckets *b = buckets;
    int64_t last;
    const int64_t begin = (const float *)parameter->grad - b->gradients;
    for (int64_t i = touched(b, begin, mla_count(parameter), &last); i <= last; i++) b->items[i].missing--;
    mla_buckets_poll(b);
}

static void fill_in(mla_buckets *b) {
    for (int64_t i = 0; i < mla_params_count(b->params); i++) {
        mla_param *p = mla_params_at(b->params, i);
        if (p->spec.frozen || p->tensor.has_grad) continue;
        memset(p->tensor.grad, 0, (size_t)p->count * sizeof(float));
        p->tensor.has_grad = true;
    }
    for (int64_t i = 0; i < b->count; i++) b->items[i].missing = 0;
}

static bool all_done(void *user) {
    const mla_buckets *b = user;
    mla_buckets_poll(user);
    return b->done == b->count;
}

mla_status mla_buckets_finish(mla_buckets *b) {
    fill_in(b);
    const mla_status status = mla_comm_wait(b->comm, all_done, b);
    return status ? status : mla_error_status(b->context);
}

/* ---- segments ---- */

int64_t mla_buckets_count(const mla_buckets *b) { return b->count; }

int64_t mla_buckets_own(const mla_buckets *b, int64_t i, int64_t *begin) {
    const int64_t count = mla_link_segment(b->items[i].link, mla_comm_rank(b->comm), begin);
    *begin += b->items[i].begin;
    return count;
}

int mla_buckets_owner(const mla_buckets *b, int64_t at, int64_t *end) {
    const bucket *item = &b->items[bucket_of(b, at)];
    int64_t begin;
    const int64_t segment = mla_link_segment(item->link, 0, &begin);
    const int64_t rank = (at - item->begin) / segment;
    *end = item->begin + begin + (rank + 1) * segment;
    const int64_t bucket_end = end_of(b, bucket_of(b, at));
    if (*end > bucket_end) *end = bucket_end;
    return (int)rank;
}

static bool all_spread(void *user) {
    mla_buckets *b = user;
    while (b->done < b->count && mla_link_done(b->items[b->done].link)) b->done++;
    return b->done == b->count;
}

mla_status mla_buckets_spread(mla_buckets *b) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < b->count && !status; i++)
        status = mla_link_collect(b->items[i].link, b->gradients + b->items[i].begin);
    b->done = 0;
    return status ? status : mla_comm_wait(b->comm, all_spread, b);
}
