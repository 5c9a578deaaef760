#include "train/run/machine.h"
#include "autograd/base/clock.h"

#include <omp.h>
#include <stdlib.h>

/* Operands of a product, for one thread. */
typedef struct {
    void *a, *b, *c;
    float *bias;
} operands;

static int64_t stored_bytes(int64_t rows, int64_t columns, bool transposed, int64_t ld, mla_dtype type) {
    const int64_t stored_rows = transposed ? columns : rows, width = transposed ? rows : columns;
    return stored_rows * (ld > width ? ld : width) * (int64_t)mla_dtype_size(type);
}

static bool make_operands(mla_context *context, const mla_gemm *gemm, const mla_gemm_shape *s, operands *o) {
    const int64_t b_bytes = s->b_packed ? mla_gemm_packed_bytes(gemm)
                                        : stored_bytes(s->k, s->n, s->b_transposed, s->ldb, s->b_type);
    o->a = mla_alloc(context, stored_bytes(s->m, s->k, s->a_transposed, s->lda, s->a_type), 1, "a measurement");
    o->b = mla_alloc(context, b_bytes, 1, "a measurement");
    o->c = mla_alloc(context, stored_bytes(s->m, s->n, false, s->ldc, s->c_type), 1, "a measurement");
    o->bias = mla_alloc(context, s->n, sizeof(float), "a measurement");
    return o->a && o->b && o->c && o->bias;
}

static void free_operands(operands *o) {
    free(o->a);
    free(o->b);
    free(o->c);
    free(o->bias);
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double mla_median(double *values, int64_t count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return values[count / 2];
}

/* Each thread of a single-thread plan repeats it for itself. */
static double seconds_of(const mla_gemm *gemm, const mla_gemm_shape *s, const operands *o, int threads, int repeats) {
    const double begin = mla_seconds();
    if (s->single_thread) {
        #pragma omp parallel num_threads(threads)
        for (int i = 0; i < repeats; i++) {
            const operands *mine = &o[omp_get_thread_num()];
            mla_gemm_run(gemm, mine->a, mine->b, mine->c, mine->bias);
        }
    } else
        for (int i = 0; i < repeats; i++) mla_gemm_run(gemm, o->a, o->b, o->c, o->bias);
    return (mla_seconds() - begin) / repeats / (s->single_thread ? threads : 1);
}

mla_status mla_measure_gemm(mla_context *context, const mla_gemm *gemm, const mla_gemm_shape *s, double *seconds) {
    enum { RUNS = 7 };
    const int threads = s->single_thread ? mla_context_threads(context) : 1;
    const double flops = 2 * (double)s->m * (double)s->n * (double)s->k;
    const int repeats = 1 + (int)(2e8 / flops); /* small products: some milliseconds together */
    double times[RUNS];
    operands *o = mla_alloc(context, threads, sizeof *o, "a measurement");
    bool good = o != NULL;
    for (int i = 0; i < threads && good; i++) good = make_operands(context, gemm, s, &o[i]);
    for (int i = 0; i < RUNS && good; i++) times[i] = seconds_of(gemm, s, o, threads, repeats);
    *seconds = good ? mla_median(times, RUNS) : 0;
    for (int i = 0; i < threads && o; i++) free_operands(&o[i]);
    free(o);
    return mla_error_status(context);
}

mla_status mla_measure_peak_flops(mla_context *context, mla_dtype type, double *out) {
    enum { SIZE = 1024, RUNS = 8 };
    const mla_gemm_shape shape =
        {.m = SIZE, .n = SIZE, .k = SIZE, .b_transposed = true, .a_type = type, .b_type = type};
    const mla_gemm *gemm = mla_gemm_plan(context, &shape);
    operands o = {0};
    double best = 0;
    const bool good = gemm && make_operands(context, gemm, &shape, &o);
    for (int i = 0; good && i < RUNS; i++) {
        const double rate = 2.0 * SIZE * SIZE * SIZE / seconds_of(gemm, &shape, &o, 1, 1);
        best = rate > best ? rate : best;
    }
    free_operands(&o);
    *out = best;
    return mla_error_status(context);
}

mla_dtype mla_precision_choose(mla_context *context, mla_recipe_precision wanted) {
    const bool native = mla_gemm_has_bf16();
    if (wanted == MLA_PRECISION_BF16 && !native)
        mla_warn(context, "this processor does not multiply bf16: train.precision=bf16 takes less memory here, but more time than f32");
    return wanted == MLA_PRECISION_BF16 || (wanted == MLA_PRECISION_AUTO && native) ? MLA_BF16 : MLA_F32;
}
