/* From a checkpoint to a folder that transformers, PEFT, vLLM and others load: config.json, safetensors,
 * tokenizer.json, tokenizer_config.json. */
#ifndef MLA_TRAIN_HUGGING_FACE_EXPORT_H
#define MLA_TRAIN_HUGGING_FACE_EXPORT_H

#include "autograd/base/context.h"

typedef enum { MLA_EXPORT_AUTO, MLA_EXPORT_F32, MLA_EXPORT_BF16, MLA_EXPORT_F16 } mla_export_type;

typedef struct {
    mla_export_type type; /* AUTO: as in the files that were imported; f32 for a model trained here */
    int64_t shard_bytes;  /* the most for one file; 0: 5e9 */
} mla_export_options;

typedef struct {
    int64_t parameters;    /* numbers */
    const char *type;      /* "F32", ... */
    char architecture[64]; /* of transformers; of an adapter, what it is */
} mla_export_report;

/* `path` is a checkpoint or a run folder, `folder` a new or an empty one. It is written as FOLDER.tmp and
 * renamed: wholly there, or not. A model trained here with neighbours as rotary pairs, where transformers has
 * halves, has the rows of q_proj and k_proj reordered for that: the same function. Latents of unequal ranks all get
 * the largest, with a warning: again the same function. MLA_ERROR_ARGUMENT:
 * transformers has no such model, or the folder is in use. MLA_ERROR_NUMERIC: a weight is too large for the
 * type. The checkpoint of an adapter becomes PEFT's adapter_config.json and adapter_model.safetensors, in f32. */
mla_status mla_export(mla_context *context, const char *path, const char *folder, const mla_export_options *options,
                      mla_export_report *report);

#endif
