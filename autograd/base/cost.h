/* What an op, or a step of them, costs. */
#ifndef MLA_AUTOGRAD_BASE_COST_H
#define MLA_AUTOGRAD_BASE_COST_H

/* FLOPs (a multiply-add is 2) and bytes moved, forward and backward. */
typedef struct {
    double forward_flops, backward_flops;
    double forward_bytes, backward_bytes;
    double
        widened_bytes; /* the largest product as f32, which a step of bf16 makes room for where there are no others */
} mla_cost;

#endif
