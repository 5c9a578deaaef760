#include "data/jinja/evaluate.h"
#include "data/jinja/string.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LONGEST_RANGE = 100000 }; /* of jinja2's sandbox */

/* ---- arguments ---- */

const jinja_function *mla_jinja_function(const jinja_function *table, const char *name) {
    for (; table->name; table++)
        if (!strcmp(table->name, name)) return table;
    return NULL;
}

static int place_of(const jinja_function *f, const char *name, int64_t k) {
    if (!name) return k < JINJA_MOST_ARGUMENTS && f->names[k] ? (int)k : -1;
    for (int i = 0; i < JINJA_MOST_ARGUMENTS && f->names[i]; i++)
        if (!strcmp(f->names[i], name)) return i;
    return -1;
}

jinja_value mla_jinja_apply(jinja_run *r, const jinja_function *f, jinja_value self, const jinja_arguments *given) {
    jinja_value values[JINJA_MOST_ARGUMENTS] = {{.kind = JINJA_ABSENT}};
    if (f->call_any) return f->call_any(r, self, given);
    for (int64_t k = 0; k < given->count; k++) {
        const char *name = given->names ? given->names[k] : NULL;
        const int i = place_of(f, name, k);
        if (i < 0 && name) mla_jinja_fail(&r->machine, "%s has no argument '%s' here", f->name, name);
        else if (i < 0)
            mla_jinja_fail(&r->machine, "%s takes fewer arguments than %lld", f->name, (long long)given->count);
        else if (values[i].kind != JINJA_ABSENT)
            mla_jinja_fail(&r->machine, "%s gets '%s' twice", f->name, f->names[i]);
        else values[i] = given->values[k];
    }
    for (int i = 0; i < f->needed; i++)
        if (values[i].kind == JINJA_ABSENT)
            mla_jinja_fail(&r->machine, "%s needs its argument %s", f->name, f->names[i]);
    return r->machine.status ? self : f->call(r, self, values);
}

jinja_value mla_jinja_call(jinja_run *r, jinja_value callee, const jinja_arguments *given) {
    if (callee.kind == JINJA_MACRO) return mla_jinja_call_macro(r, callee.macro, given);
    if (callee.kind == JINJA_FUNCTION) return mla_jinja_apply(r, callee.function, mla_jinja_none(), given);
    if (callee.kind == JINJA_BOUND) return mla_jinja_apply(r, callee.bound->method, callee.bound->self, given);
    if (callee.kind == JINJA_UNDEFINED) mla_jinja_fail(&r->machine, "%s", callee.what);
    mla_jinja_fail(&r->machine, "'%s' object is not callable", mla_jinja_type(callee));
    return callee;
}

int64_t mla_jinja_given_int(jinja_run *r, jinja_value v, int64_t otherwise) {
    if (v.kind == JINJA_ABSENT) return otherwise;
    if (v.kind == JINJA_BOOL) return v.truth;
    if (v.kind == JINJA_INT) return v.integer;
    mla_jinja_fail(&r->machine, "a whole number is expected, not '%s'", mla_jinja_type(v));
    return otherwise;
}

bool mla_jinja_given_bool(jinja_run *r, jinja_value v, bool otherwise) {
    return v.kind == JINJA_ABSENT ? otherwise : mla_jinja_truth(&r->machine, v);
}

const jinja_text *mla_jinja_given_text(jinja_run *r, jinja_value v) {
    static const jinja_text empty = {.bytes = ""};
    if (v.kind == JINJA_TEXT) return v.text;
    mla_jinja_fail(&r->machine, "a text is expected, not '%s'", mla_jinja_type(v));
    return &empty;
}

/* ---- functions of templates ---- */

static jinja_value range(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)self;
    const bool one = given[1].kind == JINJA_ABSENT;
    const int64_t first = mla_jinja_given_int(r, given[0], 0), begin = one ? 0 : first;
    const int64_t end = one ? first : mla_jinja_given_int(r, given[1], 0), step = mla_jinja_given_int(r, given[2], 1);
    jinja_value list = mla_jinja_list(&r->machine, JINJA_A_RANGE, 0);
    if (!step) mla_jinja_fail(&r->machine, "range() arg 3 must not be zero");
    for (int64_t i = begin; !r->machine.status && (step > 0 ? i < end : i > end);) {
        mla_jinja_append(&r->machine, list.list, mla_jinja_int(i));
        if (list.list->count > LONGEST_RANGE)
            mla_jinja_fail(&r->machine, "a range has more than %d numbers", LONGEST_RANGE);
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return list;
}

static jinja_value dict_of_arguments(jinja_run *r, const char *what, const jinja_arguments *given) {
    jinja_value dict = mla_jinja_dict(&r->machine);
    for (int64_t i = 0; i < given->count && !r->machine.status; i++) {
        const char *name = given->names ? given->names[i] : NULL;
        const jinja_value *from = &given->values[i];
        if (!name && from->kind == JINJA_DICT)
            for (int64_t k = 0; k < from->dict->count; k++)
                mla_jinja_dict_set(&r->machine, dict.dict, from->dict->keys[k], from->dict->values[k]);
        else if (!name) mla_jinja_fail(&r->machine, "%s of a '%s' is not known here", what, mla_jinja_type(*from));
        else
            mla_jinja_dict_set(&r->machine, dict.dict, mla_jinja_string(&r->machine, name, (int64_t)strlen(name), 0),
                               *from);
    }
    return dict;
}

static jinja_value namespace_(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    (void)self;
    jinja_value dict = dict_of_arguments(r, "namespace", given);
    for (int64_t i = 0; !r->machine.status && i < dict.dict->count; i++)
        if (dict.dict->keys[i].kind == JINJA_TEXT && dict.dict->keys[i].text->bytes[0] == '_')
            mla_jinja_fail(&r->machine, "a namespace has no underscore-prefixed attributes");
    if (!r->machine.status) dict.kind = JINJA_NAMESPACE;
    return dict;
}

static jinja_value dict(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    (void)self;
    return dict_of_arguments(r, "dict", given);
}

static jinja_value raise_exception(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_value text = mla_jinja_str(&r->machine, given[0]);
    mla_jinja_fail(&r->machine, "the template refuses it: %s", mla_jinja_chars(&r->machine, text.text));
    return self;
}

static jinja_value strftime_now(jinja_run *r, jinja_value self, const jinja_value *given) {
    struct tm date = {0};
    char text[256];
    const char *format = mla_jinja_chars(&r->machine, mla_jinja_given_text(r, given[0]));
    if (!r->machine.date)
        mla_jinja_fail(&r->machine, "asks for today's date, which would give other tokens tomorrow: state one, by "
                                    "data.date or --date, as 2024-07-26");
    else if (!strptime(r->machine.date, "%Y-%m-%d", &date))
        mla_jinja_fail(&r->machine, "'%.40s' is no date: write one as 2024-07-26", r->machine.date);
    if (r->machine.status) return self;
    const size_t length = strftime(text, sizeof text, format, &date);
    if (!length && *format) mla_jinja_fail(&r->machine, "strftime_now('%.40s') gives no text here", format);
    return mla_jinja_string(&r->machine, text, (int64_t)length, MLA_JINJA_TEMPLATE);
}

static jinja_value not_here(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    (void)given;
    mla_jinja_fail(&r->machine, "joiner, cycler and lipsum are not known here");
    return self;
}

const jinja_function *mla_jinja_global(const char *name) {
    static const jinja_function globals[] = {
        {"range", range, 1, {"(start)", "(stop)", "(step)"}, NULL},
        {"namespace", .call_any = namespace_},
        {"dict", .call_any = dict},
        {"raise_exception", raise_exception, 1, {"message"}, NULL},
        {"strftime_now", strftime_now, 1, {"format"}, NULL},
        {"joiner", .call_any = not_here},
        {"cycler", .call_any = not_here},
        {"lipsum", .call_any = not_here},
        {.name = NULL},
    };
    return mla_jinja_function(globals, name);
}

/* ---- filters ---- */

jinja_value mla_jinja_filter(jinja_run *r, const char *name, jinja_value self, const jinja_arguments *given) {
    const jinja_function *f = mla_jinja_function(mla_jinja_list_filters, name);
    if (!f) f = mla_jinja_function(mla_jinja_text_filters, name);
    if (f) return mla_jinja_apply(r, f, self, given);
    mla_jinja_fail(&r->machine, "the filter '%.80s' is not known here", name);
    return self;
}
