/* The registry of a model's parameters: names, shapes and places in flat blocks.
 *
 * Layers add their parameters and keep the tensors; then mla_params_allocate lays out one block of values and
 * one of gradients. The optimizer, the reduction over ranks and the checkpoint see flat ranges with names and
 * know nothing of layers. Each range starts on 64 bytes; the gap before it is zero and stays so. */
#ifndef MLA_AUTOGRAD_PARAMS_H
#define MLA_AUTOGRAD_PARAMS_H

#include "autograd/base/context.h"
#include "autograd/packed_weight.h"

typedef struct mla_params mla_params;

typedef enum { MLA_INIT_ZERO, MLA_INIT_ONE, MLA_INIT_NORMAL, MLA_INIT_UNIFORM } mla_init;

typedef struct {
    const char *name; /* Hugging Face's name; copied. Unique in the registry. */
    int ndim;
    int64_t shape[MLA_MAX_DIMS];
    mla_init init;
    float scale;     /* standard deviation of NORMAL; half width of UNIFORM */
    bool decay;      /* weight decay applies: matrices yes, gains and biases no */
    bool frozen;     /* no gradient, no moments */
    bool adapter;    /* of an adapter, not of the model itself: saved apart from it */
    bool takes_bf16; /* all that reads it in a step of bf16 takes bf16: mla_params_keep_bf16 */
} mla_param_spec;

typedef struct {
    mla_param_spec spec;
    mla_tensor tensor;                        /* of f32, or of bf16 where it is kept so */
    int64_t count;                            /* elements */
    int64_t offset;                           /* in the block of values, in floats */
    int64_t bf16_offset;                      /* of its bf16 copy among those; -1 where it has none */
    int64_t grad_offset;                      /* in the blocks of gradients and moments; -1 where frozen */
    mla_packed packed[MLA_PACKED_DIRECTIONS]; /* of a matrix: see autograd/packed_weight.h */
} mla_param;

/* The registry owns all names, tensors and blocks. Only error: MLA_ERROR_MEMORY. */
mla_status mla_params_create(mla_context *context, mla_params **out);
void mla_params_destroy(mla_params *params);

/* Adds a parameter and returns its tensor, whose address stays. NULL after an error (a name that is taken, an
 * impossible shape, no memory, after mla_params_allocate). */
mla_tensor *mla_params_add(mla_params *params, const mla_param_spec *spec);

/* Freezes all parameters that are there so far; before mla_params_allocate (MLA_ERROR_ARGUMENT, in the context). */
void mla_params_freeze(mla_params *params);

/* Keeps in bf16, and in nothing else, what is frozen and takes_bf16: for training in steps of bf16 alone, in a third
 * of the memory. Before mla_params_allocate (MLA_ERROR_ARGUMENT, in the context). */
void mla_params_keep_bf16(mla_params *params);

/* Lays out the blocks. Without `gradients` only values are allocated (inference). */
mla_status mla_params_allocate(mla_params *params, bool gradients);
/* As above, but offsets only: for a run on shapes alone. */
void mla_params_lay_out(mla_params *params);

/* Sets every value from seed and name: independent of order, threads and ranks. */
void mla_params_initialise(mla_params *params, uint64_t seed);

/* Forgets all gradients; the next backward pass sets them. Nothing is filled. */
void mla_params_clear_gradients(mla_params *params);

const mla_context *mla_params_context(const mla_params *params); /* that it was made with */
int64_t mla_params_count(const mla_params *params);              /* parameters, that is named tensors */
mla_param *mla_params_at(const mla_params *params, int64_t i);
mla_param *mla_params_find(const mla_params *params, const char *name); /* NULL where there is none */

/* The blocks, and their length in floats (gaps included). Gradients: NULL where none were allocated. */
float *mla_params_values(const mla_params *params);
float *mla_params_gradients(const mla_params *params);
int64_t mla_params_values_length(const mla_params *params);
int64_t mla_params_gradients_length(const mla_params *params);
/* The sum of all elements, or of the trainable ones. */
int64_t mla_params_elements(const mla_params *params, bool trainable_only);

/* bf16 copies of all f32 parameters of two or more dimensions, for products in bf16: made at the first call, and
 * again where values changed since. MLA_ERROR_MEMORY. */
mla_status mla_params_refresh_bf16(mla_params *params);
int64_t mla_params_bf16_length(const mla_params *params); /* elements, gaps included */

/* Raised when values change: copies in another form know that they are stale. */
uint64_t mla_params_version(const mla_params *params);
void mla_params_changed(mla_params *params);
/* The same by the optimizer, which leaves frozen ones as they are. */
void mla_params_stepped(mla_params *params);

#endif
