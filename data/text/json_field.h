/* The text in one field of a JSON object, found without building anything of the rest, which is checked all the same.
 *
 * A name with dots, "meta.text", is a key of that name where the object has one, and otherwise the key "text" of the
 * object at "meta": at every object, the longest key that the name begins with. Of equal keys the last one counts. */
#ifndef MLA_DATA_TEXT_JSON_FIELD_H
#define MLA_DATA_TEXT_JSON_FIELD_H

#include "autograd/base/context.h"
#include "autograd/json/reader.h"

/* Begins as {0} and is used for one object after the other. */
typedef struct {
    mla_json json;
    char *key, *text; /* without escapes */
    int64_t key_capacity, text_capacity;
} mla_json_field;

/* *text points into `bytes` or belongs to `field`, until its next use; it holds what the file holds, with U+FFFD for
 * lone surrogates alone. MLA_ERROR_FORMAT, of which `where` (a file and line) begins the message: no JSON, no object,
 * no such field, or one that is no text. */
mla_status mla_json_field_text(mla_context *context, mla_json_field *field, const char *where, const char *name,
                               const char *bytes, int64_t length, const char **text, int64_t *size);
void mla_json_field_free(mla_json_field *field);

#endif
