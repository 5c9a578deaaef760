#include "train/forecast/forecast.h"

#include <math.h>

/* One way of distributing a step. */
typedef struct {
    const mla_forecast_basis *basis;
    double ranks, neighbours; /* in all; on one host */
    mla_network network;
    double message;
} layout;

static double larger(double a, double b) { return a > b ? a : b; }

static const mla_forecast_pass *pass_of(const mla_forecast_basis *b, int64_t rows) {
    for (int64_t i = 0; i < b->pass_count; i++)
        if (b->passes[i].rows == rows) return &b->passes[i];
    return &b->passes[0];
}

static int64_t rows_of(const mla_forecast_basis *b, int64_t samples) {
    return samples < b->recipe->train.microbatch ? samples : b->recipe->train.microbatch;
}

/* ---- the network ---- */

static double away(const layout *l) { return l->ranks - l->neighbours; } /* ranks on other hosts */

/* A stage (each rank sends every other one its part of `bytes`, or its own part to all) on the network: a host sends
 * what its ranks have for other hosts, and receives as much. */
static double travel(const layout *l, double bytes) {
    if (away(l) <= 0) return 0;
    return l->network.latency + l->neighbours * bytes * away(l) / l->ranks / l->network.bandwidth;
}

/* The same for a core: exchanged within the host, copied to and from the network. */
static double handle(const layout *l, double bytes) {
    const double within = bytes * (l->neighbours - 1) / l->ranks, outside = bytes * away(l) / l->ranks;
    return within / l->basis->exchange + 2 * outside / l->basis->copying + 2 * away(l) * l->message;
}

/* ---- the stages of a step ---- */

/* The last pass with the reduction of the gradients: buckets become final, are dealt, added up and, unless the
 * optimizer is sharded, collected. The network carries one after the other; what a core does for them, in bf16 rounding
 * too, holds the pass up. */
static double reducing_pass(const layout *l, const mla_forecast_pass *pass) {
    const mla_forecast_basis *b = l->basis;
    const int stages = b->recipe->optim.shard ? 1 : 2;
    const bool rounded = b->recipe->train.reduce == MLA_REDUCE_BF16;
    double held_up = 0, network = 0, work = 0;
    for (int64_t i = 0; i < b->buckets; i++) {
        const int64_t rest = b->gradient_bytes - i * b->bucket_bytes;
        const double bytes = (double)(rest < b->bucket_bytes ? rest : b->bucket_bytes);
        network = larger(network, pass->final[i] + held_up) + stages * travel(l, rounded ? bytes / 2 : bytes);
        work = stages * handle(l, rounded ? bytes / 2 : bytes) + (rounded ? 2 : 1) * bytes / b->copying;
        held_up += work;
    }
    return larger(pass->seconds + held_up, network + work); /* the last bucket waits for its last gradient */
}

static double compute(const mla_forecast_basis *b, int64_t samples, const mla_forecast_pass **last) {
    const int64_t rows = rows_of(b, samples), rest = samples % rows;
    const mla_forecast_pass *full = pass_of(b, rows), *small = rest ? pass_of(b, rest) : NULL;
    *last = small ? small : full;
    return (double)(samples / rows) * full->seconds + (small ? small->seconds : 0);
}

/* Sharded, each updates its part, ... */
static double update(const layout *l) {
    const mla_forecast_basis *b = l->basis;
    return b->recipe->optim.shard ? b->update / l->ranks : b->update;
}

/* ... and all get all parts, bucket by bucket, as f32. */
static double spread(const layout *l) {
    const mla_forecast_basis *b = l->basis;
    const double bytes = (double)b->gradient_bytes;
    if (!b->recipe->optim.shard) return 0;
    return travel(l, bytes) + handle(l, bytes) + 2 * away(l) * (double)(b->buckets - 1) * l->message;
}

/* All but the passes that are computed while nothing is sent. */
static double reduced(const layout *l, const mla_forecast_pass *last) {
    if (l->ranks <= 1) return last->seconds;
    return reducing_pass(l, last) + travel(l, 64) + handle(l, 64) + spread(l);
}

/* ---- a row ---- */

static layout forecast_lay_out(const mla_forecast_basis *b, int64_t hosts) {
    return (layout){.basis = b,
                    .ranks = (double)(hosts * b->ranks_per_host),
                    .neighbours = (double)b->ranks_per_host,
                    .network = b->network,
                    .message = b->message};
}

/* What the network's delay and then its bandwidth add is found by leaving them out. */
static void fill_times(const mla_forecast_basis *b, mla_forecast_row *r) {
    layout l = forecast_lay_out(b, r->hosts);
    const mla_forecast_pass *last;
    r->compute = compute(b, r->samples, &last);
    r->update = update(&l);
    const double whole = reduced(&l, last);
    l.network.latency = l.message = 0;
    const double prompt = reduced(&l, last);
    l.network.bandwidth = INFINITY;
    const double held_up = reduced(&l, last);
    r->latency = whole - prompt;
    r->bandwidth = prompt - held_up;
    r->reduction = held_up - last->seconds;
    r->seconds = r->compute + r->update + r->reduction + r->bandwidth + r->latency;
}

static int64_t memory(const mla_forecast_basis *b, const mla_forecast_row *r) {
    mla_memory_plan plan = pass_of(b, rows_of(b, r->samples))->memory;
    if (b->recipe->optim.shard) plan.moments /= r->ranks;
    if (r->ranks > 1) plan.reduction = b->bucket_bytes * (b->buckets < 3 ? b->buckets : 3);
    return b->memory_taken + mla_memory_total(&plan);
}

/* What takes most of the time that the row has beyond its share of one host's step. */
static const char *largest_loss(const mla_forecast_row *r, const mla_forecast_row *one) {
    const double hosts = (double)r->hosts;
    const struct {
        double seconds;
        const char *words;
    } losses[] = {
        {r->compute - one->compute / hosts, "few sequences a rank"},
        {r->update - one->update / hosts, "update of all parameters"},
        {r->reduction - one->reduction / hosts, "summing gradients"},
        {r->bandwidth, "network bandwidth"},
        {r->latency, "network latency"},
    };
    size_t most = 0;
    for (size_t i = 1; i < sizeof losses / sizeof *losses; i++)
        if (losses[i].seconds > losses[most].seconds) most = i;
    return losses[most].words;
}

static const char *bound(const mla_forecast_basis *b, const mla_forecast_row *r, const mla_forecast_row *one) {
    static const double good = 0.9;
    if ((r->memory - b->memory_taken) * b->ranks_per_host > b->memory_free) return "memory of the host";
    return r->efficiency >= good ? "compute" : largest_loss(r, one);
}

mla_forecast_row mla_forecast(const mla_forecast_basis *b, int64_t hosts) {
    const int64_t ranks = hosts * b->ranks_per_host, batch = b->recipe->train.batch;
    mla_forecast_row r = {.hosts = hosts, .ranks = ranks, .samples = (batch + ranks - 1) / ranks}, one;
    if (ranks > batch) {
        r.seconds = r.efficiency = NAN;
        r.samples = 0;
        r.bound = "more ranks than sequences";
        return r;
    }
    r.memory = memory(b, &r);
    fill_times(b, &r);
    one = hosts == 1 ? r : mla_forecast(b, 1);
    r.efficiency = one.seconds / ((double)hosts * r.seconds);
    r.bound = bound(b, &r, &one);
    return r;
}
