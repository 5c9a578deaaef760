/* From tokens to the tree. */
#ifndef MLA_DATA_JINJA_PARSER_H
#define MLA_DATA_JINJA_PARSER_H

#include "data/jinja/lexer.h"
#include "data/jinja/node.h"

typedef struct mla_jinja mla_jinja;

typedef struct {
    mla_jinja *jinja;
    jinja_machine *m;
    const jinja_token *token; /* the next */
    int loops;                /* that the next token is in, of this macro */
} jinja_parser;

/* Fills in jinja->body. */
void mla_jinja_parse_template(jinja_parser *p);

/* One expression; with commas, a tuple. Never NULL, though after an error no expression. */
jinja_node *mla_jinja_expression(jinja_parser *p);
jinja_node *mla_jinja_tuple(jinja_parser *p);
/* What a value is assigned to: a name, or a list of names; with `fields` an attribute of a namespace, too. */
jinja_node *mla_jinja_target(jinja_parser *p, bool fields);
/* An `or` and all that binds closer: what stands behind `in` and `if` of a loop. */
jinja_node *mla_jinja_or(jinja_parser *p);
/* The filters that follow, around a node that may be NULL; with `begun`, the first without its |. */
jinja_node *mla_jinja_filters(jinja_parser *p, jinja_node *node, bool begun);

jinja_node *mla_jinja_node(jinja_parser *p, jinja_node_kind kind);
void mla_jinja_add(jinja_parser *p, jinja_nodes *list, jinja_node *node);
const char *mla_jinja_mention(jinja_parser *p, const char *bytes, int64_t length);

bool mla_jinja_is(const jinja_parser *p, jinja_token_kind kind, const char *text);
bool mla_jinja_skip(jinja_parser *p, jinja_token_kind kind, const char *text);
void mla_jinja_expect(jinja_parser *p, jinja_token_kind kind, const char *text);
const char *mla_jinja_take_name(jinja_parser *p);

#endif
