#include "train/distributed/buckets.h"

#include "autograd/base/bfloat16.h"
#include "autograd/kernels/rows.h"

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
    mla_buckets_options options;
    float *gradients;
    int64_t length, size, count; /* of the block, of a bucket, of buckets */
    bucket *items;
    void *received[ON_THE_WAY];
    mla_bf16 *sending[ON_THE_WAY]; /* in bf16: whole buckets, what goes and then the sums */
    int64_t sent, summed, done;    /* buckets, in order, that have come so far */
};

static int64_t buckets_smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t size_of(int64_t length, int64_t bytes) {
    const int64_t wanted = bytes / (int64_t)sizeof(float) / ALIGNMENT * ALIGNMENT;
    return buckets_smaller(wanted > ALIGNMENT ? wanted : ALIGNMENT, length > ALIGNMENT ? length : ALIGNMENT);
}

int64_t mla_buckets_memory(int64_t gradients_length, int64_t bytes) {
    const int64_t size = size_of(gradients_length, bytes), count = (gradients_length + size - 1) / size;
    return buckets_smaller(count, ON_THE_WAY) * size * (int64_t)sizeof(float);
}

/* ---- making ---- */

static bool is_rounded(const mla_buckets *b) { return b->options.wire == MLA_BF16; }

/* Bucket i ends where i of them end before the end of the block. */
static int64_t bucket_of(const mla_buckets *b, int64_t at) { return (b->length - 1 - at) / b->size; }
static int64_t end_of(const mla_buckets *b, int64_t i) { return b->length - i * b->size; }

static mla_status make_bucket(mla_buckets *b, int64_t i) {
    bucket *item = &b->items[i];
    item->begin = end_of(b, i) > b->size ? end_of(b, i) - b->size : 0;
    const mla_status status = mla_link_create(b->comm, end_of(b, i) - item->begin, &item->link);
    const int64_t way = i % ON_THE_WAY;
    if (status || b->received[way]) return status;
    const int64_t room = mla_link_room(item->link);
    b->received[way] = mla_alloc(b->context, room, mla_dtype_size(b->options.wire), "gradients of other ranks");
    if (is_rounded(b)) b->sending[way] = mla_alloc(b->context, room, sizeof(mla_bf16), "gradients for other ranks");
    return b->received[way] && (b->sending[way] || !is_rounded(b)) ? MLA_OK : MLA_ERROR_MEMORY;
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

mla_status mla_buckets_create(mla_context *context, mla_comm *comm, mla_params *params,
                              const mla_buckets_options *options, mla_buckets **out) {
    mla_buckets *b = *out = mla_alloc(context, 1, sizeof *b, "the buckets of gradients");
    if (!b) return MLA_ERROR_MEMORY;
    *b = (mla_buckets){.context = context,
                       .comm = comm,
                       .params = params,
                       .options = *options,
                       .gradients = mla_params_gradients(params),
                       .length = mla_params_gradients_length(params)};
    b->size = size_of(b->length, options->bytes);
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
    for (int i = 0; i < ON_THE_WAY; i++) free(b->received[i]), free(b->sending[i]);
    free(b->items);
    free(b);
}

/* ---- a step ---- */

/* What rank r gave of a piece of this rank's segment, from element `at` on; this rank's own part lies in place. */
static const float *part_of(const mla_buckets *b, int r, const float *own, int64_t count, const void *received,
                            int64_t at, float *room) {
    if (r == mla_comm_rank(b->comm)) return own + at;
    const int64_t place = r * count + at;
    if (!is_rounded(b)) return (const float *)received + place;
    mla_widen(buckets_smaller(count - at, PIECE), (const mla_bf16 *)received + place, room);
    return room;
}

/* sum = part of rank 0 + part of rank 1 + ... */
static void add_up(const mla_buckets *b, float *own, int64_t count, const void *received) {
    const int world = mla_comm_world(b->comm);
    #pragma omp parallel for num_threads(mla_context_threads(b->context)) schedule(static)
    for (int64_t at = 0; at < count; at += PIECE) {
        const int64_t n = buckets_smaller(count - at, PIECE);
        float sum[PIECE], room[PIECE];
        memcpy(sum, part_of(b, 0, own, count, received, at, room), (size_t)n * sizeof *sum);
        for (int r = 1; r < world; r++) mla_deliver(MLA_ADD, n, part_of(b, r, own, count, received, at, room), sum);
        memcpy(own + at, sum, (size_t)n * sizeof *sum);
    }
}

/* What has been sent as bf16 stays in its place until the sums have come back there. */
static bool may_send(const mla_buckets *b) {
    const int64_t over = is_rounded(b) ? b->done : b->summed;
    return b->sent < b->count && !b->items[b->sent].missing && b->sent - over < ON_THE_WAY;
}

static void send_bucket(mla_buckets *b) {
    const bucket *item = &b->items[b->sent];
    const int64_t way = b->sent % ON_THE_WAY;
    const void *data = b->gradients + item->begin;
    if (is_rounded(b)) {
        mla_narrow_all(b->context, end_of(b, b->sent) - item->begin, data, b->sending[way]);
        data = b->sending[way];
    }
    mla_link_deal(item->link, b->options.wire, data, b->received[way]);
    b->sent++;
}

static void sum_bucket(mla_buckets *b) {
    const bucket *item = &b->items[b->summed];
    const int64_t way = b->summed % ON_THE_WAY;
    int64_t begin;
    const int64_t count = mla_link_segment(item->link, mla_comm_rank(b->comm), &begin);
    float *own = b->gradients + item->begin + begin;
    void *data = b->gradients + item->begin;
    add_up(b, own, count, b->received[way]);
    b->summed++;
    if (b->options.shard) return;
    if (is_rounded(b)) {
        mla_narrow_all(b->context, count, own, b->sending[way] + begin);
        data = b->sending[way];
    }
    mla_link_collect(item->link, b->options.wire, data);
}

/* All ranks take the rounded sums, the one that has rounded them too: they must have the same. */
static void finish_bucket(mla_buckets *b) {
    const bucket *item = &b->items[b->done];
    if (is_rounded(b) && !b->options.shard)
        mla_widen_all(b->context, end_of(b, b->done) - item->begin, b->sending[b->done % ON_THE_WAY],
                      b->gradients + item->begin);
    b->done++;
}

/* Each stage is gone through in the order of the buckets, so that all ranks begin the same things in one order. */
void mla_buckets_poll(void *buckets) {
    mla_buckets *b = buckets;
    while (may_send(b)) send_bucket(b);
    while (b->summed < b->sent && mla_link_done(b->items[b->summed].link)) {
        sum_bucket(b);
        if (may_send(b)) send_bucket(b);
    }
    while (b->done < b->summed && (b->options.shard || mla_link_done(b->items[b->done].link))) finish_bucket(b);
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

static void poll_spread(mla_buckets *b) {
    while (b->done < b->sent && mla_link_done(b->items[b->done].link)) b->done++;
}

mla_status mla_buckets_spread(mla_buckets *b, int64_t i, float *block) {
    if (i == 0) b->sent = b->done = 0;
    b->sent = i + 1;
    const mla_status status = mla_link_collect(b->items[i].link, MLA_F32, block + b->items[i].begin);
    poll_spread(b);
    return status;
}

static bool all_spread(void *user) {
    const mla_buckets *b = user;
    poll_spread(user);
    return b->done == b->count;
}

mla_status mla_buckets_gather(mla_buckets *b) { return mla_comm_wait(b->comm, all_spread, b); }
