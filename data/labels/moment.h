/* What rows of a sequence are ordered by: numbers, or times as ISO 8601 has them. */
#ifndef MLA_DATA_LABELS_MOMENT_H
#define MLA_DATA_LABELS_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

/* A number; a time with no time zone; one with a zone or Z. Those of one kind can be compared. */
typedef enum { MLA_MOMENT_NONE, MLA_MOMENT_NUMBER, MLA_MOMENT_LOCAL, MLA_MOMENT_ZONED } mla_moment_kind;

typedef struct {
    mla_moment_kind kind;
    int64_t whole; /* the number, or seconds since 1970, rounded down: exact, for nanoseconds since then are too */
    double part;   /* the rest, 0 ... 1; of numbers beyond whole the number itself */
} mla_moment;

/* Reads "17", "-2.5e3", "2024-05-01", "2024-05-01T10:30", "2024-05-01 10:30:59.25+02:00"; the kind is NONE for what is
 * none of these, NaN and infinity too. */
mla_moment mla_moment_read(const char *text);

/* Below, equal to or above 0 as a is before, at or after b, which is of the same kind. */
int mla_moment_compare(const mla_moment *a, const mla_moment *b);

#endif
