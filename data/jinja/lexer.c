#include "data/jinja/lexer.h"
#include "autograd/base/utf8.h"
#include "data/jinja/text.h"

#include <string.h>

typedef struct {
    jinja_machine *m;
    jinja_text source;
    int64_t at;
    bool line_starting; /* nothing of a line stands before `at`, but for a tag that took its new line with it */
    jinja_token *tokens;
    int64_t count, capacity;
    char open[400]; /* brackets */
    int open_count;
} lexer_t;

static bool lexer_at(const lexer_t *l, const char *text) {
    const int64_t length = (int64_t)strlen(text);
    return length <= l->source.length - l->at && !memcmp(l->source.bytes + l->at, text, (size_t)length);
}

static char here(const lexer_t *l, int64_t offset) {
    return l->at + offset < l->source.length ? l->source.bytes[l->at + offset] : '\0';
}

static void lexer_advance(lexer_t *l, int64_t count) {
    for (; count > 0 && l->at < l->source.length; count--) l->m->line += l->source.bytes[l->at++] == '\n';
}

static void skip_space(lexer_t *l) {
    while (l->at < l->source.length && mla_jinja_is_space(mla_jinja_code_point(&l->source, l->at)))
        lexer_advance(l, mla_jinja_character(&l->source, l->at));
}

static void add(lexer_t *l, jinja_token_kind kind, int64_t begin, int64_t end) {
    if (l->count == l->capacity) {
        const int64_t capacity = l->capacity ? 2 * l->capacity : 64;
        jinja_token *tokens = mla_jinja_alloc(l->m, capacity, sizeof *tokens);
        if (!tokens) return;
        if (l->count) memcpy(tokens, l->tokens, (size_t)l->count * sizeof *tokens);
        l->tokens = tokens;
        l->capacity = capacity;
    }
    l->tokens[l->count++] = (jinja_token){kind, l->m->line, l->source.bytes + begin, end - begin};
}

/* ---- what stands between the tags ---- */

/* Where the text before a tag ends: `sign` is the tag's, - or + or another character. */
static int64_t end_of_data(const lexer_t *l, int64_t begin, int64_t end, char sign, bool is_output) {
    const jinja_value data = mla_jinja_part(l->m, &l->source, begin, end);
    if (sign == '-') return begin + mla_jinja_strip(l->m, data.text, NULL, false, true).text->length;
    if (sign == '+' || is_output) return end;
    int64_t line = end;
    while (line > begin && l->source.bytes[line - 1] != '\n') line--;
    if (line == begin && !l->line_starting) return end;
    const jinja_value indent = mla_jinja_part(l->m, &l->source, line, end);
    return mla_jinja_strip(l->m, indent.text, NULL, true, false).text->length ? end : line;
}

/* The end of a tag, where it is here: `close` is "%}", "#}" or "}}". */
static bool take_end(lexer_t *l, const char *close) {
    const char sign = here(l, 0);
    const bool is_output = close[0] == '}';
    const int64_t signs = sign == '-' || (sign == '+' && !is_output);
    const int64_t at = l->at;
    l->at += signs;
    const bool ends = lexer_at(l, close);
    l->at = at;
    if (!ends) return false;
    lexer_advance(l, signs + 2);
    if (sign == '-') skip_space(l);
    else if (!signs && !is_output && here(l, 0) == '\n') lexer_advance(l, 1);
    l->line_starting = l->source.bytes[l->at - 1] == '\n';
    return true;
}

static void skip_comment(lexer_t *l) {
    while (l->at < l->source.length && !take_end(l, "#}")) lexer_advance(l, 1);
    if (l->source.bytes[l->at - 1] != '\n' && l->at == l->source.length &&
        (l->at < 2 || memcmp(l->source.bytes + l->at - 2, "#}", 2)))
        mla_jinja_fail(l->m, "a comment has no end: #}");
}

/* ---- tokens within a tag ---- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c); }

static void take_string(lexer_t *l) {
    const char quote = here(l, 0);
    int64_t length = 1;
    while (l->at + length < l->source.length && here(l, length) != quote) length += here(l, length) == '\\' ? 2 : 1;
    if (l->at + length >= l->source.length) {
        mla_jinja_fail(l->m, "a string has no end: %c", quote);
        return;
    }
    add(l, JINJA_TOKEN_STRING, l->at + 1, l->at + length);
    lexer_advance(l, length + 1);
}

static int64_t digits(const lexer_t *l, int64_t offset) {
    const int64_t begin = offset;
    while (is_digit(here(l, offset)) || (here(l, offset) == '_' && is_digit(here(l, offset + 1)))) offset++;
    return offset - begin;
}

static void take_number(lexer_t *l) {
    const bool behind_dot = l->at > 0 && l->source.bytes[l->at - 1] == '.';
    int64_t length = digits(l, 0);
    bool real = false;
    if (!behind_dot && here(l, length) == '.' && is_digit(here(l, length + 1))) {
        real = true;
        length += 1 + digits(l, length + 1);
    }
    const int64_t sign = here(l, length + 1) == '-' || here(l, length + 1) == '+';
    if (!behind_dot && (here(l, length) | 32) == 'e' && is_digit(here(l, length + 1 + sign))) {
        real = true;
        length += 1 + sign + digits(l, length + 1 + sign);
    }
    if (length == 1 && here(l, 0) == '0' && is_name(here(l, 1)))
        mla_jinja_fail(l->m, "0%c: numbers are decimal here", here(l, 1));
    add(l, real ? JINJA_TOKEN_FLOAT : JINJA_TOKEN_INT, l->at, l->at + length);
    lexer_advance(l, length);
}

static void balance(lexer_t *l, char c) {
    const char *const opening = "([{", *const closing = ")]}";
    if (c && strchr(opening, c)) {
        if (l->open_count == (int)sizeof l->open) mla_jinja_fail(l->m, "has too many brackets within each other");
        else l->open[l->open_count++] = closing[strchr(opening, c) - opening];
    } else if (c && strchr(closing, c)) {
        if (!l->open_count || l->open[l->open_count - 1] != c) mla_jinja_fail(l->m, "unexpected '%c'", c);
        else l->open_count--;
    }
}

static void take_operator(lexer_t *l) {
    static const char *const pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    int64_t length = strchr("+-/*%~[](){}><=.:|,;", here(l, 0)) ? 1 : 0;
    for (int i = 0; i < 6; i++)
        if (lexer_at(l, pairs[i])) length = 2;
    if (!here(l, 0) || !length) {
        const jinja_text *source = &l->source;
        mla_jinja_fail(l->m, "unexpected character '%.*s'", (int)mla_jinja_character(source, l->at),
                       source->bytes + l->at);
        return;
    }
    if (length == 1) balance(l, here(l, 0));
    add(l, JINJA_TOKEN_OPERATOR, l->at, l->at + length);
    lexer_advance(l, length);
}

static void take_tag(lexer_t *l, const char *close) {
    l->open_count = 0;
    while (!l->m->status) {
        skip_space(l);
        if (!l->open_count && take_end(l, close)) return;
        int64_t length = 0;
        if (l->at >= l->source.length) mla_jinja_fail(l->m, "a tag has no end: %s", close);
        else if (here(l, 0) == '"' || here(l, 0) == '\'') take_string(l);
        else if (is_digit(here(l, 0))) take_number(l);
        else if (is_name(here(l, 0))) {
            while (is_name(here(l, length))) length++;
            add(l, JINJA_TOKEN_NAME, l->at, l->at + length);
            lexer_advance(l, length);
        } else take_operator(l);
    }
}

/* ---- all of it ---- */

/* {% raw %}: all up to {% endraw %} is text. Whether the block that begins here is one. */
static bool take_raw(lexer_t *l) {
    lexer_t ahead = *l;
    lexer_advance(&ahead, 2 + (here(l, 2) == '-' || here(l, 2) == '+'));
    skip_space(&ahead);
    const bool raw = lexer_at(&ahead, "raw") && !is_name(here(&ahead, 3));
    lexer_advance(&ahead, 3);
    skip_space(&ahead);
    if (raw && (lexer_at(&ahead, "%}") || lexer_at(&ahead, "-%}")))
        mla_jinja_fail(l->m, "{%% raw %%} is not known here");
    return raw;
}

static const char *next_tag(const lexer_t *l, int64_t *begin) {
    for (*begin = l->at; *begin + 1 < l->source.length; ++*begin) {
        const char c = l->source.bytes[*begin + 1];
        if (l->source.bytes[*begin] == '{' && (c == '{' || c == '%' || c == '#'))
            return c == '{' ? "}}" : c == '%' ? "%}" : "#}";
    }
    *begin = l->source.length;
    return NULL;
}

static void take_all(lexer_t *l) {
    while (l->at < l->source.length && !l->m->status) {
        int64_t tag, data = l->at;
        const char *close = next_tag(l, &tag);
        const char sign = close && tag + 2 < l->source.length ? l->source.bytes[tag + 2] : '\0';
        const int64_t end = close ? end_of_data(l, data, tag, sign, close[0] == '}') : tag;
        if (end > data) add(l, JINJA_TOKEN_DATA, data, end);
        lexer_advance(l, tag - data);
        if (!close || (close[0] == '%' && take_raw(l))) return;
        lexer_advance(l, 2 + (sign == '-' || sign == '+'));
        if (close[0] == '#') {
            skip_comment(l);
            continue;
        }
        add(l, close[0] == '}' ? JINJA_TOKEN_OUTPUT : JINJA_TOKEN_BLOCK, l->at, l->at);
        take_tag(l, close);
        add(l, close[0] == '}' ? JINJA_TOKEN_OUTPUT_END : JINJA_TOKEN_BLOCK_END, l->at, l->at);
    }
}

/* With \n at the end of every line, and without the last line's. */
static jinja_text normalised(jinja_machine *m, const char *text, int64_t length) {
    char *bytes = mla_jinja_alloc(m, length + 1, 1);
    int64_t count = 0;
    for (int64_t i = 0; bytes && i < length; i++) {
        bytes[count++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n') i++;
    }
    if (count && bytes[count - 1] == '\n') count--;
    return (jinja_text){.bytes = bytes ? bytes : "", .length = count};
}

jinja_token *mla_jinja_tokens(jinja_machine *m, const char *text, int64_t length) {
    m->line = 1;
    for (int64_t at = 0, bytes; at < length; at += bytes)
        if (!(bytes = mla_utf8_length(text + at, length - at))) {
            mla_jinja_fail(m, "is not UTF-8, at byte %lld", (long long)at);
            return NULL;
        }
    lexer_t l = {.m = m, .source = normalised(m, text, length), .line_starting = true};
    take_all(&l);
    add(&l, JINJA_TOKEN_END, l.at, l.at);
    return m->status ? NULL : l.tokens;
}
