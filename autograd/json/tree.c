#include "autograd/json/tree.h"
#include "autograd/base/utf8.h"
#include "autograd/json/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text of the builder's own, with a NUL behind it. */
typedef struct {
    char *bytes;
    int64_t length, capacity;
} scratch;

typedef struct {
    mla_context *context;
    const char *where;
    unsigned flags;
    mla_json json;
    json_t *root;
    json_t **open; /* from the root to where the next value goes; the root owns them */
    int64_t depth, capacity;
    scratch key, plain, valid;
    locale_t plain_numbers; /* whose fractions begin with a point, whatever the program has set */
    int64_t twice;          /* keys that were given before in their object */
    char first_twice[64];
} builder;

static mla_status no_memory(builder *b) {
    return mla_fail(b->context, MLA_ERROR_MEMORY, "%sno memory for JSON", b->where);
}

static mla_status fail_here(builder *b, const char *problem) {
    char line_text[40] = "";
    int64_t line, column;
    mla_json_place(&b->json, &line, &column);
    if (!(b->flags & MLA_JSON_LINE)) snprintf(line_text, sizeof line_text, "line %" PRId64 ", ", line);
    return mla_fail(b->context, b->json.no_memory ? MLA_ERROR_MEMORY : MLA_ERROR_FORMAT,
                    "%snot valid JSON: %scolumn %" PRId64 ": %s", b->where, line_text, column, problem);
}

static mla_status too_deep(builder *b) {
    char problem[80];
    snprintf(problem, sizeof problem, "more than %d objects and lists within each other", MLA_JSON_TREE_DEEPEST);
    return fail_here(b, problem);
}

/* ---- text */

static mla_status reserve(builder *b, scratch *s, int64_t length) {
    return mla_grow(b->context, &s->bytes, &s->capacity, length + 1, 1, "JSON text");
}

/* The token without its escapes, and with U+FFFD for what is no character. */
static mla_status take_text(builder *b, bool zeros, scratch *out) {
    const mla_json *j = &b->json;
    const char *text = j->text;
    int64_t length = j->size;
    mla_status status = reserve(b, &b->plain, length);
    if (status) return status;
    if (j->escaped) {
        length = mla_json_unescape(text, length, b->plain.bytes);
        text = b->plain.bytes;
    }
    if ((status = reserve(b, out, 3 * length))) return status;
    out->length = mla_utf8_repair(text, length, !zeros, out->bytes);
    out->bytes[out->length] = '\0';
    return MLA_OK;
}

/* ---- values */

static json_t *new_string(builder *b) {
    if (take_text(b, b->flags & MLA_JSON_ZEROS, &b->valid)) return NULL;
    return json_stringn_nocheck(b->valid.bytes, (size_t)b->valid.length);
}

static json_t *new_number(builder *b) {
    const mla_json *j = &b->json;
    if (reserve(b, &b->plain, j->size)) return NULL;
    memcpy(b->plain.bytes, j->text, (size_t)j->size);
    b->plain.bytes[j->size] = '\0';
    errno = 0;
    const long long whole = j->event == MLA_JSON_WHOLE ? strtoll(b->plain.bytes, NULL, 10) : 0;
    if (j->event == MLA_JSON_WHOLE && !errno) return json_integer(whole);
    const double real = strtod_l(b->plain.bytes, NULL, b->plain_numbers);
    return isfinite(real) ? json_real(real) : json_stringn_nocheck(j->text, (size_t)j->size);
}

static json_t *new_literal(const mla_json *j) {
    return j->text[0] == 't' ? json_true() : j->text[0] == 'f' ? json_false() : json_null();
}

static json_t *new_value(builder *b) {
    switch (b->json.event) {
    case MLA_JSON_OBJECT: return json_object();
    case MLA_JSON_ARRAY: return json_array();
    case MLA_JSON_STRING: return new_string(b);
    case MLA_JSON_WHOLE:
    case MLA_JSON_REAL: return new_number(b);
    default: return new_literal(&b->json);
    }
}

/* ---- the tree */

static mla_status set_key(builder *b, json_t *object, json_t *value) {
    const size_t before = json_object_size(object);
    if (json_object_set_new_nocheck(object, b->key.bytes, value)) return no_memory(b);
    if (json_object_size(object) > before) return MLA_OK;
    if (!b->twice++) strncat(b->first_twice, b->key.bytes, sizeof b->first_twice - 1);
    return MLA_OK;
}

/* Puts a new value in its place: the tree owns it from here on. */
static mla_status attach(builder *b, json_t *value) {
    if (!value) return no_memory(b);
    json_t *parent = b->depth ? b->open[b->depth - 1] : NULL;
    if (!parent) b->root = value;
    else if (json_is_object(parent)) return set_key(b, parent, value);
    else if (json_array_append_new(parent, value)) return no_memory(b);
    return MLA_OK;
}

static mla_status descend(builder *b, json_t *value) {
    if (b->depth == MLA_JSON_TREE_DEEPEST) return too_deep(b);
    const mla_status status = mla_grow(b->context, &b->open, &b->capacity, b->depth + 1, sizeof *b->open, "JSON");
    if (!status) b->open[b->depth++] = value;
    return status;
}

static mla_status take_event(builder *b) {
    switch (b->json.event) {
    case MLA_JSON_WRONG: return fail_here(b, b->json.problem);
    case MLA_JSON_KEY: return take_text(b, false, &b->key);
    case MLA_JSON_OBJECT_END:
    case MLA_JSON_ARRAY_END: b->depth--; return MLA_OK;
    default: break;
    }
    json_t *value = new_value(b);
    const mla_status status = attach(b, value);
    return status || !(json_is_object(value) || json_is_array(value)) ? status : descend(b, value);
}

static mla_status check_twice(builder *b) {
    char more[60] = "";
    if (!b->twice) return MLA_OK;
    if (b->flags & MLA_JSON_UNIQUE)
        return mla_fail(b->context, MLA_ERROR_FORMAT, "%sthe key \"%s\" is given twice in one object", b->where,
                        b->first_twice);
    if (b->twice > 1) snprintf(more, sizeof more, ", and %" PRId64 " more are", b->twice - 1);
    if (!(b->flags & MLA_JSON_QUIET))
        mla_warn(b->context, "%sthe key \"%s\" is given twice in one object%s; the last one counts", b->where,
                 b->first_twice, more);
    return MLA_OK;
}

static mla_status build(builder *b) {
    mla_status status = MLA_OK;
    if (!b->plain_numbers) return no_memory(b);
    while (!status && mla_json_next(&b->json) != MLA_JSON_END) status = take_event(b);
    return status ? status : check_twice(b);
}

mla_status mla_json_read(mla_context *context, const char *where, const char *bytes, int64_t length, unsigned flags,
                         json_t **out) {
    builder b = {.context = context, .where = where, .flags = flags};
    b.plain_numbers = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    mla_json_begin(&b.json, bytes, length);
    const mla_status status = build(&b);
    if (status) json_decref(b.root);
    *out = status ? NULL : b.root;

    if (b.plain_numbers) freelocale(b.plain_numbers);
    mla_json_free(&b.json);
    free(b.open);
    free(b.key.bytes);
    free(b.plain.bytes);
    free(b.valid.bytes);
    return status;
}

mla_status mla_json_parse(mla_context *context, const char *where, const char *text, json_t **out) {
    return mla_json_read(context, where, text, (int64_t)strlen(text), 0, out);
}

const char *mla_json_text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

double mla_json_number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

bool mla_json_is_on(const json_t *object, const char *key, bool otherwise) {
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}
