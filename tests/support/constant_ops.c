#include "tests/support/constant_ops.h"
#include "tests/support/gradcheck.h"

#include <string.h>

enum { IN = 7, OUT = 9, R = 3 };

static const float *some_numbers(void) {
    static float numbers[OUT * IN];
    for (int i = 0; i < OUT * IN; i++) numbers[i] = 0.5f + 1.5f * (float)(i * 37 % 41) / 41;
    return numbers;
}

static mla_tensor *build_lora_norm(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_lora_norm(tape, in[0], in[1], in[2], 0.7f);
}

static mla_tensor *build_cached_attention(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_cached_attention(tape, in[0], &(mla_cache_view){some_numbers(), some_numbers(), 4, 4, 2, 1, 4, MLA_F32},
                                1);
}

static mla_tensor *build_cached_attention_each(mla_tape *tape, mla_tensor *const *in, const void *user) {
    const mla_cache_view view = {some_numbers(), some_numbers(), 4, 4, 2, 1, 4, MLA_F32};
    (void)user;
    return mla_cached_attention_each(tape, in[0], (mla_cache_view[]){view, view}, 1);
}

static mla_tensor *build_rope_each(mla_tape *tape, mla_tensor *const *in, const void *user) {
    const mla_rope_table table = {.cosine = some_numbers(), .sine = some_numbers(), .positions = 3, .rotary = 2};
    (void)user;
    return mla_rope_each(tape, in[0], &table, (int64_t[]){2, 0});
}

static mla_tensor *build_convert(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_convert(tape, in[0], MLA_BF16);
}

static mla_tensor *build_logits(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_logits(tape, in[0], in[1]);
}

static mla_tensor *build_absorb_query(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_absorb_query(tape, in[0], in[1], 1);
}

static mla_tensor *build_expand_values(mla_tape *tape, mla_tensor *const *in, const void *user) {
    (void)user;
    return mla_expand_values(tape, in[0], in[1], 2, 3);
}

/* Ops that give no gradient: inputs that want one get a constant or are refused. */
static const struct {
    const char *op;
    gradcheck_build build;
    gradcheck_input in[3];
} constants[] = {{"lora_norm", build_lora_norm, {{2, {OUT, IN}}, {2, {R, IN}}, {2, {OUT, R}}}},
                 {"cached_attention", build_cached_attention, {{4, {1, 1, 2, 4}}}},
                 {"cached_attention_each", build_cached_attention_each, {{4, {2, 1, 2, 4}}}},
                 {"rope_each", build_rope_each, {{4, {2, 1, 2, 4}}}},
                 {"convert", build_convert, {{2, {IN, R}}}},
                 {"logits", build_logits, {{2, {R, IN}}, {2, {OUT, IN}}}},
                 {"absorb_query", build_absorb_query, {{4, {1, 1, 2, 4}}, {2, {10, 3}}}},
                 {"expand_values", build_expand_values, {{3, {1, 1, 6}}, {2, {10, 3}}}}};

bool gives_no_gradient(mla_context *context, const char *op) {
    size_t k = 0;
    while (k < sizeof constants / sizeof *constants && strcmp(constants[k].op, op)) k++;
    if (k == sizeof constants / sizeof *constants) return false;
    mla_tape *tape;
    mla_tensor *in[3] = {0};
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){0});
    for (int i = 0; i < 3 && constants[k].in[i].ndim; i++)
        in[i] = mla_input_with_gradient(tape, constants[k].in[i].ndim, constants[k].in[i].shape, some_numbers());
    const mla_tensor *y = constants[k].build(tape, in, NULL);
    const bool none = y == mla_inert(tape) ? strstr(mla_error(context), "no gradient flows") != NULL : !y->needs_grad;
    mla_clear_error(context);
    mla_tape_destroy(tape);
    return none;
}
