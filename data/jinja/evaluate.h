/* Running the tree: names and their scopes, expressions, statements; and the tables of what can be called. */
#ifndef MLA_DATA_JINJA_EVALUATE_H
#define MLA_DATA_JINJA_EVALUATE_H

#include "data/jinja/jinja.h"
#include "data/jinja/node.h"
#include "data/jinja/sequence.h"
#include "data/jinja/text.h"

/* Names of a scope: of the template, a turn of a loop, a call of a macro. */
typedef struct jinja_scope jinja_scope;
struct jinja_scope {
    jinja_scope *outer;
    const char **names;
    jinja_value *values;
    int64_t count, capacity;
    int loops; /* around it */
};

struct jinja_macro {
    const jinja_node *node;
    jinja_scope *scope;
};

typedef struct {
    jinja_machine machine; /* first: functions of values take it */
    jinja_scope *scope;
    jinja_builder *out;
    const jinja_builder *whole; /* `out` where no block captures the text */
    const jinja_node *leaving;  /* break or continue, until the loop is reached */
    mla_jinja_output *output;
} jinja_run;

const jinja_value *mla_jinja_lookup(const jinja_run *r, const char *name);
void mla_jinja_assign(jinja_run *r, jinja_scope *scope, const char *name, jinja_value value);
jinja_scope *mla_jinja_scope(jinja_run *r, jinja_scope *outer);

jinja_value mla_jinja_evaluate(jinja_run *r, const jinja_node *node);
/* a.name and a[key]. */
jinja_value mla_jinja_attribute(jinja_run *r, jinja_value of, const char *name);
jinja_value mla_jinja_item(jinja_run *r, jinja_value of, jinja_value key);
jinja_value mla_jinja_slice(jinja_run *r, jinja_value of, const jinja_value bounds[3]);
jinja_value mla_jinja_arithmetic(jinja_run *r, const char *op, jinja_value a, jinja_value b);

void mla_jinja_execute(jinja_run *r, const jinja_nodes *nodes);
/* The text that the nodes print. */
jinja_value mla_jinja_capture(jinja_run *r, const jinja_nodes *nodes);

/* ---- calls */

typedef struct {
    const jinja_value *values;
    const char *const *names; /* NULL: all by their place */
    int64_t count;
} jinja_arguments;

/* What can be called: a function, a filter, a test, a method. `self` is the value before | or . or is. */
enum { JINJA_MOST_ARGUMENTS = 6 };
struct jinja_function {
    const char *name;
    jinja_value (*call)(jinja_run *r, jinja_value self, const jinja_value *given);
    int needed; /* the first so many must be given */
    const char
        *names[JINJA_MOST_ARGUMENTS]; /* the others are JINJA_ABSENT where they are not; "(name)": by place only */
    jinja_value (*call_any)(jinja_run *r, jinja_value self, const jinja_arguments *given); /* instead: takes all */
};

/* Puts the arguments in the order of the function's and calls it. */
jinja_value mla_jinja_apply(jinja_run *r, const jinja_function *f, jinja_value self, const jinja_arguments *given);
jinja_value mla_jinja_call(jinja_run *r, jinja_value callee, const jinja_arguments *given);
jinja_value mla_jinja_call_macro(jinja_run *r, const jinja_macro *macro, const jinja_arguments *given);

/* By name; a name that is not known is an error that names it. */
jinja_value mla_jinja_filter(jinja_run *r, const char *name, jinja_value self, const jinja_arguments *given);
bool mla_jinja_test(jinja_run *r, const char *name, jinja_value self, const jinja_arguments *given);
const jinja_function *mla_jinja_global(const char *name); /* range, namespace, ...; NULL */
/* A method of the value's kind; JINJA_UNDEFINED where Python has none. */
jinja_value mla_jinja_method(jinja_run *r, jinja_value self, const char *name);

/* Each ends with a name that is NULL. */
extern const jinja_function mla_jinja_list_filters[], mla_jinja_text_filters[], mla_jinja_text_methods[];
const jinja_function *mla_jinja_function(const jinja_function *table, const char *name); /* NULL: not in it */

/* The lines of a text, without their ends or with them; what of it is upper or lower case. */
jinja_value mla_jinja_lines(jinja_run *r, const jinja_text *text, bool keep_ends);
jinja_value mla_jinja_upper(jinja_run *r, const jinja_text *text);
jinja_value mla_jinja_lower(jinja_run *r, const jinja_text *text);
jinja_value mla_jinja_capitalize(jinja_run *r, const jinja_text *text);
jinja_value mla_jinja_replace(jinja_run *r, const jinja_text *text, const jinja_text *old, const jinja_text *new_,
                              int64_t count);

/* self's attribute "a.b.0", as the filters have them. */
jinja_value mla_jinja_path(jinja_run *r, jinja_value self, jinja_value path);

/* An int that was given, or what stands for it; an error for other values. */
int64_t mla_jinja_given_int(jinja_run *r, jinja_value v, int64_t otherwise);
bool mla_jinja_given_bool(jinja_run *r, jinja_value v, bool otherwise);
const jinja_text *mla_jinja_given_text(jinja_run *r, jinja_value v);

#endif
