/* What mla_forecast_measure measures; all ranks at once, as in training, and the slowest counts. */
#include "autograd/base/clock.h"
#include "autograd/base/memory.h"
#include "train/forecast/forecast.h"
#include "train/run/machine.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_RUNS = 3, MOST_RUNS = 15, COPY_RUNS = 7, MESSAGE_RUNS = 100 };
static const double enough = 3; /* seconds that the runs of one measurement may take, or the fewest runs do */
static const mla_network usual_network = {.bandwidth = 25e9 / 8, .latency = 20e-6};
static const double message_seconds = 2e-6; /* a system call or two, and the bookkeeping of MPI */

typedef struct {
    mla_context *context;
    mla_comm *comm;
    mla_forecast_basis *basis;
    mla_rehearsal rehearsal;
    double *every;        /* a value of each rank */
    double begin, *final; /* of the pass that runs; sums over all of one kind */
} measurement;

/* The largest of all ranks' values. */
static mla_status slowest(measurement *m, double *value) {
    const mla_status status = mla_comm_share(m->comm, value, sizeof *value, m->every);
    for (int r = 0; r < mla_comm_world(m->comm) && !status; r++) *value = m->every[r] > *value ? m->every[r] : *value;
    return status;
}

/* The middle one of several runs, after one that is not counted. As many on all ranks. */
static mla_status forecast_measure_measure(measurement *m, mla_status (*run)(measurement *m, int64_t argument),
                                           int64_t argument, double *out) {
    double seconds[MOST_RUNS];
    int wanted = LEAST_RUNS;
    mla_status status = MLA_OK;
    for (int i = -1; i < wanted && !status; i++) {
        status = mla_comm_meet(m->comm);
        double taken = -mla_seconds();
        if (!status) status = run(m, argument);
        taken += mla_seconds();
        if (!status) status = slowest(m, &taken);
        if (i >= 0) seconds[i] = taken;
        else if (taken * MOST_RUNS < enough) wanted = MOST_RUNS;
        else if (taken * LEAST_RUNS < enough) wanted = (int)(enough / taken);
    }
    if (!status) *out = mla_median(seconds, wanted);
    return status;
}

/* ---- passes ---- */

/* A bucket is complete with the gradient that comes last. Those of one pass come in order. */
static void note_final(void *user, mla_tensor *parameter) {
    measurement *m = user;
    const mla_forecast_basis *b = m->basis;
    const int64_t end = b->gradient_bytes / (int64_t)sizeof(float);
    const int64_t begin = (const float *)parameter->grad - mla_params_gradients(m->rehearsal.model->params);
    const int64_t size = b->bucket_bytes / (int64_t)sizeof(float), first = (end - begin - mla_count(parameter)) / size;
    const double now = mla_seconds() - m->begin;
    for (int64_t i = first; i <= (end - 1 - begin) / size; i++) m->final[i] = now;
}

static mla_status run_pass(measurement *m, int64_t rows) {
    mla_rehearsal *r = &m->rehearsal;
    const mla_step step = {
        .seed = 1, .training = true, .precision = r->precision, .gradient_final = note_final, .user = m};
    double loss;
    mla_params_clear_gradients(r->model->params);
    mla_params_changed(r->model->params); /* as after an update: copies in bf16 are made again */
    m->begin = mla_seconds();
    return mla_rehearsal_pass(r, rows, &step, &loss);
}

static mla_status measure_pass(measurement *m, int64_t rows) {
    mla_forecast_basis *b = m->basis;
    mla_forecast_pass *pass = &b->passes[b->pass_count++];
    *pass = (mla_forecast_pass){.rows = rows};
    pass->final = m->final = mla_alloc(m->context, b->buckets, sizeof *pass->final, "the times of buckets");
    if (!pass->final) return MLA_ERROR_MEMORY;
    mla_status status = mla_memory_predict(m->context, b->recipe, mla_teacher_config(&m->rehearsal.base.teacher), rows,
                                           b->precision, &pass->memory);
    if (!status) status = forecast_measure_measure(m, run_pass, rows, &pass->seconds);
    const double last = mla_seconds() - m->begin; /* of the last run, whose buckets have been noted */
    for (int64_t i = 0; i < b->buckets; i++) pass->final[i] *= last > 0 ? pass->seconds / last : 1;
    return status;
}

/* How many sequences the passes have of a rank that has so many of them. */
static mla_status measure_passes_of(measurement *m, int64_t hosts) {
    mla_forecast_basis *b = m->basis;
    const mla_recipe_train *train = &b->recipe->train;
    const int64_t ranks = hosts * b->ranks_per_host;
    if (ranks > train->batch) return MLA_OK;
    const int64_t samples = (train->batch + ranks - 1) / ranks;
    const int64_t rows = samples < train->microbatch ? samples : train->microbatch, kinds[] = {rows, samples % rows};
    mla_status status = MLA_OK;
    for (int k = 0; k < 2 && !status; k++) {
        bool known = !kinds[k];
        for (int64_t i = 0; i < b->pass_count; i++) known |= b->passes[i].rows == kinds[k];
        if (!known) status = measure_pass(m, kinds[k]);
    }
    return status;
}

static mla_status run_update(measurement *m, int64_t unused) {
    (void)unused;
    mla_rehearsal_update(&m->rehearsal);
    return MLA_OK;
}

/* ---- copies and messages ---- */

static mla_status measure_copying(measurement *m, double *bytes_per_second) {
    const size_t bytes = (size_t)64 << 20;
    char *from = mla_alloc(m->context, 2 * (int64_t)bytes, 1, "a measurement"), *to = from + bytes;
    double seconds[COPY_RUNS];
    if (!from) return MLA_ERROR_MEMORY;
    memset(from, 1, 2 * bytes);
    mla_status status = mla_comm_meet(m->comm);
    for (int i = 0; i < COPY_RUNS && !status; i++) {
        seconds[i] = -mla_seconds();
        memcpy(i % 2 ? from : to, i % 2 ? to : from, bytes);
        seconds[i] += mla_seconds();
    }
    double middle = mla_median(seconds, COPY_RUNS);
    free(from);
    if (!status) status = slowest(m, &middle);
    *bytes_per_second = (double)bytes / middle;
    return status;
}

typedef struct {
    mla_link *link;
    float *data, *received;
} lane;

static bool lane_done(void *user) { return mla_link_done(((lane *)user)->link); }

static mla_status deal(measurement *m, lane *l, double *seconds) {
    mla_status status = mla_comm_meet(m->comm);
    *seconds = -mla_seconds();
    if (!status) status = mla_link_deal(l->link, MLA_F32, l->data, l->received);
    if (!status) status = mla_comm_wait(m->comm, lane_done, l);
    *seconds += mla_seconds();
    return status ? status : slowest(m, seconds);
}

/* Seconds of one stage of one bucket, from all ranks to all. */
static mla_status measure_deal(measurement *m, double *seconds) {
    const int64_t floats = m->basis->bucket_bytes / (int64_t)sizeof(float);
    double all[COPY_RUNS];
    lane l = {NULL, NULL, NULL};
    mla_status status = mla_link_create(m->comm, floats, &l.link);
    if (!status) l.data = mla_alloc(m->context, floats, sizeof *l.data, "a measurement");
    if (!status) l.received = mla_alloc(m->context, mla_link_room(l.link), sizeof *l.received, "a measurement");
    if (!status) status = mla_error_status(m->context);
    if (!status) status = deal(m, &l, seconds);
    for (int i = 0; i < COPY_RUNS && !status; i++) status = deal(m, &l, &all[i]);
    if (!status) *seconds = mla_median(all, COPY_RUNS);
    mla_link_destroy(l.link);
    free(l.data);
    free(l.received);
    return status;
}

/* Half of the way there and back, between the first rank and the last. */
static mla_status measure_latency(measurement *m, double *seconds) {
    const int last = mla_comm_world(m->comm) - 1, me = mla_comm_rank(m->comm);
    char word[8] = "";
    mla_status status = mla_comm_meet(m->comm);
    const double begin = mla_seconds();
    for (int i = 0; i < MESSAGE_RUNS && !status; i++) {
        if (me == 0) status = mla_comm_send(m->comm, last, word, sizeof word);
        if (me == last && !status) status = mla_comm_receive(m->comm, 0, word, sizeof word);
        if (me == last && !status) status = mla_comm_send(m->comm, 0, word, sizeof word);
        if (me == 0 && !status) status = mla_comm_receive(m->comm, last, word, sizeof word);
    }
    *seconds = (mla_seconds() - begin) / MESSAGE_RUNS / 2;
    return status ? status : mla_comm_broadcast(m->comm, seconds, sizeof *seconds);
}

static mla_status measure_network(measurement *m) {
    mla_forecast_basis *b = m->basis;
    const double world = mla_comm_world(m->comm), here = mla_comm_neighbours(m->comm), bytes = (double)b->bucket_bytes;
    double seconds;
    mla_status status = measure_deal(m, &seconds);
    if (status) return status;
    if (world == here) {
        b->exchange = bytes * (world - 1) / world / seconds;
        b->exchange_measured = true;
    } else if (!b->network.bandwidth) {
        status = measure_latency(m, &b->network.latency);
        b->network.bandwidth = here * bytes * (world - here) / world / seconds;
        b->network_measured = true;
    }
    return status;
}

/* ---- all of it ---- */

static mla_status check_hosts(measurement *m) {
    mla_forecast_basis *b = m->basis;
    const int here = mla_comm_neighbours(m->comm), world = mla_comm_world(m->comm);
    double most = here;
    const mla_status status = slowest(m, &most);
    if (status) return status;
    if (world > 1 && (b->ranks_per_host ? b->ranks_per_host : here) != here)
        return mla_fail(m->context, MLA_ERROR_ARGUMENT,
                        "--ranks-per-node %lld: there are %d ranks on this host now; "
                        "start as many as the nodes will have",
                        (long long)b->ranks_per_host, here);
    if (most > here || world % here)
        return mla_fail(m->context, MLA_ERROR_ARGUMENT,
                        "%s: the hosts have different numbers of ranks: start as many on each",
                        mla_comm_name(m->comm, mla_comm_rank(m->comm)));
    if (!b->ranks_per_host) b->ranks_per_host = here;
    return MLA_OK;
}

/* Buckets as in buckets.c, but for their rounding. */
static void forecast_measure_lay_out(measurement *m) {
    mla_forecast_basis *b = m->basis;
    const double wanted = b->recipe->train.bucket_mb * 1e6 / sizeof(float);
    const int64_t length = mla_params_gradients_length(m->rehearsal.model->params);
    const int64_t size = wanted < (double)length ? (int64_t)wanted : length;
    b->gradient_bytes = length * (int64_t)sizeof(float);
    b->bucket_bytes = size * (int64_t)sizeof(float);
    b->buckets = (length + size - 1) / size;
    b->parameters = mla_params_elements(m->rehearsal.model->params, false);
    b->precision = m->rehearsal.precision;
    b->threads = mla_context_threads(m->context);
}

static mla_status prepare(measurement *m, mla_recipe *recipe, int64_t count) {
    mla_forecast_basis *b = m->basis;
    const int64_t ranks = b->ranks_per_host, share = (recipe->train.batch + ranks - 1) / ranks;
    const int64_t rows = share < recipe->train.microbatch ? share : recipe->train.microbatch;
    b->memory_free = mla_memory_available();
    b->memory_taken = mla_memory_resident();
    mla_status status = mla_comm_meet(m->comm); /* all have looked before any takes memory */
    if (!status) status = mla_rehearsal_open(m->context, &m->rehearsal, recipe, rows, mla_comm_neighbours(m->comm));
    if (status) return status;
    forecast_measure_lay_out(m);
    b->memory_taken -= mla_memory_resident();
    status = mla_measure_peak_flops(m->context, b->precision, &b->peak_flops);
    b->memory_taken += mla_memory_resident(); /* with what the first products have loaded and set up */
    b->passes = mla_alloc(m->context, 2 * (count + 1), sizeof *b->passes, "the passes of a forecast");
    return b->passes ? status : MLA_ERROR_MEMORY;
}

static mla_status measure_all(measurement *m, mla_recipe *recipe, const int64_t *hosts, int64_t count) {
    mla_forecast_basis *b = m->basis;
    mla_status status = check_hosts(m);
    if (!status) status = prepare(m, recipe, count);
    if (!status) status = measure_passes_of(m, 1);
    for (int64_t i = 0; i < count && !status; i++) status = measure_passes_of(m, hosts[i]);
    if (!status) status = forecast_measure_measure(m, run_update, 0, &b->update);
    if (!status) status = measure_copying(m, &b->copying);
    b->exchange = b->copying / 2;
    b->message = message_seconds;
    if (!status && m->comm) status = measure_network(m);
    if (!b->network.bandwidth) b->network = usual_network;
    return status;
}

mla_status mla_forecast_measure(mla_context *context, mla_comm *comm, mla_recipe *recipe, const int64_t *hosts,
                                int64_t count, int64_t ranks_per_host, const mla_network *stated,
                                mla_forecast_basis *basis) {
    measurement m = {.context = context, .comm = comm, .basis = basis};
    *basis = (mla_forecast_basis){.recipe = recipe, .ranks_per_host = ranks_per_host, .network = *stated};
    m.every = mla_alloc(context, mla_comm_world(comm), sizeof *m.every, "a measurement");
    const mla_status status = m.every ? measure_all(&m, recipe, hosts, count) : MLA_ERROR_MEMORY;
    mla_rehearsal_close(&m.rehearsal);
    free(m.every);
    return status;
}

void mla_forecast_free(mla_forecast_basis *b) {
    for (int64_t i = 0; i < b->pass_count; i++) free(b->passes[i].final);
    free(b->passes);
    *b = (mla_forecast_basis){0};
}
