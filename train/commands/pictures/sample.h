/* What a run's model says, for a page about it. */
#ifndef MLA_TRAIN_COMMANDS_PICTURES_SAMPLE_H
#define MLA_TRAIN_COMMANDS_PICTURES_SAMPLE_H

#include "autograd/schema/fields.h"

#include <stdio.h>

/* Writes how the newest checkpoint in `folder` continues each prompt by at most so many tokens, always the most
 * probable one. MLA_ERROR_ARGUMENT: no checkpoint, no tokenizer, a prompt that is too long, a model that does not
 * generate. */
mla_status mla_report_samples(mla_context *context, FILE *page, const char *folder, const mla_list *prompts,
                              int64_t tokens);

#endif
