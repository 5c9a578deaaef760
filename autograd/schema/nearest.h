/* The known word nearest to one that is not known, for messages: "did you mean ...?" */
#ifndef MLA_AUTOGRAD_SCHEMA_NEAREST_H
#define MLA_AUTOGRAD_SCHEMA_NEAREST_H

typedef struct {
    const char *word; /* what was written */
    const char *best; /* the nearest so far; NULL: none is near enough to be meant */
    int distance;
} mla_nearest;

/* Offers a candidate; an earlier one wins ties. Start with {.word = ...}. `best` points to the candidate. */
void mla_nearest_offer(mla_nearest *nearest, const char *candidate);

/* Letters to insert, delete or replace to come from a to b (Levenshtein 1966). Words are cut at 63 letters.
 */
int mla_word_distance(const char *a, const char *b);

/* How far a is from b if b may have been meant: their distance; 1 where one is how the other begins; -1 where
 * half of the longer word or more is wrong. */
int mla_word_slip(const char *a, const char *b);

#endif
