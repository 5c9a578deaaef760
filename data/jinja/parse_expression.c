#include "data/jinja/parser.h"
#include "data/jinja/string.h"
#include "data/jinja/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens and nodes ---- */

bool mla_jinja_is(const jinja_parser *p, jinja_token_kind kind, const char *text) {
    const jinja_token *t = p->token;
    return t->kind == kind && t->length == (int64_t)strlen(text) && !memcmp(t->bytes, text, (size_t)t->length);
}

static bool is_op(const jinja_parser *p, const char *text) { return mla_jinja_is(p, JINJA_TOKEN_OPERATOR, text); }
static bool is_word(const jinja_parser *p, const char *text) { return mla_jinja_is(p, JINJA_TOKEN_NAME, text); }

bool mla_jinja_skip(jinja_parser *p, jinja_token_kind kind, const char *text) {
    if (!mla_jinja_is(p, kind, text)) return false;
    p->token++;
    return true;
}

static bool skip_op(jinja_parser *p, const char *text) { return mla_jinja_skip(p, JINJA_TOKEN_OPERATOR, text); }
static bool skip_word(jinja_parser *p, const char *text) { return mla_jinja_skip(p, JINJA_TOKEN_NAME, text); }

static void unexpected(jinja_parser *p, const char *expected) {
    const jinja_token *t = p->token;
    p->m->line = t->line;
    mla_jinja_fail(p->m, "expected %s, found '%.*s'", expected, t->length > 40 ? 40 : (int)t->length, t->bytes);
}

void mla_jinja_expect(jinja_parser *p, jinja_token_kind kind, const char *text) {
    if (!mla_jinja_skip(p, kind, text)) unexpected(p, *text ? text : "the end of the tag");
}

const char *mla_jinja_mention(jinja_parser *p, const char *bytes, int64_t length) {
    mla_jinja *j = p->jinja;
    const char *text = mla_jinja_string(p->m, bytes, length, 0).text->bytes;
    if (p->m->status) return "";
    if (mla_grow(p->m->context, &j->mentioned, &j->mentioned_capacity, j->mentioned_count + 1, sizeof *j->mentioned,
                 "the names of a chat template"))
        p->m->status = MLA_ERROR_MEMORY;
    else j->mentioned[j->mentioned_count++] = text;
    return text;
}

const char *mla_jinja_take_name(jinja_parser *p) {
    if (p->token->kind != JINJA_TOKEN_NAME) {
        unexpected(p, "a name");
        return "";
    }
    const jinja_token *t = p->token++;
    return mla_jinja_mention(p, t->bytes, t->length);
}

jinja_node *mla_jinja_node(jinja_parser *p, jinja_node_kind kind) {
    static jinja_node none; /* never written to: after an error all stops */
    jinja_node *node = mla_jinja_alloc(p->m, 1, sizeof *node);
    if (!node) return &none;
    node->kind = kind;
    node->line = p->token->line;
    return node;
}

void mla_jinja_add(jinja_parser *p, jinja_nodes *list, jinja_node *node) {
    if (p->m->status) return;
    if (list->count == list->capacity) {
        const int64_t capacity = list->capacity ? 2 * list->capacity : 4;
        jinja_node **items = mla_jinja_alloc(p->m, capacity, sizeof *items);
        if (!items) return;
        if (list->count) memcpy(items, list->items, (size_t)list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = node;
}

/* A node around another, which stands on the line of the next token. */
static jinja_node *around(jinja_parser *p, jinja_node_kind kind, jinja_node *a) {
    jinja_node *node = mla_jinja_node(p, kind);
    if (!p->m->status) node->a = a;
    return node;
}

/* ---- constants and names ---- */

static jinja_node *constant(jinja_parser *p, jinja_value value) {
    jinja_node *node = mla_jinja_node(p, JINJA_CONSTANT);
    if (!p->m->status) node->value = value;
    return node;
}

static jinja_node *strings(jinja_parser *p) {
    jinja_builder b = {.machine = p->m};
    for (; p->token->kind == JINJA_TOKEN_STRING && !p->m->status; p->token++) {
        p->m->line = p->token->line;
        mla_jinja_unescape(&b, p->token->bytes, p->token->length);
    }
    const jinja_value text = mla_jinja_built(&b);
    mla_jinja_mention(p, text.text->bytes, text.text->length);
    return constant(p, text);
}

static jinja_node *number(jinja_parser *p) {
    char digits[64];
    size_t count = 0;
    const jinja_token *t = p->token++;
    for (int64_t i = 0; i < t->length && count + 1 < sizeof digits; i++)
        if (t->bytes[i] != '_') digits[count++] = t->bytes[i];
    digits[count] = '\0';
    if (t->kind == JINJA_TOKEN_FLOAT) return constant(p, mla_jinja_float(strtod(digits, NULL)));
    errno = 0;
    const long long value = strtoll(digits, NULL, 10);
    if (errno || t->length > 60) mla_jinja_fail(p->m, "the number %s is too large", digits);
    return constant(p, mla_jinja_int(value));
}

static jinja_node *name_or_constant(jinja_parser *p) {
    static const struct {
        const char *name;
        jinja_value value;
    } constants[] = {
        {"true", {JINJA_BOOL, .truth = true}},   {"True", {JINJA_BOOL, .truth = true}},
        {"false", {JINJA_BOOL, .truth = false}}, {"False", {JINJA_BOOL, .truth = false}},
        {"none", {.kind = JINJA_NONE}},          {"None", {.kind = JINJA_NONE}},
    };
    for (int i = 0; i < 6; i++)
        if (skip_word(p, constants[i].name)) return constant(p, constants[i].value);
    jinja_node *node = mla_jinja_node(p, JINJA_NAME);
    const char *name = mla_jinja_take_name(p);
    if (!p->m->status) node->name = name;
    return node;
}

/* ---- what brackets hold ---- */

static jinja_node *list_of(jinja_parser *p) {
    jinja_node *node = mla_jinja_node(p, JINJA_LIST_OF);
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, "[");
    while (!is_op(p, "]") && !p->m->status) {
        if (node->list.count) mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ",");
        if (is_op(p, "]")) break;
        mla_jinja_add(p, &node->list, mla_jinja_expression(p));
    }
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, "]");
    return node;
}

static jinja_node *dict_of(jinja_parser *p) {
    jinja_node *node = mla_jinja_node(p, JINJA_DICT_OF);
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, "{");
    while (!is_op(p, "}") && !p->m->status) {
        if (node->list.count) mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ",");
        if (is_op(p, "}")) break;
        mla_jinja_add(p, &node->list, mla_jinja_expression(p));
        mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ":");
        mla_jinja_add(p, &node->list, mla_jinja_expression(p));
    }
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, "}");
    return node;
}

static bool ends_tuple(const jinja_parser *p) {
    return p->token->kind == JINJA_TOKEN_OUTPUT_END || p->token->kind == JINJA_TOKEN_BLOCK_END || is_op(p, ")");
}

static jinja_node *tuple(jinja_parser *p, bool brackets) {
    jinja_node *node = mla_jinja_node(p, JINJA_TUPLE_OF);
    bool commas = false;
    while (!p->m->status) {
        if (node->list.count) mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ",");
        if (ends_tuple(p)) break;
        mla_jinja_add(p, &node->list, mla_jinja_expression(p));
        if (!is_op(p, ",")) break;
        commas = true;
    }
    if (!commas && !node->list.count && !brackets) unexpected(p, "an expression");
    return !commas && node->list.count ? node->list.items[0] : node;
}

jinja_node *mla_jinja_tuple(jinja_parser *p) { return tuple(p, false); }

static jinja_node *primary(jinja_parser *p) {
    if (p->token->kind == JINJA_TOKEN_NAME) return name_or_constant(p);
    if (p->token->kind == JINJA_TOKEN_STRING) return strings(p);
    if (p->token->kind == JINJA_TOKEN_INT || p->token->kind == JINJA_TOKEN_FLOAT) return number(p);
    if (is_op(p, "[")) return list_of(p);
    if (is_op(p, "{")) return dict_of(p);
    if (!is_op(p, "(")) unexpected(p, "an expression");
    p->token++;
    jinja_node *node = p->m->status ? mla_jinja_node(p, JINJA_TUPLE_OF) : tuple(p, true);
    if (!p->m->status) mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ")");
    return node;
}

jinja_node *mla_jinja_target(jinja_parser *p, bool fields) {
    jinja_node *all = mla_jinja_node(p, JINJA_TUPLE_OF);
    bool commas = false;
    const bool brackets = skip_op(p, "(");
    do {
        if (is_op(p, "=") || is_op(p, ")") || is_word(p, "in")) break;
        jinja_node *node = name_or_constant(p);
        if (fields && !p->m->status && node->kind == JINJA_NAME && skip_op(p, ".")) {
            node = around(p, JINJA_ATTRIBUTE, node);
            const char *name = mla_jinja_take_name(p);
            if (!p->m->status) node->name = name;
        } else if (!p->m->status && node->kind != JINJA_NAME) mla_jinja_fail(p->m, "can't assign to a constant");
        mla_jinja_add(p, &all->list, node);
        commas |= is_op(p, ",");
    } while (!p->m->status && skip_op(p, ","));
    if (brackets) mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ")");
    if (!p->m->status && !all->list.count) unexpected(p, "a name");
    return p->m->status || commas ? all : all->list.items[0];
}

/* ---- calls, items, filters, tests ---- */

static void add_argument(jinja_parser *p, jinja_node *call, const char *name, jinja_node *value) {
    const int64_t count = call->list.count;
    const char **names = mla_jinja_alloc(p->m, count + 1, sizeof *names);
    if (!names) return;
    if (!name && count && call->names[count - 1])
        mla_jinja_fail(p->m, "an argument by its place stands behind one by its name");
    for (int64_t i = 0; i < count; i++) names[i] = call->names[i];
    names[count] = name;
    call->names = names;
    mla_jinja_add(p, &call->list, value);
}

static void arguments(jinja_parser *p, jinja_node *call) {
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, "(");
    for (bool first = true; !is_op(p, ")") && !p->m->status; first = false) {
        const char *name = NULL;
        if (!first) mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ",");
        if (is_op(p, ")")) break;
        if (is_op(p, "*") || is_op(p, "**")) mla_jinja_fail(p->m, "arguments with * or ** are not known here");
        if (p->token->kind == JINJA_TOKEN_NAME && p->token[1].kind == JINJA_TOKEN_OPERATOR && p->token[1].length == 1 &&
            p->token[1].bytes[0] == '=') {
            name = mla_jinja_take_name(p);
            p->token++;
        }
        jinja_node *value = mla_jinja_expression(p);
        add_argument(p, call, name, value);
    }
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, ")");
}

static jinja_node *or_nothing(jinja_parser *p) {
    return is_op(p, ":") || is_op(p, "]") || is_op(p, ",") ? NULL : mla_jinja_expression(p);
}

static jinja_node *item_key(jinja_parser *p) {
    jinja_node *begin = is_op(p, ":") ? NULL : mla_jinja_expression(p);
    if (!skip_op(p, ":")) {
        if (!begin) unexpected(p, "an expression");
        return begin;
    }
    jinja_node *slice = mla_jinja_node(p, JINJA_SLICE), *end = or_nothing(p);
    jinja_node *step = skip_op(p, ":") ? or_nothing(p) : NULL;
    mla_jinja_add(p, &slice->list, begin);
    mla_jinja_add(p, &slice->list, end);
    mla_jinja_add(p, &slice->list, step);
    return slice;
}

static jinja_node *item(jinja_parser *p, jinja_node *of) {
    jinja_node *node;
    if (skip_op(p, ".")) {
        const bool is_number = p->token->kind == JINJA_TOKEN_INT;
        node = around(p, is_number ? JINJA_ITEM : JINJA_ATTRIBUTE, of);
        jinja_node *key = is_number ? number(p) : NULL;
        const char *name = is_number ? NULL : mla_jinja_take_name(p);
        if (p->m->status) return node;
        node->b = key;
        node->name = name;
        return node;
    }
    p->token++;
    node = around(p, JINJA_ITEM, of);
    jinja_node *key = item_key(p);
    if (!p->m->status) node->b = key;
    if (is_op(p, ",")) mla_jinja_fail(p->m, "more than one index is not known here");
    mla_jinja_expect(p, JINJA_TOKEN_OPERATOR, "]");
    return node;
}

static jinja_node *postfix(jinja_parser *p, jinja_node *node) {
    while (!p->m->status) {
        if (is_op(p, "(")) {
            node = around(p, JINJA_CALL, node);
            arguments(p, node);
        } else if (is_op(p, ".") || is_op(p, "[")) node = item(p, node);
        else break;
    }
    return node;
}

static jinja_node *named(jinja_parser *p, jinja_node_kind kind, jinja_node *a) {
    jinja_node *node = around(p, kind, a);
    const char *name = mla_jinja_take_name(p);
    if (!p->m->status) node->name = name;
    if (is_op(p, "."))
        mla_jinja_fail(p->m, "the %s '%s.' is not known here", kind == JINJA_TEST ? "test" : "filter", name);
    return node;
}

jinja_node *mla_jinja_filters(jinja_parser *p, jinja_node *node, bool begun) {
    while (!p->m->status && (begun || skip_op(p, "|"))) {
        node = named(p, JINJA_FILTER, node);
        if (is_op(p, "(")) arguments(p, node);
        begun = false;
    }
    return node;
}

static bool begins_argument(const jinja_parser *p) {
    const jinja_token_kind kind = p->token->kind;
    if (kind == JINJA_TOKEN_NAME) return !is_word(p, "else") && !is_word(p, "or") && !is_word(p, "and");
    return kind == JINJA_TOKEN_STRING || kind == JINJA_TOKEN_INT || kind == JINJA_TOKEN_FLOAT || is_op(p, "[") ||
           is_op(p, "{");
}

static jinja_node *test(jinja_parser *p, jinja_node *of) {
    const bool negated = skip_word(p, "not");
    jinja_node *node = named(p, JINJA_TEST, of);
    if (is_word(p, "is")) mla_jinja_fail(p->m, "You cannot chain multiple tests with is");
    if (is_op(p, "(")) arguments(p, node);
    else if (!p->m->status && begins_argument(p)) add_argument(p, node, NULL, postfix(p, primary(p)));
    if (!negated) return node;
    node = around(p, JINJA_UNARY, node);
    if (!p->m->status) node->op[0] = 'n';
    return node;
}

/* ---- operators, from those that bind closest ---- */

static jinja_node *unary(jinja_parser *p, bool with_filters) {
    jinja_node *node;
    const char op = is_op(p, "-") ? '-' : is_op(p, "+") ? '+' : '\0';
    if (!mla_jinja_enter(p->m)) node = mla_jinja_node(p, JINJA_TUPLE_OF);
    else if (op) {
        p->token++;
        node = around(p, JINJA_UNARY, unary(p, false));
        if (!p->m->status) node->op[0] = op;
    } else node = primary(p);
    node = postfix(p, node);
    while (with_filters && !p->m->status) {
        if (is_op(p, "|")) node = mla_jinja_filters(p, node, false);
        else if (skip_word(p, "is")) node = test(p, node);
        else if (is_op(p, "(")) node = postfix(p, node);
        else break;
    }
    p->m->depth--;
    return node;
}

static jinja_node *closest(jinja_parser *p) { return unary(p, true); }

/* Left to right: what binds closer, with any of the operators between (one blank behind each). */
static jinja_node *left_to_right(jinja_parser *p, jinja_node *(*closer)(jinja_parser *), const char *const *ops) {
    jinja_node *node = closer(p);
    for (int i = 0; ops[i] && !p->m->status;) {
        if (!skip_op(p, ops[i])) {
            i++;
            continue;
        }
        node = around(p, JINJA_BINARY, node);
        jinja_node *right = closer(p);
        if (p->m->status) break;
        strcpy(node->op, ops[i]);
        node->b = right;
        i = 0;
    }
    return node;
}

static jinja_node *power(jinja_parser *p) { return left_to_right(p, closest, (const char *const[]){"**", NULL}); }

static jinja_node *product(jinja_parser *p) {
    return left_to_right(p, power, (const char *const[]){"*", "/", "//", "%", NULL});
}

static jinja_node *concat(jinja_parser *p) {
    jinja_node *first = product(p);
    if (!is_op(p, "~")) return first;
    jinja_node *node = mla_jinja_node(p, JINJA_CONCAT);
    mla_jinja_add(p, &node->list, first);
    while (skip_op(p, "~") && !p->m->status) mla_jinja_add(p, &node->list, product(p));
    return node;
}

static jinja_node *sum(jinja_parser *p) { return left_to_right(p, concat, (const char *const[]){"+", "-", NULL}); }

/* The comparison that is next, as nodes have it; '\0': none. */
static char comparison(jinja_parser *p) {
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int i = 0; i < 6; i++)
        if (skip_op(p, ops[i])) return "=!<l>g"[i];
    if (skip_word(p, "in")) return 'i';
    if (!is_word(p, "not") || p->token[1].kind != JINJA_TOKEN_NAME || p->token[1].length != 2 ||
        memcmp(p->token[1].bytes, "in", 2))
        return '\0';
    p->token += 2;
    return 'o';
}

static jinja_node *compare(jinja_parser *p) {
    jinja_node *first = sum(p), *node = NULL;
    for (char op; !p->m->status && (op = comparison(p));) {
        if (!node) node = around(p, JINJA_COMPARE, first);
        jinja_node *operand = around(p, JINJA_OPERAND, sum(p));
        if (p->m->status) break;
        operand->op[0] = op;
        mla_jinja_add(p, &node->list, operand);
    }
    return node ? node : first;
}

static jinja_node *negation(jinja_parser *p) {
    if (!is_word(p, "not")) return compare(p);
    p->token++;
    jinja_node *inner = mla_jinja_enter(p->m) ? negation(p) : NULL, *node = around(p, JINJA_UNARY, inner);
    if (!p->m->status) node->op[0] = 'n';
    p->m->depth--;
    return node;
}

static jinja_node *with_words(jinja_parser *p, jinja_node *(*closer)(jinja_parser *), const char *word, char op) {
    jinja_node *node = closer(p);
    while (!p->m->status && skip_word(p, word)) {
        node = around(p, JINJA_BINARY, node);
        jinja_node *right = closer(p);
        if (p->m->status) break;
        node->op[0] = op;
        node->b = right;
    }
    return node;
}

static jinja_node *conjunction(jinja_parser *p) { return with_words(p, negation, "and", '&'); }
jinja_node *mla_jinja_or(jinja_parser *p) { return with_words(p, conjunction, "or", '|'); }

jinja_node *mla_jinja_expression(jinja_parser *p) {
    if (!mla_jinja_enter(p->m)) return mla_jinja_node(p, JINJA_TUPLE_OF);
    jinja_node *node = mla_jinja_or(p);
    while (!p->m->status && skip_word(p, "if")) {
        jinja_node *condition = mla_jinja_or(p), *other = skip_word(p, "else") ? mla_jinja_expression(p) : NULL;
        jinja_node *choice = around(p, JINJA_CHOICE, condition);
        if (p->m->status) break;
        choice->b = node;
        choice->c = other;
        node = choice;
    }
    p->m->depth--;
    return node;
}
