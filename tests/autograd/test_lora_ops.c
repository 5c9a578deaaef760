/* The ops of adapters, each against its composition from the general set; the memory that lora writes into. */
#include "autograd/kernels/gemm.h"
#include "autograd/ops.h"
#include "autograd/params.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state) { return mla_context_create((mla_context **)state, NULL) != MLA_OK; }
static int teardown(void **state) {
    mla_context_destroy(*state);
    return 0;
}

/* Adapters of rank R are taken row by row, those of rank HIGH by matrix products. */
enum { ROWS = 70, IN = 7, OUT = 9, R = 3, HIGH = 10 };
static const float scale = 0.7f;

/* Numbers that are none of the others, between 0.5 and 2. */
static float *numbers(int64_t count, int seed) {
    static float all[8][ROWS * HIGH];
    for (int64_t i = 0; i < count; i++) all[seed][i] = 0.5f + 1.5f * (float)((i * 37 + seed * 11) % 41) / 41;
    return all[seed];
}

static mla_tensor *constant(mla_tape *tape, int ndim, const int64_t *shape, int seed) {
    return mla_input(tape, MLA_F32, ndim, shape, numbers(mla_shape_count(ndim, shape), seed));
}

static mla_tensor *transposed(mla_tape *tape, mla_tensor *x) { return mla_transpose(tape, x, (const int[]){1, 0}); }

/* ---- values ---- */

static void check_same(const mla_tensor *a, const mla_tensor *b) {
    assert_true(mla_same_shape(a, b));
    for (int64_t i = 0; i < mla_count(a); i++)
        check_close((double)((float *)a->data)[i], (double)((float *)b->data)[i], 1e-5);
}

typedef struct {
    mla_tape *tape;
    mla_tensor *x, *w, *a, *b, *m, *product; /* product: scale B A */
} parts;

static parts make_parts(mla_context *context, int64_t rank) {
    parts p;
    check_ok(context, mla_tape_create(context, &p.tape, NULL));
    mla_tape_begin(p.tape, &(mla_step){.training = true});
    p.x = constant(p.tape, 2, (const int64_t[]){ROWS, IN}, 1);
    p.w = constant(p.tape, 2, (const int64_t[]){OUT, IN}, 2);
    p.a = constant(p.tape, 2, (const int64_t[]){rank, IN}, 3);
    p.b = constant(p.tape, 2, (const int64_t[]){OUT, rank}, 4);
    p.m = constant(p.tape, 1, (const int64_t[]){OUT}, 5);
    p.product = mla_scale(p.tape, mla_matmul(p.tape, p.b, p.a), scale);
    return p;
}

static void lora_adds_to_the_projection(void **state) {
    for (int64_t rank = R; rank <= HIGH; rank += HIGH - R) {
        parts p = make_parts(*state, rank);
        mla_tensor *y = mla_linear(p.tape, p.x, p.w, NULL);
        const void *memory = y->data;
        const mla_tensor *z = mla_lora(p.tape, y, p.x, p.a, p.b, scale);
        assert_ptr_equal(z->data, memory);
        check_same(z, mla_linear(p.tape, p.x, mla_add(p.tape, p.w, p.product), NULL));
        check_ok(*state, mla_error_status(*state));
        mla_tape_destroy(p.tape);
    }
}

static void norms_are_those_of_rows_without_gradient(void **state) {
    parts p = make_parts(*state, R);
    p.a->needs_grad = p.b->needs_grad = true;
    const mla_tensor *norm = mla_lora_norm(p.tape, p.w, p.a, p.b, scale), *v = mla_add(p.tape, p.w, p.product);
    assert_false(norm->needs_grad);
    for (int64_t i = 0; i < OUT; i++) {
        double sum = 0;
        for (int64_t j = 0; j < IN; j++) sum += pow((double)mla_row(v, i)[j], 2);
        check_close((double)((float *)norm->data)[i], sqrt(sum), 1e-6);
    }
    mla_tape_destroy(p.tape);
}

static void weights_hold_adapters(void **state) {
    parts p = make_parts(*state, R);
    const float share = 0.4f;
    const mla_lora_weight_options options = {.scale = scale, .share = share};
    mla_tensor *v = mla_lora_weight(p.tape, p.w, p.w, p.a, p.b, NULL, NULL, &options);
    check_same(v, mla_add(p.tape, p.w, mla_scale(p.tape, p.product, share)));
    /* DoRA: rows by transposing, as columns are scaled by mla_dora */
    mla_tensor *norm = mla_lora_norm(p.tape, p.w, p.a, p.b, scale), *sum = mla_add(p.tape, p.w, p.product);
    mla_tensor *scaled = transposed(p.tape, mla_dora(p.tape, transposed(p.tape, sum), p.m, norm, NULL));
    mla_tensor *change = mla_add(p.tape, scaled, mla_scale(p.tape, p.w, -1));
    mla_tensor *dora = mla_lora_weight(p.tape, p.w, p.w, p.a, p.b, p.m, norm, &options);
    check_same(dora, mla_add(p.tape, p.w, mla_scale(p.tape, change, share)));
    /* a second one on top of the first */
    check_same(mla_lora_weight(p.tape, v, p.w, p.a, p.b, p.m, norm, &options),
               mla_add(p.tape, v, mla_scale(p.tape, change, share)));
    check_ok(*state, mla_error_status(*state));
    mla_tape_destroy(p.tape);
}

/* ---- the memory that it writes into ---- */

static mla_tensor *itself(mla_tape *tape, mla_tensor *leaf) {
    (void)tape;
    return leaf;
}
static mla_tensor *copied(mla_tape *tape, mla_tensor *leaf) { return mla_scale(tape, leaf, 1); }
static mla_tensor *soft(mla_tape *tape, mla_tensor *leaf) { return mla_softmax(tape, leaf, false); }
static mla_tensor *reshaped(mla_tape *tape, mla_tensor *leaf) { return mla_reshape(tape, leaf, 2, leaf->shape); }
static mla_tensor *reshaped_copy(mla_tape *tape, mla_tensor *leaf) { return reshaped(tape, copied(tape, leaf)); }
static mla_tensor *reshaped_exp(mla_tape *tape, mla_tensor *leaf) { return reshaped(tape, mla_exp(tape, leaf)); }

/* What y is, made of an input or a parameter, and whether its memory may be taken where nothing else reads it. */
static const struct {
    const char *name;
    mla_tensor *(*make)(mla_tape *tape, mla_tensor *leaf);
    bool in_place;
} sources[] = {{"a leaf", itself, false},
               {"scale", copied, true},
               {"sigmoid", mla_sigmoid, false},
               {"exp", mla_exp, false},
               {"tanh", mla_tanh, false},
               {"softmax", soft, false},
               {"a leaf under another shape", reshaped, false},
               {"a result under another shape", reshaped_copy, false},
               {"a result of exp under another shape", reshaped_exp, false}};
enum { SOURCES = sizeof sources / sizeof *sources };

/* What else reads y: nothing, an op before, lora itself as x, a part that is computed again. */
typedef enum { NOTHING, AN_OP, ITSELF, A_PART, READERS } reader;

typedef struct {
    mla_params *params;
    mla_tape *tape;
    mla_tensor *y, *x, *a, *b; /* y: what it is made of; x: NULL where y is x */
    bool fused;
} setting;

static setting make_setting(mla_context *context, reader other, bool parameter, bool shapes_only) {
    const int64_t in = other == ITSELF ? OUT : IN;
    setting s = {0};
    check_ok(context, mla_params_create(context, &s.params));
    mla_tensor *y = mla_params_add(s.params, &(mla_param_spec){.name = "y", .ndim = 2, .shape = {ROWS, OUT}});
    check_ok(context, mla_params_allocate(s.params, true));
    memcpy(y->data, numbers(ROWS * OUT, 6), (size_t)mla_size(y));
    check_ok(context, mla_tape_create(context, &s.tape, &(mla_tape_options){.shapes_only = shapes_only}));
    mla_tape_begin(s.tape, &(mla_step){.training = true});
    s.y = parameter ? y : mla_input_with_gradient(s.tape, 2, y->shape, y->data);
    s.x = other == ITSELF ? NULL : mla_input_with_gradient(s.tape, 2, (int64_t[]){ROWS, IN}, numbers(ROWS * IN, 1));
    s.a = mla_input_with_gradient(s.tape, 2, (int64_t[]){R, in}, numbers(R * in, 3));
    s.b = mla_input_with_gradient(s.tape, 2, (int64_t[]){OUT, R}, numbers(OUT * R, 4));
    return s;
}

static void destroy_setting(setting *s) {
    mla_tape_destroy(s->tape);
    mla_params_destroy(s->params);
}

/* y + scale B A x, by the op or by others. */
static mla_tensor *adapted(mla_tape *tape, const void *user, mla_tensor *y) {
    const setting *s = user;
    mla_tensor *x = s->x ? s->x : y;
    if (s->fused) return mla_lora(tape, y, x, s->a, s->b, scale);
    mla_tensor *low = mla_matmul(tape, x, transposed(tape, s->a));
    return mla_add(tape, y, mla_scale(tape, mla_matmul(tape, low, transposed(tape, s->b)), scale));
}

static mla_status differentiate(setting *s, int source, reader other, float *value) {
    mla_tensor *y = sources[source].make(s->tape, s->y);
    mla_tensor *square = other == AN_OP ? mla_mul(s->tape, y, y) : NULL;
    mla_tensor *z = other == A_PART ? mla_recompute(s->tape, adapted, s, sizeof *s, y) : adapted(s->tape, s, y);
    mla_tensor *sum = mla_sum(s->tape, mla_mul(s->tape, z, constant(s->tape, 2, (int64_t[]){ROWS, OUT}, 7)));
    if (square) sum = mla_add(s->tape, sum, mla_sum(s->tape, square));
    if (z->data) memcpy(value, z->data, (size_t)mla_size(z));
    return mla_backward(s->tape, sum);
}

static void check_source(mla_context *context, int source, reader other, bool parameter) {
    float value[2][ROWS * OUT];
    setting s[2];
    for (int fused = 0; fused < 2; fused++) {
        s[fused] = make_setting(context, other, parameter, false);
        s[fused].fused = fused;
        check_ok(context, differentiate(&s[fused], source, other, value[fused]));
    }
    const mla_tensor *const got[] = {s[1].y, s[1].a, s[1].b, s[1].x}, *const right[] = {s[0].y, s[0].a, s[0].b, s[0].x};
    double error = relative_error(ROWS * OUT, value[1], value[0]);
    for (int i = 0; i < (s[1].x ? 4 : 3); i++)
        error = fmax(error, relative_error(mla_count(got[i]), got[i]->grad, right[i]->grad));
    if (!(error < 1e-5)) fail_msg("lora of %s, %d, %d: an error of %g", sources[source].name, other, parameter, error);
    assert_memory_equal(s[1].y->data, numbers(ROWS * OUT, 6), sizeof *value);
    destroy_setting(&s[0]);
    destroy_setting(&s[1]);
}

static void nothing_that_is_read_again_is_overwritten(void **state) {
    for (int source = 0; source < SOURCES; source++)
        for (reader other = NOTHING; other < READERS; other++)
            for (int parameter = 0; parameter < 2; parameter++) check_source(*state, source, other, parameter);
}

static void memory_is_taken_where_nobody_reads_it(void **state) {
    for (int source = 0; source < SOURCES; source++) {
        setting s = make_setting(*state, NOTHING, false, false);
        mla_tensor *y = sources[source].make(s.tape, s.y);
        const void *memory = y->data;
        const mla_tensor *z = mla_lora(s.tape, y, s.x, s.a, s.b, scale);
        if ((z->data == memory) != sources[source].in_place) fail_msg("lora of %s", sources[source].name);
        destroy_setting(&s);
    }
}

static void a_copy_is_predicted(void **state) {
    static float value[ROWS * OUT];
    for (int source = 0; source < SOURCES; source++)
        for (reader other = NOTHING; other < READERS; other++) {
            int64_t reserved[2];
            for (int shapes_only = 0; shapes_only < 2; shapes_only++) {
                setting s = make_setting(*state, other, false, shapes_only);
                s.fused = true;
                check_ok(*state, differentiate(&s, source, other, value));
                reserved[shapes_only] = mla_pool_reserved(mla_tape_pool(s.tape));
                destroy_setting(&s);
            }
            assert_int_equal(reserved[0], reserved[1]);
        }
}

static void check_gone(mla_context *context, const parts *p, mla_tensor *y) {
    assert_ptr_equal(mla_mul(p->tape, y, y), mla_inert(p->tape));
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "mul: input 0 was overwritten by lora");
    assert_ptr_equal(mla_lora(p->tape, y, p->x, p->a, p->b, scale), mla_inert(p->tape));
    check_error(context, mla_error_status(context), MLA_ERROR_ARGUMENT, "lora: input 0 was overwritten by lora");
}

/* Where nothing is recorded, an op that would keep its output keeps nothing. */
static void what_is_overwritten_is_refused(void **state) {
    for (int recorded = 0; recorded < 2; recorded++) {
        parts p = make_parts(*state, R);
        p.x->needs_grad = recorded;
        mla_tensor *y = mla_linear(p.tape, p.x, p.w, NULL),
                   *s = mla_sigmoid(p.tape, mla_linear(p.tape, p.x, p.w, NULL));
        mla_tensor *kept = mla_scale(p.tape, y, 1), *z = mla_lora(p.tape, y, p.x, p.a, p.b, scale);
        mla_tensor *of_s = mla_lora(p.tape, s, p.x, p.a, p.b, scale);
        check_gone(*state, &p, y);
        if (!recorded) check_gone(*state, &p, s);
        else assert_ptr_not_equal(mla_mul(p.tape, s, s), mla_inert(p.tape));
        mla_add(p.tape, mla_add(p.tape, z, of_s), kept);
        check_ok(*state, mla_error_status(*state));
        mla_tape_destroy(p.tape);
    }
}

/* ---- what is frozen costs nothing ---- */

typedef struct {
    int64_t rows, gradients; /* products with as many rows as x, and those that give a gradient of the weight */
} products;

static void count_product(void *user, const mla_gemm *gemm, const mla_gemm_shape *shape, int64_t runs) {
    products *p = user;
    (void)gemm;
    if (shape->m == OUT && shape->n == IN && shape->k == ROWS) p->gradients += runs;
    if (shape->m == ROWS) p->rows += runs;
}

static void a_frozen_weight_has_no_gradient(void **state) {
    (void)state;
    for (int frozen = 0; frozen < 2; frozen++) {
        mla_context *context; /* of its own: products are counted */
        assert_int_equal(mla_context_create(&context, NULL), MLA_OK);
        parts p = make_parts(context, HIGH);
        p.x->needs_grad = true;
        p.w->needs_grad = !frozen;
        p.a->needs_grad = p.b->needs_grad = true;
        mla_tensor *y = mla_lora(p.tape, mla_linear(p.tape, p.x, p.w, NULL), p.x, p.a, p.b, scale);
        check_ok(context, mla_backward(p.tape, mla_sum(p.tape, y)));
        assert_int_equal(p.w->has_grad, !frozen);
        assert_true(p.x->has_grad && p.a->has_grad && p.b->has_grad);
        products found = {0};
        mla_gemm_each(context, count_product, &found);
        assert_int_equal(found.gradients, !frozen);
        assert_int_equal(found.rows, 6); /* y, h, + B h; dx, dh, + dh A */
        mla_tape_destroy(p.tape);
        mla_context_destroy(context);
    }
}

static void refuses_what_does_not_fit(void **state) {
    parts p = make_parts(*state, R);
    mla_tensor *y = mla_linear(p.tape, p.x, p.w, NULL);
    mla_lora(p.tape, y, p.x, p.b, p.a, scale);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "lora: A and B must be (r,in) and (out,r)");
    mla_lora(p.tape, p.x, p.x, p.a, p.b, scale);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "B as high as y is wide");
    mla_lora_norm(p.tape, p.w, p.b, p.a, scale);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "lora_norm: weight, A and B must be");
    mla_dora(p.tape, p.x, p.m, p.m, NULL);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "dora: magnitude, norm and bias must be");
    p.m->needs_grad = true;
    mla_dora(p.tape, y, p.m, p.m, NULL);
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "the norm must need no gradient");
    mla_lora_weight(p.tape, p.w, p.w, p.a, p.b, p.m, NULL, &(mla_lora_weight_options){1, 1, MLA_F32});
    check_error(*state, mla_error_status(*state), MLA_ERROR_SHAPE, "lora_weight: magnitude and norm must be f32 (out)");
    mla_tape_destroy(p.tape);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lora_adds_to_the_projection),
        cmocka_unit_test(norms_are_those_of_rows_without_gradient),
        cmocka_unit_test(weights_hold_adapters),
        cmocka_unit_test(nothing_that_is_read_again_is_overwritten),
        cmocka_unit_test(memory_is_taken_where_nobody_reads_it),
        cmocka_unit_test(a_copy_is_predicted),
        cmocka_unit_test(what_is_overwritten_is_refused),
        cmocka_unit_test(a_frozen_weight_has_no_gradient),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
