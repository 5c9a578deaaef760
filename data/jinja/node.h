/* The tree of a template. */
#ifndef MLA_DATA_JINJA_NODE_H
#define MLA_DATA_JINJA_NODE_H

#include "data/jinja/value.h"

typedef enum {
    /* expressions */
    JINJA_CONSTANT,  /* value */
    JINJA_NAME,      /* name */
    JINJA_ATTRIBUTE, /* a.name */
    JINJA_ITEM,      /* a[b] */
    JINJA_SLICE,     /* list: begin, end, step, or NULL: only as b of an item */
    JINJA_CALL,      /* a(list, names) */
    JINJA_FILTER,    /* a | name(list, names) */
    JINJA_TEST,      /* a is name(list, names) */
    JINJA_UNARY,     /* op a: - + n(ot) */
    JINJA_BINARY,    /* a op b: arithmetic, & (and), | (or) */
    JINJA_CONCAT,    /* list, with ~ between */
    JINJA_COMPARE,   /* a, and a list of JINJA_OPERAND */
    JINJA_OPERAND,   /* op a: = ! < l(<=) > g(>=) i(n) o(not in) */
    JINJA_CHOICE,    /* b if a else c; c may be NULL */
    JINJA_LIST_OF,   /* list */
    JINJA_TUPLE_OF,  /* list */
    JINJA_DICT_OF,   /* list: key, value, key, ... */
    /* statements */
    JINJA_DATA,         /* value */
    JINJA_OUTPUT,       /* a */
    JINJA_IF,           /* a: list, other */
    JINJA_FOR,          /* for a in b if c: list, other */
    JINJA_SET,          /* a = b */
    JINJA_SET_BLOCK,    /* a = list, through the filter b where it is not NULL; its innermost a is NULL */
    JINJA_FILTER_BLOCK, /* list, through the filter b */
    JINJA_MACRO_OF,     /* name, names with defaults in a's list: list */
    JINJA_BREAK,
    JINJA_CONTINUE,
    JINJA_GENERATION /* list */
} jinja_node_kind;

typedef struct jinja_node jinja_node;
typedef struct {
    jinja_node **items;
    int64_t count, capacity;
} jinja_nodes;

struct jinja_node {
    jinja_node_kind kind;
    int line;
    char op[3]; /* of arithmetic: as it is spelled */
    const char *name;
    jinja_value value;
    jinja_node *a, *b, *c;
    jinja_nodes list, other;
    const char **names; /* of arguments, NULL: by their place; of parameters */
};

struct mla_jinja {
    jinja_machine machine; /* its arena holds the tree */
    char *of;              /* begins messages */
    jinja_nodes body;
    bool generation;
    const char **mentioned; /* names and texts of the template */
    int64_t mentioned_count, mentioned_capacity;
};

#endif
