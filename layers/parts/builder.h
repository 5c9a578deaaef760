/* What a part of a model is built with, and the projections that were built so far. */
#ifndef MLA_LAYERS_PARTS_BUILDER_H
#define MLA_LAYERS_PARTS_BUILDER_H

#include "autograd/ops.h"
#include "autograd/params.h"
#include "layers/parts/config.h"

/* All projections of a model in the order of their parameters; zero is empty. The array belongs to the model, what it
 * points to to the layers. */
typedef struct {
    struct mla_linear_layer **items;
    int64_t count, capacity;
} mla_projections;

/* Everything pointed to outlives the model, except the prefix. */
typedef struct {
    mla_context *context;
    mla_params *params;
    const mla_model_config *config; /* checked */
    const mla_rope_table *rope;     /* NULL where nothing is rotated */
    mla_projections *projections;   /* gets every projection; NULL: nobody asks */
    int64_t layer;                  /* which of the model's layers this is part of, from 0 */
    const char *prefix;             /* of the names of parameters: "model.layers.0.self_attn." */
} mla_builder;

#endif
