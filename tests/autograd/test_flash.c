/* Attention's kernels by themselves, in blocks that other processors take and on packed operands, against attention
 * written out in double precision. */
#include "autograd/base/bfloat16.h"
#include "autograd/kernels/flash_attention.h"
#include "tests/support/attention_reference.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The same numbers as f32 and, rounded, as what the kernel is given. */
static void *given(mla_dtype type, int64_t count, float *x) {
    if (type == MLA_F32) return x;
    mla_bf16 *rounded = malloc((size_t)count * sizeof *rounded);
    for (int64_t i = 0; i < count; i++) {
        rounded[i] = mla_bf16_from_float(x[i]);
        x[i] = mla_bf16_to_float(rounded[i]);
    }
    return rounded;
}

static double error_of_type(mla_dtype type, int64_t count, const void *x, const double *expected) {
    if (type == MLA_F32) return error_of(count, x, expected);
    float *wide = malloc((size_t)count * sizeof *wide);
    for (int64_t i = 0; i < count; i++) wide[i] = mla_bf16_to_float(((const mla_bf16 *)x)[i]);
    const double error = error_of(count, wide, expected);
    free(wide);
    return error;
}

static mla_heads heads_at(void *data, int64_t heads, int64_t width) { return (mla_heads){data, heads * width, width}; }

/* q, k, v and dout, and what comes of them: dq, dk, dv and the output. */
typedef struct {
    int64_t count[4];
    float *in[4];
    void *x[4], *out[4];
    float *lse;
} flash_case;

static flash_case flash_case_of(const attention_sizes *z, mla_dtype type) {
    const char *names[] = {"q", "k", "v", "dout"};
    flash_case c = {
        {z->b * z->t * z->h * z->k, z->b * z->s * z->g * z->k, z->b * z->s * z->g * z->v, z->b * z->t * z->h * z->v},
        .lse = malloc((size_t)(z->b * z->h * z->t) * sizeof(float))};
    for (int i = 0; i < 4; i++) {
        c.in[i] = random_floats(names[i], c.count[i]);
        c.x[i] = given(type, c.count[i], c.in[i]);
        c.out[i] = malloc((size_t)c.count[i] * sizeof(float));
    }
    return c;
}

static void free_flash_case(flash_case *c) {
    for (int i = 0; i < 4; i++) {
        if (c->x[i] != c->in[i]) free(c->x[i]);
        free(c->in[i]), free(c->out[i]);
    }
    free(c->lse);
}

/* Both passes; what they find in scratch is NaN. */
static void run_flash(mla_context *context, const mla_flash *a, const attention_sizes *z, const flash_case *c) {
    const int64_t forward = mla_flash_forward_scratch(context, a), backward = mla_flash_backward_scratch(context, a);
    const int64_t floats = (forward > backward ? forward : backward) + 15;
    float *scratch = aligned_alloc(64, (size_t)floats / 16 * 64);
    const mla_flash_operands x = {heads_at(c->x[0], z->h, z->k), heads_at(c->x[1], z->g, z->k),
                                  heads_at(c->x[2], z->g, z->v), heads_at(c->out[3], z->h, z->v), c->lse};
    const mla_flash_gradients d = {.dout = heads_at(c->x[3], z->h, z->v),
                                   .q = heads_at(c->out[0], z->h, z->k),
                                   .k = heads_at(c->out[1], z->g, z->k),
                                   .v = heads_at(c->out[2], z->g, z->v)};
    memset(scratch, 0xff, (size_t)forward * sizeof *scratch);
    mla_flash_forward(context, a, &x, scratch);
    memset(scratch, 0xff, (size_t)backward * sizeof *scratch);
    mla_flash_backward(context, a, &x, &d, scratch);
    free(scratch);
    check_ok(context, mla_error_status(context));
}

static void compare_blocks(mla_context *context, const attention_sizes *z, mla_flash_blocks block) {
    const mla_dtype type = block.packed ? MLA_BF16 : MLA_F32;
    const double bound = block.packed ? 0.008 : 5e-6; /* bf16 has 8 bits */
    const mla_flash a = {.batch = z->b,
                         .heads = z->h,
                         .key_heads = z->g,
                         .queries = z->t,
                         .keys = z->s,
                         .key_width = z->k,
                         .value_width = z->v,
                         .mask = {z->causal, z->starts},
                         .scale = (float)(1 / sqrt((double)z->k)),
                         .type = type,
                         .block = block};
    flash_case c = flash_case_of(z, type);
    attention_reference r = attention_reference_of(z, c.in[0], c.in[1], c.in[2], c.in[3]);
    const double *expected[] = {r.dq, r.dk, r.dv, r.o};
    run_flash(context, &a, z, &c);
    for (int i = 0; i < 4; i++) {
        const double error = error_of_type(type, c.count[i], c.out[i], expected[i]);
        if (!(error < bound))
            fail_msg("blocks of %d by %d, %d positions, result %d: error %g", (int)block.queries, (int)block.keys,
                     (int)z->t, i, error);
    }
    attention_reference_free(&r);
    free_flash_case(&c);
}

static void compare_lengths(mla_context *context, mla_flash_blocks block, const int64_t *lengths, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const int64_t t = lengths[i];
        int32_t *starts = attention_starts(2, t, 33);
        compare_blocks(context, &(attention_sizes){1, 2, 1, t, t, 8, 6, true, NULL}, block);
        compare_blocks(context, &(attention_sizes){2, 2, 2, t, t, 40, 4, true, starts}, block);
        compare_blocks(context, &(attention_sizes){1, 2, 1, t, t + 45, 8, 36, false, NULL}, block);
        free(starts);
    }
}

/* Sequences that end within, at and after a block of either kind, within the first half of one and the second. */
static void attention_is_the_same_in_all_blocks(void **state) {
    const mla_flash_blocks blocks[] = {{256, 512, false}, {32, 128, false}, {16, 32, false}};
    const int64_t lengths[] = {1, 15, 100, 140, 256, 300};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        compare_lengths(*state, blocks[i], lengths, sizeof lengths / sizeof *lengths);
    compare_blocks(*state, &(attention_sizes){1, 2, 1, 1100, 1100, 8, 6, true, NULL}, blocks[0]);
}

/* As with AMX, whose products are made in plain C elsewhere. */
static void attention_is_the_same_on_packed_operands(void **state) {
    const mla_flash_blocks blocks[] = {{32, 64, true}, {64, 64, true}, {64, 256, true}};
    const int64_t lengths[] = {1, 33, 64, 130};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        compare_lengths(*state, blocks[i], lengths, sizeof lengths / sizeof *lengths);
    compare_blocks(*state, &(attention_sizes){1, 1, 1, 300, 300, 8, 6, true, NULL}, blocks[2]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(attention_is_the_same_in_all_blocks),
                                       cmocka_unit_test(attention_is_the_same_on_packed_operands)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
