/* Several processes, the ranks, that train one model together: over MPI, which only comm.c knows.
 *
 * A process that was started alone has no mla_comm: every function takes NULL and then does what is right for
 * rank 0 of 1, so that code need not ask. Functions marked "all ranks" must be called by all of them, in the same
 * order. All of them wait by polling, and give up with MLA_ERROR_LIBRARY when a rank is lost (mla_comm_start).
 *
 * Nothing here adds numbers up: data moves, and sums are taken by the caller in the order of the ranks, so that
 * they do not depend on which message came first. */
#ifndef MLA_TRAIN_DISTRIBUTED_COMM_H
#define MLA_TRAIN_DISTRIBUTED_COMM_H

#include "autograd/base/context.h"
#include "autograd/tensor.h"

typedef struct mla_comm mla_comm;

/* All ranks. Starts MPI where mpirun or srun started this process as one of several; else *out is NULL.
 *
 * From then on each rank listens to another one, which has to give a sign of life by a thread of its own, computing or
 * not: after `timeout` seconds of silence it counts as lost, and what waits fails with its name. Where not all come so
 * far within that time and some more, the process warns and ends: nothing else ends a wait inside of MPI. */
mla_status mla_comm_start(mla_context *context, double timeout, mla_comm **out);

/* Ends it, with the exit code that the process will have. All ranks with 0 or 75 wait for each other, as long as for
 * the start; any other code ends all ranks at once, and the call does not return. */
void mla_comm_end(mla_comm *comm, int exit_code);

/* "Open MPI v4.1.4", at any time. Static storage. */
const char *mla_comm_library(void);

int mla_comm_rank(const mla_comm *comm);
int mla_comm_world(const mla_comm *comm);
int mla_comm_neighbours(const mla_comm *comm); /* ranks on this host, this one included */
/* "rank 2 on node7"; "" without a comm. Owned by the comm. */
const char *mla_comm_name(const mla_comm *comm, int rank);

/* All ranks: waits for all. */
mla_status mla_comm_meet(mla_comm *comm);
/* All ranks: `bytes` from each, to all: world * bytes, in the order of the ranks. */
mla_status mla_comm_share(mla_comm *comm, const void *mine, int64_t bytes, void *all);
/* All ranks: from rank 0 to the others. */
mla_status mla_comm_broadcast(mla_comm *comm, void *data, int64_t bytes);
/* From one rank to another, which waits for it. */
mla_status mla_comm_send(mla_comm *comm, int to, const void *data, int64_t bytes);
mla_status mla_comm_receive(mla_comm *comm, int from, void *data, int64_t bytes);

/* Calls `done` until it says so or the context has an error; the time counts as waiting. */
mla_status mla_comm_wait(mla_comm *comm, bool (*done)(void *user), void *user);
/* Seconds spent waiting since the last call of this. */
double mla_comm_waited(mla_comm *comm);

/* ---- A link: `count` numbers that all ranks have, f32 or bf16, cut into one segment a rank (multiples of 16). */

typedef struct mla_link mla_link;

/* The caller destroys it before mla_comm_end. Only error: MLA_ERROR_MEMORY. */
mla_status mla_link_create(mla_comm *comm, int64_t count, mla_link **out);
void mla_link_destroy(mla_link *link);

/* Where a rank's segment lies; its length, 0 for some where there are few floats. */
int64_t mla_link_segment(const mla_link *link, int rank, int64_t *begin);
int64_t mla_link_room(const mla_link *link); /* numbers that mla_link_deal receives, at most */

/* All ranks, links in the same order: begins to send to each rank its segment of `data`. Those of the others for this
 * rank come to received + rank * (length of this rank's segment); its own is not copied. */
mla_status mla_link_deal(mla_link *link, mla_dtype type, const void *data, void *received);
/* All ranks, links in the same order: begins to send this rank's segment of `data` to all, to the same place. */
mla_status mla_link_collect(mla_link *link, mla_dtype type, void *data);
/* Moves on, and says whether what was begun is over. False after an error, which the context has. */
bool mla_link_done(mla_link *link);

/* ---- Threads */

/* How many threads this rank should use: `wanted`, or where that is 0 its share of the processor's cores that it may
 * run on. All ranks. Warns where several threads share a core because the launcher has bound them to it. */
int mla_comm_threads(mla_comm *comm, mla_context *context, int wanted);

#endif
