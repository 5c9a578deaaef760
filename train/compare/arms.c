#include "train/compare/arms.h"
#include "autograd/schema/nearest.h"
#include "layers/attention/multi_head_attention.h"
#include "layers/attention/replace.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the arms that have names ---- */

static mla_status make_mha(mla_context *context, mla_model_config *c) {
    (void)context;
    mla_replace_by_multi_head(c, c->num_attention_heads);
    return MLA_OK;
}

static mla_status make_mqa(mla_context *context, mla_model_config *c) {
    (void)context;
    mla_replace_by_multi_head(c, 1);
    return MLA_OK;
}

static mla_status make_gqa(mla_context *context, mla_model_config *c) {
    const bool has_groups = c->attention == &mla_multi_head_kind && c->num_key_value_heads > 1 &&
                            c->num_key_value_heads < c->num_attention_heads;
    const int64_t groups = has_groups ? c->num_key_value_heads : mla_usual_groups(c);
    if (!groups)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "gqa: %lld heads cannot share keys and values in groups, as nothing but 1 divides them: set "
                        "another model.num_attention_heads, or leave gqa out of --arms",
                        (long long)c->num_attention_heads);
    mla_replace_by_multi_head(c, groups);
    return MLA_OK;
}

static mla_status make_mla(mla_context *context, mla_model_config *c) {
    (void)context;
    mla_replace_by_latent(c);
    return MLA_OK;
}

static mla_status make_base(mla_context *context, mla_model_config *c) {
    (void)context;
    (void)c;
    return MLA_OK;
}

typedef struct {
    const char *name;
    mla_status (*make)(mla_context *context, mla_model_config *config);
} arm_kind;

static const arm_kind kinds[] = {
    {"mha", make_mha}, {"gqa", make_gqa}, {"mqa", make_mqa}, {"mla", make_mla}, {"base", make_base}};
enum { KINDS = sizeof kinds / sizeof *kinds };
static const char without_positions[] = "-nope";

static mla_status unknown_arm(mla_context *context, const char *name) {
    mla_nearest nearest = {.word = name};
    for (int i = 0; i < KINDS; i++) mla_nearest_offer(&nearest, kinds[i].name);
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "there is no arm %s%s%s%s: use mha, gqa, mqa, mla or base, each with -nope for no positions, or an "
                    "own one, --arm 'NAME=mla model.kv_lora_rank=32'",
                    name, nearest.best ? " (did you mean " : "", nearest.best ? nearest.best : "",
                    nearest.best ? "?)" : "");
}

static const arm_kind *find_kind(const char *name, size_t length) {
    for (int i = 0; i < KINDS; i++)
        if (strlen(kinds[i].name) == length && !strncmp(kinds[i].name, name, length)) return &kinds[i];
    return NULL;
}

static mla_status make_kind(mla_context *context, mla_model_config *config, const char *name) {
    const size_t all = strlen(name), ending = strlen(without_positions);
    const bool nope = all > ending && !strcmp(name + all - ending, without_positions);
    const arm_kind *kind = find_kind(name, nope ? all - ending : all);
    if (!kind) return unknown_arm(context, name);
    if (nope) {
        config->position = MLA_POSITION_NONE;
        config->rope_scaling.type = MLA_ROPE_SCALING_NONE;
    }
    const mla_status status = kind->make(context, config);
    if (nope) config->qk_rope_head_dim = 0;
    return status;
}

/* ---- recipes ---- */

/* What follows from the rest, written out: heads' widths above all. */
static mla_status complete(mla_context *context, mla_model_config *config) {
    const int64_t vocabulary = config->vocab_size;
    if (!vocabulary) config->vocab_size = 1;
    const mla_status status = mla_model_config_check(context, "model.", config);
    config->vocab_size = vocabulary;
    return status;
}

static mla_status copy_recipe(mla_context *context, mla_recipe *out, const mla_recipe *recipe) {
    char *text = mla_recipe_json(context, recipe);
    const mla_status status = text ? mla_recipe_parse_json(context, "", text, out) : MLA_ERROR_MEMORY;
    free(text);
    return status;
}

static mla_status check_name(mla_context *context, const mla_arms *arms, const char *name) {
    bool good = name[0] && strlen(name) < MLA_ARM_NAME;
    for (const char *c = name; *c; c++) good = good && (isalnum((unsigned char)*c) || strchr("-_+", *c));
    if (!good)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "an arm is named \"%s\": its folder takes letters, digits and - _ +, at most %d", name,
                        MLA_ARM_NAME - 1);
    for (int i = 0; i < arms->count; i++)
        if (!strcmp(arms->of[i].name, name))
            return mla_fail(context, MLA_ERROR_ARGUMENT, "the arm %s is there twice: give one of them another name",
                            name);
    if (arms->count < MLA_MOST_ARMS) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "more than %d arms", MLA_MOST_ARMS);
}

static mla_status add_arm(mla_context *context, mla_arms *arms, const mla_recipe *base, const char *name,
                          const char *kind) {
    mla_status status = check_name(context, arms, name);
    if (status) return status;
    mla_arm *arm = &arms->of[arms->count];
    snprintf(arm->name, sizeof arm->name, "%s", name);
    status = copy_recipe(context, &arm->recipe, base);
    if (status) return status;
    arms->count++;
    status = complete(context, &arm->recipe.model);
    if (!status) status = make_kind(context, &arm->recipe.model, kind);
    return status ? status : complete(context, &arm->recipe.model);
}

/* ---- own arms ---- */

/* All that may differ between arms without making the comparison unfair, or meaningless. */
static mla_status check_key(mla_context *context, const char *name, const char *assignment) {
    if (!strncmp(assignment, "optim.lr=", strlen("optim.lr=")))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the arm %s sets optim.lr, which is swept for each arm: use --lr",
                        name);
    if (!strncmp(assignment, "model.", strlen("model.")) || !strncmp(assignment, "optim.", strlen("optim.")))
        return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "the arm %s sets %s: arms differ in keys of model and optim alone, all else is the same for all of "
                    "them",
                    name, assignment);
}

static mla_status set_keys(mla_context *context, mla_arm *arm, char *words) {
    static const char width[] = "model.intermediate_size=";
    char *rest = NULL;
    mla_status status = MLA_OK;
    for (char *word = strtok_r(words, " \t\n", &rest); word && !status; word = strtok_r(NULL, " \t\n", &rest)) {
        status = check_key(context, arm->name, word);
        if (!status) status = mla_recipe_set(context, &arm->recipe, word);
        arm->sets_width |= !strncmp(word, width, sizeof width - 1);
    }
    char where[MLA_ARM_NAME + 16];
    snprintf(where, sizeof where, "the arm %s: ", arm->name);
    if (!status) status = mla_recipe_check(context, where, &arm->recipe);
    return status ? status : complete(context, &arm->recipe.model);
}

static mla_status add_own(mla_context *context, mla_arms *arms, const mla_recipe *base, const char *text) {
    char *copy = strdup(text), *sign = copy ? strchr(copy, '=') : NULL;
    mla_status status = MLA_OK;
    if (!copy) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for an arm");
    char *keys = sign ? sign + 1 + strcspn(sign + 1, " \t\n") : NULL;
    if (!sign || memchr(copy, ' ', (size_t)(sign - copy)))
        status = mla_fail(context, MLA_ERROR_ARGUMENT,
                          "--arm %s: expected NAME=ARM and keys, as in --arm 'narrow=mla model.kv_lora_rank=32'", text);
    else {
        const bool has_keys = *keys;
        *sign = *keys = '\0';
        status = add_arm(context, arms, base, copy, sign + 1);
        if (!status && has_keys) status = set_keys(context, &arms->of[arms->count - 1], keys + 1);
    }
    free(copy);
    return status;
}

/* ---- all of them ---- */

static mla_status check_base(mla_context *context, const mla_recipe *base) {
    const mla_recipe_finetune *f = &base->finetune;
    if (f->base || f->distil || f->train.count || base->lora.targets.count)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "compare trains each arm from its beginning: leave finetune and lora out of the recipe");
    if (base->model.head->labels || !base->model.causal)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "compare is for language models: set model.head to language and model.causal to true");
    return MLA_OK;
}

mla_status mla_arms_create(mla_context *context, mla_arms *out, const mla_recipe *base, const mla_list *names,
                           const mla_list *own) {
    *out = (mla_arms){0};
    mla_status status = check_base(context, base);
    for (int64_t i = 0; i < names->count && !status; i++)
        status = add_arm(context, out, base, names->items[i], names->items[i]);
    for (int64_t i = 0; i < own->count && !status; i++) status = add_own(context, out, base, own->items[i]);
    if (status || out->count) return status;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "there is no arm to compare: name some, as in --arms mha,mla");
}

void mla_arms_free(mla_arms *arms) {
    for (int i = 0; i < arms->count; i++) mla_recipe_free(&arms->of[i].recipe);
    *arms = (mla_arms){0};
}
