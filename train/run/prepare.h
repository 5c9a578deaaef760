/* From text to a token file: finds or trains the tokenizer, encodes every document, writes the file. What
 * `mla prepare` does, and `mla train` where a recipe names text instead of tokens. */
#ifndef MLA_TRAIN_RUN_PREPARE_H
#define MLA_TRAIN_RUN_PREPARE_H

#include "train/recipe/recipe.h"

typedef struct {
    const char *const *sources; /* files, folders, globs, pipes; see data/text/text_source.h */
    int64_t source_count;
    mla_recipe_format format; /* CHAT: every line of every file is a conversation (data/text/chat.h) */
    const char *field;        /* of JSONL; may be NULL where there is none */
    mla_chat_template chat_template;
    mla_bad_lines_choice bad_lines; /* of JSONL and conversations */
    bool no_bos;                    /* leave out what the tokenizer puts before and behind texts (mla_frame) */
    bool special;                   /* special tokens that are spelled out in texts are taken for what they name */
    mla_list fields;                /* of lines of conversations: data/text/chat.h */
    const char *date;               /* for templates; NULL: none */
    const char *tokenizer;          /* "bytes", "bpe", or the path of a tokenizer.json */
    int64_t vocab_size;             /* of a new BPE */
    double held_out;                /* share of the documents, chosen by their content */
    const char *held_out_text; /* a file that gets the bytes of the held-out documents, one after the other; or NULL */
} mla_prepare_options;

typedef struct {
    int64_t documents, bytes, tokens; /* of one split; tokens with the separators */
    int64_t answers;                  /* tokens of answers, where it is chat */
} mla_prepare_count;

typedef struct {
    mla_prepare_count train, held_out;
    int64_t left_out;  /* conversations without an answer */
    mla_bad_lines bad; /* lines that are broken, if they are to be left out */
    int64_t vocabulary_size;
    char chat_template[32]; /* the name of the one that was used; "": it is no chat */
} mla_prepare_report;

/* The options that a recipe's data section stands for; they point into it. */
mla_prepare_options mla_prepare_options_of(const mla_recipe_data *data);

/* Writes the token file at `path`, wholly or not at all, and says in `report` (may be NULL) what is in it. A
 * BPE is trained on the documents (of conversations: what is said) that are not held out, on an even sample of them
 * where they exceed 64 MB.
 *
 * A document is what the tokenizer makes of its text, with the tokens that it puts before and behind (BOS, EOS), and
 * the separator that ends every document: once, where the tokenizer ends texts with that very token. So each document
 * begins with BOS whether documents are packed or the stream is cut, where it stands behind the separator of the one
 * before. What is before the text of a conversation is the business of its template.
 *
 * Conversations without an answer are left out, with a warning. A template that is not chosen is the one of
 * chat_template.jinja or tokenizer_config.json beside the tokenizer, or the one whose tokens the tokenizer has.
 *
 * Errors: those of the text source, of conversations, the tokenizer and the token writer; MLA_ERROR_ARGUMENT for a
 * tokenizer without a token that separates documents. */
mla_status mla_prepare(mla_context *context, const mla_prepare_options *options, const char *path,
                       mla_prepare_report *report);

/* Makes the tokenizer that mla_prepare would make for these options, and writes it as a tokenizer.json. */
mla_status mla_prepare_tokenizer(mla_context *context, const mla_prepare_options *options, const char *path);

#endif
