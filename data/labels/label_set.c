#include "data/labels/label_set.h"
#include "autograd/schema/fields.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t mla_label_set_find(const mla_label_set *set, const char *name) {
    for (int64_t i = 0; i < set->count; i++)
        if (!strcmp(set->names[i], name)) return i;
    return -1;
}

mla_status mla_label_set_add(mla_context *context, mla_label_set *set, const char *name, int64_t *out) {
    *out = mla_label_set_find(set, name);
    if (*out >= 0 || set->closed) return MLA_OK;
    mla_status status = mla_grow(context, &set->names, &set->capacity, set->count + 1, sizeof *set->names,
                                 "the names of labels");
    char *copy = status ? NULL : mla_alloc(context, (int64_t)strlen(name) + 1, 1, "the name of a label");
    if (!copy) return MLA_ERROR_MEMORY;
    set->names[ *out = set->count++] = strcpy(copy, name);
    return MLA_OK;
}

/* ---- order ---- */

typedef struct {
    char *name;
    long long number;
    int64_t old;
} sortable;

static int by_number(const void *a, const void *b) {
    const long long x = ((const sortable *)a)->number, y = ((const sortable *)b)->number;
    return (x > y) - (x < y);
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(((const sortable *)a)->name, ((const sortable *)b)->name);
}

/* As it would be written: "7", not "07" or "7.0". */
static bool is_whole_number(const char *name, long long *out) {
    char again[32], *end;
    *out = strtoll(name, &end, 10);
    snprintf(again, sizeof again, "%lld", *out);
    return !*end && !strcmp(again, name);
}

mla_status mla_label_set_sort(mla_context *context, mla_label_set *set, int32_t **place) {
    bool numbers = true;
    sortable *all = mla_alloc(context, set->count, sizeof *all, "the names of labels");
    *place = all ? mla_alloc(context, set->count, sizeof **place, "the names of labels") : NULL;
    for (int64_t i = 0; *place && i < set->count; i++) {
        all[i] = (sortable){.name = set->names[i], .old = i};
        numbers = is_whole_number(all[i].name, &all[i].number) && numbers;
    }
    if (*place && set->count) qsort(all, (size_t)set->count, sizeof *all, numbers ? by_number : by_bytes);
    for (int64_t i = 0; *place && i < set->count; i++) {
        set->names[i] = all[i].name;
        (*place)[all[i].old] = (int32_t)i;
    }
    free(all);
    return *place ? MLA_OK : MLA_ERROR_MEMORY;
}

/* ---- text ---- */

char *mla_label_set_json(mla_context *context, const mla_label_set *set) {
    json_t *list = json_array();
    for (int64_t i = 0; i < set->count; i++) json_array_append_new(list, json_string(set->names[i]));
    char *text = mla_json_text(context, list);
    json_decref(list);
    return text;
}

static mla_status take_names(mla_context *context, const char *where, const json_t *list, mla_label_set *out) {
    mla_status status = json_array_size(list) ? MLA_OK
                                              : mla_fail(context, MLA_ERROR_FORMAT, "%s: no list of labels", where);
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int64_t number = -1;
        if (name) status = mla_label_set_add(context, out, name, &number);
        if (!status && number != (int64_t)i)
            status = mla_fail(context, MLA_ERROR_FORMAT, "%s: label %lld is no name, or one that was there before",
                              where, (long long)i);
    }
    return status;
}

mla_status mla_label_set_parse(mla_context *context, const char *where, const char *json, mla_label_set *out) {
    json_t *list;
    *out = (mla_label_set){0};
    mla_status status = mla_json_parse(context, where, json, &list);
    if (status) return status;
    status = take_names(context, where, list, out);
    out->closed = true;
    if (status) mla_label_set_free(out);
    json_decref(list);
    return status;
}

/* ---- Hugging Face's id2label ---- */

mla_status mla_label_set_read_ids(mla_context *context, const char *where, const json_t *names, int64_t count,
                                  mla_label_set *out) {
    mla_status status = MLA_OK;
    *out = (mla_label_set){0};
    for (int64_t i = 0; i < count && !status; i++) {
        char key[32], usual[32];
        int64_t number;
        snprintf(key, sizeof key, "%lld", (long long)i);
        snprintf(usual, sizeof usual, "LABEL_%lld", (long long)i);
        const char *name = json_is_object(names) ? json_string_value(json_object_get(names, key)) : usual;
        if (name) status = mla_label_set_add(context, out, name, &number);
        if (!status && (!name || number != i))
            status = mla_fail(context, MLA_ERROR_FORMAT, "%sid2label: %lld has no name, or one that was there before",
                              where, (long long)i);
    }
    out->closed = true;
    if (status) mla_label_set_free(out);
    return status;
}

json_t *mla_label_set_ids(const mla_label_set *set) {
    json_t *names = json_object();
    for (int64_t i = 0; i < set->count; i++) {
        char key[32];
        snprintf(key, sizeof key, "%lld", (long long)i);
        json_object_set_new(names, key, json_string(set->names[i]));
    }
    return names;
}

void mla_label_set_free(mla_label_set *set) {
    for (int64_t i = 0; i < set->count; i++) free(set->names[i]);
    free(set->names);
    *set = (mla_label_set){0};
}
