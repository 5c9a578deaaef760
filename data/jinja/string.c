#include "data/jinja/string.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- literals ---- */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* \x41, \u0041, \U00000041: `digits` of them. The bytes that were read. */
static int64_t unescape_hex(jinja_builder *b, const char *bytes, int64_t left, int digits) {
    uint32_t c = 0;
    for (int i = 0; i < digits; i++) {
        if (i >= left || hex(bytes[i]) < 0) {
            mla_jinja_fail(b->machine, "an escape of a string needs %d hexadecimal digits", digits);
            return 0;
        }
        c = c << 4 | (uint32_t)hex(bytes[i]);
    }
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) mla_jinja_fail(b->machine, "\\u%x is no character", c);
    else mla_jinja_put_character(b, c);
    return digits;
}

static int64_t unescape_octal(jinja_builder *b, const char *bytes, int64_t left) {
    uint32_t c = 0;
    int64_t i = 0;
    for (; i < 3 && i < left && bytes[i] >= '0' && bytes[i] <= '7'; i++) c = c << 3 | (uint32_t)(bytes[i] - '0');
    mla_jinja_put_character(b, c);
    return i;
}

/* Behind the backslash; the bytes that were read. */
static int64_t unescape_one(jinja_builder *b, const char *bytes, int64_t left) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = bytes[0];
    const char *simple = c ? strchr(from, c) : NULL;
    if (c == '\n') return 1;
    if (simple) mla_jinja_put(b, to + (simple - from), 1, NULL);
    else if (c == 'x') return 1 + unescape_hex(b, bytes + 1, left - 1, 2);
    else if (c == 'u') return 1 + unescape_hex(b, bytes + 1, left - 1, 4);
    else if (c == 'U') return 1 + unescape_hex(b, bytes + 1, left - 1, 8);
    else if (c >= '0' && c <= '7') return unescape_octal(b, bytes, left);
    else if (c == 'N') mla_jinja_fail(b->machine, "\\N in a string is not known here");
    else mla_jinja_put(b, bytes - 1, 2, NULL);
    return 1;
}

void mla_jinja_unescape(jinja_builder *b, const char *bytes, int64_t length) {
    for (int64_t at = 0; at < length && !b->machine->status;) {
        const char *next = memchr(bytes + at, '\\', (size_t)(length - at));
        const int64_t end = next ? next - bytes : length;
        mla_jinja_put(b, bytes + at, end - at, NULL);
        at = end;
        if (next) at += 1 + unescape_one(b, bytes + end + 1, length - end - 1);
    }
}

/* ---- numbers ---- */

/* repr of a float: the fewest digits that give it again, with an exponent below 1e-4 and from 1e16 on. */
static void put_float(jinja_builder *b, double x, const char *const special[3]) {
    char text[64], digits[32];
    if (isnan(x) || isinf(x)) {
        mla_jinja_put_string(b, special[isnan(x) ? 0 : x > 0 ? 1 : 2]);
        return;
    }
    int precision = 0;
    do snprintf(text, sizeof text, "%.*e", precision, x);
    while (strtod(text, NULL) != x && ++precision < 17);
    const int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        const int decimals = precision - exponent > 1 ? precision - exponent : 1;
        snprintf(text, sizeof text, "%.*f", decimals, x);
        mla_jinja_put_string(b, text);
        return;
    }
    snprintf(digits, sizeof digits, "%.*s", (int)(strchr(text, 'e') - text), text);
    snprintf(text, sizeof text, "%se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
    mla_jinja_put_string(b, text);
}

static void put_int(jinja_builder *b, int64_t i) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)i);
    mla_jinja_put_string(b, text);
}

/* ---- repr ---- */

static bool is_printable(uint32_t c) {
    if (c < 0x7f) return c >= 0x20;
    return c > 0xa0 && c != 0xad && !(c >= 0x2000 && c <= 0x200f) && !(c >= 0x2028 && c <= 0x202f) &&
           !(c >= 0x205f && c <= 0x206f) && c != 0x1680 && c != 0x3000 && c != 0xfeff && !(c >= 0xe000 && c <= 0xf8ff);
}

static void put_escaped(jinja_builder *b, uint32_t c) {
    char text[16];
    snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    mla_jinja_put_string(b, text);
}

static void put_quoted(jinja_builder *b, const jinja_text *text) {
    const bool single = memchr(text->bytes, '\'', (size_t)text->length) &&
                        !memchr(text->bytes, '"', (size_t)text->length);
    const char *const quote = single ? "\"" : "'";
    if (text->safe) mla_jinja_put_string(b, "Markup(");
    mla_jinja_put_string(b, quote);
    for (int64_t at = 0, length; at < text->length && !b->machine->status; at += length) {
        const uint32_t c = mla_jinja_code_point(text, at);
        length = mla_jinja_character(text, at);
        if (c == '\n') mla_jinja_put_string(b, "\\n");
        else if (c == '\r') mla_jinja_put_string(b, "\\r");
        else if (c == '\t') mla_jinja_put_string(b, "\\t");
        else if (!is_printable(c)) put_escaped(b, c);
        else {
            if (c == '\\' || c == (unsigned char)*quote) mla_jinja_put_string(b, "\\");
            mla_jinja_put_part(b, text, at, at + length);
        }
    }
    mla_jinja_put_string(b, quote);
    if (text->safe) mla_jinja_put_string(b, ")");
}

static void put_repr(jinja_builder *b, jinja_value v);

static void put_list(jinja_builder *b, const jinja_list *list) {
    const bool tuple = list->form == JINJA_A_TUPLE;
    if (list->form > JINJA_A_TUPLE)
        mla_jinja_fail(b->machine, "a %s is printed: make a list of it",
                       mla_jinja_type((jinja_value){JINJA_LIST, .list = (jinja_list *)list}));
    mla_jinja_put_string(b, tuple ? "(" : "[");
    for (int64_t i = 0; i < list->count && !b->machine->status; i++) {
        if (i) mla_jinja_put_string(b, ", ");
        put_repr(b, list->items[i]);
    }
    mla_jinja_put_string(b, tuple ? list->count == 1 ? ",)" : ")" : "]");
}

static void put_dict(jinja_builder *b, const jinja_dict *dict) {
    mla_jinja_put_string(b, "{");
    for (int64_t i = 0; i < dict->count && !b->machine->status; i++) {
        if (i) mla_jinja_put_string(b, ", ");
        put_repr(b, dict->keys[i]);
        mla_jinja_put_string(b, ": ");
        put_repr(b, dict->values[i]);
    }
    mla_jinja_put_string(b, "}");
}

static void put_repr(jinja_builder *b, jinja_value v) {
    static const char *const special[] = {"nan", "inf", "-inf"};
    if (!mla_jinja_enter(b->machine)) v = mla_jinja_none();
    switch (v.kind) {
    case JINJA_NONE: mla_jinja_put_string(b, "None"); break;
    case JINJA_BOOL: mla_jinja_put_string(b, v.truth ? "True" : "False"); break;
    case JINJA_INT: put_int(b, v.integer); break;
    case JINJA_FLOAT: put_float(b, v.real, special); break;
    case JINJA_TEXT: put_quoted(b, v.text); break;
    case JINJA_LIST: put_list(b, v.list); break;
    case JINJA_DICT: put_dict(b, v.dict); break;
    case JINJA_UNDEFINED: mla_jinja_put_string(b, "Undefined"); break;
    default: mla_jinja_fail(b->machine, "a %s is printed", mla_jinja_type(v));
    }
    b->machine->depth--;
}

void mla_jinja_print(jinja_builder *b, jinja_value v) {
    if (v.kind == JINJA_TEXT) mla_jinja_put_text(b, v.text);
    else if (v.kind != JINJA_UNDEFINED) put_repr(b, v);
}

jinja_value mla_jinja_str(jinja_machine *m, jinja_value v) {
    jinja_builder b = {.machine = m};
    if (v.kind == JINJA_TEXT) return v;
    mla_jinja_print(&b, v);
    return mla_jinja_built(&b);
}

/* ---- JSON ---- */

static void put_ascii(jinja_builder *b, uint32_t c) {
    char text[16];
    if (c < 0x10000) snprintf(text, sizeof text, "\\u%04x", c);
    else snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
    mla_jinja_put_string(b, text);
}

static void put_json_text(jinja_builder *b, const jinja_text *text, bool ascii) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    mla_jinja_put_string(b, "\"");
    for (int64_t at = 0, length; at < text->length && !b->machine->status; at += length) {
        const uint32_t c = mla_jinja_code_point(text, at);
        const char *escape = c && c < 0x80 ? strchr(from, (int)c) : NULL;
        length = mla_jinja_character(text, at);
        if (escape) {
            mla_jinja_put_string(b, "\\");
            mla_jinja_put(b, to + (escape - from), 1, NULL);
        } else if (c < 0x20 || (ascii && c >= 0x7f && c != 0x7f)) put_ascii(b, c);
        else mla_jinja_put_part(b, text, at, at + length);
    }
    mla_jinja_put_string(b, "\"");
}

static void put_json(jinja_builder *b, jinja_value v, const jinja_json_style *style, int level);

/* A new line and the indent of the level, where there is one. */
static void put_indent(jinja_builder *b, const jinja_json_style *style, int level) {
    if (!style->indent) return;
    mla_jinja_put_string(b, "\n");
    for (int i = 0; i < level; i++) mla_jinja_put_text(b, style->indent);
}

static void put_json_list(jinja_builder *b, const jinja_list *list, const jinja_json_style *style, int level) {
    mla_jinja_put_string(b, "[");
    for (int64_t i = 0; i < list->count && !b->machine->status; i++) {
        if (i) mla_jinja_put_text(b, style->between);
        put_indent(b, style, level + 1);
        put_json(b, list->items[i], style, level + 1);
    }
    if (list->count) put_indent(b, style, level);
    mla_jinja_put_string(b, "]");
}

/* Of the keys that are not written yet the smallest; without order the next. */
static int64_t next_key(jinja_builder *b, const jinja_dict *dict, bool sorted, bool *done, int64_t i) {
    int64_t least = -1;
    for (int64_t k = 0; sorted && k < dict->count && mla_jinja_step(b->machine, 1); k++)
        if (!done[k] && (least < 0 || mla_jinja_compare(b->machine, dict->keys[k], dict->keys[least]) < 0)) least = k;
    if (!sorted || least < 0) return i;
    done[least] = true;
    return least;
}

static void put_json_key(jinja_builder *b, jinja_value key, const jinja_json_style *style) {
    if (key.kind == JINJA_TEXT) {
        put_json_text(b, key.text, style->ascii);
        return;
    }
    if (!mla_jinja_is_number(key) && key.kind != JINJA_NONE)
        mla_jinja_fail(b->machine, "keys must be str, int, float, bool or None, not %s", mla_jinja_type(key));
    mla_jinja_put_string(b, "\"");
    put_json(b, key, style, 0);
    mla_jinja_put_string(b, "\"");
}

static void put_json_dict(jinja_builder *b, const jinja_dict *dict, const jinja_json_style *style, int level) {
    bool *done = mla_jinja_alloc(b->machine, dict->count, sizeof *done);
    mla_jinja_put_string(b, "{");
    for (int64_t i = 0; i < dict->count && !b->machine->status; i++) {
        const int64_t k = next_key(b, dict, style->sorted, done, i);
        if (i) mla_jinja_put_text(b, style->between);
        put_indent(b, style, level + 1);
        put_json_key(b, dict->keys[k], style);
        mla_jinja_put_text(b, style->behind_key);
        put_json(b, dict->values[k], style, level + 1);
    }
    if (dict->count) put_indent(b, style, level);
    mla_jinja_put_string(b, "}");
}

static void put_json(jinja_builder *b, jinja_value v, const jinja_json_style *style, int level) {
    static const char *const special[] = {"NaN", "Infinity", "-Infinity"};
    if (!mla_jinja_enter(b->machine)) v = mla_jinja_none();
    if (v.kind == JINJA_NONE) mla_jinja_put_string(b, "null");
    else if (v.kind == JINJA_BOOL) mla_jinja_put_string(b, v.truth ? "true" : "false");
    else if (v.kind == JINJA_INT) put_int(b, v.integer);
    else if (v.kind == JINJA_FLOAT) put_float(b, v.real, special);
    else if (v.kind == JINJA_TEXT) put_json_text(b, v.text, style->ascii);
    else if (v.kind == JINJA_LIST && v.list->form <= JINJA_A_TUPLE) put_json_list(b, v.list, style, level);
    else if (v.kind == JINJA_DICT) put_json_dict(b, v.dict, style, level);
    else mla_jinja_fail(b->machine, "Object of type %s is not JSON serializable", mla_jinja_type(v));
    b->machine->depth--;
}

void mla_jinja_put_json(jinja_builder *b, jinja_value v, const jinja_json_style *style) { put_json(b, v, style, 0); }
