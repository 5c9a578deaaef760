/* The sum of all ranks' gradients, in buckets that are on their way while the backward pass still runs.
 *
 * The flat block of gradients is cut into buckets of one length, the last parameters first: theirs are final first.
 * A bucket goes out as soon as all of its parameters are final: each rank gets its segment of it from all others,
 * adds them up in the order of the ranks (so that the same ranks give the same bits), and, unless the optimizer is
 * sharded, sends the sum to all. In bf16 half the bytes travel: what is sent is rounded, sums are taken in f32.
 *
 *     mla_buckets_begin(buckets);
 *     ... all microbatches but the last, whose gradients add up ...
 *     mla_tape_begin(tape, &(mla_step){.gradient_final = mla_buckets_final, .between = mla_buckets_poll,
 *                                      .user = buckets});
 *     status = mla_backward(tape, loss_of_the_last);
 *     if (!status) status = mla_buckets_finish(buckets); // the gradients are those of the whole batch now
 */
#ifndef MLA_TRAIN_DISTRIBUTED_BUCKETS_H
#define MLA_TRAIN_DISTRIBUTED_BUCKETS_H

#include "autograd/params.h"
#include "train/distributed/comm.h"

typedef struct mla_buckets mla_buckets;

typedef struct {
    int64_t bytes;  /* of gradients a bucket, rounded */
    bool shard;     /* a rank keeps the sums of its own segments only */
    mla_dtype wire; /* MLA_F32 or MLA_BF16: how gradients travel */
} mla_buckets_options;

/* For parameters that are allocated, and outlive the buckets. Only error: MLA_ERROR_MEMORY. */
mla_status mla_buckets_create(mla_context *context, mla_comm *comm, mla_params *params,
                              const mla_buckets_options *options, mla_buckets **out);
void mla_buckets_destroy(mla_buckets *buckets);

/* The memory that they will take beside the gradients, bytes: what comes, or in bf16 both what comes and what goes. */
int64_t mla_buckets_memory(int64_t gradients_length, int64_t bytes);

/* All ranks: a step. Parameters that got no gradient on this rank count as having gradient 0. */
void mla_buckets_begin(mla_buckets *buckets);
void mla_buckets_final(void *buckets, mla_tensor *parameter); /* for mla_step.gradient_final */
void mla_buckets_poll(void *buckets);                         /* for mla_step.between */
mla_status mla_buckets_finish(mla_buckets *buckets);          /* MLA_ERROR_LIBRARY */

/* This rank's segments in the block of gradients, as many as there are buckets; length 0 for some. */
int64_t mla_buckets_count(const mla_buckets *buckets);
int64_t mla_buckets_own(const mla_buckets *buckets, int64_t i, int64_t *begin);
/* The segment that element `at` is in: whose it is, and where it ends. */
int mla_buckets_owner(const mla_buckets *buckets, int64_t at, int64_t *end);

/* All ranks, bucket after bucket from 0 on: begins to send this rank's segment of bucket i to all, as f32, in a block
 * that is laid out like that of the gradients; then mla_buckets_gather waits for all. */
mla_status mla_buckets_spread(mla_buckets *buckets, int64_t i, float *block);
mla_status mla_buckets_gather(mla_buckets *buckets);

#endif
