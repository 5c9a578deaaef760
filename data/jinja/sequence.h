/* Values that have parts. */
#ifndef MLA_DATA_JINJA_SEQUENCE_H
#define MLA_DATA_JINJA_SEQUENCE_H

#include "data/jinja/value.h"

/* What a loop goes through: a list as it is, the characters of a text, the keys of a dict; an error for what has no
 * parts. A generator is empty afterwards. Never NULL but after an error. */
const jinja_list *mla_jinja_iterate(jinja_machine *m, jinja_value v);
/* len(v), or an error. */
int64_t mla_jinja_length(jinja_machine *m, jinja_value v);
/* item in container */
bool mla_jinja_contains(jinja_machine *m, jinja_value container, jinja_value item);

#endif
