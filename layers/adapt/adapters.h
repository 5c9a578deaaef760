/* Adapters (layers/parts/linear.h) on the projections of a model that are named by patterns; the model itself is
 * frozen.
 *
 *     status = mla_decoder_create(context, &model, &config);
 *     if (!status) status = mla_adapters_attach(model, &options);
 *     if (!status) status = mla_params_allocate(model->params, true);
 *     ... mla_params_initialise, then the values of the model itself ...
 *     if (!status) status = mla_adapters_begin(model);
 */
#ifndef MLA_LAYERS_ADAPT_ADAPTERS_H
#define MLA_LAYERS_ADAPT_ADAPTERS_H

#include "layers/adapt/lora.h"
#include "layers/decoder.h"

/* How A and B begin: A uniform or normal (deviation 1/r) and B zero, which leaves the model as it is; or both from the
 * largest singular values of the weight (PiSSA, Meng et al. 2024), which are taken out of it: then a second, frozen
 * adapter of share -1 holds what they began with, and again the model begins as it is. */
typedef enum { MLA_LORA_UNIFORM, MLA_LORA_NORMAL, MLA_LORA_PISSA } mla_lora_init;

typedef struct {
    mla_list targets; /* each "PATTERN", "PATTERN:RANK" or "PATTERN:RANK:ALPHA" */
    int64_t rank;     /* where a target has none of its own */
    double alpha;     /* of B A, which is multiplied by alpha / rank */
    bool rslora;      /* by alpha / sqrt(rank) instead */
    bool dora;
    double dropout; /* of what goes into the adapters */
    mla_lora_init init;
} mla_lora_options;

/* The table that describes them. */
extern const mla_field_table mla_lora_fields;

/* Without targets: nothing. Otherwise freezes the model, but for a head that labels, which becomes the adapter's own
 * (see below), and puts an adapter on every projection that a target's pattern names; the first that does so counts. A
 * pattern is a name as in PEFT's target_modules, whole or from a dot on
 * ("q_proj", "self_attn.q_proj", "model.layers.0.self_attn.q_proj"), in which *, ? and [...] stand for letters as in
 * the names of files. Before mla_params_allocate. MLA_ERROR_ARGUMENT: a pattern that names no projection (with the
 * nearest that there is), a rank below 1 or above a projection's width. */
mla_status mla_adapters_attach(mla_decoder *model, const mla_lora_options *options);

/* Where adapters are attached and steps are of bf16: the frozen matrices under them are kept in bf16 alone. Such a
 * model can be trained and evaluated in bf16; it is no model to merge, decode or save. Before mla_params_allocate. */
void mla_adapters_keep_base_bf16(mla_decoder *model, const mla_lora_options *options, mla_dtype precision);

/* Sets what begins as a function of the model's values, which are in place: DoRA's magnitudes, PiSSA's A and B. */
mla_status mla_adapters_begin(mla_decoder *model);

/* Gives the head of the model, one that labels, to the adapter: what is to be saved, loaded and trained of the adapter
 * then is the whole head, too, and the model that it is for is the backbone alone. Before mla_params_allocate. */
void mla_adapters_own_head(mla_decoder *model, bool frozen);
bool mla_adapters_have_head(const mla_decoder *model);

/* The projection called "model.layers.0.self_attn.q_proj"; NULL where there is none. */
mla_linear_layer *mla_adapters_find(const mla_decoder *model, const char *name);
/* The length of a projection's name, with which its weight's begins. */
int mla_adapters_stem(const mla_linear_layer *projection);

/* Calls visit for each tensor of the adapter that was attached, with its name in files, as PEFT's: "base_model.model."
 * and the projection's name, then ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", and for what PiSSA
 * began with ".lora_A.start.weight" and ".lora_B.start.weight"; last the head that is the adapter's own, as
 * "base_model.model.score.weight". Ends at the first status that is not MLA_OK. */
typedef mla_status (*mla_adapters_visit)(void *user, const char *name, const mla_tensor *tensor);
mla_status mla_adapters_each(const mla_decoder *model, mla_adapters_visit visit, void *user);

/* Puts the adapters into the weights and takes them off, and gives the head back to the model: the same function, up
 * to rounding. MLA_ERROR_ARGUMENT where
 * the weights are kept in bf16. */
mla_status mla_adapters_merge(mla_decoder *model);

#endif
