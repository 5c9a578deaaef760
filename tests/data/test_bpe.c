/* Training, against an example by hand and a plain implementation. */
#include "data/tokenizer/bpe.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char story[] = "low low low low low lower lower newest newest newest newest newest newest widest widest "
                            "widest don't 1234567 <|endoftext|> straße 你好，世界\n\n    return x\r\n\xff\xfe\0z";

static mla_id_list encode(mla_context *context, const mla_tokenizer *tokenizer, const char *bytes, size_t length) {
    mla_id_list ids = {0};
    check_ok(context, mla_tokenizer_encode(context, tokenizer, bytes, (int64_t)length, &ids));
    return ids;
}

/* The example of Sennrich et al. 2016. e,s and s,t occur 9 times, l,o and o,w 7 times, then e,w and n,e 6
 * times: each time the pair with the smaller ids (here bytes) comes first. */
static void merges_the_most_frequent_pair(void **state) {
    static const char text[] = "low low low low low lower lower newest newest newest newest newest newest widest "
                               "widest widest";
    static const char *const expected[] = {"es", "est", "lo", "low", "ew"};
    mla_tokenizer *tokenizer;
    check_ok(*state, mla_tokenizer_train(*state, &tokenizer, &(mla_bpe_options){257 + 5, "[a-z]+"},
                                         &(mla_text_chunk){text, sizeof text - 1}, 1));
    for (int32_t i = 0; i < 5; i++) {
        const char *bytes;
        int64_t length;
        check_ok(*state, mla_tokenizer_token(*state, tokenizer, 257 + i, &bytes, &length));
        assert_int_equal(length, strlen(expected[i]));
        assert_memory_equal(bytes, expected[i], (size_t)length);
    }
    mla_id_list ids = encode(*state, tokenizer, "lowest", 6);
    assert_int_equal(ids.count, 2);
    assert_int_equal(ids.ids[0], 260);
    assert_int_equal(ids.ids[1], 258);
    free(ids.ids);
    mla_tokenizer_destroy(tokenizer);
}

/* Byte-pair encoding as the papers have it, without any index: `text` is one piece, its tokens strings. */
enum { piece_length = 120, merge_count = 40 };

typedef struct {
    char tokens[piece_length][piece_length + 1];
    int count;
} piece_t;

static void apply_merge(piece_t *piece, const char *left, const char *right) {
    int kept = 0;
    for (int i = 0; i < piece->count; kept++) {
        const bool here = i + 1 < piece->count && !strcmp(piece->tokens[i], left) &&
                          !strcmp(piece->tokens[i + 1], right);
        if (kept != i) strcpy(piece->tokens[kept], piece->tokens[i]);
        if (here) strcat(piece->tokens[kept], right);
        i += here ? 2 : 1;
    }
    piece->count = kept;
}

static void make_piece(piece_t *piece, const char *text) {
    piece->count = (int)strlen(text);
    for (int i = 0; i < piece->count; i++) sprintf(piece->tokens[i], "%c", text[i]);
}

/* A text of a's and b's, which makes for runs, overlaps, and different ways to the same token. */
static void make_text(char *text, uint32_t *seed) {
    for (int i = 0; i < piece_length; i++) text[i] = (char)('a' + (*seed = *seed * 1664525u + 1013904223u) % 99991 % 2);
    text[piece_length] = '\0';
}

static int64_t count_pair(const piece_t *piece, const char *left, const char *right) {
    int64_t count = 0;
    for (int i = 0; i + 1 < piece->count; i++)
        count += !strcmp(piece->tokens[i], left) && !strcmp(piece->tokens[i + 1], right);
    return count;
}

/* Every merge was the most frequent pair at its time, and the ids of the text are what the merges make of it.
 */
static void agrees_with_a_plain_implementation(void **state) {
    char text[piece_length + 1], other[piece_length + 1], left[piece_length + 1], right[piece_length + 1];
    uint32_t seed = 7;
    static piece_t piece, second;
    for (int trial = 0; trial < 300; trial++) {
        mla_tokenizer *tokenizer;
        make_text(text, &seed);
        make_text(other, &seed);
        check_ok(*state, mla_tokenizer_train(*state, &tokenizer, &(mla_bpe_options){257 + merge_count, "[a-z]+"},
                                             &(mla_text_chunk){text, piece_length}, 1));
        char *json = mla_tokenizer_json(*state, tokenizer);
        json_t *root = json_loads(json, 0, NULL), *merges = json_object_get(json_object_get(root, "model"), "merges");
        make_piece(&piece, text);
        make_piece(&second, other);
        for (size_t m = 0; m < json_array_size(merges); m++) {
            assert_int_equal(sscanf(json_string_value(json_array_get(merges, m)), "%s %s", left, right), 2);
            const int64_t count = count_pair(&piece, left, right);
            assert_true(count > 1);
            for (int i = 0; i + 1 < piece.count; i++)
                assert_true(count_pair(&piece, piece.tokens[i], piece.tokens[i + 1]) <= count);
            apply_merge(&piece, left, right);
            apply_merge(&second, left, right);
        }
        for (int which = 0; which < 2; which++) {
            const piece_t *expected = which ? &second : &piece;
            mla_id_list ids = encode(*state, tokenizer, which ? other : text, piece_length);
            assert_int_equal(ids.count, expected->count);
            for (int i = 0; i < expected->count; i++) {
                const char *bytes;
                int64_t length;
                check_ok(*state, mla_tokenizer_token(*state, tokenizer, ids.ids[i], &bytes, &length));
                assert_int_equal(length, strlen(expected->tokens[i]));
                assert_memory_equal(bytes, expected->tokens[i], (size_t)length);
            }
            free(ids.ids);
        }
        json_decref(root);
        free(json);
        mla_tokenizer_destroy(tokenizer);
    }
}

static void order_of_documents_does_not_matter(void **state) {
    const mla_text_chunk documents[] = {{story, 60}, {story + 60, 60}, {story + 30, 70}};
    const mla_text_chunk reversed[] = {documents[2], documents[1], documents[0]};
    mla_tokenizer *one, *two;
    check_ok(*state, mla_tokenizer_train(*state, &one, &(mla_bpe_options){270, NULL}, documents, 3));
    check_ok(*state, mla_tokenizer_train(*state, &two, &(mla_bpe_options){270, NULL}, reversed, 3));
    assert_int_equal(mla_tokenizer_vocab_size(one), 270);
    assert_true(mla_tokenizer_hash(one) == mla_tokenizer_hash(two));
    mla_tokenizer_destroy(one);
    mla_tokenizer_destroy(two);
}

/* A pattern that keeps <|endoftext|> in one piece, in a text that has little else: merging would make it. */
static void text_never_becomes_the_separator(void **state) {
    static const char text[] = "<|endoftext|><|endoftext|><|endoftext|>";
    mla_tokenizer *tokenizer;
    mla_encoder *encoder;
    mla_id_list ids = {0};
    check_ok(*state, mla_tokenizer_train(*state, &tokenizer, &(mla_bpe_options){400, "<[^>]*>"},
                                         &(mla_text_chunk){text, sizeof text - 1}, 1));
    ids = encode(*state, tokenizer, text, sizeof text - 1);
    for (int64_t i = 0; i < ids.count; i++) assert_int_not_equal(ids.ids[i], 256);
    ids.count = 0;
    char *json = mla_tokenizer_json(*state, tokenizer), merge[32];
    for (int at = 1; at < (int)strlen(mla_endoftext); at++) { /* nor may it for others who read the file */
        sprintf(merge, "\"%.*s %s\"", at, mla_endoftext, mla_endoftext + at);
        assert_null(strstr(json, merge));
    }
    free(json);
    check_ok(*state, mla_encoder_create(*state, &encoder, tokenizer, &(mla_encoder_options){.added = MLA_ADDED_ALL}));
    check_ok(*state, mla_encoder_encode(*state, encoder, "a<|endoftext|><|endoftext|", 26, &ids));
    assert_int_equal(ids.ids[0], 'a');
    assert_int_equal(ids.ids[1], 256);
    assert_int_not_equal(ids.ids[2], 256);
    free(ids.ids);
    mla_encoder_destroy(encoder);
    mla_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_the_most_frequent_pair),
        cmocka_unit_test(agrees_with_a_plain_implementation),
        cmocka_unit_test(order_of_documents_does_not_matter),
        cmocka_unit_test(text_never_becomes_the_separator),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
