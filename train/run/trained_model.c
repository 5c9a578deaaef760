#include "train/run/trained_model.h"
#include "layers/adapt/names.h"

mla_status mla_trained_model_create(mla_context *context, const mla_recipe *recipe, mla_dtype precision,
                                    mla_decoder **out) {
    mla_status status = mla_decoder_create(context, out, &recipe->model);
    if (!status) status = mla_adapters_attach(*out, &recipe->lora);
    if (!status) mla_adapters_keep_base_bf16(*out, &recipe->lora, precision);
    return status ? status : mla_names_train_only(*out, "finetune.train", &recipe->finetune.train);
}
