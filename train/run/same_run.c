#include "train/run/same_run.h"

#include <stdlib.h>
#include <string.h>

mla_status mla_same_model(mla_context *context, const mla_checkpoint *checkpoint, const mla_model_config *model) {
    char *saved = mla_model_config_json(context, mla_checkpoint_config(checkpoint));
    char *wanted = mla_model_config_json(context, model);
    mla_status status = saved && wanted ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status && strcmp(saved, wanted))
        status = mla_fail(context, MLA_ERROR_ARGUMENT,
                          "%s: has another model than the recipe of the run: start a new "
                          "run with --out instead",
                          mla_checkpoint_path(checkpoint));
    free(saved);
    free(wanted);
    return status;
}

mla_status mla_same_data(mla_context *context, const mla_checkpoint *checkpoint, int64_t data_tokens,
                         const mla_mix *mix) {
    const char *saved = mla_checkpoint_tokenizer(checkpoint), *wanted = mix->parts[0].data.tokenizer;
    const bool same_tokenizer = saved && wanted ? !strcmp(saved, wanted) : saved == wanted;
    if (!same_tokenizer || data_tokens != mla_mix_tokens(mix, MLA_TRAIN))
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%s: was trained on other data: %s; bring back the data of the run, or "
                        "start a new run with --out",
                        mla_checkpoint_path(checkpoint),
                        same_tokenizer ? "the number of tokens has changed" : "the tokenizer has changed");
    return mla_mix_check_resumed(context, mix, mla_checkpoint_path(checkpoint), mla_checkpoint_recipe(checkpoint));
}
