/* Gradient checks of layers, whose parameters stand in a registry: as gradcheck.h, for parameters.
 *
 * For each parameter, along random directions d, g.d must equal the derivative of
 *     L = sum over i of w_i y_i,    w random (1 where y is one element), the sum in double precision,
 * by central differences of fourth order. The two may differ by tolerance * |g|, or, where a parameter hardly
 * matters (the bias of keys does not), by tolerance * a twentieth of the norm of all gradients. Frozen parameters must
 * have got no gradient. */
#ifndef MLA_TESTS_SUPPORT_LAYERCHECK_H
#define MLA_TESTS_SUPPORT_LAYERCHECK_H

#include "autograd/params.h"
#include "tests/support/gradcheck.h"

typedef struct {
    mla_params *params; /* allocated and filled; unchanged afterwards */
    /* Applies the layer to an input that it makes itself; called many times, always with the same step. */
    mla_tensor *(*apply)(mla_tape *tape, const void *user);
    const void *user;
    double tolerance; /* 0: 5e-4 */
    float step;       /* h, a multiple of 2^-8; 0: 2^-8 */
} layercheck;

/* Whether the gradients of all parameters are right; if not, `why` tells the first that is wrong. */
bool layer_is_right(mla_context *context, const layercheck *check, char why[GRADCHECK_WORDS]);

/* Fills every parameter with multiples of 2^-12 that depend on its name: matrices and biases between -scale and
 * scale, gains (parameters that start at one) around one. */
void fill_layer(mla_params *params, float scale);

/* The same values for the same name and count, between -scale and scale. */
void fill_values(float *out, int64_t count, const char *name, float scale);

#endif
