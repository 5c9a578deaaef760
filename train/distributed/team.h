/* What the ranks of a run do together, step by step; one rank alone is a team too, and then this is the plain
 * optimizer. The trainer calls these functions on all ranks, and does not ask how many there are.
 *
 * A step: each rank takes its share of the samples of the global batch; the sums of the gradients, of the losses and
 * of the targets that count are those of all; so all find the same norm, skip the same steps, stop after the same
 * step, and make the same update, or each a part of it (optim.shard). */
#ifndef MLA_TRAIN_DISTRIBUTED_TEAM_H
#define MLA_TRAIN_DISTRIBUTED_TEAM_H

#include "layers/parts/pass.h"
#include "train/checkpoint/saver.h"
#include "train/distributed/comm.h"
#include "train/recipe/recipe.h"

typedef struct mla_team mla_team;

typedef struct {
    int64_t first, count;
} mla_range;

/* The rank's part of 0 ... total - 1, in one piece; parts differ by one at most, and their order is the ranks'. */
mla_range mla_team_share(const mla_comm *comm, int64_t total);

/* Whether the recipe can be shared among the ranks: MLA_ERROR_ARGUMENT where they are more than samples in a batch. */
mla_status mla_team_check(mla_context *context, const mla_comm *comm, const mla_recipe *recipe);

/* All ranks: whether all say so. */
mla_status mla_team_all(mla_context *context, mla_comm *comm, bool mine, bool *all);

/* Bytes of memory a rank for the moments, and for gradients of other ranks. */
int64_t mla_team_moments_bytes(const mla_comm *comm, const mla_recipe *recipe, int64_t gradients_bytes);
int64_t mla_team_reduction_bytes(const mla_comm *comm, const mla_recipe *recipe, int64_t gradients_bytes);

/* Moments, and the buckets for the gradients of allocated parameters. comm may be NULL; it, the recipe and the
 * parameters outlive the team. MLA_ERROR_MEMORY. */
mla_status mla_team_create(mla_context *context, mla_comm *comm, const mla_recipe *recipe, mla_params *params,
                           mla_team **out);
void mla_team_destroy(mla_team *team);

/* ---- a step */

/* In: of this rank's samples. Out: of all ranks'. */
typedef struct {
    double loss, divergence;   /* divergence: from a teacher */
    mla_statistics statistics; /* of the same names on all ranks */
    int64_t valid;             /* targets that count */
    bool stop;                 /* asked to stop by a signal */
    double grad_norm;          /* out only */
} mla_team_sums;

void mla_team_begin(mla_team *team);
/* Puts the hooks of the rank's last microbatch into its step. */
void mla_team_follow(mla_team *team, mla_step *step);
/* After the last microbatch of step number `step`. MLA_ERROR_LIBRARY where a rank is lost, or has other parameters. */
mla_status mla_team_sum(mla_team *team, int64_t step, mla_team_sums *sums);
/* The update: lr and grad_scale as in mla_adamw_step. */
mla_status mla_team_update(mla_team *team, float lr, float grad_scale);
/* Seconds that this step has waited for other ranks; NaN for one rank alone. */
double mla_team_waited(mla_team *team);

/* ---- evaluation and checkpoints */

/* Sums over the ranks. */
mla_status mla_team_add(mla_team *team, double *sum, int64_t *count);
/* The same for `count` numbers, which is the same on all ranks. */
mla_status mla_team_add_all(mla_team *team, double *sums, int64_t count);

/* Rank 0 saves `content`, whose moments are put in here; the others bring theirs, and have no saver. */
mla_status mla_team_save(mla_team *team, mla_saver *saver, mla_checkpoint_content content);
/* Moments from rank 0's checkpoint; then rank 0's parameters and state to all. */
mla_status mla_team_resume(mla_team *team, mla_checkpoint *checkpoint, mla_run_state *state);

#endif
