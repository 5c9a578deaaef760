/* The arms of a comparison: their shapes, what is matched between them, and what cannot be; t intervals as scipy's. */
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "tests/support/check.h"
#include "train/compare/match.h"
#include "train/compare/student.h"
#include "train/run/mix.h"

#include <math.h>
#include <string.h>

enum { VOCABULARY = 500, LAYERS = 2, WIDTH = 64, HEADS = 4 };

static mla_recipe recipe_of(mla_context *context, const char *more) {
    mla_recipe recipe;
    const char *const sets[] = {"model.hidden_size=64",
                                "model.num_hidden_layers=2",
                                "model.num_attention_heads=4",
                                "model.intermediate_size=192",
                                "model.tie_word_embeddings=true",
                                "data.synthetic.tokens=1000",
                                "train.steps=2",
                                "train.sequence=32",
                                "train.batch=2",
                                more};
    check_ok(context, mla_recipe_load(context, &recipe, NULL, sets, more ? 10 : 9));
    return recipe;
}

static mla_list list_of(mla_context *context, const char *const *items) {
    mla_list list = {0};
    for (; *items; items++) check_ok(context, mla_list_append(context, &list, *items));
    return list;
}

typedef struct {
    const char *names[8], *own[8], *more;
    mla_match match;
} request;

static mla_status make(mla_context *context, mla_arms *arms, const request *r) {
    mla_recipe base = recipe_of(context, r->more);
    mla_list names = list_of(context, r->names), own = list_of(context, r->own);
    mla_status status = mla_arms_create(context, arms, &base, &names, &own);
    if (!status) status = mla_arms_match(context, arms, r->match, VOCABULARY);
    mla_list_free(&names);
    mla_list_free(&own);
    mla_recipe_free(&base);
    return status;
}

/* All but the attention and the feed-forward: embedding, two norms a block, the last one. */
static int64_t around(int64_t width) { return VOCABULARY * WIDTH + LAYERS * (2 * WIDTH + 3 * WIDTH * width) + WIDTH; }

static void arms_have_their_parameters(void **state) {
    const request r = {
        .names = {"mha", "gqa", "mqa", "mla"}, .more = "model.attention=multi_head", .match = MLA_MATCH_NONE};
    enum { D = WIDTH / HEADS, G = 2, N = 16, R = 8, C = 24 };
    mla_arms arms;
    check_ok(*state, make(*state, &arms, &r));
    assert_int_equal(arms.count, 4);
    assert_int_equal(arms.of[0].parameters, around(192) + LAYERS * 4 * WIDTH * WIDTH);
    assert_int_equal(arms.of[1].parameters, around(192) + LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * G * D));
    assert_int_equal(arms.of[2].parameters, around(192) + LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * D));
    assert_int_equal(arms.of[3].parameters, around(192) + LAYERS * (WIDTH * HEADS * (N + R) + WIDTH * (C + R) +
                                                                    C * HEADS * (N + N) + HEADS * N * WIDTH + C));
    const int64_t bytes[] = {2 * HEADS * D, 2 * G * D, 2 * D, C + R};
    for (int i = 0; i < 4; i++) assert_int_equal(arms.of[i].cache_bytes, 4 * LAYERS * bytes[i]);
    mla_arms_free(&arms);
}

static void a_latent_base_makes_multi_head_arms(void **state) {
    const request r = {.names = {"mla", "mha", "gqa-nope", "mla-nope", "base"}, .match = MLA_MATCH_NONE};
    mla_arms arms;
    check_ok(*state, make(*state, &arms, &r));
    const mla_model_config *mla = &arms.of[0].recipe.model, *mha = &arms.of[1].recipe.model,
                           *gqa = &arms.of[2].recipe.model, *nope = &arms.of[3].recipe.model;
    assert_ptr_equal(mla->attention, &mla_latent_kind);
    assert_int_equal(mla->kv_lora_rank, 64);
    assert_int_equal(mla->qk_rope_head_dim, 32);
    assert_ptr_equal(mha->attention, &mla_multi_head_kind);
    assert_int_equal(mha->head_dim, 16);
    assert_int_equal(mha->num_key_value_heads, 4);
    assert_int_equal(gqa->num_key_value_heads, 2);
    assert_int_equal(gqa->position, MLA_POSITION_NONE);
    assert_int_equal(nope->qk_rope_head_dim, 0);
    assert_int_equal(nope->kv_lora_rank, 64);
    assert_int_equal(arms.of[4].parameters, arms.of[0].parameters);
    mla_arms_free(&arms);
}

static double apart(double a, double b) { return fabs(a / b - 1); }

static void parameters_are_matched(void **state) {
    const request r = {.names = {"mha", "gqa", "mqa", "mla", "mla-nope"}, .more = "model.attention=multi_head"};
    mla_arms arms;
    check_ok(*state, make(*state, &arms, &r));
    assert_int_equal(arms.of[0].recipe.model.intermediate_size, 192);
    for (int i = 1; i < 5; i++) {
        assert_true(apart((double)arms.of[i].parameters, (double)arms.of[0].parameters) <= 0.005);
        assert_int_equal(arms.of[i].recipe.model.num_attention_heads, 4);
    }
    mla_arms_free(&arms);
}

static void flops_are_matched(void **state) {
    const request r = {.names = {"mha", "mqa", "mla"}, .more = "model.attention=multi_head", .match = MLA_MATCH_FLOPS};
    mla_arms arms;
    check_ok(*state, make(*state, &arms, &r));
    for (int i = 1; i < 3; i++) assert_true(apart(arms.of[i].flops, arms.of[0].flops) <= 0.005);
    mla_arms_free(&arms);
}

static void caches_are_matched_by_the_latent_rank(void **state) {
    const request r = {.names = {"gqa", "mla"}, .more = "model.attention=multi_head", .match = MLA_MATCH_CACHE};
    mla_arms arms;
    check_ok(*state, make(*state, &arms, &r));
    assert_int_equal(arms.of[1].cache_bytes, arms.of[0].cache_bytes);
    assert_int_equal(arms.of[1].recipe.model.kv_lora_rank, 2 * 2 * 16 - 8);
    assert_true(apart((double)arms.of[1].parameters, (double)arms.of[0].parameters) <= 0.005);
    mla_arms_free(&arms);
}

static void own_arms_change_keys_of_theirs(void **state) {
    const request r = {.names = {"mla"},
                       .own = {"narrow=mla model.kv_lora_rank=16  optim.weight_decay=0"},
                       .match = MLA_MATCH_PARAMETERS};
    mla_arms arms;
    check_ok(*state, make(*state, &arms, &r));
    assert_string_equal(arms.of[1].name, "narrow");
    assert_int_equal(arms.of[1].recipe.model.kv_lora_rank, 16);
    assert_int_equal(arms.of[0].recipe.model.kv_lora_rank, 64);
    check_close(arms.of[1].recipe.optim.weight_decay, 0, 0);
    mla_arms_free(&arms);
}

static void what_cannot_be_is_named(void **state) {
    static const struct {
        request r;
        const char *words;
    } wrong[] = {
        {{.names = {"mha", "mra"}}, "there is no arm mra"},
        {{.names = {"gqa-rope"}}, "there is no arm gqa-rope"},
        {{.names = {"mha", "mha"}}, "the arm mha is there twice"},
        {{.names = {NULL}}, "there is no arm to compare"},
        {{.names = {"gqa"}, .more = "model.num_attention_heads=2"}, "leave gqa out of --arms"},
        {{.names = {"mha", "mqa"}, .match = MLA_MATCH_CACHE}, "mqa cannot be matched to mha: it caches 256 bytes"},
        {{.names = {"mqa", "mla"}, .more = "model.qk_rope_head_dim=64", .match = MLA_MATCH_CACHE},
         "however small its latent"},
        {{.names = {"mqa", "mla"}, .more = "model.intermediate_size=2"}, "even with a feed-forward of width 1"},
        {{.names = {"mla"}, .own = {"mha"}}, "expected NAME=ARM"},
        {{.names = {"mla"}, .own = {"a/b=mha"}}, "takes letters, digits"},
        {{.names = {"mla"}, .own = {"x=mla train.steps=9"}}, "the arm x sets train.steps=9"},
        {{.names = {"mla"}, .own = {"x=mla optim.lr=9"}}, "swept for each arm"},
        {{.names = {"mla"}, .own = {"x=mla model.kv_lora_rnk=9"}}, "kv_lora_rank"},
        {{.names = {"mla"}, .own = {"x=mha model.head_dim=15"}}, "the arm x: model.head_dim"},
        {{.names = {"mla"}, .own = {"x=mla model.intermediate_size=9"}}, "which is what is adjusted"},
        {{.names = {"mla"}, .more = "model.causal=false"}, "compare is for language models"},
        {{.names = {"mla"}, .more = "lora.targets=q_proj"}, "compare trains each arm from its beginning"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mla_arms arms;
        check_error(*state, make(*state, &arms, &wrong[i].r), MLA_ERROR_ARGUMENT, wrong[i].words);
        mla_arms_free(&arms);
    }
}

/* scipy 1.17: scipy.stats.t.ppf, .cdf and .interval */
static void quantiles_are_those_of_scipy(void **state) {
    static const struct {
        int64_t degrees;
        double at[3], below;
    } t[] = {{1, {0.32491969623290634, 12.706204736174694, 63.656741162871526}, 0.1692530273303327},
             {2, {0.2886751345948128, 4.302652729749462, 9.924843200918287}, 0.11561671310078561},
             {3, {0.2766706623326898, 3.1824463052837078, 5.840909309733355}, 0.09384532077670502},
             {4, {0.2707222947075976, 2.7764451051977934, 4.604094871349992}, 0.082177470635025},
             {9, {0.260955336473911, 2.262157162798205, 3.249835541592126}, 0.061673831071911926},
             {10, {0.2601848294920803, 2.228138851986274, 3.16927267261695}, 0.059984672954510175},
             {30, {0.2556053649519128, 2.0422724563012378, 2.7499956535672254}, 0.04973893779425843},
             {99, {0.25402901215180673, 1.9842169515864174, 2.626405457280827}, 0.04613535487324444}};
    static const double p[] = {0.6, 0.975, 0.995};
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        for (int k = 0; k < 3; k++) {
            check_close(mla_student_quantile(p[k], t[i].degrees), t[i].at[k], 1e-12);
            check_close(mla_student_quantile(1 - p[k], t[i].degrees), -t[i].at[k], 1e-12);
        }
        check_close(mla_student_cdf(-1.7, t[i].degrees), t[i].below, 1e-12);
    }
    const double differences[] = {0.011, -0.004, 0.017, 0.009, 0.002};
    const mla_interval interval = mla_interval_of(differences, 5);
    check_close(interval.mean, 0.007, 1e-15);
    check_close(interval.deviation, 0.008154753215150046, 1e-15);
    check_close(interval.half_width, 0.010125463481488206, 1e-14);
    assert_true(isnan(mla_interval_of(differences, 1).half_width));
}

static void read_sequence(mla_context *context, const char *seed, const char *data_seed, int32_t *ids) {
    mla_recipe recipe = recipe_of(context, seed);
    mla_mix mix;
    int32_t targets[32], starts[32];
    check_ok(context, mla_recipe_set(context, &recipe, data_seed));
    check_ok(context, mla_mix_open(context, &mix, &recipe, ".", MLA_TEXT_PREPARED));
    check_ok(context, mla_mix_begin(context, &mix, &recipe));
    mla_mix_get(&mix, 5, ids, targets, starts);
    mla_mix_close(&mix);
    mla_recipe_free(&recipe);
}

static void data_have_a_seed_of_their_own(void **state) {
    int32_t one[32], two[32], three[32], four[32];
    read_sequence(*state, "train.seed=1", "data.seed=7", one);
    read_sequence(*state, "train.seed=2", "data.seed=7", two);
    read_sequence(*state, "train.seed=2", "data.seed=0", three);
    read_sequence(*state, "train.seed=7", "data.seed=0", four);
    assert_memory_equal(one, two, sizeof one);
    assert_memory_equal(one, four, sizeof one);
    assert_memory_not_equal(two, three, sizeof one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arms_have_their_parameters),     cmocka_unit_test(a_latent_base_makes_multi_head_arms),
        cmocka_unit_test(parameters_are_matched),         cmocka_unit_test(flops_are_matched),
        cmocka_unit_test(own_arms_change_keys_of_theirs), cmocka_unit_test(caches_are_matched_by_the_latent_rank),
        cmocka_unit_test(what_cannot_be_is_named),        cmocka_unit_test(quantiles_are_those_of_scipy),
        cmocka_unit_test(data_have_a_seed_of_their_own),
    };
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
