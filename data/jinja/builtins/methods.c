/* Methods of dicts and lists; which methods there are. Those that change their value are refused, as in jinja2's
 * ImmutableSandboxedEnvironment. */
#include "data/jinja/evaluate.h"

#include <string.h>

static jinja_value pair(jinja_run *r, jinja_value key, jinja_value value) {
    jinja_value tuple = mla_jinja_list(&r->machine, JINJA_A_TUPLE, 2);
    if (r->machine.status) return tuple;
    mla_jinja_append(&r->machine, tuple.list, key);
    mla_jinja_append(&r->machine, tuple.list, value);
    return tuple;
}

static jinja_value items(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    jinja_value view = mla_jinja_list(&r->machine, JINJA_A_VIEW, self.dict->count);
    for (int64_t i = 0; i < self.dict->count && !r->machine.status; i++)
        mla_jinja_append(&r->machine, view.list, pair(r, self.dict->keys[i], self.dict->values[i]));
    return view;
}

static jinja_value view_of(jinja_run *r, const jinja_value *values, int64_t count) {
    jinja_value view = mla_jinja_list(&r->machine, JINJA_A_VIEW, count);
    for (int64_t i = 0; i < count && !r->machine.status; i++) mla_jinja_append(&r->machine, view.list, values[i]);
    return view;
}

static jinja_value keys(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    return view_of(r, self.dict->keys, self.dict->count);
}

static jinja_value values(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    return view_of(r, self.dict->values, self.dict->count);
}

static jinja_value get(jinja_run *r, jinja_value self, const jinja_value *given) {
    const jinja_value *found = mla_jinja_dict_get(&r->machine, self.dict, given[0]);
    if (given[0].kind == JINJA_DICT || (given[0].kind == JINJA_LIST && given[0].list->form != JINJA_A_TUPLE))
        mla_jinja_fail(&r->machine, "unhashable type: '%s'", mla_jinja_type(given[0]));
    return found ? *found : given[1].kind == JINJA_ABSENT ? mla_jinja_none() : given[1];
}

static jinja_value copy(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)r;
    (void)given;
    return self; /* nothing changes it */
}

static jinja_value count(jinja_run *r, jinja_value self, const jinja_value *given) {
    int64_t found = 0;
    for (int64_t i = 0; i < self.list->count; i++) found += mla_jinja_equal(&r->machine, self.list->items[i], given[0]);
    return mla_jinja_int(found);
}

static jinja_value index_of(jinja_run *r, jinja_value self, const jinja_value *given) {
    for (int64_t i = 0; i < self.list->count; i++)
        if (mla_jinja_equal(&r->machine, self.list->items[i], given[0])) return mla_jinja_int(i);
    mla_jinja_fail(&r->machine, "the item is not in list");
    return self;
}

static const jinja_function dict_methods[] = {
    {"items", items, 0, {NULL}, NULL},   {"keys", keys, 0, {NULL}, NULL},
    {"values", values, 0, {NULL}, NULL}, {"get", get, 1, {"(key)", "(default)"}, NULL},
    {"copy", copy, 0, {NULL}, NULL},     {.name = NULL},
};
static const jinja_function list_methods[] = {
    {"count", count, 1, {"(value)"}, NULL},
    {"index", index_of, 1, {"(value)"}, NULL},
    {"copy", copy, 0, {NULL}, NULL},
    {.name = NULL},
};

static const char *const changes_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
static const char *const changes_list[] = {"append", "clear",   "extend", "insert", "pop",
                                           "remove", "reverse", "sort",   NULL};
/* That Python has and we do not. */
static const char *const others_of_text[] = {"casefold", "center",    "encode",       "expandtabs", "format_map",
                                             "isascii",  "isdecimal", "isidentifier", "isnumeric",  "isprintable",
                                             "istitle",  "ljust",     "maketrans",    "rindex",     "rjust",
                                             "swapcase", "translate", "zfill",        NULL};
static const char *const others_of_dict[] = {"fromkeys", NULL};
static const char *const others_of_number[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "fromhex", "hex", "imag",
    "is_integer",       "numerator", "real",       "to_bytes",  NULL};

static bool is_in(const char *const *names, const char *name) {
    for (; *names; names++)
        if (!strcmp(*names, name)) return true;
    return false;
}

/* Names of a kind of value: methods we have, those that Python's sandbox refuses, and those that we have not. */
typedef struct {
    const jinja_function *methods;
    const char *const *changes, *const *others;
} methods_t;

static const methods_t *methods_of(jinja_value v) {
    static const char *const no_names[] = {NULL};
    static const jinja_function no_methods[] = {{.name = NULL}};
    static const methods_t text = {mla_jinja_text_methods, no_names, others_of_text},
                           list = {list_methods, changes_list, no_names},
                           mapping = {dict_methods, changes_dict, others_of_dict},
                           number = {no_methods, no_names, others_of_number};
    if (v.kind == JINJA_TEXT) return &text;
    if (v.kind == JINJA_LIST && v.list->form <= JINJA_A_TUPLE) return &list;
    if (v.kind == JINJA_DICT) return &mapping;
    return mla_jinja_is_number(v) ? &number : NULL;
}

jinja_value mla_jinja_method(jinja_run *r, jinja_value self, const char *name) {
    const methods_t *of = methods_of(self);
    const jinja_value none = {.kind = JINJA_UNDEFINED, .what = NULL};
    if (!of) return none;
    if (is_in(of->others, name)) mla_jinja_fail(&r->machine, "%s.%s is not known here", mla_jinja_type(self), name);
    if (is_in(of->changes, name) && (self.kind != JINJA_LIST || self.list->form == JINJA_A_LIST))
        return mla_jinja_undefined(&r->machine, "access to attribute '%s' of '%s' object is unsafe", name,
                                   mla_jinja_type(self));
    const jinja_function *method = mla_jinja_function(of->methods, name);
    jinja_bound *bound = method ? mla_jinja_alloc(&r->machine, 1, sizeof *bound) : NULL;
    if (!bound) return none;
    *bound = (jinja_bound){self, method};
    return (jinja_value){.kind = JINJA_BOUND, .bound = bound};
}
