#include "data/text/json_field.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { MISSING, NO_TEXT, FOUND } outcome;

typedef struct {
    mla_context *context;
    mla_json_field *field;
    const char *text; /* what was found, as it stands in the bytes */
    int64_t size;
    bool escaped;
} search;

/* ---- the search */

/* Of the key at hand, without escapes. NULL without memory. */
static const char *key_text(search *s, int64_t *size) {
    const mla_json *j = &s->field->json;
    *size = j->size;
    if (!j->escaped) return j->text;
    if (mla_grow(s->context, &s->field->key, &s->field->key_capacity, j->size, 1, "a key")) return NULL;
    *size = mla_json_unescape(j->text, j->size, s->field->key);
    return s->field->key;
}

/* How much of the name the key is: all of it, or what stands before one of its dots; -1: none. */
static int64_t key_match(search *s, const char *name) {
    int64_t size;
    const char *key = key_text(s, &size);
    if (!key || strncmp(key, name, (size_t)size) || strlen(name) < (size_t)size) return -1;
    return !name[size] || name[size] == '.' ? size : -1;
}

static outcome find_in_object(search *s, const char *name);

/* Of the value that is next: it, or what is in it under the rest of the name. */
static outcome find_in_value(search *s, const char *rest) {
    mla_json *j = &s->field->json;
    const mla_json_event event = mla_json_next(j);
    if (*rest && event == MLA_JSON_OBJECT) return find_in_object(s, rest + 1);
    if (!*rest && event == MLA_JSON_STRING) {
        s->text = j->text;
        s->size = j->size;
        s->escaped = j->escaped;
        return FOUND;
    }
    mla_json_skip(j);
    return *rest ? MISSING : NO_TEXT;
}

/* Of the object that has begun, to its end. It recurses no deeper than the name has dots. */
static outcome find_in_object(search *s, const char *name) {
    mla_json *j = &s->field->json;
    outcome found = MISSING;
    int64_t longest = -1;
    while (mla_json_next(j) == MLA_JSON_KEY) {
        const int64_t length = key_match(s, name);
        if (length >= 0 && length >= longest) {
            longest = length;
            found = find_in_value(s, name + length);
        } else mla_json_skip(j);
    }
    return found;
}

/* ---- what is wrong */

static mla_status not_json(search *s, const char *where) {
    const mla_json *j = &s->field->json;
    char line_text[40] = "";
    int64_t line, column;
    mla_json_place(j, &line, &column);
    if (line > 1) snprintf(line_text, sizeof line_text, "its line %" PRId64 ", ", line);
    return mla_fail(s->context, j->no_memory ? MLA_ERROR_MEMORY : MLA_ERROR_FORMAT,
                    "%s: not valid JSON: %scolumn %" PRId64 ": %s", where, line_text, column, j->problem);
}

/* The keys of the object, for the message that it lacks one. */
static void list_keys(search *s, const char *bytes, int64_t length, size_t size, char *out) {
    mla_json *j = &s->field->json;
    size_t used = 0;
    mla_json_restart(j, bytes, length);
    mla_json_next(j);
    while (mla_json_next(j) == MLA_JSON_KEY && used < size) {
        used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ", " : "", (int)j->size, j->text);
        mla_json_skip(j);
    }
}

static mla_status no_field(search *s, const char *where, const char *name, const char *bytes, int64_t length) {
    char keys[120] = "";
    list_keys(s, bytes, length, sizeof keys, keys);
    return mla_fail(s->context, MLA_ERROR_FORMAT, "%s: no field \"%s\"; the line has %s", where, name,
                    *keys ? keys : "none");
}

/* ---- one object */

/* To the end of the line, whatever was found. */
static mla_json_event walk(search *s, const char *name, const char *bytes, int64_t length, outcome *found) {
    mla_json *j = &s->field->json;
    mla_json_restart(j, bytes, length);
    const bool is_object = mla_json_next(j) == MLA_JSON_OBJECT;
    if (is_object) *found = find_in_object(s, name);
    while (j->event > MLA_JSON_END) mla_json_next(j);
    return is_object ? MLA_JSON_OBJECT : j->event;
}

static mla_status hand_out(search *s, const char **text, int64_t *size) {
    mla_json_field *f = s->field;
    *text = s->text;
    *size = s->size;
    if (!s->escaped) return MLA_OK;
    const mla_status status = mla_grow(s->context, &f->text, &f->text_capacity, s->size, 1, "a text");
    if (status) return status;
    *size = mla_json_unescape(s->text, s->size, f->text);
    *text = f->text;
    return MLA_OK;
}

mla_status mla_json_field_text(mla_context *context, mla_json_field *field, const char *where, const char *name,
                               const char *bytes, int64_t length, const char **text, int64_t *size) {
    search s = {.context = context, .field = field};
    outcome found = MISSING;
    const mla_json_event event = walk(&s, name, bytes, length, &found);
    if (field->json.event == MLA_JSON_WRONG) return not_json(&s, where);
    if (event != MLA_JSON_OBJECT) return mla_fail(context, MLA_ERROR_FORMAT, "%s: not a JSON object", where);
    if (mla_error_status(context)) return mla_error_status(context);
    if (found == FOUND) return hand_out(&s, text, size);
    if (found == MISSING) return no_field(&s, where, name, bytes, length);
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: no text in field \"%s\"", where, name);
}

void mla_json_field_free(mla_json_field *f) {
    mla_json_free(&f->json);
    free(f->key);
    free(f->text);
    *f = (mla_json_field){0};
}
