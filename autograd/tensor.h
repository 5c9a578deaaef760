/* Tensors: row-major, one to four dimensions, owned by the tape or the parameter registry that made them.
 *
 * The last dimension is the width, everything before it the rows: most ops work row by row. Shape letters:
 * B batch, T position, D model width, H heads, N head width without position, R rotary width, V value width
 * (or vocabulary, beside a D), C latent rank, F feed-forward width. */
#ifndef MLA_AUTOGRAD_TENSOR_H
#define MLA_AUTOGRAD_TENSOR_H

#include "autograd/base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MLA_MAX_DIMS = 4 };

typedef struct mla_buffer mla_buffer; /* memory of the step's pool, see autograd/pool.h */
typedef struct mla_packed mla_packed; /* see autograd/packed_weight.h */

typedef struct mla_tensor {
    mla_dtype dtype;
    int ndim;
    int64_t shape[MLA_MAX_DIMS];
    const char *name;           /* of parameters and inputs; NULL for results of ops */
    void *data;                 /* NULL in a run on shapes alone */
    const void *bf16;           /* of f32 parameters: a bf16 copy for matrix products, or NULL */
    uint64_t bf16_version;      /* another one when that copy, or bf16 data, was made anew */
    mla_packed *packed;         /* of matrices among the parameters: two packed copies of it, one for each direction */
    void *grad;                 /* f32 or bf16 like data; read it only where has_grad */
    bool is_parameter;          /* data and grad are in the registry's flat blocks */
    bool needs_grad;            /* a gradient flows to it */
    bool has_grad;              /* some gradient has been written: the next one is added */
    bool kept;                  /* lives on after its scopes: mla_scope_keep */
    bool out_of_scope;          /* its scope was closed: only the backward pass may still read it */
    const char *overwritten_by; /* the op whose result took its memory; NULL: none */
    bool walked;                /* the op that made it: no gradient flows further back any more */
    bool is_final;              /* of parameters: its gradient was called final, and no op has taken it since */
    int uses;                   /* recorded ops that still owe it a gradient */
    mla_buffer *value_buffer, *grad_buffer; /* the pool's memory behind data and grad; NULL where not the pool's */
} mla_tensor;

/* Elements, width (last dimension), rows (elements / width), size in bytes. */
int64_t mla_count(const mla_tensor *x);
int64_t mla_width(const mla_tensor *x);
int64_t mla_rows(const mla_tensor *x);
int64_t mla_size(const mla_tensor *x);
bool mla_same_shape(const mla_tensor *a, const mla_tensor *b);

/* Whether b is a single row of f32 as wide as x. */
bool mla_is_row_of(const mla_tensor *b, const mla_tensor *x);

/* "(4,128,512) f32"; the text is written to and returned in `text`. */
enum { MLA_SHAPE_TEXT = 112 };
const char *mla_shape_text(const mla_tensor *x, char text[MLA_SHAPE_TEXT]);

/* The number of elements of a shape, or -1 where a dimension is below 1 or the bytes would overflow. */
int64_t mla_shape_count(int ndim, const int64_t *shape);

/* A row of an f32 tensor's data: x->data + i * width. */
static inline float *mla_row(const mla_tensor *x, int64_t i) { return (float *)x->data + i * x->shape[x->ndim - 1]; }

#endif
