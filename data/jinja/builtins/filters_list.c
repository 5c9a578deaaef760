/* Filters of lists and dicts. */
#include "data/jinja/evaluate.h"
#include "data/jinja/string.h"

#include <string.h>

static jinja_value new_list(jinja_run *r, jinja_form form) { return mla_jinja_list(&r->machine, form, 0); }

static jinja_value list(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    jinja_value out = new_list(r, JINJA_A_LIST);
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    for (int64_t i = 0; from && i < from->count; i++) mla_jinja_append(&r->machine, out.list, from->items[i]);
    return out;
}

static jinja_value length(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    return mla_jinja_int(mla_jinja_length(&r->machine, self));
}

static jinja_value first(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    if (from && from->count) return from->items[0];
    return mla_jinja_undefined(&r->machine, "No first item, sequence was empty.");
}

static jinja_value last(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    if (self.kind == JINJA_LIST && self.list->form == JINJA_A_GENERATOR)
        mla_jinja_fail(&r->machine, "'generator' object is not reversible");
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    if (from && from->count) return from->items[from->count - 1];
    return mla_jinja_undefined(&r->machine, "No last item, sequence was empty.");
}

static jinja_value reverse(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    jinja_builder b = {.machine = &r->machine};
    jinja_value out = new_list(r, JINJA_A_GENERATOR);
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    for (int64_t i = from ? from->count - 1 : -1; i >= 0 && !r->machine.status; i--) {
        if (self.kind == JINJA_TEXT) mla_jinja_put_text(&b, from->items[i].text);
        else mla_jinja_append(&r->machine, out.list, from->items[i]);
    }
    return self.kind == JINJA_TEXT ? mla_jinja_built(&b) : out;
}

/* ---- attributes ---- */

jinja_value mla_jinja_path(jinja_run *r, jinja_value self, jinja_value path) {
    if (path.kind == JINJA_INT) return mla_jinja_item(r, self, path);
    const jinja_text *text = mla_jinja_given_text(r, path);
    const jinja_text dot = {.bytes = ".", .length = 1};
    for (int64_t at = 0, end; at <= text->length && !r->machine.status; at = end + 1) {
        end = mla_jinja_find(text, &dot, at);
        if (end < 0) end = text->length;
        const jinja_value part = mla_jinja_part(&r->machine, text, at, end);
        int64_t place = 0;
        bool digits = part.text->length > 0 && part.text->length < 10;
        for (int64_t i = 0; i < part.text->length && digits; i++) {
            digits = part.text->bytes[i] >= '0' && part.text->bytes[i] <= '9';
            place = 10 * place + part.text->bytes[i] - '0';
        }
        self = mla_jinja_item(r, self, digits ? mla_jinja_int(place) : part);
    }
    return self;
}

/* The item, or its attribute where one is named. */
static jinja_value aspect(jinja_run *r, jinja_value item, jinja_value attribute) {
    return attribute.kind == JINJA_ABSENT || attribute.kind == JINJA_NONE ? item : mla_jinja_path(r, item, attribute);
}

static jinja_value attr(jinja_run *r, jinja_value self, const jinja_value *given) {
    const char *name = mla_jinja_chars(&r->machine, mla_jinja_given_text(r, given[0]));
    if (self.kind == JINJA_DICT && !r->machine.status) { /* attributes alone, no keys */
        const jinja_value method = mla_jinja_method(r, self, name);
        return method.what ? method : mla_jinja_undefined(&r->machine, "'dict object' has no attribute '%.80s'", name);
    }
    return r->machine.status ? self : mla_jinja_attribute(r, self, name);
}

/* ---- map, select, reject ---- */

/* The arguments behind the first so many that have no name. */
static jinja_arguments behind(const jinja_arguments *given, int64_t count) {
    return (jinja_arguments){given->values + count, given->names ? given->names + count : NULL, given->count - count};
}

static const char *name_given(jinja_run *r, const jinja_arguments *given, int64_t i, const char *what) {
    if (given->count > i && !(given->names && given->names[i]))
        return mla_jinja_chars(&r->machine, mla_jinja_given_text(r, given->values[i]));
    mla_jinja_fail(&r->machine, "%s needs a name", what);
    return "";
}

static jinja_value map(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    jinja_value out = new_list(r, JINJA_A_GENERATOR), attribute = {0}, otherwise = {0};
    for (int64_t i = 0; given->names && i < given->count; i++) {
        if (given->names[i] && !strcmp(given->names[i], "attribute")) attribute = given->values[i];
        if (given->names[i] && !strcmp(given->names[i], "default")) otherwise = given->values[i];
    }
    if (!mla_jinja_truth(&r->machine, self)) return out; /* none, too */
    const bool by_attribute = attribute.kind != JINJA_ABSENT;
    const char *name = by_attribute ? "" : name_given(r, given, 0, "map");
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    const jinja_arguments rest = behind(given, by_attribute ? 0 : 1);
    for (int64_t i = 0; from && i < from->count && !r->machine.status; i++) {
        jinja_value item = from->items[i];
        item = by_attribute ? mla_jinja_path(r, item, attribute) : mla_jinja_filter(r, name, item, &rest);
        if (by_attribute && item.kind == JINJA_UNDEFINED && otherwise.kind != JINJA_ABSENT) item = otherwise;
        mla_jinja_append(&r->machine, out.list, item);
    }
    return out;
}

/* Of the items those whose aspect passes the test (or fails it); without a test: that are true. */
static jinja_value those(jinja_run *r, jinja_value self, const jinja_arguments *given, bool by_attribute, bool passes) {
    jinja_value out = new_list(r, JINJA_A_GENERATOR);
    const int64_t at = by_attribute;
    if (!mla_jinja_truth(&r->machine, self)) return out; /* none, too */
    if (by_attribute && !given->count) mla_jinja_fail(&r->machine, "the filter needs an attribute");
    const char *test = given->count > at ? name_given(r, given, at, "the filter") : NULL;
    const jinja_arguments rest = test ? behind(given, at + 1) : (jinja_arguments){0};
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    for (int64_t i = 0; from && i < from->count && !r->machine.status; i++) {
        const jinja_value item = by_attribute ? mla_jinja_path(r, from->items[i], given->values[0]) : from->items[i];
        const bool holds = test ? mla_jinja_test(r, test, item, &rest) : mla_jinja_truth(&r->machine, item);
        if (holds == passes) mla_jinja_append(&r->machine, out.list, from->items[i]);
    }
    return out;
}

static jinja_value select_(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    return those(r, self, given, false, true);
}
static jinja_value reject(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    return those(r, self, given, false, false);
}
static jinja_value selectattr(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    return those(r, self, given, true, true);
}
static jinja_value rejectattr(jinja_run *r, jinja_value self, const jinja_arguments *given) {
    return those(r, self, given, true, false);
}

/* ---- order ---- */

/* What an item is ordered by: without case, unless it counts. */
static jinja_value key_of(jinja_run *r, jinja_value item, jinja_value attribute, bool case_sensitive) {
    const jinja_value key = aspect(r, item, attribute);
    return key.kind == JINJA_TEXT && !case_sensitive ? mla_jinja_lower(r, key.text) : key;
}

/* Inserts item k of a list that is sorted up to there; equal ones stay in their order. */
static void insert_sorted(jinja_run *r, jinja_list *all, jinja_list *keys, int64_t k, bool reverse_) {
    const jinja_value item = all->items[k], key = keys->items[k];
    for (; k > 0 && mla_jinja_step(&r->machine, 1); k--) {
        const bool same = mla_jinja_equal(&r->machine, key, keys->items[k - 1]);
        const int order = same ? 0 : mla_jinja_compare(&r->machine, key, keys->items[k - 1]);
        if (reverse_ ? order <= 0 : order >= 0) break;
        all->items[k] = all->items[k - 1];
        keys->items[k] = keys->items[k - 1];
    }
    all->items[k] = item;
    keys->items[k] = key;
}

static jinja_value sorted(jinja_run *r, jinja_value self, jinja_value attribute, bool case_sensitive, bool reverse_) {
    jinja_value out = list(r, self, NULL), keys = new_list(r, JINJA_A_LIST);
    if (attribute.kind == JINJA_TEXT && memchr(attribute.text->bytes, ',', (size_t)attribute.text->length))
        mla_jinja_fail(&r->machine, "sort by more than one attribute is not known here");
    for (int64_t i = 0; !r->machine.status && i < out.list->count; i++)
        mla_jinja_append(&r->machine, keys.list, key_of(r, out.list->items[i], attribute, case_sensitive));
    for (int64_t i = 1; !r->machine.status && i < out.list->count; i++)
        insert_sorted(r, out.list, keys.list, i, reverse_);
    return out;
}

static jinja_value sort(jinja_run *r, jinja_value self, const jinja_value *given) {
    return sorted(r, self, given[2], mla_jinja_given_bool(r, given[1], false),
                  mla_jinja_given_bool(r, given[0], false));
}

static jinja_value items_of(jinja_run *r, jinja_value self) {
    static const jinja_arguments none = {0};
    if (self.kind == JINJA_UNDEFINED) return new_list(r, JINJA_A_LIST);
    if (self.kind != JINJA_DICT) mla_jinja_fail(&r->machine, "Can only get item pairs from a mapping.");
    return r->machine.status ? self : mla_jinja_call(r, mla_jinja_method(r, self, "items"), &none);
}

static jinja_value dictsort(jinja_run *r, jinja_value self, const jinja_value *given) {
    const bool by_key = given[1].kind == JINJA_ABSENT || mla_jinja_is_text(given[1], "key");
    if (!by_key && !mla_jinja_is_text(given[1], "value"))
        mla_jinja_fail(&r->machine, "You can only sort by either \"key\" or \"value\"");
    if (self.kind != JINJA_DICT) mla_jinja_fail(&r->machine, "dictsort of a '%s'", mla_jinja_type(self));
    return sorted(r, items_of(r, self), mla_jinja_int(by_key ? 0 : 1), mla_jinja_given_bool(r, given[0], false),
                  mla_jinja_given_bool(r, given[2], false));
}

static jinja_value items(jinja_run *r, jinja_value self, const jinja_value *given) {
    (void)given;
    jinja_value out = items_of(r, self);
    if (!r->machine.status) out.list->form = JINJA_A_GENERATOR;
    return out;
}

static jinja_value unique(jinja_run *r, jinja_value self, const jinja_value *given) {
    jinja_value out = new_list(r, JINJA_A_GENERATOR), seen = mla_jinja_dict(&r->machine);
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    for (int64_t i = 0; from && i < from->count && !r->machine.status; i++) {
        const jinja_value key = key_of(r, from->items[i], given[1], mla_jinja_given_bool(r, given[0], false));
        if (key.kind == JINJA_DICT || (key.kind == JINJA_LIST && key.list->form != JINJA_A_TUPLE))
            mla_jinja_fail(&r->machine, "unhashable type: '%s'", mla_jinja_type(key));
        if (mla_jinja_dict_get(&r->machine, seen.dict, key)) continue;
        mla_jinja_dict_set(&r->machine, seen.dict, key, mla_jinja_none());
        mla_jinja_append(&r->machine, out.list, from->items[i]);
    }
    return out;
}

static jinja_value extreme(jinja_run *r, jinja_value self, const jinja_value *given, int sign) {
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    const bool case_sensitive = mla_jinja_given_bool(r, given[0], false);
    int64_t best = 0;
    if (!from || !from->count) return mla_jinja_undefined(&r->machine, "No aggregated item, sequence was empty.");
    for (int64_t i = 1; i < from->count && !r->machine.status; i++) {
        const jinja_value a = key_of(r, from->items[i], given[1], case_sensitive),
                          b = key_of(r, from->items[best], given[1], case_sensitive);
        if (sign * mla_jinja_compare(&r->machine, a, b) > 0) best = i;
    }
    return from->items[best];
}

static jinja_value max(jinja_run *r, jinja_value self, const jinja_value *given) { return extreme(r, self, given, 1); }
static jinja_value min(jinja_run *r, jinja_value self, const jinja_value *given) { return extreme(r, self, given, -1); }

static jinja_value sum(jinja_run *r, jinja_value self, const jinja_value *given) {
    jinja_value total = given[1].kind == JINJA_ABSENT ? mla_jinja_int(0) : given[1];
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    if (total.kind == JINJA_TEXT) mla_jinja_fail(&r->machine, "sum() can't sum strings [use ''.join(seq) instead]");
    for (int64_t i = 0; from && i < from->count && !r->machine.status; i++)
        total = mla_jinja_arithmetic(r, "+", total, aspect(r, from->items[i], given[0]));
    return total;
}

static jinja_value join(jinja_run *r, jinja_value self, const jinja_value *given) {
    jinja_builder b = {.machine = &r->machine};
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    for (int64_t i = 0; from && i < from->count && !r->machine.status; i++) {
        if (i && given[0].kind != JINJA_ABSENT) mla_jinja_print(&b, given[0]);
        mla_jinja_print(&b, aspect(r, from->items[i], given[1]));
    }
    return mla_jinja_built(&b);
}

static jinja_value batch(jinja_run *r, jinja_value self, const jinja_value *given) {
    const int64_t size = mla_jinja_given_int(r, given[0], 1);
    jinja_value out = new_list(r, JINJA_A_GENERATOR), part = new_list(r, JINJA_A_LIST);
    const jinja_list *from = mla_jinja_iterate(&r->machine, self);
    for (int64_t i = 0; from && i < from->count && !r->machine.status; i++) {
        if (part.list->count == size) {
            mla_jinja_append(&r->machine, out.list, part);
            part = new_list(r, JINJA_A_LIST);
        }
        if (!r->machine.status) mla_jinja_append(&r->machine, part.list, from->items[i]);
    }
    while (!r->machine.status && given[1].kind > JINJA_NONE && part.list->count && part.list->count < size)
        mla_jinja_append(&r->machine, part.list, given[1]);
    if (!r->machine.status && part.list->count) mla_jinja_append(&r->machine, out.list, part);
    return out;
}

const jinja_function mla_jinja_list_filters[] = {
    {"list", list, 0, {NULL}, NULL},
    {"length", length, 0, {NULL}, NULL},
    {"count", length, 0, {NULL}, NULL},
    {"first", first, 0, {NULL}, NULL},
    {"last", last, 0, {NULL}, NULL},
    {"reverse", reverse, 0, {NULL}, NULL},
    {"attr", attr, 1, {"name"}, NULL},
    {"map", .call_any = map},
    {"select", .call_any = select_},
    {"reject", .call_any = reject},
    {"selectattr", .call_any = selectattr},
    {"rejectattr", .call_any = rejectattr},
    {"sort", sort, 0, {"reverse", "case_sensitive", "attribute"}, NULL},
    {"dictsort", dictsort, 0, {"case_sensitive", "by", "reverse"}, NULL},
    {"items", items, 0, {NULL}, NULL},
    {"unique", unique, 0, {"case_sensitive", "attribute"}, NULL},
    {"max", max, 0, {"case_sensitive", "attribute"}, NULL},
    {"min", min, 0, {"case_sensitive", "attribute"}, NULL},
    {"sum", sum, 0, {"attribute", "start"}, NULL},
    {"join", join, 0, {"d", "attribute"}, NULL},
    {"batch", batch, 1, {"linecount", "fill_with"}, NULL},
    {.name = NULL},
};
