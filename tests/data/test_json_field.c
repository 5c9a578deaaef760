/* Fields of lines of JSON: found where the name leads, decoded, and named where they are not there. */
#include "data/text/json_field.h"
#include "tests/support/check.h"

#include <string.h>

static mla_status look(mla_context *context, mla_json_field *field, const char *name, const char *line,
                       const char **text, int64_t *size) {
    return mla_json_field_text(context, field, "a.jsonl:7", name, line, (int64_t)strlen(line), text, size);
}

static void finds_fields(void **state) {
    static const struct {
        const char *line, *name, *text;
    } cases[] = {
        {"{\"text\": \"a\"}", "text", "a"},
        {"\xEF\xBB\xBF {\"id\": [1, {\"text\": \"no\"}], \"text\" : \"a\"} \r", "text", "a"},
        {"{\"text\": \"\"}", "text", ""},
        {"{\"text\": \"a\\n\\u00e9\\ud83d\\ude00\\ud83d\"}", "text", "a\n\u00E9\U0001F600\uFFFD"},
        {"{\"text\": \"\xff\xc3\"}", "text", "\xff\xc3"},
        {"{\"t\\u0065xt\": \"a\"}", "text", "a"},
        {"{\"text\\u0000\": \"no\", \"text\": \"a\", \"tex\": \"no\", \"text.\": \"no\"}", "text", "a"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "text", "b"},
        {"{\"text\": 1, \"text\": \"b\"}", "text", "b"},
        {"{\"meta\": {\"text\": \"a\", \"x\": {\"text\": \"no\"}}, \"text\": \"no\"}", "meta.text", "a"},
        {"{\"a\": {\"b\": {\"c\": \"x\"}}}", "a.b.c", "x"},
        {"{\"meta.text\": \"a\", \"meta\": {\"text\": \"b\"}}", "meta.text", "a"},
        {"{\"meta\": {\"text\": \"b\"}, \"meta.text\": \"a\"}", "meta.text", "a"},
        {"{\"a\": {\"b.c\": \"x\", \"b\": {\"c\": \"y\"}}}", "a.b.c", "x"},
        {"{\"a.b\": {\"c\": \"x\"}, \"a\": {\"b\": {\"c\": \"y\"}}}", "a.b.c", "x"},
        {"{\"meta\": 1, \"meta\": {\"text\": \"a\"}}", "meta.text", "a"},
    };
    mla_json_field field = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text;
        int64_t size;
        check_ok(*state, look(*state, &field, cases[i].name, cases[i].line, &text, &size));
        if (size != (int64_t)strlen(cases[i].text) || memcmp(text, cases[i].text, (size_t)size))
            fail_msg("%s: %.*s", cases[i].line, (int)size, text);
    }
    mla_json_field_free(&field);
}

static void names_what_is_not_there(void **state) {
    static const struct {
        const char *line, *name, *words;
    } cases[] = {
        {"{\"id\": 1, \"body\": \"a\"}", "text", "a.jsonl:7: no field \"text\"; the line has id, body"},
        {"{}", "text", "no field \"text\"; the line has none"},
        {"{\"text\": null}", "text", "no text in field \"text\""},
        {"{\"text\": {\"text\": \"a\"}}", "text", "no text in field \"text\""},
        {"{\"text\": \"a\", \"text\": [\"b\"]}", "text", "no text in field"},
        {"{\"meta\": {\"body\": \"a\"}}", "meta.text", "no field \"meta.text\"; the line has meta"},
        {"{\"meta\": [{\"text\": \"a\"}]}", "meta.text", "no field \"meta.text\""},
        {"{\"meta\": {\"text\": \"a\"}, \"meta\": {}}", "meta.text", "no field \"meta.text\""},
        {"{\"meta\": \"a\"}", "meta.text", "no field \"meta.text\""},
        {"[\"text\"]", "text", "a.jsonl:7: not a JSON object"},
        {"\"text\"", "text", "not a JSON object"},
        {"{\"text\": \"a\"", "text", "a.jsonl:7: not valid JSON: column 13: expected ',' or '}', but the text ends"},
        {"{\"text\": \"a\"} {", "text", "column 15: expected nothing behind the value"},
        {"{\"text\": \"a\", \"x\": nan}", "text", "column 20: expected a value, not 'n'"},
        {"{\n\"text\": a}", "text", "its line 2, column 9: expected a value"},
        {"[1, nan]", "text", "column 5: expected a value"},
    };
    mla_json_field field = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text;
        int64_t size;
        check_error(*state, look(*state, &field, cases[i].name, cases[i].line, &text, &size), MLA_ERROR_FORMAT,
                    cases[i].words);
    }
    mla_json_field_free(&field);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds_fields), cmocka_unit_test(names_what_is_not_there)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
