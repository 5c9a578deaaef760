/* libcyaml reads what a schema describes. The schema is built from the field table and takes every scalar as
 * text: the value is then parsed by the table itself, as it is for --set and for JSON. */
#include "autograd/schema/yaml.h"
#include "autograd/base/file.h"

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEY = 128, MAX_BYTES = 1 << 20 };

/* What libcyaml fills in for one field: its text, its list of texts, or the slots of its group. */
typedef struct {
    void *value; /* char *, char **, slot * */
    uint64_t count;
} slot;

/* ---- schema */

static const cyaml_schema_value_t text_value = {
    .type = CYAML_STRING, .flags = CYAML_FLAG_POINTER, .data_size = 1, .string = {0, CYAML_UNLIMITED}};

static void free_schema(cyaml_schema_field_t *schema) {
    for (cyaml_schema_field_t *field = schema; field && field->key; field++)
        if (field->value.type == CYAML_MAPPING)
            free_schema((cyaml_schema_field_t *)field->value.mapping.fields);
    free(schema);
}

/* List fields that hold a single text in this file, for libcyaml knows no "either". */
enum { MOST_SINGLES = 16 };
typedef struct {
    const mla_field *fields[MOST_SINGLES];
    int count;
} singles;

static bool is_list(const mla_field *field, const singles *s) {
    for (int i = 0; i < s->count; i++)
        if (s->fields[i] == field) return false;
    return field->type == MLA_FIELD_LIST || field->type == MLA_FIELD_WORDS;
}

static cyaml_schema_field_t *make_schema(mla_context *context, const mla_field_table *table, const singles *s);

static cyaml_schema_value_t make_value(mla_context *context, const mla_field *field, const singles *s) {
    cyaml_schema_value_t value = text_value;
    value.flags |= CYAML_FLAG_OPTIONAL;
    if (is_list(field, s)) {
        value.type = CYAML_SEQUENCE;
        value.data_size = sizeof(char *);
        value.sequence.entry = &text_value;
        value.sequence.min = 0;
        value.sequence.max = CYAML_UNLIMITED;
    } else if (field->type == MLA_FIELD_GROUP) {
        value.type = CYAML_MAPPING;
        value.flags |= CYAML_FLAG_POINTER_NULL; /* a section may be empty */
        value.data_size = (uint32_t)(sizeof(slot) * (size_t)field->group->count);
        value.mapping.fields = make_schema(context, field->group, s);
    }
    return value;
}

static cyaml_schema_field_t *make_schema(mla_context *context, const mla_field_table *table, const singles *s) {
    cyaml_schema_field_t *schema = mla_alloc(context, table->count + 1, sizeof *schema, "the YAML schema");
    for (int i = 0; schema && i < table->count; i++) {
        schema[i] =
            (cyaml_schema_field_t){.key = table->fields[i].key,
                                   .data_offset = (uint32_t)(sizeof(slot) * (size_t)i),
                                   .count_offset = (uint32_t)(sizeof(slot) * (size_t)i + sizeof(void *)),
                                   .count_size = sizeof(uint64_t),
                                   .value = make_value(context, &table->fields[i], s)};
        if (table->fields[i].type == MLA_FIELD_GROUP && !schema[i].value.mapping.fields) {
            free_schema(schema);
            return NULL;
        }
    }
    return schema;
}

static cyaml_schema_value_t root_value(const mla_field_table *table, const cyaml_schema_field_t *schema) {
    return (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                  .flags = CYAML_FLAG_POINTER,
                                  .data_size = (uint32_t)(sizeof(slot) * (size_t)table->count),
                                  .mapping = {schema}};
}

/* ---- libcyaml's errors */

/* It reports the reason first, then where it was: innermost key first. */
typedef struct {
    char reason[256], path[MAX_KEY];
    unsigned long line;
} report;

static void log_error(cyaml_log_t level, void *user, const char *format, va_list args) {
    (void)level;
    report *r = user;
    char text[256], key[MAX_KEY], outer[MAX_KEY];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    if (!strncmp(text, "Load: ", 6) && !strstr(text, "Backtrace") && !r->reason[0])
        snprintf(r->reason, sizeof r->reason, "%s", text + 6);
    const char *line = strstr(text, "(line: ");
    if (line && !r->line) r->line = strtoul(line + 7, NULL, 10);
    if (sscanf(text, " in mapping field '%127[^']'", key) != 1) return;
    snprintf(outer, sizeof outer, "%s", r->path);
    if (snprintf(r->path, sizeof r->path, "%s%s%s", key, outer[0] ? "." : "", outer) < 0) r->path[0] = '\0';
}

static const char *after(const char *text, const char *start) {
    const size_t length = strlen(start);
    return strncmp(text, start, length) ? NULL : text + length;
}

static mla_status unexpected_key(mla_context *context, const char *where, const mla_field_table *table,
                                 const report *r, const char *name) {
    char key[2 * MAX_KEY];
    snprintf(key, sizeof key, "%s%s%.100s", r->path, r->path[0] ? "." : "", name);
    return mla_fields_unknown(context, where, table, key);
}

static mla_status wrong_kind(mla_context *context, const char *where, const mla_field_table *table,
                             void *object, const report *r) {
    char expected[512];
    void *member;
    const mla_field *field = r->path[0] ? mla_fields_find(table, object, r->path, &member) : NULL;
    if (!field)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%sa recipe is sections of \"key: value\" lines, it starts "
                        "with a section such as \"%s:\"",
                        where, table->fields[0].key);
    mla_field_expects(field, sizeof expected, expected);
    const char *got = strstr(r->reason, "event: ");
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%s%s: expected %s, got %s (%s)", where, r->path, expected,
                    got && after(got, "event: SEQ")   ? "a list"
                    : got && after(got, "event: MAP") ? "a group of keys"
                                                      : "a single value",
                    field->help);
}

static mla_status explain(mla_context *context, const char *path, const mla_field_table *table, void *object,
                          cyaml_err_t error, const report *r) {
    char where[512];
    if (r->line)
        snprintf(where, sizeof where, "%s: line %lu: ", path, r->line);
    else
        snprintf(where, sizeof where, "%s: ", path);
    const char *rest;
    if ((rest = after(r->reason, "Unexpected key: "))) return unexpected_key(context, where, table, r, rest);
    if (after(r->reason, "Expecting ")) return wrong_kind(context, where, table, object, r);
    if ((rest = after(r->reason, "Mapping field already seen: ")))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s%s is given twice; keep one", where, r->path);
    if (error == CYAML_ERR_OOM) return mla_fail(context, MLA_ERROR_MEMORY, "%sno memory", where);
    if (error == CYAML_ERR_ALIAS)
        return mla_fail(context, MLA_ERROR_FORMAT, "%saliases (*name) are not supported; write the value",
                        where);
    rest = after(r->reason, "libyaml: ");
    return mla_fail(
        context, MLA_ERROR_FORMAT,
        "%snot valid YAML near there (%s); sections end with a colon, keys are indented with spaces "
        "below them",
        where,
        rest           ? rest
        : r->reason[0] ? r->reason
                       : cyaml_strerror(error));
}

/* ---- loading */

typedef struct {
    mla_context *context;
    const char *where;
    const mla_field_table *table;
    void *object;
    singles singles;
} loader;

static mla_status set_all(const loader *l, const char *prefix, const mla_field_table *group,
                          const slot *slots) {
    mla_status status = MLA_OK;
    for (int i = 0; i < group->count && !status; i++) {
        const mla_field *field = &group->fields[i];
        char key[MAX_KEY];
        snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", field->key);
        if (!slots[i].value) continue;
        if (field->type == MLA_FIELD_GROUP)
            status = set_all(l, key, field->group, slots[i].value);
        else if (is_list(field, &l->singles))
            status = mla_fields_set_list(l->context, l->where, l->table, l->object, key,
                                         &(mla_list){.items = slots[i].value, .count = (int64_t)slots[i].count});
        else
            status = mla_fields_set(l->context, l->where, l->table, l->object, key, slots[i].value);
    }
    return status;
}

static cyaml_config_t config_for(report *r) {
    return (cyaml_config_t){.log_fn = log_error,
                            .log_ctx = r,
                            .mem_fn = cyaml_mem,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_STYLE_BLOCK | CYAML_CFG_NO_ALIAS};
}

/* Whether the error is a single text where a list might be; then this is remembered. */
static bool meant_a_single_text(loader *l, const report *r) {
    void *member;
    const mla_field *field = mla_fields_find(l->table, l->object, r->path, &member);
    if (!field || !is_list(field, &l->singles) || l->singles.count == MOST_SINGLES ||
        strcmp(r->reason, "Expecting SEQUENCE, got event: SCALAR"))
        return false;
    l->singles.fields[l->singles.count++] = field;
    return true;
}

/* One attempt; *again: a list field holds a single text, so try with that. */
static mla_status load(loader *l, const char *path, const char *text, int64_t length, bool *again) {
    report r = {0};
    slot *slots = NULL;
    cyaml_schema_field_t *schema = make_schema(l->context, l->table, &l->singles);
    if (!schema) return MLA_ERROR_MEMORY;
    const cyaml_schema_value_t root = root_value(l->table, schema);
    const cyaml_config_t config = config_for(&r);
    mla_status status = MLA_OK;
    cyaml_err_t error =
        cyaml_load_data((const uint8_t *)text, (size_t)length, &config, &root, (cyaml_data_t **)&slots, NULL);
    *again = error && meant_a_single_text(l, &r);
    if (error && !*again) status = explain(l->context, path, l->table, l->object, error, &r);
    if (!error && slots) status = set_all(l, "", l->table, slots);
    if (!error && slots) cyaml_free(&config, &root, slots, 0);
    free_schema(schema);
    return status;
}

mla_status mla_yaml_load(mla_context *context, const char *path, const mla_field_table *table, void *object) {
    char *text = NULL, where[512];
    int64_t length = 0;
    bool again = true;
    snprintf(where, sizeof where, "%s: ", path);
    mla_status status = mla_file_read(context, &text, &length, path, MAX_BYTES);
    loader l = {context, where, table, object, {.count = 0}};
    while (!status && again) status = load(&l, path, text, length, &again);
    free(text);
    return status;
}

/* ---- saving */

static void free_slots(const mla_field_table *table, slot *slots) {
    for (int i = 0; slots && i < table->count; i++) {
        if (table->fields[i].type == MLA_FIELD_GROUP)
            free_slots(table->fields[i].group, slots[i].value);
        else if (table->fields[i].type != MLA_FIELD_LIST && table->fields[i].type != MLA_FIELD_WORDS)
            free(slots[i].value); /* lists are borrowed */
    }
    free(slots);
}

static slot *make_slots(mla_context *context, const mla_field_table *table, const void *object) {
    slot *slots = mla_alloc(context, table->count, sizeof *slots, "the YAML values");
    for (int i = 0; slots && i < table->count; i++) {
        const mla_field *field = &table->fields[i];
        const void *member = (const char *)object + field->offset;
        const mla_list *list = member;
        if (field->type == MLA_FIELD_LIST || field->type == MLA_FIELD_WORDS) {
            if (list->count) slots[i] = (slot){list->items, (uint64_t)list->count};
            continue;
        }
        if (field->type == MLA_FIELD_STRING && !*(char *const *)member) continue;
        if (field->type == MLA_FIELD_INTS && !((const mla_ints *)member)->count) continue;
        if (field->type == MLA_FIELD_GROUP)
            slots[i].value = make_slots(context, field->group, member);
        else
            slots[i].value = mla_field_format(context, field, member);
        if (!slots[i].value) {
            free_slots(table, slots);
            return NULL;
        }
    }
    return slots;
}

mla_status mla_yaml_save(mla_context *context, const char *path, const mla_field_table *table,
                         const void *object) {
    report r = {0};
    char *text = NULL;
    size_t length = 0;
    mla_status status = MLA_ERROR_MEMORY;
    cyaml_schema_field_t *schema = make_schema(context, table, &(singles){.count = 0});
    slot *slots = make_slots(context, table, object);
    if (!schema || !slots) goto done;
    const cyaml_schema_value_t root = root_value(table, schema);
    const cyaml_config_t config = config_for(&r);
    cyaml_err_t error = cyaml_save_data(&text, &length, &config, &root, slots, 0);
    status = error ? mla_fail(context, MLA_ERROR_ARGUMENT, "cannot write %s: %s (are all texts valid UTF-8?)",
                              path, cyaml_strerror(error))
                   : mla_file_write(context, path, text, (int64_t)length);
done:
    free(text);
    free_slots(table, slots);
    free_schema(schema);
    return status;
}
