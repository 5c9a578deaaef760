/* Text from a model: token after token, each drawn from what the model says after the ones before it. */
#ifndef MLA_TRAIN_INFERENCE_GENERATION_H
#define MLA_TRAIN_INFERENCE_GENERATION_H

#include "layers/decoder.h"
#include "train/inference/sampling.h"

/* How the model is asked. All three give the same logits, up to rounding. */
typedef enum {
    MLA_DECODE_ABSORBED, /* one position at a time from the cache; latent attention works on the latents */
    MLA_DECODE_EXPANDED, /* the same, but keys and values are expanded from the cached latents each time */
    MLA_DECODE_FULL      /* no cache: the whole text each time */
} mla_decode_form;

typedef enum {
    MLA_END_TOKENS,    /* as many tokens as were asked for */
    MLA_END_SEPARATOR, /* the model ended its document */
    MLA_END_POSITIONS  /* the model has no more positions (max_position_embeddings) */
} mla_generation_end;

struct mla_generation;

typedef struct {
    const int32_t *prompt;
    int64_t prompt_count;  /* at least 1, below max_position_embeddings */
    int64_t tokens;        /* how many new ones at most */
    int64_t vocabulary;    /* only ids below it are drawn; 0: all of the model's */
    const int32_t *ending; /* the id that ends the text, the separator; NULL: none does */
    mla_sampling sampling;
    mla_decode_form form;
    /* Called with each new token, and the logits (vocab_size) that it was drawn from; may be NULL. Any status
     * but MLA_OK ends the generation and is returned. */
    mla_status (*token)(void *user, int32_t id, const float *logits);
    /* Called when the text has ended, with its result; may be NULL, and the same holds of its status. */
    mla_status (*done)(void *user, const struct mla_generation *result);
    void *user;
} mla_generation_options;

typedef struct mla_generation {
    int64_t tokens; /* new ones; the ending is not counted */
    mla_generation_end end;
    double prompt_seconds; /* until the first logits */
    double seconds;        /* after that */
} mla_generation;

/* Generates with weights that are in place, in f32. MLA_ERROR_ARGUMENT for a prompt that is too long or
 * has ids that are not in the vocabulary, a sampling that is out of range, a model without a mask. */
mla_status mla_generate(mla_context *context, const mla_decoder *model, const mla_generation_options *options,
                        mla_generation *out);

/* How several prompts are worked on. */
typedef struct {
    int64_t batch;       /* at most so many at a time, 1 to MLA_MOST_SEQUENCES */
    mla_dtype cache;     /* what is cached, as f32 or bf16 (layers/attention/kv_cache.h) */
    mla_dtype precision; /* of the matrix products; logits are f32 */
} mla_generation_plan;

/* The same of `count` prompts, each with a cache of its own. A text does not depend on the others, but for rounding in
 * products of more rows; options.sampling.sequence tells their chances apart. Prompts begin in their order, texts end
 * in any. `out` has a place for each. Errors: as above, before anything is generated where an option is wrong. */
mla_status mla_generate_all(mla_context *context, const mla_decoder *model, int64_t count,
                            const mla_generation_options *options, const mla_generation_plan *plan,
                            mla_generation *out);

#endif
