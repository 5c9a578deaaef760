/* Text to token ids and back, by byte-pair encoding.
 *
 * A tokenizer is a Hugging Face tokenizer.json in memory: made here (data/tokenizer/bpe.h) or read from a file. Every
 * byte has a token of its own, so that any bytes can be encoded, and decoding gives the very same bytes back, invalid
 * UTF-8 and NULs included - unless the tokenizer has a normalizer, which changes text (NFC joins letters and accents),
 * writes spaces as another character (▁), or has added tokens that take white space along. On valid UTF-8 the ids are
 * those that the Python package `tokenizers` gives with the same tokenizer.json. Bytes that are not UTF-8 are no text
 * to a normalizer and stay as they are.
 *
 * A tokenizer does not change once it is made: any number of threads may use one. What encoding needs to
 * write to is in an encoder, one per thread. */
#ifndef MLA_DATA_TOKENIZER_TOKENIZER_H
#define MLA_DATA_TOKENIZER_TOKENIZER_H

#include "autograd/base/context.h"
#include "data/tokenizer/marked_text.h"

typedef struct mla_tokenizer mla_tokenizer;
typedef struct mla_encoder mla_encoder;

/* A list that grows. Start with {0}; free with free(list.ids). */
typedef struct {
    int32_t *ids;
    int64_t count, capacity;
} mla_id_list;

/* The name of the token that our tokenizers put between documents. */
extern const char *const mla_endoftext;

/* Reads a tokenizer.json. Accepted are BPE models with a byte-level alphabet (GPT-2, Llama 3, Qwen) or byte_fallback
 * (Llama 2, Mistral, Gemma): pre-tokenizers ByteLevel (with or without its own pattern), Metaspace, Split (but with
 * behavior Removed), Digits, and sequences of them; with byte_fallback decoders Replace or Metaspace, ByteFallback,
 * Fuse, Strip, and sequences of them; normalizers NFC, NFD, NFKC, NFKD,
 * Lowercase, StripAccents, Strip, Replace, Prepend, and sequences of them; added tokens; ignore_merges.
 * Of post-processors, ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing and sequences of them: they make
 * the frame below. Anything else is refused (MLA_ERROR_FORMAT) with a message that names it. The classes \p{..} of a
 * pattern follow the Unicode version of the PCRE2 that is installed, normalizers that of its utf8proc. */
mla_status mla_tokenizer_load(mla_context *context, mla_tokenizer **out, const char *path);

/* The same from `length` bytes of JSON in memory. */
mla_status mla_tokenizer_parse(mla_context *context, mla_tokenizer **out, const char *json, int64_t length);

/* Writes the tokenizer.json: wholly or, after an error, not at all. */
mla_status mla_tokenizer_save(mla_context *context, const mla_tokenizer *tokenizer, const char *path);

/* A copy of the JSON text, terminated; free() it. NULL after an error (memory). The text depends on the
 * content of the file that was read, not on its white space and escapes. */
char *mla_tokenizer_json(mla_context *context, const mla_tokenizer *tokenizer);

/* XXH3 (64 bits) of the JSON text: two tokenizers with the same hash give the same ids. */
uint64_t mla_tokenizer_hash(const mla_tokenizer *tokenizer);

void mla_tokenizer_destroy(mla_tokenizer *tokenizer);

/* Ids are 0 .. size-1. Some may have no token: text never becomes them, and they stand for no bytes. */
int32_t mla_tokenizer_vocab_size(const mla_tokenizer *tokenizer);

/* The id that separates documents: that of <|endoftext|>, or of the end token that the file names otherwise
 * (<|end_of_text|>, <｜end▁of▁sentence｜>, </s>, <eos>); -1 if there is none of these. */
int32_t mla_tokenizer_separator(const mla_tokenizer *tokenizer);

/* The id of the added token that is spelled so; -1 if there is none. */
int32_t mla_tokenizer_added(const mla_tokenizer *tokenizer, const char *text);

/* What the tokenizer puts before a text and behind it (its post-processor: BOS, EOS), owned by it; most often nothing.
 * `tokenizers` calls this add_special_tokens. */
typedef struct {
    const int32_t *before, *behind;
    int64_t before_count, behind_count;
} mla_frame;
mla_frame mla_tokenizer_frame(const mla_tokenizer *tokenizer);

/* The bytes that one id stands for (owned by the tokenizer, not terminated): for streaming. An id's bytes
 * need not be whole characters. Error: MLA_ERROR_ARGUMENT for an id that is out of range. */
mla_status mla_tokenizer_token(mla_context *context, const mla_tokenizer *tokenizer, int32_t id, const char **bytes,
                               int64_t *length);

/* The same as the file spells it: an added token in the words by which it is found. */
mla_status mla_tokenizer_spelling(mla_context *context, const mla_tokenizer *tokenizer, int32_t id, const char **bytes,
                                  int64_t *length);

/* Appends the text of `count` ids to *out: a whole text, which some decoders begin without the space that encoding put
 * there; or what goes on a text, the bytes of each id. After an error *out is as it was. */
mla_status mla_tokenizer_decode(mla_context *context, const mla_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                                mla_bytes *out);
mla_status mla_tokenizer_decode_on(mla_context *context, const mla_tokenizer *tokenizer, const int32_t *ids,
                                   int64_t count, mla_bytes *out);

/* Appends the ids of the text to *out. The text is data: a <|endoftext|> spelled out in it becomes the ids of
 * its letters, never the separator. After an error *out is as it was. For many texts make an encoder. */
mla_status mla_tokenizer_encode(mla_context *context, const mla_tokenizer *tokenizer, const char *bytes, int64_t length,
                                mla_id_list *out);

/* Which added tokens that are spelled out in a text become their ids. In Hugging Face's own words, PLAIN is
 * split_special_tokens and ALL is what is usual there. */
typedef enum {
    MLA_ADDED_NONE,  /* none: the text is data */
    MLA_ADDED_PLAIN, /* those that are not special: <|endoftext|> becomes the ids of its letters */
    MLA_ADDED_ALL
} mla_added;

typedef struct {
    mla_added added;
    bool frame; /* each text gets what the tokenizer puts before and behind it */
} mla_encoder_options;

/* An encoder remembers pieces of text that it has seen, which is what makes it fast. It is used by one thread
 * at a time and must not outlive its tokenizer. Options may be NULL. */
mla_status mla_encoder_create(mla_context *context, mla_encoder **out, const mla_tokenizer *tokenizer,
                              const mla_encoder_options *options);
mla_status mla_encoder_encode(mla_context *context, mla_encoder *encoder, const char *bytes, int64_t length,
                              mla_id_list *out);

/* The same for a text of which some bytes are marked: appends to *marks a byte for each id, 1 for those that come of a
 * marked byte at least in part. Without marks (NULL) none are given. MLA_ERROR_ARGUMENT for an encoder with options. */
mla_status mla_encoder_encode_marked(mla_context *context, mla_encoder *encoder, const mla_marked_text *text,
                                     mla_id_list *out, mla_bytes *marks);

/* The longest added token that is spelled out at the beginning of the text, and its bytes there; -1: there is none. */
int32_t mla_encoder_added_at(const mla_encoder *encoder, const char *bytes, int64_t length, int64_t *token);
void mla_encoder_destroy(mla_encoder *encoder);

#endif
