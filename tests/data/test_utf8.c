/* Where characters end, against all code points and all ways to cut them. */
#include "autograd/base/utf8.h"
#include "tests/support/check.h"

/* The UTF-8 of a code point, without a check; returns its length. */
static int encode(uint32_t c, char out[4]) {
    if (c < 0x80) return out[0] = (char)c, 1;
    const int length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)((length == 2 ? 0xC0 : length == 3 ? 0xE0 : 0xF0) | c);
    return length;
}

static void every_character_is_known(void **state) {
    (void)state;
    char text[8];
    for (uint32_t c = 0; c < 0x120000; c++) {
        const int length = encode(c, text);
        const bool valid = c < 0x110000 && (c < 0xD800 || c > 0xDFFF);
        text[length] = 'x';
        if (mla_utf8_length(text, length + 1) != (valid ? length : 0)) fail_msg("U+%04X", c);
        for (int cut = 1; cut < length; cut++) {
            if (mla_utf8_length(text, cut)) fail_msg("U+%04X cut to %d bytes", c, cut);
            if (valid && mla_utf8_unfinished(text, cut) != cut)
                fail_msg("U+%04X cut to %d bytes is not held back", c, cut);
        }
        if (mla_utf8_unfinished(text, length)) fail_msg("U+%04X is held back", c);
    }
}

static void only_what_may_be_finished_is_held_back(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        int64_t count, unfinished;
    } cases[] = {{"", 0, 0},
                 {"abc", 3, 0},
                 {"\xC3", 1, 1},
                 {"a\xE2\x82", 3, 2},
                 {"\xE2\x82\xAC", 3, 0},
                 {"\xF0\x9F\x98", 3, 3},
                 {"\x80\x80", 2, 0},
                 {"\xFF", 1, 0},
                 {"\xC0", 1, 0},
                 {"\xE0\x80", 2, 0},
                 {"\xED\xA0", 2, 0},
                 {"\xF4\x90", 2, 0},
                 {"\xC3\xC3", 2, 1},
                 {"\x80\x80\x80\x80", 4, 0},
                 {"\xE2\x82\xAC\x82", 4, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (mla_utf8_unfinished(cases[i].bytes, cases[i].count) != cases[i].unfinished) fail_msg("case %zu", i);
}

static void repairs_what_is_no_character(void **state) {
    (void)state;
    static const char text[] =
        "plain text, longer than eight \xC3\xA9 \xC3( \xF0\x9F\x98\x80\xF0\x9F\x98 \0 \x7F end\xE2\x82";
    static const char valid[] =
        "plain text, longer than eight \u00E9 \uFFFD( \U0001F600\uFFFD\uFFFD\uFFFD \0 \x7F end\uFFFD\uFFFD";
    char out[3 * sizeof text];
    assert_int_equal(mla_utf8_repair(text, sizeof text - 1, false, out), sizeof valid - 1);
    assert_memory_equal(out, valid, sizeof valid - 1);
    assert_int_equal(mla_utf8_repair("0123456\0", 8, true, out), 10);
    assert_memory_equal(out, "0123456\uFFFD", 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_character_is_known),
                                       cmocka_unit_test(only_what_may_be_finished_is_held_back),
                                       cmocka_unit_test(repairs_what_is_no_character)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
