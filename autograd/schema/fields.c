#include "autograd/schema/fields.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_KEY = 128, MAX_WORDS = 512, MAX_NUMBER = 64 };

static const mla_field *at(const mla_field_table *table, int i) { return &table->fields[i]; }
static void *member_of(const mla_field *field, void *object) { return (char *)object + field->offset; }

/* ---- lists */

static mla_status fields_append(mla_context *context, mla_list *list, const char *text, size_t length) {
    mla_status status = mla_grow(context, &list->items, &list->capacity, list->count + 1, sizeof *list->items,
                                 "a list");
    if (status) return status;
    char *copy = strndup(text, length);
    if (!copy) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for a list");
    list->items[list->count++] = copy;
    return MLA_OK;
}

mla_status mla_list_append(mla_context *context, mla_list *list, const char *text) {
    return fields_append(context, list, text, strlen(text));
}

void mla_list_free(mla_list *list) {
    for (int64_t i = 0; i < list->count; i++) free(list->items[i]);
    free(list->items);
    *list = (mla_list){0};
}

static void free_member(const mla_field *field, void *member) {
    if (field->type == MLA_FIELD_STRING) free(*(char **)member);
    if (field->type == MLA_FIELD_LIST || field->type == MLA_FIELD_WORDS) mla_list_free(member);
    if (field->type == MLA_FIELD_GROUP) mla_fields_free(field->group, member);
}

void mla_fields_free(const mla_field_table *table, void *object) {
    for (int i = 0; i < table->count; i++) free_member(at(table, i), member_of(at(table, i), object));
    memset(object, 0, table->size);
}

/* ---- values */

/* The name with which a choice begins. */
static const char *kind_name(const void *kind) { return *(const char *const *)kind; }

void mla_field_expects(const mla_field *field, size_t size, char *out) {
    static const char *const words[] = {[MLA_FIELD_INT] = "a whole number",
                                        [MLA_FIELD_FLOAT] = "a number",
                                        [MLA_FIELD_BOOL] = "true or false",
                                        [MLA_FIELD_ENUM] = "one of",
                                        [MLA_FIELD_KIND] = "one of",
                                        [MLA_FIELD_STRING] = "text",
                                        [MLA_FIELD_LIST] = "text or a list",
                                        [MLA_FIELD_WORDS] = "words with commas between",
                                        [MLA_FIELD_INTS] = "whole numbers with commas between",
                                        [MLA_FIELD_FLOATS] = "numbers with commas between",
                                        [MLA_FIELD_GROUP] = "a group of keys"};
    size_t used = (size_t)snprintf(out, size, "%s", words[field->type]);
    const bool is_enum = field->type == MLA_FIELD_ENUM;
    if (!is_enum && field->type != MLA_FIELD_KIND) return;
    for (int i = 0; (is_enum ? (const void *)field->names[i] : field->kinds[i]) && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s %s", i ? "," : "",
                                 is_enum ? field->names[i] : kind_name(field->kinds[i]));
}

mla_status mla_field_wrong_kind(mla_context *context, const char *where, const char *key, const mla_field *field,
                                const char *got) {
    char expected[MAX_WORDS];
    mla_field_expects(field, sizeof expected, expected);
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%s%s: expected %s, got %s (%s)", where, key, expected, got,
                    field->help);
}

/* What a message about a value names. */
typedef struct {
    mla_context *context;
    const char *where, *key;
    const mla_field *field;
} subject;

static mla_status wrong_text(const subject *s, const char *text) {
    char expected[MAX_WORDS];
    mla_field_expects(s->field, sizeof expected, expected);
    return mla_fail(s->context, MLA_ERROR_ARGUMENT, "%s%s: expected %s, got \"%s\" (%s)", s->where, s->key, expected,
                    text, s->field->help);
}

static bool unbounded(const mla_field *field) { return field->min == 0 && field->max == 0; }

static mla_status check_bounds(const subject *s, double value) {
    const mla_field *field = s->field;
    if (!isfinite(value))
        return mla_fail(s->context, MLA_ERROR_ARGUMENT, "%s%s: %g is not a finite number (%s)", s->where, s->key, value,
                        field->help);
    if (unbounded(field) || (value >= field->min && value <= field->max)) return MLA_OK;
    const bool small = value < field->min;
    return mla_fail(s->context, MLA_ERROR_ARGUMENT, "%s%s: %.15g is too %s, it must be at %s %.15g (%s)", s->where,
                    s->key, value, small ? "small" : "large", small ? "least" : "most", small ? field->min : field->max,
                    field->help);
}

/* The number without the underscores between its digits, in `room` where it has any; NULL where it is none. */
static const char *without_underscores(const char *text, size_t size, char *room) {
    size_t used = 0;
    if (!strchr(text, '_')) return text;
    if (strlen(text) >= size) return NULL;
    for (const char *p = text; *p; p++) {
        const bool between = p > text && isdigit((unsigned char)p[-1]) && isdigit((unsigned char)p[1]);
        if (*p == '_' && !between) return NULL;
        if (*p != '_') room[used++] = *p;
    }
    room[used] = '\0';
    return room;
}

static bool parse_float(const char *text, double *out) {
    char room[MAX_NUMBER], *end;
    const char *plain = without_underscores(text, sizeof room, room);
    if (!plain) return false;
    *out = strtod(plain, &end);
    return end != plain && !*end;
}

/* A real number that is whole, as far as all whole numbers are real ones. */
static bool parse_whole_real(const char *text, int64_t *out) {
    double value;
    if (text[strspn(text, "+-0123456789.eE_")] || !parse_float(text, &value)) return false;
    if (!(fabs(value) <= 0x1p53) || value != rint(value)) return false;
    *out = (int64_t)value;
    return true;
}

static bool parse_int(const char *text, int64_t *out) {
    char room[MAX_NUMBER], *end;
    const char *plain = without_underscores(text, sizeof room, room);
    if (!plain) return false;
    errno = 0;
    *out = strtoll(plain, &end, 10);
    return (end != plain && !*end && !errno) || parse_whole_real(text, out);
}

bool mla_field_is_null(const char *text) {
    static const char *const words[] = {"null", "Null", "NULL", "~"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(text, words[i])) return true;
    return false;
}

/* In small letters, in capitals, or with the first one a capital. */
static bool is_spelled(const char *text, const char *word) {
    bool capitals = true;
    for (const char *p = text; *p; p++) capitals = capitals && isupper((unsigned char)*p);
    return !strcasecmp(text, word) && (capitals || !strcmp(text + 1, word + 1));
}

static bool parse_bool(const char *text, bool *out) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < 6; i++)
        if (is_spelled(text, words[i])) {
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

static mla_status set_number(const subject *s, void *member, const char *text) {
    int64_t whole = 0;
    double value = 0;
    const bool is_int = s->field->type == MLA_FIELD_INT;
    if (!(is_int ? parse_int(text, &whole) : parse_float(text, &value))) return wrong_text(s, text);
    mla_status status = check_bounds(s, is_int ? (double)whole : value);
    if (status) return status;
    if (is_int) *(int64_t *)member = whole;
    else *(double *)member = value;
    return MLA_OK;
}

static mla_status set_string(mla_context *context, char **member, const char *text) {
    char *copy = strdup(text);
    if (!copy) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for a string");
    free(*member);
    *member = copy;
    return MLA_OK;
}

/* ---- several values in one text */

static const char separators[] = ", \t\n\v\f\r";
static const char *spaces(const char *text) { return text + strspn(text, separators + 1); }

/* The length of the word at the beginning of *text, which moves to the next one: behind white space, a comma, or
 * both. 0: a comma without a word on one of its sides. */
static size_t cut_word(const char **text) {
    const size_t length = strcspn(*text, separators);
    const char *behind = spaces(*text + length);
    if (*behind == ',' && *spaces(behind + 1)) behind = spaces(behind + 1);
    *text = behind;
    return length;
}

static mla_status add_words(const subject *s, const char *text, mla_list *out) {
    mla_status status = MLA_OK;
    for (const char *next = spaces(text); *next && !status;) {
        const char *word = next;
        const size_t length = cut_word(&next);
        status = length ? fields_append(s->context, out, word, length) : wrong_text(s, text);
    }
    return status;
}

/* Names, in which spaces may stand, with commas between. */
static mla_status add_names(const subject *s, const char *text, mla_list *out) {
    mla_status status = MLA_OK;
    for (const char *next = spaces(text); *text && !status; next = spaces(next)) {
        const size_t all = strcspn(next, ",");
        size_t length = all;
        while (length && spaces(next + length - 1) > next + length - 1) length--;
        status = length ? fields_append(s->context, out, next, length) : wrong_text(s, text);
        next += all;
        if (!*next++) break;
    }
    return status;
}

static mla_status add_ints(const subject *s, const char *text, mla_ints *out) {
    mla_status status = MLA_OK;
    for (const char *next = spaces(text); *next && !status;) {
        char word[MAX_NUMBER];
        int64_t value;
        const char *from = next;
        const size_t length = cut_word(&next);
        snprintf(word, sizeof word, "%.*s", (int)length, from);
        if (length >= sizeof word || !parse_int(word, &value) || out->count == MLA_MOST_INTS)
            return wrong_text(s, text);
        status = check_bounds(s, (double)value);
        out->items[out->count++] = value;
    }
    return status;
}

static mla_status add_floats(const subject *s, const char *text, mla_floats *out) {
    mla_status status = MLA_OK;
    for (const char *next = spaces(text); *next && !status;) {
        char *end;
        const double value = strtod(next, &end);
        const char *word = next;
        const size_t length = cut_word(&next);
        if (!length || end != word + length || !isfinite(value) || out->count == MLA_MOST_INTS)
            return wrong_text(s, text);
        status = check_bounds(s, value);
        out->items[out->count++] = value;
    }
    return status;
}

/* ---- defaults */

static mla_status set_default(mla_context *context, const mla_field *field, void *member) {
    switch (field->type) {
    case MLA_FIELD_INT: *(int64_t *)member = (int64_t)field->standard; break;
    case MLA_FIELD_FLOAT: *(double *)member = field->standard; break;
    case MLA_FIELD_BOOL: *(bool *)member = field->standard != 0; break;
    case MLA_FIELD_ENUM: *(unsigned *)member = (unsigned)field->standard; break;
    case MLA_FIELD_KIND: *(const void **)member = field->kinds[0]; break;
    case MLA_FIELD_STRING:
        *(char **)member = NULL;
        if (field->text) return set_string(context, member, field->text);
        break;
    case MLA_FIELD_LIST: *(mla_list *)member = (mla_list){0}; break;
    case MLA_FIELD_WORDS:
        *(mla_list *)member = (mla_list){0};
        if (field->text) return add_words(&(subject){context, "", field->key, field}, field->text, member);
        break;
    case MLA_FIELD_INTS: *(mla_ints *)member = (mla_ints){0}; break;
    case MLA_FIELD_FLOATS: *(mla_floats *)member = (mla_floats){0}; break;
    case MLA_FIELD_GROUP: return mla_fields_default(context, field->group, member);
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

/* What is empty was not given. */
static mla_status reset(const subject *s, void *member) {
    free_member(s->field, member);
    return set_default(s->context, s->field, member);
}

/* ---- any value */

static mla_status set_list(const subject *s, mla_list *member, const mla_list *items, bool is_text) {
    const bool words = s->field->type == MLA_FIELD_WORDS, names = s->field->cuts_text && is_text;
    mla_list all = {0};
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < items->count && !status; i++)
        if (words || names) status = (words ? add_words : add_names)(s, items->items[i], &all);
        else if (*items->items[i]) status = mla_list_append(s->context, &all, items->items[i]);
    if (!status && !all.count) return reset(s, member);
    mla_list_free(status ? &all : member);
    if (!status) *member = all;
    return status;
}

static mla_status set_ints(const subject *s, mla_ints *member, const mla_list *items) {
    mla_ints all = {0};
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < items->count && !status; i++) status = add_ints(s, items->items[i], &all);
    if (!status) *member = all;
    return status;
}

static mla_status set_floats(const subject *s, mla_floats *member, const mla_list *items) {
    mla_floats all = {0};
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < items->count && !status; i++) status = add_floats(s, items->items[i], &all);
    if (!status) *member = all;
    return status;
}

static mla_status set_items(const subject *s, void *member, const mla_list *items) {
    if (s->field->type == MLA_FIELD_INTS) return set_ints(s, member, items);
    if (s->field->type == MLA_FIELD_FLOATS) return set_floats(s, member, items);
    if (s->field->type == MLA_FIELD_LIST || s->field->type == MLA_FIELD_WORDS) return set_list(s, member, items, false);
    return mla_field_wrong_kind(s->context, s->where, s->key, s->field, "a list");
}

static bool takes_text(mla_field_type type) {
    return type == MLA_FIELD_STRING || type == MLA_FIELD_LIST || type == MLA_FIELD_WORDS;
}

static mla_status set_member(const subject *s, void *member, const char *text) {
    const mla_list items = {.items = &(char *){(char *)(uintptr_t)text}, .count = 1};
    if (!takes_text(s->field->type) && mla_field_is_null(text)) return reset(s, member);
    switch (s->field->type) {
    case MLA_FIELD_INT:
    case MLA_FIELD_FLOAT: return set_number(s, member, text);
    case MLA_FIELD_BOOL: return parse_bool(text, member) ? MLA_OK : wrong_text(s, text);
    case MLA_FIELD_ENUM: return parse_name(s->field, text, member) ? MLA_OK : wrong_text(s, text);
    case MLA_FIELD_KIND: return parse_kind(s->field, text, member) ? MLA_OK : wrong_text(s, text);
    case MLA_FIELD_STRING:
        return *text || s->field->keeps_empty ? set_string(s->context, member, text) : reset(s, member);
    case MLA_FIELD_LIST:
    case MLA_FIELD_WORDS:
    case MLA_FIELD_INTS:
    case MLA_FIELD_FLOATS:
        return s->field->cuts_text ? set_list(s, member, &items, true) : set_items(s, member, &items);
    case MLA_FIELD_GROUP: break;
    }
    return wrong_text(s, text);
}

mla_status mla_fields_set(mla_context *context, const char *where, const mla_field_table *table, void *object,
                          const char *key, const char *text) {
    void *member;
    const mla_field *field = mla_fields_find(table, object, key, &member);
    if (!field) return mla_fields_unknown(context, where, table, key);
    return set_member(&(subject){context, where, key, field}, member, text);
}

mla_status mla_fields_set_list(mla_context *context, const char *where, const mla_field_table *table, void *object,
                               const char *key, const mla_list *items) {
    void *member;
    const mla_field *field = mla_fields_find(table, object, key, &member);
    if (!field) return mla_fields_unknown(context, where, table, key);
    return set_items(&(subject){context, where, key, field}, member, items);
}

/* ---- checks */

static mla_status check_ints(const subject *s, const mla_ints *ints) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < ints->count && !status; i++) status = check_bounds(s, (double)ints->items[i]);
    return status;
}

static mla_status check_floats(const subject *s, const mla_floats *floats) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < floats->count && !status; i++) status = check_bounds(s, floats->items[i]);
    return status;
}

static mla_status check_member(const subject *s, const void *member) {
    double value;
    switch (s->field->type) {
    case MLA_FIELD_INT: value = (double)*(const int64_t *)member; break;
    case MLA_FIELD_FLOAT: value = *(const double *)member; break;
    case MLA_FIELD_INTS: return check_ints(s, member);
    case MLA_FIELD_FLOATS: return check_floats(s, member);
    default: return MLA_OK;
    }
    return check_bounds(s, value);
}

static mla_status check_group(mla_context *context, const char *where, const char *prefix, const mla_field_table *table,
                              const void *object) {
    mla_status status = MLA_OK;
    for (int i = 0; i < table->count && !status; i++) {
        const mla_field *field = at(table, i);
        const void *member = (const char *)object + field->offset;
        char key[MAX_KEY];
        const bool group = field->type == MLA_FIELD_GROUP;
        snprintf(key, sizeof key, "%s%s%s", prefix, field->key, group ? "." : "");
        status = group ? check_group(context, where, key, field->group, member)
                       : check_member(&(subject){context, where, key, field}, member);
    }
    return status;
}

mla_status mla_fields_check(mla_context *context, const char *where, const mla_field_table *table, const void *object) {
    return check_group(context, where, "", table, object);
}

/* ---- text of values */

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

static void format_floats(const mla_floats *floats, size_t size, char *out) {
    size_t used = 0;
    out[0] = '\0';
    for (int64_t i = 0; i < floats->count && used + 1 < size; i++) {
        if (i) out[used++] = ',';
        mla_float_text(floats->items[i], size - used, out + used);
        used += strlen(out + used);
    }
}

char *mla_field_format(mla_context *context, const mla_field *field, const void *member) {
    char number[MLA_MOST_INTS * 26] = "";
    const char *text = number;
    switch (field->type) {
    case MLA_FIELD_INT: snprintf(number, sizeof number, "%lld", (long long)*(const int64_t *)member); break;
    case MLA_FIELD_FLOAT: mla_float_text(*(const double *)member, sizeof number, number); break;
    case MLA_FIELD_INTS: format_ints(member, sizeof number, number); break;
    case MLA_FIELD_FLOATS: format_floats(member, sizeof number, number); break;
    case MLA_FIELD_BOOL: text = *(const bool *)member ? "true" : "false"; break;
    case MLA_FIELD_ENUM: text = field->names[*(const unsigned *)member]; break;
    case MLA_FIELD_KIND: text = kind_name(*(const void *const *)member); break;
    case MLA_FIELD_STRING: text = *(char *const *)member; break;
    default: break;
    }
    char *copy = strdup(text);
    if (!copy) mla_fail(context, MLA_ERROR_MEMORY, "no memory for the text of %s", field->key);
    return copy;
}
