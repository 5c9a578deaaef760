#include "data/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- characters ---- */

int32_t mla_character(const char *bytes, int64_t *length) {
    const unsigned char *b = (const unsigned char *)bytes;
    if (b[0] < 0x80) return *length = 1, b[0];
    if (b[0] < 0xE0) return *length = 2, (b[0] & 0x1F) << 6 | (b[1] & 0x3F);
    if (b[0] < 0xF0) return *length = 3, (b[0] & 0x0F) << 12 | (b[1] & 0x3F) << 6 | (b[2] & 0x3F);
    return *length = 4, (b[0] & 0x07) << 18 | (b[1] & 0x3F) << 12 | (b[2] & 0x3F) << 6 | (b[3] & 0x3F);
}

int64_t mla_character_before(const char *bytes, int64_t end) {
    int64_t at = end - 1;
    while (at > 0 && ((unsigned char)bytes[at] & 0xC0) == 0x80) at--;
    return at;
}

bool mla_is_white_space(int32_t c) {
    if (c < 0x80) return (c >= '\t' && c <= '\r') || c == ' ';
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool is_between(int32_t c, int32_t first, int32_t last) { return c >= first && c <= last; }

/* `tokenizers` normalizes by Unicode 9. Marks and characters that decompose which came later are between these; it
 * leaves them alone, as it does what else is there. */
static const int32_t later[][2] = {
    {0x7FD, 0x7FD},     {0x898, 0x8D3},     {0x9FE, 0x9FE},     {0xAFA, 0xAFF},     {0xB55, 0xB55},
    {0xC04, 0xC3C},     {0xCF3, 0xD00},     {0xD3B, 0xD3C},     {0xD81, 0xD81},     {0xEBA, 0xEBA},
    {0xECE, 0xECE},     {0x1715, 0x1715},   {0x180F, 0x180F},   {0x1ABF, 0x1ACE},   {0x1CF7, 0x1CF7},
    {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xA82C, 0xA82C},   {0xA8FF, 0xA8FF},
    {0xAB69, 0xAB69},   {0x10781, 0x107BA}, {0x10D24, 0x10F85}, {0x11070, 0x11074}, {0x110C2, 0x110C2},
    {0x11145, 0x11146}, {0x111C9, 0x111C9}, {0x111CE, 0x111CF}, {0x11241, 0x11241}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x1182C, 0x11A99}, {0x11D31, 0x13455}, {0x16F4F, 0x16F4F}, {0x16F7F, 0x16F87},
    {0x16FE4, 0x16FF1}, {0x1CF00, 0x1CF46}, {0x1E030, 0x1E4EF}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};

static bool is_later(int32_t c) {
    size_t i = 0;
    while (i < sizeof later / sizeof *later && later[i][1] < c) i++;
    return i < sizeof later / sizeof *later && later[i][0] <= c;
}

bool mla_is_mark(int32_t c) {
    if (c == 0x1CF2 || c == 0x1CF3) return true; /* letters only since Unicode 12 */
    return is_between((int32_t)utf8proc_category(c), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME) && !is_later(c);
}

bool mla_is_word(int32_t c) {
    const int32_t category = (int32_t)utf8proc_category(c);
    return is_between(category, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC ||
           c == 0x200C || c == 0x200D || /* Join_Control, and the letters in circles and squares that are symbols */
           is_between(c, 0x24B6, 0x24E9) || is_between(c, 0x1F130, 0x1F149) || is_between(c, 0x1F150, 0x1F169) ||
           is_between(c, 0x1F170, 0x1F189);
}

int64_t mla_lower_case(int32_t c, char *out) {
    if (c != 0x130) return utf8proc_encode_char(utf8proc_tolower(c), (utf8proc_uint8_t *)out);
    memcpy(out, "i\xCC\x87", 3); /* the one that becomes two: i with a dot above it */
    return 3;
}

/* ---- forms ---- */

enum { TABLE = 0x10000, LONGEST = 32 }; /* no character becomes more than 18 */

struct mla_unicode {
    utf8proc_option_t options;
    bool compose;
    uint8_t plain[TABLE / 8]; /* characters that stay as they are, whatever other such stand around them */
};

/* Decomposes and, where the form is composed, composes again, a single character. */
static utf8proc_ssize_t map_one(const mla_unicode *u, int32_t c, int32_t *out) {
    int bound = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(c, out, LONGEST, u->options, &bound);
    return u->compose && n > 1 ? utf8proc_normalize_utf32(out, n, u->options) : n;
}

/* A character that can join the one before, or is read as such a one: a mark, a vowel or final of Hangul, what is half
 * as wide, some letters of Indic scripts beyond the first plane. For those it does no harm to look closer. */
static bool may_join(int32_t c) {
    return mla_is_mark(c) || is_between(c, 0x1160, 0x11FF) || is_between(c, 0x3131, 0x318E) ||
           is_between(c, 0xFF9E, 0xFFDC) || is_between(c, 0x11000, 0x16FFF);
}

static bool find_plain(const mla_unicode *u, int32_t c) {
    int32_t out[LONGEST];
    return is_later(c) || (!may_join(c) && map_one(u, c, out) == 1 && out[0] == c);
}

static bool is_plain(const mla_unicode *u, int32_t c) {
    return c < TABLE ? u->plain[c / 8] >> c % 8 & 1 : find_plain(u, c);
}

mla_status mla_unicode_create(mla_context *context, mla_unicode **out, mla_unicode_form form) {
    mla_unicode *u = *out = mla_alloc(context, 1, sizeof *u, "a normalizer");
    if (!u) return MLA_ERROR_MEMORY;
    const bool compatible = form == MLA_NFKC || form == MLA_NFKD;
    u->compose = form == MLA_NFC || form == MLA_NFKC;
    u->options = UTF8PROC_STABLE | (u->compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                 (compatible ? UTF8PROC_COMPAT : 0);
    for (int32_t c = 0; c < TABLE; c++)
        if (c < 0x80 || find_plain(u, c)) u->plain[c / 8] |= (uint8_t)(1 << c % 8);
    return MLA_OK;
}

void mla_unicode_destroy(mla_unicode *unicode) { free(unicode); }

/* How many bytes of ASCII there are from `at` on, in steps of eight. */
static int64_t ascii_bytes(const char *at, int64_t n) {
    int64_t i = 0;
    for (uint64_t eight; i + 8 <= n; i += 8) {
        memcpy(&eight, at + i, sizeof eight);
        if (eight & UINT64_C(0x8080808080808080)) break;
    }
    return i;
}

/* Where the plain characters from `at` on end; *last is where the last of them begins, `at` if there is none. */
static int64_t skip_plain(const mla_unicode *u, const char *bytes, int64_t at, int64_t end, int64_t *last) {
    *last = at;
    for (int64_t length; at < end; at += length) {
        const int64_t ascii = ascii_bytes(bytes + at, end - at);
        if (ascii) *last = (at += ascii) - 1;
        if (at >= end || !is_plain(u, mla_character(bytes + at, &length))) break;
        *last = at;
    }
    return at;
}

static int64_t skip_others(const mla_unicode *u, const char *bytes, int64_t at, int64_t end) {
    for (int64_t length; at < end; at += length)
        if (is_plain(u, mla_character(bytes + at, &length))) break;
    return at;
}

bool mla_unicode_is_in_form(const mla_unicode *u, const char *bytes, int64_t length) {
    int64_t last;
    return skip_plain(u, bytes, 0, length, &last) == length;
}

static int class_of(int32_t c) { return utf8proc_get_property(c)->combining_class; }

/* Canonical order of a run of marks: by their class, those of one class as they are. A counting sort, since text that
 * is made to be slow has long runs. */
static void sort_marks(int32_t *run, int32_t *spare, int64_t count) {
    int64_t places[257] = {0};
    for (int64_t i = 0; i < count; i++) places[class_of(run[i]) + 1]++;
    for (int i = 0; i < 256; i++) places[i + 1] += places[i];
    for (int64_t i = 0; i < count; i++) spare[places[class_of(run[i])]++] = run[i];
    memcpy(run, spare, (size_t)count * sizeof *run);
}

static void order_marks(int32_t *characters, int32_t *spare, int64_t count) {
    for (int64_t begin = 0, end; begin < count; begin = end) {
        for (end = begin; end < count && class_of(characters[end]);) end++;
        if (end - begin > 1) sort_marks(characters + begin, spare, end - begin);
        end += end == begin;
    }
}

/* Room for what so many bytes can become. */
static mla_status make_room(mla_context *context, mla_unicode_scratch *s, int64_t bytes) {
    const int64_t most = bytes * 6 + LONGEST; /* U+FDFA, the longest, becomes 18 characters from 3 bytes */
    const mla_status status = mla_grow(context, &s->characters, &s->capacity, 2 * most, sizeof *s->characters,
                                       "normalized text");
    return status ? status : mla_grow(context, &s->bytes, &s->byte_capacity, 4 * most, 1, "normalized text");
}

/* The form of the characters begin ... end - 1, of which only the first may be plain: nothing outside joins them. */
static mla_status normalize_part(mla_context *context, const mla_unicode *u, mla_unicode_scratch *s,
                                 const mla_marked_text *text, int64_t begin, int64_t end, mla_marked_buffer *out) {
    int64_t count = 0, length, written = 0;
    int bound = 0;
    const mla_status status = make_room(context, s, end - begin);
    if (status) return status;
    for (int64_t at = begin; at < end; at += length)
        count += utf8proc_decompose_char(mla_character(text->bytes + at, &length), s->characters + count, LONGEST,
                                         u->options, &bound);
    order_marks(s->characters, s->characters + s->capacity / 2, count);
    if (u->compose) count = utf8proc_normalize_utf32(s->characters, count, u->options);
    for (int64_t i = 0; i < count; i++)
        written += utf8proc_encode_char(s->characters[i], (utf8proc_uint8_t *)s->bytes + written);
    return mla_marked_replace(context, out, text, begin, end, s->bytes, written);
}

/* Whether the character at `plain` can join the plain one that begins at `last`, if there is one. */
static bool joins(const mla_marked_text *text, int64_t last, int64_t plain) {
    int64_t length;
    return last < plain && !is_later(mla_character(text->bytes + last, &length)) &&
           may_join(mla_character(text->bytes + plain, &length));
}

mla_status mla_unicode_normalize(mla_context *context, const mla_unicode *u, mla_unicode_scratch *s,
                                 const mla_marked_text *text, mla_marked_buffer *out) {
    mla_status status = MLA_OK;
    for (int64_t at = 0, last; at < text->length && !status;) {
        const int64_t plain = skip_plain(u, text->bytes, at, text->length, &last);
        const int64_t begin = plain < text->length && joins(text, last, plain) ? last : plain;
        const int64_t end = skip_others(u, text->bytes, plain, text->length);
        status = mla_marked_copy(context, out, text, at, begin);
        if (!status && end > begin) status = normalize_part(context, u, s, text, begin, end, out);
        at = end;
    }
    return status;
}
