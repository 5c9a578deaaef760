/* Three ranks: started by itself under mpirun. What a test finds out is checked after its last exchange: a rank that
 * gave up in between would leave the others waiting. */
#include "tests/support/allocations.h"
#include "tests/support/check.h"
#include "train/distributed/buckets.h"
#include "train/distributed/shard.h"
#include "train/distributed/team.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RANKS = 3, PARAMETERS = 5 };
static const int64_t sizes[PARAMETERS] = {700, 3, 64, 1000, 17};
static const bool frozen[PARAMETERS] = {false, false, true, false, false};

typedef struct {
    mla_context *context;
    mla_comm *comm;
    mla_params *params;
    mla_buckets *buckets;
} fixture;

static fixture *ranks; /* MPI starts once a process */

static float gradient_of(int rank, int64_t parameter, int64_t i) {
    return (float)sin((double)(rank * 1009 + parameter * 31 + i)) * (rank == 1 ? 1e3f : 1);
}

static void make_params(fixture *f) {
    char name[16];
    check_ok(f->context, mla_params_create(f->context, &f->params));
    for (int64_t i = 0; i < PARAMETERS; i++) {
        snprintf(name, sizeof name, "p%d", (int)i);
        mla_params_add(f->params, &(mla_param_spec){.name = name,
                                                    .ndim = 1,
                                                    .shape = {sizes[i]},
                                                    .init = MLA_INIT_NORMAL,
                                                    .scale = 1,
                                                    .decay = i % 2 == 0,
                                                    .frozen = frozen[i]});
    }
    check_ok(f->context, mla_params_allocate(f->params, true));
    mla_params_initialise(f->params, 1);
}

/* As a backward pass does: the last parameter first. Rank 2 has no gradient of the first one. */
static void give_gradients(fixture *f, mla_buckets *buckets) {
    const int rank = mla_comm_rank(f->comm);
    mla_params_clear_gradients(f->params);
    for (int64_t i = PARAMETERS - 1; i >= 0; i--) {
        mla_param *p = mla_params_at(f->params, i);
        if (p->spec.frozen || (rank == 2 && i == 0)) continue;
        for (int64_t k = 0; k < p->count; k++) ((float *)p->tensor.grad)[k] = gradient_of(rank, i, k);
        p->tensor.has_grad = true;
        if (buckets) mla_buckets_final(buckets, &p->tensor);
    }
}

static float expected_sum(int64_t parameter, int64_t i) {
    float sum = gradient_of(0, parameter, i) + gradient_of(1, parameter, i);
    return parameter == 0 ? sum + 0 : sum + gradient_of(2, parameter, i);
}

static int64_t wrong_sums(const fixture *f) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < PARAMETERS; i++) {
        const mla_param *p = mla_params_at(f->params, i);
        for (int64_t k = 0; k < p->count && !frozen[i]; k++)
            wrong += ((const float *)p->tensor.grad)[k] != expected_sum(i, k);
    }
    return wrong;
}

static void sums_are_those_of_all_ranks_in_their_order(void **state) {
    static const int64_t bytes[] = {1, 256, 1000, 1 << 20};
    fixture *f = *state;
    int64_t wrong = 0;
    mla_status status = MLA_OK;
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes && !status; i++) {
        mla_buckets *buckets;
        status = mla_buckets_create(f->context, f->comm, f->params, &(mla_buckets_options){.bytes = bytes[i]},
                                    &buckets);
        for (int again = 0; again < 3 && !status; again++) {
            mla_buckets_begin(buckets);
            give_gradients(f, buckets);
            status = mla_buckets_finish(buckets);
            wrong += wrong_sums(f);
        }
        mla_buckets_destroy(buckets);
    }
    check_ok(f->context, status);
    assert_int_equal(wrong, 0);
}

static double absolute_sum(int64_t parameter, int64_t i) {
    double sum = 0;
    for (int r = 0; r < RANKS; r++) sum += r == 2 && parameter == 0 ? 0 : fabs((double)gradient_of(r, parameter, i));
    return sum;
}

/* How far sums are from those in f32, in units of what rounding each part and the sum to 8 bits may do. */
static double worst_rounding(const fixture *f) {
    double worst = 0;
    for (int64_t i = 0; i < PARAMETERS; i++) {
        const mla_param *p = mla_params_at(f->params, i);
        for (int64_t k = 0; k < p->count && !frozen[i]; k++) {
            const double expected = (double)expected_sum(i, k),
                         off = fabs((double)((const float *)p->tensor.grad)[k] - expected);
            const double allowed = (absolute_sum(i, k) + fabs(expected)) / 256 * (1 + 1.0 / 256);
            if (!(off / allowed <= worst)) worst = off / allowed;
        }
    }
    return worst;
}

static mla_status sum_rounded(fixture *f, int64_t bytes, bool shard, double *worst, bool *same) {
    mla_buckets *buckets;
    const int64_t length = mla_params_gradients_length(f->params) * (int64_t)sizeof(float);
    char *all = calloc(RANKS, (size_t)length);
    mla_status status = mla_buckets_create(f->context, f->comm, f->params,
                                           &(mla_buckets_options){.bytes = bytes, .shard = shard, .wire = MLA_BF16},
                                           &buckets);
    for (int again = 0; again < 3 && !status; again++) {
        mla_buckets_begin(buckets);
        give_gradients(f, buckets);
        status = mla_buckets_finish(buckets);
        for (int64_t i = 0; i < mla_buckets_count(buckets) && shard && !status; i++)
            status = mla_buckets_spread(buckets, i, mla_params_gradients(f->params));
        if (!status && shard) status = mla_buckets_gather(buckets);
    }
    if (!status) status = mla_comm_share(f->comm, mla_params_gradients(f->params), length, all);
    *worst = worst_rounding(f);
    *same = !memcmp(all, all + length, (size_t)length) && !memcmp(all, all + 2 * length, (size_t)length);
    mla_buckets_destroy(buckets);
    free(all);
    return status;
}

static void sums_in_bf16_are_near_and_the_same_everywhere(void **state) {
    static const int64_t bytes[] = {1, 256, 1000, 1 << 20};
    fixture *f = *state;
    double worst[8];
    bool same[8];
    mla_status status = MLA_OK;
    for (int i = 0; i < 8 && !status; i++) status = sum_rounded(f, bytes[i / 2], i % 2, &worst[i], &same[i]);
    check_ok(f->context, status);
    for (int i = 0; i < 8; i++) {
        assert_true(worst[i] <= 1 && worst[i] > 0.1);
        assert_true(same[i]);
    }
}

/* Values and moments after two sharded steps, as they should be: by the plain optimizer on the sums. */
static void a_sharded_update_is_the_whole_one(void **state) {
    fixture *f = *state;
    const mla_adamw_options adamw = {0.9f, 0.95f, 1e-8f, 0.1f};
    const int64_t length = mla_params_gradients_length(f->params), values = mla_params_values_length(f->params);
    float *m = calloc((size_t)length, sizeof *m), *v = calloc((size_t)length, sizeof *v);
    float *before = malloc((size_t)values * sizeof *before), *after = malloc((size_t)values * sizeof *after);
    mla_buckets *buckets;
    mla_shard *shard;
    mla_adamw_state whole;
    memcpy(before, mla_params_values(f->params), (size_t)values * sizeof *before);
    mla_status status = mla_buckets_create(f->context, f->comm, f->params,
                                           &(mla_buckets_options){.bytes = 1000, .shard = true}, &buckets);
    if (!status) status = mla_shard_create(f->context, f->comm, f->params, buckets, &shard);
    for (int step = 0; step < 2 && !status; step++) {
        mla_buckets_begin(buckets);
        give_gradients(f, buckets);
        status = mla_buckets_finish(buckets);
        if (!status) status = mla_shard_step(shard, &adamw, 1e-2f, 0.5f);
    }
    if (mla_comm_rank(f->comm)) status = mla_shard_serve(shard);
    else {
        mla_distant_moments *d = mla_shard_moments(shard);
        for (int64_t i = 0; i < PARAMETERS && !status; i++) {
            const mla_param *p = mla_params_at(f->params, i);
            if (frozen[i]) continue;
            status = d->read(d->user, 0, p->grad_offset, p->count, m + p->grad_offset);
            if (!status) status = d->read(d->user, 1, p->grad_offset, p->count, v + p->grad_offset);
        }
        if (!status) status = mla_shard_release(shard);
    }
    check_ok(f->context, status);
    memcpy(after, mla_params_values(f->params), (size_t)values * sizeof *after);
    memcpy(mla_params_values(f->params), before, (size_t)values * sizeof *before);
    check_ok(f->context, mla_adamw_state_allocate(f->context, &whole, f->params));
    for (int step = 0; step < 2; step++) {
        for (int64_t i = 0; i < PARAMETERS; i++) {
            const mla_param *p = mla_params_at(f->params, i);
            for (int64_t k = 0; k < p->count && !frozen[i]; k++) ((float *)p->tensor.grad)[k] = expected_sum(i, k);
        }
        mla_adamw_step(&whole, f->params, &adamw, 1e-2f, 0.5f);
    }
    assert_true(relative_error(values, after, mla_params_values(f->params)) < 1e-6);
    if (mla_comm_rank(f->comm) == 0) {
        assert_true(relative_error(length, m, whole.m) < 1e-6);
        assert_true(relative_error(length, v, whole.v) < 1e-6);
    }
    mla_adamw_state_free(&whole);
    mla_shard_destroy(shard);
    mla_buckets_destroy(buckets);
    free(m), free(v), free(before), free(after);
}

/* Making buckets exchanges nothing: each rank finds out for itself. */
static void every_allocation_of_the_buckets_may_fail(void **state) {
    if (!allocations_can_be_watched()) skip();
    const mla_buckets_options options = {.bytes = 1000, .wire = MLA_BF16};
    fixture *f = *state;
    allocation_count count = {.failed = true};
    int64_t n;
    for (n = 1; count.failed; n++) {
        mla_buckets *buckets;
        allocations_watch(n);
        const mla_status status = mla_buckets_create(f->context, f->comm, f->params, &options, &buckets);
        mla_buckets_destroy(buckets);
        count = allocations_stop();
        if (count.live) fail_msg("%lld allocations leak when number %lld fails", (long long)count.live, (long long)n);
        if (count.failed) check_error(f->context, status, MLA_ERROR_MEMORY, "no memory for");
        else check_ok(f->context, status);
    }
    assert_true(n > 10);
}

static mla_status one_step(fixture *f, mla_team *team, mla_team_sums *sums) {
    mla_team_begin(team);
    give_gradients(f, NULL);
    if (mla_comm_rank(f->comm) == 1 && isnan(sums->loss)) ((float *)mla_params_at(f->params, 3)->tensor.grad)[5] = NAN;
    return mla_team_sum(team, 10, sums);
}

static void share_what_one_knows(fixture *f, const mla_recipe *recipe) {
    const int rank = mla_comm_rank(f->comm);
    mla_team *team;
    mla_team_sums sound = {.loss = rank + 1, .valid = 10 * rank},
                  bad = {.loss = rank == 1 ? (double)NAN : 1, .stop = rank == 2}, other = {.loss = 1};
    float *value = mla_params_values(f->params), kept = value[3];
    mla_status status = mla_team_create(f->context, f->comm, recipe, f->params, &team);
    if (!status) status = one_step(f, team, &sound);
    if (!status) status = one_step(f, team, &bad);
    if (rank == 1) value[3] = nextafterf(kept, 1e9f);
    const mla_status differs = status ? status : one_step(f, team, &other);
    value[3] = kept;
    mla_team_destroy(team);
    check_error(f->context, differs, MLA_ERROR_LIBRARY, "the parameters on rank 1 on");
    mla_clear_error(f->context);
    check_ok(f->context, status);
    assert_true(sound.loss == 6 && sound.valid == 30 && !sound.stop && isfinite(sound.grad_norm));
    assert_true(isnan(bad.loss) && isnan(bad.grad_norm) && bad.stop);
}

/* A number that is none, a wish to stop, other parameters: however the sums are taken. */
static void what_one_rank_knows_all_know(void **state) {
    for (int i = 0; i < 4; i++) {
        const mla_recipe recipe = {.train = {.batch = 8,
                                             .bucket_mb = 0.001,
                                             .verify_every = 10,
                                             .reduce = i / 2 ? MLA_REDUCE_BF16 : MLA_REDUCE_F32},
                                   .optim = {.shard = i % 2}};
        share_what_one_knows(*state, &recipe);
    }
}

static void shares_cover_the_batch(void **state) {
    fixture *f = *state;
    mla_range mine = mla_team_share(f->comm, 8), all[RANKS];
    check_ok(f->context, mla_comm_share(f->comm, &mine, sizeof mine, all));
    int64_t next = 0;
    for (int r = 0; r < RANKS; r++) {
        assert_int_equal(all[r].first, next);
        assert_true(all[r].count == 2 || all[r].count == 3);
        next += all[r].count;
    }
    assert_int_equal(next, 8);
}

/* Whoever says no. */
static void all_do_what_all_can(void **state) {
    fixture *f = *state;
    for (int who = -1; who < RANKS; who++) {
        bool all = who >= 0;
        check_ok(f->context, mla_team_all(f->context, f->comm, mla_comm_rank(f->comm) != who, &all));
        assert_int_equal(all, who < 0);
    }
}

static int set_up(void **state) {
    *state = ranks;
    make_params(ranks);
    return 0;
}

static int tear_down(void **state) {
    mla_params_destroy(((fixture *)*state)->params);
    return 0;
}

int main(int argc, char **argv) {
    (void)argc;
    if (!getenv("OMPI_COMM_WORLD_SIZE")) {
        setenv("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1", 1); /* OpenMPI keeps memory */
        execlp("mpirun", "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "3", argv[0],
               NULL);
        fputs("mpirun is missing: train/install-packages.sh installs it\n", stderr);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shares_cover_the_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_do_what_all_can, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sums_are_those_of_all_ranks_in_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sums_in_bf16_are_near_and_the_same_everywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sharded_update_is_the_whole_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_allocation_of_the_buckets_may_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_one_rank_knows_all_know, set_up, tear_down),
    };
    fixture f = {0};
    ranks = &f;
    if (mla_context_create(&f.context, NULL)) return 1;
    mla_context_set_threads(f.context, 1);
    int failed = mla_comm_start(f.context, 20, &f.comm) || mla_comm_world(f.comm) != RANKS;
    if (!failed) failed = cmocka_run_group_tests(tests, NULL, NULL);
    mla_comm_end(f.comm, failed != 0);
    mla_context_destroy(f.context);
    return failed != 0;
}
