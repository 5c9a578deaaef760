/* From a folder of Hugging Face's files (config.json, safetensors, tokenizer.json) to a checkpoint. */
#ifndef MLA_TRAIN_HUGGING_FACE_IMPORT_H
#define MLA_TRAIN_HUGGING_FACE_IMPORT_H

#include "autograd/base/context.h"

typedef struct {
    int64_t parameters; /* numbers */
    const char *type;   /* of the numbers in the files: "F32", "BF16", "F16"; "F32" where they are mixed */
    bool tokenizer;     /* one came along */
} mla_import_report;

/* Reads the model and writes `path`, wholly or, after an error, not at all. Values are widened to f32,
 * exactly. All tensors of the model must be there, in its shapes, finite, and no others (but for
 * rotary_emb.inv_freq, and the output of a tied model where it is the embedding); messages name them. A
 * tokenizer.json that is not understood is left out with a warning.
 *
 * The texts of config.json, tokenizer_config.json, generation_config.json and chat_template.jinja are kept in the
 * checkpoint
 * (/config/hugging_face, an object with these names as keys, and "dtype") and go into an export. */
mla_status mla_import(mla_context *context, const char *folder, const char *path, mla_import_report *report);

#endif
