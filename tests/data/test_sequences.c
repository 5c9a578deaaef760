/* Rows gathered into sequences: what orders them, whose label counts, what is refused with file and line. The seconds
 * of times are those of Python's datetime. */
#include "data/labels/examples.h"
#include "data/labels/moment.h"
#include "tests/support/check.h"
#include "tests/support/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *folder;

/* ---- times ---- */

static void is_moment(const char *text, mla_moment_kind kind, double value) {
    const mla_moment m = mla_moment_read(text);
    if (m.kind == kind && (kind == MLA_MOMENT_NONE || (double)m.whole + m.part == value)) return;
    fail_msg("%s: kind %d, value %.17g", text, (int)m.kind, (double)m.whole + m.part);
}

static void moments_are_numbers_or_times(void **state) {
    (void)state;
    is_moment("17", MLA_MOMENT_NUMBER, 17);
    is_moment("-2.5e3", MLA_MOMENT_NUMBER, -2500);
    is_moment("20240501", MLA_MOMENT_NUMBER, 20240501);
    is_moment("1970-01-01", MLA_MOMENT_LOCAL, 0);
    is_moment("2024-02-29", MLA_MOMENT_LOCAL, 1709164800);
    is_moment("2000-03-01", MLA_MOMENT_LOCAL, 951868800);
    is_moment("2100-03-01", MLA_MOMENT_LOCAL, 4107542400);
    is_moment("0001-01-01", MLA_MOMENT_LOCAL, -62135596800);
    is_moment("1999-12-31T23:59:59.25", MLA_MOMENT_LOCAL, 946684799.25);
    is_moment("2024-05-01 10:30", MLA_MOMENT_LOCAL, 1714559400);
    is_moment("2024-05-01T10:30:59Z", MLA_MOMENT_ZONED, 1714559459);
    is_moment("2024-05-01 10:30:59+02:00", MLA_MOMENT_ZONED, 1714552259);
    is_moment("2024-05-01T10:30:59-0530", MLA_MOMENT_ZONED, 1714579259);
    is_moment("2024-05-01T10:30+02", MLA_MOMENT_ZONED, 1714552200);
    static const char *const others[] = {"",
                                         "nan",
                                         "inf",
                                         "-inf",
                                         "1e99999",
                                         " 1",
                                         "1 ",
                                         "1.2.2024",
                                         "5/1/2024",
                                         "2024-5-1",
                                         "2023-02-29",
                                         "1900-02-29",
                                         "2024-13-01",
                                         "2024-04-31x",
                                         "2024-05-01T",
                                         "2024-05-01T10",
                                         "2024-05-01T10:60",
                                         "2024-05-01T10:30:00.",
                                         "2024-05-01T10:30:00+2",
                                         "2024-05-01T10:30:00Zx",
                                         "2024-05-01Z",
                                         "May 1",
                                         NULL};
    for (int i = 0; others[i]; i++) is_moment(others[i], MLA_MOMENT_NONE, 0);
}

static void moments_are_compared(void **state) {
    (void)state;
    /* Each before the next: beyond the 53 bits of doubles, fractions, beyond 64 bits. */
    static const char *const numbers[] = {"-1e30",
                                          "-9223372036854775808",
                                          "-1.5",
                                          "-1",
                                          "-0.5",
                                          "0",
                                          "9.5",
                                          "10",
                                          "9007199254740992",
                                          "9007199254740993",
                                          "1714559459123456789",
                                          "1714559459123456790",
                                          "9223372036854775807",
                                          "1e19",
                                          "2e19",
                                          NULL};
    static const char *const times[] = {"1969-12-31T23:59:59.5Z",       "1970-01-01T00:00:00Z",
                                        "2024-05-01T10:30:00.25+02:00", "2024-05-01T08:30:00.5Z",
                                        "2024-05-01T08:30:01Z",         NULL};
    for (const char *const *list = numbers; list; list = list == numbers ? times : NULL)
        for (int i = 0; list[i + 1]; i++) {
            const mla_moment a = mla_moment_read(list[i]), b = mla_moment_read(list[i + 1]);
            if (mla_moment_compare(&a, &b) >= 0 || mla_moment_compare(&b, &a) <= 0 || mla_moment_compare(&a, &a))
                fail_msg("%s is not before %s", list[i], list[i + 1]);
        }
}

/* ---- sequences ---- */

/* All examples of files as "KEY:TEXT=LABEL,(GROUP)@PLACE;", line ends as "/", or the error. */
static mla_status read_all(mla_context *context, const char *const *contents, mla_example_options o, char out[1024]) {
    char *paths[2], name[16];
    mla_examples *examples = NULL;
    const mla_example *e;
    out[0] = '\0';
    for (o.count = 0; o.count < 2 && contents[o.count]; o.count++) {
        sprintf(name, "%c.%s", (char)('a' + o.count), *contents[o.count] == '{' ? "jsonl" : "csv");
        paths[o.count] = path_in(folder, name);
        file_write(paths[o.count], contents[o.count], (int64_t)strlen(contents[o.count]));
    }
    o.paths = (const char *const *)paths;
    mla_status status = mla_examples_open(context, &examples, &o);
    for (int pass = 0; pass < 2 && !status; pass++) {
        out[0] = '\0';
        if (pass) mla_examples_rewind(examples);
        while (!status && !(status = mla_examples_next(examples, &e)) && e) {
            sprintf(out + strlen(out), "%s:%s=", e->key, e->text);
            for (int64_t i = 0; i < e->count && e->names; i++) sprintf(out + strlen(out), "%s,", e->names[i]);
            for (int64_t i = 0; i < e->count && e->numbers; i++)
                sprintf(out + strlen(out), "%g,", (double)e->numbers[i]);
            if (e->group) sprintf(out + strlen(out), "(%s)", e->group);
            sprintf(out + strlen(out), "@%s;", strrchr(e->place, '/') + 1);
        }
    }
    for (char *at = out; *at; at++)
        if (*at == '\n') *at = '/';
    mla_examples_close(examples);
    for (int64_t i = 0; i < o.count; i++) free(paths[i]);
    return status;
}

static const mla_example_options usual = {
    .field = "text", .label_field = "label", .sequence_field = "id", .order_field = "t"};

static void gives(mla_context *context, const char *content, mla_example_options o, const char *expected) {
    char all[1024];
    check_ok(context, read_all(context, (const char *const[]){content, NULL}, o, all));
    assert_string_equal(all, expected);
}

static void fails(mla_context *context, const char *content, mla_example_options o, const char *words) {
    char all[1024];
    check_error(context, read_all(context, (const char *const[]){content, NULL}, o, all), MLA_ERROR_FORMAT, words);
}

static void rows_are_gathered_in_their_order(void **state) {
    mla_example_options o = usual;
    /* Numbers, not their digits: 9 is before 10. The label is that of the last row by time, others may be empty. */
    gives(*state, "id,t,text,label\nb,10,x,yes\na,1,p,no\nb,9,w,\na,-1,o,yes\n", o,
          "b:w/x=yes,@a.csv:2;a:o/p=no,@a.csv:3;");
    gives(*state, "id,t,text,label\na,2024-05-02,y,no\na,2024-05-01,x,yes\n", o, "a:x/y=no,@a.csv:2;");
    /* Another hour at another place. */
    gives(*state, "id,t,text,label\na,2024-05-01T10:00:00+02:00,x,1\na,2024-05-01T09:00:00Z,y,2\n", o,
          "a:x/y=2,@a.csv:3;");
    /* Of one time: as in the file, so the later one is the last. */
    gives(*state, "id,t,text,label\na,5,x,1\na,5,y,2\na,4,w,3\n", o, "a:w/x/y=2,@a.csv:3;");
    gives(
        *state,
        "{\"id\": 7, \"t\": 2, \"text\": \"y\", \"label\": [\"p\", \"q\"]}\n{\"id\": 7, \"t\": 1.5, \"text\": \"x\", \"label\": 1}\n",
        (mla_example_options){.field = "text",
                              .label_field = "label",
                              .sequence_field = "id",
                              .order_field = "t",
                              .labels = MLA_LABEL_NAMES},
        "7:x/y=p,q,@a.jsonl:1;");
    o.text_template = "{text} of {t}";
    o.labels = MLA_LABEL_NUMBERS;
    o.group_field = "g";
    gives(*state, "id,g,t,text,label\na,c,2,y,0.5\na,c,1,x,\n", o, "a:x of 1/y of 2=0.5,(c)@a.csv:2;");
    o.label_field = o.group_field = NULL;
    gives(*state, "id,t,text\na,2,y\na,1,x\n", o, "a:x of 1/y of 2=@a.csv:2;");
    gives(*state, "id,t,text\n", o, "");
}

static void sequences_go_on_in_other_files(void **state) {
    char all[1024];
    const char *const contents[] = {"id,t,text,label\na,3,z,1\nb,1,o,2\n", "id,t,text,label\na,2,y,9\n"};
    check_ok(*state, read_all(*state, contents, usual, all));
    assert_string_equal(all, "a:y/z=1,@a.csv:2;b:o=2,@a.csv:3;");
}

static void what_is_wrong_has_a_place(void **state) {
    mla_example_options o = usual;
    char all[1024];
    fails(*state, "id,t,text,label\na,1,x,1\n,2,y,1\n", o, "a.csv:3: \"id\" does not say which sequence");
    fails(*state, "id,t,text,label\na,,x,1\n", o, "a.csv:2: \"t\" is empty");
    fails(*state, "id,t,text,label\na,nan,x,1\n", o, "a.csv:2: \"t\" is neither a number nor a time as 2024-05-31");
    fails(*state, "id,t,text,label\na,5/1/2024,x,1\n", o, "a.csv:2: \"t\" is neither a number nor a time");
    fails(*state, "id,t,text,label\na,1,x,1\nb,2024-05-01,y,1\n", o,
          "a.csv:3: \"t\": 2024-05-01 is no number, as those");
    fails(*state, "id,t,text,label\na,2024-05-01,x,1\nb,2024-05-01T10:00Z,y,1\n", o, "is no time without a time zone");
    fails(*state, "id,t,text,label\na,1,x,\na,0,y,1\n", o, "a.csv:2: \"label\" is empty");
    fails(*state, "id,t,text,label\na,1, ,1\n", o, "a.csv:2: \"text\" is empty");
    fails(*state, "id,time,text,label\na,1,x,1\n", o, "a.csv:2: there is no column \"t\"; it has id, time");
    fails(*state, "{\"id\": [1], \"t\": 1, \"text\": \"x\", \"label\": 1}\n", o, "\"id\" does not say which");
    o.group_field = "g";
    fails(*state, "id,t,text,label,g\na,1,x,1,p\na,2,y,1,q\n", o,
          "a.csv:3: \"g\" is q, but p in another row of the same");
    fails(*state, "id,t,text,label,g\na,1,x,1,\n", o, "a.csv:2: \"g\" names no group");
    o = (mla_example_options){.field = "text", .label_field = "label", .sequence_field = "id"};
    check_error(*state, read_all(*state, (const char *const[]){"", NULL}, o, all), MLA_ERROR_ARGUMENT, "go together");
    o = usual;
    o.labels = MLA_LABEL_SPANS;
    check_error(*state, read_all(*state, (const char *const[]){"", NULL}, o, all), MLA_ERROR_ARGUMENT, "has one label");
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_numbers_or_times), cmocka_unit_test(moments_are_compared),
        cmocka_unit_test(rows_are_gathered_in_their_order), cmocka_unit_test(sequences_go_on_in_other_files),
        cmocka_unit_test(what_is_wrong_has_a_place)};
    return cmocka_run_group_tests(tests, begin, end);
}
