#include "train/distributed/team.h"
#include "autograd/base/clock.h"
#include "optim/clip.h"
#include "train/distributed/buckets.h"
#include "train/distributed/shard.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* What each rank tells all others once a step. */
typedef struct {
    double loss, divergence, squared_norm; /* squared_norm: of its shard */
    double seconds;                        /* of computing, a sample */
    int64_t valid, stop;
    uint64_t hash;             /* of the parameters, in some steps; else 0 */
    mla_statistics statistics; /* the names are read from one's own */
} report;

/* Who is how fast: rank 0 keeps watch. */
typedef struct {
    double *seconds, *sorted; /* running means, a rank */
    int64_t steps, silent_until;
} pace;

struct mla_team {
    mla_context *context;
    mla_comm *comm;
    const mla_recipe *recipe;
    mla_params *params;
    mla_adamw_state moments; /* or */
    mla_shard *shard;
    mla_buckets *buckets; /* NULL: one rank alone */
    report *reports;
    pace pace;
    int64_t samples; /* of this rank in a batch */
    double begin, waited;
};

/* ---- before a run ---- */

mla_range mla_team_share(const mla_comm *comm, int64_t total) {
    const int64_t rank = mla_comm_rank(comm), world = mla_comm_world(comm);
    const int64_t first = total * rank / world;
    return (mla_range){first, total * (rank + 1) / world - first};
}

mla_status mla_team_check(mla_context *context, const mla_comm *comm, const mla_recipe *recipe) {
    if (recipe->train.batch >= mla_comm_world(comm)) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "train.batch: %lld sequences are too few for %d ranks: raise it to at "
                    "least one a rank, or start fewer",
                    (long long)recipe->train.batch, mla_comm_world(comm));
}

mla_status mla_team_all(mla_context *context, mla_comm *comm, bool mine, bool *all) {
    const int world = mla_comm_world(comm);
    bool *said = mla_alloc(context, world, sizeof *said, "what the ranks say");
    const mla_status status = said ? mla_comm_share(comm, &mine, sizeof mine, said) : MLA_ERROR_MEMORY;
    *all = !status;
    for (int rank = 0; rank < world && !status; rank++) *all &= said[rank];
    free(said);
    return status;
}

static int64_t bucket_bytes(const mla_recipe *recipe) { return (int64_t)(recipe->train.bucket_mb * 1e6); }

int64_t mla_team_moments_bytes(const mla_comm *comm, const mla_recipe *recipe, int64_t gradients_bytes) {
    return 2 * gradients_bytes / (recipe->optim.shard ? mla_comm_world(comm) : 1);
}

int64_t mla_team_reduction_bytes(const mla_comm *comm, const mla_recipe *recipe, int64_t gradients_bytes) {
    if (!comm) return 0;
    return mla_buckets_memory(gradients_bytes / (int64_t)sizeof(float), bucket_bytes(recipe));
}

static mla_status team_join(mla_team *t) {
    const int world = mla_comm_world(t->comm);
    const bool shard = t->recipe->optim.shard;
    t->reports = mla_alloc(t->context, world, sizeof *t->reports, "the reports of the ranks");
    t->pace.seconds = mla_alloc(t->context, 2 * world, sizeof(double), "the pace of the ranks");
    if (!t->reports || !t->pace.seconds) return MLA_ERROR_MEMORY;
    t->pace.sorted = t->pace.seconds + world;
    const mla_buckets_options options = {.bytes = bucket_bytes(t->recipe),
                                         .shard = shard,
                                         .wire = t->recipe->train.reduce == MLA_REDUCE_BF16 ? MLA_BF16 : MLA_F32};
    mla_status status = mla_buckets_create(t->context, t->comm, t->params, &options, &t->buckets);
    if (!status && shard) status = mla_shard_create(t->context, t->comm, t->params, t->buckets, &t->shard);
    return status;
}

mla_status mla_team_create(mla_context *context, mla_comm *comm, const mla_recipe *recipe, mla_params *params,
                           mla_team **out) {
    mla_team *t = *out = mla_alloc(context, 1, sizeof *t, "the team");
    if (!t) return MLA_ERROR_MEMORY;
    *t = (mla_team){.context = context,
                    .comm = comm,
                    .recipe = recipe,
                    .params = params,
                    .samples = mla_team_share(comm, recipe->train.batch).count};
    mla_status status = comm ? team_join(t) : MLA_OK;
    if (!status && !t->shard) status = mla_adamw_state_allocate(context, &t->moments, params);
    return status;
}

void mla_team_destroy(mla_team *t) {
    if (!t) return;
    mla_shard_destroy(t->shard);
    mla_buckets_destroy(t->buckets);
    mla_adamw_state_free(&t->moments);
    free(t->reports);
    free(t->pace.seconds);
    free(t);
}

/* ---- a step ---- */

void mla_team_begin(mla_team *t) {
    mla_params_clear_gradients(t->params);
    if (!t->comm) return;
    mla_buckets_begin(t->buckets);
    mla_comm_waited(t->comm);
    t->begin = mla_seconds();
}

void mla_team_follow(mla_team *t, mla_step *step) {
    if (!t->comm || !t->recipe->train.overlap) return;
    step->gradient_final = mla_buckets_final;
    step->between = mla_buckets_poll;
    step->user = t->buckets;
}

static uint64_t hash_if_due(const mla_team *t, int64_t step) {
    const int64_t every = t->recipe->train.verify_every;
    if (every <= 0 || step % every) return 0;
    return XXH3_64bits(mla_params_values(t->params), (size_t)mla_params_values_length(t->params) * sizeof(float));
}

static mla_status check_same(const mla_team *t, int64_t step) {
    for (int r = 1; r < mla_comm_world(t->comm); r++)
        if (t->reports[r].hash != t->reports[0].hash)
            return mla_fail(
                t->context, MLA_ERROR_LIBRARY,
                "step %lld: the parameters on %s are not those on %s: memory or "
                "network of one of them is faulty; resume from the last checkpoint with --resume, without it",
                (long long)step, mla_comm_name(t->comm, r), mla_comm_name(t->comm, 0));
    return MLA_OK;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Names the slowest rank where it takes half as long again as the middle one: all wait for it in every step. */
static void watch_pace(mla_team *t, int64_t step) {
    enum { WARM_UP = 3, FIRST_STEPS = 20, SILENCE = 500 };
    static const double noticeable = 5e-3; /* seconds a step */
    pace *p = &t->pace;
    const int world = mla_comm_world(t->comm);
    int slowest = 0;
    for (int r = 0; r < world; r++) {
        p->seconds[r] = p->steps > WARM_UP ? 0.9 * p->seconds[r] + 0.1 * t->reports[r].seconds : t->reports[r].seconds;
        if (p->seconds[r] > p->seconds[slowest]) slowest = r;
    }
    memcpy(p->sorted, p->seconds, (size_t)world * sizeof *p->sorted);
    qsort(p->sorted, (size_t)world, sizeof *p->sorted, ascending);
    const double usual = p->sorted[(world - 1) / 2], slow = p->seconds[slowest];
    if (++p->steps < FIRST_STEPS || step < p->silent_until || slow < 1.5 * usual ||
        (slow - usual) * (double)t->samples < noticeable)
        return;
    mla_warn(t->context, "step %lld: %s is slow: it computes %.1f times as long as the others, which wait for it",
             (long long)step, mla_comm_name(t->comm, slowest), slow / usual);
    p->silent_until = step + SILENCE;
}

static void add_statistics(mla_statistics *sum, const mla_statistics *s) {
    for (int i = 0; i < sum->count; i++) {
        sum->of[i].sum += s->of[i].sum;
        sum->of[i].parts += s->of[i].parts;
    }
}

static void add_reports(const mla_team *t, mla_team_sums *sums) {
    double squared_norm = 0;
    mla_statistics *statistics = &sums->statistics;
    for (int i = 0; i < statistics->count; i++) statistics->of[i].sum = 0, statistics->of[i].parts = 0;
    *sums = (mla_team_sums){.statistics = *statistics};
    for (int r = 0; r < mla_comm_world(t->comm); r++) {
        sums->loss += t->reports[r].loss;
        sums->divergence += t->reports[r].divergence;
        sums->valid += t->reports[r].valid;
        add_statistics(&sums->statistics, &t->reports[r].statistics);
        sums->stop |= t->reports[r].stop != 0;
        squared_norm += t->reports[r].squared_norm;
    }
    sums->grad_norm = t->shard ? sqrt(squared_norm) : mla_gradient_norm(t->params);
}

mla_status mla_team_sum(mla_team *t, int64_t step, mla_team_sums *sums) {
    if (!t->comm) return sums->grad_norm = mla_gradient_norm(t->params), MLA_OK;
    mla_status status = mla_buckets_finish(t->buckets);
    if (status) return status;
    t->waited = mla_comm_waited(t->comm);
    const report mine = {.loss = sums->loss,
                         .divergence = sums->divergence,
                         .valid = sums->valid,
                         .stop = sums->stop,
                         .statistics = sums->statistics,
                         .hash = hash_if_due(t, step),
                         .squared_norm = t->shard ? mla_shard_squared_norm(t->shard) : 0,
                         .seconds = (mla_seconds() - t->begin - t->waited) / (double)t->samples};
    status = mla_comm_share(t->comm, &mine, sizeof mine, t->reports);
    if (!status) status = check_same(t, step);
    if (status) return status;
    add_reports(t, sums);
    if (mla_comm_rank(t->comm) == 0) watch_pace(t, step);
    return MLA_OK;
}

mla_status mla_team_update(mla_team *t, float lr, float grad_scale) {
    const mla_recipe_optim *o = &t->recipe->optim;
    const mla_adamw_options adamw = {(float)o->beta1, (float)o->beta2, (float)o->eps, (float)o->weight_decay};
    if (t->shard) return mla_shard_step(t->shard, &adamw, lr, grad_scale);
    mla_adamw_step(&t->moments, t->params, &adamw, lr, grad_scale);
    return MLA_OK;
}

double mla_team_waited(mla_team *t) { return t->comm ? t->waited + mla_comm_waited(t->comm) : NAN; }

/* ---- evaluation and checkpoints ---- */

mla_status mla_team_add(mla_team *t, double *sum, int64_t *count) {
    if (!t->comm) return MLA_OK;
    const report mine = {.loss = *sum, .valid = *count};
    const mla_status status = mla_comm_share(t->comm, &mine, sizeof mine, t->reports);
    mla_team_sums sums = {0};
    for (int r = 0; r < mla_comm_world(t->comm); r++) {
        sums.loss += t->reports[r].loss;
        sums.valid += t->reports[r].valid;
    }
    *sum = sums.loss;
    *count = sums.valid;
    return status;
}

mla_status mla_team_add_all(mla_team *t, double *sums, int64_t count) {
    if (!t->comm) return MLA_OK;
    const int ranks = mla_comm_world(t->comm);
    double *all = mla_alloc(t->context, ranks * count, sizeof *all, "the sums of all ranks");
    const mla_status status = all ? mla_comm_share(t->comm, sums, count * (int64_t)sizeof *sums, all)
                                  : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < count && !status; i++) {
        sums[i] = 0;
        for (int r = 0; r < ranks; r++) sums[i] += all[r * count + i];
    }
    free(all);
    return status;
}

mla_status mla_team_save(mla_team *t, mla_saver *saver, mla_checkpoint_content content) {
    if (mla_comm_rank(t->comm)) return t->shard ? mla_shard_serve(t->shard) : MLA_OK;
    if (t->shard) content.distant = mla_shard_moments(t->shard);
    else content.moments = &t->moments;
    const mla_status status = mla_saver_save(saver, &content);
    return !status && t->shard ? mla_shard_release(t->shard) : status;
}

static mla_status read_moments(mla_team *t, mla_checkpoint *checkpoint) {
    if (!t->shard) return mla_checkpoint_read_moments(checkpoint, t->params, &t->moments);
    const mla_status status = mla_checkpoint_read_distant_moments(checkpoint, t->params, mla_shard_moments(t->shard));
    return status ? status : mla_shard_release(t->shard);
}

static mla_status broadcast_block(mla_team *t, float *block, int64_t length) {
    return mla_comm_broadcast(t->comm, block, length * (int64_t)sizeof *block);
}

mla_status mla_team_resume(mla_team *t, mla_checkpoint *checkpoint, mla_run_state *state) {
    const int64_t length = mla_params_gradients_length(t->params);
    mla_status status = MLA_OK;
    if (mla_comm_rank(t->comm) == 0) status = read_moments(t, checkpoint);
    else if (t->shard) status = mla_shard_serve(t->shard);
    if (!status) status = mla_comm_broadcast(t->comm, state, sizeof *state);
    if (!status) status = broadcast_block(t, mla_params_values(t->params), mla_params_values_length(t->params));
    if (!status && !t->shard) status = broadcast_block(t, t->moments.m, length);
    if (!status && !t->shard) status = broadcast_block(t, t->moments.v, length);
    if (!status && !t->shard) status = mla_comm_broadcast(t->comm, &t->moments.steps, sizeof t->moments.steps);
    mla_params_changed(t->params);
    return status;
}
