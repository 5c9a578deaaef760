/* The known word nearest to one that is not known, for messages: "did you mean ...?" */
#ifndef MLA_LAYERS_NEAREST_H
#define MLA_LAYERS_NEAREST_H

#include <stdbool.h>

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

/* Whether a word at this distance may have been meant: less than half of the longer word is wrong, or one
 * word is how the other begins. */
bool mla_word_near(const char *a, const char *b, int distance);

#endif
