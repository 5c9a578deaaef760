/* JSON, an event at a time, from bytes in memory: what Python's json reads is read here, with the same values.
 *
 *     mla_json json;
 *     mla_json_begin(&json, bytes, length);
 *     while (mla_json_next(&json) > MLA_JSON_END) ...;      json.event, json.text, json.size
 *     mla_json_free(&json);                                 or mla_json_begin again, on the next line of a file
 *
 * Beyond the standard (RFC 8259) that is NaN, Infinity and -Infinity, numbers of any size, lone surrogates, zeros in
 * escapes (\u0000), keys that are given twice, and a byte-order mark at the beginning. Python takes as well, and we do
 * not, UTF-16 and UTF-32; we take as well, and it does not, bytes that are no UTF-8, nesting deeper than a thousand,
 * and whole numbers of more than 4300 digits. Control characters within strings are refused by both.
 *
 * It never recurses, and allocates only to remember, a bit a level, what it is inside of. tree.h builds a tree. */
#ifndef MLA_AUTOGRAD_JSON_READER_H
#define MLA_AUTOGRAD_JSON_READER_H

#include <stdbool.h>
#include <stdint.h>

enum { MLA_JSON_DEEPEST = 1 << 20 }; /* objects and arrays within each other */

typedef enum {
    MLA_JSON_WRONG, /* no JSON, or no memory: `problem` says it, and mla_json_place says where */
    MLA_JSON_END,   /* of the text, behind one whole value */
    MLA_JSON_OBJECT,
    MLA_JSON_OBJECT_END,
    MLA_JSON_ARRAY,
    MLA_JSON_ARRAY_END,
    MLA_JSON_KEY, /* its value is next */
    MLA_JSON_STRING,
    MLA_JSON_WHOLE,  /* a number without fraction and exponent */
    MLA_JSON_REAL,   /* any other, and NaN, Infinity, -Infinity */
    MLA_JSON_LITERAL /* true, false, null */
} mla_json_event;

typedef struct {
    const char *bytes; /* the caller's */
    int64_t length;
    int64_t at;           /* of the byte that is read next; after MLA_JSON_WRONG, of the one that is wrong */
    mla_json_event event; /* the last one */
    const char *text;     /* its bytes, in `bytes`: of a key or string, what stands between the quotes */
    int64_t size;
    bool escaped; /* it is a key or string with escapes: mla_json_unescape */
    bool no_memory;
    int64_t depth; /* objects and arrays that are open */
    char problem[160];
    unsigned char *inside; /* the reader's own: a bit a level, 1 for an object */
    int64_t capacity;
    int expected;
} mla_json;

/* Reads from the beginning of other bytes. The first time, *json is anything; use mla_json_restart to keep the memory
 * of an earlier reading. */
void mla_json_begin(mla_json *json, const char *bytes, int64_t length);
void mla_json_restart(mla_json *json, const char *bytes, int64_t length);
void mla_json_free(mla_json *json);

/* The next event. After MLA_JSON_WRONG and MLA_JSON_END it stays the same. */
mla_json_event mla_json_next(mla_json *json);

/* Behind an event that begins a value, or a key: leaves out the rest of the value. Returns its last event, or
 * MLA_JSON_WRONG. */
mla_json_event mla_json_skip(mla_json *json);

/* Line and column, from 1, of `at`; columns count characters. */
void mla_json_place(const mla_json *json, int64_t *line, int64_t *column);

/* Writes the text of a key or string without its escapes to `out`, of at least `size` bytes, and returns the length.
 * Lone surrogates become U+FFFD; bytes that are no UTF-8 stay. */
int64_t mla_json_unescape(const char *text, int64_t size, char *out);

#endif
