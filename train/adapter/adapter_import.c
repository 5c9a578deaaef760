#include "train/adapter/adapter_internal.h"
#include "train/adapter/base.h"

#include <stdlib.h>

static mla_status adapter_import_save(mla_adapter *a, const mla_checkpoint *base, const mla_decoder *model,
                                      const char *path) {
    char *config = mla_json_text(a->context, a->config),
         *text = mla_base_text(a->context, mla_checkpoint_path(base), model);
    const mla_checkpoint_content content = {.model = model,
                                            .adapter = config,
                                            .base = text,
                                            .labels = mla_adapter_labels(a),
                                            .tokenizer = mla_checkpoint_tokenizer(base)};
    const mla_status status = config && text ? mla_checkpoint_save(a->context, path, &content, (mla_step_hook){0})
                                             : MLA_ERROR_MEMORY;
    free(config);
    free(text);
    return status;
}

mla_status mla_adapter_import(mla_context *context, const char *folder, const char *base, const char *path) {
    mla_adapter *a = NULL;
    mla_checkpoint *checkpoint = NULL;
    mla_decoder *model = NULL;
    mla_status status = mla_adapter_open(context, &a, folder);
    if (!status) status = mla_checkpoint_open(context, &checkpoint, base);
    mla_model_config config = status ? (mla_model_config){0} : *mla_checkpoint_config(checkpoint);
    if (!status) status = mla_adapter_take_head(a, checkpoint, &config);
    if (!status) status = mla_decoder_create(context, &model, &config);
    if (!status) status = mla_adapter_attach(a, model, "default", 1);
    if (!status) status = mla_params_allocate(model->params, false);
    if (!status)
        status = mla_adapter_has_head(a) ? mla_checkpoint_read_backbone(checkpoint, model->params)
                                         : mla_checkpoint_read_params(checkpoint, model->params);
    if (!status) status = mla_adapter_read(a, model);
    if (!status) status = adapter_import_save(a, checkpoint, model, path);
    mla_decoder_destroy(model);
    mla_checkpoint_close(checkpoint);
    mla_adapter_close(a);
    return status;
}
