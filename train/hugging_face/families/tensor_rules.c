#include "train/hugging_face/families/tensor_rules.h"
#include "train/hugging_face/families/rotary_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

enum { NAME = 256, DIGITS = 24 };

/* Whether `name` is `pattern` with digits for its *, which go to `number`. */
static bool matches(const char *pattern, const char *name, char number[DIGITS]) {
    const size_t head = strcspn(pattern, "*");
    number[0] = '\0';
    if (!pattern[head]) return !strcmp(pattern, name);
    const size_t digits = strncmp(pattern, name, head) ? 0 : strspn(name + head, "0123456789");
    if (!digits || digits >= DIGITS || strcmp(pattern + head + 1, name + head + digits)) return false;
    snprintf(number, DIGITS, "%.*s", (int)digits, name + head);
    return true;
}

static void fill_in(const char *pattern, const char *number, char name[NAME]) {
    const int head = (int)strcspn(pattern, "*");
    snprintf(name, NAME, "%.*s%s%s", head, pattern, number, pattern[head] ? pattern + head + 1 : "");
}

static int length_of(const char *const names[MLA_RULE_PARTS]) {
    int n = 0;
    while (n < MLA_RULE_PARTS && names[n]) n++;
    return n;
}

/* The rule for a parameter, and which of the rule's it is; NULL: none. */
static const mla_tensor_rule *rule_of(const mla_tensor_rule *rules, const char *parameter, char number[DIGITS],
                                      int *part) {
    for (; rules && rules->theirs[0]; rules++)
        for (*part = 0; *part < length_of(rules->ours); ++*part)
            if (matches(rules->ours[*part], parameter, number)) return rules;
    return NULL;
}

/* ---- the map ---- */

/* One more tensor, without parts; NULL after an error. */
static mla_mapped_tensor *add_tensor(mla_tensor_map *map, const char *name, const mla_tensor_rule *rule) {
    mla_context *context = map->model->context;
    if (mla_grow(context, &map->tensors, &map->capacity, map->count + 1, sizeof *map->tensors, "the map of tensors"))
        return NULL;
    char *copy = mla_alloc(context, (int64_t)strlen(name) + 1, 1, "the name of a tensor");
    if (!copy) return NULL;
    mla_mapped_tensor *t = &map->tensors[map->count++];
    *t = (mla_mapped_tensor){.name = strcpy(copy, name), .shape.dtype = MLA_F32, .scale = 1};
    if (rule && rule->scale) t->scale = rule->scale(&map->model->config);
    if (rule) t->shift = rule->shift;
    return t;
}

static mla_status tensor_rules_refuse(const mla_tensor_map *map, const char *parameter, const char *words) {
    return mla_fail(map->model->context, MLA_ERROR_ARGUMENT, "the rule for parameter %s %s", parameter, words);
}

/* Appends rows of a parameter to a tensor. */
static mla_status add_part(const mla_tensor_map *map, mla_mapped_tensor *t, const mla_param *p, int64_t first,
                           int64_t rows) {
    const mla_param_spec *s = &p->spec;
    bool fits = !t->part_count || t->shape.ndim == s->ndim;
    for (int i = 1; t->part_count && fits && i < s->ndim; i++) fits = t->shape.shape[i] == s->shape[i];
    if (!fits) return tensor_rules_refuse(map, s->name, "joins it to one of another width");
    if (first < 0 || rows < 1 || rows > s->shape[0] - first)
        return tensor_rules_refuse(map, s->name, "does not have its number of rows");
    t->shape.ndim = s->ndim;
    for (int i = 1; i < s->ndim; i++) t->shape.shape[i] = s->shape[i];
    t->shape.shape[0] += rows;
    t->parts[t->part_count++] = (mla_mapped_rows){p, first, rows};
    return MLA_OK;
}

/* One of theirs for all of ours. */
static mla_status add_split(mla_tensor_map *map, const mla_tensor_rule *rule, const char *number) {
    char name[NAME];
    fill_in(rule->theirs[0], number, name);
    mla_mapped_tensor *t = add_tensor(map, name, rule);
    mla_status status = t ? MLA_OK : MLA_ERROR_MEMORY;
    for (int i = 0; i < length_of(rule->ours) && !status; i++) {
        fill_in(rule->ours[i], number, name);
        const mla_param *p = mla_params_find(map->model->params, name);
        status = p ? add_part(map, t, p, 0, p->spec.shape[0])
                   : tensor_rules_refuse(map, name, "is for a model that has it");
    }
    return status;
}

/* All of theirs for one of ours. */
static mla_status add_join(mla_tensor_map *map, const mla_tensor_rule *rule, const char *number, const mla_param *p) {
    char name[NAME];
    int64_t first = 0;
    mla_status status = MLA_OK;
    for (int i = 0; i < length_of(rule->theirs) && !status; i++) {
        const int64_t rows = rule->rows(&map->model->config, i);
        fill_in(rule->theirs[i], number, name);
        mla_mapped_tensor *t = add_tensor(map, name, rule);
        status = t ? add_part(map, t, p, first, rows) : MLA_ERROR_MEMORY;
        first += rows;
    }
    return !status && first != p->spec.shape[0]
               ? tensor_rules_refuse(map, p->spec.name, "does not have its number of rows")
               : status;
}

static mla_status add_parameter(mla_tensor_map *map, const mla_tensor_rule *rules, const mla_param *p) {
    char number[DIGITS], first[NAME];
    int part;
    const mla_tensor_rule *rule = rule_of(rules, p->spec.name, number, &part);
    if (!rule) {
        mla_mapped_tensor *t = add_tensor(map, p->spec.name, NULL);
        return t ? add_part(map, t, p, 0, p->spec.shape[0]) : MLA_ERROR_MEMORY;
    }
    fill_in(rule->ours[0], number, first);
    if (part > 0 && mla_params_find(map->model->params, first)) return MLA_OK; /* is added with the first */
    return rule->theirs[1] ? add_join(map, rule, number, p) : add_split(map, rule, number);
}

mla_status mla_tensor_map_create(mla_tensor_map *map, const mla_decoder *model, const mla_tensor_rule *rules) {
    *map = (mla_tensor_map){.model = model};
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < mla_params_count(model->params) && !status; i++)
        status = add_parameter(map, rules, mla_params_at(model->params, i));
    return status;
}

void mla_tensor_map_destroy(mla_tensor_map *map) {
    for (int64_t i = 0; i < map->count; i++) free(map->tensors[i].name);
    free(map->tensors);
    *map = (mla_tensor_map){0};
}

const mla_mapped_tensor *mla_tensor_map_find(const mla_tensor_map *map, const char *name) {
    for (int64_t i = 0; i < map->count; i++)
        if (!strcmp(map->tensors[i].name, name)) return &map->tensors[i];
    return NULL;
}

const mla_mapped_tensor *mla_tensor_map_of(const mla_tensor_map *map, const char *parameter) {
    for (int64_t i = 0; i < map->count; i++)
        for (int k = 0; k < map->tensors[i].part_count; k++)
            if (!strcmp(map->tensors[i].parts[k].param->spec.name, parameter)) return &map->tensors[i];
    return NULL;
}

/* ---- the numbers ---- */

static int64_t width_of(const mla_param *p) { return p->count / p->spec.shape[0]; }

static bool is_folded(const mla_mapped_tensor *t) {
    return t->scale < 1 || t->scale > 1 || t->shift < 0 || t->shift > 0;
}

float *mla_mapped_values(const mla_tensor_map *map, const mla_mapped_tensor *t) {
    const mla_mapped_rows *part = &t->parts[0];
    const bool whole = t->part_count == 1 && part->rows == part->param->spec.shape[0];
    if (!whole || is_folded(t) || mla_rotary_rows_differ(&map->model->config, part->param->spec.name)) return NULL;
    return part->param->tensor.data;
}

static mla_status reorder(const mla_tensor_map *map, const mla_mapped_rows *part, mla_rotary_direction direction,
                          float *values) {
    const mla_decoder *model = map->model;
    if (!mla_rotary_rows_differ(&model->config, part->param->spec.name)) return MLA_OK;
    return mla_rotary_rows_reorder(model->context, model->config.head_dim, part->rows, width_of(part->param), direction,
                                   values);
}

mla_status mla_tensor_import(const mla_tensor_map *map, const mla_mapped_tensor *t, const float *values) {
    mla_status status = MLA_OK;
    for (int k = 0; k < t->part_count && !status; k++) {
        const mla_mapped_rows *part = &t->parts[k];
        const int64_t width = width_of(part->param), count = part->rows * width;
        float *to = (float *)part->param->tensor.data + part->first * width;
        memcpy(to, values, (size_t)count * sizeof *to);
        for (int64_t i = 0; is_folded(t) && i < count; i++) to[i] = t->scale * to[i] + t->shift;
        status = reorder(map, part, MLA_TO_NEIGHBOURS, to);
        values += count;
    }
    return status;
}

mla_status mla_tensor_export(const mla_tensor_map *map, const mla_mapped_tensor *t, float *values) {
    mla_status status = MLA_OK;
    for (int k = 0; k < t->part_count && !status; k++) {
        const mla_mapped_rows *part = &t->parts[k];
        const int64_t width = width_of(part->param), count = part->rows * width;
        memcpy(values, (const float *)part->param->tensor.data + part->first * width, (size_t)count * sizeof *values);
        for (int64_t i = 0; is_folded(t) && i < count; i++) values[i] = (values[i] - t->shift) / t->scale;
        status = reorder(map, part, MLA_TO_HALVES, values);
        values += count;
    }
    return status;
}
