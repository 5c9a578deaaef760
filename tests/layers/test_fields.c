/* The schema of keys: what text, lists and JSON become, for every kind of field. */
#include "autograd/schema/fields.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <string.h>

typedef enum { RED, GREEN } colour;
typedef struct {
    mla_list words;
    int64_t whole;
} inner;
typedef struct {
    int64_t whole;
    double number;
    bool flag;
    colour kind;
    char *text, *usual_text;
    mla_list names, paths, words, usual_words;
    mla_ints ints;
    inner group;
} thing;

static const char *const colours[] = {"red", "green", NULL};

static const mla_field inner_fields[] = {
    {"words", MLA_FIELD_WORDS, offsetof(inner, words), .help = "inner words"},
    {"whole", MLA_FIELD_INT, offsetof(inner, whole), 3, .alias = "entire", .help = "inner number"},
};
static const mla_field_table inner_table = {inner_fields, 2, sizeof(inner)};

#define AT(member) offsetof(thing, member)
static const mla_field fields[] = {
    {"whole", MLA_FIELD_INT, AT(whole), 7, -9, 9, .help = "a number"},
    {"number", MLA_FIELD_FLOAT, AT(number), 0.5, .help = "another"},
    {"flag", MLA_FIELD_BOOL, AT(flag), 1, .help = "a switch"},
    {"kind", MLA_FIELD_ENUM, AT(kind), .names = colours, .help = "a colour"},
    {"text", MLA_FIELD_STRING, AT(text), .help = "a text"},
    {"usual_text", MLA_FIELD_STRING, AT(usual_text), .text = "usual", .help = "a text with a default"},
    {"paths", MLA_FIELD_LIST, AT(paths), .help = "paths"},
    {"names", MLA_FIELD_LIST, AT(names), .cuts_text = true, .help = "names"},
    {"words", MLA_FIELD_WORDS, AT(words), .help = "words"},
    {"usual_words", MLA_FIELD_WORDS, AT(usual_words), .text = "one, two", .help = "words with a default"},
    {"ints", MLA_FIELD_INTS, AT(ints), 0, -9, 99, .help = "numbers"},
    {"group", MLA_FIELD_GROUP, AT(group), .group = &inner_table, .help = "a group"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(thing)};

static thing fresh(mla_context *context) {
    thing t;
    check_ok(context, mla_fields_default(context, &table, &t));
    return t;
}

static mla_status set(mla_context *context, thing *t, const char *key, const char *text) {
    return mla_fields_set(context, "w ", &table, t, key, text);
}

static mla_status set_list(mla_context *context, thing *t, const char *key, const char *const *items) {
    mla_list list = {.items = (char **)(uintptr_t)items};
    while (items[list.count]) list.count++;
    return mla_fields_set_list(context, "w ", &table, t, key, &list);
}

static mla_status set_json(mla_context *context, thing *t, const char *text) {
    json_t *json;
    check_ok(context, mla_json_parse(context, "", text, &json));
    const mla_status status = mla_fields_read_json(context, "w ", &table, t, json, NULL);
    json_decref(json);
    return status;
}

static void check_list(const mla_list *list, const char *const *expected) {
    int64_t i = 0;
    for (; i < list->count && expected[i]; i++) assert_string_equal(list->items[i], expected[i]);
    assert_int_equal(i, list->count);
    assert_null(expected[i]);
}

#define LIST(...) \
    (const char *const[]) { __VA_ARGS__, NULL }
#define NONE \
    (const char *const[]) { NULL }

static void words_stand_between_commas_and_spaces(void **state) {
    mla_context *context = *state;
    thing t = fresh(context);
    static const char *const texts[] = {"a,b:1,*c", "a b:1 *c", "a, b:1 ,*c", " a\tb:1\n*c ", "a\r\n,\tb:1   *c"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check_ok(context, set(context, &t, "words", texts[i]));
        check_list(&t.words, LIST("a", "b:1", "*c"));
        check_ok(context, set_list(context, &t, "group.words", LIST("first", texts[i], "last")));
        check_list(&t.group.words, LIST("first", "a", "b:1", "*c", "last"));
    }
    static const char *const wrong[] = {",", "a,", ",a", "a,,b", "a, ,b", "a ,"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char message[64];
        snprintf(message, sizeof message, "w words: expected words with commas between, got \"%s\" (words)", wrong[i]);
        check_error(context, set(context, &t, "words", wrong[i]), MLA_ERROR_ARGUMENT, message);
        check_error(context, set_list(context, &t, "words", LIST("x", wrong[i])), MLA_ERROR_ARGUMENT, message);
        check_list(&t.words, LIST("a", "b:1", "*c")); /* what is wrong changes nothing */
    }
    check_list(&t.usual_words, LIST("one", "two"));
    check_ok(context, set(context, &t, "words", ""));
    check_list(&t.words, NONE);
    mla_fields_free(&table, &t);
}

static void names_stand_between_commas(void **state) {
    mla_context *context = *state;
    thing t = fresh(context);
    check_ok(context, set(context, &t, "names", " not spam ,spam,a: b "));
    check_list(&t.names, LIST("not spam", "spam", "a: b"));
    check_ok(context, set_list(context, &t, "names", LIST("one, two", "three")));
    check_list(&t.names, LIST("one, two", "three"));
    check_ok(context, set_json(context, &t, "{\"names\": \"a, b\"}"));
    check_list(&t.names, LIST("a", "b"));
    static const char *const wrong[] = {",", "a,", ",a", "a,,b", "a, ,b", " "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_error(context, set(context, &t, "names", wrong[i]), MLA_ERROR_ARGUMENT, "w names: expected");
    check_list(&t.names, LIST("a", "b"));
    check_ok(context, set(context, &t, "names", ""));
    check_list(&t.names, NONE);
    mla_fields_free(&table, &t);
}

static void whole_numbers_as_well(void **state) {
    mla_context *context = *state;
    thing t = fresh(context);
    static const char *const texts[] = {"64,-8,3", "64 -8 3", " 64, -8\t3 "};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        t.ints.count = 0;
        check_ok(context, set(context, &t, "ints", texts[i]));
        assert_int_equal(t.ints.count, 3);
        assert_int_equal(t.ints.items[1], -8);
    }
    check_ok(context, set_list(context, &t, "ints", LIST("1", "2,3", "4 5")));
    assert_int_equal(t.ints.count, 5);
    assert_int_equal(t.ints.items[4], 5);
    check_error(context, set(context, &t, "ints", "6 x"), MLA_ERROR_ARGUMENT, "got \"6 x\"");
    check_error(context, set(context, &t, "ints", "6 1000"), MLA_ERROR_ARGUMENT, "ints: 1000 is too large");
    assert_int_equal(t.ints.count, 5);
    mla_fields_free(&table, &t);
}

static void paths_are_taken_as_they_are(void **state) {
    mla_context *context = *state;
    thing t = fresh(context);
    check_ok(context, set(context, &t, "paths", " a, b c"));
    check_list(&t.paths, LIST(" a, b c"));
    check_ok(context, set_list(context, &t, "paths", LIST("x y", ",")));
    check_list(&t.paths, LIST("x y", ","));
    mla_fields_free(&table, &t);
}

static void json_is_read_alike(void **state) {
    mla_context *context = *state;
    thing t = fresh(context);
    check_ok(context, set_json(context, &t,
                               "{\"words\": [\"a,b\", \"c d\"], \"paths\": [\"a,b\"], \"ints\": [1, 2],"
                               " \"group\": {\"words\": \"x, y\", \"entire\": 5}, \"flag\": false}"));
    check_list(&t.words, LIST("a", "b", "c", "d"));
    check_list(&t.paths, LIST("a,b"));
    check_list(&t.group.words, LIST("x", "y"));
    assert_int_equal(t.ints.count, 2);
    assert_int_equal(t.group.whole, 5);
    assert_false(t.flag);
    static const char *const wrong[][2] = {
        {"{\"words\": 1}", "w words: expected words with commas between, got a whole number (words)"},
        {"{\"words\": [\"a\", [\"b\"]]}", "words: expected words with commas between, got a list"},
        {"{\"ints\": [1, \"2\"]}", "ints: expected whole numbers with commas between, got the text \"2\""},
        {"{\"whole\": [1]}", "whole: expected a whole number, got a list"},
        {"{\"whole\": {}}", "whole: expected a whole number, got a group of keys"},
        {"{\"group\": []}", "group: expected a group of keys, got a list"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_error(context, set_json(context, &t, wrong[i][0]), MLA_ERROR_ARGUMENT, wrong[i][1]);
    mla_fields_free(&table, &t);
}

static void what_is_empty_is_not_given(void **state) {
    mla_context *context = *state;
    static const char *const texts[] = {"text", "usual_text", "paths", "words", "usual_words", "ints"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        thing t = fresh(context);
        char json[64];
        for (int way = 0; way < 4; way++) {
            check_ok(context, set(context, &t, texts[i], "5"));
            snprintf(json, sizeof json, strcmp(texts[i], "ints") ? "{\"%s\": \"\"}" : "{\"%s\": []}", texts[i]);
            if (way == 0 || (way < 3 && i < 2)) check_ok(context, set(context, &t, texts[i], ""));
            else if (way == 1) check_ok(context, set_list(context, &t, texts[i], NONE));
            else if (way == 2) check_ok(context, set_list(context, &t, texts[i], LIST("", "")));
            else check_ok(context, set_json(context, &t, json));
            assert_null(t.text);
            assert_string_equal(t.usual_text, "usual");
            check_list(&t.paths, NONE);
            check_list(&t.words, NONE);
            check_list(&t.usual_words, LIST("one", "two"));
            assert_int_equal(t.ints.count, 0);
        }
        mla_fields_free(&table, &t);
    }
    thing t = fresh(context);
    check_ok(context, set_list(context, &t, "paths", LIST("", "a", "")));
    check_list(&t.paths, LIST("a"));
    check_error(context, set(context, &t, "kind", ""), MLA_ERROR_ARGUMENT,
                "kind: expected one of red, green, got \"\"");
    mla_fields_free(&table, &t);
}

static void lists_are_for_fields_of_lists(void **state) {
    mla_context *context = *state;
    thing t = fresh(context);
    check_error(context, set_list(context, &t, "number", LIST("1")), MLA_ERROR_ARGUMENT,
                "w number: expected a number, got a list (another)");
    check_error(context, set_list(context, &t, "wrods", LIST("1")), MLA_ERROR_ARGUMENT, "did you mean \"words\"?");
    mla_fields_free(&table, &t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(words_stand_between_commas_and_spaces),
                                       cmocka_unit_test(names_stand_between_commas),
                                       cmocka_unit_test(whole_numbers_as_well),
                                       cmocka_unit_test(paths_are_taken_as_they_are),
                                       cmocka_unit_test(json_is_read_alike),
                                       cmocka_unit_test(what_is_empty_is_not_given),
                                       cmocka_unit_test(lists_are_for_fields_of_lists)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
