#include "train/run/machine.h"
#include "autograd/base/clock.h"
#include "autograd/pool.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* Operands of a product, for one thread. */
typedef struct {
    void *a, *b, *c;
    float *bias;
} operands;

static int64_t stored_bytes(int64_t rows, int64_t columns, bool transposed, int64_t ld, mla_dtype type) {
    const int64_t stored_rows = transposed ? columns : rows, width = transposed ? rows : columns;
    return stored_rows * (ld > width ? ld : width) * (int64_t)mla_dtype_size(type);
}

/* Memory as a step has it: its alignment and pages count, and pages that were never written are all one. 0x3c3c is a
 * number of some hundredths, in bf16 and in f32. */
static void *filled(mla_pool *pool, int64_t bytes) {
    const mla_buffer *buffer = mla_pool_take(pool, bytes);
    return buffer ? memset(buffer->data, 0x3c, (size_t)bytes) : NULL;
}

static bool make_operands(mla_pool *pool, const mla_gemm *gemm, const mla_gemm_shape *s, operands *o) {
    o->a = filled(pool, stored_bytes(s->m, s->k, s->a_transposed, s->lda, s->a_type));
    o->b = filled(pool, s->b_packed ? mla_gemm_packed_bytes(gemm)
                                    : stored_bytes(s->k, s->n, s->b_transposed, s->ldb, s->b_type));
    o->c = filled(pool, stored_bytes(s->m, s->n, false, s->ldc, s->c_type));
    o->bias = filled(pool, s->n * (int64_t)sizeof(float));
    return o->a && o->b && o->c && o->bias;
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

/* Seconds that one run of a planned product takes, the median of a few; single-thread plans run on all threads
 * at once, and their time is divided by the number of threads. */
static mla_status measure_gemm(mla_context *context, const mla_gemm *gemm, const mla_gemm_shape *s, double *seconds) {
    enum { RUNS = 3 };
    const int threads = s->single_thread ? mla_context_threads(context) : 1;
    const double flops = 2 * (double)s->m * (double)s->n * (double)s->k;
    const int repeats = 1 + (int)(2e8 / flops); /* small products: some milliseconds together */
    double times[RUNS];
    mla_pool *pool = NULL;
    operands *o = mla_alloc(context, threads, sizeof *o, "a measurement");
    bool good = o && !mla_pool_create(context, &pool, false);
    for (int i = 0; i < threads && good; i++) good = make_operands(pool, gemm, s, &o[i]);
    for (int i = 0; i < RUNS && good; i++) times[i] = seconds_of(gemm, s, o, threads, repeats);
    *seconds = good ? mla_median(times, RUNS) : 0;
    mla_pool_destroy(pool);
    free(o);
    return mla_error_status(context);
}

/* ---- the products of a step ---- */

typedef struct {
    mla_gemm_shape shape;
    int64_t runs;
} product;

struct mla_products {
    mla_context *context;
    product *of;
    int64_t count, capacity;
};

static void add_product(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape, int64_t runs) {
    mla_products *p = user;
    (void)gemm;
    if (!runs || mla_grow(p->context, &p->of, &p->capacity, p->count + 1, sizeof *p->of, "the products")) return;
    p->of[p->count++] = (product){*shape, runs};
}

mla_status mla_products_create(mla_context *context, mla_products **out) {
    mla_products *p = *out = mla_alloc(context, 1, sizeof *p, "the products");
    if (!p) return MLA_ERROR_MEMORY;
    *p = (mla_products){.context = context};
    mla_gemm_each(context, add_product, p);
    return mla_error_status(context);
}

void mla_products_destroy(mla_products *p) {
    if (!p) return;
    free(p->of);
    free(p);
}

mla_status mla_products_measure(const mla_products *p, double *out) {
    double all_seconds = 0, flops = 0;
    *out = 0;
    for (int64_t i = 0; i < p->count; i++) {
        const mla_gemm_shape *s = &p->of[i].shape;
        const mla_gemm *gemm = mla_gemm_plan(p->context, s);
        double seconds;
        if (!gemm || measure_gemm(p->context, gemm, s, &seconds)) return mla_error_status(p->context);
        all_seconds += seconds * (double)p->of[i].runs;
        flops += 2 * (double)s->m * (double)s->n * (double)s->k * (double)p->of[i].runs;
    }
    if (all_seconds > 0) *out = flops / all_seconds;
    return MLA_OK;
}

/* ---- the peak ---- */

/* Seconds that a product of (size,size) by (size,size) takes, the best of a few runs; 0 after an error. */
static double seconds_of_square(mla_context *context, mla_dtype type, int64_t size) {
    enum { RUNS = 8 };
    const mla_gemm_shape shape = {
        .m = size, .n = size, .k = size, .b_transposed = true, .a_type = type, .b_type = type};
    const mla_gemm *gemm = mla_gemm_plan(context, &shape);
    mla_pool *pool = NULL;
    operands o;
    double best = 0;
    const bool good = gemm && !mla_pool_create(context, &pool, false) && make_operands(pool, gemm, &shape, &o);
    if (good) seconds_of(gemm, &shape, &o, 1, 1); /* the first run makes its code */
    for (int i = 0; good && i < RUNS; i++) {
        const double seconds = seconds_of(gemm, &shape, &o, 1, 1);
        best = i && best < seconds ? best : seconds;
    }
    mla_pool_destroy(pool);
    return best;
}

/* Only as large as is steady: waking the threads counts for little in a product of some milliseconds. */
mla_status mla_measure_peak_flops(mla_context *context, mla_dtype type, double *out) {
    enum { SMALLEST = 256, LARGEST = 2048 };
    const double steady = 2e-3;
    double seconds = 0;
    *out = 0;
    for (int64_t size = SMALLEST; size <= LARGEST && seconds < steady; size *= 2) {
        seconds = seconds_of_square(context, type, size);
        if (mla_error_status(context)) return mla_error_status(context);
        *out = fmax(*out, 2 * pow((double)size, 3) / seconds);
    }
    return MLA_OK;
}

/* "model name\t: AMD EPYC 7B13" in a line of /proc/cpuinfo. */
void mla_processor_name(size_t size, char *out) {
    char line[512];
    struct utsname machine;
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(out, size, "%s", uname(&machine) ? "unknown" : machine.machine);
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        snprintf(out, size, "%.*s", (int)strcspn(colon + 1, "\n") - (colon[1] == ' '), colon + 1 + (colon[1] == ' '));
        break;
    }
    if (file) fclose(file);
}

mla_dtype mla_precision_choose_decoding(mla_recipe_precision wanted) {
    const bool native = mla_gemm_has_bf16();
    return wanted == MLA_PRECISION_BF16 || (wanted == MLA_PRECISION_AUTO && native) ? MLA_BF16 : MLA_F32;
}

mla_dtype mla_precision_choose(mla_context *context, mla_recipe_precision wanted) {
    if (wanted == MLA_PRECISION_BF16 && !mla_gemm_has_bf16())
        mla_warn(
            context,
            "this processor does not multiply bf16: precision bf16 takes less memory here, but more time than f32");
    return mla_precision_choose_decoding(wanted);
}
