#include "data/jinja/sequence.h"
#include "data/jinja/text.h"

static jinja_list *characters(jinja_machine *m, const jinja_text *text) {
    jinja_list *list = mla_jinja_list(m, JINJA_A_LIST, 0).list;
    for (int64_t at = 0, length; at < text->length && !m->status; at += length) {
        length = mla_jinja_character(text, at);
        mla_jinja_append(m, list, mla_jinja_part(m, text, at, at + length));
    }
    return list;
}

const jinja_list *mla_jinja_iterate(jinja_machine *m, jinja_value v) {
    jinja_list *list = v.list;
    if (v.kind == JINJA_TEXT) return characters(m, v.text);
    if (v.kind != JINJA_LIST) list = mla_jinja_list(m, JINJA_A_LIST, 0).list;
    if (v.kind != JINJA_LIST && v.kind != JINJA_UNDEFINED && v.kind != JINJA_DICT)
        mla_jinja_fail(m, "'%s' object is not iterable", mla_jinja_type(v));
    if (m->status) return NULL;
    if (v.kind == JINJA_DICT)
        for (int64_t i = 0; i < v.dict->count; i++) mla_jinja_append(m, list, v.dict->keys[i]);
    if (list->form != JINJA_A_GENERATOR) return list;
    jinja_list *taken = mla_jinja_alloc(m, 1, sizeof *taken);
    if (!taken) return NULL;
    *taken = *list;
    list->count = 0;
    return taken;
}

int64_t mla_jinja_length(jinja_machine *m, jinja_value v) {
    if (v.kind == JINJA_TEXT) return mla_jinja_characters(v.text, 0, v.text->length);
    if (v.kind == JINJA_DICT) return v.dict->count;
    if (v.kind == JINJA_UNDEFINED) return 0;
    if (v.kind == JINJA_LIST && v.list->form != JINJA_A_GENERATOR) return v.list->count;
    if (v.kind == JINJA_LOOP) return v.loop->list->count;
    mla_jinja_fail(m, "object of type '%s' has no len()", mla_jinja_type(v));
    return 0;
}

bool mla_jinja_contains(jinja_machine *m, jinja_value container, jinja_value item) {
    if (container.kind == JINJA_TEXT) {
        if (item.kind == JINJA_TEXT) return mla_jinja_find(container.text, item.text, 0) >= 0;
        mla_jinja_fail(m, "'in <string>' requires string as left operand, not %s", mla_jinja_type(item));
        return false;
    }
    if (container.kind == JINJA_DICT) {
        if (item.kind == JINJA_DICT || (item.kind == JINJA_LIST && item.list->form != JINJA_A_TUPLE))
            mla_jinja_fail(m, "unhashable type: '%s'", mla_jinja_type(item));
        return mla_jinja_dict_get(m, container.dict, item) != NULL;
    }
    const jinja_list *list = mla_jinja_iterate(m, container);
    for (int64_t i = 0; list && i < list->count && !m->status; i++)
        if (mla_jinja_equal(m, list->items[i], item)) return true;
    return false;
}
