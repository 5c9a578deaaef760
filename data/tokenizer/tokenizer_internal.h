/* The inside of a tokenizer, for the files that make and use it: tokenizer.c, tokenizer_json.c, frame.c,
 * encoder.c. */
#ifndef MLA_DATA_TOKENIZER_TOKENIZER_INTERNAL_H
#define MLA_DATA_TOKENIZER_TOKENIZER_INTERNAL_H

#include "autograd/base/tables.h"
#include "data/tokenizer/split.h"
#include "data/tokenizer/tokenizer.h"

typedef struct {
    const char *bytes; /* into the tokenizer's text; NULL while it is not known */
    int64_t length;
    bool special; /* never made from text by merging */
} mla_token;

struct mla_tokenizer {
    char *json; /* what is saved and hashed */
    int64_t json_length;
    uint64_t hash;
    mla_token *tokens;
    int32_t size;
    char *text;            /* the bytes of all tokens */
    int32_t byte_ids[256]; /* the token of each single byte */
    mla_pair_table merges; /* mla_pair(left, right) -> mla_pair(rank, merged token) */
    mla_split *split;      /* the pre-tokenizer */
    mla_piece_table whole; /* ignore_merges: pieces that are tokens as they stand -> id; empty without it */
    int32_t *added;        /* ids of the added tokens */
    int64_t added_count;
    bool added_plain; /* none of them asks for stripping or whole words, which matching does not do */
    int32_t separator;
    mla_id_list before, behind; /* what the post-processor puts there */
};

struct json_t; /* of jansson */

/* Reads the post_processor of the file `name` (NULL: none) into before and behind; the tokens must be known. */
mla_status mla_tokenizer_read_frame(mla_context *context, mla_tokenizer *tokenizer, const struct json_t *post_processor,
                                    const char *name);

/* mla_tokenizer_parse for a text that errors call `name`. */
mla_status mla_tokenizer_parse_named(mla_context *context, mla_tokenizer **out, const char *json, int64_t length,
                                     const char *name);

/* What a trained tokenizer is made of: the 256 bytes, <|endoftext|> (256), and from 257 on the tokens that
 * merges made. `tokens` has `size` entries in order of their ids; merge i joins merges[i] = mla_pair. */
typedef struct {
    const char *pattern;
    const mla_token *tokens;
    int32_t size;
    const uint64_t *merges;
    int64_t merge_count;
} mla_tokenizer_plan;

/* Makes the tokenizer by way of its JSON, so that what is used is what would be loaded. */
mla_status mla_tokenizer_from_plan(mla_context *context, mla_tokenizer **out, const mla_tokenizer_plan *plan);

#endif
