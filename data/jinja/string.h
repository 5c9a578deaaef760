/* Texts as they are spelled: Python's string literals and repr, JSON. */
#ifndef MLA_DATA_JINJA_STRING_H
#define MLA_DATA_JINJA_STRING_H

#include "data/jinja/text.h"

struct json_t;

/* What stands between the quotes of a literal. */
void mla_jinja_unescape(jinja_builder *b, const char *bytes, int64_t length);

/* str(v) and repr(v) of Python; of str, the text as it is. */
void mla_jinja_print(jinja_builder *b, jinja_value v);
jinja_value mla_jinja_str(jinja_machine *m, jinja_value v);

typedef struct {
    bool ascii, sorted;
    const jinja_text *indent; /* of a level; NULL: all in one line */
    const jinja_text *between, *behind_key;
} jinja_json_style;
/* json.dumps of Python. */
void mla_jinja_put_json(jinja_builder *b, jinja_value v, const jinja_json_style *style);

/* A value of JSON whose texts all have the mark; and the messages of a conversation (jinja.h). */
jinja_value mla_jinja_from_json(jinja_machine *m, const struct json_t *json, uint16_t mark);
jinja_value mla_jinja_messages(jinja_machine *m, const struct json_t *json);

#endif
