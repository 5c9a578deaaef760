#include "autograd/base/tables.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Linear probing; the slots are a power of two, at most half of them in use. */

static int64_t piece_slot(const mla_piece_table *table, uint64_t hash, const char *bytes, int64_t length) {
    int64_t slot = (int64_t)(hash & (uint64_t)(table->slot_count - 1));
    for (; table->slots[slot]; slot = (slot + 1) & (table->slot_count - 1)) {
        const mla_piece *piece = &table->pieces[table->slots[slot] - 1];
        if (piece->hash == hash && piece->length == length &&
            !memcmp(table->bytes + piece->offset, bytes, (size_t)length))
            break;
    }
    return slot;
}

static mla_status grow_piece_slots(mla_context *context, mla_piece_table *table) {
    const int64_t larger = table->slot_count ? 2 * table->slot_count : 1024;
    int64_t *slots = mla_alloc(context, larger, sizeof *slots, "a table of pieces");
    if (!slots) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < table->count; i++) {
        int64_t slot = (int64_t)(table->pieces[i].hash & (uint64_t)(larger - 1));
        while (slots[slot]) slot = (slot + 1) & (larger - 1);
        slots[slot] = i + 1;
    }
    free(table->slots);
    table->slots = slots;
    table->slot_count = larger;
    return MLA_OK;
}

mla_piece *mla_piece_find(const mla_piece_table *table, const char *bytes, int64_t length) {
    if (!table->count) return NULL;
    const int64_t slot = piece_slot(table, XXH3_64bits(bytes, (size_t)length), bytes, length);
    return table->slots[slot] ? &table->pieces[table->slots[slot] - 1] : NULL;
}

mla_piece *mla_piece_insert(mla_context *context, mla_piece_table *table, const char *bytes, int64_t length) {
    if (2 * (table->count + 1) > table->slot_count && grow_piece_slots(context, table)) return NULL;
    const uint64_t hash = XXH3_64bits(bytes, (size_t)length);
    const int64_t slot = piece_slot(table, hash, bytes, length);
    if (table->slots[slot]) return &table->pieces[table->slots[slot] - 1];
    if (mla_grow(context, &table->pieces, &table->piece_capacity, table->count + 1, sizeof *table->pieces,
                 "a table of pieces") ||
        mla_grow(context, &table->bytes, &table->byte_capacity, table->byte_count + length, 1, "the bytes of pieces"))
        return NULL;
    memcpy(table->bytes + table->byte_count, bytes, (size_t)length);
    table->pieces[table->count] = (mla_piece){hash, table->byte_count, length, 0};
    table->byte_count += length;
    table->slots[slot] = ++table->count;
    return &table->pieces[table->count - 1];
}

void mla_piece_clear(mla_piece_table *table) {
    if (table->slots) memset(table->slots, 0, (size_t)table->slot_count * sizeof *table->slots);
    table->count = table->byte_count = 0;
}

void mla_piece_free(mla_piece_table *table) {
    free(table->pieces);
    free(table->bytes);
    free(table->slots);
    *table = (mla_piece_table){0};
}

static int64_t pair_slot(const mla_pair_table *table, uint64_t pair) {
    uint64_t mixed = pair * 0x9E3779B97F4A7C15u; /* Fibonacci hashing: the high bits are the good ones */
    int64_t slot = (int64_t)((mixed >> 32) & (uint64_t)(table->slot_count - 1));
    while (table->keys[slot] && table->keys[slot] != pair + 1) slot = (slot + 1) & (table->slot_count - 1);
    return slot;
}

static mla_status grow_pair_slots(mla_context *context, mla_pair_table *table) {
    mla_pair_table larger = {.slot_count = table->slot_count ? 2 * table->slot_count : 1024, .count = table->count};
    larger.keys = mla_alloc(context, larger.slot_count, sizeof *larger.keys, "a table of pairs");
    larger.values = mla_alloc(context, larger.slot_count, sizeof *larger.values, "a table of pairs");
    if (!larger.keys || !larger.values) {
        mla_pair_free(&larger);
        return MLA_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < table->slot_count; i++) {
        if (!table->keys[i]) continue;
        const int64_t slot = pair_slot(&larger, table->keys[i] - 1);
        larger.keys[slot] = table->keys[i];
        larger.values[slot] = table->values[i];
    }
    mla_pair_free(table);
    *table = larger;
    return MLA_OK;
}

int64_t *mla_pair_find(const mla_pair_table *table, uint64_t pair) {
    if (!table->count) return NULL;
    const int64_t slot = pair_slot(table, pair);
    return table->keys[slot] ? &table->values[slot] : NULL;
}

int64_t *mla_pair_insert(mla_context *context, mla_pair_table *table, uint64_t pair, int64_t fresh) {
    if (2 * (table->count + 1) > table->slot_count && grow_pair_slots(context, table)) return NULL;
    const int64_t slot = pair_slot(table, pair);
    if (!table->keys[slot]) {
        table->keys[slot] = pair + 1;
        table->values[slot] = fresh;
        table->count++;
    }
    return &table->values[slot];
}

void mla_pair_free(mla_pair_table *table) {
    free(table->keys);
    free(table->values);
    *table = (mla_pair_table){0};
}

static bool before(mla_heap_entry a, mla_heap_entry b) {
    return a.first != b.first ? a.first < b.first : a.second < b.second;
}

mla_status mla_heap_push(mla_context *context, mla_heap *heap, mla_heap_entry entry) {
    mla_status status = mla_grow(context, &heap->entries, &heap->capacity, heap->count + 1, sizeof entry, "a heap");
    if (status) return status;
    int64_t at = heap->count++;
    for (; at > 0 && before(entry, heap->entries[(at - 1) / 2]); at = (at - 1) / 2)
        heap->entries[at] = heap->entries[(at - 1) / 2];
    heap->entries[at] = entry;
    return MLA_OK;
}

bool mla_heap_pop(mla_heap *heap, mla_heap_entry *out) {
    if (!heap->count) return false;
    mla_heap_entry *entries = heap->entries;
    *out = entries[0];
    const mla_heap_entry last = entries[--heap->count];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && before(entries[child + 1], entries[child])) child++;
        if (!before(entries[child], last)) break;
        entries[at] = entries[child];
    }
    entries[at] = last;
    return true;
}

void mla_heap_free(mla_heap *heap) {
    free(heap->entries);
    *heap = (mla_heap){0};
}
