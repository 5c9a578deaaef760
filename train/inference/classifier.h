/* Labels for texts, by a model whose head gives such (layers/head/classification.h). Texts are gathered and go through
 * the model together, packed into rows and kept apart; what it needs for that is kept, so that after a few texts
 * nothing is allocated any more.
 *
 *     mla_classifier_add(classifier, text, length);
 *     if ((status = mla_classifier_run(classifier))) return status;
 *     const float *p = mla_classifier_values(classifier, 0);
 */
#ifndef MLA_TRAIN_INFERENCE_CLASSIFIER_H
#define MLA_TRAIN_INFERENCE_CLASSIFIER_H

#include "data/tokenizer/tokenizer.h"
#include "data/tokens/token_file.h"
#include "layers/decoder.h"

typedef struct {
    const mla_decoder *model;
    const mla_tokenizer *tokenizer;
    mla_dtype precision;   /* of the matrix products */
    int64_t sequence;      /* tokens that are seen together at most */
    bool bos;              /* texts get what the tokenizer puts before and behind them */
    mla_too_long too_long; /* what of longer texts; a model of tokens does not stride by halves but end to end */
} mla_classifier_options;

typedef struct mla_classifier mla_classifier;

/* Model and tokenizer must outlive it. MLA_ERROR_ARGUMENT where the head labels nothing, or the sequence is longer than
 * the model's positions. */
mla_status mla_classifier_create(mla_context *context, mla_classifier **out, const mla_classifier_options *options);
void mla_classifier_destroy(mla_classifier *classifier);

/* One more text. MLA_ERROR_ARGUMENT where it is empty, or too long where such are refused. */
mla_status mla_classifier_add(mla_classifier *classifier, const char *bytes, int64_t length);
int64_t mla_classifier_count(const mla_classifier *classifier);  /* texts */
int64_t mla_classifier_tokens(const mla_classifier *classifier); /* of all of them */
mla_status mla_classifier_run(mla_classifier *classifier);
/* Forgets the texts. */
void mla_classifier_clear(mla_classifier *classifier);

/* After a run: probabilities (K) of classes or flags, or numbers; of a text in several pieces their mean. */
const float *mla_classifier_values(const mla_classifier *classifier, int64_t text);

/* The same for the tokens of a text, where the head labels those. */
typedef struct {
    int64_t begin, end;  /* bytes of the text */
    const float *values; /* (K); NULL: behind the cut of a text that is too long, and of a token around it */
} mla_classified_token;
int64_t mla_classifier_token_count(const mla_classifier *classifier, int64_t text);
mla_classified_token mla_classifier_token(const mla_classifier *classifier, int64_t text, int64_t token);

#endif
