/* Folders with a model in Hugging Face's files, for the tests of import and export. */
#ifndef MLA_TESTS_SUPPORT_MODEL_FOLDER_H
#define MLA_TESTS_SUPPORT_MODEL_FOLDER_H

#include "data/formats/safetensors.h"
#include "layers/decoder.h"

#include <jansson.h>

typedef struct {
    mla_context *context;
    char *folder, *in, *out, *file; /* a folder, and in it: the model, the exported model, the checkpoint */
    char warning[512];
} model_folder;

/* For cmocka: the state of a test is a model_folder. */
int model_folder_create(void **state);
int model_folder_destroy(void **state);
mla_model_config model_folder_config(mla_context *context, const mla_attention_kind *attention);
mla_decoder *model_folder_model(mla_context *context, const mla_model_config *config);
mla_safetensors_item *model_folder_items(const mla_decoder *model, int64_t *count);
void model_folder_write_text(const char *folder, const char *name, const char *text);
void model_folder_write_config(model_folder *f, const mla_model_config *config);
void model_folder_write(model_folder *f, const mla_model_config *config, mla_safetensors_type type,
                        int64_t shard_bytes);
void check_same_tensors(mla_context *context, const char *a, const char *b);
json_t *load_json(const char *folder, const char *name);
void forget_folder(const char *path);

#endif
