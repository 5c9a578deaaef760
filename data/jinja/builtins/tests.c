/* What stands behind `is`. */
#include "data/jinja/evaluate.h"
#include "data/jinja/string.h"

#include <math.h>
#include <string.h>

typedef bool predicate(jinja_run *r, jinja_value self, const jinja_value *given);

static bool is_defined(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind != JINJA_UNDEFINED;
}
static bool is_undefined(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_UNDEFINED;
}
static bool is_none(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_NONE;
}
static bool is_boolean(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_BOOL;
}
static bool is_true(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_BOOL && v.truth;
}
static bool is_false(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_BOOL && !v.truth;
}
static bool is_integer(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_INT;
}
static bool is_float(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_FLOAT;
}
static bool is_number(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, mla_jinja_is_number(v);
}
static bool is_string(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_TEXT;
}
static bool is_mapping(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_DICT;
}
static bool is_sequence(jinja_run *r, jinja_value v, const jinja_value *given) {
    (void)r, (void)given;
    return v.kind == JINJA_TEXT || v.kind == JINJA_DICT || v.kind == JINJA_UNDEFINED ||
           (v.kind == JINJA_LIST && v.list->form <= JINJA_A_RANGE);
}
static bool is_iterable(jinja_run *r, jinja_value v, const jinja_value *given) {
    (void)r, (void)given;
    return v.kind == JINJA_TEXT || v.kind == JINJA_DICT || v.kind == JINJA_UNDEFINED || v.kind == JINJA_LIST ||
           v.kind == JINJA_LOOP;
}
static bool is_callable(jinja_run *r, jinja_value v, const jinja_value *given) {
    (void)r, (void)given;
    return v.kind == JINJA_MACRO || v.kind == JINJA_FUNCTION || v.kind == JINJA_BOUND || v.kind == JINJA_UNDEFINED ||
           v.kind == JINJA_LOOP;
}
static bool is_sameas(jinja_run *r, jinja_value v, const jinja_value *given) {
    const jinja_value other = given[0];
    if (v.kind != other.kind) return false;
    if (v.kind == JINJA_TEXT || v.kind == JINJA_INT || v.kind == JINJA_FLOAT)
        mla_jinja_fail(&r->machine, "sameas of texts and numbers is not known here");
    return v.kind == JINJA_BOOL ? v.truth == other.truth : v.kind == JINJA_NONE || v.list == other.list;
}
static bool is_in(jinja_run *r, jinja_value v, const jinja_value *given) {
    return mla_jinja_contains(&r->machine, given[0], v);
}
static bool is_escaped(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)r, (void)given, v.kind == JINJA_TEXT && v.text->safe;
}
static bool is_lower(jinja_run *r, jinja_value v, const jinja_value *given) {
    (void)given;
    v = mla_jinja_str(&r->machine, v);
    const jinja_value low = mla_jinja_lower(r, v.text), up = mla_jinja_upper(r, v.text);
    return mla_jinja_equal(&r->machine, low, v) && !mla_jinja_equal(&r->machine, low, up);
}
static bool is_upper(jinja_run *r, jinja_value v, const jinja_value *given) {
    (void)given;
    v = mla_jinja_str(&r->machine, v);
    const jinja_value low = mla_jinja_lower(r, v.text), up = mla_jinja_upper(r, v.text);
    return mla_jinja_equal(&r->machine, up, v) && !mla_jinja_equal(&r->machine, low, up);
}

static bool divides(jinja_run *r, jinja_value v, jinja_value by) {
    if (v.kind == JINJA_TEXT) mla_jinja_fail(&r->machine, "a text is not divided");
    const jinja_value rest = mla_jinja_arithmetic(r, "%", v, by);
    return !r->machine.status && mla_jinja_real(rest) == 0;
}
static bool is_divisible(jinja_run *r, jinja_value v, const jinja_value *given) { return divides(r, v, given[0]); }
static bool is_even(jinja_run *r, jinja_value v, const jinja_value *given) {
    return (void)given, divides(r, v, mla_jinja_int(2));
}
static bool is_odd(jinja_run *r, jinja_value v, const jinja_value *given) {
    (void)given;
    if (v.kind == JINJA_FLOAT) return fabs(fmod(v.real, 2)) == 1;
    return !divides(r, v, mla_jinja_int(2));
}

static bool equals(jinja_run *r, jinja_value v, const jinja_value *given) {
    return mla_jinja_equal(&r->machine, v, given[0]);
}
static bool differs(jinja_run *r, jinja_value v, const jinja_value *given) { return !equals(r, v, given); }
static bool is_less(jinja_run *r, jinja_value v, const jinja_value *given) {
    return mla_jinja_compare(&r->machine, v, given[0]) < 0;
}
static bool is_at_most(jinja_run *r, jinja_value v, const jinja_value *given) {
    return mla_jinja_compare(&r->machine, v, given[0]) <= 0;
}
static bool is_greater(jinja_run *r, jinja_value v, const jinja_value *given) {
    return mla_jinja_compare(&r->machine, v, given[0]) > 0;
}
static bool is_at_least(jinja_run *r, jinja_value v, const jinja_value *given) {
    return mla_jinja_compare(&r->machine, v, given[0]) >= 0;
}

static const struct {
    const char *name;
    predicate *holds;
    int arguments;
} tests[] = {
    {"defined", is_defined, 0},
    {"undefined", is_undefined, 0},
    {"none", is_none, 0},
    {"boolean", is_boolean, 0},
    {"true", is_true, 0},
    {"false", is_false, 0},
    {"integer", is_integer, 0},
    {"float", is_float, 0},
    {"number", is_number, 0},
    {"string", is_string, 0},
    {"mapping", is_mapping, 0},
    {"sequence", is_sequence, 0},
    {"iterable", is_iterable, 0},
    {"callable", is_callable, 0},
    {"sameas", is_sameas, 1},
    {"in", is_in, 1},
    {"escaped", is_escaped, 0},
    {"lower", is_lower, 0},
    {"upper", is_upper, 0},
    {"even", is_even, 0},
    {"odd", is_odd, 0},
    {"divisibleby", is_divisible, 1},
    {"==", equals, 1},
    {"eq", equals, 1},
    {"equalto", equals, 1},
    {"!=", differs, 1},
    {"ne", differs, 1},
    {"<", is_less, 1},
    {"lt", is_less, 1},
    {"lessthan", is_less, 1},
    {"<=", is_at_most, 1},
    {"le", is_at_most, 1},
    {">", is_greater, 1},
    {"gt", is_greater, 1},
    {"greaterthan", is_greater, 1},
    {">=", is_at_least, 1},
    {"ge", is_at_least, 1},
};

bool mla_jinja_test(jinja_run *r, const char *name, jinja_value self, const jinja_arguments *given) {
    const int count = (int)(sizeof tests / sizeof *tests);
    int i = 0;
    while (i < count && strcmp(tests[i].name, name)) i++;
    if (i == count) mla_jinja_fail(&r->machine, "the test '%.80s' is not known here", name);
    else if (given->count != tests[i].arguments || (given->count && given->names && given->names[0]))
        mla_jinja_fail(&r->machine, "the test '%s' takes %d arguments", name, tests[i].arguments);
    return !r->machine.status && tests[i].holds(r, self, given->values);
}
