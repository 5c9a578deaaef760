/* The ids of a context with a continuation, divided as lm-evaluation-harness divides them, so that figures can be laid
 * beside published ones: white space at the end of the context goes to the continuation; the whole is encoded, and what
 * is behind as many tokens as the context has by itself is the continuation. Before it the model reads the context as
 * it is encoded by itself, also where the whole has a token across the border. */
#ifndef MLA_TRAIN_INFERENCE_CONTINUATION_H
#define MLA_TRAIN_INFERENCE_CONTINUATION_H

#include "data/tokenizer/tokenizer.h"

typedef struct {
    const char *bytes;
    int64_t length;
} mla_text_part;

typedef struct {
    const mla_tokenizer *tokenizer;
    int32_t prefix; /* what stands before a text that nothing else stands before: BOS, or the end token */
    bool no_bos;    /* leave out what the tokenizer puts before and behind texts */
} mla_continuation_options;

typedef struct mla_continuation mla_continuation;

/* The tokenizer must outlive it. Tokens that are spelled out in texts, special ones too, become their ids. */
mla_status mla_continuation_create(mla_context *context, mla_continuation **out,
                                   const mla_continuation_options *options);
void mla_continuation_destroy(mla_continuation *continuation);

/* Valid until the next call. */
typedef struct {
    const int32_t *ids;
    int64_t count, scored; /* the last of the ids are the continuation's; 0: no token is left for it */
} mla_continued;

/* Both are valid UTF-8; either may be empty. Errors: of the tokenizer. */
mla_status mla_continuation_encode(mla_continuation *continuation, mla_text_part context, mla_text_part text,
                                   mla_continued *out);
/* A text of its own: the prefix, and behind it what the tokenizer makes of the text, which all is scored. */
mla_status mla_continuation_encode_text(mla_continuation *continuation, mla_text_part text, mla_continued *out);

/* The number of words as the harness counts them: pieces between runs of white space, empty ones at the ends too. Bytes
 * that are not UTF-8 are part of words. */
int64_t mla_count_words(mla_text_part text);
int64_t mla_count_characters(mla_text_part text);

#endif
