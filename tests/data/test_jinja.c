/* The interpreter of chat templates: texts as jinja2 renders them, and what is refused. What is expected came from
 * jinja2 as transformers sets it up. */
#include "data/jinja/jinja.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *text, *expected;
} example;

static const char variables[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \" Hi\\n\"}, {\"role\": \"assistant\", \"content\": \"<b>é'\\\"\", \"n\": 3}], \"s\": \"Hello, World\", \"u\": \"日本 é\", \"n\": 7, \"f\": 2.5, \"nil\": null, \"yes\": true, \"l\": [3, 1, 2], \"w\": [\"b\", \"A\", \"c\"], \"d\": {\"b\": 1, \"a\": [1, {\"k\": null}]}}";

static const example white_space[] = {
    {"a \n {% if yes %} \n b\n {% endif %}\nc\n", "a \n \n b\nc"},
    {"  {%- if yes -%}  x  {%- endif -%}  y", "xy"},
    {"  {%+ if yes +%}\nx\n  {%+ endif %}\nz", "  \nx\n  z"},
    {"{# c #}\nx\n  {#- d -#}  y\n", "xy"},
    {"a\n{{- 1 -}}\nb", "a1b"},
    {"a\r\nb\rc", "a\nb\nc"},
    {"{{ '%}' }}{{ {'a': 1}['a'] }}", "%}1"},
    {"x{% if yes %} y\n  {% endif %}", "x y\n"},
};

static const example expressions[] = {
    {"{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2.5 % 2 }}",
     "5.0 3 -4 2 1024 0.5"},
    {"{{ 1 ~ 'a' ~ none ~ true ~ 1.0 ~ 1e20 ~ 1e-7 }}", "1aNoneTrue1.01e+201e-07"},
    {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' in 'cat' }} {{ 3 not in l }} {{ 'b' in d }}",
     "True False True True True False True"},
    {"{{ 'x' if not yes else 'y' }}{{ 'z' if not yes }}{{ nil or 5 }}{{ 0 and 1 }}", "y50"},
    {"{{ s[0] }}{{ s[-1] }} {{ s[::-1] }} {{ u[1:] }} {{ l[::2] }} {{ s[9:2:-3] }} {{ l[5] }} {{ messages[-1].content }}",
     "Hd dlroW ,olleH 本 é [3, 2] r l  <b>é'\""},
    {"{{ [1, 'a', none, 2.0, (1,), ()] }} {{ {'a': 'it\\'s', 2: \"q\\\"\"} }}",
     "[1, 'a', None, 2.0, (1,), ()] {'a': \"it's\", 2: 'q\"'}"},
    {"{{ 'a' 'b' + 'c\\n\\t\\x41\\u00e9\\\\\\d' }}", "abc\n\tAé\\\\d"},
    {"{{ missing }}{{ missing is defined }}{{ messages[0].missing }}{% for x in missing %}x{% endfor %}", "False"},
    {"{{ 10|abs ~ -3|abs }} {{ n is odd }} {{ n is divisibleby 7 }} {{ n is not none }} {{ n in [7] and not n == 8 }}",
     "103 True True True True"},
    {"{{ 'é'|length }} {{ u|length }} {{ [1,2]*2 }} {{ 'ab'*2 }}", "1 4 [1, 2, 1, 2] abab"},
};

static const example statements[] = {
    {"{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }}{{ loop.revindex0 }}{{ loop.previtem is defined }},{% endfor %}",
     "1/2TrueFalse1False,2/2FalseTrue0True,"},
    {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for x in [] %}{% else %}none{% endfor %}",
     "b=1;a=[1, {'k': None}];none"},
    {"{% for x in l if x > 1 %}{{ x }}{{ loop.index0 }}{% endfor %}", "3021"},
    {"{% for x in range(9) %}{% if x == 5 %}{% break %}{% endif %}{% if x is odd %}{% continue %}{% endif %}{{ x }}{% endfor %}",
     "024"},
    {"{% for x in l %}{% break %}{% else %}quirk{% endfor %}", "quirk"},
    {"{% set x = 1 %}{% for y in l %}{% set x = y %}{{ x }}{% endfor %}{{ x }}", "3121"},
    {"{% set ns = namespace(x=1, y='a') %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}{{ ns.y }}",
     "7a"},
    {"{% set a, b = (1, 2) %}{{ a }}{{ b }}{% set c | upper %} x{{ a }} {% endset %}[{{ c }}]", "12[ X1 ]"},
    {"{% macro m(a, b='B', c=b) %}{{ a }}{{ b }}{{ c }}|{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m(b=3) }}",
     "1BB|1B2|33|"},
    {"{% if n == 1 %}a{% elif n == 7 %}b{% else %}c{% endif %}{% filter upper %}x{{ s }}{% endfilter %}",
     "bXHELLO, WORLD"},
    {"{% generation %}a{% endgeneration %}", "a"},
};

static const example filters[] = {
    {"{{ s|upper }} {{ s|lower }} {{ 'don\\'t do-it é'|title }} {{ 'ab CD'|capitalize }} {{ ' x '|trim }}[{{ 'xxaxx'|trim('x') }}]",
     "HELLO, WORLD hello, world Don't Do-It É Ab cd x[a]"},
    {"{{ d|tojson }} {{ d|tojson(indent=2) }} {{ messages[1]|tojson(sort_keys=true, separators=(',', ':')) }} {{ 'é\\u2028'|tojson(ensure_ascii=true) }}",
     "{\"b\": 1, \"a\": [1, {\"k\": null}]} {\n  \"b\": 1,\n  \"a\": [\n    1,\n    {\n      \"k\": null\n    }\n  ]\n} {\"content\":\"<b>é'\\\"\",\"n\":3,\"role\":\"assistant\"} \"\\u00e9\\u2028\""},
    {"{{ l|sort }} {{ w|sort }} {{ w|sort(reverse=true, case_sensitive=true) }} {{ l|max }} {{ w|min }} {{ l|sum }} {{ ['a','A','b']|unique|list }}",
     "[1, 2, 3] ['A', 'b', 'c'] ['c', 'b', 'A'] 3 A 6 ['a', 'b']"},
    {"{{ messages|map(attribute='role')|join(', ') }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('n')|map(attribute='role')|first }}",
     "user, assistant 1 user"},
    {"{{ l|map('string')|join('-') }} {{ [0, 1, none]|select|list }} {{ l|reject('gt', 1)|list }} {{ l|batch(2)|list }}",
     "3-1-2 [1] [1] [[3, 1], [2]]"},
    {"{{ missing|default('d') }} {{ ''|default('d') }} {{ ''|default('d', true) }} {{ '42x'|int }} {{ '42'|int + 1 }} {{ '1.5'|float }} {{ 2.5|round }} {{ 2.345|round(2) }} {{ 7|round }}",
     "d  d 0 43 1.5 2.0 2.35 7"},
    {"{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent('> ', blank=true) }}",
     "a\n    b\n\n    c|  a\n  b|a\n> \n> b"},
    {"{{ d|dictsort }} {{ d|items|list }} {{ d|list }} {{ s|replace('l', 'L', 2) }} {{ s|first }}{{ s|last }} {{ s|reverse }}",
     "[('a', [1, {'k': None}]), ('b', 1)] [('b', 1), ('a', [1, {'k': None}])] ['b', 'a'] HeLLo, World Hd dlroW ,olleH"},
    {"{{ '<a>'|e }} {{ '<a>'|safe }} {{ '<a>'|safe + '<b>' }} {{ ('<a>'|safe) ~ '<b>' }}",
     "&lt;a&gt; <a> <a>&lt;b&gt; <a><b>"},
    {"{{ nil|tojson }} {{ nil|string }} {{ f|tojson }} {{ 1e16|string }} {{ 123456789.125 }} {{ [1.0, 1e100] }}",
     "null None 2.5 1e+16 123456789.125 [1.0, 1e+100]"},
};

static const example methods[] = {
    {"{{ s.split() }} {{ s.split('l') }} {{ s.split('l', 1) }} {{ s.rsplit('l', 1) }} {{ 'a\\r\\nb\\n'.splitlines() }} {{ 'a,b'.partition(',') }}",
     "['Hello,', 'World'] ['He', '', 'o, Wor', 'd'] ['He', 'lo, World'] ['Hello, Wor', 'd'] ['a', 'b'] ('a', ',', 'b')"},
    {"{{ '\\n x '.strip() }}|{{ 'abcba'.strip('ab') }}|{{ 'xxa'.lstrip('x') }}|{{ 'a\\n\\n'.rstrip('\\n') }}",
     "x|c|a|a"},
    {"{{ s.startswith('He') }} {{ s.endswith(('x', 'ld')) }} {{ s.find('o') }} {{ s.rfind('o') }} {{ s.count('l') }} {{ 'aa'.replace('', '-') }}",
     "True True 4 8 3 -a-a-"},
    {"{{ d.get('b') }} {{ d.get('q') }} {{ d.get('q', 1) }} {{ d.keys()|list }} {{ d['items'] is defined }} {{ d.values()|list }}",
     "1 None 1 ['b', 'a'] True [1, [1, {'k': None}]]"},
    {"{{ '{} and {x} {{}}'.format(1, x='y') }} {{ ', '.join(w) }} {{ 'Ab'.upper() }}{{ 'Ab'.lower() }}{{ 'ab cd'.title() }}{{ '12'.isdigit() }}",
     "1 and y {} b, A, c ABabAb CdTrue"},
    {"{{ messages.append is defined }} {{ l.index(1) }} {{ l.count(3) }} {{ 'abc'.removeprefix('a') }} {{ 'é'.upper() }}",
     "False 1 1 bc É"},
};

/* Renders with each member of a JSON object as a variable; NULL after an error. */
static char *render(mla_context *context, const char *text, const char *date) {
    const char *name;
    json_t *value, *all = json_loads(variables, 0, NULL);
    mla_jinja_variable given[16];
    mla_jinja *jinja;
    mla_jinja_output output = {0};
    int count = 0;
    char *out = NULL;
    json_object_foreach(all, name, value) given[count++] = (mla_jinja_variable){name, value, MLA_JINJA_OF_DATA};
    mla_status status = mla_jinja_parse(context, &jinja, "the template", text, (int64_t)strlen(text));
    if (!status) status = mla_jinja_render(context, jinja, "data.jsonl:3", given, count, date, &output);
    if (!status) out = strndup(output.length ? output.bytes : "", (size_t)output.length);
    mla_jinja_output_free(&output);
    mla_jinja_destroy(jinja);
    json_decref(all);
    return out;
}

static void check_all(mla_context *context, const example *examples, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char *text = render(context, examples[i].text, NULL);
        check_ok(context, mla_error_status(context));
        if (strcmp(text, examples[i].expected)) print_message("%s\n", examples[i].text);
        assert_string_equal(text, examples[i].expected);
        free(text);
    }
}
#define CHECK(name, examples) \
    static void name(void **state) { check_all(*state, examples, sizeof examples / sizeof *examples); }

CHECK(white_space_around_tags_goes_as_in_jinja2, white_space)
CHECK(expressions_have_their_values, expressions)
CHECK(statements_run, statements)
CHECK(filters_give_what_they_should, filters)
CHECK(methods_give_what_they_should, methods)

static void refused(mla_context *context, const example *cases, size_t count, mla_status status) {
    for (size_t i = 0; i < count; i++) {
        char *text = render(context, cases[i].text, NULL);
        if (text) print_message("%s\n", cases[i].text);
        assert_null(text);
        check_error(context, mla_error_status(context), status, cases[i].expected);
    }
}

static void what_fails_is_named_with_its_line(void **state) {
    static const example cases[] = {
        {"{{ missing.x }}", "line 1: 'missing' is undefined"},
        {"\n\n{{ 'a' + 1 }}", "line 3: unsupported operand type(s) for +: 'str' and 'int'"},
        {"{{ l.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"},
        {"{{ missing + 1 }}", "'missing' is undefined"},
        {"{{ 1 in 'a' }}", "requires string as left operand, not int"},
        {"{{ raise_exception('no ' ~ n) }}", "data.jsonl:3: the template, line 1: the template refuses it: no 7"},
        {"{% for x in 3 %}{% endfor %}", "'int' object is not iterable"},
        {"{{ missing() }}", "'missing' is undefined"},
        {"{% set l.x = 1 %}", "cannot assign attribute on non-namespace object 'l'"},
        {"{{ 1 / 0 }}", "division by zero"},
        {"{{ [1, 'a']|sort }}", "have no order"},
        {"{{ missing|tojson }}", "Undefined is not JSON serializable"},
        {"{% for a, b in l %}{% endfor %}", "'int' object is not iterable"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "macro 'm' takes not more than 1 argument(s)"},
        {"{{ s|wordwrap }}", "the filter 'wordwrap' is not known here"},
        {"{{ s is filter }}", "the test 'filter' is not known here"},
        {"{{ s.zfill(3) }}", "str.zfill is not known here"},
        {"{{ '%s' % s }}", "% behind a text is not known here"},
        {"{{ 9223372036854775807 + 1 }}", "too large a number"},
        {"{{ strftime_now('%Y') }}", "state one, by data.date or --date"},
        {"{% for x in range(9000) %}{% for y in range(9000) %}{% if x + y + 1 == 1 %}{% endif %}{% endfor %}{% endfor %}",
         "takes too many steps"},
        {"{% for x in range(90000) %}{% for y in range(90000) %}{% endfor %}{% endfor %}",
         "takes more than 512 MB of memory"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "is nested more than"},
        {"{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
         "makes a text of more than 32 MB"},
    };
    refused(*state, cases, sizeof cases / sizeof *cases, MLA_ERROR_ARGUMENT);
}

static void what_cannot_be_parsed_is_named_with_its_line(void **state) {
    static const example cases[] = {
        {"{{ x", "a tag has no end: }}"},
        {"{% if %}", "expected an expression"},
        {"a\n{% if yes %}", "the template ends where elif is expected"},
        {"{{ 1 2 }}", "expected the end of the tag, found '2'"},
        {"{{ 'a }}", "a string has no end"},
        {"{{ (1 }}", "unexpected '}'"},
        {"{% endfor %}", "the statement 'endfor' is not known here"},
        {"{# a", "a comment has no end"},
        {"{{ a| }}", "expected a name"},
        {"{% set 1 = 2 %}", "expected a name"},
        {"{{ a is b is c }}", "You cannot chain multiple tests"},
        {"{% include 'a' %}", "line 1: the statement 'include' is not known here"},
        {"{% call m() %}", "the statement 'call' is not known here"},
        {"{% break %}", "break stands outside a loop"},
        {"{% for x in l recursive %}", "recursive loops are not known here"},
        {"{{ f(*a) }}", "arguments with * or ** are not known here"},
        {"\xff", "is not UTF-8, at byte 0"},
    };
    refused(*state, cases, sizeof cases / sizeof *cases, MLA_ERROR_FORMAT);
}

static void dates_are_stated(void **state) {
    char *text = render(*state, "{{ strftime_now('%d %b %Y') }}", "2024-07-26");
    check_ok(*state, mla_error_status(*state));
    assert_string_equal(text, "26 Jul 2024");
    free(text);
    assert_null(render(*state, "{{ strftime_now('%d %b %Y') }}", "today"));
    check_error(*state, mla_error_status(*state), MLA_ERROR_ARGUMENT, "'today' is no date: write one as 2024-07-26");
}

/* What the marks say of each byte: . for the template's, d for data, a letter for a message's field. */
static void check_marks(mla_context *context, const char *text, const char *expected) {
    const char *const letters = "cRto";
    json_t *messages = json_loads(
        "[{\"role\": \"user\", \"content\": \" Hi \"}, {\"role\": \"odd\", \"content\": \"Ho\","
        " \"reasoning_content\": \"so\", \"tool_calls\": [{\"a\": \"b\"}], \"gone\": null}]",
        0, NULL);
    json_t *bos = json_string("<s>"), *data = json_string("x");
    const mla_jinja_variable given[] = {{"messages", messages, MLA_JINJA_OF_MESSAGES},
                                        {"bos_token", bos, MLA_JINJA_OF_TEMPLATE},
                                        {"x", data, MLA_JINJA_OF_DATA}};
    mla_jinja *jinja;
    mla_jinja_output output = {0};
    char marks[256] = "";
    check_ok(context, mla_jinja_parse(context, &jinja, "t", text, (int64_t)strlen(text)));
    check_ok(context, mla_jinja_render(context, jinja, "d", given, 3, NULL, &output));
    for (int64_t i = 0; i < output.length; i++) {
        const uint16_t m = output.marks[i];
        marks[i] = m == MLA_JINJA_TEMPLATE ? '.'
                   : m == MLA_JINJA_DATA   ? 'd'
                                           : letters[(m - MLA_JINJA_FIRST_MESSAGE) % 4];
        if (m >= MLA_JINJA_FIRST_MESSAGE)
            assert_int_equal(mla_jinja_message(m), m >= mla_jinja_mark(1, MLA_JINJA_CONTENT));
    }
    assert_string_equal(marks, expected);
    mla_jinja_output_free(&output);
    mla_jinja_destroy(jinja);
    json_decref(messages), json_decref(bos), json_decref(data);
}

static void bytes_are_marked_with_where_they_are_from(void **state) {
    check_marks(*state, "{{ bos_token }}<{{ x }}>{{ messages[0].role }}{{ messages[1].role }}", "....d.....ooo");
    check_marks(*state, "{{ '[' + messages[0].content|trim ~ ']' }}{{ messages[0].content.upper()[1:3] }}", ".cc.cc");
    check_marks(*state, "{{ messages[1].content.replace('o', 'xyz') }}{{ messages[1].content * 2 }}", "c...cccc");
    check_marks(*state, "{{ messages[1].tool_calls|tojson }}{{ messages[1].reasoning_content }}", "...t....t...RR");
    check_marks(
        *state,
        "{% set x %}a{{ x }}{% endset %}{{ [x, messages[1].content]|join(',') }}{{ messages[1].gone is defined }}",
        ".d.cc.....");
}

static void generation_is_told(void **state) {
    const char text[] = "{% for x in [1, 2] %}u{{ x }}{% generation %}a{{ x }}{% endgeneration %}{% endfor %}";
    mla_jinja *jinja;
    mla_jinja_output output = {0};
    check_ok(*state, mla_jinja_parse(*state, &jinja, "t", text, (int64_t)strlen(text)));
    assert_true(mla_jinja_has_generation(jinja) && mla_jinja_mentions(jinja, "x") &&
                !mla_jinja_mentions(jinja, "tools"));
    check_ok(*state, mla_jinja_render(*state, jinja, "d", NULL, 0, NULL, &output));
    assert_int_equal(output.span_count, 2);
    assert_true(output.spans[0].begin == 2 && output.spans[0].end == 4 && output.spans[1].begin == 6 &&
                output.spans[1].end == 8);
    mla_jinja_output_free(&output);
    mla_jinja_destroy(jinja);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(white_space_around_tags_goes_as_in_jinja2),
                                       cmocka_unit_test(expressions_have_their_values),
                                       cmocka_unit_test(statements_run),
                                       cmocka_unit_test(filters_give_what_they_should),
                                       cmocka_unit_test(methods_give_what_they_should),
                                       cmocka_unit_test(what_fails_is_named_with_its_line),
                                       cmocka_unit_test(what_cannot_be_parsed_is_named_with_its_line),
                                       cmocka_unit_test(dates_are_stated),
                                       cmocka_unit_test(bytes_are_marked_with_where_they_are_from),
                                       cmocka_unit_test(generation_is_told)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
