/* The global norm of all gradients, and the factor that clips them to a largest norm (Pascanu et al. 2013). */
#ifndef MLA_OPTIM_CLIP_H
#define MLA_OPTIM_CLIP_H

#include "autograd/params.h"

/* The Euclidean norm over all gradients that were set since mla_params_clear_gradients, in double precision. The
 * order of the sum depends on the shapes only. NaN or infinity where a gradient is. */
double mla_gradient_norm(const mla_params *params);

/* The same, squared, of any floats. */
double mla_squared_norm(const mla_context *context, int64_t count, const float *x);

/* What gradients must be multiplied by: as torch.nn.utils.clip_grad_norm_, min(1, largest / (norm + 1e-6)).
 * largest = 0: no clipping. */
float mla_clip_scale(double norm, double largest);

#endif
