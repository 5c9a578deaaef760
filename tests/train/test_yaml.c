/* YAML by tables: what is saved is read again as the same, keys come in one way, and no file does harm. */
#include "autograd/schema/yaml.h"
#include "tests/support/allocations.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "train/commands/arguments.h"
#include "train/recipe/recipe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *fresh(mla_context *context, const mla_field_table *table) {
    void *object = mla_alloc(context, 1, table->size, "a test");
    assert_non_null(object);
    check_ok(context, mla_fields_default(context, table, object));
    return object;
}

static void done_with(const mla_field_table *table, void *object) {
    mla_fields_free(table, object);
    free(object);
}

static char *json_of(mla_context *context, const mla_field_table *table, const void *object) {
    json_t *json = mla_fields_write_json(context, table, object);
    char *text = json ? mla_json_text(context, json) : NULL;
    json_decref(json);
    if (!text) fail_msg("%s", mla_error(context));
    return text;
}

static void check_same(mla_context *context, const mla_field_table *table, const void *a, const void *b) {
    char *left = json_of(context, table, a), *right = json_of(context, table, b);
    assert_string_equal(left, right);
    free(left);
    free(right);
}

static mla_status load_text(mla_context *context, const mla_field_table *table, void *object, const char *text) {
    file_write(yaml_path, text, (int64_t)strlen(text));
    return mla_yaml_load(context, yaml_path, table, object);
}

/* ---- saved and read again ---- */

static void check_round_trip(mla_context *context, const mla_field_table *table, const void *object) {
    void *again = fresh(context, table);
    check_ok(context, mla_yaml_save(context, yaml_path, table, object));
    check_ok(context, mla_yaml_load(context, yaml_path, table, again));
    check_same(context, table, object, again);
    done_with(table, again);
}

static const char *const awkward[] = {
    "a: b",
    "a:",
    ":",
    "#c",
    "a #b",
    "a#b",
    " a",
    "a ",
    " ",
    "  \n",
    "'",
    "''",
    "\"",
    "it's",
    "\\",
    "\\n",
    "-",
    "- a",
    "---",
    "...",
    "?",
    "? a",
    "[a]",
    "{a: b}",
    ",",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "|\n a",
    "%a",
    "@a",
    "`a",
    "null",
    "Null",
    "NULL",
    "~",
    "true",
    "no",
    "1e5",
    "0x1F",
    "1_000",
    ".inf",
    ".nan",
    "12:30",
    "2001-01-01",
    "=",
    "<<",
    "a\nb",
    "a\n\nb",
    "\na",
    "a\n",
    "a\n b",
    " a\nb ",
    "\t",
    "a\tb",
    "\ta",
    "a\r\nb",
    "\r",
    "\x01",
    "\x7f",
    "é",
    "水",
    "😀",
    "\xc2\x85",
    "a\u2028b",
    "\ufeff",
    "\ufeff"
    "a",
    "\uffff",
    "\U0010ffff",
    "a,b c",
    "a text that is longer than eighty characters, for then it could be broken into lines by whoever writes it"};
enum { AWKWARD = sizeof awkward / sizeof *awkward };

/* The n-th of many values of the field; NULL for a group. */
static const char *value_of(const mla_field *field, int n, char out[64]) {
    const double third = field->min + (field->max - field->min) / 3;
    int kinds = 0;
    switch (field->type) {
    case MLA_FIELD_INT: snprintf(out, 64, "%lld", (long long)(n % 2 ? field->max : field->min)); return out;
    case MLA_FIELD_FLOAT: snprintf(out, 64, "%.17g", n % 3 ? third : n % 2 ? field->max : field->min); return out;
    case MLA_FIELD_BOOL: return n % 2 ? "true" : "false";
    case MLA_FIELD_ENUM:
        while (field->names[kinds]) kinds++;
        return field->names[n % kinds];
    case MLA_FIELD_KIND:
        while (field->kinds[kinds]) kinds++;
        return *(const char *const *)field->kinds[n % kinds];
    case MLA_FIELD_FLOATS: snprintf(out, 64, n % 2 ? "%.17g" : "%.17g,%.17g", third, field->max); return out;
    case MLA_FIELD_INTS: return n % 2 ? "1" : "3,2 1";
    case MLA_FIELD_GROUP: return NULL;
    default: return awkward[n % AWKWARD];
    }
}

static void fill(mla_context *context, const mla_field_table *whole, void *object, const char *prefix,
                 const mla_field_table *table, int n) {
    for (int i = 0; i < table->count; i++) {
        char key[128], text[64];
        const mla_field *field = &table->fields[i];
        snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", field->key);
        const char *value = value_of(field, n + i, text);
        if (field->group) fill(context, whole, object, key, field->group, n);
        else if ((field->type == MLA_FIELD_WORDS || field->cuts_text) && strchr(value, ',')) continue;
        else if (field->cuts_text && strspn(value, " \t\r\n") == strlen(value)) continue; /* no name */
        else check_ok(context, mla_fields_set(context, "", whole, object, key, value));
    }
}

/* With every so many of the awkward texts: each save waits for the disk. */
static void check_table(mla_context *context, const mla_field_table *table, int step) {
    void *object = fresh(context, table);
    check_round_trip(context, table, object);
    for (int n = 0; n < AWKWARD; n += step) {
        fill(context, table, object, "", table, n);
        check_round_trip(context, table, object);
    }
    done_with(table, object);
}

static void every_value_of_every_table_comes_back(void **state) {
    check_table(*state, &mla_recipe_fields, 1);
    for (int i = 0; mla_commands[i]; i++) check_table(*state, mla_commands[i]->options, 11);
}

static uint32_t draw(uint32_t *seed, uint32_t limit) {
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 8) % limit;
}

/* Pieces of YAML, of words and of white space in any order. */
static void strings_of_any_kind_come_back(void **state) {
    static const char *const pieces[] = {" ",    "  ",       "\n",     "\t",     "\r",     ": ",   ":",  " #", "#",
                                         "'",    "\"",       "\\",     "- ",     "-",      "?",    "[",  "]",  "{",
                                         "}",    ",",        "&",      "*",      "!",      "|",    ">",  "%",  "@",
                                         "`",    "~",        "null",   "a",      "bc",     "é",    "水", "😀",  "\x01",
                                         "\x7f", "\xc2\x85", "\u00a0", "\u2028", "\ufeff", "\n\n", "0",  "..."};
    mla_context *context = *state;
    uint32_t seed = 1;
    for (int round = 0; round < 4; round++) {
        mla_recipe recipe;
        check_ok(context, mla_recipe_default(context, &recipe));
        for (int i = 0; i < 5000; i++) {
            char text[128] = "";
            for (uint32_t n = 1 + draw(&seed, 8); n; n--)
                strcat(text, pieces[draw(&seed, sizeof pieces / sizeof *pieces)]);
            check_ok(context, mla_list_append(context, &recipe.data.source, text));
            if (i < 8) check_ok(context, mla_fields_set(context, "", &mla_recipe_fields, &recipe, "data.field", text));
        }
        check_round_trip(context, &mla_recipe_fields, &recipe);
        mla_recipe_free(&recipe);
    }
}

static void writes_only_what_it_can_read(void **state) {
    mla_context *context = *state;
    static const char *const wrong[] = {
        "\xff", "a\xc3", "\xc3(", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf7\xbf\xbf\xbf"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        void *recipe = fresh(context, &mla_recipe_fields);
        file_write(yaml_path, "old", 3);
        check_ok(context, mla_fields_set(context, "", &mla_recipe_fields, recipe, "data.source", wrong[i]));
        check_error(context, mla_yaml_save(context, yaml_path, &mla_recipe_fields, recipe), MLA_ERROR_ARGUMENT,
                    "r.yaml: source must be valid UTF-8");
        int64_t bytes;
        char *text = file_read(yaml_path, &bytes);
        assert_string_equal(text, "old");
        free(text);
        done_with(&mla_recipe_fields, recipe);
    }
}

/* ---- one way in ---- */

static void takes_what_others_take(void **state) {
    mla_context *context = *state;
    static const char *const same[][2] = {
        {"model.rms_norm_eps=1e-5", "model: {layer_norm_eps: 1e-5}"},
        {"model.rope_scaling.type=yarn", "model:\n  rope_scaling:\n    rope_type: yarn\n"},
        {"model.rope_scaling.type=yarn", "model.rope_scaling.rope_type: yarn"},
        {"model.kv_lora_ranks=8 4", "model: {kv_lora_ranks: [8, 4]}"},
        {"model.kv_lora_ranks=8 4", "model:\n  kv_lora_ranks:\n  - 8\n  - 4\n"},
        {"model.kv_lora_ranks=8 4", "model:\n  kv_lora_ranks: 8, 4\n"},
        {"lora.targets=a b c", "lora:\n  targets: [a, 'b',\n    # why\n    c\n  ]\n"},
        {"lora.targets=a b c", "lora:\n  targets:\n  - a b\n  - c\n"},
        {"data.field=null", "data: {field: 'null'}"},
        {"data.field=~", "data:\n  field: \"~\"\n"},
        {"data.field=text", "data: {field: null, tokens: ~, source: Null, vocab_size: NULL}"},
        {"data.field=text", "data:\n"},
        {"data.field=text", "data: ~\noptim: {}\n"},
        {"data.field=text", "---\n# nothing\n...\n"},
        {"data.field=text", "--- \n"},
        {"data.field=a b", "%YAML 1.1\n---\ndata:\n  field: >-\n    a\n    b\n"},
        {"data.field=a b", "data:\n  field: a\n    b\n"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        mla_recipe a, b;
        check_ok(context, mla_recipe_default(context, &a));
        check_ok(context, mla_recipe_default(context, &b));
        check_ok(context, mla_recipe_set(context, &a, same[i][0]));
        check_ok(context, load_text(context, &mla_recipe_fields, &b, same[i][1]));
        check_same(context, &mla_recipe_fields, &a, &b);
        mla_recipe_free(&a);
        mla_recipe_free(&b);
    }
}

static void names_what_is_wrong(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *text, *message;
        mla_status status;
    } cases[] = {
        {"optim:\n  lr: 1\n\n  lr: 2\n", "r.yaml: line 4: optim.lr is given twice; keep one", MLA_ERROR_ARGUMENT},
        {"optim:\n  lr: 1\ntrain:\noptim:\n  clip: 1\n", "line 4: optim is given twice", MLA_ERROR_ARGUMENT},
        {"optim.lr: 1\noptim:\n  lr: 1\n", "line 3: optim.lr is given twice", MLA_ERROR_ARGUMENT},
        {"model:\n  layer_norm_eps: 1\n  rms_norm_eps: 1\n",
         "line 3: model.rms_norm_eps is given twice (rms_norm_eps and layer_norm_eps are the same); keep one",
         MLA_ERROR_ARGUMENT},
        {"model:\n  rope_scaling: {type: yarn, rope_type: yarn}\n",
         "model.rope_scaling.rope_type is given twice (type and rope_type are the same)", MLA_ERROR_ARGUMENT},
        {"optim:\n\n  lr: x\n", "line 3: optim.lr: expected a number, got \"x\"", MLA_ERROR_ARGUMENT},
        {"model:\n  kv_lora_ranks: [8,\n    x,\n    9]\n",
         "line 2: model.kv_lora_ranks: expected whole numbers with "
         "commas between, got \"x\"",
         MLA_ERROR_ARGUMENT},
        {"model:\n  kv_lora_ranks: [8, [9]]\n",
         "model.kv_lora_ranks: expected whole numbers with commas between, got a list", MLA_ERROR_ARGUMENT},
        {"data: {source: [{a: b}]}", "data.source: expected text or a list, got a group of keys", MLA_ERROR_ARGUMENT},
        {"data: [1]", "data: expected a group of keys, got a list", MLA_ERROR_ARGUMENT},
        {"data: ''", "data: expected a group of keys, got a single value", MLA_ERROR_ARGUMENT},
        {"optim: {lr: ''}", "optim.lr: expected a number, got \"\"", MLA_ERROR_ARGUMENT},
        {"? [a]\n: 1\n", "line 1: a key is a word, not a list or a group", MLA_ERROR_ARGUMENT},
        {"optim: {{}: 1}", "a key is a word", MLA_ERROR_ARGUMENT},
        {"'': 1", "unknown key \"\"", MLA_ERROR_ARGUMENT},
        {"optim: {'': 1}", "unknown key \"optim.\"", MLA_ERROR_ARGUMENT},
        {"optim: {lr.: 1}", "unknown key \"optim.lr.\"", MLA_ERROR_ARGUMENT},
        {"optim: &o {lr: 1}", "line 1: anchors (&name) and aliases (*name) are not supported", MLA_ERROR_FORMAT},
        {"optim: {lr: &x 1}", "anchors", MLA_ERROR_FORMAT},
        {"data: {source: &x [a]}", "anchors", MLA_ERROR_FORMAT},
        {"a: b\n", "unknown key \"a\"", MLA_ERROR_ARGUMENT},
        {"data: {field: a}\n---\ndata: {field: b}\n", "line 2: a second document begins", MLA_ERROR_FORMAT},
        {"---\n---\n", "line 2: a second document begins", MLA_ERROR_FORMAT},
        {"data:\n  field: \"a\\0b\"\n", "line 2: a text holds a zero character", MLA_ERROR_FORMAT},
        {"optim:\n  lr: 1\n  \xff", "line 3: not valid YAML near there (invalid leading UTF-8 octet)",
         MLA_ERROR_FORMAT},
        {"optim:\n\tlr: 1\n", "line 2: not valid YAML near there (found character that cannot start any token)",
         MLA_ERROR_FORMAT},
        {"data:\n  source: [a,\n", "not valid YAML", MLA_ERROR_FORMAT},
        {"data:\n  field: 'a\n", "not valid YAML", MLA_ERROR_FORMAT},
        {"'data", "not valid YAML", MLA_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *recipe = fresh(context, &mla_recipe_fields);
        check_error(context, load_text(context, &mla_recipe_fields, recipe, cases[i].text), cases[i].status,
                    cases[i].message);
        done_with(&mla_recipe_fields, recipe);
    }
}

/* ---- sizes ---- */

static mla_status load_many(mla_context *context, const char *begin, const char *piece, int64_t times) {
    const size_t length = strlen(piece), first = strlen(begin);
    void *recipe = fresh(context, &mla_recipe_fields);
    char *text = malloc(first + length * (size_t)times + 1);
    assert_non_null(text);
    memcpy(text, begin, first + 1);
    for (int64_t i = 0; i < times; i++) memcpy(text + first + (size_t)i * length, piece, length);
    file_write(yaml_path, text, (int64_t)(first + length * (size_t)times));
    const mla_status status = mla_yaml_load(context, yaml_path, &mla_recipe_fields, recipe);
    done_with(&mla_recipe_fields, recipe);
    free(text);
    return status;
}

static void no_size_does_harm(void **state) {
    mla_context *context = *state;
    check_ok(context, load_many(context, "", "# a line\n", 100000));
    check_error(context, load_many(context, "", "# a line\n", 120000), MLA_ERROR_FORMAT, "at most 1048576");
    check_ok(context, load_many(context, "data:\n  source:\n", "  - a\n", 150000));
    check_error(context, load_many(context, "data:\n  source: ", "[", 500000), MLA_ERROR_ARGUMENT, "got a list");
    check_error(context, load_many(context, "", "{", 500000), MLA_ERROR_ARGUMENT, "a key is a word");
    check_error(context, load_many(context, "", "- ", 500000), MLA_ERROR_ARGUMENT, "a recipe is sections of");
    check_error(context, load_many(context, "data:\n  ", "? ", 500000), MLA_ERROR_ARGUMENT, "a key is a word");
    check_error(context, load_many(context, "", "model.", 100000), MLA_ERROR_ARGUMENT, "a recipe is sections of");
    check_error(context, load_many(context, "? ", "model.rope_scaling.", 50000), MLA_ERROR_ARGUMENT, "unknown key");
    check_error(context, load_many(context, "model:\n  kv_lora_ranks: ", "7 ", 300), MLA_ERROR_ARGUMENT,
                "kv_lora_ranks");
}

/* ---- memory ---- */

static mla_status load_and_save(mla_context *context, const char *to, bool *loaded) {
    mla_recipe recipe;
    mla_status status = mla_recipe_default(context, &recipe);
    if (!status) status = mla_yaml_load(context, yaml_path, &mla_recipe_fields, &recipe);
    *loaded = !status;
    if (!status) status = mla_yaml_save(context, to, &mla_recipe_fields, &recipe);
    mla_recipe_free(&recipe);
    return status;
}

static void every_allocation_may_fail(void **state) {
    mla_context *context = *state;
    static const char text[] = "data: {source: [a, 'b c'], field: ''}\nlora: {targets: q_proj kv_b_proj}\n"
                               "optim: {lr: 1e-4}\nfinetune: {distil: a}\nmodel: {kv_lora_ranks: [1, 2]}\n";
    char *to = path_in(yaml_folder, "again.yaml"), *temporary = path_in(yaml_folder, "again.yaml.tmp");
    bool failed = allocations_can_be_watched();
    file_write(yaml_path, text, (int64_t)strlen(text));
    for (int64_t n = 1; failed; n++) {
        allocations_watch(n);
        bool loaded;
        const mla_status status = load_and_save(context, to, &loaded);
        const allocation_count count = allocations_stop();
        assert_int_equal(count.live, 0);
        failed = count.failed;
        if (failed && !(status && *mla_error(context))) fail_msg("allocation %lld failed unseen", (long long)n);
        if (!loaded) assert_int_equal(status, MLA_ERROR_MEMORY);
        if (!failed) check_ok(context, status);
        assert_false(file_exists(temporary));
        mla_clear_error(context);
    }
    free(to);
    free(temporary);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_value_of_every_table_comes_back),
                                       cmocka_unit_test(strings_of_any_kind_come_back),
                                       cmocka_unit_test(writes_only_what_it_can_read),
                                       cmocka_unit_test(takes_what_others_take),
                                       cmocka_unit_test(names_what_is_wrong),
                                       cmocka_unit_test(no_size_does_harm),
                                       cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, create_context_and_yaml, destroy_context_and_yaml);
}
