/* What happens to text before it is split: normalizers, and added tokens that are spelled out in it. What is expected
 * comes from Hugging Face's `tokenizers`; tests/parity/tokenizer.py compares much more with it. */
#include "data/tokenizer/bpe.h"
#include "tests/support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *content; /* NULL: none */
    bool special, lstrip, rstrip, single_word, normalized;
} added;

enum { MOST_ADDED = 3 };

static const char *word(bool value) { return value ? "true" : "false"; }

/* The byte tokenizer with a normalizer and added tokens, whose ids begin at 257. */
static mla_status parse(mla_context *context, const char *normalizer, const added *tokens, mla_tokenizer **out) {
    static const char none[] = "\"normalizer\": null", list[] = "\"added_tokens\": [";
    mla_tokenizer *bytes;
    check_ok(context, mla_tokenizer_bytes(context, &bytes));
    char *json = mla_tokenizer_json(context, bytes), text[32768];
    const char *at = strstr(json, list), *behind = strstr(json, none);
    int length = snprintf(text, sizeof text, "%.*s", (int)(at + strlen(list) - json), json);
    for (int i = 0; tokens && i < MOST_ADDED && tokens[i].content; i++)
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "{\"id\": %d, \"content\": \"%s\", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, "
                           "\"normalized\": %s, \"special\": %s},",
                           257 + i, tokens[i].content, word(tokens[i].single_word), word(tokens[i].lstrip),
                           word(tokens[i].rstrip), word(tokens[i].normalized), word(tokens[i].special));
    length += snprintf(text + length, sizeof text - (size_t)length, "%.*s\"normalizer\": %s%s",
                       (int)(behind - at - (int64_t)strlen(list)), at + strlen(list), normalizer,
                       behind + strlen(none));
    assert_in_range(length, 1, sizeof text - 1);
    const mla_status status = mla_tokenizer_parse(context, out, text, length);
    mla_tokenizer_destroy(bytes);
    free(json);
    return status;
}

/* The ids of a text: bytes as they are, others as [id]. */
static void check_ids(mla_context *context, const mla_tokenizer *tokenizer, mla_added which, const char *text,
                      int64_t length, const char *expected) {
    mla_encoder *encoder;
    mla_id_list ids = {0};
    char words[256] = "";
    check_ok(context, mla_encoder_create(context, &encoder, tokenizer, &(mla_encoder_options){.added = which}));
    check_ok(context, mla_encoder_encode(context, encoder, text, length, &ids));
    for (int64_t i = 0; i < ids.count; i++)
        snprintf(words + strlen(words), sizeof words - strlen(words), ids.ids[i] < 256 ? "%c" : "[%d]", ids.ids[i]);
    assert_string_equal(words, expected);
    mla_encoder_destroy(encoder);
    free(ids.ids);
}

static void normalizes_as_others_do(void **state) {
    static const char *const cases[][3] = {
        {"{\"type\": \"NFC\"}",
         "e\xcc\x81"
         "a\xcc\xa3\xcc\x82 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 \xe2\x84\xab o\xcc\x84\xcc\xa8",
         "\xc3\xa9\xe1\xba\xad \xea\xb0\x81 \xc3\x85 \xc7\xad"},
        {"{\"type\": \"NFD\"}", "\xc3\xa9 \xe1\xba\xad \xea\xb0\x81 \xc3\x85",
         "e\xcc\x81 a\xcc\xa3\xcc\x82 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 A\xcc\x8a"},
        {"{\"type\": \"NFKC\"}", "\xef\xac\x81 \xe2\x91\xa0 \xef\xbd\xb6\xef\xbe\x9e x\xc2\xb2",
         "fi 1 \xe3\x82\xac x2"},
        {"{\"type\": \"NFKD\"}", "\xef\xac\x81 \xc3\xa9 \xe3\x8e\x8f", "fi e\xcc\x81 kg"},
        {"{\"type\": \"Lowercase\"}", "\xc3\x84\xc3\x96 \xc4\xb0 \xce\x91\xce\xa3 \xe1\xba\x9e",
         "\xc3\xa4\xc3\xb6 i\xcc\x87 \xce\xb1\xcf\x83 \xc3\x9f"},
        {"{\"type\": \"StripAccents\"}", "e\xcc\x81 \xc3\xa9 a\xcc\xa3", "e \xc3\xa9 a"},
        {"{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}", "\xe3\x80\x80\n a b \xe2\x80\x83",
         "a b"},
        {"{\"type\": \"Strip\", \"strip_left\": false, \"strip_right\": true}", " a ", " a"},
        {"{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\\u2581\"}", " a  b",
         "\xe2\x96\x81"
         "a\xe2\x96\x81\xe2\x96\x81"
         "b"},
        {"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s{2,}|b+\"}, \"content\": \"\"}", "a  bb c d",
         "a c d"},
        {"{\"type\": \"Prepend\", \"prepend\": \"\\u2581\"}", "a b",
         "\xe2\x96\x81"
         "a b"},
        {"{\"type\": \"Prepend\", \"prepend\": \"\\u2581\"}", "", ""},
        {"{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFD\"}, {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"StripAccents\"}, {\"type\": \"Lowercase\"}]}, {\"type\": \"Prepend\", \"prepend\": \"_\"}]}",
         "\xc3\x89"
         "a \xc3\x91",
         "_ea n"},
        {"{\"type\": \"Sequence\", \"normalizers\": []}", "\xc3\x89", "\xc3\x89"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_tokenizer *tokenizer;
        check_ok(*state, parse(*state, cases[i][0], NULL, &tokenizer));
        for (mla_added which = MLA_ADDED_NONE; which <= MLA_ADDED_ALL; which++)
            check_ids(*state, tokenizer, which, cases[i][1], (int64_t)strlen(cases[i][1]), cases[i][2]);
        mla_tokenizer_destroy(tokenizer);
    }
}

static void finds_added_tokens_as_others_do(void **state) {
    static const struct {
        added tokens[MOST_ADDED];
        const char *normalizer;
        mla_added which;
        const char *text, *expected;
    } cases[] = {
        {{{"<a>", .special = false}, {"<b>", .special = false}},
         "null",
         MLA_ADDED_PLAIN,
         "x<a><b> <a",
         "x[257][258] <a"},
        {{{"<a>", .special = true}, {"<b>", .special = false}}, "null", MLA_ADDED_PLAIN, "x<a><b>y", "x<a>[258]y"},
        {{{"<a>", .special = true}, {"<b>", .special = false}}, "null", MLA_ADDED_ALL, "x<a><b>y", "x[257][258]y"},
        {{{"<a>", .special = false}, {"<a>b", .special = false}}, "null", MLA_ADDED_PLAIN, "<a>b<a>c", "[258][257]c"},
        {{{"<a>", .lstrip = true}}, "null", MLA_ADDED_PLAIN, "x \n\xe3\x80\x80<a> y", "x[257] y"},
        {{{"<a>", .rstrip = true}}, "null", MLA_ADDED_PLAIN, "x <a> \n\xe3\x80\x80y", "x [257]y"},
        {{{"<a>", .lstrip = true, .rstrip = true}}, "null", MLA_ADDED_PLAIN, "  <a>  <a>  ", "[257][257]"},
        {{{"ab", .single_word = true}},
         "null",
         MLA_ADDED_PLAIN,
         "ab cab abc ab_ ab-ab \xe4\xb8\x96"
         "ab",
         "[257] cab abc ab_ [257]-[257] \xe4\xb8\x96"
         "ab"},
        {{{"ab", .special = true}, {"abc", .special = false}, {"bc", .special = false}},
         "null",
         MLA_ADDED_PLAIN,
         "abc ab bc",
         "[258] ab [259]"},
        {{{"ab", .special = true}, {"bc", .special = false}}, "null", MLA_ADDED_PLAIN, "abc", "abc"},
        {{{"Ab", .normalized = true}}, "{\"type\": \"Lowercase\"}", MLA_ADDED_PLAIN, "Ab aB ab", "[257] [257] [257]"},
        {{{"Ab", .special = false}}, "{\"type\": \"Lowercase\"}", MLA_ADDED_PLAIN, "Ab aB ab", "[257] ab ab"},
        {{{"b c", .normalized = true}, {"<x>", .special = false}},
         "{\"type\": \"Prepend\", \"prepend\": \"a\"}",
         MLA_ADDED_PLAIN,
         "<x>b c b c",
         "[258][257] b c"},
        {{{"\xc3\xa9!", .normalized = true}, {"e\xcc\x81?", .special = false}},
         "{\"type\": \"NFC\"}",
         MLA_ADDED_PLAIN,
         "\xc3\xa9! e\xcc\x81! \xc3\xa9? e\xcc\x81?",
         "[257] [257] \xc3\xa9? [258]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_tokenizer *tokenizer;
        check_ok(*state, parse(*state, cases[i].normalizer, cases[i].tokens, &tokenizer));
        check_ids(*state, tokenizer, cases[i].which, cases[i].text, (int64_t)strlen(cases[i].text), cases[i].expected);
        mla_tokenizer_destroy(tokenizer);
    }
}

/* To an encoder without options a text is data: it holds no added tokens of any kind. */
static void data_holds_no_added_tokens(void **state) {
    mla_tokenizer *tokenizer;
    check_ok(*state, parse(*state, "null", (added[MOST_ADDED]){{"<a>", .special = false}, {"<s>", .special = true}},
                           &tokenizer));
    check_ids(*state, tokenizer, MLA_ADDED_NONE, "<a><s>", 6, "<a><s>");
    mla_tokenizer_destroy(tokenizer);
}

/* Between bytes that are not UTF-8 stand texts, normalized by themselves. */
static void invalid_bytes_stay(void **state) {
    static const char text[] = "\xff"
                               "e\xcc\x81 \xcc\x81\xc3"
                               "e\xcc\x81\xf0\x9f",
                      expected[] = "\xff\xc3\xa9 \xcc\x81\xc3\xc3\xa9\xf0\x9f";
    mla_tokenizer *tokenizer;
    check_ok(*state, parse(*state, "{\"type\": \"NFC\"}",
                           (added[MOST_ADDED]){{"<a>", .single_word = true, .lstrip = true}}, &tokenizer));
    check_ids(*state, tokenizer, MLA_ADDED_PLAIN, text, sizeof text - 1, expected);
    check_ids(*state, tokenizer, MLA_ADDED_PLAIN, "\xff<a>\xc3", 5, "\xff[257]\xc3");
    mla_tokenizer_destroy(tokenizer);
}

/* Long runs of marks, as text that is made to be slow has them, are put in order in no time. */
static void long_runs_of_marks_are_quick(void **state) {
    enum { PAIRS = 100000 };
    mla_tokenizer *tokenizer;
    mla_id_list ids = {0};
    char *text = malloc(4 * PAIRS + 1);
    check_ok(*state, parse(*state, "{\"type\": \"NFD\"}", NULL, &tokenizer));
    for (int i = 0; i < PAIRS; i++) memcpy(text + 4 * i, "\xcc\x81\xcc\xa3", 4); /* classes 230 and 220 */
    check_ok(*state, mla_tokenizer_encode(*state, tokenizer, text, 4 * PAIRS, &ids));
    assert_int_equal(ids.count, 4 * PAIRS);
    for (int i = 0; i < 2 * PAIRS; i++) assert_int_equal(ids.ids[2 * i + 1], i < PAIRS ? 0xa3 : 0x81);
    mla_tokenizer_destroy(tokenizer);
    free(ids.ids);
    free(text);
}

/* The marks of bytes become those of tokens, whatever normalizing makes of the bytes. */
static void marks_come_along(void **state) {
    static const struct {
        const char *normalizer, *text, *marks, *ids, *expected;
    } cases[] = {
        {"null", "abc", "\0\1\0", "abc", "\0\1\0"},
        {"{\"type\": \"NFC\"}", "ae\xcc\x81g", "\0\0\0\1\0", "a\xc3\xa9g", "\0\1\1\0"},
        {"{\"type\": \"NFC\"}", "abg", "\0\1\0", "abg", "\0\1\0"},
        {"{\"type\": \"NFD\"}", "a\xc3\xa9g", "\1\0\0\1", "ae\xcc\x81g", "\1\0\0\0\1"},
        {"{\"type\": \"Replace\", \"pattern\": {\"String\": \"bc\"}, \"content\": \"xyz\"}", "abcd", "\0\0\1\0",
         "axyzd", "\0\1\1\1\0"},
        {"{\"type\": \"Prepend\", \"prepend\": \"_\"}", "ab", "\1\0", "_ab", "\1\1\0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_marked_text text = {
            .bytes = cases[i].text, .marks = cases[i].marks, .length = (int64_t)strlen(cases[i].text)};
        mla_tokenizer *tokenizer;
        mla_encoder *encoder;
        mla_id_list ids = {0};
        mla_bytes marks = {0};
        check_ok(*state, parse(*state, cases[i].normalizer, NULL, &tokenizer));
        check_ok(*state, mla_encoder_create(*state, &encoder, tokenizer, NULL));
        check_ok(*state, mla_encoder_encode_marked(*state, encoder, &text, &ids, &marks));
        assert_int_equal(ids.count, strlen(cases[i].ids));
        assert_int_equal(marks.count, ids.count);
        for (int64_t j = 0; j < ids.count; j++) assert_int_equal(ids.ids[j], (unsigned char)cases[i].ids[j]);
        assert_memory_equal(marks.bytes, cases[i].expected, (size_t)marks.count);
        mla_encoder_destroy(encoder);
        mla_tokenizer_destroy(tokenizer);
        free(ids.ids);
        free(marks.bytes);
    }
}

static void refuses_what_it_does_not_know(void **state) {
    static const char *const wrong[][2] = {
        {"{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"\"}", "normalizer \"Precompiled\" is not supported"},
        {"{\"type\": \"BertNormalizer\"}", "normalizer \"BertNormalizer\" is not supported"},
        {"{}", "normalizer \"\" is not supported"},
        {"{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"Nmt\"}]}", "normalizer \"Nmt\""},
        {"{\"type\": \"Replace\", \"content\": \"\"}", "the pattern of Replace"},
        {"{\"type\": \"Replace\", \"pattern\": {\"String\": \"\"}, \"content\": \"\"}", "Replace of an empty String"},
        {"{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}}", "the content of Replace"},
        {"{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"a*\"}, \"content\": \"\"}", "can match the empty string"},
        {"{\"type\": \"Prepend\"}", "the text of Prepend"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mla_tokenizer *tokenizer;
        check_error(*state, parse(*state, wrong[i][0], NULL, &tokenizer), MLA_ERROR_FORMAT, wrong[i][1]);
        assert_null(tokenizer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalizes_as_others_do),       cmocka_unit_test(finds_added_tokens_as_others_do),
        cmocka_unit_test(data_holds_no_added_tokens),    cmocka_unit_test(invalid_bytes_stay),
        cmocka_unit_test(long_runs_of_marks_are_quick),  cmocka_unit_test(marks_come_along),
        cmocka_unit_test(refuses_what_it_does_not_know),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
