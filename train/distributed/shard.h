/* AdamW's moments, a part of them on each rank (ZeRO, stage 1: Rajbhandari et al. 2020): each rank updates the
 * parameters of its own segments of the buckets (train/distributed/buckets.h) and gets the others' from their ranks. */
#ifndef MLA_TRAIN_DISTRIBUTED_SHARD_H
#define MLA_TRAIN_DISTRIBUTED_SHARD_H

#include "optim/adamw.h"
#include "train/checkpoint/checkpoint.h"
#include "train/distributed/buckets.h"

typedef struct mla_shard mla_shard;

/* Buckets that were made with `shard`; they outlive it. Only error: MLA_ERROR_MEMORY. */
mla_status mla_shard_create(mla_context *context, mla_comm *comm, mla_params *params, mla_buckets *buckets,
                            mla_shard **out);
void mla_shard_destroy(mla_shard *shard);

/* The sum of squares of this rank's gradients. */
double mla_shard_squared_norm(const mla_shard *shard);

/* All ranks: one update of all parameters, as mla_adamw_step. */
mla_status mla_shard_step(mla_shard *shard, const mla_adamw_options *options, float lr, float grad_scale);

/* For checkpoints. Rank 0 reads and writes the moments of all ranks through mla_shard_moments, and ends with
 * mla_shard_release; meanwhile the others are in mla_shard_serve. */
mla_distant_moments *mla_shard_moments(mla_shard *shard);
mla_status mla_shard_release(mla_shard *shard);
mla_status mla_shard_serve(mla_shard *shard);

#endif
