#include "data/jinja/evaluate.h"
#include "data/jinja/string.h"

#include <string.h>

/* ---- names ---- */

const jinja_value *mla_jinja_lookup(const jinja_run *r, const char *name) {
    for (const jinja_scope *s = r->scope; s; s = s->outer)
        for (int64_t i = 0; i < s->count; i++)
            if (!strcmp(s->names[i], name)) return &s->values[i];
    return NULL;
}

jinja_scope *mla_jinja_scope(jinja_run *r, jinja_scope *outer) {
    jinja_scope *s = mla_jinja_alloc(&r->machine, 1, sizeof *s);
    if (!s) return outer;
    *s = (jinja_scope){.outer = outer, .loops = outer ? outer->loops : 0};
    return s;
}

void mla_jinja_assign(jinja_run *r, jinja_scope *s, const char *name, jinja_value value) {
    for (int64_t i = 0; i < s->count; i++)
        if (!strcmp(s->names[i], name)) {
            s->values[i] = value;
            return;
        }
    if (s->count == s->capacity) {
        const int64_t capacity = s->capacity ? 2 * s->capacity : 4;
        const char **names = mla_jinja_alloc(&r->machine, capacity, sizeof *names);
        jinja_value *values = mla_jinja_alloc(&r->machine, capacity, sizeof *values);
        if (!names || !values) return;
        for (int64_t i = 0; i < s->count; i++) names[i] = s->names[i], values[i] = s->values[i];
        s->names = names;
        s->values = values;
        s->capacity = capacity;
    }
    s->names[s->count] = name;
    s->values[s->count++] = value;
}

static jinja_value undefined_name(jinja_run *r, const char *name) {
    return mla_jinja_undefined(&r->machine, "'%.80s' is undefined", name);
}

static jinja_value value_of_name(jinja_run *r, const char *name) {
    const jinja_value *found = mla_jinja_lookup(r, name);
    const jinja_function *global = found ? NULL : mla_jinja_global(name);
    if (found) return *found;
    if (global) return (jinja_value){.kind = JINJA_FUNCTION, .function = global};
    return undefined_name(r, name);
}

/* ---- parts of expressions ---- */

static jinja_value sequence(jinja_run *r, const jinja_node *n) {
    const jinja_form form = n->kind == JINJA_TUPLE_OF ? JINJA_A_TUPLE : JINJA_A_LIST;
    jinja_value list = mla_jinja_list(&r->machine, form, n->list.count);
    for (int64_t i = 0; i < n->list.count && !r->machine.status; i++)
        mla_jinja_append(&r->machine, list.list, mla_jinja_evaluate(r, n->list.items[i]));
    return list;
}

static jinja_value mapping(jinja_run *r, const jinja_node *n) {
    jinja_value dict = mla_jinja_dict(&r->machine);
    for (int64_t i = 0; i + 1 < n->list.count && !r->machine.status; i += 2) {
        const jinja_value key = mla_jinja_evaluate(r, n->list.items[i]);
        const jinja_value value = mla_jinja_evaluate(r, n->list.items[i + 1]);
        if (key.kind == JINJA_DICT || (key.kind == JINJA_LIST && key.list->form != JINJA_A_TUPLE))
            mla_jinja_fail(&r->machine, "unhashable type: '%s'", mla_jinja_type(key));
        if (!r->machine.status) mla_jinja_dict_set(&r->machine, dict.dict, key, value);
    }
    return dict;
}

static jinja_value concatenation(jinja_run *r, const jinja_node *n) {
    jinja_builder b = {.machine = &r->machine};
    for (int64_t i = 0; i < n->list.count && !r->machine.status; i++)
        mla_jinja_print(&b, mla_jinja_evaluate(r, n->list.items[i]));
    return mla_jinja_built(&b);
}

static bool holds(jinja_run *r, char op, jinja_value a, jinja_value b) {
    jinja_machine *m = &r->machine;
    switch (op) {
    case '=': return mla_jinja_equal(m, a, b);
    case '!': return !mla_jinja_equal(m, a, b);
    case 'i': return mla_jinja_contains(m, b, a);
    case 'o': return !mla_jinja_contains(m, b, a);
    case '<': return mla_jinja_compare(m, a, b) < 0;
    case 'l': return mla_jinja_compare(m, a, b) <= 0;
    case '>': return mla_jinja_compare(m, a, b) > 0;
    default: return mla_jinja_compare(m, a, b) >= 0;
    }
}

static jinja_value comparisons(jinja_run *r, const jinja_node *n) {
    jinja_value left = mla_jinja_evaluate(r, n->a);
    bool all = true;
    for (int64_t i = 0; i < n->list.count && all && !r->machine.status; i++) {
        const jinja_value right = mla_jinja_evaluate(r, n->list.items[i]->a);
        all = !r->machine.status && holds(r, n->list.items[i]->op[0], left, right);
        left = right;
    }
    return mla_jinja_bool(all);
}

static jinja_value binary(jinja_run *r, const jinja_node *n) {
    const jinja_value a = mla_jinja_evaluate(r, n->a);
    if (n->op[0] == '&' || n->op[0] == '|')
        return mla_jinja_truth(&r->machine, a) == (n->op[0] == '|') ? a : mla_jinja_evaluate(r, n->b);
    const jinja_value b = mla_jinja_evaluate(r, n->b);
    r->machine.line = n->line;
    return r->machine.status ? a : mla_jinja_arithmetic(r, n->op, a, b);
}

static jinja_value unary(jinja_run *r, const jinja_node *n) {
    const jinja_value a = mla_jinja_evaluate(r, n->a);
    if (n->op[0] == 'n') return mla_jinja_bool(!mla_jinja_truth(&r->machine, a));
    if (a.kind == JINJA_FLOAT) return n->op[0] == '-' ? mla_jinja_float(-a.real) : a;
    if (a.kind == JINJA_UNDEFINED) mla_jinja_fail(&r->machine, "%s", a.what);
    else if (!mla_jinja_is_number(a))
        mla_jinja_fail(&r->machine, "bad operand type for unary %s: '%s'", n->op, mla_jinja_type(a));
    return mla_jinja_arithmetic(r, n->op, mla_jinja_int(0), a);
}

static jinja_value item(jinja_run *r, const jinja_node *n) {
    const jinja_value of = mla_jinja_evaluate(r, n->a);
    jinja_value bounds[3] = {{0}};
    if (n->b->kind != JINJA_SLICE) {
        const jinja_value key = mla_jinja_evaluate(r, n->b);
        r->machine.line = n->line;
        return mla_jinja_item(r, of, key);
    }
    for (int i = 0; i < 3; i++)
        bounds[i] = n->b->list.items[i] ? mla_jinja_evaluate(r, n->b->list.items[i]) : mla_jinja_none();
    r->machine.line = n->line;
    return mla_jinja_slice(r, of, bounds);
}

static jinja_arguments arguments(jinja_run *r, const jinja_node *n) {
    jinja_value *values = mla_jinja_alloc(&r->machine, n->list.count, sizeof *values);
    for (int64_t i = 0; values && i < n->list.count; i++) values[i] = mla_jinja_evaluate(r, n->list.items[i]);
    r->machine.line = n->line;
    return (jinja_arguments){values, n->names, n->list.count};
}

static jinja_value call(jinja_run *r, const jinja_node *n) {
    const jinja_value callee = mla_jinja_evaluate(r, n->a);
    const jinja_arguments given = arguments(r, n);
    return r->machine.status ? callee : mla_jinja_call(r, callee, &given);
}

static jinja_value filter(jinja_run *r, const jinja_node *n) {
    const jinja_value self = mla_jinja_evaluate(r, n->a);
    const jinja_arguments given = arguments(r, n);
    return r->machine.status ? self : mla_jinja_filter(r, n->name, self, &given);
}

static jinja_value test(jinja_run *r, const jinja_node *n) {
    const jinja_value self = mla_jinja_evaluate(r, n->a);
    const jinja_arguments given = arguments(r, n);
    return mla_jinja_bool(!r->machine.status && mla_jinja_test(r, n->name, self, &given));
}

static jinja_value choice(jinja_run *r, const jinja_node *n) {
    if (mla_jinja_truth(&r->machine, mla_jinja_evaluate(r, n->a))) return mla_jinja_evaluate(r, n->b);
    if (n->c) return mla_jinja_evaluate(r, n->c);
    return mla_jinja_undefined(&r->machine, "the inline if-expression on line %d evaluated to false and has no else",
                               n->line);
}

static jinja_value attribute(jinja_run *r, const jinja_node *n) {
    const jinja_value of = mla_jinja_evaluate(r, n->a);
    r->machine.line = n->line;
    return mla_jinja_attribute(r, of, n->name);
}

static jinja_value expression(jinja_run *r, const jinja_node *n) {
    switch (n->kind) {
    case JINJA_CONSTANT: return n->value;
    case JINJA_NAME: return value_of_name(r, n->name);
    case JINJA_ATTRIBUTE: return attribute(r, n);
    case JINJA_ITEM: return item(r, n);
    case JINJA_CALL: return call(r, n);
    case JINJA_FILTER: return filter(r, n);
    case JINJA_TEST: return test(r, n);
    case JINJA_UNARY: return unary(r, n);
    case JINJA_BINARY: return binary(r, n);
    case JINJA_CONCAT: return concatenation(r, n);
    case JINJA_COMPARE: return comparisons(r, n);
    case JINJA_CHOICE: return choice(r, n);
    case JINJA_DICT_OF: return mapping(r, n);
    default: return sequence(r, n);
    }
}

jinja_value mla_jinja_evaluate(jinja_run *r, const jinja_node *node) {
    jinja_machine *m = &r->machine;
    jinja_value value = {.kind = JINJA_UNDEFINED, .what = "nothing, after an error"};
    m->line = node->line;
    if (mla_jinja_enter(m) && mla_jinja_step(m, 1)) value = expression(r, node);
    m->depth--;
    return value;
}
