#include "data/jinja/text.h"
#include "autograd/base/utf8.h"

#include <string.h>

enum { LONGEST = 32 << 20 }; /* bytes of one text */

/* ---- building ---- */

static bool make_room(jinja_builder *b, int64_t length) {
    int64_t capacity = b->capacity ? b->capacity : 64;
    if (b->machine->status) return false;
    if (b->length + length > LONGEST) {
        mla_jinja_fail(b->machine, "makes a text of more than %d MB", LONGEST >> 20);
        return false;
    }
    while (capacity < b->length + length) capacity *= 2;
    if (capacity == b->capacity) return true;
    char *bytes = mla_jinja_alloc(b->machine, capacity, 1);
    uint16_t *marks = mla_jinja_alloc(b->machine, capacity, sizeof *marks);
    if (!bytes || !marks) return false;
    if (b->length) {
        memcpy(bytes, b->bytes, (size_t)b->length);
        memcpy(marks, b->marks, (size_t)b->length * sizeof *marks);
    }
    b->bytes = bytes;
    b->marks = marks;
    b->capacity = capacity;
    return true;
}

void mla_jinja_put(jinja_builder *b, const char *bytes, int64_t length, const uint16_t *marks) {
    if (!length || !mla_jinja_step(b->machine, length / 64) || !make_room(b, length)) return;
    memcpy(b->bytes + b->length, bytes, (size_t)length);
    if (marks) memcpy(b->marks + b->length, marks, (size_t)length * sizeof *marks);
    else memset(b->marks + b->length, 0, (size_t)length * sizeof *marks);
    b->marked |= marks != NULL;
    b->length += length;
}

void mla_jinja_put_text(jinja_builder *b, const jinja_text *text) {
    mla_jinja_put(b, text->bytes, text->length, text->marks);
}

void mla_jinja_put_part(jinja_builder *b, const jinja_text *text, int64_t begin, int64_t end) {
    mla_jinja_put(b, text->bytes + begin, end - begin, text->marks ? text->marks + begin : NULL);
}

void mla_jinja_put_string(jinja_builder *b, const char *string) {
    mla_jinja_put(b, string, (int64_t)strlen(string), NULL);
}

void mla_jinja_put_escaped(jinja_builder *b, const jinja_text *text) {
    static const char special[] = "&<>'\"";
    static const char *const escapes[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    for (int64_t i = 0; i < text->length && !b->machine->status; i++) {
        const char *found = text->bytes[i] && !text->safe ? strchr(special, text->bytes[i]) : NULL;
        if (found) mla_jinja_put_string(b, escapes[found - special]);
        else mla_jinja_put_part(b, text, i, i + 1);
    }
}

void mla_jinja_put_character(jinja_builder *b, uint32_t c) {
    char bytes[4];
    const int64_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    const unsigned first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int64_t i = length - 1; i > 0; i--, c >>= 6) bytes[i] = (char)(0x80 | (c & 63));
    bytes[0] = (char)(first[length] | c);
    mla_jinja_put(b, bytes, length, NULL);
}

static jinja_value value_of(jinja_machine *m, jinja_text text) {
    static const jinja_text empty = {.bytes = ""};
    jinja_text *copy = mla_jinja_alloc(m, 1, sizeof *copy);
    if (copy) *copy = text;
    return (jinja_value){.kind = JINJA_TEXT, .text = copy ? copy : &empty};
}

jinja_value mla_jinja_built(jinja_builder *b) {
    return value_of(b->machine, (jinja_text){.bytes = b->bytes ? b->bytes : "",
                                             .marks = b->marked ? b->marks : NULL,
                                             .length = b->length,
                                             .safe = b->safe});
}

jinja_value mla_jinja_string(jinja_machine *m, const char *bytes, int64_t length, uint16_t mark) {
    char *copy = mla_jinja_alloc(m, length + 1, 1);
    uint16_t *marks = mark && length ? mla_jinja_alloc(m, length, sizeof *marks) : NULL;
    if (m->status || !copy) return value_of(m, (jinja_text){.bytes = ""});
    if (length) memcpy(copy, bytes, (size_t)length);
    for (int64_t i = 0; marks && i < length; i++) marks[i] = mark;
    return value_of(m, (jinja_text){.bytes = copy, .marks = marks, .length = length});
}

jinja_value mla_jinja_part(jinja_machine *m, const jinja_text *text, int64_t begin, int64_t end) {
    if (end < begin) end = begin;
    return value_of(m, (jinja_text){.bytes = text->bytes + begin,
                                    .marks = text->marks ? text->marks + begin : NULL,
                                    .length = end - begin,
                                    .safe = text->safe});
}

const char *mla_jinja_chars(jinja_machine *m, const jinja_text *text) {
    char *copy = mla_jinja_alloc(m, text->length + 1, 1);
    if (!copy) return "";
    for (int64_t i = 0; i < text->length; i++) copy[i] = text->bytes[i] ? text->bytes[i] : '?';
    return copy;
}

/* ---- characters ---- */

int64_t mla_jinja_character(const jinja_text *text, int64_t at) {
    if ((unsigned char)text->bytes[at] < 0x80) return 1;
    const int64_t length = mla_utf8_length(text->bytes + at, text->length - at);
    return length ? length : 1;
}

uint32_t mla_jinja_code_point(const jinja_text *text, int64_t at) {
    static const uint32_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const int64_t length = mla_jinja_character(text, at);
    uint32_t c = (unsigned char)text->bytes[at];
    if (c >= 0x80 && length == 1) return 0xfffd; /* no character */
    c &= masks[length];
    for (int64_t i = 1; i < length; i++) c = c << 6 | ((unsigned char)text->bytes[at + i] & 63);
    return c;
}

int64_t mla_jinja_characters(const jinja_text *text, int64_t begin, int64_t end) {
    int64_t count = 0;
    for (; begin < end; begin += mla_jinja_character(text, begin)) count++;
    return count;
}

int64_t mla_jinja_place(const jinja_text *text, int64_t characters) {
    int64_t at = 0;
    while (characters-- > 0 && at < text->length) at += mla_jinja_character(text, at);
    return at;
}

bool mla_jinja_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* ---- searching ---- */

bool mla_jinja_at(const jinja_text *text, const jinja_text *part, int64_t at) {
    return at >= 0 && part->length <= text->length - at && !memcmp(text->bytes + at, part->bytes, (size_t)part->length);
}

int64_t mla_jinja_find(const jinja_text *text, const jinja_text *part, int64_t from) {
    if (from > text->length) return -1;
    if (!part->length) return from;
    const char *found = memmem(text->bytes + from, (size_t)(text->length - from), part->bytes, (size_t)part->length);
    return found ? found - text->bytes : -1;
}

int64_t mla_jinja_find_last(const jinja_text *text, const jinja_text *part, int64_t before) {
    for (int64_t at = before - part->length; at >= 0; at--)
        if (mla_jinja_at(text, part, at)) return at;
    return -1;
}

static bool is_of(const jinja_text *text, int64_t at, const jinja_text *set) {
    if (!set) return mla_jinja_is_space(mla_jinja_code_point(text, at));
    const int64_t length = mla_jinja_character(text, at);
    for (int64_t i = 0; i < set->length; i += mla_jinja_character(set, i))
        if (mla_jinja_character(set, i) == length && !memcmp(set->bytes + i, text->bytes + at, (size_t)length))
            return true;
    return false;
}

/* Where the character begins that ends at a place. */
static int64_t before(const jinja_text *text, int64_t end) {
    int64_t at = end - 1;
    while (at > 0 && end - at < 4 && ((unsigned char)text->bytes[at] & 0xc0) == 0x80) at--;
    return at + mla_jinja_character(text, at) == end ? at : end - 1;
}

jinja_value mla_jinja_strip(jinja_machine *m, const jinja_text *text, const jinja_text *set, bool left, bool right) {
    int64_t begin = 0, end = text->length;
    while (left && begin < end && is_of(text, begin, set)) begin += mla_jinja_character(text, begin);
    while (right && end > begin && is_of(text, before(text, end), set)) end = before(text, end);
    return mla_jinja_part(m, text, begin, end);
}
