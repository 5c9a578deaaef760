/* From text to a token file: every document is in it once, on its side, and decodes to its bytes. */
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/token_file.h"
#include "tests/support/check.h"
#include "train/run/prepare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DOCUMENTS = 40 };

static char folder[] = "/tmp/mla-prepare-XXXXXX";

static void text_of(int i, size_t size, char *out) {
    snprintf(out, size, "Document %d says: \xff to be or not to be, that is %d.", i, i * i);
}

static const char *path_in(const char *name) {
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_lines(void) {
    char text[128];
    for (int i = 0; i < DOCUMENTS; i++) {
        snprintf(text, sizeof text, "%d.txt", i);
        FILE *file = fopen(path_in(text), "wb");
        assert_non_null(file);
        text_of(i, sizeof text, text);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
}

/* Marks which documents a stream holds; each must be whole, and in no other stream. */
static void find_documents(mla_context *context, const mla_token_file *file, const mla_tokenizer *tokenizer,
                           mla_token_split split, const mla_prepare_count *reported, bool *seen) {
    const mla_token_stream *stream = mla_token_file_stream(file, split);
    assert_int_equal(stream->documents, reported->documents);
    assert_int_equal(stream->count, reported->tokens);
    assert_int_equal(stream->bytes, reported->bytes);
    for (int64_t d = 0; d < stream->documents; d++) {
        const int64_t count = stream->offsets[d + 1] - stream->offsets[d] - 1;
        int32_t ids[256];
        mla_bytes text = {0};
        char expected[128];
        int number = -1;
        assert_in_range(count, 1, 256);
        mla_tokens_copy(stream, stream->offsets[d], count, ids);
        check_ok(context, mla_tokenizer_decode(context, tokenizer, ids, count, &text));
        assert_int_equal(sscanf(text.bytes, "Document %d", &number), 1);
        assert_in_range(number, 0, DOCUMENTS - 1);
        assert_false(seen[number]);
        seen[number] = true;
        text_of(number, sizeof expected, expected);
        assert_int_equal(text.count, strlen(expected));
        assert_memory_equal(text.bytes, expected, strlen(expected));
        free(text.bytes);
    }
}

static void every_document_is_on_its_side(void **state) {
    mla_context *context = *state;
    mla_recipe_data data = {.format = MLA_RECIPE_AUTO, .field = "text", .tokenizer = "bpe", .vocab_size = 280};
    char pattern[160], tokens[160];
    char *sources[] = {pattern};
    mla_prepare_report report;
    mla_token_file *file;
    mla_tokenizer *tokenizer;
    bool seen[DOCUMENTS] = {false};
    snprintf(pattern, sizeof pattern, "%s", path_in("*.txt"));
    snprintf(tokens, sizeof tokens, "%s", path_in("tokens.h5"));
    data.source = (mla_list){.items = sources, .count = 1};
    data.held_out = 0.25;
    mla_prepare_options options = mla_prepare_options_of(&data);
    check_ok(context, mla_prepare(context, &options, tokens, &report));
    assert_int_equal(report.train.documents + report.held_out.documents, DOCUMENTS);
    assert_true(report.held_out.documents > 0 && report.train.documents > report.held_out.documents);
    assert_int_equal(report.vocabulary_size, 280);

    check_ok(context, mla_token_file_open(context, &file, tokens));
    const char *json = mla_token_file_tokenizer(file);
    check_ok(context, mla_tokenizer_parse(context, &tokenizer, json, (int64_t)strlen(json)));
    find_documents(context, file, tokenizer, MLA_TRAIN, &report.train, seen);
    find_documents(context, file, tokenizer, MLA_HELD_OUT, &report.held_out, seen);
    mla_tokenizer_destroy(tokenizer);
    mla_token_file_close(file);
    unlink(tokens);
}

static void needs_a_separator(void **state) {
    mla_context *context = *state;
    char pattern[160], json[160];
    snprintf(pattern, sizeof pattern, "%s", path_in("*.txt"));
    snprintf(json, sizeof json, "%s", path_in("tokenizer.json"));
    const char *sources[] = {pattern};
    mla_tokenizer *bytes;
    check_ok(context, mla_tokenizer_bytes(context, &bytes));
    char *text = mla_tokenizer_json(context, bytes);
    assert_non_null(text);
    for (char *at; (at = strstr(text, "<|endoftext|>"));) memcpy(at, "<|otherwise|>", 13);
    FILE *file = fopen(json, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    const mla_prepare_options options = {.sources = sources, .source_count = 1, .tokenizer = json, .held_out = 0.1};
    check_error(context, mla_prepare(context, &options, path_in("none.h5"), NULL), MLA_ERROR_ARGUMENT,
                "has no token that ends a document");
    assert_int_not_equal(access(path_in("none.h5"), F_OK), 0);
    unlink(json);
    free(text);
    mla_tokenizer_destroy(bytes);
}

static int setup(void **state) {
    if (!mkdtemp(folder)) return 1;
    write_lines();
    return mla_context_create((mla_context **)state, NULL) != MLA_OK;
}

static int teardown(void **state) {
    char name[32];
    mla_context_destroy(*state);
    for (int i = 0; i < DOCUMENTS; i++) {
        snprintf(name, sizeof name, "%d.txt", i);
        unlink(path_in(name));
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_document_is_on_its_side),
                                       cmocka_unit_test(needs_a_separator)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
