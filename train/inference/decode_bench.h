/* How fast a model decodes after a long context. */
#ifndef MLA_TRAIN_INFERENCE_DECODE_BENCH_H
#define MLA_TRAIN_INFERENCE_DECODE_BENCH_H

#include "layers/decoder.h"

/* What is measured. */
typedef struct {
    const mla_model_config *config;
    int64_t batch;              /* sequences at a time, 1 to MLA_MOST_SEQUENCES, each with a cache of its own */
    mla_dtype cache, precision; /* f32 or bf16 */
} mla_decode_case;

typedef struct {
    double tokens_per_second; /* of all sequences together, by the median of the steps */
    int64_t cache_bytes;      /* of the whole contexts, all layers */
} mla_decode_speed;

/* Decodes behind caches that hold `length` positions of random numbers, with random weights: the time does not depend
 * on either. The cases take turns, so that none has the machine's better minutes, until each has decoded
 * MLA_DECODE_TOKENS of each sequence; the configurations must allow as many positions more than `length`. `out` has a
 * place for each case. Errors: of the models. */
enum { MLA_DECODE_TOKENS = 32 };
mla_status mla_measure_decode(mla_context *context, int count, const mla_decode_case *cases, int64_t length,
                              mla_decode_speed *out);

#endif
