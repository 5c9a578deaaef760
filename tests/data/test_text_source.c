/* Text sources: which documents, in which order, on which side, and what is said about bad ones. */
#include "autograd/base/memory.h"
#include "data/text/text_source.h"
#include "tests/support/check.h"
#include "tests/support/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    mla_context *context;
    char *folder, *old;
} fixture_t;

/* Tests run inside their folder, so that names are short. */
static int setup(void **state) {
    fixture_t *f = calloc(1, sizeof *f);
    *state = f;
    f->folder = folder_create();
    f->old = getcwd(NULL, 0);
    return chdir(f->folder) || mla_context_create(&f->context, NULL) != MLA_OK;
}

static int teardown(void **state) {
    fixture_t *f = *state;
    mla_context_destroy(f->context);
    if (chdir(f->old)) return -1;
    folder_remove(f->folder);
    free(f->old);
    free(f);
    return 0;
}

static void write_text(const char *path, const char *text) { file_write(path, text, (int64_t)strlen(text)); }

/* "name=bytes;" of all documents, held-out ones as "name!bytes;"; the caller's to free. */
static char *collect(mla_context *context, mla_text_source *source) {
    char *all = NULL;
    size_t bytes;
    FILE *out = open_memstream(&all, &bytes);
    const mla_document *document;
    for (;;) {
        check_ok(context, mla_text_next(source, &document));
        if (!document) break;
        fprintf(out, "%s%c", document->name, document->held_out ? '!' : '=');
        fwrite(document->bytes, 1, (size_t)document->length, out);
        fputc(';', out);
    }
    fclose(out);
    return all;
}

static void check_documents(mla_context *context, mla_text_options options, const char *expected) {
    mla_text_source *source;
    check_ok(context, mla_text_open(context, &source, &options));
    for (int pass = 0; pass < 2; pass++) {
        char *all = collect(context, source);
        assert_string_equal(all, expected);
        free(all);
        mla_text_rewind(source);
    }
    mla_text_close(source);
}

#define paths(...) .paths = (const char *[]){__VA_ARGS__}, .count = sizeof(const char *[]){__VA_ARGS__} / sizeof(char *)

static void reads_files_folders_and_globs_in_order(void **state) {
    fixture_t *f = *state;
    mkdir("texts", 0700);
    mkdir("texts/b", 0700);
    mkdir("texts/empty", 0700);
    write_text("texts/c.txt", "C");
    write_text("texts/b/2", "two");
    write_text("texts/b/1", "one");
    write_text("texts/a.txt", "A");
    write_text("texts/nothing", "");
    write_text("z[1].txt", "Z");
    assert_int_equal(symlink("..", "texts/b/up"), 0);
    assert_int_equal(symlink("gone", "texts/b/dangling"), 0);
    check_documents(f->context, (mla_text_options){paths("z[1].txt", "texts")},
                    "z[1].txt=Z;texts/a.txt=A;texts/b/1=one;texts/b/2=two;texts/c.txt=C;");
    check_documents(f->context, (mla_text_options){paths("texts/*.txt", "texts/b/[0-9]")},
                    "texts/a.txt=A;texts/c.txt=C;texts/b/1=one;texts/b/2=two;");
}

static void takes_any_bytes_of_text(void **state) {
    fixture_t *f = *state;
    char all[3 * 64 + 1] = "All of it:\n";
    for (int i = 0; i < 128; i++) all[11 + i] = (char)(255 - i); /* Latin-1 and its like */
    memset(all + 139, 'x', sizeof all - 140);
    all[140] = '\1'; /* one of a few bytes may be damaged */
    file_write("all", all, sizeof all - 1);
    char expected[256];
    snprintf(expected, sizeof expected, "all=%s;", all);
    check_documents(f->context, (mla_text_options){paths("all")}, expected);
}

/* A rule of thumb has two sides. */
static void knows_what_is_no_text(void **state) {
    fixture_t *f = *state;
    mla_text_source *source;
    char bytes[100];
    memset(bytes, 'x', sizeof bytes);
    bytes[7] = bytes[8] = '\2';
    mkdir("mixed", 0700);
    write_text("mixed/text", "T");
    file_write("mixed/a", bytes, sizeof bytes);
    check_ok(f->context, mla_text_open(f->context, &source, &(mla_text_options){paths("mixed")}));
    assert_int_equal(mla_text_documents(source), 2);
    mla_text_close(source);
    bytes[9] = '\x7f';
    file_write("mixed/a", bytes, sizeof bytes);
    check_documents(f->context, (mla_text_options){paths("mixed")}, "mixed/text=T;");
    check_documents(f->context, (mla_text_options){paths("mixed/*")}, "mixed/text=T;");
    check_error(f->context, mla_text_open(f->context, &source, &(mla_text_options){paths("mixed", "mixed/a")}),
                MLA_ERROR_FORMAT, "mixed/a: is binary, not text");
    file_write("mixed/a", "x\0", 2);
    check_documents(f->context, (mla_text_options){paths("mixed"), .lines = true}, "mixed/text:1=T;");
    write_text("mixed/a", "\xef\xbb\xbf");
    check_documents(f->context, (mla_text_options){paths("mixed")}, "mixed/text=T;");
}

/* A pipe is read once, however often its documents are. */
static void reads_pipes(void **state) {
    fixture_t *f = *state;
    mkfifo("pipe", 0600);
    for (int slow = 0; slow < 2; slow++) {
        const pid_t child = fork();
        if (!child) {
            if (slow) usleep(1200000); /* the reader must wait for a writer, and not take none for the end */
            FILE *out = fopen("pipe", "wb");
            for (int i = 0; i < 3; i++) {
                fprintf(out, "{\"text\": \"%d\"}\n", i);
                fflush(out);
                usleep(1000);
            }
            _exit(fclose(out) != 0);
        }
        check_documents(f->context, (mla_text_options){paths("pipe"), .jsonl_field = "text", .jsonl = true},
                        "pipe:1=0;pipe:2=1;pipe:3=2;");
        int result = 1;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_int_equal(result, 0);
    }
}

static void reads_a_field_of_jsonl(void **state) {
    fixture_t *f = *state;
    write_text("a.jsonl",
               "{\"text\": \"one\\nline\", \"id\": 1}\n\n \t\r\n{\"text\": \"\"}\n{\"text\": \"zwei \\u00e4\"}");
    write_text("b.txt", "{}");
    check_documents(f->context, (mla_text_options){paths("a.jsonl", "b.txt"), .jsonl_field = "text"},
                    "a.jsonl:1=one\nline;a.jsonl:5=zwei \xc3\xa4;b.txt={};");
    check_documents(f->context, (mla_text_options){paths("b.txt", "a.jsonl")},
                    "b.txt={};a.jsonl={\"text\": \"one\\nline\", \"id\": 1}\n\n \t\r\n{\"text\": \"\"}\n"
                    "{\"text\": \"zwei \\u00e4\"};");
    write_text("nul.jsonl", "{\"text\": \"a\\u0000b\"}\n");
    mla_text_source *source;
    const mla_document *document;
    check_ok(f->context,
             mla_text_open(f->context, &source, &(mla_text_options){paths("nul.jsonl"), .jsonl_field = "text"}));
    check_ok(f->context, mla_text_next(source, &document));
    assert_int_equal(document->length, 3);
    assert_memory_equal(document->bytes, "a\0b", 3);
    mla_text_close(source);
}

static void hands_out_lines_as_they_stand(void **state) {
    fixture_t *f = *state;
    write_text("lines", "{\"a\": 1}\n\n  [2] \nlast");
    check_documents(f->context, (mla_text_options){paths("lines"), .lines = true},
                    "lines:1={\"a\": 1};lines:3=  [2] ;lines:4=last;");
    write_text("one", "{\"a\": 1}\n");
    mla_text_source *source;
    check_error(f->context,
                mla_text_open(f->context, &source, &(mla_text_options){paths("one"), .lines = true, .held_out = 0.1}),
                MLA_ERROR_ARGUMENT, "one has one line only: none can be held out");
}

static void reads_long_files_in_little_memory(void **state) {
    fixture_t *f = *state;
    enum { LINE = 1 << 16, LINES = 1536 }; /* 96 MiB */
    char *line = malloc(LINE);
    memset(line, 'x', LINE - 1);
    line[LINE - 1] = '\n';
    FILE *file = fopen("long.jsonl", "w");
    for (int i = 0; i < LINES; i++) assert_int_equal(fwrite(line, LINE, 1, file), 1);
    assert_int_equal(fclose(file), 0);

    mla_text_source *source;
    const mla_document *document = NULL;
    int64_t read = 0, most = 0;
    const int64_t before = mla_memory_resident();
    check_ok(f->context, mla_text_open(f->context, &source, &(mla_text_options){paths("long.jsonl"), .lines = true}));
    do {
        check_ok(f->context, mla_text_next(source, &document));
        read += document && !memcmp(document->bytes, line, LINE - 1);
        const int64_t now = mla_memory_resident();
        most = now > most ? now : most;
    } while (document);

    assert_int_equal(read, LINES);
    assert_true(most - before < 40 << 20);
    mla_text_close(source);
    free(line);
}

static void check_refused(mla_context *context, mla_text_options options, mla_status expected, const char *words) {
    mla_text_source *source;
    check_error(context, mla_text_open(context, &source, &options), expected, words);
    assert_null(source);
}

static void names_what_is_wrong(void **state) {
    fixture_t *f = *state;
    mla_context *c = f->context;
    write_text("bad.jsonl", "{\"text\": \"fine\"}\n{\"other\": 1}\n");
    write_text("array.jsonl", "{\"text\": \"fine\"}\n\n[1]\n");
    write_text("number.jsonl", "{\"text\": 5}\n");
    write_text("cut.jsonl", "{\"text\": \"\n");
    write_text("nothing", "");
    check_refused(c, (mla_text_options){paths("missing.txt")}, MLA_ERROR_IO, "missing.txt: No such file");
    check_refused(c, (mla_text_options){paths("*.none")}, MLA_ERROR_IO, "no text at *.none");
    check_refused(c, (mla_text_options){paths("a.txt,b.txt")}, MLA_ERROR_IO,
                  "a.txt,b.txt: No such file or directory; it is read as one path: give several as a list in the "
                  "recipe, source: [a, b], or one by one");
    check_refused(c, (mla_text_options){paths("*.txt b.none")}, MLA_ERROR_IO, "or match; it is read as one path");
    check_refused(c, (mla_text_options){paths("nothing")}, MLA_ERROR_ARGUMENT, "no text in nothing");
    check_refused(c, (mla_text_options){.count = 0}, MLA_ERROR_ARGUMENT, "no text in the paths given");
    check_refused(c, (mla_text_options){paths("/dev/null")}, MLA_ERROR_IO, "/dev/null is not a file");
    check_refused(c, (mla_text_options){paths("nothing"), .held_out = 1}, MLA_ERROR_ARGUMENT, "held_out is 1");
    check_refused(c, (mla_text_options){paths("nothing"), .held_out = (double)NAN}, MLA_ERROR_ARGUMENT, "held_out is");
    const char *const cases[][2] = {{"bad.jsonl", "bad.jsonl:2: no field \"text\""},
                                    {"array.jsonl", "array.jsonl:3: not a JSON object"},
                                    {"number.jsonl", "number.jsonl:1: no text in field"},
                                    {"cut.jsonl", "cut.jsonl:1: not valid JSON: column 10: the string"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_refused(c, (mla_text_options){paths(cases[i][0]), .jsonl_field = "text"}, MLA_ERROR_FORMAT, cases[i][1]);
}

/* Root reads everything: a child gives its rights up first. */
static void names_what_cannot_be_read(void **state) {
    fixture_t *f = *state;
    mkdir("texts", 0700);
    mkdir("texts/locked", 0700);
    write_text("texts/secret", "S");
    chmod(f->folder, 0755);
    chmod("texts", 0755);
    chmod("texts/locked", 0);
    chmod("texts/secret", 0);
    pid_t child = fork();
    if (!child) {
        if (!getuid() && setuid(65534)) _exit(1);
        mla_text_source *source;
        if (mla_text_open(f->context, &source, &(mla_text_options){paths("texts")}) != MLA_ERROR_IO) _exit(2);
        if (!strstr(mla_error(f->context), "cannot read folder texts/locked: Permission denied")) _exit(3);
        mla_clear_error(f->context);
        if (mla_text_open(f->context, &source, &(mla_text_options){paths("texts/secret")}) != MLA_ERROR_IO) _exit(4);
        _exit(strstr(mla_error(f->context), "cannot read texts/secret: Permission denied") ? 0 : 5);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

static void write_numbered(int first, int count) {
    char path[32], text[64];
    for (int i = first; i < first + count; i++) {
        snprintf(path, sizeof path, "numbered/%04d", i);
        snprintf(text, sizeof text, "document %d", i);
        write_text(path, text);
    }
}

/* The sides of document 0 .. count - 1, in order of their names. */
static int sides(mla_context *context, mla_text_options options, bool *held_out) {
    mla_text_source *source;
    const mla_document *document;
    int held = 0;
    check_ok(context, mla_text_open(context, &source, &options));
    while (check_ok_at(context, mla_text_next(source, &document), "next", __FILE__, __LINE__), document) {
        *held_out++ = document->held_out;
        held += document->held_out;
    }
    mla_text_close(source);
    return held;
}

static void holds_documents_out_by_content(void **state) {
    fixture_t *f = *state;
    bool few[500], many[1000], other[1000];
    mkdir("numbered", 0700);
    write_numbered(0, 500);
    sides(f->context, (mla_text_options){paths("numbered"), .held_out = 0.1}, few);
    write_numbered(500, 500);
    int held = sides(f->context, (mla_text_options){paths("numbered"), .held_out = 0.1}, many);
    assert_in_range(held, 70, 130); /* 100 +- 9.5 */
    assert_memory_equal(few, many, sizeof few);
    sides(f->context, (mla_text_options){paths("numbered"), .held_out = 0.1, .seed = 1}, other);
    assert_memory_not_equal(many, other, sizeof many);
    write_text("numbered/0001", "document 0");
    sides(f->context, (mla_text_options){paths("numbered"), .held_out = 0.5}, many);
    assert_int_equal(many[0], many[1]);
}

static void both_sides_get_a_document(void **state) {
    fixture_t *f = *state;
    bool held_out[3];
    mkdir("numbered", 0700);
    write_numbered(0, 2);
    for (uint64_t seed = 0; seed < 20; seed++) {
        assert_int_equal(
            sides(f->context, (mla_text_options){paths("numbered"), .held_out = 1e-9, .seed = seed}, held_out), 1);
        assert_int_equal(
            sides(f->context, (mla_text_options){paths("numbered"), .held_out = 0.999, .seed = seed}, held_out), 1);
    }
    write_text("numbered/0001", "document 0");
    check_refused(f->context, (mla_text_options){paths("numbered"), .held_out = 0.5}, MLA_ERROR_ARGUMENT,
                  "all documents are equal");
}

static void cuts_a_single_document(void **state) {
    fixture_t *f = *state;
    write_text("one", "aaa\nbbb\nccc\nddd\n");
    check_documents(f->context, (mla_text_options){paths("one"), .held_out = 0.5}, "one=aaa\nbbb\n;one!ccc\nddd\n;");
    check_documents(f->context, (mla_text_options){paths("one"), .held_out = 0.4}, "one=aaa\nbbb\nccc\n;one!ddd\n;");
    check_documents(f->context, (mla_text_options){paths("one"), .held_out = 0.99}, "one=aaa\n;one!bbb\nccc\nddd\n;");
    check_documents(f->context, (mla_text_options){paths("one"), .held_out = 0.01}, "one=aaa\nbbb\nccc\n;one!ddd\n;");
    check_documents(f->context, (mla_text_options){paths("one")}, "one=aaa\nbbb\nccc\nddd\n;");
    write_text("line", "\xc3\xa4\xc3\xa4\xc3\xa4");
    check_documents(f->context, (mla_text_options){paths("line"), .held_out = 0.5},
                    "line=\xc3\xa4\xc3\xa4;line!\xc3\xa4;");
    file_write("odd", "\x80\x80\x80", 3);
    check_documents(f->context, (mla_text_options){paths("odd"), .held_out = 1e-300}, "odd=\x80\x80;odd!\x80;");
    write_text("letter", "x");
    check_refused(f->context, (mla_text_options){paths("letter"), .held_out = 0.5}, MLA_ERROR_ARGUMENT, "too short");
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {test(reads_files_folders_and_globs_in_order),
                                       test(takes_any_bytes_of_text),
                                       test(knows_what_is_no_text),
                                       test(reads_pipes),
                                       test(reads_a_field_of_jsonl),
                                       test(hands_out_lines_as_they_stand),
                                       test(reads_long_files_in_little_memory),
                                       test(names_what_is_wrong),
                                       test(names_what_cannot_be_read),
                                       test(holds_documents_out_by_content),
                                       test(both_sides_get_a_document),
                                       test(cuts_a_single_document)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
