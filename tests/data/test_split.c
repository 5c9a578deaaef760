/* Splitting text by patterns. That Hugging Face's `tokenizers` splits alike is checked in
 * tests/parity/tokenizer.py. */
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/split.h"
#include "tests/support/check.h"

#include <stdio.h>
#include <string.h>

/* Checks the pieces that a pattern cuts text into, written with | between them. */
typedef struct {
    char text[256];
} pieces_t;

static mla_status note_piece(void *user, const char *piece, int64_t length) {
    pieces_t *pieces = user;
    snprintf(pieces->text + strlen(pieces->text), sizeof pieces->text - strlen(pieces->text), "%s%.*s",
             *pieces->text ? "|" : "", (int)length, piece);
    return MLA_OK;
}

static void check_pieces(mla_context *context, const char *const *patterns, int count, const char *text,
                         const char *expected) {
    mla_split *split;
    mla_split_scratch *scratch;
    pieces_t pieces = {""};
    check_ok(context, mla_split_create(context, &split, patterns, count));
    check_ok(context, mla_split_scratch_create(context, &scratch));
    check_ok(context, mla_split_run(context, split, scratch, text, (int64_t)strlen(text), note_piece, &pieces));
    assert_string_equal(pieces.text, expected);
    mla_split_scratch_destroy(scratch);
    mla_split_destroy(split);
}

static void splits_by_patterns(void **state) {
    const char *own[] = {mla_bpe_pattern}, *two[] = {"[0-9]+", "a+"};
    check_pieces(*state, own, 1, "Don't stop(x_1)  12345\n\n  ok ", "Don|'t| stop|(x|_|1|)| | |123|45|\n\n| | ok| ");
    check_pieces(*state, own, 1, "你好，世界。été—oui", "你好|，世界|。été|—oui");
    check_pieces(*state, two, 2, "baab12aab", "b|aa|b|12|aa|b");
    check_pieces(*state, two, 0, "one piece", "one piece");
    check_pieces(*state, two, 2,
                 "a\xff\xfe"
                 "a\xc3",
                 "a|\xff\xfe|a|\xc3");
    check_pieces(*state, two, 2,
                 "b\xed\xa0\x80"
                 "b\xc0\x80\xf4\x90\x80\x80"
                 "b",
                 "b|\xed\xa0\x80|b|\xc0\x80\xf4\x90\x80\x80|b");
    check_pieces(*state, (const char *[]){"\\s"}, 1, "a\u180e\u3000b", "a\u180e|\u3000|b");
    check_pieces(*state, (const char *[]){"[^\\S\\n]"}, 1, "a\n \u2003b", "a\n| |\u2003|b");
    check_pieces(*state, (const char *[]){"\\s+$"}, 1, "a \nb  ", "a| |\nb|  ");
}

/* \\S within a class is written out; it must leave exactly what \\s takes. */
static mla_status note_place(void *user, const char *piece, int64_t length) {
    uint64_t *places = user;
    *places = *places * 31 + (uint64_t)length * (unsigned char)piece[0];
    return MLA_OK;
}

static void space_is_the_same_in_and_out_of_a_class(void **state) {
    static const char *const patterns[] = {"\\s", "[\\s]", "[^\\S]"};
    char text[0x3100 * 3];
    int64_t length = 0;
    for (unsigned c = 1; c < 0x3100; c++) { /* in UTF-8 */
        if (c >= 0x800) text[length++] = (char)(0xE0 | c >> 12);
        if (c >= 0x80) text[length++] = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3F) : 0xC0 | c >> 6);
        text[length++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3F) : c);
    }
    uint64_t places[3] = {0};
    for (int i = 0; i < 3; i++) {
        mla_split *split;
        mla_split_scratch *scratch;
        check_ok(*state, mla_split_create(*state, &split, &patterns[i], 1));
        check_ok(*state, mla_split_scratch_create(*state, &scratch));
        check_ok(*state, mla_split_run(*state, split, scratch, text, length, note_place, &places[i]));
        assert_true(places[i] == places[0]);
        mla_split_scratch_destroy(scratch);
        mla_split_destroy(split);
    }
}

static void refuses_patterns(void **state) {
    static const char *const wrong[][2] = {{"\\w+", "'\\w' does not"},
                                           {"[[:alpha:]]", "nested class"},
                                           {"[a&&b]", "intersection"},
                                           {"\\p{Han}", "category"},
                                           {"\\p{L", "category"},
                                           {"a{1,2}+", "'}+'"},
                                           {"(?m:a)", "kind of group"},
                                           {"a*", "can match the empty string"},
                                           {"(a", "missing"},
                                           {"a\\", "does not mean"},
                                           {"[]a]", "beginning of a class"},
                                           {"(*UTF)a", "not a group"},
                                           {"\xff+", "UTF-8"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mla_split *split;
        check_error(*state, mla_split_create(*state, &split, &wrong[i][0], 1), MLA_ERROR_FORMAT, wrong[i][1]);
        assert_null(split);
    }
}

/* What `tokenizers` makes of the same patterns with each of its behaviors. */
static void matches_join_their_neighbours(void **state) {
    static const struct {
        mla_split_behavior behavior;
        bool invert;
        const char *text, *expected;
    } cases[] = {{MLA_SPLIT_ISOLATED, true, "xabbyaz", "x|a|b|b|y|a|z"},
                 {MLA_SPLIT_MERGED_WITH_PREVIOUS, false, "xabbyaz", "xa|b|b|ya|z"},
                 {MLA_SPLIT_MERGED_WITH_PREVIOUS, false, "abxxb", "a|b|xxb"},
                 {MLA_SPLIT_MERGED_WITH_PREVIOUS, true, "xabbyaz", "x|a|b|by|az"},
                 {MLA_SPLIT_MERGED_WITH_NEXT, false, "xabbyaz", "x|a|b|by|az"},
                 {MLA_SPLIT_MERGED_WITH_NEXT, false, "abxxb", "a|bxx|b"},
                 {MLA_SPLIT_MERGED_WITH_NEXT, true, "abxxb", "a|b|xxb"},
                 {MLA_SPLIT_CONTIGUOUS, false, "xabbyaz", "x|abb|y|a|z"},
                 {MLA_SPLIT_CONTIGUOUS, true, "bax", "ba|x"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_split *split;
        mla_split_scratch *scratch;
        pieces_t pieces = {""};
        const char *pattern = "a|b";
        check_ok(*state, mla_split_create(*state, &split, &pattern, 1));
        mla_split_set_behavior(split, 0, cases[i].behavior, cases[i].invert);
        check_ok(*state, mla_split_scratch_create(*state, &scratch));
        check_ok(*state, mla_split_run(*state, split, scratch, cases[i].text, (int64_t)strlen(cases[i].text),
                                       note_piece, &pieces));
        assert_string_equal(pieces.text, cases[i].expected);
        mla_split_scratch_destroy(scratch);
        mla_split_destroy(split);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_by_patterns),
        cmocka_unit_test(space_is_the_same_in_and_out_of_a_class),
        cmocka_unit_test(matches_join_their_neighbours),
        cmocka_unit_test(refuses_patterns),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
