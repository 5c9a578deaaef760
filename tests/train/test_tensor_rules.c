/* The rules between a family's tensors and a model's parameters, in both directions: what is imported is exported bit
 * by bit, or to rounding where a constant was folded in, and lies where the rule says. */
#include "layers/attention/multi_head_attention.h"
#include "tests/support/check.h"
#include "train/hugging_face/families/tensor_rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 24, HEAD = 6, KEYS = 2 * HEAD, VOCAB = 20, FIRST = 8 };

static int64_t rows_of_halves(const mla_model_config *c, int part) { return part ? c->vocab_size - FIRST : FIRST; }
static int64_t too_few_rows(const mla_model_config *c, int part) { return c->vocab_size / 2 - part; }
static float root_of_width(const mla_model_config *c) { return sqrtf((float)c->hidden_size); }

#define LAYER "model.layers.*."
static const mla_tensor_rule rules[] = {
    {.theirs = {"h.*.attn.qkv"},
     .ours = {LAYER "self_attn.q_proj.weight", LAYER "self_attn.k_proj.weight", LAYER "self_attn.v_proj.weight"}},
    {.theirs = {"h.*.ln"}, .ours = {LAYER "input_layernorm.weight"}, .shift = 1},
    {.theirs = {"embed"}, .ours = {"model.embed_tokens.weight"}, .scale = root_of_width},
    {.theirs = {"head.a", "head.b"}, .ours = {"lm_head.weight"}, .rows = rows_of_halves},
    {.theirs = {"ln_f"}, .ours = {"model.norm.weight"}},
    {.theirs = {NULL}},
};

static mla_decoder *create_model(mla_context *context, bool interleave) {
    mla_model_config c;
    mla_decoder *model;
    mla_model_config_default(context, &c);
    c.vocab_size = VOCAB;
    c.hidden_size = HIDDEN;
    c.intermediate_size = 40;
    c.num_hidden_layers = 11; /* numbers of one digit and of two */
    c.num_attention_heads = 4;
    c.num_key_value_heads = 2;
    c.attention = &mla_multi_head_kind;
    c.rope_interleave = interleave;
    check_ok(context, mla_decoder_create(context, &model, &c));
    check_ok(context, mla_params_allocate(model->params, false));
    return model;
}

/* Different for each element of each tensor. */
static float value_of(int64_t tensor, int64_t i) { return sinf((float)(tensor * 7919 + i)); }

static float *filled(const mla_mapped_tensor *t, int64_t tensor) {
    float *values = malloc((size_t)mla_count(&t->shape) * sizeof *values);
    for (int64_t i = 0; i < mla_count(&t->shape); i++) values[i] = value_of(tensor, i);
    return values;
}

static void import_all(mla_context *context, const mla_tensor_map *map) {
    for (int64_t i = 0; i < map->count; i++) {
        float *values = filled(&map->tensors[i], i);
        check_ok(context, mla_tensor_import(map, &map->tensors[i], values));
        free(values);
    }
}

static void check_exported(mla_context *context, const mla_tensor_map *map, int64_t i) {
    const mla_mapped_tensor *t = &map->tensors[i];
    const bool folded = !strncmp(t->name, "embed", 5) || strstr(t->name, ".ln");
    const int64_t count = mla_count(&t->shape);
    float *expected = filled(t, i), *values = malloc((size_t)count * sizeof *values);
    check_ok(context, mla_tensor_export(map, t, values));
    if (folded)
        for (int64_t k = 0; k < count; k++) check_close(values[k], expected[k], 1e-6);
    else assert_memory_equal(values, expected, (size_t)count * sizeof *values);
    free(expected);
    free(values);
}

static void what_is_imported_is_exported(void **state) {
    mla_context *context = *state;
    for (int interleave = 0; interleave < 2; interleave++) {
        mla_decoder *model = create_model(context, interleave);
        mla_tensor_map map;
        check_ok(context, mla_tensor_map_create(&map, model, rules));
        import_all(context, &map);
        for (int64_t i = 0; i < map.count; i++) check_exported(context, &map, i);
        mla_tensor_map_destroy(&map);
        mla_decoder_destroy(model);
    }
}

/* ---- names and shapes ---- */

static void check_tensor(const mla_tensor_map *map, const char *name, int64_t rows, int64_t columns) {
    const mla_mapped_tensor *t = mla_tensor_map_find(map, name);
    assert_non_null(t);
    assert_int_equal(t->shape.ndim, columns ? 2 : 1);
    assert_int_equal(t->shape.shape[0], rows);
    if (columns) assert_int_equal(t->shape.shape[1], columns);
}

static void tensors_have_their_names_and_shapes(void **state) {
    mla_context *context = *state;
    mla_decoder *model = create_model(context, false);
    mla_tensor_map map;
    check_ok(context, mla_tensor_map_create(&map, model, rules));
    check_tensor(&map, "h.0.attn.qkv", HIDDEN + 2 * KEYS, HIDDEN);
    check_tensor(&map, "h.10.attn.qkv", HIDDEN + 2 * KEYS, HIDDEN);
    check_tensor(&map, "h.10.ln", HIDDEN, 0);
    check_tensor(&map, "head.a", FIRST, HIDDEN);
    check_tensor(&map, "head.b", VOCAB - FIRST, HIDDEN);
    check_tensor(&map, "ln_f", HIDDEN, 0);
    check_tensor(&map, "model.layers.3.mlp.up_proj.weight", 40, HIDDEN);
    assert_int_equal(map.count, mla_params_count(model->params) - 2 * 11 + 1);
    assert_null(mla_tensor_map_find(&map, "h.11.attn.qkv"));
    assert_null(mla_tensor_map_find(&map, "model.layers.0.self_attn.q_proj.weight"));
    assert_null(mla_tensor_map_find(&map, "model.norm.weight"));
    assert_string_equal(mla_tensor_map_of(&map, "model.layers.10.self_attn.v_proj.weight")->name, "h.10.attn.qkv");
    assert_null(mla_tensor_map_of(&map, "h.0.ln"));
    mla_tensor_map_destroy(&map);
    mla_decoder_destroy(model);
}

/* ---- places ---- */

static float at(const mla_decoder *model, const char *name, int64_t i) {
    return ((const float *)mla_params_find(model->params, name)->tensor.data)[i];
}

static int64_t index_of(const mla_tensor_map *map, const char *name) {
    return mla_tensor_map_find(map, name) - map->tensors;
}

static void numbers_lie_where_the_rules_say(void **state) {
    mla_context *context = *state;
    mla_decoder *model = create_model(context, true);
    mla_tensor_map map;
    check_ok(context, mla_tensor_map_create(&map, model, rules));
    import_all(context, &map);
    const int64_t qkv = index_of(&map, "h.10.attn.qkv"), norm = index_of(&map, "h.2.ln"), b = index_of(&map, "head.b"),
                  embed = index_of(&map, "embed"), last = index_of(&map, "ln_f");

    /* rows 1 and 2 of neighbours, of pairs 0 and 1, are rows 3 and 1 of halves; values are not rotated */
    const char *k = "model.layers.10.self_attn.k_proj.weight", *v = "model.layers.10.self_attn.v_proj.weight";
    check_close(at(model, k, (HEAD + 1) * HIDDEN + 3), value_of(qkv, (HIDDEN + HEAD + 3) * HIDDEN + 3), 0);
    check_close(at(model, k, (HEAD + 2) * HIDDEN + 3), value_of(qkv, (HIDDEN + HEAD + 1) * HIDDEN + 3), 0);
    check_close(at(model, v, 1 * HIDDEN + 3), value_of(qkv, (HIDDEN + KEYS + 1) * HIDDEN + 3), 0);
    check_close(at(model, "lm_head.weight", FIRST * HIDDEN + 5), value_of(b, 5), 0);
    check_close(at(model, "model.norm.weight", 5), value_of(last, 5), 0);
    check_close(at(model, "model.layers.2.input_layernorm.weight", 5), 1 + value_of(norm, 5), 1e-6);
    check_close(at(model, "model.embed_tokens.weight", 5), sqrtf(HIDDEN) * value_of(embed, 5), 1e-6);
    mla_tensor_map_destroy(&map);
    mla_decoder_destroy(model);
}

/* A tensor that is a parameter as it is needs no copy; any other does. */
static void only_what_differs_is_made(void **state) {
    mla_context *context = *state;
    static const char *const made[] = {"h.0.attn.qkv", "h.0.ln", "embed", "head.a", "head.b"};
    mla_decoder *model = create_model(context, true);
    mla_tensor_map map;
    check_ok(context, mla_tensor_map_create(&map, model, rules));
    for (int i = 0; i < 5; i++) assert_null(mla_mapped_values(&map, mla_tensor_map_find(&map, made[i])));
    assert_ptr_equal(mla_mapped_values(&map, mla_tensor_map_find(&map, "ln_f")),
                     mla_params_find(model->params, "model.norm.weight")->tensor.data);
    mla_tensor_map_destroy(&map);

    check_ok(context, mla_tensor_map_create(&map, model, NULL)); /* neighbours alone make a difference */
    assert_null(mla_mapped_values(&map, mla_tensor_map_find(&map, "model.layers.0.self_attn.q_proj.weight")));
    assert_non_null(mla_mapped_values(&map, mla_tensor_map_find(&map, "model.layers.0.self_attn.v_proj.weight")));
    mla_tensor_map_destroy(&map);
    mla_decoder_destroy(model);
}

static void rules_that_do_not_fit_are_named(void **state) {
    mla_context *context = *state;
    static const struct {
        mla_tensor_rule rule;
        const char *words;
    } cases[] = {
        {{.theirs = {"x"}, .ours = {"lm_head.weight", "model.norm.weight"}},
         "parameter model.norm.weight joins it to one of another width"},
        {{.theirs = {"h.*.x"}, .ours = {LAYER "self_attn.q_norm.weight", LAYER "mlp.up_proj.weight"}},
         "parameter model.layers.0.self_attn.q_norm.weight is for a model that has it"},
        {{.theirs = {"a", "b"}, .ours = {"lm_head.weight"}, .rows = too_few_rows},
         "parameter lm_head.weight does not have its number of rows"},
    };
    mla_decoder *model = create_model(context, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_tensor_rule list[] = {cases[i].rule, {.theirs = {NULL}}};
        mla_tensor_map map;
        check_error(context, mla_tensor_map_create(&map, model, list), MLA_ERROR_ARGUMENT, cases[i].words);
        mla_tensor_map_destroy(&map);
    }
    mla_decoder_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_imported_is_exported), cmocka_unit_test(tensors_have_their_names_and_shapes),
        cmocka_unit_test(numbers_lie_where_the_rules_say), cmocka_unit_test(only_what_differs_is_made),
        cmocka_unit_test(rules_that_do_not_fit_are_named)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
