/* Methods of texts, as Python's str has them. */
#include "data/jinja/evaluate.h"
#include "data/jinja/string.h"

#include <string.h>

/* ---- white space and case ---- */

static const jinja_text *set_of(jinja_run *r, jinja_value given) {
    return given.kind == JINJA_ABSENT || given.kind == JINJA_NONE ? NULL : mla_jinja_given_text(r, given);
}

static jinja_value strip(jinja_run *r, jinja_value self, const jinja_value *given) {
    return mla_jinja_strip(&r->machine, self.text, set_of(r, given[0]), true, true);
}

static jinja_value lstrip(jinja_run *r, jinja_value self, const jinja_value *given) {
    return mla_jinja_strip(&r->machine, self.text, set_of(r, given[0]), true, false);
}

static jinja_value rstrip(jinja_run *r, jinja_value self, const jinja_value *given) {
    return mla_jinja_strip(&r->machine, self.text, set_of(r, given[0]), false, true);
}

static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_letter(char c) { return is_lower(c) || is_upper(c); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* ---- case: of Latin, Greek and Cyrillic letters whose upper and lower form take as many bytes ---- */

/* The other form of a letter; 0: it has no case; 1: what Python makes of it is not known here. */
static uint32_t other_case(uint32_t c, bool to_upper) {
    if (c < 0x80) return to_upper ? (is_lower((char)c) ? c - 32 : 0) : (is_upper((char)c) ? c + 32 : 0);
    if (c < 0xb5 || c == 0xd7 || c == 0xf7 || (c > 0xb5 && c < 0xc0)) return 0;
    if (c >= 0xc0 && c < 0xdf) return to_upper ? 0 : c + 32;
    if (c >= 0xe0 && c < 0xff) return to_upper ? c - 32 : 0;
    if ((c >= 0x100 && c < 0x130) || (c >= 0x132 && c < 0x138) || (c >= 0x14a && c < 0x178))
        return c % 2 == to_upper ? c ^ 1 : 0;
    if ((c >= 0x139 && c < 0x149) || (c >= 0x179 && c < 0x17f))
        return c % 2 != to_upper ? (to_upper ? c - 1 : c + 1) : 0;
    if (c >= 0x391 && c < 0x3aa && c != 0x3a2 && c != 0x3a3) return to_upper ? 0 : c + 32;
    if (c >= 0x3b1 && c < 0x3ca && c != 0x3c2) return to_upper ? c - 32 : 0;
    if (c >= 0x410 && c < 0x430) return to_upper ? 0 : c + 32;
    if (c >= 0x430 && c < 0x450) return to_upper ? c - 32 : 0;
    if (c >= 0x400 && c < 0x410) return to_upper ? 0 : c + 80;
    if (c >= 0x450 && c < 0x460) return to_upper ? c - 80 : 0;
    const bool without = (c >= 0x590 && c < 0x10a0) || (c >= 0x2000 && c < 0x2100) || (c >= 0x2190 && c < 0x2480) ||
                         (c >= 0x2500 && c < 0x2c00) || (c >= 0x2e80 && c < 0xa640) || (c >= 0xac00 && c < 0xfb00) ||
                         (c >= 0xfe00 && c < 0xff21) || c >= 0x1f000;
    return without ? 0 : 1;
}

static bool has_case(uint32_t c) { return other_case(c, true) > 1 || other_case(c, false) > 1; }

/* Each letter upper (+1) or lower (-1), as `which` says of whether it is the first and follows a letter with case. */
static jinja_value with_case(jinja_run *r, const jinja_text *text, const char *what,
                             int (*which)(bool first, bool follows)) {
    char *bytes = mla_jinja_alloc(&r->machine, text->length + 1, 1);
    jinja_text *out = mla_jinja_alloc(&r->machine, 1, sizeof *out);
    bool follows = false;
    if (!bytes || !out || !mla_jinja_step(&r->machine, text->length / 16))
        return (jinja_value){JINJA_TEXT, .text = text};
    if (text->length) memcpy(bytes, text->bytes, (size_t)text->length);
    for (int64_t at = 0, length; at < text->length; at += length) {
        const uint32_t c = mla_jinja_code_point(text, at), other = other_case(c, which(!at, follows) > 0);
        length = mla_jinja_character(text, at);
        follows = has_case(c);
        if (other == 1) mla_jinja_fail(&r->machine, "%s of U+%04X is not known here", what, c);
        else if (other && length == 1) bytes[at] = (char)other;
        else if (other) bytes[at] = (char)(0xc0 | other >> 6), bytes[at + 1] = (char)(0x80 | (other & 63));
    }
    *out = (jinja_text){bytes, text->marks, text->length, text->safe};
    return (jinja_value){JINJA_TEXT, .text = out};
}

static int up(bool first, bool follows) { return (void)first, (void)follows, 1; }
static int down(bool first, bool follows) { return (void)first, (void)follows, -1; }
static int first_up(bool first, bool follows) { return (void)follows, first ? 1 : -1; }
static int words_up(bool first, bool follows) { return (void)first, follows ? -1 : 1; }

jinja_value mla_jinja_upper(jinja_run *r, const jinja_text *text) { return with_case(r, text, "upper", up); }
jinja_value mla_jinja_lower(jinja_run *r, const jinja_text *text) { return with_case(r, text, "lower", down); }
jinja_value mla_jinja_capitalize(jinja_run *r, const jinja_text *text) {
    return with_case(r, text, "capitalize", first_up);
}

static jinja_value upper(jinja_run *r, jinja_value self, const jinja_value *given) {
    return (void)given, mla_jinja_upper(r, self.text);
}
static jinja_value lower(jinja_run *r, jinja_value self, const jinja_value *given) {
    return (void)given, mla_jinja_lower(r, self.text);
}
static jinja_value capitalize(jinja_run *r, jinja_value self, const jinja_value *given) {
    return (void)given, mla_jinja_capitalize(r, self.text);
}
static jinja_value title(jinja_run *r, jinja_value self, const jinja_value *given) {
    return (void)given, with_case(r, self.text, "title", words_up);
}

/* ---- asking ---- */

/* Whether all are of a kind; texts beyond ASCII are not known. */
static jinja_value all(jinja_run *r, const jinja_text *text, const char *what, bool (*is)(char c)) {
    bool yes = text->length > 0;
    for (int64_t i = 0; i < text->length; i++) {
        if ((unsigned char)text->bytes[i] >= 0x80)
            mla_jinja_fail(&r->machine, "%s of characters beyond ASCII is not known here", what);
        yes &= is(text->bytes[i]);
    }
    return mla_jinja_bool(yes);
}

static bool is_alnum(char c) { return is_letter(c) || is_digit(c); }

static jinja_value isdigit_(jinja_run *r, jinja_value self, const jinja_value *given) {
    return (void)given, all(r, self.text, "isdigit", is_digit);
}
static jinja_value isalpha_(jinja_run *r, jinja_value self, const jinja_value *given) {
    return (void)given, all(r, self.text, "isalpha", is_letter);
}
static jinja_value isalnum_(jinja_run *r, jinja_value self, const jinja_value *given) {
    return (void)given, all(r, self.text, "isalnum", is_alnum);
}
static jinja_value isspace_(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    return mla_jinja_bool(self.text->length &&
                          !mla_jinja_strip(&r->machine, self.text, NULL, true, false).text->length);
}
static jinja_value isupper_(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    const jinja_value up_ = mla_jinja_upper(r, self.text), low = mla_jinja_lower(r, self.text);
    return mla_jinja_bool(mla_jinja_equal(&r->machine, up_, self) && !mla_jinja_equal(&r->machine, up_, low));
}
static jinja_value islower_(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    const jinja_value up_ = mla_jinja_upper(r, self.text), low = mla_jinja_lower(r, self.text);
    return mla_jinja_bool(mla_jinja_equal(&r->machine, low, self) && !mla_jinja_equal(&r->machine, up_, low));
}

/* A text, or a tuple of texts of which one will do. */
static jinja_value any_at(jinja_run *r, jinja_value self, jinja_value parts, bool at_end) {
    const jinja_list one = {.items = &parts, .count = 1};
    const bool tuple = parts.kind == JINJA_LIST && parts.list->form == JINJA_A_TUPLE;
    const jinja_list *list = tuple ? parts.list : &one;
    for (int64_t i = 0; i < list->count; i++) {
        const jinja_text *part = mla_jinja_given_text(r, list->items[i]);
        if (mla_jinja_at(self.text, part, at_end ? self.text->length - part->length : 0)) return mla_jinja_bool(true);
    }
    return mla_jinja_bool(false);
}

static jinja_value startswith(jinja_run *r, jinja_value self, const jinja_value *given) {
    return any_at(r, self, given[0], false);
}
static jinja_value endswith(jinja_run *r, jinja_value self, const jinja_value *given) {
    return any_at(r, self, given[0], true);
}

static int64_t find_last(jinja_run *r, const jinja_text *text, const jinja_text *part) {
    mla_jinja_step(&r->machine, text->length / 64 * (1 + part->length / 64));
    return mla_jinja_find_last(text, part, text->length);
}

static jinja_value in_characters(const jinja_text *text, int64_t at) {
    return mla_jinja_int(at < 0 ? -1 : mla_jinja_characters(text, 0, at));
}

static jinja_value find(jinja_run *r, jinja_value self, const jinja_value *given) {
    return in_characters(self.text, mla_jinja_find(self.text, mla_jinja_given_text(r, given[0]), 0));
}
static jinja_value rfind(jinja_run *r, jinja_value self, const jinja_value *given) {
    return in_characters(self.text, find_last(r, self.text, mla_jinja_given_text(r, given[0])));
}
static jinja_value index_(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_value at = find(r, self, given);
    if (at.integer < 0) mla_jinja_fail(&r->machine, "substring not found");
    return at;
}

static jinja_value count(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_text *part = mla_jinja_given_text(r, given[0]);
    int64_t found = 0;
    if (!part->length) return mla_jinja_int(mla_jinja_characters(self.text, 0, self.text->length) + 1);
    for (int64_t at = 0; (at = mla_jinja_find(self.text, part, at)) >= 0; at += part->length) found++;
    return mla_jinja_int(found);
}

/* ---- replacing and joining ---- */

jinja_value mla_jinja_replace(jinja_run *r, const jinja_text *text, const jinja_text *old, const jinja_text *new_,
                              int64_t count_) {
    jinja_builder b = {.machine = &r->machine, .safe = text->safe};
    int64_t done = 0;
    while (count_-- && !r->machine.status) {
        const int64_t at = mla_jinja_find(text, old, done);
        if (at < 0 || !mla_jinja_step(&r->machine, 1)) break;
        mla_jinja_put_part(&b, text, done, at);
        if (text->safe) mla_jinja_put_escaped(&b, new_);
        else mla_jinja_put_text(&b, new_);
        done = at + old->length;
        if (old->length) continue;
        if (at >= text->length) return mla_jinja_built(&b);
        done = at + mla_jinja_character(text, at);
        mla_jinja_put_part(&b, text, at, done);
    }
    mla_jinja_put_part(&b, text, done, text->length);
    return mla_jinja_built(&b);
}

static jinja_value replace(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_text *old = mla_jinja_given_text(r, given[0]), *new_ = mla_jinja_given_text(r, given[1]);
    return mla_jinja_replace(r, self.text, old, new_, mla_jinja_given_int(r, given[2], -1));
}

static jinja_value join(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_list *list = mla_jinja_iterate(&r->machine, given[0]);
    jinja_builder b = {.machine = &r->machine};
    for (int64_t i = 0; list && i < list->count && !r->machine.status; i++) {
        if (i) mla_jinja_put_text(&b, self.text);
        mla_jinja_put_text(&b, mla_jinja_given_text(r, list->items[i]));
    }
    return mla_jinja_built(&b);
}

static jinja_value removeprefix(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_text *part = mla_jinja_given_text(r, given[0]);
    return mla_jinja_at(self.text, part, 0) ? mla_jinja_part(&r->machine, self.text, part->length, self.text->length)
                                            : self;
}
static jinja_value removesuffix(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_text *part = mla_jinja_given_text(r, given[0]);
    const int64_t at = self.text->length - part->length;
    return mla_jinja_at(self.text, part, at) ? mla_jinja_part(&r->machine, self.text, 0, at) : self;
}

/* ---- cutting ---- */

static void add_part(jinja_run *r, jinja_value list, const jinja_text *text, int64_t begin, int64_t end) {
    mla_jinja_append(&r->machine, list.list, mla_jinja_part(&r->machine, text, begin, end));
}

static bool space_at(const jinja_text *text, int64_t at) { return mla_jinja_is_space(mla_jinja_code_point(text, at)); }

/* At white space; parts are never empty. */
static void split_words(jinja_run *r, jinja_value list, const jinja_text *text, int64_t most) {
    int64_t at = 0;
    while (!r->machine.status) {
        while (at < text->length && space_at(text, at)) at += mla_jinja_character(text, at);
        if (at >= text->length) return;
        int64_t end = at;
        if (!most--) {
            const jinja_value rest = mla_jinja_part(&r->machine, text, at, text->length);
            mla_jinja_append(&r->machine, list.list, mla_jinja_strip(&r->machine, rest.text, NULL, false, true));
            return;
        }
        while (end < text->length && !space_at(text, end)) end += mla_jinja_character(text, end);
        add_part(r, list, text, at, end);
        at = end;
    }
}

static const jinja_text *separator(jinja_run *r, jinja_value given) {
    const jinja_text *part = mla_jinja_given_text(r, given);
    if (!part->length) mla_jinja_fail(&r->machine, "empty separator");
    return part;
}

static jinja_value split(jinja_run *r, jinja_value self, const jinja_value *given) {
    jinja_value list = mla_jinja_list(&r->machine, JINJA_A_LIST, 0);
    int64_t most = mla_jinja_given_int(r, given[1], -1), done = 0, at;
    if (r->machine.status) return list;
    if (given[0].kind == JINJA_ABSENT || given[0].kind == JINJA_NONE) {
        split_words(r, list, self.text, most);
        return list;
    }
    const jinja_text *part = separator(r, given[0]);
    while (!r->machine.status && most-- && (at = mla_jinja_find(self.text, part, done)) >= 0) {
        add_part(r, list, self.text, done, at);
        done = at + part->length;
    }
    if (!r->machine.status) add_part(r, list, self.text, done, self.text->length);
    return list;
}

static jinja_value reversed(jinja_run *r, const jinja_list *list) {
    jinja_value out = mla_jinja_list(&r->machine, JINJA_A_LIST, list->count);
    for (int64_t i = list->count - 1; i >= 0 && !r->machine.status; i--)
        mla_jinja_append(&r->machine, out.list, list->items[i]);
    return out;
}

static jinja_value rsplit(jinja_run *r, jinja_value self, const jinja_value *given) {
    int64_t most = mla_jinja_given_int(r, given[1], -1), end = self.text->length, at;
    if (most < 0) return split(r, self, given);
    if (given[0].kind == JINJA_ABSENT || given[0].kind == JINJA_NONE)
        mla_jinja_fail(&r->machine, "rsplit at white space, so many times, is not known here");
    jinja_value list = mla_jinja_list(&r->machine, JINJA_A_LIST, 0);
    const jinja_text *part = r->machine.status ? self.text : separator(r, given[0]);
    while (!r->machine.status && most-- && (at = mla_jinja_find_last(self.text, part, end)) >= 0) {
        mla_jinja_step(&r->machine, (end - at) / 64 * (1 + part->length / 64));
        add_part(r, list, self.text, at + part->length, end);
        end = at;
    }
    if (r->machine.status) return list;
    add_part(r, list, self.text, 0, end);
    return reversed(r, list.list);
}

static bool ends_line(uint32_t c) {
    return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

jinja_value mla_jinja_lines(jinja_run *r, const jinja_text *text, bool keep_ends) {
    jinja_value list = mla_jinja_list(&r->machine, JINJA_A_LIST, 0);
    for (int64_t begin = 0, end, next; begin < text->length && !r->machine.status; begin = next) {
        for (end = begin; end < text->length && !ends_line(mla_jinja_code_point(text, end));)
            end += mla_jinja_character(text, end);
        next = end < text->length ? end + mla_jinja_character(text, end) : end;
        if (next < text->length && text->bytes[end] == '\r' && text->bytes[next] == '\n') next++;
        add_part(r, list, text, begin, keep_ends ? next : end);
    }
    return list;
}

static jinja_value splitlines(jinja_run *r, jinja_value self, const jinja_value *given) {
    return mla_jinja_lines(r, self.text, mla_jinja_given_bool(r, given[0], false));
}

static jinja_value three(jinja_run *r, const jinja_text *text, int64_t at, int64_t length) {
    jinja_value tuple = mla_jinja_list(&r->machine, JINJA_A_TUPLE, 3);
    if (r->machine.status) return tuple;
    add_part(r, tuple, text, 0, at);
    add_part(r, tuple, text, at, at + length);
    add_part(r, tuple, text, at + length, text->length);
    return tuple;
}

static jinja_value partition(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_text *part = separator(r, given[0]);
    const int64_t at = mla_jinja_find(self.text, part, 0);
    return at < 0 ? three(r, self.text, self.text->length, 0) : three(r, self.text, at, part->length);
}

static jinja_value rpartition(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_text *part = separator(r, given[0]);
    const int64_t at = find_last(r, self.text, part);
    return at < 0 ? three(r, self.text, 0, 0) : three(r, self.text, at, part->length);
}

/* ---- format ---- */

/* The argument that a field names: {}, {0}, {name}. */
static const jinja_value *argument(jinja_run *r, const jinja_text *field, const jinja_arguments *given, int64_t *next) {
    const char *name = mla_jinja_chars(&r->machine, field);
    int64_t place = -1;
    if (strspn(name, "0123456789") == strlen(name) && strlen(name) < 9)
        for (place = *name ? 0 : (*next)++; *name; name++) place = 10 * place + *name - '0';
    for (int64_t i = 0; i < given->count; i++) {
        const char *own = given->names ? given->names[i] : NULL;
        if (own ? place < 0 && !strcmp(own, name) : i == place) return &given->values[i];
    }
    mla_jinja_fail(&r->machine,
                   "format has no argument for {%.40s}; what stands behind a name (! : . [) is not known here",
                   mla_jinja_chars(&r->machine, field));
    return NULL;
}

static jinja_value format(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    jinja_builder b = {.machine = &r->machine, .safe = self.text->safe};
    const jinja_text *text = self.text;
    int64_t next = 0;
    for (int64_t at = 0; at < text->length && !r->machine.status; at++) {
        const char c = text->bytes[at];
        const bool twice = at + 1 < text->length && text->bytes[at + 1] == c;
        const char *end = c == '{' && !twice ? memchr(text->bytes + at, '}', (size_t)(text->length - at)) : NULL;
        if (c == '{' && !twice && end) {
            const jinja_value field = mla_jinja_part(&r->machine, text, at + 1, end - text->bytes);
            const jinja_value *value = argument(r, field.text, given, &next);
            if (value) mla_jinja_print(&b, *value);
            at = end - text->bytes;
            continue;
        }
        if ((c == '{' || c == '}') && !twice)
            mla_jinja_fail(&r->machine, "Single '%c' encountered in format string", c);
        mla_jinja_put_part(&b, text, at, at + 1);
        at += c == '{' || c == '}';
    }
    return mla_jinja_built(&b);
}

const jinja_function mla_jinja_text_methods[] = {
    {"strip", strip, 0, {"(chars)"}, NULL},
    {"lstrip", lstrip, 0, {"(chars)"}, NULL},
    {"rstrip", rstrip, 0, {"(chars)"}, NULL},
    {"upper", upper, 0, {NULL}, NULL},
    {"lower", lower, 0, {NULL}, NULL},
    {"title", title, 0, {NULL}, NULL},
    {"capitalize", capitalize, 0, {NULL}, NULL},
    {"isdigit", isdigit_, 0, {NULL}, NULL},
    {"isalpha", isalpha_, 0, {NULL}, NULL},
    {"isalnum", isalnum_, 0, {NULL}, NULL},
    {"isspace", isspace_, 0, {NULL}, NULL},
    {"isupper", isupper_, 0, {NULL}, NULL},
    {"islower", islower_, 0, {NULL}, NULL},
    {"startswith", startswith, 1, {"(prefix)"}, NULL},
    {"endswith", endswith, 1, {"(suffix)"}, NULL},
    {"find", find, 1, {"(sub)"}, NULL},
    {"rfind", rfind, 1, {"(sub)"}, NULL},
    {"index", index_, 1, {"(sub)"}, NULL},
    {"count", count, 1, {"(sub)"}, NULL},
    {"replace", replace, 2, {"(old)", "(new)", "(count)"}, NULL},
    {"join", join, 1, {"(iterable)"}, NULL},
    {"removeprefix", removeprefix, 1, {"(prefix)"}, NULL},
    {"removesuffix", removesuffix, 1, {"(suffix)"}, NULL},
    {"split", split, 0, {"sep", "maxsplit"}, NULL},
    {"rsplit", rsplit, 0, {"sep", "maxsplit"}, NULL},
    {"splitlines", splitlines, 0, {"keepends"}, NULL},
    {"partition", partition, 1, {"(sep)"}, NULL},
    {"rpartition", rpartition, 1, {"(sep)"}, NULL},
    {"format", .call_any = format},
    {.name = NULL},
};
