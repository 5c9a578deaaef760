/* Values of the ops against plain double references; what does not fit is refused. */
#include "tests/support/op_fixture.h"

#include "autograd/base/random.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t matrix[] = {ROWS, WIDTH}, vector[] = {WIDTH};

/* ---- values ---- */

static void check_values_at(const op_fixture *f, const mla_tensor *y, const double *expected, double tolerance,
                            int line) {
    check_ok_at(f->context, MLA_OK, "the op", __FILE__, line);
    for (int64_t i = 0; i < mla_count(y); i++)
        check_close_at((double)((float *)y->data)[i], expected[i], tolerance, "a value", __FILE__, line);
}
#define check_values(f, y, expected, tolerance) check_values_at((f), (y), (expected), (tolerance), __LINE__)

static double reference_exp(double x) { return exp(x); }
static double reference_log(double x) { return log(x); }
static double reference_tanh(double x) { return tanh(x); }
static double reference_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double reference_relu(double x) { return x > 0 ? x : 0; }
static double reference_gelu(double x) { return x / 2 * erfc(-x / sqrt(2)); }
static double reference_gelu_tanh(double x) { return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
static double reference_silu(double x) { return x / (1 + exp(-x)); }

/* Relative to the value itself, also where it is tiny. */
static void functions_are_accurate(void **state) {
    static const struct {
        mla_tensor *(*op)(mla_tape *tape, mla_tensor *x);
        double (*reference)(double x);
        float low, high;
    } cases[] = {{mla_exp, reference_exp, -80, 80},
                 {mla_log, reference_log, 1e-6f, 1e6f},
                 {mla_tanh, reference_tanh, -12, 12},
                 {mla_sigmoid, reference_sigmoid, -80, 80},
                 {mla_relu, reference_relu, -5, 5},
                 {mla_gelu, reference_gelu, -6, 12},
                 {mla_gelu_tanh, reference_gelu_tanh, -4, 12},
                 {mla_silu, reference_silu, -80, 80}};
    op_fixture *f = *state;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        float x[COUNT];
        for (int i = 0; i < COUNT; i++)
            x[i] = cases[k].low + (cases[k].high - cases[k].low) * (float)i / (float)(COUNT - 1);
        begin(f);
        const mla_tensor *y = cases[k].op(f->tape, mla_input(f->tape, MLA_F32, 2, matrix, x));
        check_ok(f->context, MLA_OK);
        for (int i = 0; i < COUNT; i++) {
            const double expected = cases[k].reference((double)x[i]), got = (double)((float *)y->data)[i];
            if (!(fabs(got - expected) <= 6e-6 * fabs(expected)))
                fail_msg("function %zu of %.9g is %.9g, not %.9g", k, (double)x[i], got, expected);
        }
    }
}

static void tanh_is_accurate_near_zero(void **state) {
    op_fixture *f = *state;
    float x[COUNT];
    for (int i = 0; i < COUNT; i++) x[i] = powf(10, -8 + 8 * (float)i / COUNT);
    begin(f);
    const mla_tensor *y = mla_tanh(f->tape, mla_input(f->tape, MLA_F32, 2, matrix, x));
    for (int i = 0; i < COUNT; i++) check_close((double)((float *)y->data)[i] / tanh((double)x[i]), 1, 5e-7);
}

static void arithmetic(void **state) {
    op_fixture *f = *state;
    double sum[COUNT], product[COUNT], row_sum[COUNT], row_product[COUNT], scaled[COUNT], glu[COUNT], total = 0;
    begin(f);
    mla_tensor *a = mla_input(f->tape, MLA_F32, 2, matrix, f->a), *b = mla_input(f->tape, MLA_F32, 2, matrix, f->b);
    mla_tensor *row = mla_input(f->tape, MLA_F32, 1, vector, f->row);
    for (int i = 0; i < COUNT; i++) {
        const double x = (double)f->a[i], y = (double)f->b[i], r = (double)f->row[i % WIDTH];
        sum[i] = x + y;
        product[i] = x * y;
        row_sum[i] = x + r;
        row_product[i] = x * r;
        scaled[i] = -1.5 * x;
        glu[i] = reference_silu(x) * y;
        total += x;
    }
    check_values(f, mla_add(f->tape, a, b), sum, 1e-6);
    check_values(f, mla_mul(f->tape, a, b), product, 1e-6);
    check_values(f, mla_add(f->tape, a, row), row_sum, 1e-6);
    check_values(f, mla_mul(f->tape, a, row), row_product, 1e-6);
    check_values(f, mla_scale(f->tape, a, -1.5f), scaled, 1e-6);
    check_values(f, mla_swiglu(f->tape, a, b), glu, 2e-6);
    check_values(f, mla_residual_add(f->tape, a, b, 0), sum, 1e-6);
    check_values(f, mla_sum(f->tape, a), &total, 1e-6);
}

static void normalisations(void **state) {
    op_fixture *f = *state;
    double rms[COUNT], layer[COUNT];
    for (int i = 0; i < ROWS; i++) {
        const float *x = f->a + i * WIDTH;
        double mean = 0, squares = 0;
        for (int j = 0; j < WIDTH; j++) mean += (double)x[j] / WIDTH;
        for (int j = 0; j < WIDTH; j++) squares += (double)x[j] * (double)x[j] / WIDTH;
        for (int j = 0; j < WIDTH; j++) {
            rms[i * WIDTH + j] = (double)f->row[j] * (double)x[j] / sqrt(squares + 0.25);
            layer[i * WIDTH + j] = (double)f->row[j] * ((double)x[j] - mean) / sqrt(squares - mean * mean + 0.25) +
                                   (double)f->row2[j];
        }
    }
    begin(f);
    mla_tensor *x = mla_input(f->tape, MLA_F32, 2, matrix, f->a);
    mla_tensor *gain = mla_input(f->tape, MLA_F32, 1, vector, f->row);
    mla_tensor *bias = mla_input(f->tape, MLA_F32, 1, vector, f->row2);
    check_values(f, mla_rmsnorm(f->tape, x, gain, 0.25f, MLA_F32), rms, 2e-6);
    check_values(f, mla_layernorm(f->tape, x, gain, bias, 0.25f, MLA_F32), layer, 2e-6);
}

static void softmaxes(void **state) {
    enum { B = 2, T = 35 };
    op_fixture *f = *state;
    static double full[COUNT], causal[COUNT];
    for (int i = 0; i < ROWS; i++) {
        double sum = 0, seen = 0;
        for (int j = 0; j < WIDTH; j++) {
            sum += exp((double)f->a[i * WIDTH + j]);
            if (j <= i % T) seen += exp((double)f->a[i * WIDTH + j]);
        }
        for (int j = 0; j < WIDTH; j++) {
            full[i * WIDTH + j] = exp((double)f->a[i * WIDTH + j]) / sum;
            causal[i * WIDTH + j] = j <= i % T ? exp((double)f->a[i * WIDTH + j]) / seen : 0;
        }
    }
    begin(f);
    mla_tensor *x = mla_input(f->tape, MLA_F32, 3, (const int64_t[]){B, T, WIDTH}, f->a);
    check_values(f, mla_softmax(f->tape, x, false), full, 1e-6);
    check_values(f, mla_softmax(f->tape, x, true), causal, 1e-6);
    float large[] = {1000, 999, -1000};
    x = mla_input(f->tape, MLA_F32, 1, (const int64_t[]){3}, large);
    check_values(f, mla_softmax(f->tape, x, false), ((double[]){1 / (1 + exp(-1)), 1 / (1 + exp(1)), 0}), 1e-6);
}

static void products(void **state) {
    enum { BATCH = 3, M = 9, K = 11, N = 5 };
    op_fixture *f = *state;
    double expected[BATCH * M * N] = {0}, projected[BATCH * M * N];
    for (int i = 0; i < BATCH; i++)
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) {
                double *linear = &projected[(i * M + m) * N + n];
                *linear = (double)f->row[n];
                for (int k = 0; k < K; k++) {
                    const double a = (double)f->a[(i * M + m) * K + k];
                    expected[(i * M + m) * N + n] += a * (double)f->b[(i * K + k) * N + n];
                    *linear += a * (double)f->c[n * K + k];
                }
            }
    begin(f);
    mla_tensor *a = mla_input(f->tape, MLA_F32, 3, (const int64_t[]){BATCH, M, K}, f->a);
    mla_tensor *b = mla_input(f->tape, MLA_F32, 3, (const int64_t[]){BATCH, K, N}, f->b);
    mla_tensor *weight = mla_input(f->tape, MLA_F32, 2, (const int64_t[]){N, K}, f->c);
    mla_tensor *bias = mla_input(f->tape, MLA_F32, 1, (const int64_t[]){N}, f->row);
    check_values(f, mla_matmul(f->tape, a, b), expected, 2e-6);
    check_values(f, mla_linear(f->tape, a, weight, bias), projected, 2e-6);
}

static void moves(void **state) {
    op_fixture *f = *state;
    float x[24];
    for (int i = 0; i < 24; i++) x[i] = (float)i;
    begin(f);
    mla_tensor *t = mla_input(f->tape, MLA_F32, 3, (const int64_t[]){2, 3, 4}, x);
    mla_tensor *turned = mla_transpose(f->tape, t, (const int[]){2, 0, 1}); /* (4,2,3) */
    mla_tensor *part = mla_slice(f->tape, t, 1, 1, 2);                      /* (2,2,4) */
    mla_tensor *joined = mla_concat(f->tape, t, part, 1);                   /* (2,5,4) */
    mla_tensor *flat = mla_reshape(f->tape, t, 2, (const int64_t[]){6, 4});
    check_ok(f->context, MLA_OK);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 5; j++)
            for (int k = 0; k < 4; k++) {
                const float source = x[(i * 3 + (j < 3 ? j : j - 2)) * 4 + k];
                assert_true(((float *)joined->data)[(i * 5 + j) * 4 + k] == source);
                if (j < 3) assert_true(((float *)turned->data)[(k * 2 + i) * 3 + j] == source);
                if (j >= 3) assert_true(((float *)part->data)[(i * 2 + j - 3) * 4 + k] == source);
            }
    assert_ptr_equal(flat->data, t->data);
    assert_int_equal(turned->shape[0], 4);
    assert_int_equal(joined->shape[1], 5);
}

static void gathered_rows(void **state) {
    static const int32_t ids[] = {3, 0, 69, 3};
    op_fixture *f = *state;
    begin(f);
    mla_tensor *table = mla_input(f->tape, MLA_F32, 2, matrix, f->a);
    const mla_tensor *y = mla_gather(f->tape, table, mla_input(f->tape, MLA_I32, 2, (const int64_t[]){2, 2}, ids));
    assert_int_equal(y->ndim, 3);
    for (int i = 0; i < 4; i++) assert_memory_equal(mla_row(y, i), f->a + ids[i] * WIDTH, WIDTH * sizeof(float));
}

static void rotations(void **state) {
    enum { B = 2, T = 3, H = 2, W = 7, R = 4, FIRST = 2 };
    op_fixture *f = *state;
    float cosine[5 * 2], sine[5 * 2];
    for (int i = 0; i < 10; i++) {
        cosine[i] = cosf((float)i);
        sine[i] = sinf((float)i);
    }
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        const mla_rope_table table = {
            .positions = 5, .rotary = R, .cosine = cosine, .sine = sine, .interleaved = interleaved};
        double expected[B * T * H * W];
        for (int i = 0; i < B * T * H * W; i++) expected[i] = (double)f->a[i];
        for (int i = 0; i < B * T * H; i++)
            for (int k = 0; k < 2; k++) {
                const int angle = (FIRST + i / H % T) * 2 + k, first = interleaved ? 2 * k : k;
                double *a = &expected[i * W + W - R + first], *b = a + (interleaved ? 1 : 2), old = *a;
                *a = old * cos(angle) - *b * sin(angle);
                *b = old * sin(angle) + *b * cos(angle);
            }
        begin(f);
        mla_tensor *x = mla_input(f->tape, MLA_F32, 4, (const int64_t[]){B, T, H, W}, f->a);
        check_values(f, mla_rope(f->tape, x, &table, FIRST), expected, 1e-6);
    }
}

/* ---- refusals ---- */

static void check_refused(op_fixture *f, const mla_tensor *y, const char *words) {
    assert_ptr_equal(y, mla_inert(f->tape));
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_SHAPE, words);
}

static void refuses_what_does_not_fit(void **state) {
    static const int32_t whole[4];
    static const float table[8];
    op_fixture *f = *state;
    mla_tape *t = f->tape;
    begin(f);
    mla_tensor *a = mla_input(t, MLA_F32, 2, matrix, f->a), *row = mla_input(t, MLA_F32, 1, vector, f->row);
    mla_tensor *small = mla_input(t, MLA_F32, 2, (const int64_t[]){2, 3}, f->b);
    mla_tensor *ids = mla_input(t, MLA_I32, 1, (const int64_t[]){4}, whole);
    mla_tensor *heads = mla_input(t, MLA_F32, 4, (const int64_t[]){1, 3, 1, 4}, f->a);
    check_refused(f, mla_exp(t, ids), "exp: inputs must be f32 or bf16; got (4) i32");
    check_refused(f, mla_linear(t, ids, small, NULL), "linear");
    check_refused(f, mla_add(t, a, small), "add: b must have the shape of a, or be one row as wide; got (70,131)");
    check_refused(f, mla_mul(t, small, row), "mul");
    check_refused(f, mla_rmsnorm(t, small, row, 0, MLA_F32), "the gain must be one row");
    check_refused(f, mla_rmsnorm(t, a, row, NAN, MLA_F32), "eps");
    check_refused(f, mla_layernorm(t, a, row, small, 0, MLA_F32), "gain and bias");
    check_refused(f, mla_swiglu(t, a, small), "one shape");
    check_refused(f, mla_dropout(t, a, 1), "p must be at least 0 and below 1, not 1");
    check_refused(f, mla_dropout(t, a, NAN), "p must be");
    check_refused(f, mla_residual_add(t, a, a, -0.5f), "p must be");
    check_refused(f, mla_residual_add(t, a, small, 0), "one shape");
    check_refused(
        f,
        mla_rope(t, a,
                 &(mla_rope_table){.positions = 4, .rotary = 2, .cosine = table, .sine = table, .interleaved = false},
                 0),
        "(B,T,H,W)");
    check_refused(
        f,
        mla_rope(t, heads,
                 &(mla_rope_table){.positions = 4, .rotary = 3, .cosine = table, .sine = table, .interleaved = false},
                 0),
        "rotary width 3");
    check_refused(
        f,
        mla_rope(t, heads,
                 &(mla_rope_table){.positions = 4, .rotary = 6, .cosine = table, .sine = table, .interleaved = false},
                 0),
        "rotary width 6");
    check_refused(
        f,
        mla_rope(t, heads,
                 &(mla_rope_table){.positions = 4, .rotary = 4, .cosine = table, .sine = table, .interleaved = false},
                 2),
        "positions 2 to 4");
    check_refused(f, mla_matmul(t, a, small), "equal leading dimensions");
    check_refused(f, mla_matmul(t, row, row), "matmul");
    check_refused(f, mla_reshape(t, a, 1, (const int64_t[]){12}), "as many elements as x, 9170");
    check_refused(f, mla_transpose(t, a, (const int[]){1, 1}), "each dimension of x once");
    check_refused(f, mla_transpose(t, a, (const int[]){0, 2}), "each dimension of x once");
    check_refused(f, mla_slice(t, a, 2, 0, 1), "no dimension 2");
    check_refused(f, mla_slice(t, a, 0, 69, 2), "2 elements from 69 on");
    check_refused(f, mla_slice(t, a, 0, INT64_MAX, 1), "are not all within dimension 0");
    check_refused(f, mla_slice(t, a, 0, 0, 0), "0 elements");
    check_refused(f, mla_concat(t, a, small, 0), "one shape but for dimension 0");
    check_refused(f, mla_concat(t, a, row, 0), "one shape");
    check_refused(f, mla_concat(t, a, a, -1), "no dimension -1");
    check_refused(f, mla_softmax(t, row, true), "(..., T, S)");
    check_refused(f, mla_gather(t, row, ids), "the table must be (V,D) f32");
    check_refused(f, mla_gather(t, a, row), "ids must be i32");
}

/* Rows beside an input are read as f32 whatever they are: of bf16 there are only half as many bytes. */
static void refuses_rows_of_bf16(void **state) {
    static const mla_lora_weight_options options = {.scale = 1, .share = 1};
    op_fixture *f = *state;
    mla_tape *t = f->tape;
    begin(f);
    mla_tensor *a = mla_input(t, MLA_F32, 2, matrix, f->a), *row = mla_input(t, MLA_F32, 1, vector, f->row);
    mla_tensor *half = mla_input(t, MLA_BF16, 1, vector, f->row), *b = mla_input(t, MLA_F32, 2, matrix, f->b);
    mla_tensor *square = mla_matmul(t, mla_transpose(t, a, (const int[]){1, 0}), a);
    mla_tensor *low = mla_slice(t, a, 0, 0, 1), *up = mla_transpose(t, low, (const int[]){1, 0});
    check_refused(f, mla_linear(t, b, square, half), "linear: the bias must be f32");
    check_refused(f, mla_rmsnorm(t, a, half, 0, MLA_F32), "the gain must be one row of f32");
    check_refused(f, mla_layernorm(t, a, half, row, 0, MLA_F32), "gain and bias must be one row of f32");
    check_refused(f, mla_layernorm(t, a, row, half, 0, MLA_F32), "gain and bias must be one row of f32");
    check_refused(f, mla_dora(t, a, half, row, NULL), "magnitude, norm and bias must be one row of f32 each");
    check_refused(f, mla_dora(t, a, row, half, NULL), "magnitude, norm and bias must be one row of f32 each");
    check_refused(f, mla_dora(t, a, row, row, half), "magnitude, norm and bias must be one row of f32 each");
    check_refused(f, mla_lora_weight(t, square, square, low, up, half, row, &options), "must be f32 (out)");
    check_refused(f, mla_lora_weight(t, square, square, low, up, row, half, &options), "must be f32 (out)");
}

/* Of an input, or of a parameter before mla_params_allocate. */
static void refuses_what_has_no_values(void **state) {
    op_fixture *f = *state;
    begin(f);
    mla_tensor *empty = mla_input(f->tape, MLA_F32, 2, matrix, NULL);
    assert_ptr_equal(mla_exp(f->tape, empty), mla_inert(f->tape));
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_ARGUMENT, "exp: input 0 has no values");
}

static void refuses_ids_out_of_range(void **state) {
    static const int32_t bad[][3] = {{0, 69, 70}, {5, -1, 80}};
    static const char *const words[] = {"the id at position 2 is 70, but the table has rows 0 to 69",
                                        "the id at position 1 is -1"};
    op_fixture *f = *state;
    for (int k = 0; k < 2; k++) {
        begin(f);
        mla_tensor *ids = mla_input(f->tape, MLA_I32, 1, (const int64_t[]){3}, bad[k]);
        const mla_tensor *y = mla_gather(f->tape, mla_input_with_gradient(f->tape, 2, matrix, f->a), ids);
        assert_ptr_equal(y, mla_inert(f->tape));
        check_error(f->context, mla_error_status(f->context), MLA_ERROR_ARGUMENT, words[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(tanh_is_accurate_near_zero),
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(normalisations),
        cmocka_unit_test(softmaxes),
        cmocka_unit_test(products),
        cmocka_unit_test(moves),
        cmocka_unit_test(gathered_rows),
        cmocka_unit_test(rotations),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(refuses_rows_of_bf16),
        cmocka_unit_test(refuses_what_has_no_values),
        cmocka_unit_test(refuses_ids_out_of_range),
    };
    return cmocka_run_group_tests(tests, create_op_fixture, destroy_op_fixture);
}
