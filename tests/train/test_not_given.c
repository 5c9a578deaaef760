/* What is empty is not given: every text of a recipe, however it comes, and every option of every command. */
#include "autograd/schema/yaml.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "train/commands/arguments.h"
#include "train/recipe/recipe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* But for those that say that an empty text is a text. */
static bool is_text(const mla_field *field) {
    return field->type >= MLA_FIELD_STRING && field->type <= MLA_FIELD_FLOATS && !field->keeps_empty;
}

/* A member as text: that it equals its default is that the texts are the same. */
static char *text_of(mla_context *context, const mla_field_table *table, const void *object) {
    json_t *json = mla_fields_write_json(context, table, object);
    char *text = json ? mla_json_text(context, json) : NULL;
    json_decref(json);
    assert_non_null(text);
    return text;
}

static void check_same(mla_context *context, const mla_field_table *table, const void *a, const void *b,
                       const char *what) {
    char *left = text_of(context, table, a), *right = text_of(context, table, b);
    if (strcmp(left, right)) fail_msg("%s: %s is not %s", what, left, right);
    free(left);
    free(right);
}

typedef mla_status (*setter)(mla_context *context, mla_recipe *recipe, const char *key);

static mla_status by_set(mla_context *context, mla_recipe *recipe, const char *key) {
    char assignment[128];
    snprintf(assignment, sizeof assignment, "%s=", key);
    return mla_recipe_set(context, recipe, assignment);
}

/* "a.b.c" as nested keys, with `open` behind each but the last, `value` behind that, `close` for each at the end. */
static char *nested(const char *key, const char *open, const char *value, const char *close) {
    static char text[512];
    int depth = 0;
    text[0] = '\0';
    for (const char *part = key; part; depth++) {
        const size_t length = strcspn(part, ".");
        const bool last = !part[length];
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"%.*s\": %s", depth ? open : "{", (int)length,
                 part, last ? value : "");
        part = last ? NULL : part + length + 1;
    }
    while (depth--) strcat(text, close);
    return text;
}

static mla_status by_yaml(mla_context *context, mla_recipe *recipe, const char *key) {
    static const char *const values[] = {"''", "", "[]", "['', '']"};
    void *member;
    const mla_field *field = mla_fields_find(&mla_recipe_fields, recipe, key, &member);
    const int count = field->type == MLA_FIELD_STRING ? 2 : 4;
    mla_status status = MLA_OK;
    for (int i = 0; i < count && !status; i++) {
        const char *text = nested(key, "{", values[i], "}");
        file_write(yaml_path, text, (int64_t)strlen(text));
        status = mla_fields_set(context, "", &mla_recipe_fields, recipe, key, "12");
        if (!status) status = mla_yaml_load(context, yaml_path, &mla_recipe_fields, recipe);
    }
    return status;
}

static mla_status by_json(mla_context *context, mla_recipe *recipe, const char *key) {
    void *member;
    const mla_field *field = mla_fields_find(&mla_recipe_fields, recipe, key, &member);
    json_t *json;
    const char *value = field->type >= MLA_FIELD_INTS ? "[]" : "\"\"";
    check_ok(context, mla_json_parse(context, "", nested(key, "{", value, "}"), &json));
    const mla_status status = mla_fields_read_json(context, "", &mla_recipe_fields, recipe, json, NULL);
    json_decref(json);
    return status;
}

static void check_key(mla_context *context, setter set, const char *key) {
    mla_recipe recipe, untouched;
    check_ok(context, mla_recipe_default(context, &recipe));
    check_ok(context, mla_recipe_default(context, &untouched));
    check_ok(context, mla_fields_set(context, "", &mla_recipe_fields, &recipe, key, "12"));
    check_ok(context, set(context, &recipe, key));
    check_same(context, &mla_recipe_fields, &recipe, &untouched, key);
    mla_recipe_free(&recipe);
    mla_recipe_free(&untouched);
}

static int check_keys(mla_context *context, setter set, const char *prefix, const mla_field_table *table) {
    int count = 0;
    for (int i = 0; i < table->count; i++) {
        char key[128];
        snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", table->fields[i].key);
        if (table->fields[i].group) count += check_keys(context, set, key, table->fields[i].group);
        if (!is_text(&table->fields[i])) continue;
        check_key(context, set, key);
        count++;
    }
    return count;
}

static void texts_of_recipes(void **state) {
    static const setter ways[] = {by_set, by_yaml, by_json};
    for (int i = 0; i < 3; i++) assert_true(check_keys(*state, ways[i], "", &mla_recipe_fields) >= 11);
}

static void check_option(mla_context *context, const mla_command *command, const mla_field *field) {
    char option[64], *words[8] = {option};
    mla_command any = *command;
    mla_arguments arguments, none;
    any.min_operands = 0;
    snprintf(option, sizeof option, "--%s=", field->key);
    check_ok(context, mla_arguments_parse(context, &any, 1, words, &arguments));
    check_ok(context, mla_arguments_parse(context, &any, 0, words, &none));
    check_same(context, command->options, arguments.options, none.options, option);
    mla_arguments_free(command, &arguments);
    mla_arguments_free(command, &none);
}

static void options_of_commands(void **state) {
    int count = 0;
    for (int i = 0; mla_commands[i]; i++)
        for (int k = 0; k < mla_commands[i]->options->count; k++) {
            const mla_field *field = &mla_commands[i]->options->fields[k];
            if (!is_text(field)) continue;
            check_option(*state, mla_commands[i], field);
            count++;
        }
    assert_true(count >= 25);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_of_recipes), cmocka_unit_test(options_of_commands)};
    return cmocka_run_group_tests(tests, create_context_and_yaml, destroy_context_and_yaml);
}
