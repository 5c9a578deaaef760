/* How fast a model decodes after a long context. */
#ifndef MLA_TRAIN_INFERENCE_DECODE_BENCH_H
#define MLA_TRAIN_INFERENCE_DECODE_BENCH_H

#include "layers/decoder.h"

typedef struct {
    double tokens_per_second; /* the median of the tokens */
    int64_t cache_bytes;      /* of the whole context, all layers */
} mla_decode_speed;

/* Decodes behind a cache that holds `length` positions of random numbers, with random weights: the time does not depend
 * on either. The models take turns, so that none has the machine's better minutes, until each has decoded
 * MLA_DECODE_TOKENS; the configurations must allow as many positions more than `length`. `out` has a place for each
 * model. Errors: of the models. */
enum { MLA_DECODE_TOKENS = 32 };
mla_status mla_measure_decode(mla_context *context, int count, const mla_model_config *const *configs, int64_t length,
                              mla_decode_speed *out);

#endif
