/* Filters of texts and numbers. */
#include "data/jinja/evaluate.h"
#include "data/jinja/string.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const jinja_text *text_of(jinja_run *r, jinja_value v) { return mla_jinja_str(&r->machine, v).text; }

static jinja_value string(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    return mla_jinja_str(&r->machine, self);
}

static jinja_value trim(jinja_run *r, jinja_value self, const jinja_value *given) {
    const bool any = given[0].kind == JINJA_ABSENT || given[0].kind == JINJA_NONE;
    return mla_jinja_strip(&r->machine, text_of(r, self), any ? NULL : mla_jinja_given_text(r, given[0]), true, true);
}

static jinja_value upper(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    return mla_jinja_upper(r, text_of(r, self));
}
static jinja_value lower(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    return mla_jinja_lower(r, text_of(r, self));
}
static jinja_value capitalize(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    return mla_jinja_capitalize(r, text_of(r, self));
}

/* Words begin behind white space and - ( { [ <, unlike those of str.title. */
static jinja_value title(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    jinja_builder b = {.machine = &r->machine};
    const jinja_text *text = text_of(r, self);
    for (int64_t at = 0, end; at < text->length && !r->machine.status; at = end) {
        for (end = at; end < text->length;) {
            const uint32_t c = mla_jinja_code_point(text, end);
            end += mla_jinja_character(text, end);
            if (mla_jinja_is_space(c) || (c && c < 0x80 && strchr("-({[<", (int)c))) break;
        }
        mla_jinja_put_text(&b, mla_jinja_capitalize(r, mla_jinja_part(&r->machine, text, at, end).text).text);
    }
    return mla_jinja_built(&b);
}

static jinja_value replace(jinja_run *r, jinja_value self, const jinja_value *given) {
    const int64_t count = given[2].kind == JINJA_NONE ? -1 : mla_jinja_given_int(r, given[2], -1);
    jinja_text text = *text_of(r, self);
    text.safe = false;
    return mla_jinja_replace(r, &text, text_of(r, given[0]), text_of(r, given[1]), count);
}

static jinja_value safe(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    const jinja_text *text = text_of(r, self);
    jinja_text *copy = mla_jinja_alloc(&r->machine, 1, sizeof *copy);
    if (!copy) return self;
    *copy = *text;
    copy->safe = true;
    return (jinja_value){JINJA_TEXT, .text = copy};
}

static jinja_value escape(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    jinja_builder b = {.machine = &r->machine, .safe = true};
    mla_jinja_put_escaped(&b, text_of(r, self));
    return mla_jinja_built(&b);
}

static jinja_value indent(jinja_run *r, jinja_value self, const jinja_value *given) {
    jinja_builder b = {.machine = &r->machine};
    const jinja_text *text = mla_jinja_given_text(r, self), *by = given[0].kind == JINJA_TEXT ? given[0].text : NULL;
    const int64_t width = by ? 0 : mla_jinja_given_int(r, given[0], 4);
    const bool at_first = mla_jinja_given_bool(r, given[1], false), blank = mla_jinja_given_bool(r, given[2], false);
    mla_jinja_put_text(&b, text);
    mla_jinja_put_string(&b, "\n"); /* as jinja2 does: an end of a line at the end is kept then */
    const jinja_list *lines = mla_jinja_lines(r, mla_jinja_built(&b).text, false).list;
    b = (jinja_builder){.machine = &r->machine};
    for (int64_t i = 0; !r->machine.status && i < lines->count; i++) {
        if (i) mla_jinja_put_string(&b, "\n");
        const bool indented = i ? blank || lines->items[i].text->length : at_first;
        if (indented && by) mla_jinja_put_text(&b, by);
        for (int64_t k = 0; indented && k < width && mla_jinja_step(&r->machine, 1); k++) mla_jinja_put_string(&b, " ");
        mla_jinja_put_text(&b, lines->items[i].text);
    }
    return mla_jinja_built(&b);
}

static jinja_value wordcount(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    const jinja_text *text = text_of(r, self);
    int64_t words = 0;
    bool in = false;
    for (int64_t at = 0; at < text->length; at += mla_jinja_character(text, at)) {
        const uint32_t c = mla_jinja_code_point(text, at);
        const bool word = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
        if (c >= 0x80) mla_jinja_fail(&r->machine, "wordcount of letters beyond ASCII is not known here");
        words += word && !in;
        in = word;
    }
    return mla_jinja_int(words);
}

static jinja_value default_(jinja_run *r, jinja_value self, const jinja_value *given) {
    const bool also_false = mla_jinja_given_bool(r, given[1], false);
    const bool use = self.kind == JINJA_UNDEFINED || (also_false && !mla_jinja_truth(&r->machine, self));
    if (!use) return self;
    return given[0].kind == JINJA_ABSENT ? mla_jinja_string(&r->machine, "", 0, 0) : given[0];
}

/* ---- numbers ---- */

/* A text as Python reads numbers: white space around it, single _ between digits. False: it is none. */
static bool plain_number(jinja_run *r, const jinja_text *text, size_t size, char *out) {
    const jinja_text *stripped = mla_jinja_strip(&r->machine, text, NULL, true, true).text;
    size_t count = 0;
    for (int64_t i = 0; i < stripped->length; i++) {
        const char c = stripped->bytes[i], before = i ? stripped->bytes[i - 1] : '\0';
        const char after = i + 1 < stripped->length ? stripped->bytes[i + 1] : '\0';
        const bool between = before >= '0' && before <= '9' && after >= '0' && after <= '9';
        if (c == '_' && between) continue;
        if (!c || !strchr("0123456789+-.eEinfatyINFATY", c) || count + 1 >= size) return false;
        out[count++] = c;
    }
    out[count] = '\0';
    return count > 0;
}

static bool read_real(jinja_run *r, const jinja_text *text, double *out) {
    char digits[400], *end;
    if (!plain_number(r, text, sizeof digits, digits)) return false;
    *out = strtod(digits, &end);
    return !*end;
}

static jinja_value truncated(jinja_run *r, double x, jinja_value otherwise) {
    if (isnan(x)) return otherwise;
    if (isinf(x)) mla_jinja_fail(&r->machine, "cannot convert float infinity to integer");
    else if (fabs(x) >= 0x1p63) mla_jinja_fail(&r->machine, "%g is too large a number", x);
    return r->machine.status ? otherwise : mla_jinja_int((int64_t)x);
}

static jinja_value int_(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_value otherwise = given[0].kind == JINJA_ABSENT ? mla_jinja_int(0) : given[0];
    char digits[400], *end;
    double x;
    if (mla_jinja_given_int(r, given[1], 10) != 10)
        mla_jinja_fail(&r->machine, "int with another base is not known here");
    if (self.kind == JINJA_UNDEFINED) mla_jinja_fail(&r->machine, "%s", self.what);
    if (self.kind == JINJA_INT) return self;
    if (self.kind == JINJA_BOOL) return mla_jinja_int(self.truth);
    if (self.kind == JINJA_FLOAT) return truncated(r, self.real, otherwise);
    if (self.kind != JINJA_TEXT) return otherwise;
    if (plain_number(r, self.text, sizeof digits, digits)) {
        errno = 0;
        const long long value = strtoll(digits, &end, 10);
        if (!*end && errno) mla_jinja_fail(&r->machine, "%.40s is too large a number", digits);
        if (!*end) return mla_jinja_int(value);
    }
    return read_real(r, self.text, &x) ? truncated(r, x, otherwise) : otherwise;
}

static jinja_value float_(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_value otherwise = given[0].kind == JINJA_ABSENT ? mla_jinja_float(0) : given[0];
    double x;
    if (self.kind == JINJA_UNDEFINED) mla_jinja_fail(&r->machine, "%s", self.what);
    if (mla_jinja_is_number(self)) return mla_jinja_float(mla_jinja_real(self));
    return self.kind == JINJA_TEXT && read_real(r, self.text, &x) ? mla_jinja_float(x) : otherwise;
}

static void expect_number(jinja_run *r, jinja_value v, const char *what) {
    if (v.kind == JINJA_UNDEFINED) mla_jinja_fail(&r->machine, "%s", v.what);
    else if (!mla_jinja_is_number(v)) mla_jinja_fail(&r->machine, "%s of a '%s'", what, mla_jinja_type(v));
}

static jinja_value abs_(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    expect_number(r, self, "abs");
    if (r->machine.status) return self;
    if (self.kind == JINJA_FLOAT) return mla_jinja_float(fabs(self.real));
    const jinja_value zero = mla_jinja_int(0);
    return mla_jinja_arithmetic(r, mla_jinja_compare(&r->machine, self, zero) < 0 ? "-" : "+", zero, self);
}

static jinja_value round_(jinja_run *r, jinja_value self, const jinja_value *given) {
    char digits[400];
    const int64_t precision = mla_jinja_given_int(r, given[0], 0);
    const bool common = given[1].kind == JINJA_ABSENT || mla_jinja_is_text(given[1], "common");
    const bool up = mla_jinja_is_text(given[1], "ceil");
    expect_number(r, self, "round");
    if (!common && !up && !mla_jinja_is_text(given[1], "floor"))
        mla_jinja_fail(&r->machine, "method must be common, ceil or floor");
    if (precision < 0 || precision > 20)
        mla_jinja_fail(&r->machine, "round to %lld digits is not known here", (long long)precision);
    if (r->machine.status) return self;
    if (self.kind != JINJA_FLOAT && common) return mla_jinja_arithmetic(r, "+", mla_jinja_int(0), self);
    const double x = mla_jinja_real(self), scale = pow(10, (double)precision);
    if (!common) return mla_jinja_float((up ? ceil(x * scale) : floor(x * scale)) / scale);
    snprintf(digits, sizeof digits, "%.*f", (int)precision, x); /* exactly rounded, to even */
    return mla_jinja_float(strtod(digits, NULL));
}

/* ---- JSON ---- */

static jinja_value tojson(jinja_run *r, jinja_value self, const jinja_value *given) {
    const bool lines = given[1].kind != JINJA_ABSENT && given[1].kind != JINJA_NONE;
    const bool own = given[2].kind != JINJA_ABSENT && given[2].kind != JINJA_NONE;
    static const jinja_text comma = {.bytes = ", ", .length = 2}, bare = {.bytes = ",", .length = 1},
                            colon = {.bytes = ": ", .length = 2};
    jinja_builder spaces = {.machine = &r->machine}, b = {.machine = &r->machine};
    const bool by_text = given[1].kind == JINJA_TEXT;
    for (int64_t i = lines && !by_text ? mla_jinja_given_int(r, given[1], 0) : 0; i > 0 && !r->machine.status; i--)
        mla_jinja_put_string(&spaces, " ");
    const jinja_value indent_ = by_text ? given[1] : mla_jinja_built(&spaces);
    jinja_json_style style = {.ascii = mla_jinja_given_bool(r, given[0], false),
                              .sorted = mla_jinja_given_bool(r, given[3], false),
                              .indent = lines ? indent_.text : NULL,
                              .between = lines ? &bare : &comma,
                              .behind_key = &colon};
    const jinja_list *separators = own ? mla_jinja_iterate(&r->machine, given[2]) : NULL;
    if (separators && separators->count != 2) mla_jinja_fail(&r->machine, "separators are two texts");
    if (r->machine.status) return self;
    if (separators) {
        style.between = mla_jinja_given_text(r, separators->items[0]);
        style.behind_key = mla_jinja_given_text(r, separators->items[1]);
    }
    mla_jinja_put_json(&b, self, &style);
    return mla_jinja_built(&b);
}

const jinja_function mla_jinja_text_filters[] = {
    {"string", string, 0, {NULL}, NULL},
    {"trim", trim, 0, {"chars"}, NULL},
    {"upper", upper, 0, {NULL}, NULL},
    {"lower", lower, 0, {NULL}, NULL},
    {"capitalize", capitalize, 0, {NULL}, NULL},
    {"title", title, 0, {NULL}, NULL},
    {"replace", replace, 2, {"old", "new", "count"}, NULL},
    {"safe", safe, 0, {NULL}, NULL},
    {"escape", escape, 0, {NULL}, NULL},
    {"e", escape, 0, {NULL}, NULL},
    {"indent", indent, 0, {"width", "first", "blank"}, NULL},
    {"wordcount", wordcount, 0, {NULL}, NULL},
    {"default", default_, 0, {"default_value", "boolean"}, NULL},
    {"d", default_, 0, {"default_value", "boolean"}, NULL},
    {"int", int_, 0, {"default", "base"}, NULL},
    {"float", float_, 0, {"default"}, NULL},
    {"abs", abs_, 0, {NULL}, NULL},
    {"round", round_, 0, {"precision", "method"}, NULL},
    {"tojson", tojson, 0, {"ensure_ascii", "indent", "separators", "sort_keys"}, NULL},
    {.name = NULL},
};
