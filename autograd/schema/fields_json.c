/* Field tables to and from JSON. */
#include "autograd/schema/fields.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEY = 128 };

/* ---- reading */

typedef struct {
    mla_context *context;
    const char *where;
    const mla_field_table *table;
    void *object;
    mla_list *ignored;
} reader;

static mla_status read_object(reader *r, const char *prefix, const json_t *json);

static mla_status wrong_json(reader *r, const char *key, const mla_field *field, const json_t *value) {
    static const char *const kinds[] = {[JSON_OBJECT] = "a group of keys",
                                        [JSON_ARRAY] = "a list",
                                        [JSON_STRING] = "the text",
                                        [JSON_INTEGER] = "a whole number",
                                        [JSON_REAL] = "a number",
                                        [JSON_TRUE] = "true",
                                        [JSON_FALSE] = "false",
                                        [JSON_NULL] = "null"};
    char got[128];
    const char *text = json_string_value(value), *mark = text ? "\"" : "";
    snprintf(got, sizeof got, "%s%s%s%.100s%s", kinds[json_typeof(value)], text ? " " : "", mark, text ? text : "",
             mark);
    return mla_field_wrong_kind(r->context, r->where, key, field, got);
}

/* A scalar as the text that mla_fields_set reads: strings where words are expected, numbers and bools elsewhere; NULL
 * for what the field does not take. */
static const char *text_of(const mla_field *field, const json_t *value, size_t size, char *out) {
    if (field->type >= MLA_FIELD_ENUM && field->type <= MLA_FIELD_WORDS) return json_string_value(value);
    if (json_is_integer(value)) snprintf(out, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value)) snprintf(out, size, "%.17g", json_real_value(value));
    else if (json_is_boolean(value)) snprintf(out, size, "%s", json_is_true(value) ? "true" : "false");
    else return NULL;
    return out;
}

static mla_status read_list(reader *r, const char *key, const mla_field *field, const json_t *array) {
    mla_list items = {0};
    mla_status status = MLA_OK;
    for (size_t i = 0; i < json_array_size(array) && !status; i++) {
        char number[40];
        const char *text = text_of(field, json_array_get(array, i), sizeof number, number);
        status = text ? mla_list_append(r->context, &items, text) : wrong_json(r, key, field, json_array_get(array, i));
    }
    if (!status) status = mla_fields_set_list(r->context, r->where, r->table, r->object, key, &items);
    mla_list_free(&items);
    return status;
}

static mla_status read_scalar(reader *r, const char *key, const mla_field *field, const json_t *value) {
    char number[40];
    const char *text = text_of(field, value, sizeof number, number);
    return text ? mla_fields_set(r->context, r->where, r->table, r->object, key, text)
                : wrong_json(r, key, field, value);
}

static mla_status read_value(reader *r, const char *key, const json_t *value) {
    void *member;
    const mla_field *field = mla_fields_find(r->table, r->object, key, &member);
    if (!field)
        return r->ignored ? mla_list_append(r->context, r->ignored, key)
                          : mla_fields_unknown(r->context, r->where, r->table, key);
    if (json_is_null(value)) return MLA_OK;
    if (field->type == MLA_FIELD_GROUP)
        return json_is_object(value) ? read_object(r, key, value) : wrong_json(r, key, field, value);
    return json_is_array(value) ? read_list(r, key, field, value) : read_scalar(r, key, field, value);
}

static mla_status read_object(reader *r, const char *prefix, const json_t *json) {
    mla_status status = MLA_OK;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)json, name, value) {
        char key[MAX_KEY];
        snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", name);
        if ((status = read_value(r, key, value))) break;
    }
    return status;
}

mla_status mla_fields_read_json(mla_context *context, const char *where, const mla_field_table *table, void *object,
                                const json_t *json, mla_list *ignored) {
    reader r = {context, where, table, object, ignored};
    if (!json_is_object(json))
        return mla_fail(context, MLA_ERROR_FORMAT, "%sexpected a JSON object of keys and values", where);
    return read_object(&r, "", json);
}

/* ---- writing */

static json_t *write_list(const mla_list *list) {
    json_t *array = json_array();
    for (int64_t i = 0; array && i < list->count; i++)
        if (json_array_append_new(array, json_string(list->items[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *write_ints(const mla_ints *ints) {
    json_t *array = json_array();
    for (int64_t i = 0; array && i < ints->count; i++) json_array_append_new(array, json_integer(ints->items[i]));
    return array;
}

static json_t *write_floats(const mla_floats *floats) {
    json_t *array = json_array();
    for (int64_t i = 0; array && i < floats->count; i++) json_array_append_new(array, json_real(floats->items[i]));
    return array;
}

static bool is_zero(const mla_field *field, const void *member) {
    if (field->type == MLA_FIELD_INT) return *(const int64_t *)member == 0;
    if (field->type == MLA_FIELD_INTS) return ((const mla_ints *)member)->count == 0;
    if (field->type == MLA_FIELD_FLOATS) return ((const mla_floats *)member)->count == 0;
    if (field->type == MLA_FIELD_GROUP) return *(const unsigned *)member == 0; /* an enum, by the table's rule */
    return false;
}

/* jansson refuses strings that are not UTF-8: such a path gives NULL. */
static json_t *write_member(mla_context *context, const mla_field *field, const void *member) {
    if (field->nullable && is_zero(field, member)) return json_null();
    switch (field->type) {
    case MLA_FIELD_INT: return json_integer(*(const int64_t *)member);
    case MLA_FIELD_FLOAT: return json_real(*(const double *)member);
    case MLA_FIELD_BOOL: return json_boolean(*(const bool *)member);
    case MLA_FIELD_ENUM: return json_string(field->names[*(const unsigned *)member]);
    case MLA_FIELD_KIND: return json_string(**(const char *const *const *)member);
    case MLA_FIELD_STRING: return json_string(*(char *const *)member);
    case MLA_FIELD_LIST:
    case MLA_FIELD_WORDS: return write_list(member);
    case MLA_FIELD_INTS: return write_ints(member);
    case MLA_FIELD_FLOATS: return write_floats(member);
    case MLA_FIELD_GROUP: return mla_fields_write_json(context, field->group, member);
    }
    return NULL;
}

json_t *mla_fields_write_json(mla_context *context, const mla_field_table *table, const void *object) {
    json_t *json = json_object();
    for (int i = 0; json && i < table->count; i++) {
        const mla_field *field = &table->fields[i];
        const void *member = (const char *)object + field->offset;
        if (field->type == MLA_FIELD_STRING && !*(char *const *)member) continue;
        if (!json_object_set_new(json, field->key, write_member(context, field, member))) continue;
        mla_fail(context, MLA_ERROR_ARGUMENT, "%s cannot be written as JSON: it must be valid UTF-8", field->key);
        json_decref(json);
        return NULL;
    }
    return json;
}

/* ---- text */

char *mla_json_text(mla_context *context, const json_t *json) {
    for (size_t digits = 15; digits <= 17; digits++) {
        char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *again = NULL;
        if (text && mla_json_read(context, "", text, (int64_t)strlen(text), MLA_JSON_QUIET, &again)) {
            free(text);
            return NULL;
        }
        const bool same = again && json_equal((json_t *)json, again);
        json_decref(again);
        if (same) return text;
        free(text);
    }
    mla_fail(context, MLA_ERROR_MEMORY, "no memory for JSON text");
    return NULL;
}
