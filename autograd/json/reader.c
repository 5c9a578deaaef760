#include "autograd/json/reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What may come next. */
enum { VALUE, VALUE_OR_END, KEY_OR_END, COMMA_OR_END, NOTHING };

/* ---- what is wrong */

static mla_json_event wrong(mla_json *j, int64_t at, const char *format, ...) __attribute__((format(printf, 3, 4)));

static mla_json_event wrong(mla_json *j, int64_t at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(j->problem, sizeof j->problem, format, arguments);
    va_end(arguments);
    j->at = at;
    return MLA_JSON_WRONG;
}

/* The byte at the place of reading is not what was expected. */
static mla_json_event unexpected(mla_json *j, const char *expected) {
    if (j->at >= j->length) return wrong(j, j->at, "expected %s, but the text ends", expected);
    const unsigned char byte = (unsigned char)j->bytes[j->at];
    if (byte > ' ' && byte < 0x7f) return wrong(j, j->at, "expected %s, not '%c'", expected, byte);
    return wrong(j, j->at, "expected %s, not the byte 0x%02x", expected, byte);
}

void mla_json_place(const mla_json *j, int64_t *line, int64_t *column) {
    *line = *column = 1;
    for (int64_t i = 0; i < j->at; i++) {
        const unsigned char byte = (unsigned char)j->bytes[i];
        if (byte == '\n') {
            ++*line;
            *column = 1;
        } else if ((byte & 0xC0) != 0x80) ++*column;
    }
}

/* ---- levels */

static bool is_in_object(const mla_json *j) {
    const int64_t level = j->depth - 1;
    return j->inside[level / 8] >> level % 8 & 1;
}

static bool make_room(mla_json *j) {
    if (j->depth / 8 < j->capacity) return true;
    const int64_t capacity = j->capacity ? 2 * j->capacity : 8;
    unsigned char *inside = realloc(j->inside, (size_t)capacity);
    if (!inside) return false;
    j->inside = inside;
    j->capacity = capacity;
    return true;
}

static mla_json_event enter(mla_json *j, bool object) {
    if (j->depth == MLA_JSON_DEEPEST)
        return wrong(j, j->at, "more than %d objects and lists within each other", MLA_JSON_DEEPEST);
    if (!make_room(j)) {
        j->no_memory = true;
        return wrong(j, j->at, "no memory for what is nested so deeply");
    }
    unsigned char *levels = &j->inside[j->depth / 8];
    const int bit = 1 << j->depth % 8;
    *levels = (unsigned char)(object ? *levels | bit : *levels & ~bit);
    j->depth++;
    j->at++;
    j->expected = object ? KEY_OR_END : VALUE_OR_END;
    return object ? MLA_JSON_OBJECT : MLA_JSON_ARRAY;
}

static void value_is_read(mla_json *j) { j->expected = j->depth ? COMMA_OR_END : NOTHING; }

static mla_json_event leave(mla_json *j) {
    const bool object = is_in_object(j);
    j->depth--;
    j->at++;
    value_is_read(j);
    return object ? MLA_JSON_OBJECT_END : MLA_JSON_ARRAY_END;
}

/* ---- strings */

/* Bytes of eight that may end the plain part of a string, by their highest bits: a quote, a backslash, a control
 * character. The lowest one that is set is right; those above it may be set by its borrow. */
static uint64_t special_bytes(uint64_t eight) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    const uint64_t quotes = eight ^ ones * '"', slashes = eight ^ ones * '\\';
    const uint64_t controls = (eight - ones * ' ') & ~eight;
    return (controls | ((quotes - ones) & ~quotes) | ((slashes - ones) & ~slashes)) & tops;
}

static bool is_special(unsigned char byte) { return byte < ' ' || byte == '"' || byte == '\\'; }

/* Where from `at` on the next such byte is; the length where there is none. */
static int64_t find_special(const mla_json *j, int64_t at) {
    uint64_t eight;
    while (at + (int64_t)sizeof eight <= j->length) {
        memcpy(&eight, j->bytes + at, sizeof eight);
        if (special_bytes(eight)) break;
        at += (int64_t)sizeof eight;
    }
    while (at < j->length && !is_special((unsigned char)j->bytes[at])) at++;
    return at;
}

/* The value of four hexadecimal digits; -1 where they are not. */
static int32_t four_digits(const char *text) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        const char c = text[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return -1;
        value = 16 * value + digit;
    }
    return value;
}

static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";

/* The length of the escape at `at`, where a backslash is; 0 where it is none. */
static int64_t escape_length(const mla_json *j, int64_t at) {
    if (at + 1 >= j->length) return 0;
    const char letter = j->bytes[at + 1];
    if (letter && strchr(letters, letter)) return 2;
    return letter == 'u' && at + 6 <= j->length && four_digits(j->bytes + at + 2) >= 0 ? 6 : 0;
}

static mla_json_event wrong_string(mla_json *j, int64_t at) {
    if (at >= j->length) return wrong(j, j->at, "the string that begins here does not end");
    if (j->bytes[at] == '\\') return wrong(j, at, "no escape begins so; a backslash in a string is written \\\\");
    const int byte = (unsigned char)j->bytes[at];
    const char *remedy = byte == '\n' ? " (\\n); or the string does not end" : byte == '\t' ? " (\\t)" : "";
    return wrong(j, at, "a string holds the control character 0x%02x; it is written \\u%04x%s", byte, byte, remedy);
}

/* From the quote at the place of reading. */
static mla_json_event read_string(mla_json *j, mla_json_event event) {
    const int64_t begin = j->at + 1;
    int64_t at = begin;
    j->escaped = false;
    while ((at = find_special(j, at)) < j->length && j->bytes[at] == '\\') {
        const int64_t length = escape_length(j, at);
        if (!length) return wrong_string(j, at);
        at += length;
        j->escaped = true;
    }
    if (at >= j->length || j->bytes[at] != '"') return wrong_string(j, at);
    j->text = j->bytes + begin;
    j->size = at - begin;
    j->at = at + 1;
    return event;
}

static bool is_high(int32_t code) { return code >= 0xD800 && code <= 0xDBFF; }
static bool is_low(int32_t code) { return code >= 0xDC00 && code <= 0xDFFF; }

static char *write_character(int32_t code, char *to) {
    if (code < 0x80) {
        *to++ = (char)code;
        return to;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const int first[] = {0, 0xC0, 0xE0, 0xF0};
    *to++ = (char)(first[more] | code >> 6 * more);
    for (int i = more - 1; i >= 0; i--) *to++ = (char)(0x80 | (code >> 6 * i & 0x3F));
    return to;
}

/* The character of \uXXXX at *text, which moves behind it, and behind the other half where it is one of two. */
static int32_t take_code(const char **text, const char *end) {
    const int32_t code = four_digits(*text + 2);
    *text += 6;
    if (!is_high(code) && !is_low(code)) return code;
    const bool pair = is_high(code) && end - *text >= 6 && (*text)[0] == '\\' && (*text)[1] == 'u';
    const int32_t low = pair ? four_digits(*text + 2) : 0;
    if (!is_low(low)) return 0xFFFD;
    *text += 6;
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
}

int64_t mla_json_unescape(const char *text, int64_t size, char *out) {
    const char *end = text + size;
    char *to = out;
    while (text < end) {
        const char *slash = memchr(text, '\\', (size_t)(end - text));
        const int64_t plain = (slash ? slash : end) - text;
        memcpy(to, text, (size_t)plain);
        to += plain;
        text += plain;
        if (!slash) break;
        if (text[1] == 'u') to = write_character(take_code(&text, end), to);
        else {
            *to++ = meanings[strchr(letters, text[1]) - letters];
            text += 2;
        }
    }
    return to - out;
}

/* ---- numbers and literals */

static int64_t digits(const mla_json *j, int64_t at) {
    while (at < j->length && j->bytes[at] >= '0' && j->bytes[at] <= '9') at++;
    return at;
}

static bool is_one_of(const mla_json *j, int64_t at, const char *characters) {
    return at < j->length && j->bytes[at] && strchr(characters, j->bytes[at]);
}

static mla_json_event take_token(mla_json *j, mla_json_event event, int64_t end) {
    j->text = j->bytes + j->at;
    j->size = end - j->at;
    j->at = end;
    return event;
}

static bool take_word(mla_json *j, const char *word) {
    const int64_t length = (int64_t)strlen(word);
    if (j->length - j->at < length || memcmp(j->bytes + j->at, word, (size_t)length)) return false;
    take_token(j, MLA_JSON_LITERAL, j->at + length);
    return true;
}

/* Digits from `from` on, at least one: moves *at behind them. */
static bool take_digits(mla_json *j, int64_t from, int64_t *at) {
    *at = digits(j, from);
    if (*at > from) return true;
    j->at = from;
    unexpected(j, "a digit");
    return false;
}

static mla_json_event read_number(mla_json *j) {
    const int64_t first = j->at + is_one_of(j, j->at, "-");
    bool real = false;
    int64_t at;
    if (take_word(j, "-Infinity")) return MLA_JSON_REAL;
    if (!take_digits(j, first, &at)) return MLA_JSON_WRONG;
    if (j->bytes[first] == '0' && at > first + 1)
        return wrong(j, first, "a number begins with 0; leave it out, or put quotes around what is no number");
    if (is_one_of(j, at, ".") && (real = true) && !take_digits(j, at + 1, &at)) return MLA_JSON_WRONG;
    if (is_one_of(j, at, "eE") && (real = true) && !take_digits(j, at + 1 + is_one_of(j, at + 1, "+-"), &at))
        return MLA_JSON_WRONG;
    return take_token(j, real ? MLA_JSON_REAL : MLA_JSON_WHOLE, at);
}

static mla_json_event read_word(mla_json *j) {
    if (take_word(j, "true") || take_word(j, "false") || take_word(j, "null")) return MLA_JSON_LITERAL;
    if (take_word(j, "NaN") || take_word(j, "Infinity")) return MLA_JSON_REAL;
    if (is_one_of(j, j->at, "'")) return unexpected(j, "a value (strings are between double quotes)");
    if (is_one_of(j, j->at, "TFN")) return unexpected(j, "a value (true, false, null: lower-case letters)");
    return unexpected(j, "a value");
}

/* ---- events */

static mla_json_event read_value(mla_json *j) {
    const char first = j->at < j->length ? j->bytes[j->at] : 0;
    if (first == '{' || first == '[') return enter(j, first == '{');
    const mla_json_event event = first == '"'                                     ? read_string(j, MLA_JSON_STRING)
                                 : first == '-' || (first >= '0' && first <= '9') ? read_number(j)
                                                                                  : read_word(j);
    value_is_read(j);
    return event;
}

static void pass_spaces(mla_json *j) {
    while (j->at < j->length) {
        const char c = j->bytes[j->at];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') break;
        j->at++;
    }
}

/* With the colon behind it. */
static mla_json_event read_key(mla_json *j) {
    if (!is_one_of(j, j->at, "\""))
        return unexpected(j, is_one_of(j, j->at, "}") ? "a key behind the comma" : "a key between double quotes");
    if (!read_string(j, MLA_JSON_KEY)) return MLA_JSON_WRONG;
    pass_spaces(j);
    if (!is_one_of(j, j->at, ":")) return unexpected(j, "':' behind a key");
    j->at++;
    j->expected = VALUE;
    return MLA_JSON_KEY;
}

static mla_json_event read_next_item(mla_json *j) {
    const bool object = is_in_object(j);
    if (is_one_of(j, j->at, object ? "}" : "]")) return leave(j);
    if (!is_one_of(j, j->at, ",")) return unexpected(j, object ? "',' or '}'" : "',' or ']'");
    j->at++;
    pass_spaces(j);
    if (object) return read_key(j);
    return is_one_of(j, j->at, "]") ? unexpected(j, "a value behind the comma") : read_value(j);
}

static mla_json_event read_event(mla_json *j) {
    pass_spaces(j);
    switch (j->expected) {
    case VALUE: return read_value(j);
    case VALUE_OR_END: return is_one_of(j, j->at, "]") ? leave(j) : read_value(j);
    case KEY_OR_END: return is_one_of(j, j->at, "}") ? leave(j) : read_key(j);
    case COMMA_OR_END: return read_next_item(j);
    default: return j->at < j->length ? unexpected(j, "nothing behind the value") : MLA_JSON_END;
    }
}

mla_json_event mla_json_next(mla_json *j) {
    if (j->event != MLA_JSON_WRONG || !j->problem[0]) j->event = read_event(j);
    return j->event;
}

mla_json_event mla_json_skip(mla_json *j) {
    if (j->event == MLA_JSON_KEY) mla_json_next(j);
    if (j->event != MLA_JSON_OBJECT && j->event != MLA_JSON_ARRAY) return j->event;
    const int64_t outside = j->depth - 1;
    while (j->event != MLA_JSON_WRONG && j->depth > outside) mla_json_next(j);
    return j->event;
}

/* ---- the beginning */

static bool begins(const mla_json *j, const char *bytes, int64_t count) {
    return j->length >= count && !memcmp(j->bytes, bytes, (size_t)count);
}

/* By the mark, or by a zero beside the first character, which is below U+0080 in JSON. */
static bool is_utf16(const mla_json *j) {
    if (begins(j, "\xFF\xFE", 2) || begins(j, "\xFE\xFF", 2)) return true;
    return j->length > 1 && !j->bytes[0] != !j->bytes[1];
}

void mla_json_restart(mla_json *j, const char *bytes, int64_t length) {
    *j = (mla_json){.bytes = bytes, .length = length, .inside = j->inside, .capacity = j->capacity};
    if (begins(j, "\xEF\xBB\xBF", 3)) j->at = 3;
    if (is_utf16(j)) wrong(j, 0, "it is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 FILE >NEW");
}

void mla_json_begin(mla_json *j, const char *bytes, int64_t length) {
    *j = (mla_json){0};
    mla_json_restart(j, bytes, length);
}

void mla_json_free(mla_json *j) {
    free(j->inside);
    *j = (mla_json){0};
}
