#include "data/jinja/evaluate.h"
#include "data/jinja/string.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 1 << 24, LARGEST_RENDERING = 512 << 20 };

/* ---- assigning ---- */

static void assign_to(jinja_run *r, const jinja_node *target, jinja_value value);

static void unpack(jinja_run *r, const jinja_nodes *targets, jinja_value value) {
    const jinja_list *list = mla_jinja_iterate(&r->machine, value);
    if (!list) return;
    if (list->count != targets->count)
        mla_jinja_fail(&r->machine, "%lld values are to be unpacked into %lld names", (long long)list->count,
                       (long long)targets->count);
    for (int64_t i = 0; i < targets->count && !r->machine.status; i++) assign_to(r, targets->items[i], list->items[i]);
}

static void assign_field(jinja_run *r, const jinja_node *target, jinja_value value) {
    const jinja_value *of = mla_jinja_lookup(r, target->a->name);
    if (!of || of->kind != JINJA_NAMESPACE)
        mla_jinja_fail(&r->machine, "cannot assign attribute on non-namespace object '%s'", target->a->name);
    else if (target->name[0] == '_')
        mla_jinja_fail(&r->machine, "a namespace has no underscore-prefixed attributes, but gets '%s'", target->name);
    else
        mla_jinja_dict_set(&r->machine, of->dict,
                           mla_jinja_string(&r->machine, target->name, (int64_t)strlen(target->name), 0), value);
}

static void assign_to(jinja_run *r, const jinja_node *target, jinja_value value) {
    if (target->kind == JINJA_TUPLE_OF) unpack(r, &target->list, value);
    else if (target->kind == JINJA_ATTRIBUTE) assign_field(r, target, value);
    else mla_jinja_assign(r, r->scope, target->name, value);
}

/* ---- capturing ---- */

/* In a scope of its own: what is set there goes with it. */
static void execute_within(jinja_run *r, const jinja_nodes *nodes) {
    jinja_scope *outer = r->scope;
    r->scope = mla_jinja_scope(r, outer);
    mla_jinja_execute(r, nodes);
    r->scope = outer;
}

jinja_value mla_jinja_capture(jinja_run *r, const jinja_nodes *nodes) {
    jinja_builder own = {.machine = &r->machine}, *outer = r->out;
    r->out = &own;
    execute_within(r, nodes);
    r->out = outer;
    return mla_jinja_built(&own);
}

/* The value, through filters of which the innermost has no value of its own. */
static jinja_value through(jinja_run *r, const jinja_node *filter, jinja_value value) {
    jinja_value arguments[JINJA_MOST_ARGUMENTS + 1] = {{0}};
    if (!filter) return value;
    value = through(r, filter->a, value);
    for (int64_t i = 0; i < filter->list.count && i <= JINJA_MOST_ARGUMENTS; i++)
        arguments[i] = mla_jinja_evaluate(r, filter->list.items[i]);
    const jinja_arguments given = {arguments, filter->names,
                                   filter->list.count > JINJA_MOST_ARGUMENTS ? JINJA_MOST_ARGUMENTS + 1
                                                                             : filter->list.count};
    r->machine.line = filter->line;
    return r->machine.status ? value : mla_jinja_filter(r, filter->name, value, &given);
}

/* ---- loops ---- */

/* The items for which the filter holds. */
static const jinja_list *those_that(jinja_run *r, const jinja_node *n, const jinja_list *list) {
    jinja_scope *outer = r->scope;
    jinja_value out = mla_jinja_list(&r->machine, JINJA_A_LIST, 0);
    for (int64_t i = 0; i < list->count && !r->machine.status; i++) {
        r->scope = mla_jinja_scope(r, outer);
        assign_to(r, n->a, list->items[i]);
        if (mla_jinja_truth(&r->machine, mla_jinja_evaluate(r, n->c)) && !r->machine.status)
            mla_jinja_append(&r->machine, out.list, list->items[i]);
    }
    r->scope = outer;
    return out.list;
}

/* False: the loop ends. *ran: the turn came to its end, which is what {% else %} goes by in jinja2. */
static bool turn(jinja_run *r, const jinja_node *n, jinja_loop *loop, bool *ran) {
    r->scope->loops++;
    mla_jinja_assign(r, r->scope, "loop", (jinja_value){.kind = JINJA_LOOP, .loop = loop});
    assign_to(r, n->a, loop->list->items[loop->index]);
    mla_jinja_execute(r, &n->list);
    const bool breaks = r->leaving && r->leaving->kind == JINJA_BREAK;
    *ran |= !r->leaving;
    r->leaving = NULL;
    return !breaks && !r->machine.status;
}

static void run_for(jinja_run *r, const jinja_node *n) {
    jinja_scope *outer = r->scope;
    const jinja_list *list = mla_jinja_iterate(&r->machine, mla_jinja_evaluate(r, n->b));
    if (list && n->c) list = those_that(r, n, list);
    jinja_loop *loop = mla_jinja_alloc(&r->machine, 1, sizeof *loop);
    bool ran = false;
    if (!list || !loop) return;
    *loop = (jinja_loop){.list = list, .depth = outer->loops + 1};
    for (; loop->index < list->count && !r->machine.status; loop->index++) {
        r->scope = mla_jinja_scope(r, outer);
        if (r->machine.status || !turn(r, n, loop, &ran)) break;
    }
    r->scope = outer;
    if (!ran) execute_within(r, &n->other);
}

/* ---- macros ---- */

static void define_macro(jinja_run *r, const jinja_node *n) {
    jinja_macro *macro = mla_jinja_alloc(&r->machine, 1, sizeof *macro);
    if (!macro) return;
    *macro = (jinja_macro){n, r->scope};
    mla_jinja_assign(r, r->scope, n->name, (jinja_value){.kind = JINJA_MACRO, .macro = macro});
}

/* The argument of parameter i; NULL: is not given. */
static const jinja_value *argument(const jinja_node *n, const jinja_arguments *given, int64_t i) {
    const jinja_value *found = NULL;
    for (int64_t k = 0; k < given->count; k++) {
        const char *name = given->names ? given->names[k] : NULL;
        if (name ? !strcmp(name, n->names[i]) : k == i) found = &given->values[k];
    }
    return found;
}

static void check_arguments(jinja_run *r, const jinja_node *n, const jinja_arguments *given) {
    const int64_t count = n->a->list.count;
    for (int64_t k = 0; k < given->count; k++) {
        const char *name = given->names ? given->names[k] : NULL;
        bool known = !name && k < count;
        for (int64_t i = 0; i < count && name; i++) known |= !strcmp(name, n->names[i]) && (i >= k || given->names[i]);
        if (known) continue;
        if (name) mla_jinja_fail(&r->machine, "macro '%s' takes no keyword argument '%s'", n->name, name);
        else mla_jinja_fail(&r->machine, "macro '%s' takes not more than %lld argument(s)", n->name, (long long)count);
    }
}

jinja_value mla_jinja_call_macro(jinja_run *r, const jinja_macro *macro, const jinja_arguments *given) {
    const jinja_node *n = macro->node;
    jinja_scope *outer = r->scope;
    jinja_value text = {.kind = JINJA_UNDEFINED, .what = ""};
    check_arguments(r, n, given);
    jinja_scope *own = mla_jinja_scope(r, macro->scope);
    if (!r->machine.status && mla_jinja_enter(&r->machine)) {
        r->scope = own;
        own->loops = 0;
        for (int64_t i = 0; i < n->a->list.count; i++) {
            const jinja_value *value = argument(n, given, i);
            const jinja_node *standard = n->a->list.items[i];
            mla_jinja_assign(r, own, n->names[i],
                             value ? *value
                             : standard
                                 ? mla_jinja_evaluate(r, standard)
                                 : mla_jinja_undefined(&r->machine, "parameter '%s' was not provided", n->names[i]));
        }
        text = mla_jinja_capture(r, &n->list);
        r->machine.depth--;
    }
    r->scope = outer;
    return text;
}

/* ---- statements ---- */

static void run_generation(jinja_run *r, const jinja_node *n) {
    mla_jinja_output *o = r->output;
    const int64_t begin = r->out->length;
    if (r->out != r->whole)
        mla_jinja_fail(&r->machine, "generation within a macro or a block that keeps its text is not known here");
    execute_within(r, &n->list);
    if (r->machine.status) return;
    r->machine.status = mla_grow(r->machine.context, &o->spans, &o->span_capacity, o->span_count + 1, sizeof *o->spans,
                                 "the answers of a conversation");
    if (!r->machine.status) o->spans[o->span_count++] = (mla_jinja_span){begin, r->out->length};
}

static void execute(jinja_run *r, const jinja_node *n) {
    switch (n->kind) {
    case JINJA_DATA: mla_jinja_put_text(r->out, n->value.text); break;
    case JINJA_OUTPUT: mla_jinja_print(r->out, mla_jinja_evaluate(r, n->a)); break;
    case JINJA_IF:
        mla_jinja_execute(r, mla_jinja_truth(&r->machine, mla_jinja_evaluate(r, n->a)) ? &n->list : &n->other);
        break;
    case JINJA_FOR: run_for(r, n); break;
    case JINJA_SET: assign_to(r, n->a, mla_jinja_evaluate(r, n->b)); break;
    case JINJA_SET_BLOCK: assign_to(r, n->a, through(r, n->b, mla_jinja_capture(r, &n->list))); break;
    case JINJA_FILTER_BLOCK: mla_jinja_print(r->out, through(r, n->b, mla_jinja_capture(r, &n->list))); break;
    case JINJA_MACRO_OF: define_macro(r, n); break;
    case JINJA_GENERATION: run_generation(r, n); break;
    default: r->leaving = n;
    }
}

void mla_jinja_execute(jinja_run *r, const jinja_nodes *nodes) {
    if (mla_jinja_enter(&r->machine))
        for (int64_t i = 0; i < nodes->count && !r->leaving && mla_jinja_step(&r->machine, 1); i++) {
            r->machine.line = nodes->items[i]->line;
            execute(r, nodes->items[i]);
        }
    r->machine.depth--;
}

/* ---- all of it ---- */

void mla_jinja_output_free(mla_jinja_output *output) {
    free(output->bytes);
    free(output->marks);
    free(output->spans);
    *output = (mla_jinja_output){0};
}

static mla_status hand_out(jinja_run *r, const jinja_builder *b) {
    mla_jinja_output *o = r->output;
    mla_status status = mla_grow(r->machine.context, &o->bytes, &o->capacity, b->length, 1, "a conversation");
    if (!status)
        status = mla_grow(r->machine.context, &o->marks, &o->mark_capacity, b->length, sizeof *o->marks,
                          "a conversation");
    if (status || !b->length) return status;
    memcpy(o->bytes, b->bytes, (size_t)b->length);
    memcpy(o->marks, b->marks, (size_t)b->length * sizeof *o->marks);
    o->length = b->length;
    return MLA_OK;
}

static jinja_value variable(jinja_machine *m, const mla_jinja_variable *v) {
    if (v->kind == MLA_JINJA_OF_MESSAGES) return mla_jinja_messages(m, v->value);
    return mla_jinja_from_json(m, v->value, v->kind == MLA_JINJA_OF_DATA ? MLA_JINJA_DATA : MLA_JINJA_TEMPLATE);
}

mla_status mla_jinja_render(mla_context *context, mla_jinja *jinja, const char *where,
                            const mla_jinja_variable *variables, int count, const char *date,
                            mla_jinja_output *output) {
    jinja_run r = {.machine = {.context = context,
                               .where = where,
                               .of = jinja->of,
                               .arena.limit = LARGEST_RENDERING,
                               .steps = MOST_STEPS,
                               .line = 1,
                               .date = date},
                   .output = output};
    jinja_builder text = {.machine = &r.machine};
    output->length = output->span_count = 0;
    r.out = &text;
    r.whole = &text;
    r.scope = mla_jinja_scope(&r, NULL);
    for (int i = 0; i < count && r.scope; i++)
        mla_jinja_assign(&r, r.scope, variables[i].name, variable(&r.machine, &variables[i]));
    if (r.scope) mla_jinja_execute(&r, &jinja->body);
    mla_status status = r.machine.status;
    if (!status) status = hand_out(&r, &text);
    mla_jinja_arena_free(&r.machine.arena);
    return status;
}
