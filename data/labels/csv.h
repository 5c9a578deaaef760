/* Records of separated values (RFC 4180), one after the other out of bytes in memory. */
#ifndef MLA_DATA_LABELS_CSV_H
#define MLA_DATA_LABELS_CSV_H

#include "autograd/base/context.h"

/* Begin with the bytes, the separator, and line 1. */
typedef struct {
    const char *at, *end;
    char separator;
    int64_t line; /* of what comes next */
} mla_csv_reader;

/* The fields of a record, each terminated; begins as {0}, freed by mla_csv_free. */
typedef struct {
    char *bytes;
    int64_t byte_count, byte_capacity;
    int64_t *offsets; /* count + 1: field i is bytes offsets[i] ... offsets[i+1] - 2 */
    int64_t count, offset_capacity;
} mla_csv_record;

/* The next record that is not a blank line; one of no fields at the end. Errors begin with `file` and the line. */
mla_status mla_csv_next(mla_context *context, const char *file, mla_csv_reader *reader, mla_csv_record *out);
void mla_csv_free(mla_csv_record *record);

#endif
