/* The tokenizer: bytes there and back, files there and back, and files that are wrong. The ids
 * of Hugging Face's `tokenizers` are checked in tests/parity/tokenizer.py. */
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/support/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char story[] = "low low low low low lower lower newest newest newest newest newest newest widest widest "
                            "widest don't 1234567 <|endoftext|> straße 你好，世界\n\n    return x\r\n\xff\xfe\0z";

static mla_tokenizer *train(mla_context *context, int32_t size) {
    mla_tokenizer *tokenizer;
    check_ok(context, mla_tokenizer_train(context, &tokenizer, &(mla_bpe_options){size, NULL},
                                          &(mla_text_chunk){story, sizeof story - 1}, 1));
    return tokenizer;
}

static mla_id_list encode(mla_context *context, const mla_tokenizer *tokenizer, const char *bytes, size_t length) {
    mla_id_list ids = {0};
    check_ok(context, mla_tokenizer_encode(context, tokenizer, bytes, (int64_t)length, &ids));
    return ids;
}

static void check_round_trip(mla_context *context, const mla_tokenizer *tokenizer, const char *bytes, size_t length) {
    mla_id_list ids = encode(context, tokenizer, bytes, length);
    mla_bytes back = {0};
    check_ok(context, mla_tokenizer_decode(context, tokenizer, ids.ids, ids.count, &back));
    assert_int_equal(back.count, length);
    if (length) assert_memory_equal(back.bytes, bytes, length);
    for (int64_t i = 0; i < ids.count; i++) assert_int_not_equal(ids.ids[i], mla_tokenizer_separator(tokenizer));
    free(back.bytes);
    free(ids.ids);
}

static void bytes_are_their_own_ids(void **state) {
    mla_tokenizer *tokenizer;
    check_ok(*state, mla_tokenizer_bytes(*state, &tokenizer));
    assert_int_equal(mla_tokenizer_vocab_size(tokenizer), 257);
    assert_int_equal(mla_tokenizer_separator(tokenizer), 256);
    mla_id_list ids = encode(*state, tokenizer, story, sizeof story - 1);
    assert_int_equal(ids.count, sizeof story - 1);
    for (int64_t i = 0; i < ids.count; i++) assert_int_equal(ids.ids[i], (unsigned char)story[i]);
    free(ids.ids);
    mla_tokenizer_destroy(tokenizer);
}

static void any_bytes_come_back(void **state) {
    mla_tokenizer *tokenizer = train(*state, 300);
    char bytes[64];
    uint32_t seed = 1;
    check_round_trip(*state, tokenizer, story, sizeof story - 1);
    for (int i = 0; i < 2000; i++) {
        const size_t length = (size_t)i % sizeof bytes;
        for (size_t j = 0; j < length; j++) bytes[j] = (char)((seed = seed * 1664525u + 1013904223u) >> 24);
        check_round_trip(*state, tokenizer, bytes, length);
    }
    mla_tokenizer_destroy(tokenizer);
}

static void long_pieces_are_merged_like_short_ones(void **state) {
    enum { length = 100000 };
    mla_tokenizer *tokenizer;
    char *run = malloc(length);
    memset(run, 'a', length);
    check_ok(*state,
             mla_tokenizer_train(*state, &tokenizer, &(mla_bpe_options){260, NULL}, &(mla_text_chunk){run, length}, 1));
    mla_id_list ids = encode(*state, tokenizer, run, length - 1); /* aa, aaaa, 8 a's: 99999 = 12499*8 + 4 + 2 + 1 */
    assert_int_equal(ids.count, 12499 + 3);
    assert_int_equal(ids.ids[0], 259);
    assert_int_equal(ids.ids[ids.count - 1], 'a');
    free(ids.ids);
    free(run);
    mla_tokenizer_destroy(tokenizer);
}

static void an_encoder_remembers_correctly(void **state) {
    mla_tokenizer *tokenizer = train(*state, 300);
    mla_encoder *encoder;
    mla_id_list first = {0}, second = {0};
    check_ok(*state, mla_encoder_create(*state, &encoder, tokenizer, NULL));
    for (int i = 0; i < 2; i++) {
        mla_id_list *ids = i ? &second : &first;
        check_ok(*state, mla_encoder_encode(*state, encoder, story, sizeof story - 1, ids));
        for (int word = 0; word < 70000; word++) { /* more than it remembers */
            char text[16];
            snprintf(text, sizeof text, " w%c%c%c%c", 'a' + word % 26, 'a' + word / 26 % 26, 'a' + word / 676 % 26,
                     'a' + word / 17576);
            check_ok(*state, mla_encoder_encode(*state, encoder, text, 6, ids));
        }
    }
    assert_int_equal(first.count, second.count);
    assert_memory_equal(first.ids, second.ids, (size_t)first.count * sizeof *first.ids);
    free(first.ids);
    free(second.ids);
    mla_encoder_destroy(encoder);
    mla_tokenizer_destroy(tokenizer);
}

static void a_saved_file_is_the_same_tokenizer(void **state) {
    char folder[] = "/tmp/mla-test-XXXXXX", path[64], temporary[80];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    mla_tokenizer *tokenizer = train(*state, 300), *loaded, *parsed;
    char *json = mla_tokenizer_json(*state, tokenizer);
    check_ok(*state, mla_tokenizer_save(*state, tokenizer, path));
    assert_int_not_equal(access(temporary, F_OK), 0);
    check_ok(*state, mla_tokenizer_load(*state, &loaded, path));
    check_ok(*state, mla_tokenizer_parse(*state, &parsed, json, (int64_t)strlen(json)));
    assert_true(mla_tokenizer_hash(loaded) == mla_tokenizer_hash(tokenizer));
    assert_true(mla_tokenizer_hash(parsed) == mla_tokenizer_hash(tokenizer));
    check_round_trip(*state, loaded, story, sizeof story - 1);
    mla_tokenizer_destroy(loaded);
    check_error(*state, mla_tokenizer_load(*state, &loaded, folder), MLA_ERROR_FORMAT, "not a regular file");
    check_error(*state, mla_tokenizer_save(*state, tokenizer, folder), MLA_ERROR_IO, folder);
    snprintf(temporary, sizeof temporary, "%s.tmp", folder);
    assert_int_not_equal(access(temporary, F_OK), 0);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left in it */
    check_error(*state, mla_tokenizer_load(*state, &loaded, path), MLA_ERROR_IO, "No such file");
    check_error(*state, mla_tokenizer_save(*state, tokenizer, path), MLA_ERROR_IO, "No such file");
    free(json);
    mla_tokenizer_destroy(parsed);
    mla_tokenizer_destroy(tokenizer);
}

/* A disk that is full, or almost: here a limit on the size of files. */
static void a_failed_save_leaves_the_old_file(void **state) {
    char folder[] = "/tmp/mla-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    mla_tokenizer *old = train(*state, 262), *new = train(*state, 270), *loaded;
    check_ok(*state, mla_tokenizer_save(*state, old, path));
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 1000, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    mla_status status = mla_tokenizer_save(*state, new, path);
    setrlimit(RLIMIT_FSIZE, &before);
    check_error(*state, status, MLA_ERROR_IO, "File too large");
    check_ok(*state, mla_tokenizer_load(*state, &loaded, path));
    assert_true(mla_tokenizer_hash(loaded) == mla_tokenizer_hash(old));
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
    mla_tokenizer_destroy(loaded);
    mla_tokenizer_destroy(new);
    mla_tokenizer_destroy(old);
}

/* The JSON with the first `old` in it replaced by `new`; frees what it is given. */
static char *replace(char *json, const char *old, const char *new) {
    const char *at = strstr(json, old);
    char *changed = malloc(strlen(json) + strlen(new) + 1);
    assert_non_null(at);
    sprintf(changed, "%.*s%s%s", (int)(at - json), json, new, at + strlen(old));
    free(json);
    return changed;
}

/* The JSON of a small tokenizer, changed in one place. */
static char *changed_json(mla_context *context, const char *old, const char *new) {
    mla_tokenizer *tokenizer = train(context, 262);
    char *json = replace(mla_tokenizer_json(context, tokenizer), old, new);
    mla_tokenizer_destroy(tokenizer);
    return json;
}

static void refuses_files(void **state) {
    static const char *const wrong[][3] = {
        {"{", "", "not valid JSON"},
        {"\"type\": \"BPE\"", "\"type\": \"WordPiece\"", "model \"WordPiece\""},
        {"\"type\": \"Sequence\"", "\"type\": \"Metaspace\"", "pre_tokenizer Metaspace: the replacement"},
        {"\"type\": \"BPE\"", "\"type\": \"Unigram\"", "or train one (mla prepare --tokenizer bpe)"},
        {"\"type\": \"ByteLevel\"", "\"type\": \"Punctuation\"", "pre_tokenizer \"Punctuation\""},
        {"\"Isolated\"", "\"Removed\"", "behavior \"Removed\""},
        {"\"Regex\"", "\"Glob\"", "neither a Regex nor a String"},
        {"\"add_prefix_space\": false", "\"add_prefix_space\": true", "add_prefix_space"},
        {"\"dropout\": null", "\"dropout\": 0.1", "dropout"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"", "end_of_word_suffix"},
        {"\"vocab\"", "\"vocabulary\"", "no vocabulary"},
        {"\"merges\"", "\"merge\"", "no merges"},
        {"\"merges\": [", "\"merges\": [\"a b c\",", "merge 0 is not a pair"},
        {"\"merges\": [", "\"merges\": [[\"a\"],", "merge 0 is not a pair"},
        {"\"merges\": [", "\"merges\": [7,", "merge 0 is not a pair"},
        {"\"merges\": [", "\"merges\": [\"a zz\",", "merge 0: \"zz\" is not in the vocabulary"},
        {"\"merges\": [", "\"merges\": [\"q z\",", "merge 0: \"qz\" is not in the vocabulary"},
        {"\"A\": 65", "\"A\": 66", "id 66 belongs to two tokens"},
        {"\"A\": 65", "\"A\": 16777216", "the largest id of a token is 16777216: expected 0 to 16777215"},
        {"\"A\": 65", "\"A\": -1", "token \"A\" has no id"},
        {"\"A\": 65", "\"A\": \"65\"", "token \"A\" has no id"},
        {"\"A\": 65", "\"B\": 65",
         "no token \"A\" for the byte 0x41"}, /* and of two that are called B the last one counts */
        {"\"A\": 65", "\"AA\": 65", "no token \"A\" for the byte 0x41"},
        {"\"A\": 65", "\"A\": 65, \"\\u4e16\": 262", "token \"世\" is not written in the byte-level alphabet"},
        {"\"id\": 256", "\"id\": 255", "one id in added_tokens and another"},
        {"\"content\": \"<|endoftext|>\"", "\"content\": \"\"", "no content"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mla_tokenizer *tokenizer;
        char *json = changed_json(*state, wrong[i][0], wrong[i][1]);
        check_error(*state, mla_tokenizer_parse(*state, &tokenizer, json, (int64_t)strlen(json)), MLA_ERROR_FORMAT,
                    wrong[i][2]);
        assert_null(tokenizer);
        free(json);
    }
}

/* Every file that is cut short is refused, and none crashes. */
static void refuses_a_file_that_is_cut(void **state) {
    char *json = changed_json(*state, "{", "{");
    const int64_t length = (int64_t)strlen(json);
    for (int64_t cut = 0; cut < length; cut += 97) {
        mla_tokenizer *tokenizer;
        check_error(*state, mla_tokenizer_parse(*state, &tokenizer, json, cut), MLA_ERROR_FORMAT, "not valid JSON");
    }
    free(json);
}

static void accepts_files_made_elsewhere(void **state) {
    static const char *const other[][2] = {
        {"\"merges\": [", "\"merges\": [[\"s\", \"t\"],"},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"\""},
        {"\"ignore_merges\": false", "\"ignore_merges\": true"},
        {"\"type\": \"Sequence\"", "\"type\": \"ByteLevel\", \"add_prefix_space\": false"},
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}"}, /* as the story is already */
        {"\"added_tokens\": [", "\"added_tokens\": [{\"id\": 262, \"content\": \"世 x\"},"},
    };
    mla_context *context = *state;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        mla_tokenizer *tokenizer;
        char *json = changed_json(*state, other[i][0], other[i][1]);
        check_ok(context, mla_tokenizer_parse(context, &tokenizer, json, (int64_t)strlen(json)));
        check_round_trip(context, tokenizer, story, sizeof story - 1);
        free(json);
        mla_tokenizer_destroy(tokenizer);
    }
}

/* Ids without a token, as many tokenizers have them between the vocabulary and the added tokens. */
static void ids_may_have_no_token(void **state) {
    mla_tokenizer *tokenizer;
    mla_bytes text = {0};
    const char *bytes;
    int64_t length;
    char *json = replace(changed_json(*state, "\"A\": 65", "\"A\": 262"), "\"added_tokens\": [",
                         "\"added_tokens\": [{\"id\": 300, \"content\": \"<x>\"},");
    check_ok(*state, mla_tokenizer_parse(*state, &tokenizer, json, (int64_t)strlen(json)));
    assert_int_equal(mla_tokenizer_vocab_size(tokenizer), 301);
    check_ok(*state, mla_tokenizer_decode(*state, tokenizer, (int32_t[]){65, 262, 280, 300, 299}, 5, &text));
    assert_int_equal(text.count, 4);
    assert_memory_equal(text.bytes, "A<x>", 4);
    check_ok(*state, mla_tokenizer_token(*state, tokenizer, 65, &bytes, &length));
    assert_int_equal(length, 0);
    check_round_trip(*state, tokenizer, story, sizeof story - 1);
    free(text.bytes);
    free(json);
    mla_tokenizer_destroy(tokenizer);
}

static void names_the_end_token(void **state) {
    mla_tokenizer *tokenizer;
    char *json = changed_json(*state, "\"added_tokens\": [",
                              "\"added_tokens\": [{\"id\": 262, \"content\": \"</s>\"},");
    char *content = strstr(json, "<|endoftext|>"); /* both in added_tokens and in the vocabulary */
    for (; content; content = strstr(content, "<|endoftext|>")) memcpy(content, "<|otherthing|", 13);
    check_ok(*state, mla_tokenizer_parse(*state, &tokenizer, json, (int64_t)strlen(json)));
    assert_int_equal(mla_tokenizer_separator(tokenizer), 262);
    mla_tokenizer_destroy(tokenizer);
    free(json);
}

static void ignores_merges_if_told(void **state) {
    mla_tokenizer *tokenizer;
    char *json = changed_json(*state, "\"ignore_merges\": false", "\"ignore_merges\": true"), *merges;
    merges = strstr(json, "\"merges\": [");
    strcpy(merges, "\"merges\": []}}");
    check_ok(*state, mla_tokenizer_parse(*state, &tokenizer, json, (int64_t)strlen(json)));
    mla_id_list ids = encode(*state, tokenizer, "est", 3);
    assert_int_equal(ids.count, 1);
    free(ids.ids);
    mla_tokenizer_destroy(tokenizer);
    free(json);
}

/* A file whose merges lead to a special token, or whose pieces are one: text must not turn into it. */
static void merging_never_makes_a_special_token(void **state) {
    for (int i = 0; i < 2; i++) {
        mla_tokenizer *tokenizer;
        char *json = changed_json(*state, "\"added_tokens\": [",
                                  "\"added_tokens\": [{\"id\": 262, \"content\": \"qz\", \"special\": true},");
        json = replace(json, "\"vocab\": {", "\"vocab\": {\"qz\": 262,");
        json = replace(json, "\"merges\": [", "\"merges\": [\"q z\",");
        if (i) json = replace(json, "\"ignore_merges\": false", "\"ignore_merges\": true");
        check_ok(*state, mla_tokenizer_parse(*state, &tokenizer, json, (int64_t)strlen(json)));
        mla_id_list ids = encode(*state, tokenizer, "qz", 2);
        assert_int_equal(ids.count, 2);
        free(ids.ids);
        free(json);
        mla_tokenizer_destroy(tokenizer);
    }
}

static void matches_the_longest_added_token(void **state) {
    mla_tokenizer *tokenizer;
    mla_encoder *encoder;
    mla_id_list ids = {0};
    char *json = changed_json(
        *state, "\"added_tokens\": [",
        "\"added_tokens\": [{\"id\": 262, \"content\": \"<t>\"}, {\"id\": 263, \"content\": \"<t>2\"},");
    check_ok(*state, mla_tokenizer_parse(*state, &tokenizer, json, (int64_t)strlen(json)));
    check_ok(*state, mla_encoder_create(*state, &encoder, tokenizer, &(mla_encoder_options){.added = MLA_ADDED_ALL}));
    check_ok(*state, mla_encoder_encode(*state, encoder, "<t>2<t>3", 8, &ids));
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.ids[0], 263);
    assert_int_equal(ids.ids[1], 262);
    assert_int_equal(ids.ids[2], '3');
    free(ids.ids);
    free(json);
    mla_encoder_destroy(encoder);
    mla_tokenizer_destroy(tokenizer);
}

/* Files are read by others too: bytes are named as GPT-2 names them. */
static void names_bytes_as_others_do(void **state) {
    static const char *const names[] = {"\"A\": 65,", "\"Ġ\": 32,", "\"Ċ\": 10,", "\"Ń\": 173,", "\"ÿ\": 255,"};
    char *json = changed_json(*state, "{", "{");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_non_null(strstr(json, names[i]));
    free(json);
}

static void refuses_ids_and_sizes(void **state) {
    mla_tokenizer *tokenizer, *none;
    mla_bytes out = {0};
    const char *bytes;
    int64_t length;
    check_ok(*state, mla_tokenizer_bytes(*state, &tokenizer));
    check_error(*state, mla_tokenizer_token(*state, tokenizer, 257, &bytes, &length), MLA_ERROR_ARGUMENT,
                "token id 257 is not in the vocabulary of 257");
    check_error(*state, mla_tokenizer_decode(*state, tokenizer, (int32_t[]){'a', -1}, 2, &out), MLA_ERROR_ARGUMENT,
                "token id -1");
    assert_int_equal(out.count, 0);
    check_error(*state, mla_tokenizer_train(*state, &none, &(mla_bpe_options){256, NULL}, NULL, 0), MLA_ERROR_ARGUMENT,
                "a vocabulary of 256 is too small");
    check_error(*state, mla_tokenizer_train(*state, &none, &(mla_bpe_options){300, "\\w+"}, NULL, 0), MLA_ERROR_FORMAT,
                "\\w");
    free(out.bytes);
    mla_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_their_own_ids),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(long_pieces_are_merged_like_short_ones),
        cmocka_unit_test(an_encoder_remembers_correctly),
        cmocka_unit_test(a_saved_file_is_the_same_tokenizer),
        cmocka_unit_test(a_failed_save_leaves_the_old_file),
        cmocka_unit_test(refuses_files),
        cmocka_unit_test(refuses_a_file_that_is_cut),
        cmocka_unit_test(accepts_files_made_elsewhere),
        cmocka_unit_test(ids_may_have_no_token),
        cmocka_unit_test(names_the_end_token),
        cmocka_unit_test(ignores_merges_if_told),
        cmocka_unit_test(merging_never_makes_a_special_token),
        cmocka_unit_test(matches_the_longest_added_token),
        cmocka_unit_test(names_bytes_as_others_do),
        cmocka_unit_test(refuses_ids_and_sizes),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
