/* mla eval --choices: questions with choices, or contexts with the one right continuation. */
#ifndef MLA_TRAIN_COMMANDS_INFERENCE_EVAL_CHOICES_H
#define MLA_TRAIN_COMMANDS_INFERENCE_EVAL_CHOICES_H

#include "train/commands/inference/scoring.h"

/* Rows of a .jsonl file, `context` with `choices` and `gold`, or `context` with `continuation`; `delimiter` stands
 * between context and choice. Prints acc (the choice of the largest log-likelihood), acc_norm (divided by its
 * characters), acc_bytes; of continuations acc (greedy decoding would give it) and perplexity: those of
 * lm-evaluation-harness. Errors with file and line. */
mla_status mla_eval_choices(const mla_call *call, const mla_loaded *loaded, const char *path, const char *delimiter,
                            const mla_scoring_options *options);

#endif
