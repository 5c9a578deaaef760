/* Several documents in one text: lines, the objects of a JSON array, or objects one after the other. */
#ifndef MLA_DATA_TEXT_RECORDS_H
#define MLA_DATA_TEXT_RECORDS_H

#include "autograd/base/context.h"

typedef enum {
    MLA_RECORDS_NONE, /* the text is one document */
    MLA_RECORDS_LINES,
    MLA_RECORDS_ELEMENTS, /* of an array */
    MLA_RECORDS_OBJECTS   /* over as many lines as they like */
} mla_record_form;

/* Whether the name of a file says JSONL: .jsonl, .ndjson or .jsonlines, in any case, and behind it perhaps the ending
 * of a codec (unpack.h). */
bool mla_records_named(const char *name);
/* The same for .json, which says nothing of lines. */
bool mla_records_maybe(const char *name);

/* How a text that is JSON is divided: by elements where it begins with an array of objects, otherwise by lines. */
mla_record_form mla_records_form(const char *text, int64_t length);
/* Whether its first line is a whole JSON object. */
bool mla_records_first_is_object(const char *text, int64_t length);

/* The end of the first object of a text that is nothing but objects; 0: it is something else. */
int64_t mla_records_first_of_objects(const char *text, int64_t length);

/* A place between two records. */
typedef struct {
    mla_record_form form;
    const char *text;
    int64_t length, at;
    int64_t line; /* in which the last record begins, from 1 */
    int64_t next_line;
} mla_records;

/* The next record that is not blank, as it stands; size 0 behind the last. MLA_ERROR_FORMAT names `path` and line where
 * an array ends too early or has something else in it than objects. */
mla_status mla_records_next(mla_context *context, mla_records *records, const char *path, const char **record,
                            int64_t *size);

#endif
