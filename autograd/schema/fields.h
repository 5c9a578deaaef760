/* A struct described by a table: for each member its key, type, default, bounds and help. From one table come
 * the defaults, the checks, JSON, the YAML of recipes, --set and the options of the command line, so that a
 * key is declared in one place and means the same everywhere.
 *
 * It stands in layers/ because the model's configuration needs it first, and recipes and commands (train/)
 * may include layers/, not the other way round.
 *
 * Text that is empty is not given, however it comes: a string is then NULL or its default, a list empty or its
 * default, and an empty item of a list is none. Where no text is expected, nor are null, Null, NULL and ~.
 *
 * Numbers may have an underscore between two digits (1_000). A whole number may be written as a real one that is whole
 * (1e3, 10.0) and no larger than 2^53. Digits behind a leading 0 stay decimal, where YAML 1.1 has octal ones. Yes and
 * no are YAML 1.1's words, in small letters, in capitals, or with the first one a capital: true, yes, on; false, no,
 * off.
 *
 * Keys of nested structs are written with dots: "rope_scaling.factor". Every message starts with `where`
 * (a file, "--set ", or "") and names the key, the value and what would be right. Wrong values are
 * MLA_ERROR_ARGUMENT. */
#ifndef MLA_AUTOGRAD_SCHEMA_FIELDS_H
#define MLA_AUTOGRAD_SCHEMA_FIELDS_H

#include "autograd/json/tree.h"

typedef enum {
    MLA_FIELD_INT,    /* int64_t */
    MLA_FIELD_FLOAT,  /* double; finite */
    MLA_FIELD_BOOL,   /* bool */
    MLA_FIELD_ENUM,   /* any enum, numbered from 0 in the order of `names` */
    MLA_FIELD_KIND,   /* const void *: one of `kinds` */
    MLA_FIELD_STRING, /* char *, owned by the object; NULL: not given */
    MLA_FIELD_LIST,   /* mla_list of strings, owned by the object: verbatim, for paths may hold commas and spaces */
    MLA_FIELD_WORDS,  /* mla_list of words, owned by the object: text is cut at commas and white space */
    MLA_FIELD_INTS,   /* mla_ints; each within min and max; text is cut as that of words */
    MLA_FIELD_FLOATS, /* mla_floats; the same, finite */
    MLA_FIELD_GROUP   /* a nested struct, described by `group` */
} mla_field_type;

typedef struct {
    char **items;
    int64_t count, capacity;
} mla_list;

/* A few numbers; they own nothing. */
enum { MLA_MOST_INTS = 256 };
typedef struct {
    int64_t count, items[MLA_MOST_INTS];
} mla_ints;
typedef struct {
    int64_t count;
    double items[MLA_MOST_INTS];
} mla_floats;

typedef struct mla_field_table mla_field_table;

typedef struct {
    const char *key;
    mla_field_type type;
    size_t offset;            /* in the struct: offsetof */
    double standard;          /* default of numbers, bools and enums */
    double min, max;          /* both ends are allowed; both 0: any number */
    const char *help;         /* what it is, in a few words, with its unit; also shown in messages */
    const char *text;         /* default of strings and words */
    const char *const *names; /* of an enum; ends with NULL */
    const void *const
        *kinds; /* structs that begin with their name, a const char *; the first is the default; ends with NULL */
    const mla_field_table *group;
    const char *alias; /* another key that is read as this one */
    bool keeps_empty;  /* a string: "" is a value of its own, and does not set the default */
    bool cuts_text;    /* a list: text in its place is cut at commas, the items of a list are not */
    bool nullable;     /* written as JSON null where it is 0 or empty (groups: where their first field is 0) */
} mla_field;

struct mla_field_table {
    const mla_field *fields;
    int count;
    size_t size; /* of the struct */
};

/* Sets every member to its default; what was there before is not freed. Fails only for lack of memory. */
mla_status mla_fields_default(mla_context *context, const mla_field_table *table, void *object);

/* Frees the strings and lists of an object and zeroes it. */
void mla_fields_free(const mla_field_table *table, void *object);

/* The field of a dotted key and the address of its member; NULL where there is none. */
const mla_field *mla_fields_find(const mla_field_table *table, void *object, const char *key, void **member);

/* Sets one member from text as a user writes it; a LIST becomes that one item.
 * Unknown keys are errors that name the nearest known one, wherever in the table it is. */
mla_status mla_fields_set(mla_context *context, const char *where, const mla_field_table *table, void *object,
                          const char *key, const char *text);

/* Sets one member, of a kind that takes a list, from the items of one; each is read as mla_fields_set reads text. */
mla_status mla_fields_set_list(mla_context *context, const char *where, const mla_field_table *table, void *object,
                               const char *key, const mla_list *items);

/* The error for a key that is not in the table. */
mla_status mla_fields_unknown(mla_context *context, const char *where, const mla_field_table *table, const char *key);

/* Checks the bounds of all members (of an object that was filled in by hand). */
mla_status mla_fields_check(mla_context *context, const char *where, const mla_field_table *table, const void *object);

/* Whether text is one of YAML's words for no value: null, Null, NULL, ~. */
bool mla_field_is_null(const char *text);

/* A member as text that mla_fields_set reads back to the same value; free() it. Not for lists and groups.
 * NULL after an error (memory). */
char *mla_field_format(mla_context *context, const mla_field *field, const void *member);

/* The shortest decimal text that gives the same double again; at most 25 bytes with the NUL. */
void mla_float_text(double value, size_t size, char *out);

/* What a field takes, in words: "a whole number", "one of silu, relu". */
void mla_field_expects(const mla_field *field, size_t size, char *out);

/* The error for a value of another kind than the field takes; `got` in words: "a list". */
mla_status mla_field_wrong_kind(mla_context *context, const char *where, const char *key, const mla_field *field,
                                const char *got);

mla_status mla_list_append(mla_context *context, mla_list *list, const char *text);
void mla_list_free(mla_list *list);

/* ---- JSON */

/* Sets the members that the JSON object names; null leaves a member as it is. Keys that are not in the table
 * are errors, or, where `ignored` is not NULL, are appended to it (free it with mla_list_free). */
mla_status mla_fields_read_json(mla_context *context, const char *where, const mla_field_table *table, void *object,
                                const struct json_t *json, mla_list *ignored);

/* A new JSON object with all members; strings that are NULL are left out. NULL after an error (memory). */
struct json_t *mla_fields_write_json(mla_context *context, const mla_field_table *table, const void *object);

/* The text of a JSON value, indented, with numbers as short as they can be; free() it. NULL after an error.
 */
char *mla_json_text(mla_context *context, const struct json_t *json);

#endif
