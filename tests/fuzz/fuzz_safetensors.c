/* Any bytes as a safetensors file: refused, or every tensor that is listed can be read. */
#include "data/formats/safetensors.h"

#include <stdlib.h>

static void read_all(mla_context *context, const mla_safetensors *file) {
    for (int64_t i = 0; i < mla_safetensors_count(file); i++) {
        const mla_safetensors_info *t = mla_safetensors_at(file, i);
        float *out = malloc((size_t)t->count * sizeof *out + 1);
        if (mla_safetensors_find(file, t->name) != t || !out) abort();
        if (mla_safetensors_read(file, t, out) && t->type != MLA_SAFETENSORS_OTHER) abort();
        mla_clear_error(context);
        free(out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mla_context *context;
    mla_safetensors *file;
    if (mla_context_create(&context, NULL)) return 0;
    const mla_status status = mla_safetensors_parse(context, &file, "input", data, (int64_t)size);
    if (status != mla_error_status(context) || (status != MLA_OK) != (file == NULL)) abort();
    if (file) read_all(context, file);
    mla_safetensors_close(file);
    mla_context_destroy(context);
    return 0;
}
