/* Orders that look random, without a table: any element of one at once, the same everywhere. */
#ifndef MLA_DATA_TOKENS_PERMUTATION_H
#define MLA_DATA_TOKENS_PERMUTATION_H

#include <stdint.h>

/* Where element `index` of 0 .. count - 1 goes in the permutation of that key (a Feistel network over the
 * next power of 4, walked until it comes back into the range: Black & Rogaway 2002, "Ciphers with arbitrary
 * finite domains"). */
int64_t mla_permute(uint64_t seed, uint64_t key, int64_t count, int64_t index);

#endif
