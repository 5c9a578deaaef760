/* mla eval --rolling: perplexity of whole texts, by words and by bytes. */
#ifndef MLA_TRAIN_COMMANDS_INFERENCE_EVAL_ROLLING_H
#define MLA_TRAIN_COMMANDS_INFERENCE_EVAL_ROLLING_H

#include "train/commands/inference/scoring.h"

/* The operands are texts (data/text/text_source.h). Each is scored by itself, behind BOS (or the end token), in windows
 * of which no two score the same token: the first begins with that token, the next ones with the last token of the one
 * before, the last one reaches back as far as it has room. Prints word_perplexity, byte_perplexity and bits_per_byte:
 * those of lm-evaluation-harness. */
mla_status mla_eval_rolling(const mla_call *call, const mla_loaded *loaded, const char *field,
                            const mla_scoring_options *options);

#endif
