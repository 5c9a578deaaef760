/* Fine-tuning of named parameters alone: the others keep every bit, have no gradients and no moments, and a run that
 * is resumed is one that never stopped. */
#include "layers/adapt/names.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/small_model.h"
#include "tests/support/tiny_run.h"
#include "train/checkpoint/checkpoint.h"
#include "train/run/finetune.h"
#include "train/run/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *folder;

static void run(mla_context *context, const char *name, bool resume, const char *const *sets,
                mla_train_result *result) {
    mla_recipe recipe;
    char *out = path_in(folder, name);
    check_ok(context, tiny_recipe(context, &recipe, sets));
    check_ok(context, mla_train(context, &recipe, &(mla_train_options){.out = out, .resume = resume}, result));
    mla_recipe_free(&recipe);
    free(out);
}

static void load(mla_context *context, const char *name, mla_checkpoint **checkpoint, mla_decoder **model) {
    char *path = path_in(folder, name);
    check_ok(context, mla_checkpoint_load(context, path, checkpoint, model));
    free(path);
}

/* How many parameters of the two checkpoints differ; all of them must be called `named`. */
static int count_changed(mla_context *context, const char *a, const char *b, const char *named) {
    mla_checkpoint *checkpoints[2];
    mla_decoder *models[2];
    int changed = 0;
    load(context, a, &checkpoints[0], &models[0]);
    load(context, b, &checkpoints[1], &models[1]);
    for (int64_t i = 0; i < mla_params_count(models[0]->params); i++) {
        const mla_param *p = mla_params_at(models[0]->params, i), *q = mla_params_at(models[1]->params, i);
        if (!memcmp(p->tensor.data, q->tensor.data, (size_t)mla_size(&p->tensor))) continue;
        if (!strstr(p->spec.name, named)) fail_msg("%s has changed", p->spec.name);
        changed++;
    }
    for (int i = 0; i < 2; i++) {
        mla_decoder_destroy(models[i]);
        mla_checkpoint_close(checkpoints[i]);
    }
    return changed;
}

static void others_keep_every_bit(void **state) {
    mla_context *context = *state;
    char base[256];
    mla_train_result whole, named;
    snprintf(base, sizeof base, "finetune.base=%s/base", folder);
    run(context, "base", false, (const char *const[]){"model.num_hidden_layers=2", NULL}, &whole);
    run(context, "named", false, (const char *const[]){base, "finetune.train=kv_b_proj", NULL}, &named);
    assert_int_equal(count_changed(context, "base", "named", "kv_b_proj"), 2);
    assert_int_equal(named.plan.trained, 2 * 2 * (16 + 16) * 16);
    assert_int_equal(named.plan.parameters, whole.plan.trained);
    assert_true(named.plan.memory.gradients < whole.plan.memory.gradients / 4);
    assert_int_equal(named.plan.memory.moments, 2 * named.plan.memory.gradients);
    assert_true(named.plan.memory.cost.backward_flops < 0.8 * whole.plan.memory.cost.backward_flops);

    run(context, "half", false,
        (const char *const[]){base, "finetune.train=kv_b_proj", "train.steps=2", "optim.schedule=constant", NULL},
        &named);
    run(context, "half", true,
        (const char *const[]){base, "finetune.train=kv_b_proj", "train.steps=4", "optim.schedule=constant", NULL},
        &named);
    run(context, "once", false,
        (const char *const[]){base, "finetune.train=kv_b_proj", "train.steps=4", "optim.schedule=constant", NULL},
        &named);
    assert_int_equal(count_changed(context, "half", "once", "nothing"), 0);
    assert_int_equal(count_changed(context, "half", "base", "kv_b_proj"), 2);
}

static int64_t trained_elements(mla_context *context, mla_status *status, const char *pattern) {
    const mla_model_config config = small_config(context, "q_lora_rank=9");
    mla_recipe recipe;
    mla_decoder *model;
    check_ok(context, mla_recipe_default(context, &recipe));
    check_ok(context, mla_decoder_create(context, &model, &config));
    *status = mla_fields_set(context, "", &mla_recipe_fields, &recipe, "finetune.train", pattern);
    if (!*status) *status = mla_names_train_only(model, "finetune.train", &recipe.finetune.train);
    const int64_t count = mla_params_elements(model->params, true);
    mla_decoder_destroy(model);
    mla_recipe_free(&recipe);
    return count;
}

static void patterns_name_parameters(void **state) {
    mla_context *context = *state;
    mla_status status;
    const struct {
        const char *pattern;
        int64_t elements;
    } cases[] = {
        {"kv_b_proj", 2 * 4 * (5 + 6) * 7},
        {"model.layers.1.self_attn.kv_b_proj.weight", 4 * (5 + 6) * 7},
        {"layers.0.mlp.*", 3 * SMALL_WIDTH * 20},
        {"mlp.up_proj, mlp.down_proj", 2 * 2 * SMALL_WIDTH * 20},
        {"mlp.up_proj mlp.down_proj", 2 * 2 * SMALL_WIDTH * 20},
        {"*_layernorm", 2 * (2 * SMALL_WIDTH + 9 + 7)},
        {"norm", SMALL_WIDTH},
        {"lm_head", SMALL_WIDTH * SMALL_VOCABULARY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t count = trained_elements(context, &status, cases[i].pattern);
        check_ok(context, status);
        if (count != cases[i].elements) fail_msg("%s: %lld elements", cases[i].pattern, (long long)count);
    }
    trained_elements(context, &status, "kv_b_prj");
    check_error(context, status, MLA_ERROR_ARGUMENT,
                "finetune.train: \"kv_b_prj\" names no parameter of this model: did you "
                "mean \"kv_b_proj\"?; it has embed_tokens, input_layernorm, q_a_proj,");
    trained_elements(context, &status, "lm_head,model.layers.1.self_attn.o_prog");
    check_error(context, status, MLA_ERROR_ARGUMENT, "did you mean \"model.layers.1.self_attn.o_proj\"?");
    trained_elements(context, &status, "layers.7.*");
    check_error(context, status, MLA_ERROR_ARGUMENT, "\"layers.7.*\" names no parameter");
    trained_elements(context, &status, "norm,");
    check_error(context, status, MLA_ERROR_ARGUMENT,
                "finetune.train: expected words with commas between, got \"norm,\"");
    char longest[2 * MLA_LONGEST_PATTERN];
    memset(longest, '*', sizeof longest - 1);
    longest[MLA_LONGEST_PATTERN - 1] = '\0';
    assert_true(trained_elements(context, &status, longest) > 0);
    check_ok(context, status);
    longest[MLA_LONGEST_PATTERN - 1] = '*';
    longest[MLA_LONGEST_PATTERN] = '\0';
    trained_elements(context, &status, longest);
    check_error(context, status, MLA_ERROR_ARGUMENT, "*\" names no parameter of this model");
}

static void recipes_say_what_they_mean(void **state) {
    mla_context *context = *state;
    mla_recipe recipe;
    mla_finetune finetune;
    check_ok(context, tiny_recipe(context, &recipe, (const char *const[]){"finetune.train=norm", NULL}));
    check_error(context, mla_finetune_open(context, &finetune, &recipe, NULL), MLA_ERROR_ARGUMENT,
                "finetune.train: needs a model to begin with");
    mla_finetune_close(&finetune);
    mla_recipe_free(&recipe);
    check_error(
        context,
        tiny_recipe(context, &recipe,
                    (const char *const[]){"finetune.train=norm", "lora.targets=q_proj", "finetune.base=a", NULL}),
        MLA_ERROR_ARGUMENT, "only one of lora.targets");
}

static int set_up(void **state) {
    folder = folder_create();
    return create_context(state);
}

static int tear_down(void **state) {
    folder_remove(folder);
    return destroy_context(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(patterns_name_parameters),
                                       cmocka_unit_test(others_keep_every_bit),
                                       cmocka_unit_test(recipes_say_what_they_mean)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
