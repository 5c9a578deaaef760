/* What the literals of YAML mean, in files and behind --set, beside what PyYAML reads of them. */
#include "autograd/schema/yaml.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "train/recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mla_status load_text(mla_context *context, mla_recipe *recipe, const char *text) {
    file_write(yaml_path, text, (int64_t)strlen(text));
    return mla_yaml_load(context, yaml_path, &mla_recipe_fields, recipe);
}

/* What PyYAML 6.0.4 reads of a literal: yes and no as such, whole and real numbers as they are, NONE of nothing; TEXT:
 * what it takes for text. Beyond it we read 1e3 and its like, which it takes for text; OURS says what we read of a
 * literal that it reads otherwise, REFUSED that we read none. */
enum { NONE = -1, TEXT = -2, REFUSED = -3 };

typedef struct {
    const char *key, *literal;
    double theirs, ours;
} literal;

static const literal literals[] = {
#define SAME(key, text, value) \
    { key, text, value, value }
#define YES(text) SAME("model.causal", text, 1)
#define NO(text)  SAME("model.causal", text, 0)
    YES("true"),
    YES("True"),
    YES("TRUE"),
    YES("yes"),
    YES("Yes"),
    YES("YES"),
    YES("on"),
    YES("On"),
    YES("ON"),
    NO("false"),
    NO("False"),
    NO("FALSE"),
    NO("no"),
    NO("No"),
    NO("NO"),
    NO("off"),
    NO("Off"),
    NO("OFF"),
    {"model.causal", "tRUE", TEXT, REFUSED},
    {"model.causal", "yEs", TEXT, REFUSED},
    {"model.causal", "y", TEXT, REFUSED},
    {"model.causal", "N", TEXT, REFUSED},
    {"model.causal", "1", 1, REFUSED},
    {"model.causal", "0", 0, REFUSED},
#define WHOLE(text, value) SAME("train.steps", text, value)
    WHOLE("7", 7),
    WHOLE("+5", 5),
    WHOLE("1_000", 1000),
    WHOLE("1_000_000", 1e6),
    WHOLE("10.0", 10),
    WHOLE("10.", 10),
    WHOLE("1.0e+3", 1000),
    WHOLE("-0", 0),
    {"train.steps", "1e3", TEXT, 1000},
    {"train.steps", "1E3", TEXT, 1000},
    {"train.steps", "1e+3", TEXT, 1000},
    {"train.steps", "1.5e1", TEXT, 15},
    {"train.steps", "010", 8, 10},
    {"train.steps", "1.5", 1.5, REFUSED},
    {"train.steps", "1e-1", TEXT, REFUSED},
    {"train.steps", "1__0", 10, REFUSED},
    {"train.steps", "1_", 1, REFUSED},
    {"train.steps", "_1", TEXT, REFUSED},
    {"train.steps", "0x10", 16, REFUSED},
    {"train.steps", "0b11", 3, REFUSED},
    {"train.steps", "1:30", 90, REFUSED},
    {"train.steps", "1e400", TEXT, REFUSED},
    {"train.steps", "9007199254740993.0", 9007199254740992, REFUSED},
    {"train.steps", "yes", 1, REFUSED},
    {"train.steps", "inf", TEXT, REFUSED},
#define REAL(text, value) SAME("optim.clip", text, value)
    REAL("1.5", 1.5),
    REAL(".5", 0.5),
    REAL("1_000.5", 1000.5),
    REAL("1.0e-4", 1e-4),
    REAL("7", 7),
    {"optim.clip", "1e-4", TEXT, 1e-4},
    {"optim.clip", "2E5", TEXT, 2e5},
    {"optim.clip", ".inf", INFINITY, REFUSED},
    {"optim.clip", ".nan", NAN, REFUSED},
    {"optim.clip", "nan", TEXT, REFUSED},
    {"optim.clip", "1_.5", 1.5, REFUSED},
    {"optim.clip", "1._5", TEXT, REFUSED},
#define NOTHING(text)                                                                                \
    SAME("train.batch", text, NONE), SAME("optim.lr", text, NONE), SAME("model.causal", text, NONE), \
        SAME("optim.schedule", text, NONE), SAME("model.q_lora_rank", text, NONE),                   \
        SAME("model.rope_scaling", text, NONE)
    NOTHING("null"),
    NOTHING("Null"),
    NOTHING("NULL"),
    NOTHING("~"),
    {"train.batch", "nULL", TEXT, REFUSED},
    {"train.batch", "None", TEXT, REFUSED},
    {"train.batch", "none", TEXT, REFUSED},
};

static double number_of(mla_recipe *recipe, const char *key) {
    void *member;
    const mla_field *field = mla_fields_find(&mla_recipe_fields, recipe, key, &member);
    switch (field->type) {
    case MLA_FIELD_INT: return (double)*(const int64_t *)member;
    case MLA_FIELD_FLOAT: return *(const double *)member;
    case MLA_FIELD_BOOL: return *(const bool *)member;
    default: return *(const unsigned *)member; /* an enum, or a group that begins with one */
    }
}

/* By a file or by --set. */
static void check_literal(mla_context *context, const literal *l, bool by_file) {
    char text[128];
    mla_recipe recipe, untouched;
    check_ok(context, mla_recipe_default(context, &recipe));
    check_ok(context, mla_recipe_default(context, &untouched));
    snprintf(text, sizeof text, by_file ? "%s: %s\n" : "%s=%s", l->key, l->literal);
    const mla_status status = by_file ? load_text(context, &recipe, text) : mla_recipe_set(context, &recipe, text);
    if (l->ours == REFUSED) check_error(context, status, MLA_ERROR_ARGUMENT, l->key);
    else {
        check_ok(context, status);
        const double expected = l->ours == NONE ? number_of(&untouched, l->key) : l->ours;
        if (number_of(&recipe, l->key) != expected) fail_msg("%s: %g", text, number_of(&recipe, l->key));
    }
    mla_recipe_free(&recipe);
    mla_recipe_free(&untouched);
}

static void literals_are_pyyamls(void **state) {
    for (size_t i = 0; i < sizeof literals / sizeof *literals; i++) {
        check_literal(*state, &literals[i], true);
        check_literal(*state, &literals[i], false);
    }
    check_literal(*state, &(literal){"train.batch", "", NONE, NONE}, true);
    check_literal(*state, &(literal){"model.rope_scaling", "", NONE, NONE}, true);
    check_literal(*state, &(literal){"train.batch", "", NONE, REFUSED}, false);
}

/* null from --set undoes what the recipe gave. */
static void null_is_not_given(void **state) {
    mla_recipe recipe;
    check_ok(*state, mla_recipe_default(*state, &recipe));
    check_ok(*state,
             load_text(*state, &recipe,
                       "model: {q_lora_rank: 16, kv_lora_ranks: [8, ~, 4_0, 1e1]}\ndata: {source: [a, ~, 'null']}"));
    assert_int_equal(recipe.model.kv_lora_ranks.count, 3);
    assert_int_equal(recipe.model.kv_lora_ranks.items[1], 40);
    assert_int_equal(recipe.model.kv_lora_ranks.items[2], 10);
    assert_int_equal(recipe.data.source.count, 2);
    assert_string_equal(recipe.data.source.items[1], "null");
    check_ok(*state, mla_recipe_set(*state, &recipe, "model.q_lora_rank=null"));
    check_ok(*state, mla_recipe_set(*state, &recipe, "model.kv_lora_ranks=~"));
    check_ok(*state, mla_recipe_set(*state, &recipe, "data.field=null"));
    assert_int_equal(recipe.model.q_lora_rank, 0);
    assert_int_equal(recipe.model.kv_lora_ranks.count, 0);
    assert_string_equal(recipe.data.field, "null"); /* a text may be that */
    mla_recipe_free(&recipe);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(literals_are_pyyamls), cmocka_unit_test(null_is_not_given)};
    return cmocka_run_group_tests(tests, create_context_and_yaml, destroy_context_and_yaml);
}
