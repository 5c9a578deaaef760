#include "train/hugging_face/families/rotary_rows.h"
#include "layers/attention/multi_head_attention.h"

#include <stdlib.h>
#include <string.h>

bool mla_rotary_order_differs(const mla_model_config *c) {
    return c->attention == &mla_multi_head_kind && c->position == MLA_POSITION_ROPE && c->rope_interleave;
}

bool mla_rotary_rows_differ(const mla_model_config *c, const char *name) {
    static const char *const rotated[] = {".q_proj.", ".k_proj.", ".q_norm.", ".k_norm."};
    for (int i = 0; i < 4 && mla_rotary_order_differs(c); i++)
        if (strstr(name, rotated[i])) return true;
    return false;
}

mla_status mla_rotary_rows_reorder(mla_context *context, int64_t head, int64_t rows, int64_t width,
                                   mla_rotary_direction direction, float *values) {
    const int64_t half = head / 2;
    const bool to_halves = direction == MLA_TO_HALVES;
    float *old = mla_alloc(context, head * width, sizeof *old, "a head's rows");
    for (int64_t first = 0; old && first + head <= rows; first += head) {
        float *now = values + first * width;
        memcpy(old, now, (size_t)(head * width) * sizeof *old);
        for (int64_t i = 0; i < head; i++) {
            const int64_t pair = i % 2 * half + i / 2; /* where row i of neighbours is among halves */
            memcpy(now + (to_halves ? pair : i) * width, old + (to_halves ? i : pair) * width,
                   (size_t)width * sizeof *old);
        }
    }
    free(old);
    return old ? MLA_OK : MLA_ERROR_MEMORY;
}
