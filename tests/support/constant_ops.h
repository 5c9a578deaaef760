/* Ops that give no gradient. */
#ifndef MLA_TESTS_SUPPORT_CONSTANT_OPS_H
#define MLA_TESTS_SUPPORT_CONSTANT_OPS_H

#include "autograd/base/context.h"

#include <stdbool.h>

/* Whether the op of this name (mla_NAME) gives a constant of inputs that want a gradient, or refuses them. */
bool gives_no_gradient(mla_context *context, const char *op);

#endif
