/* Labelled text: tables as RFC 4180 and JSON have them, templates, spans, what is refused with file and line; names in
 * their order; which examples are held out. */
#include "data/labels/examples.h"
#include "data/labels/label_set.h"
#include "data/labels/split.h"
#include "tests/support/check.h"
#include "tests/support/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *folder;

static char *written(const char *name, const char *text) {
    char *path = path_in(folder, name);
    file_write(path, text, (int64_t)strlen(text));
    return path;
}

/* All examples of a text as "TEXT=LABEL,LABEL;", or the error. */
static mla_status read_all(mla_context *context, const char *name, const char *content, mla_example_options o,
                           char out[512]) {
    char *path = written(name, content);
    const char *paths[] = {path};
    mla_examples *examples = NULL;
    const mla_example *e;
    out[0] = '\0';
    o.paths = paths;
    o.count = 1;
    if (!o.field) o.field = "text";
    if (!o.label_field) o.label_field = "label";
    mla_status status = mla_examples_open(context, &examples, &o);
    while (!status && !(status = mla_examples_next(examples, &e)) && e) {
        sprintf(out + strlen(out), "%s=", e->text);
        for (int64_t i = 0; i < e->count && e->names; i++) sprintf(out + strlen(out), "%s,", e->names[i]);
        for (int64_t i = 0; i < e->count && e->numbers; i++) sprintf(out + strlen(out), "%g,", (double)e->numbers[i]);
        for (int64_t i = 0; i < e->count && e->spans; i++)
            sprintf(out + strlen(out), "%d-%d %s,", (int)e->spans[i].begin, (int)e->spans[i].end, e->spans[i].label);
        strcat(out, ";");
    }
    mla_examples_close(examples);
    free(path);
    return status;
}

static void gives(mla_context *context, const char *name, const char *content, mla_example_options o,
                  const char *expected) {
    char all[512];
    check_ok(context, read_all(context, name, content, o, all));
    assert_string_equal(all, expected);
}

static void fails(mla_context *context, const char *name, const char *content, mla_example_options o,
                  const char *words) {
    char all[512];
    check_error(context, read_all(context, name, content, o, all), MLA_ERROR_FORMAT, words);
}

static void tables_are_read(void **state) {
    const mla_example_options o = {0};
    gives(*state, "a.jsonl", "{\"text\": \"Gr\\u00f6\\u00dfe\", \"label\": \"x\"}\n\n{\"label\": 7, \"text\": \"b\"}\n",
          o, "Größe=x,;b=7,;");
    gives(*state, "a.csv", "\xEF\xBB\xBFid,text,label\r\n1,\"a \"\"b\"\", c\nd\",x\r\n\r\n2,e,\"y\"\r\n", o,
          "a \"b\", c\nd=x,;e=y,;");
    gives(*state, "a.tsv", "label\ttext\nx\ta, b\ny\tc \"d\"", o, "a, b=x,;c \"d\"=y,;");
}

static void columns_of_labels(void **state) {
    const mla_example_options names = {.labels = MLA_LABEL_NAMES}, numbers = {.labels = MLA_LABEL_NUMBERS};
    const mla_example_options spans = {.labels = MLA_LABEL_SPANS};
    gives(*state, "a.jsonl", "{\"text\": \"a\", \"label\": [\"x\", 3]}\n{\"text\": \"b\", \"label\": []}\n", names,
          "a=x,3,;b=;");
    gives(*state, "a.csv", "text,label\na,x|y\nb,\n", names, "a=x,y,;b=;");
    gives(*state, "a.csv", "text,label\na,-1.5\n", numbers, "a=-1.5,;");
    gives(*state, "a.jsonl", "{\"text\": \"a\", \"label\": [1, 2.5]}\n", numbers, "a=1,2.5,;");
    gives(*state, "a.jsonl",
          "{\"text\": \"\\u00e4b cd\", \"label\": [{\"start\": 3, \"end\": 5, \"label\": \"P\"}, [0, 1, \"Q\"]]}\n",
          spans, "äb cd=4-6 P,0-2 Q,;");
}

static void rows_become_text(void **state) {
    const mla_example_options o = {.text_template = "{{{a}}} at {b c}"};
    char all[512];
    gives(*state, "a.csv", "a,b c,label\n1,x,y\n,z,y\n", o, "{1} at x=y,;{} at z=y,;");
    gives(*state, "a.jsonl", "{\"a\": 2.50, \"b c\": null, \"label\": 1}\n", o, "{2.5} at =1,;");
    fails(*state, "a.csv", "a,b c,label\n1,x,y\nnan,x,y\n", o, "a.csv:3: \"a\" is not a number");
    fails(*state, "a.csv", "a,label\n1,y\n", o, "a.csv:2: there is no column \"b c\"; it has a, label");
    check_error(*state, read_all(*state, "a.csv", "a,label\n", (mla_example_options){.text_template = "{a"}, all),
                MLA_ERROR_ARGUMENT, "a column is named in braces");
}

static void what_is_wrong_has_a_place(void **state) {
    const mla_example_options o = {0}, names = {.labels = MLA_LABEL_NAMES}, numbers = {.labels = MLA_LABEL_NUMBERS},
                              spans = {.labels = MLA_LABEL_SPANS};
    char all[512];
    fails(*state, "a.csv", "text,label\na,x\n\"b,y\nc,z\n", o,
          "a.csv:3: the quote that begins a field here never ends");
    fails(*state, "a.csv", "text,label\n\"a\"b,x\n", o, "a.csv:2: text behind a quoted field");
    fails(*state, "a.csv", "text,label\n\"a,x\nb,\"y\"\n", o,
          "a.csv:3: text behind a quoted field, which begins in line 2");
    fails(*state, "a.csv", "text,label,label\na,x,y\n", o, "a.csv: two columns are called \"label\"");
    gives(*state, "a.csv", "text,label,b,b\na,x,y,z\n", o, "a=x,;"); /* of which none is read */
    fails(*state, "a.csv", "text,label\na,NaN\n", o, "a.csv:2: \"label\" is NaN");
    fails(*state, "a.jsonl", "{\"text\": \"a\", \"label\": [\"x\", NaN]}\n", names, "a.jsonl:1: \"label\" is NaN");
    fails(*state, "a.csv", "text,label\na,x\nb\n", o, "a.csv:3: 1 fields, but the header has 2");
    fails(*state, "a.csv", "text,label\na,x\nb,\n", o, "a.csv:3: \"label\" is empty");
    fails(*state, "a.csv", "text,label\n  ,x\n", o, "a.csv:2: \"text\" is empty");
    fails(*state, "a.csv", "text,class\na,x\n", o, "a.csv:2: there is no column \"label\"; it has text, class");
    fails(*state, "a.csv", "text,label\na,x\n\xe4,y\n", o, "a.csv:3: byte 0xe4 is not UTF-8");
    fails(*state, "a.csv", "text,label\na,nan\n", numbers, "a.csv:2: \"label\" is not a finite number");
    fails(*state, "a.csv", "text,label\na,1x\n", numbers, "a.csv:2: \"label\" is no number");
    fails(*state, "a.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"a\", \"label\": }\n", o, "a.jsonl:2: ");
    fails(*state, "a.jsonl", "{\"text\": \"a\", \"label\": [1]}\n", o, "a.jsonl:1: \"label\" is a list: one label");
    fails(*state, "a.jsonl", "{\"text\": \"a\", \"label\": [{}]}\n", names, "holds something else than names");
    fails(*state, "a.jsonl", "{\"text\": \"ab\", \"label\": [[1, 3, \"P\"]]}\n", spans,
          "1 to 3 is no span of the text");
    fails(*state, "a.jsonl", "{\"text\": \"ab\", \"label\": [[1, 1, \"P\"]]}\n", spans, "1 to 1 is no span");
    fails(*state, "a.jsonl", "{\"text\": \"abcd\", \"label\": [[0, 2, \"P\"], [1, 3, \"Q\"]]}\n", spans,
          "1 to 3 overlaps another span");
    gives(*state, "a.jsonl", "{\"text\": \"abcd\", \"label\": [[2, 4, \"P\"], [0, 2, \"Q\"]]}\n", spans,
          "abcd=2-4 P,0-2 Q,;");
    check_error(*state, read_all(*state, "a.txt", "a", o, all), MLA_ERROR_ARGUMENT, "files named .jsonl, .csv or .tsv");
}

static void sorts(mla_context *context, const char *const *names, const char *expected) {
    mla_label_set set = {0};
    int32_t *place;
    int64_t number;
    for (; *names; names++) check_ok(context, mla_label_set_add(context, &set, *names, &number));
    check_ok(context, mla_label_set_sort(context, &set, &place));
    char *json = mla_label_set_json(context, &set);
    assert_non_null(strstr(json, expected));
    free(json);
    free(place);
    mla_label_set_free(&set);
}

static void names_are_in_order(void **state) {
    mla_label_set set;
    sorts(*state, (const char *const[]){"10", "9", "-1", "9", NULL}, "\"-1\",\n  \"9\",\n  \"10\"");
    sorts(*state, (const char *const[]){"10", "9", "a", NULL}, "\"10\",\n  \"9\",\n  \"a\"");
    check_error(*state, mla_label_set_parse(*state, "x", "[\"a\", \"b\", \"a\"]", &set), MLA_ERROR_FORMAT, "label 2");
    check_error(*state, mla_label_set_parse(*state, "x", "[]", &set), MLA_ERROR_FORMAT, "no list");
}

static void each_class_is_held_out_by_its_share(void **state) {
    mla_split_row rows[24] = {{0}}, again[24];
    int held_out[3] = {0};
    for (int i = 0; i < 20; i++) rows[i] = (mla_split_row){(uint64_t)(i * 7919 % 1000), 0, false};
    for (int i = 20; i < 23; i++) rows[i] = (mla_split_row){(uint64_t)i, 1, false};
    rows[23] = (mla_split_row){5, 2, false};
    for (int i = 0; i < 24; i++) again[23 - i] = rows[i];
    check_ok(*state, mla_split(*state, 24, rows, 0.25));
    check_ok(*state, mla_split(*state, 24, again, 0.25));
    for (int i = 0; i < 24; i++) {
        held_out[rows[i].stratum] += rows[i].held_out;
        assert_int_equal(rows[i].held_out, again[23 - i].held_out); /* whatever the order */
    }
    assert_int_equal(held_out[0], 5);
    assert_int_equal(held_out[1], 1);
    assert_int_equal(held_out[2], 0); /* a class of one */
}

static void equal_examples_stay_together(void **state) {
    mla_split_row rows[6] = {{1, 0, false}, {1, 0, false}, {2, 0, false}, {2, 0, false}, {2, 0, false}, {2, 0, false}};
    check_ok(*state, mla_split(*state, 6, rows, 0.5));
    for (int i = 0; i < 6; i++) assert_int_equal(rows[i].held_out, i < 2);
    check_ok(*state, mla_split(*state, 2, rows, 0.5)); /* all equal: none */
    assert_false(rows[0].held_out || rows[1].held_out);
}

static int begin(void **state) {
    folder = folder_create();
    return create_context(state);
}

static int end(void **state) {
    folder_remove(folder);
    return destroy_context(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables_are_read),
                                       cmocka_unit_test(columns_of_labels),
                                       cmocka_unit_test(rows_become_text),
                                       cmocka_unit_test(what_is_wrong_has_a_place),
                                       cmocka_unit_test(names_are_in_order),
                                       cmocka_unit_test(each_class_is_held_out_by_its_share),
                                       cmocka_unit_test(equal_examples_stay_together)};
    return cmocka_run_group_tests(tests, begin, end);
}
