/* A token file: the ids of a corpus, ready to be mapped into memory. HDF5 (data/formats/h5.h), with
 *
 *     /vocabulary_size, /separator      i64 scalars
 *     /tokenizer, /tokenizer_hash       text: the tokenizer as JSON, XXH3 of it as 16 hex digits
 *     /hugging_face                     text, where there is such: the files beside the tokenizer, as a checkpoint
 *                                       keeps them (train/hugging_face/chat_files.h)
 *     /train/tokens                     u16 (i32 where the vocabulary is larger than 65536), all documents
 *                                       one after the other, each with the separator after it
 *     /train/document_offsets           i64, documents + 1: document i is tokens [offsets[i], offsets[i + 1])
 *     /train/bytes                      i64, bytes of the text behind the tokens (for bits per byte)
 *     /train/answers                    u8, one a token, where only some are to be learned: 1 for those, 0 for others
 *     /train/classes                    i32, one a document: its class, counted from 0; or
 *     /train/values                     f32 (documents, K): flags or numbers; or
 *     /train/tags                       i32, one a token: its class, -1 where it has none
 *     /labels                           text, with any of these three: their names, a JSON list
 *     /held_out/...                     the same for the held-out documents */
#ifndef MLA_DATA_TOKENS_TOKEN_FILE_H
#define MLA_DATA_TOKENS_TOKEN_FILE_H

#include "autograd/base/atomic_file.h"
#include "autograd/base/context.h"

typedef enum { MLA_TRAIN, MLA_HELD_OUT } mla_token_split;

/* What labels a stream has, and where they are. */
typedef enum {
    MLA_TOO_LONG_CUT,
    MLA_TOO_LONG_STRIDE,
    MLA_TOO_LONG_REFUSE,
    MLA_TOO_LONG_CUT_START
} mla_too_long; /* see packing.h */
typedef enum { MLA_UNLABELLED, MLA_CLASSES, MLA_VALUES, MLA_TAGS } mla_label_form;
typedef struct {
    mla_label_form form;
    int64_t width;        /* of VALUES: K; otherwise 1 */
    const int32_t *index; /* of CLASSES and TAGS */
    const float *values;  /* of VALUES */
    mla_too_long too_long;
} mla_stream_labels;

/* A stream of tokens, wherever it lies: in a mapped file, or in memory (offsets may be NULL then). */
typedef struct {
    int64_t count;          /* tokens, separators included */
    const uint16_t *narrow; /* the tokens are here ... */
    const int32_t *wide;    /* ... or here */
    int64_t documents;
    const int64_t *offsets; /* documents + 1 */
    int64_t bytes;          /* of text; 0 if unknown */
    const uint8_t *answers; /* one a token: whether it is to be learned; NULL: all are */
    mla_stream_labels labels;
} mla_token_stream;

/* Copies tokens [first, first + count), which the stream must have. */
void mla_tokens_copy(const mla_token_stream *stream, int64_t first, int64_t count, int32_t *out);
/* The same as targets: -1 stands for those that are not to be learned. */
void mla_tokens_copy_targets(const mla_token_stream *stream, int64_t first, int64_t count, int32_t *out);

/* ---- Writing, document by document. The tokens wait in files without a name beside the token file. */

typedef struct {
    int64_t vocabulary_size;
    int32_t separator;
    const char *tokenizer;    /* JSON */
    const char *hugging_face; /* JSON; NULL: there is none */
    bool answers;             /* tokens that are to be learned are marked */
    mla_label_form labels;    /* of each document or token */
    int64_t label_width;      /* of VALUES */
    const char *label_names;
    mla_step_hook hook; /* see mla_h5_options */
} mla_token_options;

typedef struct mla_token_writer mla_token_writer;

/* Starts a token file; nothing is at `path` before the commit. Options are copied. */
mla_status mla_token_writer_create(mla_context *context, mla_token_writer **out, const char *path,
                                   const mla_token_options *options);
/* Adds a document of `count` tokens that stand for `bytes` bytes of text, and the separator. In a file with answers,
 * `answers` has count + 1 marks, the last for the separator; otherwise it is NULL.
 * MLA_ERROR_ARGUMENT if a token is not in the vocabulary (its document and position are named). */
mla_status mla_token_writer_append(mla_token_writer *writer, mla_token_split split, int64_t count,
                                   const int32_t *tokens, const uint8_t *answers, int64_t bytes);
/* The labels of the document that was added last: one i32, K floats, or one i32 for each of its tokens.
 * MLA_ERROR_ARGUMENT where their number is another. */
mla_status mla_token_writer_label(mla_token_writer *writer, mla_token_split split, int64_t count, const void *labels);
/* Writes the file, see mla_h5_commit; only close may follow. */
mla_status mla_token_writer_commit(mla_token_writer *writer);
/* Without a commit before it, nothing was written. NULL is fine. */
void mla_token_writer_close(mla_token_writer *writer);

/* ---- Reading */

typedef struct mla_token_file mla_token_file;

/* Opens, verifies and maps a token file, and checks all of it: every id is in the vocabulary, the offsets
 * ascend. MLA_ERROR_FORMAT names what is wrong and where. */
mla_status mla_token_file_open(mla_context *context, mla_token_file **out, const char *path);
void mla_token_file_close(mla_token_file *file);

/* Valid until close. */
const mla_token_stream *mla_token_file_stream(const mla_token_file *file, mla_token_split split);
int64_t mla_token_file_vocabulary_size(const mla_token_file *file);
int32_t mla_token_file_separator(const mla_token_file *file);
const char *mla_token_file_tokenizer(const mla_token_file *file);    /* JSON */
const char *mla_token_file_hugging_face(const mla_token_file *file); /* JSON; NULL where there is none */

const char *mla_token_file_label_names(const mla_token_file *file); /* a JSON list; NULL where it has no labels */

/* MLA_ERROR_ARGUMENT unless the file was made with this tokenizer. */
mla_status mla_token_file_expect_tokenizer(const mla_token_file *file, const char *tokenizer);

#endif
