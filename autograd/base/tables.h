/* Three containers that training and encoding share: a map from byte strings, a map from pairs of token ids,
 * a heap. Each starts as {0} and is emptied by its free function. */
#ifndef MLA_AUTOGRAD_BASE_TABLES_H
#define MLA_AUTOGRAD_BASE_TABLES_H

#include "autograd/base/context.h"

/* From byte strings to numbers. Strings are numbered in the order in which they came. */
typedef struct {
    uint64_t hash;
    int64_t offset, length; /* into the table's bytes */
    int64_t value;
} mla_piece;

typedef struct {
    mla_piece *pieces;
    int64_t count, piece_capacity;
    char *bytes;
    int64_t byte_count, byte_capacity;
    int64_t *slots; /* index of a piece + 1, 0 for none */
    int64_t slot_count;
} mla_piece_table;

/* The piece with these bytes, or NULL. Good until the next insertion. */
mla_piece *mla_piece_find(const mla_piece_table *table, const char *bytes, int64_t length);

/* The same, made with value 0 if it is not there. NULL after an error (memory). */
mla_piece *mla_piece_insert(mla_context *context, mla_piece_table *table, const char *bytes, int64_t length);

/* Forgets the pieces but keeps the memory. */
void mla_piece_clear(mla_piece_table *table);
void mla_piece_free(mla_piece_table *table);

/* From pairs of ids (mla_pair, never 0xFFFF...) to numbers. */
typedef struct {
    uint64_t *keys; /* key + 1, 0 for none */
    int64_t *values;
    int64_t count, slot_count;
} mla_pair_table;

static inline uint64_t mla_pair(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* Where the pair's number is, or NULL. Good until the next insertion. */
int64_t *mla_pair_find(const mla_pair_table *table, uint64_t pair);

/* The same, made with `fresh` if it is not there. NULL after an error (memory). */
int64_t *mla_pair_insert(mla_context *context, mla_pair_table *table, uint64_t pair, int64_t fresh);
void mla_pair_free(mla_pair_table *table);

/* A heap whose smallest entry comes first, by `first`, then by `second`. */
typedef struct {
    uint64_t first, second;
} mla_heap_entry;

typedef struct {
    mla_heap_entry *entries;
    int64_t count, capacity;
} mla_heap;

mla_status mla_heap_push(mla_context *context, mla_heap *heap, mla_heap_entry entry);
bool mla_heap_pop(mla_heap *heap, mla_heap_entry *out); /* false if it is empty */
void mla_heap_free(mla_heap *heap);

#endif
