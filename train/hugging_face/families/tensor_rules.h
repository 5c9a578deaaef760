/* Which tensors of a family's files are which parameters of a model, in both directions. What no rule names has the
 * same name in both, and RoPE's order of rows (rotary_rows.h) needs no rule. With * for a layer's number:
 *
 *     rename   .theirs = {"transformer.h.*.ln_1.weight"}, .ours = {"model.layers.*.input_layernorm.weight"}
 *     split    .theirs = {"model.layers.*.mlp.gate_up_proj.weight"},
 *              .ours = {"model.layers.*.mlp.gate_proj.weight", "model.layers.*.mlp.up_proj.weight"}    rows, in order
 *     join     .theirs = {"a.weight", "b.weight"}, .ours = {"lm_head.weight"}, .rows = rows_of_a_and_b
 *     fold     .theirs = {"model.norm.weight"}, .ours = {"model.norm.weight"}, .shift = 1      ours = theirs + 1
 *
 * Shapes follow from the parameters', never from a file. */
#ifndef MLA_TRAIN_HUGGING_FACE_FAMILIES_TENSOR_RULES_H
#define MLA_TRAIN_HUGGING_FACE_FAMILIES_TENSOR_RULES_H

#include "layers/decoder.h"

enum { MLA_RULE_PARTS = 4 };

/* One of the two lists has a single name. */
typedef struct {
    const char *theirs[MLA_RULE_PARTS], *ours[MLA_RULE_PARTS];
    int64_t (*rows)(const mla_model_config *config, int part); /* of each of theirs, where they are several */
    float (*scale)(const mla_model_config *config);            /* NULL: 1 */
    float shift;                                               /* ours = scale * theirs + shift */
} mla_tensor_rule;

/* Rows of a file's tensor that are rows of a parameter. */
typedef struct {
    const mla_param *param;
    int64_t first, rows; /* of the parameter */
} mla_mapped_rows;

/* A tensor of the file: its parts lie in it one after the other. */
typedef struct {
    char *name;
    mla_tensor shape; /* ndim and shape only */
    mla_mapped_rows parts[MLA_RULE_PARTS];
    int part_count;
    float scale, shift;
} mla_mapped_tensor;

typedef struct {
    const mla_decoder *model;
    mla_mapped_tensor *tensors; /* all that a file of this model has, in the order of the parameters */
    int64_t count, capacity;
} mla_tensor_map;

/* `rules` end with an empty one; NULL: none. The model, whose parameters need no values yet, must outlive the map.
 * MLA_ERROR_ARGUMENT: the rules do not fit the model. Destroy it in any case. */
mla_status mla_tensor_map_create(mla_tensor_map *map, const mla_decoder *model, const mla_tensor_rule *rules);
void mla_tensor_map_destroy(mla_tensor_map *map);

/* By the file's name, and by a parameter's; NULL: none. */
const mla_mapped_tensor *mla_tensor_map_find(const mla_tensor_map *map, const char *name);
const mla_mapped_tensor *mla_tensor_map_of(const mla_tensor_map *map, const char *parameter);

/* The values of the one parameter that holds this tensor as it is in the file; NULL where it has to be made, by: */
float *mla_mapped_values(const mla_tensor_map *map, const mla_mapped_tensor *tensor);
/* `values`, the whole of the file's tensor, into the parameters, and the other way. Only error: MLA_ERROR_MEMORY. */
mla_status mla_tensor_import(const mla_tensor_map *map, const mla_mapped_tensor *tensor, const float *values);
mla_status mla_tensor_export(const mla_tensor_map *map, const mla_mapped_tensor *tensor, float *values);

#endif
