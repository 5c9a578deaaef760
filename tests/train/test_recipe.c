/* Recipes: the shipped ones load, every way to be wrong is named, and what is saved is what was loaded. */
#include "layers/decoder.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "train/recipe/recipe.h"
#include "train/recipe/recipe_path.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/mla-recipe-XXXXXX";
static char path[64];

static void write_recipe(const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static mla_status load(mla_context *context, mla_recipe *recipe, const char *text) {
    write_recipe(text);
    return mla_recipe_load(context, recipe, path, NULL, 0);
}

#define DATA  "data:\n  source: a\n"
#define TRAIN "train:\n  steps: 10\n"

static void loads_values_and_keeps_defaults(void **state) {
    mla_context *context = *state;
    mla_recipe recipe;
    check_ok(context, load(context, &recipe,
                           "# comment\nmodel:\n  hidden_size: 128\n  rope_scaling:\n    type: yarn\n    factor: 4\n"
                           "data:\n  source: [a, 'b c']\n  tokenizer: \"bytes\"\noptim:\n" TRAIN
                           "  batch: 12\n  microbatch: 4\n"));
    assert_int_equal(recipe.model.hidden_size, 128);
    assert_int_equal(recipe.model.rope_scaling.type, MLA_ROPE_SCALING_YARN);
    check_close(recipe.model.rope_scaling.factor, 4, 0);
    assert_int_equal(recipe.data.source.count, 2);
    assert_string_equal(recipe.data.source.items[1], "b c");
    assert_string_equal(recipe.data.tokenizer, "bytes");
    assert_string_equal(recipe.data.field, "text");
    assert_null(recipe.data.tokens);
    check_close(recipe.optim.lr, 1e-3, 0);
    assert_int_equal(recipe.optim.schedule, MLA_SCHEDULE_COSINE);
    assert_int_equal(recipe.train.microbatch, 4);
    mla_recipe_free(&recipe);
}

static void takes_one_source_or_a_list(void **state) {
    mla_context *context = *state;
    mla_recipe recipe;
    check_ok(context, load(context, &recipe, DATA TRAIN));
    assert_int_equal(recipe.data.source.count, 1);
    assert_string_equal(recipe.data.source.items[0], "a");
    assert_int_equal(recipe.train.microbatch, recipe.train.batch);
    check_ok(context, mla_recipe_set(context, &recipe, "data.source=")); /* none: something else is to take its place */
    assert_int_equal(recipe.data.source.count, 0);
    mla_recipe_free(&recipe);
}

/* Patterns are cut at commas and spaces however they come, also from lists that were saved with commas in an item. */
static void takes_patterns_in_any_form(void **state) {
    mla_context *context = *state;
    static const char *const forms[] = {"q_proj,kv_b_proj:16", "q_proj kv_b_proj:16", "[q_proj, 'kv_b_proj:16']",
                                        "[\"q_proj,kv_b_proj:16\"]", "\n  - q_proj kv_b_proj:16"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        mla_recipe recipe;
        char text[256];
        snprintf(text, sizeof text, "lora:\n  targets: %s\n" DATA TRAIN, forms[i]);
        check_ok(context, load(context, &recipe, text));
        assert_int_equal(recipe.lora.targets.count, 2);
        assert_string_equal(recipe.lora.targets.items[0], "q_proj");
        assert_string_equal(recipe.lora.targets.items[1], "kv_b_proj:16");
        check_ok(context, mla_recipe_set(context, &recipe, "finetune.train=norm o_proj"));
        assert_int_equal(recipe.finetune.train.count, 2);
        mla_recipe_free(&recipe);
    }
}

static void names_what_is_wrong(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *text, *message;
        mla_status status;
    } cases[] = {
        {"optim:\n  warmup: 1\n", "line 2: unknown key \"optim.warmup\"; did you mean \"optim.warmup_steps\"?",
         MLA_ERROR_ARGUMENT},
        {"optim:\n  weigth_decay: 1\n", "did you mean \"optim.weight_decay\"?", MLA_ERROR_ARGUMENT},
        {"optim:\n  steps: 1\n", "did you mean \"train.steps\"?", MLA_ERROR_ARGUMENT},
        {"optimizer:\n  lr: 1\n", "line 1: unknown key \"optimizer\"; did you mean \"optim\"?", MLA_ERROR_ARGUMENT},
        {"model:\n  rope_scaling:\n    facto: 1\n", "did you mean \"model.rope_scaling.factor\"?", MLA_ERROR_ARGUMENT},
        {"train:\n  xyzzy: 1\n", "known here are: steps, epochs, tokens, batch", MLA_ERROR_ARGUMENT},
        {"optim:\n  lr: fast\n", "optim.lr: expected a number, got \"fast\"", MLA_ERROR_ARGUMENT},
        {"optim:\n  lr: nan\n", "optim.lr: nan is not a finite number", MLA_ERROR_ARGUMENT},
        {"optim:\n  lr: -1\n", "optim.lr: -1 is too small", MLA_ERROR_ARGUMENT},
        {"optim:\n  lr: ''\n", "optim.lr: expected a number, got \"\"", MLA_ERROR_ARGUMENT},
        {"optim:\n  lr: [1, 2]\n", "line 2: optim.lr: expected a number, got a list", MLA_ERROR_ARGUMENT},
        {"optim:\n  lr: {a: 1}\n", "optim.lr: expected a number, got a group of keys", MLA_ERROR_ARGUMENT},
        {"optim: 5\n", "optim: expected a group of keys, got a single value", MLA_ERROR_ARGUMENT},
        {"data:\n  source:\n    a: b\n", "data.source: expected text or a list, got a group", MLA_ERROR_ARGUMENT},
        {"data:\n  source: [[a]]\n", "data.source: expected text or a list, got a list", MLA_ERROR_ARGUMENT},
        {"data:\n  source: a\noptim:\n  lr: [1]\n", "optim.lr: expected a number, got a list", MLA_ERROR_ARGUMENT},
        {"optim:\n  lr: 1\n  lr: 2\n", "optim.lr is given twice", MLA_ERROR_ARGUMENT},
        {"model:\n  kv_lora_rank: 0\n", "model.kv_lora_rank: 0 is too small", MLA_ERROR_ARGUMENT},
        {"model:\n  kv_lora_rank: -1\n", "model.kv_lora_rank: -1 is too small", MLA_ERROR_ARGUMENT},
        {"model:\n  num_attention_heads: 3\n", "model.num_attention_heads: 3 heads do not divide", MLA_ERROR_ARGUMENT},
        {"- a\n", "a recipe is sections of", MLA_ERROR_ARGUMENT},
        {"just words\n", "a recipe is sections of", MLA_ERROR_ARGUMENT},
        {"optim:\n\tlr: 1\n", "not valid YAML", MLA_ERROR_FORMAT},
        {"optim:\n  lr: 1\n lr: 2\n", "not valid YAML", MLA_ERROR_FORMAT},
        {"optim:\n  lr: \xff\n", "not valid YAML", MLA_ERROR_FORMAT},
        {"optim: &a\n  lr: 1\ntrain: *a\n", "aliases", MLA_ERROR_FORMAT},
        {"", "give one of source (text), tokens", MLA_ERROR_ARGUMENT},
        {"data:\n  source: a\n  tokens: b\n" TRAIN, "give only one of source", MLA_ERROR_ARGUMENT},
        {"data:\n  source: []\n" TRAIN, "give one of source", MLA_ERROR_ARGUMENT},
        {DATA, "give one of steps, epochs and tokens", MLA_ERROR_ARGUMENT},
        {DATA TRAIN "  epochs: 2\n", "give only one of steps", MLA_ERROR_ARGUMENT},
        {DATA TRAIN "  microbatch: 3\n", "train.microbatch: 3 does not divide batch 8", MLA_ERROR_ARGUMENT},
        {DATA TRAIN "  sequence: 4096\n", "train.sequence: 4096 is longer than model.max_position", MLA_ERROR_ARGUMENT},
        {DATA TRAIN "optim:\n  warmup_steps: 11\n", "optim.warmup_steps: 11 is more than", MLA_ERROR_ARGUMENT},
        {DATA TRAIN "optim:\n  drop_at: 0.95\n", "optim.drop_at: 0.95 comes after", MLA_ERROR_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_recipe recipe;
        mla_status status = load(context, &recipe, cases[i].text);
        assert_int_equal(strncmp(mla_error(context), path, strlen(path)), 0); /* every message names the file */
        check_error(context, status, cases[i].status, cases[i].message);
    }
}

static void names_files_that_cannot_be_read(void **state) {
    mla_context *context = *state;
    mla_recipe recipe;
    check_error(context, mla_recipe_load(context, &recipe, "/nonexistent.yaml", NULL, 0), MLA_ERROR_IO,
                "/nonexistent.yaml");
    check_error(context, mla_recipe_load(context, &recipe, folder, NULL, 0), MLA_ERROR_FORMAT, folder);
    check_error(context, mla_recipe_load(context, &recipe, "/dev/zero", NULL, 0), MLA_ERROR_FORMAT, "/dev/zero");
}

static void sets_are_applied_and_checked(void **state) {
    mla_context *context = *state;
    mla_recipe recipe;
    write_recipe(DATA TRAIN);
    const char *sets[] = {"optim.lr=3e-4", "model.rope_scaling.type=yarn", "data.source=b=c", "train.steps=1",
                          "train.steps=20"};
    check_ok(context, mla_recipe_load(context, &recipe, path, sets, 5));
    check_close(recipe.optim.lr, 3e-4, 0);
    assert_int_equal(recipe.model.rope_scaling.type, MLA_ROPE_SCALING_YARN);
    assert_string_equal(recipe.data.source.items[0], "b=c");
    assert_int_equal(recipe.train.steps, 20);
    mla_recipe_free(&recipe);
    static const struct {
        const char *set, *message;
    } wrong[] = {{"optim.lr", "--set optim.lr: expected section.key=value"},
                 {"lr=1", "--set unknown key \"lr\"; did you mean \"optim.lr\"?"},
                 {"optim.lr=x", "--set optim.lr: expected a number, got \"x\""},
                 {"optim.lr=", "--set optim.lr: expected a number, got \"\""},
                 {"model.rope_scaling.factor=0", "--set model.rope_scaling.factor: 0 is too small"},
                 {"optim=1", "--set optim: expected a group of keys"},
                 {"=1", "--set unknown key \"\""},
                 {"train.microbatch=5", "train.microbatch: 5 does not divide"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_error(context, mla_recipe_load(context, &recipe, path, &wrong[i].set, 1), MLA_ERROR_ARGUMENT,
                    wrong[i].message);
}

static void assert_same_json(mla_context *context, const mla_recipe *a, const mla_recipe *b) {
    char *left = mla_recipe_json(context, a), *right = mla_recipe_json(context, b);
    assert_non_null(left);
    assert_string_equal(left, right);
    free(left);
    free(right);
}

static void saves_what_it_loaded(void **state) {
    mla_context *context = *state;
    mla_recipe recipe, again;
    check_ok(context, load(context, &recipe,
                           "data:\n  source: ['true', 'a: b', '#c', ' d', 'é\"\\']\n  held_out: 0.1\n"
                           "optim:\n  lr: 0.00030000000000000003\nmodel:\n  rope_scaling: {type: yarn}\n" TRAIN));
    char saved[80];
    snprintf(saved, sizeof saved, "%s/saved.yaml", folder);
    check_ok(context, mla_recipe_save(context, &recipe, saved));
    check_ok(context, mla_recipe_load(context, &again, saved, NULL, 0));
    assert_same_json(context, &recipe, &again);
    mla_recipe_free(&again);

    char *text = mla_recipe_json(context, &recipe);
    check_ok(context, mla_recipe_parse_json(context, "checkpoint: ", text, &again));
    assert_same_json(context, &recipe, &again);
    mla_recipe_free(&again);
    free(text);
    mla_recipe_free(&recipe);
    unlink(saved);
}

static void writes_nothing_where_it_may_not(void **state) {
    mla_context *context = *state;
    mla_recipe recipe;
    check_ok(context, load(context, &recipe, DATA TRAIN));
    check_error(context, mla_recipe_save(context, &recipe, "/nonexistent/r.yaml"), MLA_ERROR_IO, "/nonexistent/r.yaml");
    check_error(context, mla_recipe_save(context, &recipe, "/dev/full/r"), MLA_ERROR_IO, "/dev/full/r");
    mla_recipe_free(&recipe);
}

static void shipped_recipes_are_valid(void **state) {
    mla_context *context = *state;
    glob_t found;
    assert_int_equal(glob(MLA_SOURCE_DIR "/train/recipes/*.yaml", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 5);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        mla_recipe recipe;
        check_ok(context, mla_recipe_load(context, &recipe, found.gl_pathv[i], NULL, 0));
        mla_recipe_free(&recipe);
    }
    globfree(&found);
}

static int64_t parameters_of(mla_context *context, const char *name) {
    mla_recipe recipe;
    mla_decoder *model;
    int64_t count = 0;
    check_ok(context, mla_recipe_load(context, &recipe, name, NULL, 0));
    recipe.model.vocab_size = recipe.data.vocab_size;
    check_ok(context, mla_model_config_check(context, "", &recipe.model));
    check_ok(context, mla_decoder_create(context, &model, &recipe.model));
    for (int64_t i = 0; i < mla_params_count(model->params); i++) count += mla_params_at(model->params, i)->count;
    mla_decoder_destroy(model);
    mla_recipe_free(&recipe);
    return count;
}

static void the_pair_has_equal_parameters(void **state) {
    const int64_t latent = parameters_of(*state, MLA_SOURCE_DIR "/train/recipes/mla-small.yaml");
    const int64_t multi_head = parameters_of(*state, MLA_SOURCE_DIR "/train/recipes/mha-small.yaml");
    assert_true(latent > 10000000);
    assert_true(llabs(latent - multi_head) * 500 < multi_head); /* within 0.2 % */
}

static int setup(void **state) {
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/r.yaml", folder);
    return mla_context_create((mla_context **)state, NULL) != MLA_OK;
}

static int teardown(void **state) {
    mla_context_destroy(*state);
    unlink(path);
    return rmdir(folder); /* fails if a save left something behind */
}

/* Byte by byte, and all of them. */
static void built_in_recipes_are_the_files(void **state) {
    glob_t found;
    const char *text;
    size_t count = 0;
    assert_int_equal(glob(MLA_SOURCE_DIR "/train/recipes/*.yaml", 0, NULL, &found), 0);
    for (const mla_built_in_recipe *r = mla_built_in_recipes; r->name; r++, count++) {
        char file_name[512];
        int64_t length;
        snprintf(file_name, sizeof file_name, "%s/train/recipes/%s.yaml", MLA_SOURCE_DIR, r->name);
        char *file = file_read(file_name, &length);
        assert_string_equal(file, r->text);
        check_ok(*state, mla_recipe_find(*state, r->name, &text));
        assert_ptr_equal(text, r->text);
        free(file);
    }
    assert_int_equal(count, found.gl_pathc);
    globfree(&found);
    check_error(*state, mla_recipe_find(*state, "quickstrt", &text), MLA_ERROR_ARGUMENT,
                "no recipe that came with mla");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(loads_values_and_keeps_defaults),
                                       cmocka_unit_test(takes_one_source_or_a_list),
                                       cmocka_unit_test(takes_patterns_in_any_form),
                                       cmocka_unit_test(names_what_is_wrong),
                                       cmocka_unit_test(names_files_that_cannot_be_read),
                                       cmocka_unit_test(sets_are_applied_and_checked),
                                       cmocka_unit_test(saves_what_it_loaded),
                                       cmocka_unit_test(writes_nothing_where_it_may_not),
                                       cmocka_unit_test(shipped_recipes_are_valid),
                                       cmocka_unit_test(built_in_recipes_are_the_files),
                                       cmocka_unit_test(the_pair_has_equal_parameters)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
