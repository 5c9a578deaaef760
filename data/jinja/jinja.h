/* Chat templates: the part of Jinja2 that they use, parsed once and rendered for one conversation after the other, as
 * transformers renders them (jinja2's ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, break, continue
 * and
 * {% generation %}). What is not known here is refused by its name, with the line.
 *
 * A template comes from a file and is not trusted: steps, depth, memory and output of a rendering have limits, and it
 * reads nothing but its variables.
 *
 * Each byte of the text that comes out has a mark: 0 where the template wrote it, else the mark of the variable it is
 * from. So text of a conversation can be told from the template's own, wherever it ends up. */
#ifndef MLA_DATA_JINJA_JINJA_H
#define MLA_DATA_JINJA_JINJA_H

#include "autograd/base/context.h"

struct json_t; /* of jansson */

typedef struct mla_jinja mla_jinja;

/* Parses `length` bytes of UTF-8; `where` (a file, or what the template is) begins every message about it. Errors:
 * MLA_ERROR_FORMAT for what is wrong or not known here; memory. */
mla_status mla_jinja_parse(mla_context *context, mla_jinja **out, const char *where, const char *text, int64_t length);
void mla_jinja_destroy(mla_jinja *jinja);

/* Whether the name is anywhere in the template as a variable, an attribute or a text: where it is not, the template
 * does not read it. */
bool mla_jinja_mentions(const mla_jinja *jinja, const char *name);

bool mla_jinja_has_generation(const mla_jinja *jinja); /* {% generation %} */

/* What a list of messages' bytes are marked with: message i (from 0), and the field that they come from. */
typedef enum {
    MLA_JINJA_CONTENT,
    MLA_JINJA_REASONING,
    MLA_JINJA_TOOL_CALLS,
    MLA_JINJA_OTHER,
    MLA_JINJA_FIELDS
} mla_jinja_field;
enum { MLA_JINJA_TEMPLATE = 0, MLA_JINJA_DATA = 1, MLA_JINJA_FIRST_MESSAGE = 4, MLA_JINJA_MOST_MESSAGES = 16000 };

static inline uint16_t mla_jinja_mark(int64_t message, mla_jinja_field field) {
    return (uint16_t)(MLA_JINJA_FIRST_MESSAGE + message * MLA_JINJA_FIELDS + field);
}
/* The message that a mark is of; -1: of none. */
static inline int64_t mla_jinja_message(uint16_t mark) {
    return mark < MLA_JINJA_FIRST_MESSAGE ? -1 : (mark - MLA_JINJA_FIRST_MESSAGE) / MLA_JINJA_FIELDS;
}

typedef struct {
    const char *name;
    const struct json_t *value;
    enum {
        MLA_JINJA_OF_DATA,     /* its texts are marked MLA_JINJA_DATA */
        MLA_JINJA_OF_TEMPLATE, /* not marked, as if the template spelled them out */
        MLA_JINJA_OF_MESSAGES  /* a list of objects: marked by mla_jinja_mark, but for the names of roles, which are not
                                  marked; keys that are null are left out */
    } kind;
} mla_jinja_variable;

/* A part of the text that stood between {% generation %} and {% endgeneration %}. */
typedef struct {
    int64_t begin, end; /* bytes */
} mla_jinja_span;

/* Begins as {0} and may be used again. */
typedef struct {
    char *bytes; /* not terminated */
    uint16_t *marks;
    int64_t length, capacity, mark_capacity;
    mla_jinja_span *spans;
    int64_t span_count, span_capacity;
} mla_jinja_output;
void mla_jinja_output_free(mla_jinja_output *output);

/* Renders with these variables; `where` (a conversation's file and line) begins the messages. `date` is what
 * strftime_now tells ("2024-07-26"); NULL: a template that asks is refused, for the same data would give another text
 * tomorrow. Errors: MLA_ERROR_ARGUMENT where the template itself refuses (raise_exception), does something that is not
 * known here, or goes beyond a limit; memory. One thread at a time for a template. */
mla_status mla_jinja_render(mla_context *context, mla_jinja *jinja, const char *where,
                            const mla_jinja_variable *variables, int count, const char *date, mla_jinja_output *output);

#endif
