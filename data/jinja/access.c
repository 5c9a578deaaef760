/* What a value is asked for by . and [ ], and what operators make of two. */
#include "data/jinja/evaluate.h"

#include <math.h>
#include <string.h>

/* ---- attributes and items ---- */

static jinja_value of_loop(jinja_run *r, const jinja_loop *loop, const char *name) {
    const int64_t i = loop->index, count = loop->list->count;
    if (!strcmp(name, "index")) return mla_jinja_int(i + 1);
    if (!strcmp(name, "index0")) return mla_jinja_int(i);
    if (!strcmp(name, "revindex")) return mla_jinja_int(count - i);
    if (!strcmp(name, "revindex0")) return mla_jinja_int(count - i - 1);
    if (!strcmp(name, "first")) return mla_jinja_bool(i == 0);
    if (!strcmp(name, "last")) return mla_jinja_bool(i == count - 1);
    if (!strcmp(name, "length")) return mla_jinja_int(count);
    if (!strcmp(name, "depth")) return mla_jinja_int(loop->depth);
    if (!strcmp(name, "depth0")) return mla_jinja_int(loop->depth - 1);
    if (!strcmp(name, "previtem") && i > 0) return loop->list->items[i - 1];
    if (!strcmp(name, "nextitem") && i + 1 < count) return loop->list->items[i + 1];
    if (!strcmp(name, "cycle") || !strcmp(name, "changed"))
        mla_jinja_fail(&r->machine, "loop.%s is not known here", name);
    return mla_jinja_undefined(&r->machine, "'loop' has no '%.80s' here", name);
}

static jinja_value no_attribute(jinja_run *r, jinja_value of, const char *name) {
    return mla_jinja_undefined(&r->machine, "'%s object' has no attribute '%.80s'", mla_jinja_type(of), name);
}

jinja_value mla_jinja_attribute(jinja_run *r, jinja_value of, const char *name) {
    const jinja_value *found = NULL;
    if (of.kind == JINJA_UNDEFINED) {
        mla_jinja_fail(&r->machine, "%s", of.what);
        return of;
    }
    if (of.kind == JINJA_LOOP) return of_loop(r, of.loop, name);
    if (of.kind != JINJA_NAMESPACE && name[0] != '_') {
        const jinja_value method = mla_jinja_method(r, of, name);
        if (method.kind != JINJA_UNDEFINED || method.what) return method;
    }
    if (of.kind == JINJA_DICT || of.kind == JINJA_NAMESPACE) found = mla_jinja_dict_find(of.dict, name);
    return found ? *found : no_attribute(r, of, name);
}

static bool is_whole(jinja_value v) { return v.kind == JINJA_INT || v.kind == JINJA_BOOL; }

static int64_t whole(jinja_value v) { return v.kind == JINJA_BOOL ? v.truth : v.integer; }

/* The item at a place, from the end where it is negative. */
static jinja_value at_place(jinja_run *r, jinja_value of, int64_t i) {
    const bool has_places = of.kind == JINJA_TEXT || (of.kind == JINJA_LIST && of.list->form <= JINJA_A_RANGE);
    const int64_t count = has_places ? mla_jinja_length(&r->machine, of) : 0;
    if (i < 0) i += count;
    if (!has_places || i < 0 || i >= count)
        return mla_jinja_undefined(&r->machine, "'%s object' has no element %lld", mla_jinja_type(of), (long long)i);
    if (of.kind == JINJA_LIST) return of.list->items[i];
    mla_jinja_step(&r->machine, of.text->length / 64);
    const int64_t begin = mla_jinja_place(of.text, i);
    return mla_jinja_part(&r->machine, of.text, begin, begin + mla_jinja_character(of.text, begin));
}

jinja_value mla_jinja_item(jinja_run *r, jinja_value of, jinja_value key) {
    if (of.kind == JINJA_UNDEFINED) mla_jinja_fail(&r->machine, "%s", of.what);
    if (r->machine.status) return of;
    if (of.kind == JINJA_DICT) {
        const jinja_value *found = mla_jinja_dict_get(&r->machine, of.dict, key);
        if (found) return *found;
    } else if (is_whole(key)) return at_place(r, of, whole(key));
    if (key.kind == JINJA_TEXT) return mla_jinja_attribute(r, of, mla_jinja_chars(&r->machine, key.text));
    return mla_jinja_undefined(&r->machine, "'%s object' has no such element", mla_jinja_type(of));
}

/* A bound of a slice, within the places that there are: low to high. */
static int64_t bound(jinja_value v, int64_t count, int64_t otherwise, int64_t low, int64_t high) {
    if (v.kind == JINJA_NONE) return otherwise;
    int64_t i = whole(v);
    if (i < 0) i = i < -count ? low : i + count;
    return i < low ? low : i > high ? high : i;
}

static jinja_value pick_text(jinja_run *r, const jinja_text *text, int64_t begin, int64_t end, int64_t step) {
    if (step == 1) return mla_jinja_part(&r->machine, text, mla_jinja_place(text, begin), mla_jinja_place(text, end));
    jinja_builder b = {.machine = &r->machine};
    const jinja_list *all = mla_jinja_iterate(&r->machine, (jinja_value){JINJA_TEXT, .text = text});
    for (int64_t i = begin; all && (step > 0 ? i < end : i > end) && !r->machine.status; i += step)
        mla_jinja_put_text(&b, all->items[i].text);
    return mla_jinja_built(&b);
}

static jinja_value pick_list(jinja_run *r, const jinja_list *list, int64_t begin, int64_t end, int64_t step) {
    jinja_value out = mla_jinja_list(&r->machine, list->form, 0);
    for (int64_t i = begin; (step > 0 ? i < end : i > end) && !r->machine.status; i += step)
        mla_jinja_append(&r->machine, out.list, list->items[i]);
    return out;
}

jinja_value mla_jinja_slice(jinja_run *r, jinja_value of, const jinja_value bounds[3]) {
    const bool has_places = of.kind == JINJA_TEXT || (of.kind == JINJA_LIST && of.list->form <= JINJA_A_RANGE);
    bool whole_bounds = true;
    if (of.kind == JINJA_UNDEFINED) mla_jinja_fail(&r->machine, "%s", of.what);
    if (r->machine.status) return of;
    for (int i = 0; i < 3; i++) whole_bounds &= bounds[i].kind == JINJA_NONE || is_whole(bounds[i]);
    if (!has_places || !whole_bounds)
        mla_jinja_fail(&r->machine,
                       has_places ? "slice indices must be integers or None" : "'%s' object is not subscriptable",
                       mla_jinja_type(of));
    if (r->machine.status) return of;
    const int64_t count = mla_jinja_length(&r->machine, of);
    int64_t step = bounds[2].kind == JINJA_NONE ? 1 : whole(bounds[2]);
    if (!step) mla_jinja_fail(&r->machine, "slice step cannot be zero");
    if (r->machine.status) return of;
    if (step > count + 1) step = count + 1; /* it leaves the places in one step, either way */
    if (step < -count - 1) step = -count - 1;
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
    const int64_t begin = bound(bounds[0], count, step > 0 ? low : high, low, high);
    const int64_t end = bound(bounds[1], count, step > 0 ? high : low, low, high);
    if (of.kind == JINJA_LIST) return pick_list(r, of.list, begin, end, step);
    mla_jinja_step(&r->machine, of.text->length / 32);
    return pick_text(r, of.text, begin, end > begin || step < 0 ? end : begin, step);
}

/* ---- arithmetic ---- */

static void no_such(jinja_run *r, const char *op, jinja_value a, jinja_value b) {
    if (a.kind == JINJA_UNDEFINED || b.kind == JINJA_UNDEFINED)
        mla_jinja_fail(&r->machine, "%s", a.kind == JINJA_UNDEFINED ? a.what : b.what);
    mla_jinja_fail(&r->machine, "unsupported operand type(s) for %s: '%s' and '%s'", op, mla_jinja_type(a),
                   mla_jinja_type(b));
}

static int64_t floor_of(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }

static bool power_of(int64_t a, int64_t b, int64_t *out) {
    *out = 1;
    if (b > 64 && (a > 1 || a < -1)) return true;
    if (b > 64) b = 64 + (b & 1);
    for (int64_t i = 0; i < b; i++)
        if (__builtin_mul_overflow(*out, a, out)) return true;
    return false;
}

static jinja_value of_ints(jinja_run *r, const char *op, int64_t a, int64_t b) {
    int64_t out = 0;
    bool overflow = false;
    const bool divides = op[0] == '/' || op[0] == '%';
    if (divides && !b) mla_jinja_fail(&r->machine, "division by zero");
    if (r->machine.status) return mla_jinja_int(0);
    if (!strcmp(op, "/")) return mla_jinja_float((double)a / (double)b);
    if (!strcmp(op, "**") && b < 0) {
        if (!a) mla_jinja_fail(&r->machine, "0.0 cannot be raised to a negative power");
        return mla_jinja_float(pow((double)a, (double)b));
    }
    if (!strcmp(op, "**")) overflow = power_of(a, b, &out);
    else if (op[0] == '+') overflow = __builtin_add_overflow(a, b, &out);
    else if (op[0] == '-') overflow = __builtin_sub_overflow(a, b, &out);
    else if (op[0] == '*') overflow = __builtin_mul_overflow(a, b, &out);
    else if (a == INT64_MIN && b == -1) overflow = op[0] == '/';
    else if (op[0] == '/') out = floor_of(a, b);
    else out = a - b * floor_of(a, b);
    if (overflow) mla_jinja_fail(&r->machine, "%lld %s %lld is too large a number", (long long)a, op, (long long)b);
    return mla_jinja_int(out);
}

static jinja_value of_reals(jinja_run *r, const char *op, double a, double b) {
    if (!strcmp(op, "**")) {
        if (a < 0 && b != floor(b)) mla_jinja_fail(&r->machine, "a root of a negative number is not known here");
        if (!a && b < 0) mla_jinja_fail(&r->machine, "0.0 cannot be raised to a negative power");
        if (isinf(pow(a, b)) && !isinf(a) && !isinf(b)) mla_jinja_fail(&r->machine, "Numerical result out of range");
        return mla_jinja_float(pow(a, b));
    }
    if (op[0] == '+') return mla_jinja_float(a + b);
    if (op[0] == '-') return mla_jinja_float(a - b);
    if (op[0] == '*') return mla_jinja_float(a * b);
    if (!b) mla_jinja_fail(&r->machine, "division by zero");
    if (!strcmp(op, "/")) return mla_jinja_float(a / b);
    double rest = fmod(a, b);
    if (rest && (rest < 0) != (b < 0)) rest += b;
    if (!rest) rest = copysign(0, b);
    if (op[0] == '%') return mla_jinja_float(rest);
    const double quotient = (a - rest) / b, low = floor(quotient);
    return mla_jinja_float(quotient ? quotient - low > 0.5 ? low + 1 : low : copysign(0, a / b));
}

static jinja_value add_texts(jinja_run *r, const jinja_text *a, const jinja_text *b) {
    jinja_builder sum = {.machine = &r->machine, .safe = a->safe || b->safe};
    if (sum.safe) mla_jinja_put_escaped(&sum, a), mla_jinja_put_escaped(&sum, b);
    else mla_jinja_put_text(&sum, a), mla_jinja_put_text(&sum, b);
    return mla_jinja_built(&sum);
}

static jinja_value add_lists(jinja_run *r, const jinja_list *a, const jinja_list *b) {
    jinja_value sum = mla_jinja_list(&r->machine, a->form, a->count + b->count);
    for (int64_t i = 0; i < a->count; i++) mla_jinja_append(&r->machine, sum.list, a->items[i]);
    for (int64_t i = 0; i < b->count; i++) mla_jinja_append(&r->machine, sum.list, b->items[i]);
    return sum;
}

static jinja_value repeat(jinja_run *r, jinja_value of, int64_t times) {
    jinja_builder b = {.machine = &r->machine, .safe = of.kind == JINJA_TEXT && of.text->safe};
    if (of.kind == JINJA_TEXT) {
        for (; times > 0 && of.text->length && mla_jinja_step(&r->machine, 1); times--) mla_jinja_put_text(&b, of.text);
        return mla_jinja_built(&b);
    }
    jinja_value out = mla_jinja_list(&r->machine, of.list->form, 0);
    for (; times > 0 && of.list->count && mla_jinja_step(&r->machine, 1); times--)
        for (int64_t i = 0; i < of.list->count; i++) mla_jinja_append(&r->machine, out.list, of.list->items[i]);
    return out;
}

jinja_value mla_jinja_arithmetic(jinja_run *r, const char *op, jinja_value a, jinja_value b) {
    if (mla_jinja_is_number(a) && mla_jinja_is_number(b)) {
        if (a.kind == JINJA_FLOAT || b.kind == JINJA_FLOAT)
            return of_reals(r, op, mla_jinja_real(a), mla_jinja_real(b));
        return of_ints(r, op, whole(a), whole(b));
    }
    const bool lists = a.kind == JINJA_LIST && b.kind == JINJA_LIST;
    if (!strcmp(op, "+") && a.kind == JINJA_TEXT && b.kind == JINJA_TEXT) return add_texts(r, a.text, b.text);
    if (!strcmp(op, "+") && lists && a.list->form == b.list->form && a.list->form <= JINJA_A_TUPLE)
        return add_lists(r, a.list, b.list);
    if (!strcmp(op, "*")) {
        const jinja_value of = is_whole(a) ? b : a, times = is_whole(a) ? a : b;
        if (is_whole(times) && (of.kind == JINJA_TEXT || (of.kind == JINJA_LIST && of.list->form <= JINJA_A_TUPLE)))
            return repeat(r, of, whole(times));
    }
    if (!strcmp(op, "%") && a.kind == JINJA_TEXT) mla_jinja_fail(&r->machine, "%% behind a text is not known here");
    no_such(r, op, a, b);
    return a;
}
