#include "layers/parts/rope.h"

#include <math.h>
#include <stdlib.h>

double mla_yarn_mscale(double factor, double k) { return factor > 1 ? 0.1 * k * log(factor) + 1 : 1; }

/* The dimension whose wave turns `turns` times over the original context. */
static double dimension_of_turns(const mla_rope_options *o, double turns) {
    const double original = (double)o->scaling.original_max_position_embeddings;
    return (double)o->rotary * log(original / (turns * 2 * M_PI)) / (2 * log(o->theta));
}

/* YaRN: dimensions that turn often keep their frequency, those that turn seldom are interpolated. */
static double yarn_frequency(const mla_rope_options *o, int64_t i, double frequency) {
    const double low = fmax(floor(dimension_of_turns(o, o->scaling.beta_fast)), 0);
    double high = fmin(ceil(dimension_of_turns(o, o->scaling.beta_slow)), (double)o->rotary - 1);
    if (high == low) high += 0.001;
    const double interpolated = fmin(fmax(((double)i - low) / (high - low), 0), 1);
    return frequency / o->scaling.factor * interpolated + frequency * (1 - interpolated);
}

/* Llama 3: the same idea, with a ramp over the number of turns instead of the dimension. */
static double llama3_frequency(const mla_rope_scaling *s, double frequency) {
    const double turns = (double)s->original_max_position_embeddings * frequency / (2 * M_PI);
    const double kept = (turns - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor);
    const double share = fmin(fmax(kept, 0), 1);
    return frequency / s->factor * (1 - share) + frequency * share;
}

static double scaled_frequency(const mla_rope_options *o, int64_t i) {
    const double frequency = pow(o->theta, -2 * (double)i / (double)o->rotary);
    switch (o->scaling.type) {
    case MLA_ROPE_SCALING_YARN: return yarn_frequency(o, i, frequency);
    case MLA_ROPE_SCALING_LLAMA3: return llama3_frequency(&o->scaling, frequency);
    case MLA_ROPE_SCALING_NONE: break;
    }
    return frequency;
}

static double amplitude(const mla_rope_scaling *s) {
    if (s->type != MLA_ROPE_SCALING_YARN) return 1;
    if (s->attention_factor > 0) return s->attention_factor;
    if (s->mscale > 0 && s->mscale_all_dim > 0)
        return mla_yarn_mscale(s->factor, s->mscale) / mla_yarn_mscale(s->factor, s->mscale_all_dim);
    return mla_yarn_mscale(s->factor, 1);
}

double mla_rope_score_factor(const mla_rope_scaling *s) {
    const bool given = s->type == MLA_ROPE_SCALING_YARN && s->mscale_all_dim > 0;
    const double m = given ? mla_yarn_mscale(s->factor, s->mscale_all_dim) : 1;
    return m * m;
}

mla_status mla_rope_create(mla_context *context, mla_rope_table *out, const mla_rope_options *o) {
    const int64_t half = o->rotary / 2;
    const double scale = amplitude(&o->scaling);
    float *table = mla_alloc(context, o->positions, 2 * (size_t)half * sizeof *table, "the rotary table");
    *out = (mla_rope_table){0};
    if (!table) return MLA_ERROR_MEMORY;
    float *cosine = table, *sine = table + o->positions * half;
    for (int64_t i = 0; i < half; i++) {
        const double frequency = scaled_frequency(o, i);
        for (int64_t t = 0; t < o->positions; t++) {
            cosine[t * half + i] = (float)(cos((double)t * frequency) * scale);
            sine[t * half + i] = (float)(sin((double)t * frequency) * scale);
        }
    }
    *out = (mla_rope_table){o->positions, o->rotary, cosine, sine, o->interleaved};
    return MLA_OK;
}

void mla_rope_free(mla_rope_table *table) {
    free((float *)(uintptr_t)table->cosine);
    *table = (mla_rope_table){0};
}
