/* What autograd/base/context.c wants of OpenMP, and train/adapter/adapter_config.c of a model for writing: the parsers need none of
 * it, and so neither oneDNN nor HDF5 is linked. */
#include "layers/adapt/adapters.h"

#include <omp.h>

int omp_get_max_threads(void) { return 1; }
mla_linear_layer *mla_decoder_projection(const mla_decoder *model, int64_t i) { return (void)model, (void)i, NULL; }
int mla_adapters_stem(const mla_linear_layer *projection) { return (void)projection, 0; }
