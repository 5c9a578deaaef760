/* What this machine can do, measured. */
#ifndef MLA_TRAIN_MACHINE_H
#define MLA_TRAIN_MACHINE_H

#include "autograd/context.h"

/* FLOPs per second of a large f32 matrix product with all threads of the context, the best of a few short runs
 * (some 0.2 s in all). Errors: those of mla_gemm_plan. */
mla_status mla_measure_peak_flops(mla_context *context, double *out);

/* Seconds on a clock that only goes forward. */
double mla_seconds(void);

#endif
