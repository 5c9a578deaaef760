/* Between our configuration and the config.json of transformers' models:
 *
 *     DeepseekV2ForCausalLM, DeepseekV3ForCausalLM   without experts
 *     LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM
 *     MistralForCausalLM, Phi3ForCausalLM            without sliding windows
 *     ...ForSequenceClassification, ...ForTokenClassification of the same
 *
 * What such a file may say and a model here is not (experts, sliding windows, RoPE on a part of a head, quantized
 * weights, ...) is an error that names it: a model that is read computes what it computes in transformers. */
#ifndef MLA_TRAIN_HUGGING_FACE_MODEL_CONFIG_H
#define MLA_TRAIN_HUGGING_FACE_MODEL_CONFIG_H

#include "layers/parts/config.h"

/* Reads the text of a config.json, of transformers 4 or 5. `where` begins every message ("DIR/config.json:
 * "). Errors: MLA_ERROR_FORMAT (no such JSON, a key missing, a feature that is not supported),
 * MLA_ERROR_ARGUMENT (a value out of its bounds). */
mla_status mla_hugging_face_read(mla_context *context, const char *where, const char *text, mla_model_config *out);

/* The same of one that is parsed. */
mla_status mla_hugging_face_read_json(mla_context *context, const char *where, struct json_t *file,
                                      mla_model_config *out);

/* The names of the labels of a model that was read, by id2label or as transformers calls them (LABEL_0), as a JSON
 * list: *out, to be freed; NULL where the head labels nothing. MLA_ERROR_FORMAT for ids that are not 0, 1, 2, ... */
mla_status mla_hugging_face_labels(mla_context *context, const char *where, const struct json_t *file,
                                   const mla_model_config *config, char **out);

/* Puts them into a config.json that is to be written: id2label and label2id. NULL: there are none. */
mla_status mla_hugging_face_set_labels(mla_context *context, const char *labels, struct json_t *config);

/* A new config.json that transformers reads as the same model. `origin`, or NULL, is the one the model was
 * read from: its architecture is kept where the model still is one, and so are its keys that say nothing
 * about the computation (ids of special tokens ...). NULL after an error: MLA_ERROR_ARGUMENT names what
 * transformers has no architecture for. */
struct json_t *mla_hugging_face_write(mla_context *context, const mla_model_config *config,
                                      const struct json_t *origin);

#endif
