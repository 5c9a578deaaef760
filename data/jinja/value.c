#include "data/jinja/value.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 16, DEEPEST = 400 };

struct mla_jinja_block {
    mla_jinja_block *next;
    int64_t used, size;
    max_align_t bytes[];
};

/* ---- memory and limits ---- */

void mla_jinja_fail(jinja_machine *m, const char *format, ...) {
    char words[512];
    va_list list;
    if (m->status) return;
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    m->status = mla_fail(m->context, m->where ? MLA_ERROR_ARGUMENT : MLA_ERROR_FORMAT, "%s%s%s, line %d: %s",
                         m->where ? m->where : "", m->where ? ": " : "", m->of, m->line, words);
}

static mla_jinja_block *add_block(jinja_machine *m, int64_t bytes) {
    const int64_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    mla_jinja_block *block = malloc(sizeof *block + (size_t)size);
    if (!block) {
        if (!m->status) m->status = mla_fail(m->context, MLA_ERROR_MEMORY, "no memory for a chat template");
        return NULL;
    }
    *block = (mla_jinja_block){m->arena.first, 0, size};
    return m->arena.first = block;
}

void *mla_jinja_alloc(jinja_machine *m, int64_t count, size_t size) {
    const int64_t most = m->arena.limit - m->arena.used;
    if (m->status) return NULL;
    if (count < 0 || count > most / (int64_t)size) {
        mla_jinja_fail(m, "takes more than %lld MB of memory", (long long)(m->arena.limit >> 20));
        return NULL;
    }
    const int64_t align = _Alignof(max_align_t), bytes = (count * (int64_t)size + align - 1) / align * align;
    mla_jinja_block *block = m->arena.first;
    if (!block || block->size - block->used < bytes) block = add_block(m, bytes);
    if (!block) return NULL;
    void *memory = (char *)block->bytes + block->used;
    block->used += bytes;
    m->arena.used += bytes;
    return memset(memory, 0, (size_t)bytes);
}

void mla_jinja_arena_free(jinja_arena *arena) {
    for (mla_jinja_block *next; arena->first; arena->first = next) {
        next = arena->first->next;
        free(arena->first);
    }
    arena->used = 0;
}

bool mla_jinja_step(jinja_machine *m, int64_t steps) {
    if (!m->status && (m->steps -= steps) < 0) mla_jinja_fail(m, "takes too many steps: does it end?");
    return !m->status;
}

bool mla_jinja_enter(jinja_machine *m) {
    if (++m->depth > DEEPEST) mla_jinja_fail(m, "is nested more than %d deep", DEEPEST);
    return !m->status;
}

/* ---- making values ---- */

jinja_value mla_jinja_undefined(jinja_machine *m, const char *format, ...) {
    char words[200];
    va_list list;
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    char *what = mla_jinja_alloc(m, (int64_t)strlen(words) + 1, 1);
    if (what) strcpy(what, words);
    return (jinja_value){.kind = JINJA_UNDEFINED, .what = what ? what : "something undefined"};
}

/* An array of the arena, with room for one more. */
static void *with_room(jinja_machine *m, void *items, int64_t count, int64_t capacity, size_t size) {
    void *more = mla_jinja_alloc(m, capacity ? 2 * capacity : 4, size);
    if (more && count) memcpy(more, items, (size_t)count * size);
    return more;
}

/* After an error lists and dicts are these, which are read but not written to: nothing is added after an error. */
static jinja_list no_list;
static jinja_dict no_dict;

jinja_value mla_jinja_list(jinja_machine *m, jinja_form form, int64_t capacity) {
    jinja_list *list = mla_jinja_alloc(m, 1, sizeof *list);
    if (!list) return (jinja_value){.kind = JINJA_LIST, .list = &no_list};
    *list = (jinja_list){.form = form};
    if (capacity && (list->items = mla_jinja_alloc(m, capacity, sizeof *list->items))) list->capacity = capacity;
    return (jinja_value){.kind = JINJA_LIST, .list = list};
}

void mla_jinja_append(jinja_machine *m, jinja_list *list, jinja_value value) {
    if (!mla_jinja_step(m, 1)) return;
    if (list->count == list->capacity) {
        jinja_value *items = with_room(m, list->items, list->count, list->capacity, sizeof *items);
        if (!items) return;
        list->items = items;
        list->capacity = list->capacity ? 2 * list->capacity : 4;
    }
    list->items[list->count++] = value;
}

jinja_value mla_jinja_dict(jinja_machine *m) {
    jinja_dict *dict = mla_jinja_alloc(m, 1, sizeof *dict);
    if (!dict) return (jinja_value){.kind = JINJA_DICT, .dict = &no_dict};
    return (jinja_value){.kind = JINJA_DICT, .dict = dict};
}

const jinja_value *mla_jinja_dict_get(jinja_machine *m, const jinja_dict *dict, jinja_value key) {
    if (!mla_jinja_step(m, dict->count / 16)) return NULL;
    if (key.kind == JINJA_LIST && key.list->form != JINJA_A_TUPLE) return NULL;
    if (key.kind == JINJA_DICT) return NULL;
    for (int64_t i = 0; i < dict->count; i++)
        if (mla_jinja_equal(m, dict->keys[i], key)) return &dict->values[i];
    return NULL;
}

const jinja_value *mla_jinja_dict_find(const jinja_dict *dict, const char *key) {
    for (int64_t i = 0; i < dict->count; i++)
        if (mla_jinja_is_text(dict->keys[i], key)) return &dict->values[i];
    return NULL;
}

void mla_jinja_dict_set(jinja_machine *m, jinja_dict *dict, jinja_value key, jinja_value value) {
    const jinja_value *found = mla_jinja_dict_get(m, dict, key);
    if (found) dict->values[found - dict->values] = value;
    if (found || !mla_jinja_step(m, 1)) return;
    if (dict->count == dict->capacity) {
        jinja_value *keys = with_room(m, dict->keys, dict->count, dict->capacity, sizeof *keys);
        jinja_value *values = with_room(m, dict->values, dict->count, dict->capacity, sizeof *values);
        if (!keys || !values) return;
        dict->keys = keys;
        dict->values = values;
        dict->capacity = dict->capacity ? 2 * dict->capacity : 4;
    }
    dict->keys[dict->count] = key;
    dict->values[dict->count++] = value;
}

/* ---- asking them ---- */

bool mla_jinja_is_number(jinja_value v) { return v.kind == JINJA_BOOL || v.kind == JINJA_INT || v.kind == JINJA_FLOAT; }

double mla_jinja_real(jinja_value v) {
    return v.kind == JINJA_FLOAT ? v.real : v.kind == JINJA_BOOL ? (double)v.truth : (double)v.integer;
}

static int64_t whole(jinja_value v) { return v.kind == JINJA_BOOL ? v.truth : v.integer; }

bool mla_jinja_is_text(jinja_value v, const char *text) {
    const int64_t length = (int64_t)strlen(text);
    return v.kind == JINJA_TEXT && v.text->length == length && !memcmp(v.text->bytes, text, (size_t)length);
}

bool mla_jinja_truth(jinja_machine *m, jinja_value v) {
    (void)m;
    switch (v.kind) {
    case JINJA_ABSENT:
    case JINJA_UNDEFINED:
    case JINJA_NONE: return false;
    case JINJA_BOOL: return v.truth;
    case JINJA_INT: return v.integer != 0;
    case JINJA_FLOAT: return v.real != 0;
    case JINJA_TEXT: return v.text->length > 0;
    case JINJA_LIST: return v.list->form == JINJA_A_GENERATOR || v.list->count > 0;
    case JINJA_DICT: return v.dict->count > 0;
    default: return true;
    }
}

static bool equal_lists(jinja_machine *m, const jinja_list *a, const jinja_list *b) {
    const bool apart = a->form == JINJA_A_GENERATOR || a->form == JINJA_A_VIEW;
    if (a->form != b->form || a->count != b->count || (apart && a != b)) return false;
    for (int64_t i = 0; i < a->count; i++)
        if (!mla_jinja_equal(m, a->items[i], b->items[i])) return false;
    return true;
}

static bool equal_dicts(jinja_machine *m, const jinja_dict *a, const jinja_dict *b) {
    if (a->count != b->count) return false;
    for (int64_t i = 0; i < a->count; i++) {
        const jinja_value *other = mla_jinja_dict_get(m, b, a->keys[i]);
        if (!other || !mla_jinja_equal(m, a->values[i], *other)) return false;
    }
    return true;
}

static bool equal_of_a_kind(jinja_machine *m, jinja_value a, jinja_value b) {
    switch (a.kind) {
    case JINJA_TEXT:
        return a.text->length == b.text->length && !memcmp(a.text->bytes, b.text->bytes, (size_t)a.text->length);
    case JINJA_LIST: return equal_lists(m, a.list, b.list);
    case JINJA_DICT: return equal_dicts(m, a.dict, b.dict);
    case JINJA_NONE:
    case JINJA_UNDEFINED: return true;
    default: return a.dict == b.dict; /* the same one */
    }
}

bool mla_jinja_equal(jinja_machine *m, jinja_value a, jinja_value b) {
    bool equal = false;
    if (mla_jinja_is_number(a) && mla_jinja_is_number(b)) {
        if (a.kind == JINJA_FLOAT || b.kind == JINJA_FLOAT) return mla_jinja_real(a) == mla_jinja_real(b);
        return whole(a) == whole(b);
    }
    if (a.kind != b.kind) return false;
    if (mla_jinja_enter(m) && mla_jinja_step(m, 1)) equal = equal_of_a_kind(m, a, b);
    m->depth--;
    return equal;
}

static int compare_texts(const jinja_text *a, const jinja_text *b) {
    const int64_t common = a->length < b->length ? a->length : b->length;
    const int order = common ? memcmp(a->bytes, b->bytes, (size_t)common) : 0;
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static int compare_lists(jinja_machine *m, const jinja_list *a, const jinja_list *b) {
    int order = 0;
    if (mla_jinja_enter(m))
        for (int64_t i = 0; i < a->count && i < b->count && !order && !m->status; i++)
            if (!mla_jinja_equal(m, a->items[i], b->items[i])) order = mla_jinja_compare(m, a->items[i], b->items[i]);
    m->depth--;
    return order ? order : (a->count > b->count) - (a->count < b->count);
}

int mla_jinja_compare(jinja_machine *m, jinja_value a, jinja_value b) {
    if (mla_jinja_is_number(a) && mla_jinja_is_number(b)) {
        if (a.kind == JINJA_FLOAT || b.kind == JINJA_FLOAT)
            return (mla_jinja_real(a) > mla_jinja_real(b)) - (mla_jinja_real(a) < mla_jinja_real(b));
        return (whole(a) > whole(b)) - (whole(a) < whole(b));
    }
    if (a.kind == JINJA_TEXT && b.kind == JINJA_TEXT) return compare_texts(a.text, b.text);
    if (a.kind == JINJA_LIST && b.kind == JINJA_LIST && a.list->form == b.list->form && a.list->form <= JINJA_A_TUPLE)
        return compare_lists(m, a.list, b.list);
    if (a.kind == JINJA_UNDEFINED || b.kind == JINJA_UNDEFINED)
        mla_jinja_fail(m, "%s", a.kind == JINJA_UNDEFINED ? a.what : b.what);
    mla_jinja_fail(m, "'%s' and '%s' have no order", mla_jinja_type(a), mla_jinja_type(b));
    return 0;
}

const char *mla_jinja_type(jinja_value v) {
    static const char *const names[] = {"absent", "Undefined", "NoneType", "bool",       "int",
                                        "float",  "str",       "list",     "dict",       "Namespace",
                                        "Macro",  "method",    "function", "LoopContext"};
    static const char *const forms[] = {"list", "tuple", "range", "dict_items", "generator"};
    return v.kind == JINJA_LIST ? forms[v.list->form] : names[v.kind];
}
