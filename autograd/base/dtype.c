#include "autograd/base/dtype.h"

size_t mla_dtype_size(mla_dtype dtype) { return dtype == MLA_BF16 ? 2 : 4; }

const char *mla_dtype_name(mla_dtype dtype) { return dtype == MLA_F32 ? "f32" : dtype == MLA_BF16 ? "bf16" : "i32"; }
