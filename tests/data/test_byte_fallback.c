/* A vocabulary with byte_fallback, in the manners of Llama 2, Mistral and Gemma. Ids and texts are those of Hugging
 * Face's `tokenizers`; tests/parity/tokenizer.py compares many more. */
#include "data/tokenizer/tokenizer.h"
#include "tests/support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLACE(pattern, content) \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" pattern "\"},\"content\":\"" content "\"}"
#define METASPACE(scheme, split) \
    "{\"type\":\"Metaspace\",\"replacement\":\"▁\",\"prepend_scheme\":\"" scheme "\",\"split\":" split "}"
#define SEQUENCE(key, steps) "{\"type\":\"Sequence\",\"" key "\":[" steps "]}"
#define SPACES_BYTES         REPLACE("▁", " ") ",{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}"
#define STRIP                "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"

typedef struct {
    const char *normalizer, *pre_tokenizer, *decoder, *model; /* model: more of it */
} manner;

static const char fallback[] = "\"byte_fallback\":true", ignore[] = "\"byte_fallback\":true,\"ignore_merges\":true",
                  no_spaces[] = SEQUENCE("decoders", SPACES_BYTES "," STRIP),
                  all[] = SEQUENCE("decoders", SPACES_BYTES);

static const manner llama = {SEQUENCE("normalizers", "{\"type\":\"Prepend\",\"prepend\":\"▁\"}," REPLACE(" ", "▁")),
                             "null", no_spaces, fallback},
                    first = {"null", METASPACE("first", "false"), no_spaces, fallback},
                    always = {"null", METASPACE("always", "false"), no_spaces, fallback},
                    never = {"null", METASPACE("never", "false"), METASPACE("always", "true"), fallback},
                    whole = {"null", METASPACE("first", "true"), no_spaces, ignore},
                    old = {"null",
                           "{\"type\":\"Metaspace\",\"replacement\":\"▁\",\"str_rep\":\"▁\",\"add_prefix_space\":true}",
                           no_spaces, fallback},
                    gemma = {REPLACE(" ", "▁"),
                             "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"MergedWithPrevious\","
                             "\"invert\":false}",
                             all, fallback};

/* Ids: <unk> <s> </s>, 256 bytes from 3 on, the words from 259 on, <t>. */
static mla_status parse(mla_context *context, const manner *m, mla_tokenizer **out) {
    static const char *const words[] = {"▁",   "l",  "o",    "w",     "e",  "r",  "é", "lo",
                                        "low", "er", "▁low", "lower", "▁l", "▁▁", "世"};
    char json[16384];
    int n = snprintf(json, sizeof json, "{\"added_tokens\":[");
    for (int i = 0; i < 3; i++)
        n += snprintf(json + n, sizeof json - (size_t)n, "{\"id\":%d,\"content\":\"%s\",\"special\":true},", i,
                      (const char *[]){"<unk>", "<s>", "</s>"}[i]);
    n += snprintf(json + n, sizeof json - (size_t)n,
                  "{\"id\":274,\"content\":\"<t>\",\"normalized\":false}],\"normalizer\":%s,\"pre_tokenizer\":%s,"
                  "\"decoder\":%s,\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,%s,\"merges\":"
                  "[\"l o\",\"lo w\",\"e r\",[\"▁\",\"low\"],[\"low\",\"er\"],\"▁ l\",\"▁ ▁\"],\"vocab\":{\"<unk>\":0",
                  m->normalizer, m->pre_tokenizer, m->decoder, m->model);
    for (int i = 0; i < 256; i++)
        n += snprintf(json + n, sizeof json - (size_t)n, ",\"<0x%02X>\":%d", (unsigned)i, 3 + i);
    for (int i = 0; i < 15; i++) n += snprintf(json + n, sizeof json - (size_t)n, ",\"%s\":%d", words[i], 259 + i);
    n += snprintf(json + n, sizeof json - (size_t)n, "}}}");
    assert_in_range(n, 1, sizeof json - 1);
    return mla_tokenizer_parse(context, out, json, n);
}

static void append_number(char *text, size_t size, int32_t number) {
    snprintf(text + strlen(text), size - strlen(text), "%s%d", *text ? " " : "", number);
}

static void check_text(mla_context *context, const manner *m, const char *text, const char *expected,
                       const char *back) {
    mla_tokenizer *tokenizer;
    mla_encoder *encoder;
    mla_id_list ids = {0};
    mla_bytes bytes = {0};
    char words[256] = "";
    check_ok(context, parse(context, m, &tokenizer));
    check_ok(context,
             mla_encoder_create(context, &encoder, tokenizer, &(mla_encoder_options){.added = MLA_ADDED_PLAIN}));
    check_ok(context, mla_encoder_encode(context, encoder, text, (int64_t)strlen(text), &ids));
    for (int64_t i = 0; i < ids.count; i++) append_number(words, sizeof words, ids.ids[i]);
    assert_string_equal(words, expected);
    check_ok(context, mla_tokenizer_decode(context, tokenizer, ids.ids, ids.count, &bytes));
    assert_int_equal(bytes.count, strlen(back));
    assert_memory_equal(bytes.bytes, back, strlen(back));
    free(bytes.bytes);
    free(ids.ids);
    mla_encoder_destroy(encoder);
    mla_tokenizer_destroy(tokenizer);
}

static void texts_are_those_of_tokenizers(void **state) {
    static const char rare[] = "é世界😀", tokens[] = "▁low<t>lower</s>";
    static const struct {
        const manner *manner;
        const char *text, *ids, *back;
    } cases[] = {
        {&llama, "low lower", "269 269 268", "low lower"},
        {&llama, "  low", "272 269", "  low"},
        {&llama, rare, "259 265 273 234 152 143 243 162 155 131", rare},
        {&llama, tokens, "259 269 274 269 268 63 50 118 65", " low<t> lower</s>"},
        {&llama, "\nlow", "259 13 267", "\nlow"},
        {&first, "low lower", "269 269 268", "low lower"},
        {&first, "  low", "259 269", " low"},
        {&first, rare, "259 265 273 234 152 143 243 162 155 131", rare},
        {&first, tokens, "269 274 270 63 50 118 65", "low<t>lower</s>"},
        {&always, tokens, "269 274 269 268 63 50 118 65", "low<t> lower</s>"},
        {&old, tokens, "269 274 269 268 63 50 118 65", "low<t> lower</s>"},
        {&never, "low lower", "267 269 268", "low lower"},
        {&never, rare, "265 273 234 152 143 243 162 155 131", "é世<0xE7><0x95><0x8C><0xF0><0x9F><0x98><0x80>"},
        {&never, "  low", "259 269", " low"},
        {&whole, tokens, "269 274 270 63 50 118 65", "low<t>lower</s>"},
        {&gemma, "  low", "259 269", "  low"},
        {&gemma, tokens, "269 274 270 63 50 118 65", " low<t>lower</s>"},
        {&gemma, "\nlow", "13 267", "\nlow"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_text(*state, cases[i].manner, cases[i].text, cases[i].ids, cases[i].back);
}

/* Bytes that are no text have tokens, too; `tokenizers` never meets them. */
static void any_bytes_come_back(void **state) {
    static const char bytes[] = "low\xff\xfe\xc3 low\0\xe4\xb8";
    mla_tokenizer *tokenizer;
    mla_id_list ids = {0};
    mla_bytes back = {0};
    check_ok(*state, parse(*state, &first, &tokenizer));
    check_ok(*state, mla_tokenizer_encode(*state, tokenizer, bytes, sizeof bytes - 1, &ids));
    check_ok(*state, mla_tokenizer_decode(*state, tokenizer, ids.ids, ids.count, &back));
    assert_int_equal(back.count, sizeof bytes - 1);
    assert_memory_equal(back.bytes, bytes, sizeof bytes - 1);
    free(back.bytes);
    free(ids.ids);
    mla_tokenizer_destroy(tokenizer);
}

/* What goes on a text keeps its spaces; a token that is added is named as the file spells it. */
static void text_that_goes_on_keeps_its_spaces(void **state) {
    const int32_t ids[] = {269, 234, 152, 143, 269};
    mla_tokenizer *tokenizer;
    mla_bytes text = {0};
    const char *bytes;
    int64_t length;
    check_ok(*state, parse(*state, &llama, &tokenizer));
    check_ok(*state, mla_tokenizer_decode_on(*state, tokenizer, ids, 5, &text));
    check_ok(*state, mla_tokenizer_decode(*state, tokenizer, ids, 5, &text));
    check_error(*state, mla_tokenizer_decode(*state, tokenizer, &(int32_t){275}, 1, &text), MLA_ERROR_ARGUMENT, "275");
    assert_int_equal(text.count, strlen(" low界 lowlow界 low"));
    assert_memory_equal(text.bytes, " low界 lowlow界 low", (size_t)text.count);
    check_ok(*state, mla_tokenizer_spelling(*state, tokenizer, 269, &bytes, &length));
    assert_int_equal(length, strlen("▁low"));
    assert_int_equal(mla_tokenizer_separator(tokenizer), 2);
    free(text.bytes);
    mla_tokenizer_destroy(tokenizer);
}

/* Of a marked word its tokens are marked, wherever spaces and bytes came to lie. */
static void marks_follow_the_text(void **state) {
    static const struct {
        const manner *manner;
        bool inside;
        const char *ids, *marks;
    } cases[] = {{&llama, false, "269 259 234 152 143 269", "001110"},
                 {&first, false, "269 259 234 152 143 269", "001110"},
                 {&first, true, "267 259 234 152 143 269", "001110"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_marked_text text = {"low 界 low", "\0\0\0\0\1\1\1\0\0\0\0", 11, cases[i].inside};
        mla_tokenizer *tokenizer;
        mla_encoder *encoder;
        mla_id_list ids = {0};
        mla_bytes marks = {0};
        char words[128] = "";
        check_ok(*state, parse(*state, cases[i].manner, &tokenizer));
        check_ok(*state, mla_encoder_create(*state, &encoder, tokenizer, NULL));
        check_ok(*state, mla_encoder_encode_marked(*state, encoder, &text, &ids, &marks));
        for (int64_t k = 0; k < ids.count; k++) append_number(words, sizeof words, ids.ids[k]);
        assert_string_equal(words, cases[i].ids);
        assert_int_equal(marks.count, ids.count);
        for (int64_t k = 0; k < ids.count; k++) assert_int_equal(marks.bytes[k], cases[i].marks[k] - '0');
        free(marks.bytes);
        free(ids.ids);
        mla_encoder_destroy(encoder);
        mla_tokenizer_destroy(tokenizer);
    }
}

static void what_does_not_fit_is_named(void **state) {
    static const struct {
        manner manner;
        const char *words;
    } wrong[] = {
        {{"null", "null", "null", "\"byte_fallback\":false"}, "neither a ByteLevel pre_tokenizer nor byte_fallback"},
        {{"null", "null", "null", "\"byte_fallback\":true"}, "decoder \"\" is not supported"},
        {{"null", "null", "{\"type\":\"WordPiece\"}", "\"byte_fallback\":true"}, "decoder \"WordPiece\""},
        {{"null", "null", "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":1}", "\"byte_fallback\":true"},
         "decoder Strip"},
        {{"null", "null", SEQUENCE("decoders", SPACES_BYTES "," REPLACE("a", "b")), "\"byte_fallback\":true"},
         "a replacement behind Fuse"},
        {{"null", METASPACE("last", "true"), no_spaces, "\"byte_fallback\":true"}, "prepend_scheme \"last\""},
        {{"{\"type\":\"Strip\",\"strip_left\":true}", METASPACE("first", "true"), no_spaces, "\"byte_fallback\":true"},
         "with a normalizer that takes characters away"},
        {{"null", "{\"type\":\"Whitespace\"}", no_spaces, "\"byte_fallback\":true"}, "pre_tokenizer \"Whitespace\""},
        {{"null", "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"Removed\"}", no_spaces,
          "\"byte_fallback\":true"},
         "behavior \"Removed\""},
        {{"null",
          SEQUENCE("pretokenizers", METASPACE("first", "true") ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"),
          no_spaces, "\"byte_fallback\":true"},
         "Metaspace before ByteLevel"},
        {{"null", SEQUENCE("pretokenizers", "{\"type\":\"Digits\"}," METASPACE("first", "true")), no_spaces,
          "\"byte_fallback\":true"},
         "Metaspace: a step before it"},
    };
    mla_tokenizer *tokenizer;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        check_error(*state, parse(*state, &wrong[i].manner, &tokenizer), MLA_ERROR_FORMAT, wrong[i].words);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_those_of_tokenizers),      cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(text_that_goes_on_keeps_its_spaces), cmocka_unit_test(marks_follow_the_text),
        cmocka_unit_test(what_does_not_fit_is_named),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
