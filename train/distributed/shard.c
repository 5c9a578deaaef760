#include "train/distributed/shard.h"
#include "optim/clip.h"

#include <stdlib.h>
#include <string.h>

struct mla_shard {
    mla_context *context;
    mla_comm *comm;
    mla_params *params;
    mla_buckets *buckets;
    mla_adamw_state moments;     /* of this rank's segments, one after the other */
    mla_distant_moments distant; /* of all; also counts the steps */
};

typedef enum { READ, WRITE, RELEASE } action;

/* What rank 0 asks of the others. */
typedef struct {
    int64_t action, which, begin, count, steps;
} request;

static int64_t own_length(const mla_buckets *buckets) {
    int64_t sum = 0, begin;
    for (int64_t i = 0; i < mla_buckets_count(buckets); i++) sum += mla_buckets_own(buckets, i, &begin);
    return sum;
}

static mla_status read_distant(void *user, int which, int64_t begin, int64_t count, float *out);
static mla_status write_distant(void *user, int which, int64_t begin, int64_t count, const float *in);

mla_status mla_shard_create(mla_context *context, mla_comm *comm, mla_params *params, mla_buckets *buckets,
                            mla_shard **out) {
    mla_shard *s = *out = mla_alloc(context, 1, sizeof *s, "the shard of the optimizer");
    if (!s) return MLA_ERROR_MEMORY;
    *s = (mla_shard){.context = context,
                     .comm = comm,
                     .params = params,
                     .buckets = buckets,
                     .distant = {.read = read_distant, .write = write_distant, .user = s}};
    return mla_adamw_state_allocate_part(context, &s->moments, own_length(buckets));
}

void mla_shard_destroy(mla_shard *s) {
    if (!s) return;
    mla_adamw_state_free(&s->moments);
    free(s);
}

/* ---- a step ---- */

double mla_shard_squared_norm(const mla_shard *s) {
    double sum = 0;
    for (int64_t i = 0, begin; i < mla_buckets_count(s->buckets); i++) {
        const int64_t count = mla_buckets_own(s->buckets, i, &begin);
        sum += mla_squared_norm(s->context, count, mla_params_gradients(s->params) + begin);
    }
    return sum;
}

/* Where parameters are frozen, the values have another layout than the gradients, and travel in the block of gradients,
 * which are not needed any more. */
static bool has_frozen(const mla_params *params) {
    return mla_params_elements(params, true) != mla_params_elements(params, false);
}

static void exchange_values(const mla_shard *s, bool into_gradients) {
    for (int64_t i = 0; i < mla_params_count(s->params); i++) {
        const mla_param *p = mla_params_at(s->params, i);
        if (p->spec.frozen) continue;
        void *value = p->tensor.data, *gradient = p->tensor.grad;
        memcpy(into_gradients ? gradient : value, into_gradients ? value : gradient, (size_t)p->count * sizeof(float));
    }
}

static mla_status exchange_all(const mla_shard *s) {
    mla_status status = MLA_OK;
    exchange_values(s, true);
    for (int64_t i = 0; i < mla_buckets_count(s->buckets) && !status; i++)
        status = mla_buckets_spread(s->buckets, i, mla_params_gradients(s->params));
    if (!status) status = mla_buckets_gather(s->buckets);
    exchange_values(s, false);
    return status;
}

mla_status mla_shard_step(mla_shard *s, const mla_adamw_options *options, float lr, float grad_scale) {
    const bool frozen = has_frozen(s->params);
    mla_status status = MLA_OK;
    const mla_adamw_pace pace = {lr, grad_scale, ++s->distant.steps};
    for (int64_t i = 0, at = 0, begin; i < mla_buckets_count(s->buckets) && !status; i++) {
        const int64_t count = mla_buckets_own(s->buckets, i, &begin);
        const mla_adamw_state own = {.m = s->moments.m + at, .v = s->moments.v + at};
        mla_adamw_update_part(options, &pace, s->params, begin, count, &own);
        at += count;
        if (!frozen)
            status = mla_buckets_spread(s->buckets, i, mla_params_values(s->params)); /* beside the next update */
    }
    if (!status) status = frozen ? exchange_all(s) : mla_buckets_gather(s->buckets);
    mla_params_changed(s->params);
    return status;
}

/* ---- checkpoints ---- */

/* Where an element of this rank's segments lies in its moments. */
static float *place_of(const mla_shard *s, int64_t which, int64_t at) {
    int64_t offset = 0, begin = 0, count = 0;
    for (int64_t i = 0; i < mla_buckets_count(s->buckets); i++) {
        count = mla_buckets_own(s->buckets, i, &begin);
        if (at >= begin && at < begin + count) break;
        offset += count;
    }
    return (which ? s->moments.v : s->moments.m) + offset + (at - begin);
}

/* Moves one run of elements of one owner between it and rank 0's buffer. */
static mla_status move_run(const mla_shard *s, const request *r, int owner, int64_t at, int64_t count, float *buffer) {
    const int me = mla_comm_rank(s->comm);
    const int64_t bytes = count * (int64_t)sizeof(float);
    if (me != 0 && me != owner) return MLA_OK;
    float *here = me == owner ? place_of(s, r->which, at) : NULL, *there = me == 0 ? buffer + (at - r->begin) : NULL;
    if (owner == 0)
        return memcpy(r->action == READ ? there : here, r->action == READ ? here : there, (size_t)bytes), MLA_OK;
    if (me == 0)
        return r->action == READ ? mla_comm_receive(s->comm, owner, there, bytes)
                                 : mla_comm_send(s->comm, owner, there, bytes);
    return r->action == READ ? mla_comm_send(s->comm, 0, here, bytes) : mla_comm_receive(s->comm, 0, here, bytes);
}

static mla_status move_all(const mla_shard *s, const request *r, float *buffer) {
    mla_status status = MLA_OK;
    for (int64_t at = r->begin, end; at < r->begin + r->count && !status; at = end) {
        const int owner = mla_buckets_owner(s->buckets, at, &end);
        if (end > r->begin + r->count) end = r->begin + r->count;
        status = move_run(s, r, owner, at, end - at, buffer);
    }
    return status;
}

static mla_status ask(const mla_shard *s, request r, float *buffer) {
    const mla_status status = mla_comm_broadcast(s->comm, &r, sizeof r);
    return status ? status : move_all(s, &r, buffer);
}

static mla_status read_distant(void *user, int which, int64_t begin, int64_t count, float *out) {
    return ask(user, (request){.action = READ, .which = which, .begin = begin, .count = count}, out);
}

static mla_status write_distant(void *user, int which, int64_t begin, int64_t count, const float *in) {
    return ask(user, (request){.action = WRITE, .which = which, .begin = begin, .count = count},
               (float *)(uintptr_t)in);
}

mla_distant_moments *mla_shard_moments(mla_shard *s) { return &s->distant; }

mla_status mla_shard_release(mla_shard *s) {
    return ask(s, (request){.action = RELEASE, .steps = s->distant.steps}, NULL);
}

mla_status mla_shard_serve(mla_shard *s) {
    request r = {.action = READ};
    mla_status status = MLA_OK;
    while (!status && r.action != RELEASE) {
        status = mla_comm_broadcast(s->comm, &r, sizeof r);
        if (!status && r.action != RELEASE) status = move_all(s, &r, NULL);
    }
    if (!status) s->distant.steps = r.steps;
    return status;
}
