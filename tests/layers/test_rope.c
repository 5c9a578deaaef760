/* Rotary tables against transformers 5.24 (LlamaRotaryEmbedding, head_dim 6, 9 positions, theta 50): which factors turn
 * a text follows from its length alone. */
#include "layers/parts/rope.h"
#include "tests/support/check.h"

#include <math.h>

enum { R = 6, POSITIONS = 9, ORIGINAL = 5 };

static const mla_rope_scaling longrope = {.type = MLA_ROPE_SCALING_LONGROPE,
                                          .factor = (double)POSITIONS / ORIGINAL,
                                          .original_max_position_embeddings = ORIGINAL,
                                          .short_factor = {3, {1, 1.25, 1.5}},
                                          .long_factor = {3, {1.5, 4, 7}}};

/* cos and sin of one position of a text, by what the op makes of rows that are 1 in one half and 0 in the other. */
static void turn(mla_context *context, const mla_rope_table *table, int64_t position, int64_t length, float cosine[3],
                 float sine[3]) {
    mla_tape *tape;
    float rows[POSITIONS * R];
    for (int64_t i = 0; i < length * R; i++) rows[i] = i % R < R / 2;
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_tensor *x = mla_input(tape, MLA_F32, 4, (int64_t[]){1, length, 1, R}, rows);
    const mla_tensor *y = mla_rope(tape, x, table, 0);
    check_ok(context, mla_error_status(context));
    for (int i = 0; i < 3; i++) {
        cosine[i] = ((const float *)y->data)[position * R + i];
        sine[i] = ((const float *)y->data)[position * R + R / 2 + i];
    }
    mla_tape_destroy(tape);
}

static void tables_are_those_of_transformers(void **state) {
    mla_rope_scaling given = longrope, factor = longrope;
    given.attention_factor = 0.75;
    factor.factor = 4;
    const mla_rope_scaling linear = {.type = MLA_ROPE_SCALING_LINEAR, .factor = 2.5};
    const struct {
        const mla_rope_scaling *scaling;
        int64_t position, length;
        double cosine[3], sine[3];
    } cases[] = {
        {&longrope, 4, 5, {-0.7637323, 0.7546676, 1.1459420}, {-0.8842655, 0.8920141, 0.2280995}},
        {&longrope, 4, 6, {-1.0391097, 1.1256417, 1.1673876}, {0.5342878, 0.3132784, 0.0491798}},
        {&longrope, 8, 9, {0.6797928, 1.0004302, 1.1642830}, {-0.9503127, 0.6036156, 0.0982725}},
        {&given, 3, 4, {-0.7424943, 0.5963994, 0.7418715}, {0.1058400, 0.4547611, 0.1101214}},
        {&factor, 3, 4, {-1.3506608, 1.0849017, 1.3495277}, {0.1925320, 0.8272494, 0.2003202}},
        {&linear, 7, 9, {-0.9422224, 0.7248106, 0.9787943}, {0.3349882, 0.6889482, 0.2048454}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_rope_table table;
        float cosine[3], sine[3];
        const mla_rope_options options = {
            .rotary = R, .positions = POSITIONS, .theta = 50, .scaling = *cases[i].scaling};
        check_ok(*state, mla_rope_create(*state, &table, &options));
        turn(*state, &table, cases[i].position, cases[i].length, cosine, sine);
        for (int k = 0; k < 3; k++) {
            check_close(cosine[k], cases[i].cosine[k], 1e-6);
            check_close(sine[k], cases[i].sine[k], 1e-6);
        }
        mla_rope_free(&table);
    }
}

/* Where no text can be longer than the original ones there is one table. */
static void one_table_where_none_is_longer(void **state) {
    mla_rope_table table;
    mla_rope_options options = {.rotary = R, .positions = ORIGINAL, .theta = 50, .scaling = longrope};
    check_ok(*state, mla_rope_create(*state, &table, &options));
    assert_int_equal(table.original, 0);
    assert_null(table.long_cosine);
    mla_rope_free(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_those_of_transformers),
        cmocka_unit_test(one_table_where_none_is_longer),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
