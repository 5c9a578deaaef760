/* Products of few rows against sums in double precision; and that a row is the same among others, on any number of
 * threads. */
#include "autograd/base/bfloat16.h"
#include "autograd/base/random.h"
#include "autograd/kernels/few_rows.h"
#include "autograd/ops.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Random numbers of a type; *as_floats, what they are. */
static mla_values numbers(const char *name, mla_dtype type, int64_t count, float **as_floats) {
    float *x = *as_floats = malloc((size_t)count * sizeof *x);
    mla_random_normal(mla_random_stream(3, name, 0, 0, 0), 0, count, x);
    mla_values out = {malloc((size_t)count * mla_dtype_size(type)), type};
    mla_store(out, MLA_SET, 0, count, x);
    if (type == MLA_BF16) mla_widen(count, out.data, x);
    return out;
}

typedef struct {
    mla_few_rows product;
    float *x, *w, *bias, *room;
} problem;

static problem make_problem(int64_t m, int64_t n, int64_t k, const mla_dtype types[3], bool with_bias) {
    problem p = {.room = malloc((size_t)mla_few_rows_room(m, k) * sizeof(float))};
    const mla_values x = numbers("x", types[0], m * k, &p.x), w = numbers("w", types[1], n * k, &p.w);
    free(numbers("bias", MLA_F32, n, &p.bias).data);
    mla_values y = {malloc((size_t)(m * n) * mla_dtype_size(types[2])), types[2]};
    memset(y.data, 0xff, (size_t)(m * n) * mla_dtype_size(types[2]));
    p.product = (mla_few_rows){.m = m, .n = n, .k = k, .x = x, .w = w, .y = y, .bias = with_bias ? p.bias : NULL};
    return p;
}

static void free_problem(problem *p) {
    free(p->product.x.data), free(p->product.w.data), free(p->product.y.data);
    free(p->x), free(p->w), free(p->bias), free(p->room);
}

static void check_problem(const problem *p) {
    const int64_t n = p->product.n, k = p->product.k, count = p->product.m * n;
    float *y = malloc((size_t)count * sizeof *y);
    memcpy(y, mla_load(p->product.y, 0, count, y), (size_t)count * sizeof *y);
    for (int64_t i = 0; i < count; i++) {
        double sum = p->product.bias ? p->bias[i % n] : 0, size = 1;
        for (int64_t j = 0; j < k; j++) {
            const double part = (double)p->x[i / n * k + j] * p->w[i % n * k + j];
            sum += part;
            size += fabs(part);
        }
        const double bound = size * 1e-6 + (p->product.y.type == MLA_BF16 ? fabs(sum) / 256 : 0);
        if (!(fabs(y[i] - sum) <= bound)) fail_msg("element %d: %g, wanted %g", (int)i, y[i], sum);
    }
    free(y);
}

static void products_are_sums(void **state) {
    static const mla_dtype types[][3] = {{MLA_F32, MLA_F32, MLA_F32},
                                         {MLA_F32, MLA_BF16, MLA_BF16},
                                         {MLA_BF16, MLA_BF16, MLA_BF16},
                                         {MLA_BF16, MLA_F32, MLA_F32},
                                         {MLA_F32, MLA_BF16, MLA_F32}};
    static const int64_t widths[] = {1, 3, 4, 31, 32, 70, 133}, depths[] = {16, 41, 512};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int64_t m = 1; m <= MLA_MOST_FEW_ROWS; m++)
            for (int i = 0; i < 7; i++)
                for (int j = 0; j < 3; j++) {
                    problem p = make_problem(m, widths[i], depths[j], types[t], (i + m) % 2);
                    mla_few_rows_multiply(*state, &p.product, p.room);
                    check_problem(&p);
                    free_problem(&p);
                }
}

/* Decoding a text among others, and on more threads, gives the same bits. */
static void rows_do_not_depend_on_others(void **state) {
    enum { N = 300, K = 96 };
    mla_context *one_thread;
    check_ok(*state, mla_context_create(&one_thread, &(mla_context_options){.threads = 1}));
    for (int t = 0; t < 2; t++) {
        const mla_dtype types[] = {MLA_F32, t ? MLA_BF16 : MLA_F32, MLA_F32};
        problem all = make_problem(MLA_MOST_FEW_ROWS, N, K, types, true);
        mla_few_rows_multiply(*state, &all.product, all.room);
        for (int64_t i = 0; i < MLA_MOST_FEW_ROWS; i++) {
            float y[N];
            mla_few_rows alone = all.product;
            alone.m = 1;
            alone.x = mla_beyond(alone.x, i * K);
            alone.y.data = y;
            mla_few_rows_multiply(one_thread, &alone, all.room);
            assert_memory_equal(y, (float *)all.product.y.data + i * N, sizeof y);
        }
        free_problem(&all);
    }
    mla_context_destroy(one_thread);
}

/* Sums of rows with weights, added to what is there; rows that stand apart. */
static void weighted_rows_are_sums(void **state) {
    enum { K = 37, GAP = 3 };
    (void)state;
    for (int t = 0; t < 2; t++)
        for (int64_t m = 1; m <= 9; m++)
            for (int64_t n = 5; n < 80; n += 27) {
                float *x, *w, *y, *before;
                free(numbers("p", MLA_F32, m * (K + GAP), &x).data);
                const mla_values v = numbers("v", t ? MLA_BF16 : MLA_F32, K * (n + GAP), &w);
                free(numbers("y", MLA_F32, m * (n + GAP), &y).data);
                free(numbers("y", MLA_F32, m * (n + GAP), &before).data);
                mla_add_weighted_rows(&(mla_weighted_rows){m, n, K, x, v, y, K + GAP, n + GAP, n + GAP});
                for (int64_t i = 0; i < m; i++)
                    for (int64_t j = 0; j < n + GAP; j++) {
                        double sum = before[i * (n + GAP) + j];
                        for (int64_t s = 0; s < K && j < n; s++)
                            sum += (double)x[i * (K + GAP) + s] * w[s * (n + GAP) + j];
                        assert_true(fabs(y[i * (n + GAP) + j] - sum) < 1e-4);
                    }
                free(x), free(w), free(y), free(before), free(v.data);
            }
}

/* mla_linear in a step of decoding, in both precisions, and of rows and widths that do not fit. */
static void linear_takes_them_in_decoding(void **state) {
    static const int64_t sizes[][2] = {{1, 64}, {8, 64}, {9, 64}, {3, 40}};
    for (int i = 0; i < 8; i++) {
        const int64_t rows = sizes[i / 2][0], in = sizes[i / 2][1];
        const mla_dtype type = i % 2 ? MLA_BF16 : MLA_F32;
        float *x, *w;
        const mla_values x_values = numbers("x", MLA_F32, rows * in, &x), w_values = numbers("w", type, 50 * in, &w);
        const float *result[2];
        mla_tape *tapes[2];
        for (int t = 0; t < 2; t++) {
            check_ok(*state, mla_tape_create(*state, &tapes[t], NULL));
            mla_tape_begin(tapes[t], &(mla_step){.inference = true, .decoding = t, .precision = type});
            mla_tensor *weight = mla_input(tapes[t], type, 2, (int64_t[]){50, in}, w_values.data);
            const mla_tensor *y = mla_linear(
                tapes[t], mla_input(tapes[t], MLA_F32, 3, (int64_t[]){rows, 1, in}, x_values.data), weight, NULL);
            check_ok(*state, mla_error_status(*state));
            assert_int_equal(y->dtype, type);
            float *copy = malloc((size_t)(rows * 50) * sizeof *copy);
            memcpy(copy, mla_load((mla_values){y->data, type}, 0, rows * 50, copy), (size_t)(rows * 50) * sizeof *copy);
            result[t] = copy;
        }
        assert_true(relative_error(rows * 50, result[1], result[0]) < (i % 2 ? 1e-2 : 1e-6));
        for (int t = 0; t < 2; t++) {
            mla_tape_destroy(tapes[t]);
            free((void *)(uintptr_t)result[t]);
        }
        free(x_values.data), free(w_values.data), free(x), free(w);
    }
}

/* Logits of bf16 products are f32, of few rows and of many: not rounded to 8 bits. */
static void logits_are_f32(void **state) {
    enum { IN = 32, OUT = 40 };
    for (int64_t rows = 1; rows < 30; rows += 28) {
        float *x, *w;
        const mla_values x_values = numbers("x", MLA_BF16, rows * IN, &x),
                         w_values = numbers("w", MLA_BF16, OUT * IN, &w);
        mla_tape *tape;
        check_ok(*state, mla_tape_create(*state, &tape, NULL));
        mla_tape_begin(tape, &(mla_step){.inference = true, .decoding = true, .precision = MLA_BF16});
        mla_tensor *weight = mla_input(tape, MLA_BF16, 2, (int64_t[]){OUT, IN}, w_values.data);
        const mla_tensor *y = mla_logits(tape, mla_input(tape, MLA_BF16, 2, (int64_t[]){rows, IN}, x_values.data),
                                         weight);
        check_ok(*state, mla_error_status(*state));
        assert_int_equal(y->dtype, MLA_F32);
        check_problem(&(problem){.product = {rows, OUT, IN, .y = {y->data, MLA_F32}}, .x = x, .w = w});
        mla_tape_destroy(tape);
        free(x_values.data), free(w_values.data), free(x), free(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_sums), cmocka_unit_test(rows_do_not_depend_on_others),
        cmocka_unit_test(weighted_rows_are_sums), cmocka_unit_test(linear_takes_them_in_decoding),
        cmocka_unit_test(logits_are_f32)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
