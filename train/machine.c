#include "train/machine.h"
#include "autograd/gemm.h"

#include <stdlib.h>
#include <time.h>

double mla_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

mla_status mla_measure_peak_flops(mla_context *context, double *out) {
    enum { SIZE = 1024, RUNS = 8 };
    const mla_gemm_shape shape = {.m = SIZE, .n = SIZE, .k = SIZE, .b_transposed = true};
    float *memory = mla_alloc(context, 3 * SIZE * SIZE, sizeof *memory, "a measurement");
    const mla_gemm *gemm = memory ? mla_gemm_plan(context, &shape) : NULL;
    double best = 0;
    for (int i = 0; gemm && i < RUNS; i++) {
        const double begin = mla_seconds();
        mla_gemm_run(gemm, memory, memory + SIZE * SIZE, memory + 2 * SIZE * SIZE, NULL);
        const double rate = 2.0 * SIZE * SIZE * SIZE / (mla_seconds() - begin);
        best = rate > best ? rate : best;
    }
    free(memory);
    *out = best;
    return mla_error_status(context);
}
