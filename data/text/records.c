#include "data/text/records.h"
#include "data/text/unpack.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* ---- names */

static bool stem_ends_with(const char *name, const char *ending) {
    const int64_t stem = mla_codec_stem(name), length = (int64_t)strlen(ending);
    return stem >= length && !strncasecmp(name + stem - length, ending, (size_t)length);
}

bool mla_records_named(const char *name) {
    return stem_ends_with(name, ".jsonl") || stem_ends_with(name, ".ndjson") || stem_ends_with(name, ".jsonlines");
}

bool mla_records_maybe(const char *name) { return stem_ends_with(name, ".json"); }

/* ---- forms */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static int64_t skip_blanks(const char *text, int64_t length, int64_t at) {
    while (at < length && is_blank(text[at])) at++;
    return at;
}

/* The end of the string whose first quote is at `at`: behind its last, or the end of the text. */
static int64_t skip_string(const char *text, int64_t length, int64_t at) {
    for (at++; at < length && text[at] != '"'; at++)
        if (text[at] == '\\') at++;
    return at < length ? at + 1 : length;
}

/* The end of the object at `at`, by its brackets alone: whoever reads it looks at the rest. -1: the text ends first. */
static int64_t skip_object(const char *text, int64_t length, int64_t at) {
    for (int64_t depth = 0; at < length;) {
        const char c = text[at];
        if (c == '"') {
            at = skip_string(text, length, at);
            continue;
        }
        at++;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (depth <= 0) return at;
    }
    return -1;
}

mla_record_form mla_records_form(const char *text, int64_t length) {
    int64_t at = skip_blanks(text, length, 0);
    if (at == length || text[at] != '[') return MLA_RECORDS_LINES;
    at = skip_blanks(text, length, at + 1);
    return at < length && text[at] == '{' ? MLA_RECORDS_ELEMENTS : MLA_RECORDS_LINES;
}

bool mla_records_first_is_object(const char *text, int64_t length) {
    const int64_t begin = skip_blanks(text, length, 0);
    const char *newline = begin < length ? memchr(text + begin, '\n', (size_t)(length - begin)) : NULL;
    const int64_t end = newline ? newline - text : length;
    if (begin == length || text[begin] != '{') return false;
    const int64_t behind = skip_object(text, end, begin);
    return behind >= 0 && skip_blanks(text, end, behind) == end;
}

int64_t mla_records_first_of_objects(const char *text, int64_t length) {
    int64_t first = 0;
    for (int64_t at = skip_blanks(text, length, 0); at < length; at = skip_blanks(text, length, at)) {
        if (text[at] != '{' || (at = skip_object(text, length, at)) < 0) return 0;
        if (!first) first = at;
    }
    return first;
}

/* ---- records */

static mla_status wrong(mla_context *context, const mla_records *r, const char *path, const char *what) {
    return mla_fail(context, MLA_ERROR_FORMAT, "%s:%" PRId64 ": %s", path, r->next_line, what);
}

/* Goes on to `at`, and counts the lines on the way. */
static void go_to(mla_records *r, int64_t at) {
    for (const char *p; (p = memchr(r->text + r->at, '\n', (size_t)(at - r->at))); r->at = p + 1 - r->text)
        r->next_line++;
    r->at = at;
}

static void next_line(mla_records *r, const char **record, int64_t *size) {
    for (*size = 0; r->at < r->length && !*size;) {
        const char *line = r->text + r->at, *end = memchr(line, '\n', (size_t)(r->length - r->at));
        const int64_t bytes = end ? end - line : r->length - r->at;
        *record = line;
        if (skip_blanks(line, bytes, 0) < bytes) *size = bytes;
        r->at += bytes + (end != NULL);
        r->line = r->next_line++;
    }
}

static mla_status next_element(mla_context *context, mla_records *r, const char *path, const char **record,
                               int64_t *size) {
    const bool first = r->at == 0;
    *size = 0;
    go_to(r, skip_blanks(r->text, r->length, r->at));
    if (r->at == r->length && !first) return MLA_OK; /* behind the end of the array */
    const char c = r->text[r->at];
    if (c != (first ? '[' : ',') && c != ']') return wrong(context, r, path, "expected , or ] behind an object");
    go_to(r, skip_blanks(r->text, r->length, r->at + 1));
    if (c == ']') return r->at == r->length ? MLA_OK : wrong(context, r, path, "something stands behind the array");
    if (r->at == r->length || r->text[r->at] != '{') return wrong(context, r, path, "not a JSON object");
    const int64_t end = skip_object(r->text, r->length, r->at);
    if (end < 0) return wrong(context, r, path, "this object has no end: the array is cut off");
    *record = r->text + r->at;
    *size = end - r->at;
    r->line = r->next_line;
    go_to(r, skip_blanks(r->text, r->length, end));
    if (r->at == r->length) return wrong(context, r, path, "the array has no end");
    return MLA_OK;
}

/* Of a text that is nothing else. */
static void next_object(mla_records *r, const char **record, int64_t *size) {
    go_to(r, skip_blanks(r->text, r->length, r->at));
    *record = r->text + r->at;
    r->line = r->next_line;
    *size = r->at < r->length ? skip_object(r->text, r->length, r->at) - r->at : 0;
    go_to(r, r->at + *size);
}

mla_status mla_records_next(mla_context *context, mla_records *r, const char *path, const char **record,
                            int64_t *size) {
    if (r->form == MLA_RECORDS_ELEMENTS) return next_element(context, r, path, record, size);
    if (r->form == MLA_RECORDS_OBJECTS) next_object(r, record, size);
    else next_line(r, record, size);
    return MLA_OK;
}
