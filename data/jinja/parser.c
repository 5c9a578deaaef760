#include "data/jinja/parser.h"
#include "data/jinja/jinja.h"
#include "data/jinja/text.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_TREE = 256 << 20 };

static void statements(jinja_parser *p, jinja_nodes *list, const char *const *ends);

/* {% end... %} of a block; the tag's end is taken, too. */
static void end_block(jinja_parser *p, const char *end) {
    mla_jinja_expect(p, JINJA_TOKEN_NAME, end);
    mla_jinja_expect(p, JINJA_TOKEN_BLOCK_END, "");
}

/* The rest of the tag, and what follows up to {% ends... %}, whose name is next. */
static void body(jinja_parser *p, jinja_nodes *list, const char *const *ends) {
    mla_jinja_expect(p, JINJA_TOKEN_BLOCK_END, "");
    statements(p, list, ends);
}

/* Begins behind `if` or `elif`. */
static jinja_node *parse_if(jinja_parser *p) {
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    jinja_node *node = mla_jinja_node(p, JINJA_IF), *condition = mla_jinja_tuple(p);
    if (p->m->status) return node;
    node->a = condition;
    body(p, &node->list, ends);
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "elif")) {
        jinja_node *other = mla_jinja_enter(p->m) ? parse_if(p) : node;
        p->m->depth--;
        mla_jinja_add(p, &node->other, other); /* it has taken {% endif %} */
        return node;
    }
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "else")) body(p, &node->other, last);
    end_block(p, "endif");
    return node;
}

static jinja_node *parse_for(jinja_parser *p) {
    static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
    jinja_node *node = mla_jinja_node(p, JINJA_FOR), *target = mla_jinja_target(p, false), *list, *filter = NULL;
    mla_jinja_expect(p, JINJA_TOKEN_NAME, "in");
    list = mla_jinja_or(p);
    if (mla_jinja_is(p, JINJA_TOKEN_OPERATOR, ",")) mla_jinja_fail(p->m, "a tuple behind in needs brackets here");
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "if")) filter = mla_jinja_expression(p);
    if (mla_jinja_is(p, JINJA_TOKEN_NAME, "recursive")) mla_jinja_fail(p->m, "recursive loops are not known here");
    if (p->m->status) return node;
    node->a = target;
    node->b = list;
    node->c = filter;
    p->loops++;
    body(p, &node->list, ends);
    p->loops--;
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "else")) body(p, &node->other, last);
    end_block(p, "endfor");
    return node;
}

static jinja_node *parse_set(jinja_parser *p) {
    static const char *const ends[] = {"endset", NULL};
    jinja_node *target = mla_jinja_target(p, true);
    const bool assigns = mla_jinja_skip(p, JINJA_TOKEN_OPERATOR, "=");
    jinja_node *node = mla_jinja_node(p, assigns ? JINJA_SET : JINJA_SET_BLOCK);
    jinja_node *value = assigns ? mla_jinja_tuple(p) : mla_jinja_filters(p, NULL, false);
    if (p->m->status) return node;
    node->a = target;
    node->b = value;
    if (assigns) mla_jinja_expect(p, JINJA_TOKEN_BLOCK_END, "");
    else {
        body(p, &node->list, ends);
        end_block(p, "endset");
    }
    return node;
}

static jinja_node *parse_filter_block(jinja_parser *p) {
    static const char *const ends[] = {"endfilter", NULL};
    jinja_node *node = mla_jinja_node(p, JINJA_FILTER_BLOCK), *filters = mla_jinja_filters(p, NULL, true);
    if (p->m->status) return node;
    node->b = filters;
    body(p, &node->list, ends);
    end_block(p, "endfilter");
    return node;
}

static void parameters(jinja_parser *p, jinja_node *macro) {
    jinja_node *defaults = mla_jinja_node(p, JINJA_LIST_OF);
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, "(");
    while (!mla_jinja_is(p, JINJA_TOKEN_OPERATOR, ")") && !p->m->status) {
        const int64_t count = defaults->list.count;
        if (count) mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ",");
        const char **names = mla_jinja_alloc(p->m, count + 1, sizeof *names), *name = mla_jinja_take_name(p);
        jinja_node *value = mla_jinja_skip(p, JINJA_TOKEN_OPERATOR, "=") ? mla_jinja_expression(p) : NULL;
        if (p->m->status) return;
        if (!value && count && defaults->list.items[count - 1])
            mla_jinja_fail(p->m, "non-default argument follows default argument");
        if (count) memcpy(names, macro->names, (size_t)count * sizeof *names);
        names[count] = name;
        macro->names = names;
        mla_jinja_add(p, &defaults->list, value);
    }
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ")");
    if (!p->m->status) macro->a = defaults;
}

static jinja_node *parse_macro(jinja_parser *p) {
    static const char *const ends[] = {"endmacro", NULL};
    const int loops = p->loops;
    jinja_node *node = mla_jinja_node(p, JINJA_MACRO_OF);
    const char *name = mla_jinja_take_name(p);
    if (p->m->status) return node;
    node->name = name;
    parameters(p, node);
    p->loops = 0;
    body(p, &node->list, ends);
    p->loops = loops;
    end_block(p, "endmacro");
    return node;
}

static jinja_node *parse_generation(jinja_parser *p) {
    static const char *const ends[] = {"endgeneration", NULL};
    jinja_node *node = mla_jinja_node(p, JINJA_GENERATION);
    if (p->m->status) return node;
    p->jinja->generation = true;
    body(p, &node->list, ends);
    end_block(p, "endgeneration");
    return node;
}

static jinja_node *parse_leave(jinja_parser *p, jinja_node_kind kind) {
    jinja_node *node = mla_jinja_node(p, kind);
    if (!p->loops) mla_jinja_fail(p->m, "%s stands outside a loop", kind == JINJA_BREAK ? "break" : "continue");
    mla_jinja_expect(p, JINJA_TOKEN_BLOCK_END, "");
    return node;
}

static jinja_node *parse_statement(jinja_parser *p) {
    const jinja_token *t = p->token;
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "if")) return parse_if(p);
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "for")) return parse_for(p);
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "set")) return parse_set(p);
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "macro")) return parse_macro(p);
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "filter")) return parse_filter_block(p);
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "generation")) return parse_generation(p);
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "break")) return parse_leave(p, JINJA_BREAK);
    if (mla_jinja_skip(p, JINJA_TOKEN_NAME, "continue")) return parse_leave(p, JINJA_CONTINUE);
    mla_jinja_fail(p->m, "the statement '%.*s' is not known here", t->length > 40 ? 40 : (int)t->length, t->bytes);
    return mla_jinja_node(p, JINJA_BREAK);
}

static jinja_node *data(jinja_parser *p) {
    jinja_node *node = mla_jinja_node(p, JINJA_DATA);
    const jinja_value text = mla_jinja_string(p->m, p->token->bytes, p->token->length, 0);
    p->token++;
    if (!p->m->status) node->value = text;
    return node;
}

static jinja_node *output(jinja_parser *p) {
    p->token++;
    jinja_node *node = mla_jinja_node(p, JINJA_OUTPUT), *value = mla_jinja_tuple(p);
    mla_jinja_expect(p, JINJA_TOKEN_OUTPUT_END, "");
    if (!p->m->status) node->a = value;
    return node;
}

static bool is_any(const jinja_parser *p, const char *const *names) {
    for (; names && *names; names++)
        if (mla_jinja_is(p, JINJA_TOKEN_NAME, *names)) return true;
    return false;
}

/* Up to a tag that begins with one of the names, whose name is next then; with NULL, up to the template's end. */
static void statements(jinja_parser *p, jinja_nodes *list, const char *const *ends) {
    if (!mla_jinja_enter(p->m)) ends = NULL;
    while (!p->m->status) {
        p->m->line = p->token->line;
        if (p->token->kind == JINJA_TOKEN_END) {
            if (ends) mla_jinja_fail(p->m, "the template ends where %s is expected", ends[0]);
            break;
        }
        jinja_node *node;
        if (p->token->kind == JINJA_TOKEN_DATA) node = data(p);
        else if (p->token->kind == JINJA_TOKEN_OUTPUT) node = output(p);
        else {
            p->token++;
            if (is_any(p, ends)) break;
            node = parse_statement(p);
        }
        mla_jinja_add(p, list, node);
    }
    p->m->depth--;
}

void mla_jinja_parse_template(jinja_parser *p) { statements(p, &p->jinja->body, NULL); }

/* ---- the template as others see it ---- */

mla_status mla_jinja_parse(mla_context *context, mla_jinja **out, const char *where, const char *text, int64_t length) {
    mla_jinja *j = *out = mla_alloc(context, 1, sizeof *j, "a chat template");
    if (!j) return MLA_ERROR_MEMORY;
    j->of = strdup(where);
    j->machine = (jinja_machine){.context = context, .of = j->of, .arena.limit = LARGEST_TREE, .steps = INT64_MAX};
    if (!j->of) j->machine.status = mla_fail(context, MLA_ERROR_MEMORY, "no memory for a chat template");
    const jinja_token *tokens = j->of ? mla_jinja_tokens(&j->machine, text, length) : NULL;
    jinja_parser p = {.jinja = j, .m = &j->machine, .token = tokens};
    if (tokens) mla_jinja_parse_template(&p);
    const mla_status status = j->machine.status;
    if (status) {
        mla_jinja_destroy(j);
        *out = NULL;
    }
    return status;
}

void mla_jinja_destroy(mla_jinja *jinja) {
    if (!jinja) return;
    mla_jinja_arena_free(&jinja->machine.arena);
    free(jinja->mentioned);
    free(jinja->of);
    free(jinja);
}

bool mla_jinja_mentions(const mla_jinja *jinja, const char *name) {
    for (int64_t i = 0; i < jinja->mentioned_count; i++)
        if (!strcmp(jinja->mentioned[i], name)) return true;
    return false;
}

bool mla_jinja_has_generation(const mla_jinja *jinja) { return jinja->generation; }
