/* How long a training step will take on so many hosts, what memory a rank needs, and what bounds it.
 *
 * What one machine can show is measured by running it: passes with as many sequences as a rank will have, with the
 * moments at which gradients become final; the update; copies; what ranks of one host exchange. The network is measured
 * where the ranks are on several hosts, otherwise stated. From these, the stages of a step follow as buckets.h and
 * shard.h make them: buckets go out as their gradients become final and travel one after the other, beside the rest of
 * the backward pass; copies and sums hold the pass up.
 *
 * Assumed: all hosts are like this one and equally fast, the network gives each of them its full bandwidth at the same
 * time, each byte on it costs a core one copy, and each message some time, and nothing else takes
 * time (evaluations, checkpoints, data). */
#ifndef MLA_TRAIN_FORECAST_FORECAST_H
#define MLA_TRAIN_FORECAST_FORECAST_H

#include "train/distributed/comm.h"
#include "train/forecast/rehearsal.h"

typedef struct {
    double bandwidth; /* bytes per second from a host, and as many to it at the same time; 0: not known */
    double latency;   /* seconds */
} mla_network;

/* A pass of `rows` sequences, measured. */
typedef struct {
    int64_t rows;
    double seconds;
    double *final; /* a bucket: seconds after the pass began until its gradients were final */
    mla_memory_plan memory;
} mla_forecast_pass;

/* What a forecast rests on. */
typedef struct {
    const mla_recipe *recipe; /* with model.vocab_size */
    int64_t parameters;
    int64_t gradient_bytes, bucket_bytes, buckets;
    int64_t ranks_per_host, threads; /* threads: a rank */
    mla_dtype precision;
    double peak_flops; /* of matrix products, a rank */
    mla_forecast_pass *passes;
    int64_t pass_count;
    double update;   /* seconds: the norm of all gradients, and AdamW for all parameters */
    double copying;  /* bytes per second, one thread */
    double exchange; /* bytes per second that a rank gets from others of its host */
    double message;  /* seconds of a core for each message to another host; assumed */
    mla_network network;
    bool exchange_measured, network_measured;
    int64_t memory_taken, memory_free; /* bytes: by a process before its model; on this machine */
} mla_forecast_basis;

/* All ranks, all at the same time as in training. Measures what rows of `hosts` (of `count` numbers) will need; the
 * recipe's vocabulary is filled in as by mla_rehearsal_open. ranks_per_host: of the hosts to come; 0, or
 * where several ranks run: as many as now. stated: the network; without a bandwidth it is measured between the hosts
 * that there are, or on one host 25 Gbit/s and 20 us are assumed. The recipe outlives the basis, which the caller frees
 * in any case. MLA_ERROR_ARGUMENT where hosts have different numbers of ranks; errors of a rehearsal. */
mla_status mla_forecast_measure(mla_context *context, mla_comm *comm, mla_recipe *recipe, const int64_t *hosts,
                                int64_t count, int64_t ranks_per_host, const mla_network *stated,
                                mla_forecast_basis *basis);
void mla_forecast_free(mla_forecast_basis *basis);

/* Seconds are of one step, and add up. */
typedef struct {
    int64_t hosts, ranks;
    int64_t samples; /* in a step, of the rank that has most */
    double seconds;
    double compute; /* forward and backward */
    double update;
    double reduction;  /* sums and copies of gradients, and of parameters where the optimizer is sharded */
    double bandwidth;  /* waiting for the network that no backward pass hides */
    double latency;    /* and for its delay, with what each message costs */
    double efficiency; /* of this many hosts, against one */
    int64_t memory;    /* bytes a rank */
    const char *bound; /* by what: a few words */
} mla_forecast_row;

/* Pure arithmetic; `hosts` is one of those that were measured. Where there are more ranks than sequences, the seconds
 * are NaN. */
mla_forecast_row mla_forecast(const mla_forecast_basis *basis, int64_t hosts);

#endif
