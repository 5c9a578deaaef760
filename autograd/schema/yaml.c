/* libyaml's events are walked once, and each value is set by its key, as --set does it. */
#include "autograd/schema/yaml.h"
#include "autograd/base/file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_KEY = 128, MAX_BYTES = 1 << 20 };

/* ---- events */

/* A key that was given; groups of the same kind share their fields, not their members. */
typedef struct {
    const mla_field *field;
    const void *member;
} given;

typedef struct {
    mla_context *context;
    const char *path;
    const mla_field_table *table;
    void *object;
    yaml_parser_t parser;
    yaml_event_t event;        /* the last one */
    char where[PATH_MAX + 32]; /* its file and line, to begin messages */
    given *keys;
    int64_t count, capacity;
} reader;

static void be_at(reader *r, size_t line) { snprintf(r->where, sizeof r->where, "%s: line %zu: ", r->path, line + 1); }

/* Of bytes that are no text, libyaml knows the offset alone. */
static size_t line_of_problem(const yaml_parser_t *p) {
    if (p->error != YAML_READER_ERROR) return p->problem_mark.line;
    const unsigned char *text = p->input.string.start;
    size_t line = 0;
    for (size_t i = 0; i < p->problem_offset && text + i < p->input.string.end; i++) line += text[i] == '\n';
    return line;
}

static mla_status not_yaml(reader *r) {
    if (r->parser.error == YAML_MEMORY_ERROR)
        return mla_fail(r->context, MLA_ERROR_MEMORY, "no memory to read %s", r->path);
    be_at(r, line_of_problem(&r->parser));
    return mla_fail(r->context, MLA_ERROR_FORMAT,
                    "%snot valid YAML near there (%s); sections end with a colon, keys are indented with spaces below "
                    "them",
                    r->where, r->parser.problem ? r->parser.problem : "unknown");
}

static bool has_anchor(const yaml_event_t *e) {
    switch (e->type) {
    case YAML_ALIAS_EVENT: return true;
    case YAML_SCALAR_EVENT: return e->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT: return e->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT: return e->data.mapping_start.anchor;
    default: return false;
    }
}

static const char *text_of(const reader *r) { return (const char *)r->event.data.scalar.value; }

static mla_status next(reader *r) {
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) return not_yaml(r);
    be_at(r, r->event.start_mark.line);
    if (has_anchor(&r->event))
        return mla_fail(r->context, MLA_ERROR_FORMAT,
                        "%sanchors (&name) and aliases (*name) are not supported; write the value", r->where);
    if (r->event.type == YAML_SCALAR_EVENT && strlen(text_of(r)) != r->event.data.scalar.length)
        return mla_fail(r->context, MLA_ERROR_FORMAT, "%sa text holds a zero character (\\0); leave it out", r->where);
    return MLA_OK;
}

/* ---- values */

static mla_status wrong_kind(const reader *r, const char *key, const mla_field *field) {
    const char *got = r->event.type == YAML_SCALAR_EVENT           ? "a single value"
                      : r->event.type == YAML_SEQUENCE_START_EVENT ? "a list"
                                                                   : "a group of keys";
    return mla_field_wrong_kind(r->context, r->where, key, field, got);
}

/* Without quotes: a word for no value, or nothing at all. */
static bool is_no_value(const reader *r) {
    const bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return plain && (!*text_of(r) || mla_field_is_null(text_of(r)));
}

static mla_status read_scalar(reader *r, const char *key, const mla_field *field) {
    const bool takes_empty = field->type >= MLA_FIELD_STRING && field->type <= MLA_FIELD_INTS;
    if (is_no_value(r) && (*text_of(r) || !takes_empty)) return MLA_OK;
    return field->type == MLA_FIELD_GROUP ? wrong_kind(r, key, field)
                                          : mla_fields_set(r->context, r->where, r->table, r->object, key, text_of(r));
}

static mla_status read_items(reader *r, const char *key, const mla_field *field, mla_list *items) {
    mla_status status;
    while (!(status = next(r)) && r->event.type != YAML_SEQUENCE_END_EVENT) {
        if (r->event.type != YAML_SCALAR_EVENT) return wrong_kind(r, key, field);
        if (!is_no_value(r) && (status = mla_list_append(r->context, items, text_of(r)))) return status;
    }
    return status;
}

static mla_status read_list(reader *r, const char *key, const mla_field *field) {
    const size_t line = r->event.start_mark.line;
    mla_list items = {0};
    mla_status status = read_items(r, key, field, &items);
    if (!status) {
        be_at(r, line);
        status = mla_fields_set_list(r->context, r->where, r->table, r->object, key, &items);
    }
    mla_list_free(&items);
    return status;
}

static mla_status read_group(reader *r, const char *prefix);

static mla_status read_value(reader *r, const char *key, const mla_field *field) {
    if (r->event.type == YAML_SCALAR_EVENT) return read_scalar(r, key, field);
    if (r->event.type == YAML_SEQUENCE_START_EVENT) return read_list(r, key, field);
    return field->type == MLA_FIELD_GROUP ? read_group(r, key) : wrong_kind(r, key, field);
}

/* ---- keys */

static mla_status remember(reader *r, const char *key, const mla_field *field, const void *member) {
    char names[2 * MAX_KEY] = "";
    for (int64_t i = 0; i < r->count; i++) {
        if (r->keys[i].field != field || r->keys[i].member != member) continue;
        if (field->alias) snprintf(names, sizeof names, " (%s and %s are the same)", field->key, field->alias);
        return mla_fail(r->context, MLA_ERROR_ARGUMENT, "%s%s is given twice%s; keep one", r->where, key, names);
    }
    const mla_status status = mla_grow(r->context, &r->keys, &r->capacity, r->count + 1, sizeof *r->keys, "keys");
    if (!status) r->keys[r->count++] = (given){field, member};
    return status;
}

static mla_status read_key(reader *r, const char *prefix) {
    char key[MAX_KEY];
    void *member;
    if (r->event.type != YAML_SCALAR_EVENT)
        return mla_fail(r->context, MLA_ERROR_ARGUMENT, "%sa key is a word, not a list or a group", r->where);
    snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] ? "." : "", text_of(r));
    const mla_field *field = mla_fields_find(r->table, r->object, key, &member);
    if (!field) return mla_fields_unknown(r->context, r->where, r->table, key);
    mla_status status = remember(r, key, field, member);
    if (!status) status = next(r);
    return status ? status : read_value(r, key, field);
}

static mla_status read_group(reader *r, const char *prefix) {
    mla_status status;
    while (!(status = next(r)) && r->event.type != YAML_MAPPING_END_EVENT)
        if ((status = read_key(r, prefix))) return status;
    return status;
}

/* ---- the file */

static mla_status read_root(reader *r) {
    if (r->event.type == YAML_MAPPING_START_EVENT) return read_group(r, "");
    if (r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !*text_of(r))
        return MLA_OK;
    return mla_fail(r->context, MLA_ERROR_ARGUMENT,
                    "%sa recipe is sections of \"key: value\" lines, it starts with a section such as \"%s:\"",
                    r->where, r->table->fields[0].key);
}

/* Events come in this order: the stream begins, a document, its root, its end, the stream ends. */
static mla_status read_stream(reader *r) {
    mla_status status = next(r);
    if (!status) status = next(r);
    if (status || r->event.type == YAML_STREAM_END_EVENT) return status;
    status = next(r);
    if (!status) status = read_root(r);
    if (!status) status = next(r);
    if (!status) status = next(r);
    if (status || r->event.type == YAML_STREAM_END_EVENT) return status;
    return mla_fail(r->context, MLA_ERROR_FORMAT, "%sa second document begins; a file holds one: remove the line ---",
                    r->where);
}

mla_status mla_yaml_parse(mla_context *context, const char *path, const char *text, int64_t length,
                          const mla_field_table *table, void *object) {
    reader r = {.context = context, .path = path, .table = table, .object = object};
    mla_status status;
    if (yaml_parser_initialize(&r.parser)) {
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, (size_t)length);
        status = read_stream(&r);
        yaml_event_delete(&r.event);
    } else status = mla_fail(context, MLA_ERROR_MEMORY, "no memory to read %s", path);
    yaml_parser_delete(&r.parser);
    free(r.keys);
    return status;
}

mla_status mla_yaml_load(mla_context *context, const char *path, const mla_field_table *table, void *object) {
    char *text = NULL;
    int64_t length = 0;
    mla_status status = mla_file_read(context, &text, &length, path, MAX_BYTES);
    if (!status) status = mla_yaml_parse(context, path, text, length, table, object);
    free(text);
    return status;
}

/* ---- saving */

typedef struct {
    mla_context *context;
    const char *path;
    yaml_emitter_t emitter;
    yaml_event_t event;
    char *text;
    int64_t length, capacity;
} writer;

static int take(void *user, unsigned char *bytes, size_t size) {
    writer *w = user;
    if (mla_grow(w->context, &w->text, &w->capacity, w->length + (int64_t)size, 1, w->path)) return 0;
    memcpy(w->text + w->length, bytes, size);
    w->length += (int64_t)size;
    return 1;
}

/* Writes the event, which libyaml could make or not. */
static mla_status emit(writer *w, int made) {
    if (made && yaml_emitter_emit(&w->emitter, &w->event)) return MLA_OK;
    return mla_fail(w->context, MLA_ERROR_MEMORY, "no memory to write %s", w->path);
}

/* Surrogates and what is above U+10FFFF, which libyaml would write and not read again. */
static bool is_no_character(const unsigned char *p) {
    return *p > 0xF4 || (*p == 0xF4 && p[1] >= 0x90) || (*p == 0xED && p[1] >= 0xA0);
}

/* libyaml makes no event of other text than UTF-8. */
static mla_status write_scalar(writer *w, const char *key, const char *text) {
    const yaml_char_t *value = (const yaml_char_t *)text, *p = value;
    const yaml_scalar_style_t style = mla_field_is_null(text) || !*text ? YAML_SINGLE_QUOTED_SCALAR_STYLE
                                                                        : YAML_ANY_SCALAR_STYLE;
    while (*p && !is_no_character(p)) p++;
    if (*p || !yaml_scalar_event_initialize(&w->event, NULL, NULL, value, -1, 1, 1, style))
        return mla_fail(w->context, MLA_ERROR_ARGUMENT, "cannot write %s: %s must be valid UTF-8", w->path, key);
    return emit(w, 1);
}

static mla_status write_list(writer *w, const char *key, const mla_list *list) {
    mla_status status = emit(w,
                             yaml_sequence_start_event_initialize(&w->event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE));
    for (int64_t i = 0; i < list->count && !status; i++) status = write_scalar(w, key, list->items[i]);
    return status ? status : emit(w, yaml_sequence_end_event_initialize(&w->event));
}

static bool is_absent(const mla_field *field, const void *member) {
    switch (field->type) {
    case MLA_FIELD_STRING: return !*(char *const *)member;
    case MLA_FIELD_LIST:
    case MLA_FIELD_WORDS: return !((const mla_list *)member)->count;
    case MLA_FIELD_INTS: return !((const mla_ints *)member)->count;
    case MLA_FIELD_FLOATS: return !((const mla_floats *)member)->count;
    default: return false;
    }
}

static mla_status write_group(writer *w, const mla_field_table *table, const void *object);

static mla_status write_member(writer *w, const mla_field *field, const void *member) {
    if (field->type == MLA_FIELD_GROUP) return write_group(w, field->group, member);
    if (field->type == MLA_FIELD_LIST || field->type == MLA_FIELD_WORDS) return write_list(w, field->key, member);
    char *text = mla_field_format(w->context, field, member);
    const mla_status status = text ? write_scalar(w, field->key, text) : MLA_ERROR_MEMORY;
    free(text);
    return status;
}

static mla_status write_group(writer *w, const mla_field_table *table, const void *object) {
    mla_status status = emit(w,
                             yaml_mapping_start_event_initialize(&w->event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE));
    for (int i = 0; i < table->count && !status; i++) {
        const mla_field *field = &table->fields[i];
        const void *member = (const char *)object + field->offset;
        if (is_absent(field, member)) continue;
        status = write_scalar(w, field->key, field->key);
        if (!status) status = write_member(w, field, member);
    }
    return status ? status : emit(w, yaml_mapping_end_event_initialize(&w->event));
}

static mla_status write_stream(writer *w, const mla_field_table *table, const void *object) {
    yaml_emitter_set_output(&w->emitter, take, w);
    yaml_emitter_set_unicode(&w->emitter, 1);
    yaml_emitter_set_width(&w->emitter, -1);
    mla_status status = emit(w, yaml_stream_start_event_initialize(&w->event, YAML_UTF8_ENCODING));
    if (!status) status = emit(w, yaml_document_start_event_initialize(&w->event, NULL, NULL, NULL, 1));
    if (!status) status = write_group(w, table, object);
    if (!status) status = emit(w, yaml_document_end_event_initialize(&w->event, 1));
    return status ? status : emit(w, yaml_stream_end_event_initialize(&w->event));
}

mla_status mla_yaml_save(mla_context *context, const char *path, const mla_field_table *table, const void *object) {
    writer w = {.context = context, .path = path};
    mla_status status = yaml_emitter_initialize(&w.emitter)
                            ? write_stream(&w, table, object)
                            : mla_fail(context, MLA_ERROR_MEMORY, "no memory to write %s", path);
    yaml_emitter_delete(&w.emitter);
    if (!status) status = mla_file_write(context, path, w.text, w.length);
    free(w.text);
    return status;
}
