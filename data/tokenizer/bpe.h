/* Training of a byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): the text is split
 * into pieces by a pattern, and the pair of neighbouring tokens that occurs most often within the pieces
 * becomes a new token, until the vocabulary is full. */
#ifndef MLA_DATA_TOKENIZER_BPE_H
#define MLA_DATA_TOKENIZER_BPE_H

#include "data/tokenizer/tokenizer.h"

typedef struct {
    const char *bytes; /* any bytes; not terminated */
    int64_t length;
} mla_text_chunk;

typedef struct {
    int32_t vocab_size;  /* at least 257: the 256 bytes and <|endoftext|> */
    const char *pattern; /* NULL: mla_bpe_pattern. See data/tokenizer/split.h for what it may contain. */
} mla_bpe_options;

/* The pattern that training uses if it is given none. */
extern const char *const mla_bpe_pattern;

/* Trains on `count` documents. Ids: 0..255 the bytes, 256 <|endoftext|>, then the merged tokens in the order
 * in which they were found; ties go to the pair with the smaller ids, so that the same documents in any order
 * give the same tokenizer. If no pair occurs twice any more, the vocabulary stays smaller, with a warning.
 * Uses one thread and memory in proportion to the number of different pieces. The caller destroys *out.
 * Errors: MLA_ERROR_ARGUMENT (vocabulary size, pattern), MLA_ERROR_MEMORY. */
mla_status mla_tokenizer_train(mla_context *context, mla_tokenizer **out, const mla_bpe_options *options,
                               const mla_text_chunk *documents, int64_t count);

/* The byte tokenizer: id = byte, and 256 is <|endoftext|>. The caller destroys it. */
mla_status mla_tokenizer_bytes(mla_context *context, mla_tokenizer **out);

#endif
