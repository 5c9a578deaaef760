/* The types of a tensor's elements. */
#ifndef MLA_AUTOGRAD_BASE_DTYPE_H
#define MLA_AUTOGRAD_BASE_DTYPE_H

#include <stddef.h>

typedef enum { MLA_F32, MLA_BF16, MLA_I32 } mla_dtype;

size_t mla_dtype_size(mla_dtype dtype);      /* bytes */
const char *mla_dtype_name(mla_dtype dtype); /* "f32", "bf16", "i32" */

#endif
