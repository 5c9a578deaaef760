/* A template cut into tokens, as jinja2's lexer does with trim_blocks and lstrip_blocks. */
#ifndef MLA_DATA_JINJA_LEXER_H
#define MLA_DATA_JINJA_LEXER_H

#include "data/jinja/value.h"

typedef enum {
    JINJA_TOKEN_END, /* of the template */
    JINJA_TOKEN_DATA,
    JINJA_TOKEN_OUTPUT, /* {{ */
    JINJA_TOKEN_OUTPUT_END,
    JINJA_TOKEN_BLOCK, /* {% */
    JINJA_TOKEN_BLOCK_END,
    JINJA_TOKEN_NAME,
    JINJA_TOKEN_STRING, /* as it stands between its quotes */
    JINJA_TOKEN_INT,
    JINJA_TOKEN_FLOAT,
    JINJA_TOKEN_OPERATOR
} jinja_token_kind;

typedef struct {
    jinja_token_kind kind;
    int line;
    const char *bytes; /* of the machine's arena; not terminated */
    int64_t length;
} jinja_token;

/* The last is JINJA_TOKEN_END. NULL after an error. The bytes are valid UTF-8. */
jinja_token *mla_jinja_tokens(jinja_machine *m, const char *text, int64_t length);

#endif
