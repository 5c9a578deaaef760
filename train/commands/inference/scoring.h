/* What the evaluations by log-likelihood have in common: a model that scores tokens, how texts become such, what is
 * kept of each row for --samples, and the figures that all of them print. */
#ifndef MLA_TRAIN_COMMANDS_INFERENCE_SCORING_H
#define MLA_TRAIN_COMMANDS_INFERENCE_SCORING_H

#include "train/commands/commands.h"
#include "train/commands/load.h"
#include "train/inference/continuation.h"
#include "train/inference/likelihood.h"

#include <jansson.h>
#include <stdio.h>

typedef struct {
    const char *samples; /* a file to write of each row; NULL: none */
    int64_t sequence;    /* 0: the model's positions */
    mla_dtype precision;
    bool no_bos, json;
} mla_scoring_options;

enum { MLA_SCORED_TOGETHER = 1 << 14 }; /* tokens that are gathered before they go through the model */

typedef struct {
    const mla_call *call;
    const mla_loaded *loaded;
    mla_scoring_options options;
    mla_likelihood *likelihood;
    mla_continuation *continuation;
    FILE *samples; /* in memory */
    char *sample_text;
    size_t sample_size;
    double begin, seconds;
} mla_scoring;

/* The caller calls mla_scoring_close in any case. Errors: those of mla_likelihood_create; MLA_ERROR_ARGUMENT where
 * there is no tokenizer, or none with a token to begin with. */
mla_status mla_scoring_open(mla_scoring *out, const mla_call *call, const mla_loaded *loaded,
                            const mla_scoring_options *options);
void mla_scoring_close(mla_scoring *scoring);

/* A line for --samples, which this frees. */
void mla_scoring_sample(mla_scoring *scoring, json_t *line);
/* Writes the samples and takes the time. */
mla_status mla_scoring_finish(mla_scoring *scoring);

/* The figures of --json that are the same for all, and their lines without it; requests: how many there were. */
json_t *mla_scoring_json(const mla_scoring *scoring);
void mla_scoring_print(const mla_scoring *scoring, int64_t requests);

#endif
