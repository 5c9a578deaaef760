/* The names of classes, numbered from 0. */
#ifndef MLA_DATA_LABELS_LABEL_SET_H
#define MLA_DATA_LABELS_LABEL_SET_H

#include "autograd/base/context.h"

struct json_t; /* of jansson */

/* Begins as {0}; freed by mla_label_set_free. */
typedef struct {
    char **names;
    int64_t count, capacity;
    bool closed; /* names were given: no others are taken */
} mla_label_set;

/* The number of a name; -1: none. */
int64_t mla_label_set_find(const mla_label_set *set, const char *name);
/* The same; a new name is added unless the set is closed (then *out is -1). */
mla_status mla_label_set_add(mla_context *context, mla_label_set *set, const char *name, int64_t *out);

/* Sorts them: as whole numbers where all are such, otherwise by their bytes. *place gets the new number of each old
 * one; free() it. */
mla_status mla_label_set_sort(mla_context *context, mla_label_set *set, int32_t **place);

/* Reads Hugging Face's id2label, {"0": NAME, ...}, of so many labels; without it (NULL), takes the names that
 * transformers gives: LABEL_0, ... MLA_ERROR_FORMAT for ids that are not 0, 1, 2, ..., and a name that is there twice;
 * `where` begins the message. mla_label_set_ids writes it; NULL without memory. */
mla_status mla_label_set_read_ids(mla_context *context, const char *where, const struct json_t *id2label, int64_t count,
                                  mla_label_set *out);
struct json_t *mla_label_set_ids(const mla_label_set *set);

/* As a JSON list of strings, and back, closed; free() the text. MLA_ERROR_FORMAT where it is none, or has a name twice;
 * `where` begins the message. */
char *mla_label_set_json(mla_context *context, const mla_label_set *set);
mla_status mla_label_set_parse(mla_context *context, const char *where, const char *json, mla_label_set *out);
void mla_label_set_free(mla_label_set *set);

#endif
