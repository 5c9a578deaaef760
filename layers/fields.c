#include "layers/fields.h"
#include "layers/nearest.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEY = 128, MAX_WORDS = 512 };

static const mla_field *at(const mla_field_table *table, int i) { return &table->fields[i]; }
static void *member_of(const mla_field *field, void *object) { return (char *)object + field->offset; }

/* ---- lists */

mla_status mla_list_append(mla_context *context, mla_list *list, const char *text) {
    mla_status status =
        mla_grow(context, &list->items, &list->capacity, list->count + 1, sizeof *list->items, "a list");
    if (status) return status;
    char *copy = strdup(text);
    if (!copy) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for a list");
    list->items[list->count++] = copy;
    return MLA_OK;
}

void mla_list_free(mla_list *list) {
    for (int64_t i = 0; i < list->count; i++) free(list->items[i]);
    free(list->items);
    *list = (mla_list){0};
}

/* ---- defaults */

static mla_status set_string(mla_context *context, char **member, const char *text) {
    char *copy = strdup(text);
    if (!copy) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for a string");
    free(*member);
    *member = copy;
    return MLA_OK;
}

/* The name of a choice, with which it begins. */
static const char *kind_name(const void *kind) { return *(const char *const *)kind; }

static mla_status set_default(mla_context *context, const mla_field *field, void *member) {
    switch (field->type) {
    case MLA_FIELD_INT:
        *(int64_t *)member = (int64_t)field->standard;
        break;
    case MLA_FIELD_FLOAT:
        *(double *)member = field->standard;
        break;
    case MLA_FIELD_BOOL:
        *(bool *)member = field->standard != 0;
        break;
    case MLA_FIELD_ENUM:
        *(unsigned *)member = (unsigned)field->standard;
        break;
    case MLA_FIELD_KIND:
        *(const void **)member = field->kinds[0];
        break;
    case MLA_FIELD_STRING:
        *(char **)member = NULL;
        if (field->text) return set_string(context, member, field->text);
        break;
    case MLA_FIELD_LIST:
        *(mla_list *)member = (mla_list){0};
        break;
    case MLA_FIELD_INTS: /* none */
        break;
    case MLA_FIELD_GROUP:
        return mla_fields_default(context, field->group, member);
    }
    return MLA_OK;
}

mla_status mla_fields_default(mla_context *context, const mla_field_table *table, void *object) {
    mla_status status = MLA_OK;
    memset(object, 0, table->size);
    for (int i = 0; i < table->count && !status; i++)
        status = set_default(context, at(table, i), member_of(at(table, i), object));
    return status;
}

void mla_fields_free(const mla_field_table *table, void *object) {
    for (int i = 0; i < table->count; i++) {
        void *member = member_of(at(table, i), object);
        if (at(table, i)->type == MLA_FIELD_STRING) free(*(char **)member);
        if (at(table, i)->type == MLA_FIELD_LIST) mla_list_free(member);
        if (at(table, i)->type == MLA_FIELD_GROUP) mla_fields_free(at(table, i)->group, member);
    }
    memset(object, 0, table->size);
}

/* ---- keys */

static bool is_key(const mla_field *field, const char *key, size_t length) {
    return (strlen(field->key) == length && !strncmp(field->key, key, length)) ||
           (field->alias && strlen(field->alias) == length && !strncmp(field->alias, key, length));
}

const mla_field *mla_fields_find(const mla_field_table *table, void *object, const char *key, void **member) {
    const size_t length = strcspn(key, ".");
    for (int i = 0; i < table->count; i++) {
        const mla_field *field = at(table, i);
        if (!is_key(field, key, length)) continue;
        *member = member_of(field, object);
        if (!key[length]) return field;
        return field->type == MLA_FIELD_GROUP
                   ? mla_fields_find(field->group, *member, key + length + 1, member)
                   : NULL;
    }
    return NULL;
}

/* The last part of a dotted key; *prefix is the length of what stands before it, dot included. */
static const char *last_part(const char *key, size_t *prefix) {
    const char *dot = strrchr(key, '.');
    *prefix = dot ? (size_t)(dot + 1 - key) : 0;
    return key + *prefix;
}

typedef struct {
    const char *word; /* the dotted key that nobody knows */
    char best[MAX_KEY];
    int distance;
} search;

/* A key of the same group is nearer by one than the same key elsewhere. */
static void offer(search *s, const char *candidate) {
    size_t prefix, word_prefix;
    const char *last = last_part(candidate, &prefix), *word = last_part(s->word, &word_prefix);
    int distance = mla_word_slip(word, last);
    if (distance < 0) return;
    distance += prefix != word_prefix || strncmp(candidate, s->word, prefix);
    if (s->best[0] && s->distance <= distance) return;
    snprintf(s->best, sizeof s->best, "%s", candidate);
    s->distance = distance;
}

static void offer_all(search *s, const char *prefix, const mla_field_table *table) {
    for (int i = 0; i < table->count; i++) {
        char key[MAX_KEY];
        snprintf(key, sizeof key, "%s%s", prefix, at(table, i)->key);
        offer(s, key);
        if (at(table, i)->type != MLA_FIELD_GROUP) continue;
        snprintf(key, sizeof key, "%s%s.", prefix, at(table, i)->key);
        offer_all(s, key, at(table, i)->group);
    }
}

/* The table that holds the key's siblings: that of its group, or the whole where the group is unknown too. */
static const mla_field_table *siblings(const mla_field_table *table, const char *key) {
    const char *dot = strchr(key, '.');
    for (int i = 0; dot && i < table->count; i++)
        if (at(table, i)->group && is_key(at(table, i), key, (size_t)(dot - key)))
            return siblings(at(table, i)->group, dot + 1);
    return table;
}

static void join_keys(const mla_field_table *table, size_t size, char *out) {
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < table->count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", at(table, i)->key);
}

mla_status mla_fields_unknown(mla_context *context, const char *where, const mla_field_table *table,
                              const char *key) {
    search s = {.word = key};
    offer_all(&s, "", table);
    if (s.best[0])
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%sunknown key \"%s\"; did you mean \"%s\"?", where, key,
                        s.best);
    char keys[1024];
    join_keys(siblings(table, key), sizeof keys, keys);
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%sunknown key \"%s\"; known here are: %s", where, key,
                    keys);
}

/* ---- values */

void mla_field_expects(const mla_field *field, size_t size, char *out) {
    static const char *const words[] = {[MLA_FIELD_INT] = "a whole number",
                                        [MLA_FIELD_FLOAT] = "a number",
                                        [MLA_FIELD_BOOL] = "true or false",
                                        [MLA_FIELD_ENUM] = "one of",
                                        [MLA_FIELD_KIND] = "one of",
                                        [MLA_FIELD_STRING] = "text",
                                        [MLA_FIELD_LIST] = "text or a list",
                                        [MLA_FIELD_INTS] = "whole numbers with commas between",
                                        [MLA_FIELD_GROUP] = "a group of keys"};
    size_t used = (size_t)snprintf(out, size, "%s", words[field->type]);
    const bool is_enum = field->type == MLA_FIELD_ENUM;
    if (!is_enum && field->type != MLA_FIELD_KIND) return;
    for (int i = 0; (is_enum ? (const void *)field->names[i] : field->kinds[i]) && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s %s", i ? "," : "",
                                 is_enum ? field->names[i] : kind_name(field->kinds[i]));
}

static mla_status wrong_type(mla_context *context, const char *where, const char *key, const mla_field *field,
                             const char *text) {
    char expected[MAX_WORDS];
    mla_field_expects(field, sizeof expected, expected);
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%s%s: expected %s, got \"%s\" (%s)", where, key, expected,
                    text, field->help);
}

static bool unbounded(const mla_field *field) { return field->min == 0 && field->max == 0; }

static mla_status check_bounds(mla_context *context, const char *where, const char *key,
                               const mla_field *field, double value) {
    if (!isfinite(value))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s%s: %g is not a finite number (%s)", where, key,
                        value, field->help);
    if (unbounded(field) || (value >= field->min && value <= field->max)) return MLA_OK;
    const bool small = value < field->min;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%s%s: %.15g is too %s, it must be at %s %.15g (%s)", where,
                    key, value, small ? "small" : "large", small ? "least" : "most",
                    small ? field->min : field->max, field->help);
}

static bool parse_int(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && !*end && !errno;
}

static bool parse_float(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end;
}

static bool parse_bool(const char *text, bool *out) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < 6; i++)
        if (!strcmp(text, words[i])) {
            *out = i % 2;
            return true;
        }
    return false;
}

static bool parse_name(const mla_field *field, const char *text, unsigned *out) {
    for (unsigned i = 0; field->names[i]; i++)
        if (!strcmp(text, field->names[i])) {
            *out = i;
            return true;
        }
    return false;
}

static bool parse_kind(const mla_field *field, const char *text, const void **out) {
    for (int i = 0; field->kinds[i]; i++)
        if (!strcmp(text, kind_name(field->kinds[i]))) {
            *out = field->kinds[i];
            return true;
        }
    return false;
}

static mla_status set_number(mla_context *context, const char *where, const char *key, const mla_field *field,
                             void *member, const char *text) {
    int64_t whole = 0;
    double value = 0;
    const bool is_int = field->type == MLA_FIELD_INT;
    if (!(is_int ? parse_int(text, &whole) : parse_float(text, &value)))
        return wrong_type(context, where, key, field, text);
    mla_status status = check_bounds(context, where, key, field, is_int ? (double)whole : value);
    if (status) return status;
    if (is_int)
        *(int64_t *)member = whole;
    else
        *(double *)member = value;
    return MLA_OK;
}

static mla_status set_ints(mla_context *context, const char *where, const char *key, const mla_field *field,
                           mla_ints *out, const char *text) {
    mla_ints all = {0};
    const char *next = text;
    for (char *end; *next; next = *end && end[1] ? end + 1 : end) {
        errno = 0;
        const int64_t value = strtoll(next, &end, 10);
        if (end == next || errno || (*end && (*end != ',' || !end[1])) || all.count == MLA_MOST_INTS)
            return wrong_type(context, where, key, field, text);
        const mla_status status = check_bounds(context, where, key, field, (double)value);
        if (status) return status;
        all.items[all.count++] = value;
    }
    *out = all;
    return MLA_OK;
}

static mla_status set_member(mla_context *context, const char *where, const char *key, const mla_field *field,
                             void *member, const char *text) {
    switch (field->type) {
    case MLA_FIELD_INT:
    case MLA_FIELD_FLOAT:
        return set_number(context, where, key, field, member, text);
    case MLA_FIELD_BOOL:
        return parse_bool(text, member) ? MLA_OK : wrong_type(context, where, key, field, text);
    case MLA_FIELD_ENUM:
        return parse_name(field, text, member) ? MLA_OK : wrong_type(context, where, key, field, text);
    case MLA_FIELD_KIND:
        return parse_kind(field, text, member) ? MLA_OK : wrong_type(context, where, key, field, text);
    case MLA_FIELD_STRING:
        return set_string(context, member, text);
    case MLA_FIELD_LIST:
        mla_list_free(member);
        return *text ? mla_list_append(context, member, text) : MLA_OK;
    case MLA_FIELD_INTS:
        return set_ints(context, where, key, field, member, text);
    case MLA_FIELD_GROUP:
        break;
    }
    return wrong_type(context, where, key, field, text);
}

mla_status mla_fields_set(mla_context *context, const char *where, const mla_field_table *table, void *object,
                          const char *key, const char *text) {
    void *member;
    const mla_field *field = mla_fields_find(table, object, key, &member);
    if (!field) return mla_fields_unknown(context, where, table, key);
    return set_member(context, where, key, field, member, text);
}

static mla_status check_ints(mla_context *context, const char *where, const char *key, const mla_field *field,
                             const mla_ints *ints) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < ints->count && !status; i++)
        status = check_bounds(context, where, key, field, (double)ints->items[i]);
    return status;
}

static mla_status check_member(mla_context *context, const char *where, const char *key,
                               const mla_field *field, const void *member) {
    double value;
    switch (field->type) {
    case MLA_FIELD_INT:
        value = (double)*(const int64_t *)member;
        break;
    case MLA_FIELD_FLOAT:
        value = *(const double *)member;
        break;
    case MLA_FIELD_INTS:
        return check_ints(context, where, key, field, member);
    default:
        return MLA_OK;
    }
    return check_bounds(context, where, key, field, value);
}

static mla_status check_group(mla_context *context, const char *where, const char *prefix,
                              const mla_field_table *table, const void *object) {
    mla_status status = MLA_OK;
    for (int i = 0; i < table->count && !status; i++) {
        const mla_field *field = at(table, i);
        const void *member = (const char *)object + field->offset;
        char key[MAX_KEY];
        const bool group = field->type == MLA_FIELD_GROUP;
        snprintf(key, sizeof key, "%s%s%s", prefix, field->key, group ? "." : "");
        status = group ? check_group(context, where, key, field->group, member)
                       : check_member(context, where, key, field, member);
    }
    return status;
}

mla_status mla_fields_check(mla_context *context, const char *where, const mla_field_table *table,
                            const void *object) {
    return check_group(context, where, "", table, object);
}

void mla_float_text(double value, size_t size, char *out) {
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(out, size, "%.*g", digits, value);
        if (strtod(out, NULL) == value) return;
    }
}

static void format_ints(const mla_ints *ints, size_t size, char *out) {
    size_t used = 0;
    out[0] = '\0';
    for (int64_t i = 0; i < ints->count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%lld", i ? "," : "", (long long)ints->items[i]);
}

char *mla_field_format(mla_context *context, const mla_field *field, const void *member) {
    char number[MLA_MOST_INTS * 21] = "";
    const char *text = number;
    switch (field->type) {
    case MLA_FIELD_INT:
        snprintf(number, sizeof number, "%lld", (long long)*(const int64_t *)member);
        break;
    case MLA_FIELD_FLOAT:
        mla_float_text(*(const double *)member, sizeof number, number);
        break;
    case MLA_FIELD_INTS:
        format_ints(member, sizeof number, number);
        break;
    case MLA_FIELD_BOOL:
        text = *(const bool *)member ? "true" : "false";
        break;
    case MLA_FIELD_ENUM:
        text = field->names[*(const unsigned *)member];
        break;
    case MLA_FIELD_KIND:
        text = kind_name(*(const void *const *)member);
        break;
    case MLA_FIELD_STRING:
        text = *(char *const *)member;
        break;
    default:
        break;
    }
    char *copy = strdup(text);
    if (!copy) mla_fail(context, MLA_ERROR_MEMORY, "no memory for the text of %s", field->key);
    return copy;
}
