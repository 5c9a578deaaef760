/* What autograd/context.c wants of OpenMP and of gemm.c: the parsers need neither, and so no oneDNN is
 * linked. */
#include "autograd/gemm.h"

#include <omp.h>

int omp_get_max_threads(void) { return 1; }
void omp_set_num_threads(int threads) { (void)threads; }
void mla_gemm_cache_destroy(void *cache) { (void)cache; }
