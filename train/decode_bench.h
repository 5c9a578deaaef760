/* How fast a model decodes behind a long context. */
#ifndef MLA_TRAIN_DECODE_BENCH_H
#define MLA_TRAIN_DECODE_BENCH_H

#include "layers/decoder.h"

typedef struct {
    double tokens_per_second; /* the median of the tokens */
    int64_t cache_bytes;      /* of the whole context, all layers */
} mla_decode_speed;

/* Decodes `tokens` tokens behind a cache that holds `length` positions of random numbers, with random weights: the
 * time does not depend on either. The configuration must allow length + tokens positions. Errors: of the model. */
mla_status mla_measure_decode(mla_context *context, const mla_model_config *config, int64_t length, int64_t tokens,
                              mla_decode_speed *out);

#endif
