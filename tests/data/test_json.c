/* What Python's json reads is read, with the same values; what it refuses is refused, with its place; no byte behind
 * the text is touched. */
#include "autograd/json/reader.h"
#include "autograd/json/tree.h"
#include "tests/support/allocations.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Texts, and what Python 3.11 writes of what it read; NULL: it refuses them. Of what jansson has no value for
 * (tree.h), the value that stands for it. */
static const char *const cases[][2] = {
    {"", NULL},
    {" ", NULL},
    {"null", "null"},
    {" true ", "true"},
    {"false", "false"},
    {"nul", NULL},
    {"True", NULL},
    {"None", NULL},
    {"0", "0"},
    {"-0", "0"},
    {"7", "7"},
    {"-12", "-12"},
    {"01", NULL},
    {"-", NULL},
    {"+1", NULL},
    {".5", NULL},
    {"1.", NULL},
    {"1.5", "1.5"},
    {"1e5", "100000.0"},
    {"1E+2", "100.0"},
    {"1e-2", "0.01"},
    {"1e", NULL},
    {"1e+", NULL},
    {"0x10", NULL},
    {"1_000", NULL},
    {"9223372036854775807", "9223372036854775807"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"9223372036854775808", "9223372036854775808.0"},
    {"-9223372036854775809", "-9223372036854775809.0"},
    {"340282366920938463463374607431768211456", "340282366920938463463374607431768211456.0"},
    {"1e999", "\"1e999\""},
    {"-1e999", "\"-1e999\""},
    {"1e-999", "0.0"},
    {"NaN", "\"NaN\""},
    {"Infinity", "\"Infinity\""},
    {"-Infinity", "\"-Infinity\""},
    {"-NaN", NULL},
    {"nan", NULL},
    {"inf", NULL},
    {"+Infinity", NULL},
    {"[NaN,Infinity,-Infinity]", "[\"NaN\",\"Infinity\",\"-Infinity\"]"},
    {"\"a\"", "\"a\""},
    {"\"", NULL},
    {"\"a", NULL},
    {"'a'", NULL},
    {"\"\\\"", NULL},
    {"\"\\\"\"", "\"\\\"\""},
    {"\"\\/\\b\\f\\n\\r\\t\\\\\"", "\"/\\b\\f\\n\\r\\t\\\\\""},
    {"\"\\u0041\"", "\"A\""},
    {"\"\\u00e9\\u20ac\"", "\"\303\251\342\202\254\""},
    {"\"\\ud83d\\ude00\"", "\"\360\237\230\200\""},
    {"\"\\ud83d\"", "\"\357\277\275\""},
    {"\"\\ude00x\"", "\"\357\277\275x\""},
    {"\"\\ud83d\\ud83d\\ude00\"", "\"\357\277\275\360\237\230\200\""},
    {"\"\\ud83dx\"", "\"\357\277\275x\""},
    {"\"\\ud83d\\n\"", "\"\357\277\275\\n\""},
    {"\"\\ud83d\\u12\"", NULL},
    {"\"\\u12g4\"", NULL},
    {"\"\\x41\"", NULL},
    {"\"\\u\"", NULL},
    {"\"\\U00000041\"", NULL},
    {"\"a\\u0000b\"", "\"a\\u0000b\""},
    {"{\"a\\u0000b\": 1}", "{\"a\357\277\275b\":1}"},
    {"\"a\nb\"", NULL},
    {"\"a\011b\"", NULL},
    {"\"\177\"", "\"\177\""},
    {"\"\037\"", NULL},
    {"\"\303\251\360\237\230\200\"", "\"\303\251\360\237\230\200\""},
    {"[]", "[]"},
    {"[ ]", "[]"},
    {"[1]", "[1]"},
    {"[1,]", NULL},
    {"[,1]", NULL},
    {"[1,,2]", NULL},
    {"[1 2]", NULL},
    {"[1", NULL},
    {"[", NULL},
    {"]", NULL},
    {"[1}", NULL},
    {"{}", "{}"},
    {"{ }", "{}"},
    {"{\"a\":1}", "{\"a\":1}"},
    {"{\"a\" : 1 , \"b\":[2,{\"c\":null}]}", "{\"a\":1,\"b\":[2,{\"c\":null}]}"},
    {"{\"a\":1,}", NULL},
    {"{,}", NULL},
    {"{\"a\"}", NULL},
    {"{\"a\":}", NULL},
    {"{a:1}", NULL},
    {"{1:2}", NULL},
    {"{'a':1}", NULL},
    {"{\"a\":1 \"b\":2}", NULL},
    {"{\"a\":1", NULL},
    {"{\"a\":1}}", NULL},
    {"{\"a\":1}x", NULL},
    {"1 2", NULL},
    {"\"a\" \"b\"", NULL},
    {"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}"},
    {"{\"a\":{\"x\":1},\"a\":{\"y\":2}}", "{\"a\":{\"y\":2}}"},
    {"\357\273\2771", "1"},
    {"/* c */ 1", NULL},
    {"// c\n1", NULL},
    {"# c\n1", NULL},
    {"\0131", NULL},
    {"\302\2401", NULL},
    {"\343\200\2001", NULL},
    {"[1]\n", "[1]"},
    {"\015\n\011 1", "1"},
    {"1;", NULL},
    {"tru", NULL},
    {"truefalse", NULL},
    {"[true,false,null]", "[true,false,null]"},
    {"\"\\u0022\"", "\"\\\"\""},
    {"{\"\\u0061\":1}", "{\"a\":1}"},
    {"1.0", "1.0"},
    {"10.0", "10.0"},
    {"1e3", "1000.0"},
    {"0.1", "0.1"},
    {"123456789012345678", "123456789012345678"},
    {"0.30000000000000004", "0.30000000000000004"},
    {"1.7976931348623157e308", "1.7976931348623157e+308"},
    {"5e-324", "5e-324"},
    {"-0.0", "-0.0"},
    {"2.2250738585072011e-308", "2.225073858507201e-308"},
    {"[[[[[[[[1]]]]]]]]", "[[[[[[[[1]]]]]]]]"},
    {"[1]]", NULL},
    {"[{}]", "[{}]"},
    {"{\"a\":[]}", "{\"a\":[]}"},
    {"{\"\":0}", "{\"\":0}"},
    {"\"\\uD83D\\uDE00\"", "\"\360\237\230\200\""},
    {"123abc", NULL},
    {"-a", NULL},
    {"[-]", NULL},
    {"\"abcdefgh\\nijklmnop\\\"q\"", "\"abcdefgh\\nijklmnop\\\"q\""},
    {"\"12345678\001\"", NULL},
    {"\"abcdefg\\u00e9\"", "\"abcdefg\303\251\""},
};
enum { CASES = sizeof cases / sizeof *cases };

/* The text at the end of a page, the next one of which cannot be read. */
typedef struct {
    char *map;
    size_t page;
} guarded;

static const char *guard(guarded *g, const char *text, size_t length) {
    g->page = 1 << 20;
    g->map = mmap(NULL, g->page + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g->map != MAP_FAILED && length <= g->page);
    assert_int_equal(mprotect(g->map + g->page, 4096, PROT_NONE), 0);
    return memcpy(g->map + g->page - length, text, length);
}

static void unguard(guarded *g) { munmap(g->map, g->page + 4096); }

/* The last event: MLA_JSON_END or MLA_JSON_WRONG. */
static mla_json_event walk(const char *text, int64_t length, mla_json *json) {
    mla_json_begin(json, text, length);
    while (mla_json_next(json) > MLA_JSON_END) continue;
    return json->event;
}

static void reads_as_python_does(void **state) {
    for (int i = 0; i < CASES; i++) {
        const char *text = cases[i][0], *expected = cases[i][1];
        const int64_t length = (int64_t)strlen(text);
        guarded g;
        mla_json json;
        json_t *tree;
        const char *copy = guard(&g, text, (size_t)length);
        if ((walk(copy, length, &json) == MLA_JSON_END) != (expected != NULL)) fail_msg("%s: %s", text, json.problem);
        if (!expected)
            check_error(*state, mla_json_read(*state, "x: ", copy, length, 0, &tree), MLA_ERROR_FORMAT, "x: ");
        else {
            check_ok(*state, mla_json_read(*state, "", copy, length, MLA_JSON_ZEROS, &tree));
            json_t *same = json_loads(expected, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            if (!json_equal(tree, same))
                fail_msg("%s: not %s but %s", text, expected, json_dumps(tree, JSON_ENCODE_ANY));
            json_decref(same);
            json_decref(tree);
        }
        mla_json_free(&json);
        unguard(&g);
    }
}

/* Of a document, no beginning is one, and none makes the reader go on behind its end. */
static void every_cut_is_refused(void **state) {
    static const char text[] =
        "{\"a\\u00e9\": [1, -2.5e+10, NaN, -Infinity, true, null], \"b\": \"\\ud83d\\ude00 x\\n\", \"c\": {}}";
    for (size_t cut = 0; cut < sizeof text - 1; cut++) {
        guarded g;
        json_t *tree;
        const char *copy = guard(&g, text, cut);
        check_error(*state, mla_json_read(*state, "", copy, (int64_t)cut, 0, &tree), MLA_ERROR_FORMAT,
                    "line 1, column");
        assert_null(tree);
        unguard(&g);
    }
}

/* Each byte at each place in a string: only a quote ends it, only control characters and lone backslashes are wrong. */
static void strings_end_where_they_end(void **state) {
    (void)state;
    for (int at = 0; at < 24; at++)
        for (int byte = 0; byte < 256; byte++) {
            char text[32] = "\"........................\"";
            mla_json json;
            text[1 + at] = (char)byte;
            mla_json_begin(&json, text, 26);
            const mla_json_event event = mla_json_next(&json),
                                 expected = byte < 32 || byte == '\\' ? MLA_JSON_WRONG : MLA_JSON_STRING;
            if (event != expected) fail_msg("byte %d at %d", byte, at);
            if (event) assert_int_equal(json.size, byte == '"' ? at : 24);
            else
                assert_int_equal(json.at,
                                 (byte == '\\' && at == 23) || (!byte && !at) ? 0 : 1 + at); /* no end; as UTF-16 */
            mla_json_free(&json);
        }
}

static void says_where(void **state) {
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"{\n \"\303\251\": tru}", "line 2, column 7: expected a value, not 't'"},
        {"[1,\n2", "line 2, column 2: expected ',' or ']', but the text ends"},
        {"{\"a\": \"\n\"}", "line 1, column 8: a string holds the control character 0x0a; it is written \\u000a (\\n)"},
        {"{\"a\": \"b", "line 1, column 7: the string that begins here does not end"},
        {"{\"a\": 1,}", "line 1, column 9: expected a key behind the comma"},
        {"[1,]", "line 1, column 4: expected a value behind the comma"},
        {"{'a': 1}", "line 1, column 2: expected a key between double quotes, not '\''"},
        {"['a']", "strings are between double quotes"},
        {"[True]", "true, false, null: lower-case letters"},
        {"[007]", "line 1, column 2: a number begins with 0"},
        {"[1.]", "line 1, column 4: expected a digit, not ']'"},
        {"\"\\x\"", "line 1, column 2: no escape begins so"},
        {"{} {}", "line 1, column 4: expected nothing behind the value, not '{'"},
        {"{\"a\" 1}", "line 1, column 6: expected ':' behind a key, not '1'"},
        {"", "line 1, column 1: expected a value, but the text ends"},
    };
    json_t *tree;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_error(*state, mla_json_parse(*state, "f: ", wrong[i].text, &tree), MLA_ERROR_FORMAT, wrong[i].words);
    check_error(*state, mla_json_read(*state, "f:7: ", "{\"a\": tru}", 10, MLA_JSON_LINE, &tree), MLA_ERROR_FORMAT,
                "f:7: not valid JSON: column 7: expected a value");
    check_error(*state, mla_json_read(*state, "", "\xFF\xFE{\0}\0", 6, 0, &tree), MLA_ERROR_FORMAT, "it is UTF-16");
    check_error(*state, mla_json_read(*state, "", "\0{\0}", 4, 0, &tree), MLA_ERROR_FORMAT, "iconv -f UTF-16 -t UTF-8");
    check_error(*state, mla_json_read(*state, "", "{}\0", 3, 0, &tree), MLA_ERROR_FORMAT, "not the byte 0x00");
}

static char *nested(int64_t depth) {
    char *text = malloc((size_t)depth * 2);
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    return text;
}

static void depth_has_a_limit(void **state) {
    const int64_t most = MLA_JSON_DEEPEST, tree_most = MLA_JSON_TREE_DEEPEST;
    mla_json json;
    json_t *tree;
    char *text = nested(most + 1);
    assert_int_equal(walk(text + 1, 2 * most, &json), MLA_JSON_END);
    assert_true(json.capacity <= most / 4);
    mla_json_free(&json);
    assert_int_equal(walk(text, 2 * most + 2, &json), MLA_JSON_WRONG);
    assert_non_null(strstr(json.problem, "within each other"));
    mla_json_free(&json);

    check_ok(*state, mla_json_read(*state, "", text + most + 1 - tree_most, 2 * tree_most, 0, &tree));
    json_decref(tree);
    check_error(*state, mla_json_read(*state, "", text + most - tree_most, 2 * tree_most + 2, 0, &tree),
                MLA_ERROR_FORMAT, "more than 10000 objects and lists within each other");
    free(text);
}

static void skips_values(void **state) {
    (void)state;
    static const char text[] = "{\"a\": {\"x\": [1, {}, \"]\"]}, \"b\": 2, \"c\": [[]], \"d\": \"e\"}";
    mla_json json;
    mla_json_begin(&json, text, sizeof text - 1);
    assert_int_equal(mla_json_next(&json), MLA_JSON_OBJECT);
    for (const char *key = "abcd"; *key; key++) {
        assert_int_equal(mla_json_next(&json), MLA_JSON_KEY);
        assert_int_equal(json.text[0], *key);
        assert_true(mla_json_skip(&json) > MLA_JSON_END);
    }
    assert_int_equal(mla_json_next(&json), MLA_JSON_OBJECT_END);
    assert_int_equal(mla_json_next(&json), MLA_JSON_END);
    assert_int_equal(mla_json_next(&json), MLA_JSON_END);

    mla_json_restart(&json, "[[1, }", 6);
    assert_int_equal(mla_json_next(&json), MLA_JSON_ARRAY);
    assert_int_equal(mla_json_skip(&json), MLA_JSON_WRONG);
    assert_int_equal(mla_json_next(&json), MLA_JSON_WRONG);
    mla_json_free(&json);
}

/* Of bytes that are no UTF-8, and of zeros where C's strings are asked for. */
static void trees_hold_valid_text(void **state) {
    static const char text[] = "{\"\xff\\u0000\": \"a\xc3\xe2\x82\\u0000\"}";
    json_t *tree;
    check_ok(*state, mla_json_read(*state, "", text, sizeof text - 1, 0, &tree));
    assert_string_equal(json_string_value(json_object_get(tree, "\uFFFD\uFFFD")), "a\uFFFD\uFFFD\uFFFD\uFFFD");
    json_decref(tree);
    check_ok(*state, mla_json_read(*state, "", "[\"a\\u0000b\"]", 12, MLA_JSON_ZEROS, &tree));
    assert_int_equal(json_string_length(json_array_get(tree, 0)), 3);
    json_decref(tree);
}

static void note_warning(void *user, const char *message) { snprintf(user, 1024, "%s", message); }

static void the_last_of_equal_keys_counts(void **state) {
    static const char text[] = "{\"r\": {\"x\": 1, \"x\": 2}, \"x\": 3, \"r\": 4}";
    char warning[1024] = "";
    mla_context *context;
    json_t *tree;
    (void)state;
    assert_int_equal(mla_context_create(&context, &(mla_context_options){.warn = note_warning, .user = warning}),
                     MLA_OK);
    check_ok(context, mla_json_parse(context, "c.json: ", text, &tree));
    assert_int_equal(json_integer_value(json_object_get(tree, "r")), 4);
    assert_non_null(strstr(warning, "c.json: the key \"x\" is given twice in one object, and 1 more"));
    json_decref(tree);

    warning[0] = '\0';
    check_ok(context, mla_json_read(context, "", text, sizeof text - 1, MLA_JSON_QUIET, &tree));
    assert_string_equal(warning, "");
    json_decref(tree);
    check_error(context, mla_json_read(context, "", text, sizeof text - 1, MLA_JSON_UNIQUE, &tree), MLA_ERROR_FORMAT,
                "the key \"x\" is given twice");
    mla_context_destroy(context);
}

/* Whichever allocation fails, it is an error, and nothing stays behind. */
static void no_memory_is_said(void **state) {
    static const char text[] =
        "{\"a\": [1, 2.5, [[[[[[[[[[\"x\\n\"]]]]]]]]]], NaN], \"b\": {\"c\": null, \"c\": true}}";
    mla_status status = MLA_ERROR_MEMORY;
    if (!allocations_can_be_watched()) skip();
    for (int64_t n = 1; status; n++) {
        json_t *tree;
        allocations_watch(n);
        status = mla_json_read(*state, "", text, sizeof text - 1, MLA_JSON_QUIET, &tree);
        json_decref(tree);
        const allocation_count count = allocations_stop();
        assert_int_equal(count.live, 0);
        assert_int_equal(status, count.failed ? MLA_ERROR_MEMORY : MLA_OK);
        mla_clear_error(*state);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_as_python_does),       cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(strings_end_where_they_end), cmocka_unit_test(says_where),
        cmocka_unit_test(depth_has_a_limit),          cmocka_unit_test(skips_values),
        cmocka_unit_test(trees_hold_valid_text),      cmocka_unit_test(the_last_of_equal_keys_counts),
        cmocka_unit_test(no_memory_is_said)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
