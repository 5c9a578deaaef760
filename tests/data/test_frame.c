/* The tokens before and behind texts, by the post-processor of a tokenizer.json. tests/parity/text.py compares with
 * transformers. */
#include "data/tokenizer/bpe.h"
#include "tests/support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEMPLATE(single)                                                                 \
    "{\"type\": \"TemplateProcessing\", \"single\": [" single "], \"special_tokens\": {" \
    "\"<s>\": {\"id\": \"<s>\", \"ids\": [65], \"tokens\": [\"<s>\"]},"                  \
    "\"two\": {\"id\": \"two\", \"ids\": [66, 256], \"tokens\": [\"B\", \"<|endoftext|>\"]}}}"
#define TOKEN(name) "{\"SpecialToken\": {\"id\": \"" name "\", \"type_id\": 0}}"
#define TEXT        "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}"
#define BYTE_LEVEL  "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": false, \"use_regex\": true}"

/* The byte tokenizer with that post-processor. */
static mla_status parse(mla_context *context, const char *post_processor, mla_tokenizer **out) {
    static const char none[] = "\"post_processor\": null";
    mla_tokenizer *bytes;
    check_ok(context, mla_tokenizer_bytes(context, &bytes));
    char *json = mla_tokenizer_json(context, bytes), *at = strstr(json, none), *text = NULL;
    assert_non_null(at);
    assert_true(
        asprintf(&text, "%.*s\"post_processor\": %s%s", (int)(at - json), json, post_processor, at + strlen(none)) > 0);
    const mla_status status = mla_tokenizer_parse(context, out, text, (int64_t)strlen(text));
    mla_tokenizer_destroy(bytes);
    free(json);
    free(text);
    return status;
}

static void check_ids(mla_context *context, mla_encoder *encoder, const char *text, const char *expected) {
    mla_id_list ids = {0};
    char words[64] = "";
    check_ok(context, mla_encoder_encode(context, encoder, text, (int64_t)strlen(text), &ids));
    for (int64_t i = 0; i < ids.count; i++)
        snprintf(words + strlen(words), sizeof words - strlen(words), "%d ", ids.ids[i]);
    assert_string_equal(words, expected);
    free(ids.ids);
}

static void puts_tokens_around_texts(void **state) {
    static const char *const cases[][3] = {
        {"null", "122 ", ""},
        {BYTE_LEVEL, "122 ", ""},
        {TEMPLATE(TOKEN("<s>") "," TEXT), "65 122 ", "65 "},
        {TEMPLATE(TOKEN("<s>") "," TEXT "," TOKEN("two")), "65 122 66 256 ", "65 66 256 "},
        {TEMPLATE(TOKEN("two") "," TOKEN("<s>") "," TEXT), "66 256 65 122 ", "66 256 65 "},
        {TEMPLATE(TEXT "," TOKEN("<s>")), "122 65 ", "65 "},
        {"{\"type\": \"Sequence\", \"processors\": [" BYTE_LEVEL ", " TEMPLATE(TOKEN("<s>") "," TEXT) "]}", "65 122 ",
         "65 "},
        {"{\"type\": \"BertProcessing\", \"sep\": [\"D\", 68], \"cls\": [\"C\", 67]}", "67 122 68 ", "67 68 "},
        {"{\"type\": \"RobertaProcessing\", \"sep\": [\"D\", 68], \"cls\": [\"C\", 67], \"trim_offsets\": true,"
         " \"add_prefix_space\": true}",
         "67 122 68 ", "67 68 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_tokenizer *tokenizer;
        mla_encoder *framing, *plain;
        check_ok(*state, parse(*state, cases[i][0], &tokenizer));
        check_ok(*state, mla_encoder_create(*state, &framing, tokenizer, &(mla_encoder_options){.frame = true}));
        check_ok(*state, mla_encoder_create(*state, &plain, tokenizer, NULL));
        check_ids(*state, framing, "z", cases[i][1]);
        check_ids(*state, framing, "", cases[i][2]);
        check_ids(*state, plain, "z", "122 ");
        mla_encoder_destroy(framing);
        mla_encoder_destroy(plain);
        mla_tokenizer_destroy(tokenizer);
    }
}

static void tells_the_frame(void **state) {
    mla_tokenizer *tokenizer;
    check_ok(*state, parse(*state, TEMPLATE(TOKEN("<s>") "," TEXT "," TOKEN("two")), &tokenizer));
    const mla_frame frame = mla_tokenizer_frame(tokenizer);
    assert_int_equal(frame.before_count, 1);
    assert_int_equal(frame.before[0], 65);
    assert_int_equal(frame.behind_count, 2);
    assert_int_equal(frame.behind[1], 256);
    mla_tokenizer_destroy(tokenizer);
}

static void refuses_what_it_cannot_follow(void **state) {
    static const char *const wrong[][2] = {
        {"{\"type\": \"Magic\"}", "post_processor \"Magic\" is not supported"},
        {"{}", "post_processor \"\" is not supported"},
        {"7", "post_processor \"\" is not supported"},
        {TEMPLATE(TOKEN("<x>") "," TEXT), "\"<x>\" is not among its special_tokens"},
        {TEMPLATE(TOKEN("<s>")), "with the text once is needed, not 0 times"},
        {TEMPLATE(TEXT "," TEXT), "with the text once is needed, not 2 times"},
        {"{\"type\": \"BertProcessing\", \"sep\": [\"D\", 68], \"cls\": [\"C\", 257]}", "an id is not that of a token"},
        {"{\"type\": \"BertProcessing\", \"sep\": [\"D\", -1], \"cls\": [\"C\", 0]}", "an id is not that of a token"},
        {"{\"type\": \"BertProcessing\"}", "an id is not that of a token"},
        {"{\"type\": \"Sequence\", \"processors\": [" TEMPLATE(TOKEN("<s>") "," TEXT) ", " TEMPLATE(TEXT) "]}",
         "two steps that put tokens are not supported"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mla_tokenizer *tokenizer;
        check_error(*state, parse(*state, wrong[i][0], &tokenizer), MLA_ERROR_FORMAT, wrong[i][1]);
        assert_null(tokenizer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_tokens_around_texts),
        cmocka_unit_test(tells_the_frame),
        cmocka_unit_test(refuses_what_it_cannot_follow),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
