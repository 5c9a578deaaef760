/* What this machine can do, measured. */
#ifndef MLA_TRAIN_RUN_MACHINE_H
#define MLA_TRAIN_RUN_MACHINE_H

#include "autograd/kernels/gemm.h"
#include "train/recipe/recipe.h"

/* FLOPs per second of a matrix product of f32 or bf16 with all threads of the context, so large that it takes a few
 * milliseconds; the best of a few runs (some 30 ms in all: a tiny model may train for no longer). Errors: those of
 * mla_gemm_plan. */
mla_status mla_measure_peak_flops(mla_context *context, mla_dtype type, double *out);

/* The matrix products that a context has made up to a moment, to be timed by themselves. */
typedef struct mla_products mla_products;

/* What is made later does not count, so that products can be timed between the steps that they come from. The context
 * must outlive it. Errors: no memory. */
mla_status mla_products_create(mla_context *context, mla_products **out);
void mla_products_destroy(mla_products *products);

/* FLOPs per second of all of them now, each run by itself as it was planned (with its packed B where it has one) and
 * weighted by its FLOPs; 0 where there are none. Errors: no memory. */
mla_status mla_products_measure(const mla_products *products, double *out);

/* The type of products that a recipe asks for: auto is bf16 where the processor multiplies it, else f32. Asking for
 * bf16 elsewhere is allowed, with a warning: it takes less memory there. */
mla_dtype mla_precision_choose(mla_context *context, mla_recipe_precision wanted);
/* The same for decoding, without a warning: with few rows, bf16 is faster on every processor. */
mla_dtype mla_precision_choose_decoding(mla_recipe_precision wanted);

/* The processor as it calls itself, "AMD EPYC 7B13"; where it does not, its architecture. */
void mla_processor_name(size_t size, char *out);

/* The middle one of `count` values, or the upper of the two; sorts them. */
double mla_median(double *values, int64_t count);

#endif
