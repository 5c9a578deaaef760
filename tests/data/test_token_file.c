/* Token files: what is written is mapped again; ids, offsets and the tokenizer are checked. */
#include "data/formats/h5.h"
#include "data/tokens/token_file.h"
#include "tests/support/check.h"
#include "tests/support/files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    mla_context *context;
    char *folder, *path;
} fixture_t;

static int setup(void **state) {
    fixture_t *f = calloc(1, sizeof *f);
    *state = f;
    f->folder = folder_create();
    f->path = path_in(f->folder, "tokens.h5");
    return mla_context_create(&f->context, NULL) != MLA_OK;
}

static int teardown(void **state) {
    fixture_t *f = *state;
    mla_context_destroy(f->context);
    folder_remove(f->folder);
    free(f->path);
    free(f);
    return 0;
}

static int files_in(const char *folder) {
    int count = 0;
    DIR *entries = opendir(folder);
    for (const struct dirent *entry; (entry = readdir(entries));) count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}

static void writes_and_maps(fixture_t *f, int64_t vocabulary_size, int64_t length) {
    mla_token_writer *writer;
    mla_token_file *file;
    int32_t top = (int32_t)vocabulary_size - 1, *tokens = malloc((size_t)length * 4),
            *copy = malloc((size_t)length * 4);
    for (int64_t i = 0; i < length; i++) tokens[i] = (int32_t)(i * 7919 % vocabulary_size);
    tokens[length - 1] = top;
    mla_token_options options = {.vocabulary_size = vocabulary_size, .separator = 1, .tokenizer = "{\"a\": 1}"};
    check_ok(f->context, mla_token_writer_create(f->context, &writer, f->path, &options));
    check_ok(f->context, mla_token_writer_append(writer, MLA_TRAIN, length, tokens, NULL, 3 * length));
    check_ok(f->context, mla_token_writer_append(writer, MLA_HELD_OUT, 2, tokens, NULL, 5));
    check_ok(f->context, mla_token_writer_append(writer, MLA_TRAIN, 0, tokens, NULL, 0));
    check_ok(f->context, mla_token_writer_append(writer, MLA_TRAIN, 3, tokens, NULL, 9));
    assert_false(file_exists(f->path));
    check_ok(f->context, mla_token_writer_commit(writer));
    mla_token_writer_close(writer);
    assert_int_equal(files_in(f->folder), 1);

    check_ok(f->context, mla_token_file_open(f->context, &file, f->path));
    const mla_token_stream *train = mla_token_file_stream(file, MLA_TRAIN);
    const mla_token_stream *held_out = mla_token_file_stream(file, MLA_HELD_OUT);
    assert_int_equal(train->count, length + 6);
    assert_int_equal(train->documents, 3);
    const int64_t offsets[] = {0, length + 1, length + 2, length + 6};
    assert_memory_equal(train->offsets, offsets, sizeof offsets);
    assert_int_equal(train->bytes, 3 * length + 9);
    assert_int_equal(held_out->count, 3);
    assert_int_equal(held_out->bytes, 5);
    assert_true(vocabulary_size <= 65536 ? !!train->narrow : !!train->wide);
    mla_tokens_copy(train, 0, length, copy);
    assert_memory_equal(copy, tokens, (size_t)length * 4);
    mla_tokens_copy(train, length, 3, copy);
    assert_true(copy[0] == 1 && copy[1] == 1 && copy[2] == tokens[0]);
    assert_int_equal(mla_token_file_vocabulary_size(file), vocabulary_size);
    assert_int_equal(mla_token_file_separator(file), 1);
    assert_string_equal(mla_token_file_tokenizer(file), "{\"a\": 1}");
    check_ok(f->context, mla_token_file_expect_tokenizer(file, "{\"a\": 1}"));
    check_error(f->context, mla_token_file_expect_tokenizer(file, "{}"), MLA_ERROR_ARGUMENT, "another tokenizer");
    mla_token_file_close(file);
    free(tokens);
    free(copy);
}

static void narrow_tokens(void **state) { writes_and_maps(*state, 65536, 100000); }
static void wide_tokens(void **state) { writes_and_maps(*state, 65537, 200000); }

static void an_unfinished_writer_leaves_nothing(void **state) {
    fixture_t *f = *state;
    mla_token_writer *writer;
    mla_token_options options = {.vocabulary_size = 10, .separator = 1, .tokenizer = "{}"};
    check_ok(f->context, mla_token_writer_create(f->context, &writer, f->path, &options));
    check_ok(f->context, mla_token_writer_append(writer, MLA_TRAIN, 2, (int32_t[]){1, 2}, NULL, 2));
    mla_token_writer_close(writer);
    assert_int_equal(files_in(f->folder), 0);
}

static void refuses_bad_tokens_and_options(void **state) {
    fixture_t *f = *state;
    mla_context *c = f->context;
    mla_token_writer *writer;
    mla_token_options options = {.vocabulary_size = 10, .separator = 1, .tokenizer = "{}"};
    check_ok(c, mla_token_writer_create(c, &writer, f->path, &options));
    check_ok(c, mla_token_writer_append(writer, MLA_TRAIN, 1, (int32_t[]){9}, NULL, 1));
    check_error(c, mla_token_writer_append(writer, MLA_TRAIN, 2, (int32_t[]){0, 10}, NULL, 1), MLA_ERROR_ARGUMENT,
                "token 1 of document 1 is 10, not in the vocabulary of 10");
    mla_token_writer_close(writer);
    options.separator = 10;
    check_error(c, mla_token_writer_create(c, &writer, f->path, &options), MLA_ERROR_ARGUMENT, "separator 10");
    options.vocabulary_size = 0;
    check_error(c, mla_token_writer_create(c, &writer, f->path, &options), MLA_ERROR_ARGUMENT, "vocabulary of 0");
    options = (mla_token_options){.vocabulary_size = 10, .tokenizer = "{}"};
    char *missing = path_in(f->folder, "none/tokens.h5");
    check_error(c, mla_token_writer_create(c, &writer, missing, &options), MLA_ERROR_IO, missing);
    free(missing);
}

/* Marks of answers, one a token and the separator: they come back, and make targets. */
static void answers_are_marked(void **state) {
    fixture_t *f = *state;
    mla_token_writer *writer;
    mla_token_file *file;
    const mla_token_options options = {.vocabulary_size = 10, .separator = 1, .tokenizer = "{}", .answers = true};
    const int32_t tokens[] = {7, 8, 9}, expected[] = {-1, 8, 9, -1, -1, 1};
    int32_t targets[6];
    check_ok(f->context, mla_token_writer_create(f->context, &writer, f->path, &options));
    check_ok(f->context, mla_token_writer_append(writer, MLA_TRAIN, 3, tokens, (uint8_t[]){0, 1, 1, 0}, 0));
    check_ok(f->context, mla_token_writer_append(writer, MLA_TRAIN, 1, tokens, (uint8_t[]){0, 1}, 0));
    check_ok(f->context, mla_token_writer_commit(writer));
    mla_token_writer_close(writer);
    check_ok(f->context, mla_token_file_open(f->context, &file, f->path));
    mla_tokens_copy_targets(mla_token_file_stream(file, MLA_TRAIN), 0, 6, targets);
    assert_memory_equal(targets, expected, sizeof expected);
    mla_tokens_copy_targets(mla_token_file_stream(file, MLA_TRAIN), 2, 3, targets);
    assert_memory_equal(targets, expected + 2, 3 * sizeof *targets);
    mla_token_file_close(file);
}

/* A token file with whole seal and wrong content, as another program might make. */
typedef struct {
    int64_t vocabulary_size, separator, offsets[3];
    uint16_t tokens[4];
    const char *hash;
} content_t;

static void write_content(fixture_t *f, content_t content) {
    mla_h5_file *file;
    check_ok(f->context, mla_h5_create(f->context, &file, f->path, NULL));
    mla_h5_write_i64(file, "/vocabulary_size", content.vocabulary_size);
    mla_h5_write_i64(file, "/separator", content.separator);
    mla_h5_write_text(file, "/tokenizer", "{}");
    mla_h5_write_text(file, "/tokenizer_hash", content.hash);
    mla_h5_write(file, "/train/tokens", MLA_H5_U16, 1, (int64_t[]){4}, content.tokens);
    mla_h5_write(file, "/train/document_offsets", MLA_H5_I64, 1, (int64_t[]){3}, content.offsets);
    mla_h5_write_i64(file, "/train/bytes", 4);
    mla_h5_write(file, "/held_out/tokens", MLA_H5_U16, 1, (int64_t[]){0}, NULL);
    mla_h5_write(file, "/held_out/document_offsets", MLA_H5_I64, 1, (int64_t[]){1}, (int64_t[]){0});
    mla_h5_write_i64(file, "/held_out/bytes", 0);
    check_ok(f->context, mla_h5_commit(file));
    mla_h5_close(file);
}

static void refuses_bad_content(void **state) {
    fixture_t *f = *state;
    const content_t good = {10, 1, {0, 2, 4}, {9, 1, 8, 1}, "1349cde127705c16"};
    const struct {
        content_t content;
        const char *words;
    } cases[] = {
        {{10, 1, {0, 2, 4}, {9, 1, 8, 1}, "0000000000000000"}, "/tokenizer_hash"},
        {{10, 1, {0, 2, 4}, {9, 1, 10, 1}, good.hash}, "token 2 of /train/tokens is 10, not in the vocabulary of 10"},
        {{10, 1, {0, 5, 4}, {9, 1, 8, 1}, good.hash}, "/train/document_offsets do not ascend"},
        {{10, 1, {0, 2, 5}, {9, 1, 8, 1}, good.hash}, "/train/document_offsets do not ascend"},
        {{10, 1, {-1, 2, 4}, {9, 1, 8, 1}, good.hash}, "/train/document_offsets do not ascend"},
        {{10, 10, {0, 2, 4}, {9, 1, 8, 1}, good.hash}, "separator 10"},
        {{-1, 1, {0, 2, 4}, {9, 1, 8, 1}, good.hash}, "vocabulary -1"}};
    mla_token_file *file;
    write_content(f, good);
    check_ok(f->context, mla_token_file_open(f->context, &file, f->path));
    assert_int_equal(mla_token_file_stream(file, MLA_HELD_OUT)->count, 0);
    mla_token_file_close(file);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_content(f, cases[i].content);
        check_error(f->context, mla_token_file_open(f->context, &file, f->path), MLA_ERROR_FORMAT, cases[i].words);
        assert_null(file);
    }
    content_t wide = good;
    wide.vocabulary_size = 70000;
    write_content(f, wide);
    check_error(f->context, mla_token_file_open(f->context, &file, f->path), MLA_ERROR_SHAPE,
                "is u16 (4), not i32 (4)");
}

static void refuses_other_files(void **state) {
    fixture_t *f = *state;
    mla_token_file *file;
    mla_h5_file *h5;
    check_error(f->context, mla_token_file_open(f->context, &file, f->path), MLA_ERROR_IO, f->path);
    check_ok(f->context, mla_h5_create(f->context, &h5, f->path, NULL));
    check_ok(f->context, mla_h5_commit(h5));
    mla_h5_close(h5);
    check_error(f->context, mla_token_file_open(f->context, &file, f->path), MLA_ERROR_FORMAT,
                "no dataset /vocabulary_size");
}

/* The tokens that wait, the file itself: whichever no longer fits, there is an error and no file. */
static void a_full_disk_leaves_nothing(void **state) {
    fixture_t *f = *state;
    static int32_t tokens[100000];
    mla_token_options options = {.vocabulary_size = 10, .separator = 1, .tokenizer = "{}"};
    char *disk = disk_create(f->folder, 1024);
    if (!disk) skip();
    char *path = path_in(disk, "tokens.h5");
    int failures = 0;
    for (int kilobytes = 200; disk_fill(disk, kilobytes); kilobytes += 16) {
        mla_token_writer *writer;
        mla_status status = mla_token_writer_create(f->context, &writer, path, &options);
        if (!status) status = mla_token_writer_append(writer, MLA_TRAIN, 100000, tokens, NULL, 100000);
        if (!status) status = mla_token_writer_append(writer, MLA_HELD_OUT, 100000, tokens, NULL, 100000);
        if (!status) status = mla_token_writer_commit(writer);
        mla_token_writer_close(writer);
        if (!status) continue;
        check_error(f->context, status, MLA_ERROR_IO, "No space left on device");
        assert_int_equal(files_in(disk), failures++ ? 1 : file_exists(path) + 1);
        if (failures == 1) unlink(path);
    }
    assert_true(failures > 30);
    disk_remove(disk);
    free(path);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {test(narrow_tokens),
                                       test(wide_tokens),
                                       test(an_unfinished_writer_leaves_nothing),
                                       test(answers_are_marked),
                                       test(refuses_bad_tokens_and_options),
                                       test(refuses_bad_content),
                                       test(refuses_other_files),
                                       test(a_full_disk_leaves_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
