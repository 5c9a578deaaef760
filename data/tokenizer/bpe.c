#include "data/tokenizer/bpe.h"

#include "autograd/base/tables.h"
#include "data/tokenizer/split.h"
#include "data/tokenizer/tokenizer_internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Explicit ranges instead of \p{L} and \p{N}, so that every version of Unicode, PCRE2 and Oniguruma splits
 * alike. SPACE is white space but for line ends. MARK is punctuation, symbols and controls: ASCII and
 * Latin-1, of the larger scripts, U+2000..206F (but for the non-joiner, which is part of words), currency,
 * arrows to miscellaneous symbols, CJK and full-width punctuation, variation selectors, emoji. Digits are
 * 0-9. All else, known to Unicode or not yet, is letters. */
#define SPACE "\\t\\x{b}\\f \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define MARK                                                                                                 \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}!-/"                                                                         \
    ":-@\\[-`{-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{a9}\\x{ab}-\\x{b4}\\x{b6}-\\x{b9}"                          \
    "\\x{bb}-\\x{bf}\\x{d7}\\x{f7}\\x{37e}\\x{387}\\x{55a}-\\x{55f}\\x{589}\\x{58a}\\x{5be}\\x{60c}\\x{61b}" \
    "\\x{61f}\\x{66a}-\\x{66d}\\x{6d4}\\x{964}\\x{965}\\x{e4f}\\x{e5a}\\x{e5b}\\x{f0b}-\\x{f14}\\x{104a}-"   \
    "\\x{104f}"                                                                                              \
    "\\x{10fb}\\x{1361}-\\x{1368}\\x{17d4}-\\x{17da}\\x{200b}\\x{200d}-\\x{2027}\\x{202a}-\\x{202e}"         \
    "\\x{2030}-\\x{205e}\\x{2060}-\\x{206f}\\x{20a0}-\\x{20cf}\\x{2190}-\\x{2bff}\\x{2e00}-\\x{2e7f}"        \
    "\\x{3001}-\\x{3004}\\x{3008}-\\x{3020}\\x{3030}\\x{303d}-\\x{303f}\\x{30fb}\\x{fe00}-\\x{fe19}"         \
    "\\x{fe30}-\\x{fe6b}\\x{feff}-\\x{ff0f}\\x{ff1a}-\\x{ff20}\\x{ff3b}-\\x{ff40}\\x{ff5b}-\\x{ff65}"        \
    "\\x{ffe0}-\\x{ffff}\\x{1f000}-\\x{1faff}"

/* A word with the mark or the space before it; up to three digits; marks with the space before and the line
 * ends after them; white space up to its last line end; white space but for the last before a word; the rest.
 */
const char *const mla_bpe_pattern = "[" SPACE MARK "]?[^\\r\\n0-9" SPACE MARK "]+"
                                    "|[0-9]{1,3}"
                                    "| ?[" MARK "]+[\\r\\n]*"
                                    "|[\\r\\n" SPACE "]*[\\r\\n]"
                                    "|[\\r\\n" SPACE "]+(?![^\\r\\n" SPACE "])"
                                    "|[\\r\\n" SPACE "]+";

enum {
    separator = 256,
    smallest_vocabulary = 257,
    longest_word = 128, /* bytes: longer pieces are counted in parts, so that one merge never costs much */
};

/* One different piece of the text. Merging makes it shorter in place. */
typedef struct {
    int64_t offset; /* of its symbols */
    int32_t length;
    int64_t count; /* how often it occurs in the text */
} word_t;

/* A pair of neighbouring tokens. */
typedef struct {
    int64_t count; /* in the text */
    int64_t words; /* head of the list of words that contain it, or did once; -1 for none */
} pair_t;

typedef struct {
    int32_t word;
    int64_t next;
} occurrence_t;

typedef struct {
    mla_context *context;
    mla_piece_table pieces; /* piece -> how often it occurs */
    word_t *words;
    int64_t word_count;
    int32_t *symbols;
    mla_pair_table pair_index; /* mla_pair -> index into pairs */
    pair_t *pairs;
    int64_t pair_count, pair_capacity;
    occurrence_t *occurrences;
    int64_t occurrence_count, occurrence_capacity;
    mla_heap heap;          /* first = -count, second = the pair: the most frequent, then the smallest ids. An entry
                             * may be out of date: its count is then not the pair's. */
    mla_piece_table tokens; /* bytes -> id; piece i is token i (a separator stands in at 256) */
    uint64_t *merges;
    int64_t merge_count, merge_capacity;
} trainer_t;

typedef struct {
    int32_t left, right, merged;
} merge_t;

static bool takes_part(const merge_t *merge, int32_t token) {
    return token == merge->left || token == merge->right || token == merge->merged;
}

static mla_status count_piece(void *user, const char *piece, int64_t length) {
    trainer_t *t = user;
    for (int64_t at = 0; at < length; at += longest_word) {
        const int64_t part = length - at < longest_word ? length - at : longest_word;
        mla_piece *entry = mla_piece_insert(t->context, &t->pieces, piece + at, part);
        if (!entry) return MLA_ERROR_MEMORY;
        entry->value++;
    }
    return MLA_OK;
}

static mla_status count_pieces(trainer_t *t, const char *pattern, const mla_text_chunk *documents, int64_t count) {
    mla_split *split = NULL;
    mla_split_scratch *scratch = NULL;
    mla_status status = mla_split_create(t->context, &split, &pattern, 1);
    if (!status) status = mla_split_scratch_create(t->context, &scratch);
    for (int64_t i = 0; i < count && !status; i++)
        status = mla_split_run(t->context, split, scratch, documents[i].bytes, documents[i].length, count_piece, t);
    mla_split_scratch_destroy(scratch);
    mla_split_destroy(split);
    return status;
}

static mla_status make_words(trainer_t *t) {
    if (t->pieces.count > INT32_MAX)
        return mla_fail(t->context, MLA_ERROR_ARGUMENT, "the text has %lld different pieces; train on less of it",
                        (long long)t->pieces.count);
    t->words = mla_alloc(t->context, t->pieces.count, sizeof *t->words, "the words of the text");
    t->symbols = mla_alloc(t->context, t->pieces.byte_count, sizeof *t->symbols, "the words of the text");
    if (!t->words || !t->symbols) return MLA_ERROR_MEMORY;
    t->word_count = t->pieces.count;
    for (int64_t i = 0; i < t->word_count; i++) {
        const mla_piece *piece = &t->pieces.pieces[i];
        t->words[i] = (word_t){piece->offset, (int32_t)piece->length, piece->value};
    }
    for (int64_t i = 0; i < t->pieces.byte_count; i++) t->symbols[i] = (unsigned char)t->pieces.bytes[i];
    mla_piece_free(&t->pieces);
    return MLA_OK;
}

static mla_status make_byte_tokens(trainer_t *t) {
    for (int id = 0; id < 256; id++) {
        mla_piece *token = mla_piece_insert(t->context, &t->tokens, &(char){(char)id}, 1);
        if (!token) return MLA_ERROR_MEMORY;
        token->value = id;
    }
    mla_piece *token = mla_piece_insert(t->context, &t->tokens, mla_endoftext, (int64_t)strlen(mla_endoftext));
    if (!token) return MLA_ERROR_MEMORY;
    token->value = separator;
    return MLA_OK;
}

/* The statistics of a pair, new if need be. Good until the next call. */
static pair_t *pair_at(trainer_t *t, uint64_t pair) {
    const int64_t *index = mla_pair_insert(t->context, &t->pair_index, pair, t->pair_count);
    if (!index) return NULL;
    if (*index < t->pair_count) return &t->pairs[*index];
    if (mla_grow(t->context, &t->pairs, &t->pair_capacity, t->pair_count + 1, sizeof *t->pairs, "pairs")) return NULL;
    t->pairs[t->pair_count] = (pair_t){0, -1};
    return &t->pairs[t->pair_count++];
}

static mla_status note_occurrence(trainer_t *t, pair_t *pair, int32_t word) {
    if (pair->words >= 0 && t->occurrences[pair->words].word == word) return MLA_OK;
    mla_status status = mla_grow(t->context, &t->occurrences, &t->occurrence_capacity, t->occurrence_count + 1,
                                 sizeof *t->occurrences, "an index of pairs");
    if (status) return status;
    t->occurrences[t->occurrence_count] = (occurrence_t){word, pair->words};
    pair->words = t->occurrence_count++;
    return MLA_OK;
}

static mla_status offer(trainer_t *t, uint64_t pair, int64_t count) {
    return mla_heap_push(t->context, &t->heap, (mla_heap_entry){(uint64_t)-count, pair});
}

/* Adds a word's pairs to the statistics (sign 1) or takes them out (sign -1): all of them, or those that the
 * merge changes, which have one of its three tokens. Pairs with the merged token learn where they occur. */
static mla_status count_pairs(trainer_t *t, int32_t word, int sign, const merge_t *merge) {
    const word_t *w = &t->words[word];
    const int32_t *s = t->symbols + w->offset;
    mla_status status = MLA_OK;
    for (int32_t i = 0; i + 1 < w->length && !status; i++) {
        if (merge && !takes_part(merge, s[i]) && !takes_part(merge, s[i + 1])) continue;
        pair_t *pair = pair_at(t, mla_pair(s[i], s[i + 1]));
        if (!pair) return MLA_ERROR_MEMORY;
        pair->count += sign * w->count;
        if (sign > 0 && (!merge || s[i] == merge->merged || s[i + 1] == merge->merged))
            status = note_occurrence(t, pair, word);
    }
    return status;
}

static mla_status count_all_pairs(trainer_t *t) {
    mla_status status = MLA_OK;
    for (int32_t word = 0; word < t->word_count && !status; word++) status = count_pairs(t, word, 1, NULL);
    for (int64_t slot = 0; slot < t->pair_index.slot_count && !status; slot++)
        if (t->pair_index.keys[slot])
            status = offer(t, t->pair_index.keys[slot] - 1, t->pairs[t->pair_index.values[slot]].count);
    return status;
}

/* The most frequent pair; false if none occurs twice. Counts only fall while a pair waits, except where a
 * pair is offered anew, so an entry that is out of date is put back with its true count. */
static mla_status best_pair(trainer_t *t, uint64_t *pair, bool *found) {
    mla_heap_entry entry;
    *found = false;
    while (mla_heap_pop(&t->heap, &entry)) {
        const int64_t offered = -(int64_t)entry.first;
        const int64_t count = t->pairs[*mla_pair_find(&t->pair_index, entry.second)].count;
        if (offered == count) {
            *pair = entry.second;
            *found = count > 1;
            return MLA_OK;
        }
        if (offered > count && count > 1 && offer(t, entry.second, count)) return MLA_ERROR_MEMORY;
    }
    return MLA_OK;
}

/* Replaces the pair by the merged token within a word, from left to right. */
static void rewrite(trainer_t *t, word_t *word, const merge_t *merge) {
    int32_t *s = t->symbols + word->offset, length = 0;
    for (int32_t i = 0; i < word->length; length++) {
        const bool here = i + 1 < word->length && s[i] == merge->left && s[i + 1] == merge->right;
        s[length] = here ? merge->merged : s[i];
        i += here ? 2 : 1;
    }
    word->length = length;
}

/* Offers the pairs with `merged` that a rewritten word has. */
static mla_status offer_pairs(trainer_t *t, const word_t *word, int32_t merged) {
    const int32_t *s = t->symbols + word->offset;
    mla_status status = MLA_OK;
    for (int32_t i = 0; i + 1 < word->length && !status; i++) {
        if (s[i] != merged && s[i + 1] != merged) continue;
        pair_t *pair = pair_at(t, mla_pair(s[i], s[i + 1]));
        status = pair ? offer(t, mla_pair(s[i], s[i + 1]), pair->count) : MLA_ERROR_MEMORY;
    }
    return status;
}

static mla_status merge_everywhere(trainer_t *t, const merge_t *merge) {
    const int64_t *index = mla_pair_find(&t->pair_index, mla_pair(merge->left, merge->right));
    const int64_t head = t->pairs[*index].words;
    mla_status status = MLA_OK;
    for (int64_t o = head; o >= 0 && !status; o = t->occurrences[o].next) {
        const int32_t word = t->occurrences[o].word;
        if ((status = count_pairs(t, word, -1, merge))) break;
        rewrite(t, &t->words[word], merge);
        status = count_pairs(t, word, 1, merge);
    }
    for (int64_t o = head; o >= 0 && !status; o = t->occurrences[o].next)
        status = offer_pairs(t, &t->words[t->occurrences[o].word], merge->merged);
    return status;
}

/* The token of the joined bytes. Two merges can lead to the same bytes; they then share the token. */
static mla_status bpe_join(trainer_t *t, merge_t *merge) {
    const mla_piece left = t->tokens.pieces[merge->left], right = t->tokens.pieces[merge->right];
    char bytes[longest_word];
    memcpy(bytes, t->tokens.bytes + left.offset, (size_t)left.length);
    memcpy(bytes + left.length, t->tokens.bytes + right.offset, (size_t)right.length);
    const int64_t fresh = t->tokens.count;
    mla_piece *token = mla_piece_insert(t->context, &t->tokens, bytes, left.length + right.length);
    if (!token) return MLA_ERROR_MEMORY;
    if (t->tokens.count > fresh) token->value = fresh;
    merge->merged = (int32_t)token->value;
    return MLA_OK;
}

static mla_status merge_pair(trainer_t *t, uint64_t pair) {
    merge_t merge = {.left = (int32_t)(pair >> 32), .right = (int32_t)(uint32_t)pair};
    mla_status status = bpe_join(t, &merge);
    if (status || merge.merged == separator) return status; /* text that spells the separator never becomes it */
    status = mla_grow(t->context, &t->merges, &t->merge_capacity, t->merge_count + 1, sizeof *t->merges, "merges");
    if (status) return status;
    t->merges[t->merge_count++] = pair;
    return merge_everywhere(t, &merge);
}

static mla_status merge_until(trainer_t *t, int32_t vocab_size) {
    mla_status status = MLA_OK;
    bool found = true;
    while (t->tokens.count < vocab_size && !status && found) {
        uint64_t pair;
        status = best_pair(t, &pair, &found);
        if (!status && found) status = merge_pair(t, pair);
    }
    if (!status && t->tokens.count < vocab_size)
        mla_warn(t->context, "the text has no more pairs to merge: the vocabulary has %lld tokens instead of %d",
                 (long long)t->tokens.count, vocab_size);
    return status;
}

static mla_status finish(trainer_t *t, mla_tokenizer **out, const char *pattern) {
    mla_token *tokens = mla_alloc(t->context, t->tokens.count, sizeof *tokens, "the vocabulary");
    if (!tokens) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < t->tokens.count; i++)
        tokens[i] = (mla_token){.bytes = t->tokens.bytes + t->tokens.pieces[i].offset,
                                .length = t->tokens.pieces[i].length};
    mla_status status = mla_tokenizer_from_plan(t->context, out,
                                                &(mla_tokenizer_plan){.pattern = pattern,
                                                                      .tokens = tokens,
                                                                      .size = (int32_t)t->tokens.count,
                                                                      .merges = t->merges,
                                                                      .merge_count = t->merge_count});
    free(tokens);
    return status;
}

static void clear(trainer_t *t) {
    mla_piece_free(&t->pieces);
    free(t->words);
    free(t->symbols);
    mla_pair_free(&t->pair_index);
    free(t->pairs);
    free(t->occurrences);
    mla_heap_free(&t->heap);
    mla_piece_free(&t->tokens);
    free(t->merges);
}

mla_status mla_tokenizer_train(mla_context *context, mla_tokenizer **out, const mla_bpe_options *options,
                               const mla_text_chunk *documents, int64_t count) {
    const char *pattern = options->pattern ? options->pattern : mla_bpe_pattern;
    trainer_t t = {.context = context};
    *out = NULL;
    if (options->vocab_size < smallest_vocabulary)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "a vocabulary of %d is too small: it needs the 256 bytes and %s, so at least %d",
                        options->vocab_size, mla_endoftext, smallest_vocabulary);
    mla_status status = make_byte_tokens(&t);
    if (!status) status = count_pieces(&t, pattern, documents, count);
    if (!status) status = make_words(&t);
    if (!status) status = count_all_pairs(&t);
    if (!status) status = merge_until(&t, options->vocab_size);
    if (!status) status = finish(&t, out, pattern);
    clear(&t);
    return status;
}

mla_status mla_tokenizer_bytes(mla_context *context, mla_tokenizer **out) {
    return mla_tokenizer_train(context, out, &(mla_bpe_options){.vocab_size = smallest_vocabulary}, NULL, 0);
}
