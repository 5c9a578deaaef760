/* The inside of a tape, for forward.c (tensors, scopes, computing ops) and backward.c. */
#ifndef MLA_AUTOGRAD_TAPE_STATE_H
#define MLA_AUTOGRAD_TAPE_STATE_H

#include "autograd/op.h"

/* Nodes, tensors and attributes of one step; blocks are kept from step to step. */
typedef struct {
    char **blocks;
    int64_t count, capacity, used_blocks;
    size_t used;
} mla_arena;

struct mla_tape {
    mla_context *context;
    mla_pool *pool;
    mla_tape_options options;
    mla_step step;
    mla_cost cost;
    uint64_t sites;
    bool walking; /* in mla_backward */
    mla_arena arena;
    mla_node **nodes; /* recorded, in order */
    int64_t node_count, node_capacity;
    mla_tensor **open; /* tensors that the caller may still use, in order of their making */
    int64_t open_count, open_capacity;
    mla_tensor inert;
    bool recomputing;
};

/* A tensor of the tape, open to the caller; NULL after an error. */
mla_tensor *mla_tape_new_tensor(mla_tape *tape, mla_dtype dtype, int ndim, const int64_t *shape);
/* Appends a node whose output has been computed, and holds what its backward will read. */
void mla_tape_record(mla_node *n);
/* Runs forward or backward with the scratch memory it asked for; only counts in a run on shapes alone. */
void mla_tape_run(mla_node *n, void (*pass)(const mla_node *), int64_t scratch_bytes);
void mla_tape_drop_gradient(mla_tape *tape, mla_tensor *x);
/* Gives back the node's saved memory and its hold on the values that backward read. */
void mla_tape_release_node(mla_node *n);

#endif
