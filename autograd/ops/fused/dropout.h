/* The mask that mla_dropout and mla_residual_add share. */
#ifndef MLA_AUTOGRAD_OPS_FUSED_DROPOUT_H
#define MLA_AUTOGRAD_OPS_FUSED_DROPOUT_H

#include "autograd/op.h"

/* y = mask x / (1-p), plus base (f32) where it is not NULL; put into y by the mode. All have the shape of n->out.
 * The mask is drawn anew from the op's site, the step and the sample: the same forward and backward. */
void mla_drop(const mla_node *n, float p, const float *base, mla_values x, mla_grad_mode mode, mla_values y);

/* Whether p is a probability below 1. */
bool mla_drop_is_valid(float p);

#endif
