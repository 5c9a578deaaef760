/* What templates compute with: values as Python has them, in memory that is given back all at once. */
#ifndef MLA_DATA_JINJA_VALUE_H
#define MLA_DATA_JINJA_VALUE_H

#include "autograd/base/context.h"

typedef struct mla_jinja_block mla_jinja_block;
typedef struct {
    mla_jinja_block *first;
    int64_t used, limit; /* bytes */
} jinja_arena;

typedef enum {
    JINJA_ABSENT, /* an argument that is not given */
    JINJA_UNDEFINED,
    JINJA_NONE,
    JINJA_BOOL,
    JINJA_INT,
    JINJA_FLOAT,
    JINJA_TEXT,
    JINJA_LIST,
    JINJA_DICT,
    JINJA_NAMESPACE,
    JINJA_MACRO,
    JINJA_BOUND, /* a method of a value */
    JINJA_FUNCTION,
    JINJA_LOOP
} jinja_kind;

typedef struct {
    const char *bytes;
    const uint16_t *marks; /* of each byte; NULL: all 0 */
    int64_t length;
    bool safe; /* Markup of markupsafe */
} jinja_text;

typedef struct jinja_list jinja_list;
typedef struct jinja_dict jinja_dict;
typedef struct jinja_macro jinja_macro;
typedef struct jinja_bound jinja_bound;
typedef struct jinja_loop jinja_loop;
typedef struct jinja_function jinja_function;

typedef struct {
    jinja_kind kind;
    union {
        const char *what; /* of what is undefined: words for the message */
        bool truth;
        int64_t integer;
        double real;
        const jinja_text *text;
        jinja_list *list;
        jinja_dict *dict; /* and of a namespace */
        jinja_macro *macro;
        jinja_bound *bound;
        const jinja_function *function;
        jinja_loop *loop;
    };
} jinja_value;

typedef enum {
    JINJA_A_LIST,
    JINJA_A_TUPLE,
    JINJA_A_RANGE,
    JINJA_A_VIEW,     /* of a dict: has a length, but no places */
    JINJA_A_GENERATOR /* can be gone through once, and that is all */
} jinja_form;

struct jinja_list {
    jinja_value *items;
    int64_t count, capacity;
    jinja_form form;
};

/* In the order in which the keys came. */
struct jinja_dict {
    jinja_value *keys, *values;
    int64_t count, capacity;
};

struct jinja_bound {
    jinja_value self;
    const jinja_function *method;
};

struct jinja_loop {
    const jinja_list *list;
    int64_t index; /* from 0 */
    int depth;     /* from 1 */
};

/* A rendering, or the parsing of a template. Errors stay: after the first all that is computed is undefined. */
typedef struct {
    mla_context *context;
    const char *where, *of; /* begin messages: the conversation; the template */
    jinja_arena arena;
    mla_status status;
    int64_t steps; /* that are left */
    int depth;
    int line;         /* of the node that is worked on */
    const char *date; /* of strftime_now */
} jinja_machine;

/* Records an error of the template at the machine's line, unless there is one. */
void mla_jinja_fail(jinja_machine *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Zeroed; NULL after an error. */
void *mla_jinja_alloc(jinja_machine *m, int64_t count, size_t size);
void mla_jinja_arena_free(jinja_arena *arena);

/* Takes so many steps; false after an error. */
bool mla_jinja_step(jinja_machine *m, int64_t steps);
/* One level deeper; false where it is too deep. Leave by m->depth--, in either case. */
bool mla_jinja_enter(jinja_machine *m);

/* ---- making values */

jinja_value mla_jinja_undefined(jinja_machine *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline jinja_value mla_jinja_none(void) { return (jinja_value){.kind = JINJA_NONE}; }
static inline jinja_value mla_jinja_bool(bool truth) { return (jinja_value){.kind = JINJA_BOOL, .truth = truth}; }
static inline jinja_value mla_jinja_int(int64_t i) { return (jinja_value){.kind = JINJA_INT, .integer = i}; }
static inline jinja_value mla_jinja_float(double x) { return (jinja_value){.kind = JINJA_FLOAT, .real = x}; }
jinja_value mla_jinja_list(jinja_machine *m, jinja_form form, int64_t capacity);
jinja_value mla_jinja_dict(jinja_machine *m);
void mla_jinja_append(jinja_machine *m, jinja_list *list, jinja_value value);
void mla_jinja_dict_set(jinja_machine *m, jinja_dict *dict, jinja_value key, jinja_value value);
/* NULL: has no such key. */
const jinja_value *mla_jinja_dict_get(jinja_machine *m, const jinja_dict *dict, jinja_value key);
const jinja_value *mla_jinja_dict_find(const jinja_dict *dict, const char *key);

/* ---- asking them */

bool mla_jinja_is_number(jinja_value v); /* bools are, in Python */
double mla_jinja_real(jinja_value v);    /* of a number */
bool mla_jinja_is_text(jinja_value v, const char *text);
bool mla_jinja_truth(jinja_machine *m, jinja_value v);
bool mla_jinja_equal(jinja_machine *m, jinja_value a, jinja_value b);
/* a < b: -1, a > b: 1; an error where they have no order. */
int mla_jinja_compare(jinja_machine *m, jinja_value a, jinja_value b);
const char *mla_jinja_type(jinja_value v); /* as Python calls it */

#endif
