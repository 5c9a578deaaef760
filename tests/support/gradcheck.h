/* Gradient checks: the gradients of a graph against differences of its values.
 *
 * For each input, along random directions d with elements of variance 1, g.d must equal the derivative of
 *     L(x) = sum over i of w_i y_i(x),    w random, the sum in double precision,
 * by central differences of fourth order. Inputs and steps are multiples of 2^-12, so x + hd has no rounding.
 * The two signed numbers may differ by tolerance * |g|, the deviation of g.d over all directions.
 *
 * Then each way in which a backward pass may be asked for gradients must give the same ones: each subset of
 * the inputs alone (SKIP), an input that has a gradient already (ADD), and a second pass over parameters. */
#ifndef MLA_TESTS_SUPPORT_GRADCHECK_H
#define MLA_TESTS_SUPPORT_GRADCHECK_H

#include "autograd/ops.h"
#include "tests/support/check.h"

enum { GRADCHECK_INPUTS = 4, GRADCHECK_WORDS = 256 };

/* Makes the tensor that is checked from the inputs; called many times, always with the same step. */
typedef mla_tensor *(*gradcheck_build)(mla_tape *tape, mla_tensor *const *in, const void *user);

typedef struct {
    int ndim;
    int64_t shape[MLA_MAX_DIMS];
    float low, high; /* values are uniform in between; both 0: -1 to 1 */
    float hole;      /* values nearer to 0 than this are moved away from it (a kink is there) */
} gradcheck_input;

typedef struct {
    gradcheck_build build;
    const void *user;
    gradcheck_input in[GRADCHECK_INPUTS]; /* ndim 0 ends the list */
    double tolerance;                     /* 0: 1e-4 */
    float step;                           /* h, a multiple of 2^-8; 0: 2^-5 */
} gradcheck;

/* Whether all gradients are right; if not, `why` tells the first that is wrong. */
bool gradients_are_right(mla_context *context, const gradcheck *check, char why[GRADCHECK_WORDS]);

/* Fails the test where they are not: check_gradients(context, build, user, {{2, {rows, width}}, {1, {width}}}). */
#define check_gradients(context, ...) check_gradients_at((context), &(gradcheck){__VA_ARGS__}, __FILE__, __LINE__)
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
void check_gradients_at(mla_context *context, const gradcheck *check, const char *file, int line);

/* Whether this program has found the gradients of an op right: of a check's result, not of what lies before it. */
bool gradcheck_has_seen(const char *op);

/* For the checks. The op that was recorded last, if it is the one that made y; NULL: another. */
const char *gradcheck_op_of(const mla_tape *tape, const mla_tensor *y);
/* Its gradients have been found right; op may be NULL. */
void gradcheck_note(const char *op);

#endif
