/* Adapters in files: our own checkpoints of them (train/checkpoint/checkpoint.h), and PEFT's folders of
 * adapter_config.json and adapter_model.safetensors. Several can be put on one model, each with its share.
 *
 *     if (!status) status = mla_adapter_open(context, &adapter, "runs/legal");
 *     if (!status) status = mla_adapter_take_head(adapter, base, &config);       // before the model is made
 *     if (!status) status = mla_adapter_attach(adapter, model, "legal", 1);      // before mla_params_allocate
 *     ... the model's values ...
 *     if (!status) status = mla_adapter_read(adapter, model);
 *
 * An adapter may have a head of its own (PEFT's modules_to_save: ["score"]), which then takes the place of the base's;
 * what else one of PEFT may be and none is here (other methods, biases, other whole modules, ...) is an error that
 * names it. */
#ifndef MLA_TRAIN_ADAPTER_ADAPTER_H
#define MLA_TRAIN_ADAPTER_ADAPTER_H

#include "layers/adapt/adapters.h"
#include "train/checkpoint/checkpoint.h"

typedef struct mla_adapter mla_adapter;

/* A folder with an adapter_config.json is PEFT's; anything else a checkpoint, or a run folder with one. Errors:
 * MLA_ERROR_IO, MLA_ERROR_FORMAT (damaged, or not supported), MLA_ERROR_ARGUMENT (a model, no adapter). */
mla_status mla_adapter_open(mla_context *context, mla_adapter **out, const char *path);
void mla_adapter_close(mla_adapter *adapter);

/* Whether it has a head of its own, one that labels. */
bool mla_adapter_has_head(const mla_adapter *adapter);
/* Puts that head into `config`, which is the base's. Which one it is, our checkpoints say; of PEFT's folders task_type
 * says it, the rows of score.weight are the labels, and their names and problem_type those of labels.json, which our
 * exports have, or else the base's where it has as many. Without such a head: nothing. MLA_ERROR_FORMAT. */
mla_status mla_adapter_take_head(mla_adapter *adapter, const mla_checkpoint *base, mla_model_config *config);
/* Of that head, after it was taken: the names of its labels, a JSON list; NULL without one. */
const char *mla_adapter_labels(const mla_adapter *adapter);
/* The recipe of the run that made it, JSON; NULL where it is not known. */
const char *mla_adapter_recipe(const mla_adapter *adapter);

/* Puts it on the model, with its head; `name` is one that no other adapter there has. MLA_ERROR_ARGUMENT where it is
 * for another model, MLA_ERROR_SHAPE and MLA_ERROR_FORMAT for tensors that do not fit or are none of an adapter's. */
mla_status mla_adapter_attach(mla_adapter *adapter, mla_decoder *model, const char *name, float share);
/* Fills the tensors that attach has made; the model's own values are there, and are checked to be those that the
 * adapter was trained on, where it says so (ours do, PEFT's do not). */
mla_status mla_adapter_read(mla_adapter *adapter, const mla_decoder *model);

const char *mla_adapter_path(const mla_adapter *adapter);
const struct json_t *mla_adapter_config(const mla_adapter *adapter); /* as PEFT's adapter_config.json */
int64_t mla_adapter_projections(const mla_adapter *adapter);
int64_t mla_adapter_elements(const mla_adapter *adapter);

/* The text of an adapter_config.json for the adapter that `options` have put on the model; free() it. */
char *mla_adapter_config_text(const mla_decoder *model, const mla_lora_options *options, const char *base);

/* From PEFT's folder to a checkpoint of an adapter for the model in `base`, a checkpoint or run folder. */
mla_status mla_adapter_import(mla_context *context, const char *folder, const char *base, const char *path);

/* From a checkpoint of an adapter to a folder that PEFT loads on the exported base. What PiSSA has taken out of the
 * weights goes into it: such an adapter comes out as an ordinary one of twice the rank. */
mla_status mla_adapter_export(mla_context *context, const char *path, const char *folder);

#endif
