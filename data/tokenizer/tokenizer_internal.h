/* The inside of a tokenizer, for the files that make and use it. */
#ifndef MLA_DATA_TOKENIZER_TOKENIZER_INTERNAL_H
#define MLA_DATA_TOKENIZER_TOKENIZER_INTERNAL_H

#include "autograd/base/tables.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/split.h"
#include "data/tokenizer/tokenizer.h"

typedef struct {
    const char *bytes; /* what it stands for, owned by the tokenizer; NULL: no token has this id */
    int64_t length;
    const char *spelling; /* how the file writes it, but for the byte-level alphabet, not terminated */
    int64_t spelled;
    int64_t taken; /* bytes of normalized text that become it */
    bool special;  /* never made from text by merging */
} mla_token;

/* Spaces are written as another character before text is split, which is put before texts, too. */
typedef enum { MLA_PREPEND_NEVER, MLA_PREPEND_FIRST, MLA_PREPEND_ALWAYS } mla_prepend;

typedef struct {
    char replacement[5]; /* empty: there is nothing of all this */
    mla_prepend prepend;
} mla_metaspace;

/* What decoding leaves out at the beginning of a text: up to `strip` times a character of what the tokens stand for, or
 * the characters `dropped` in the spelling of the first token. */
typedef struct {
    int strip;
    char character;
    char dropped[5];
} mla_beginning;

/* A token beside the vocabulary's, that is looked for in text before the text is split. */
typedef struct {
    int32_t id;
    bool special;        /* text is only taken for it if the encoder is told to */
    bool lstrip, rstrip; /* white space before it, behind it goes along */
    bool single_word;    /* not within a word */
    bool normalized;     /* looked for in normalized text */
    const char *content; /* how it is spelled, not terminated */
    char *pattern;       /* what is looked for: that, or what normalizing makes of it */
    int64_t content_length, length;
    int32_t next; /* of those that begin with the same byte; -1: the last */
} mla_added_token;

struct mla_tokenizer {
    char *json; /* what is saved and hashed */
    int64_t json_length;
    uint64_t hash;
    mla_token *tokens;
    int32_t size;
    char *text;                 /* the spelling of all tokens */
    bool byte_level;            /* else characters are tokens, and bytes where a character is none: byte_fallback */
    mla_bytes decoded;          /* of byte_fallback: what the tokens stand for */
    mla_beginning beginning;    /* of byte_fallback */
    int32_t byte_ids[256];      /* the token of each single byte */
    mla_piece_table characters; /* of byte_fallback: those that are tokens -> id */
    mla_pair_table merges;      /* mla_pair(left, right) -> mla_pair(rank, merged token) */
    mla_normalizer *normalizer; /* NULL: none */
    mla_metaspace metaspace;    /* of the pre-tokenizer */
    mla_split *split;           /* the rest of it */
    mla_piece_table whole;      /* ignore_merges: pieces that are tokens as they stand -> id; empty without it */
    mla_added_token *added;
    int64_t added_count;
    int32_t added_first[2][256]; /* by whether they are normalized, by their first byte: into added; -1: none */
    bool has_added[2];
    int32_t separator;
    mla_id_list before, behind; /* what the post-processor puts there */
};

/* Reads the post_processor of the file `name` (NULL: none) into before and behind; the tokens must be known. */
mla_status mla_tokenizer_read_frame(mla_context *context, mla_tokenizer *tokenizer, const struct json_t *post_processor,
                                    const char *name);

/* Reads the pre_tokenizer (NULL: none) into byte_level, metaspace and split. */
mla_status mla_tokenizer_read_pre_tokenizer(mla_context *context, mla_tokenizer *tokenizer, const struct json_t *json,
                                            const char *name);

/* Reads the decoder into `beginning`, and what each token stands for; with byte_fallback, once all is known else. */
mla_status mla_tokenizer_read_decoder(mla_context *context, mla_tokenizer *tokenizer, const struct json_t *json,
                                      const char *name);

/* The byte that a token of byte_fallback is spelled for (<0x0A>: 10); -1: none. */
int mla_fallback_byte(const char *text, int64_t length);

/* At the beginning of a text: how many bytes of it decoding takes away; what it makes of the first token. */
int64_t mla_tokenizer_strip(const mla_tokenizer *tokenizer, const char *bytes, int64_t length);
mla_status mla_tokenizer_first(mla_context *context, const mla_tokenizer *tokenizer, int32_t id, mla_bytes *out);

/* Prepares the search for added tokens, once all tokens and the normalizer are known. */
mla_status mla_tokenizer_index_added(mla_context *context, mla_tokenizer *tokenizer);

/* A search through a text: of the added tokens that are normalized, or of the others. Begin with at and done 0. */
typedef struct {
    const mla_tokenizer *tokenizer;
    bool normalized, special; /* special: those are found, too */
    const char *bytes;
    int64_t length;
    int64_t at, done; /* where to look next; what is behind the last match */
} mla_added_search;

typedef struct {
    const mla_added_token *token;
    int64_t plain;      /* where the text before it begins */
    int64_t begin, end; /* of what the token takes */
} mla_added_match;

/* The next match; false behind the last, when the text from `done` on is left. */
bool mla_added_next(mla_added_search *search, mla_added_match *match);

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
