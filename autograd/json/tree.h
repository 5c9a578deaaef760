/* Trees of jansson's from JSON text, which autograd/json/reader.h reads: nothing else makes trees from text. To write
 * them is jansson's. Values that jansson has none for become:
 *
 *     whole numbers beyond 64 bits                     reals
 *     NaN, Infinity and numbers beyond a double        strings, as they are spelled
 *     lone surrogates, bytes that are no UTF-8         U+FFFD
 *     zeros (\u0000), in keys always                   U+FFFD, for C's strings end at them
 *
 * so that a value that is asked for by its type is refused and one that nobody asks for is let pass. */
#ifndef MLA_AUTOGRAD_JSON_TREE_H
#define MLA_AUTOGRAD_JSON_TREE_H

#include "autograd/base/context.h"

struct json_t; /* of jansson */

enum { MLA_JSON_TREE_DEEPEST = 10000 }; /* objects and arrays within each other: jansson recurses */

typedef enum {
    MLA_JSON_UNIQUE = 1, /* keys that are given twice are errors; without, the last one wins, as in Python, */
    MLA_JSON_QUIET = 2,  /* and no warning names the first of them */
    MLA_JSON_ZEROS = 4,  /* zeros stay in strings that are values: ask for their length */
    MLA_JSON_LINE = 8    /* it is one line of a file that `where` names: messages give the column alone */
} mla_json_flags;

/* In the place of jansson's own: one JSON value; the caller calls json_decref(*out), NULL after an error. `where`
 * begins the message, as in "config.json: ". MLA_ERROR_FORMAT names line and column; MLA_ERROR_MEMORY. */
mla_status mla_json_read(mla_context *context, const char *where, const char *bytes, int64_t length, unsigned flags,
                         struct json_t **out);

/* The same of text that ends with a NUL, without flags. */
mla_status mla_json_parse(mla_context *context, const char *where, const char *text, struct json_t **out);

/* A member of an object: its text, "" where it is none; its number, NaN where it is none; whether it is on, `otherwise`
 * where it is not given. */
const char *mla_json_text_of(const struct json_t *object, const char *key);
double mla_json_number_of(const struct json_t *object, const char *key);
bool mla_json_is_on(const struct json_t *object, const char *key, bool otherwise);

#endif
