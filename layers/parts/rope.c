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

static double scaled_frequency(const mla_rope_options *o, int64_t i, const mla_floats *factors) {
    const double frequency = pow(o->theta, -2 * (double)i / (double)o->rotary);
    switch (o->scaling.type) {
    case MLA_ROPE_SCALING_YARN: return yarn_frequency(o, i, frequency);
    case MLA_ROPE_SCALING_LLAMA3: return llama3_frequency(&o->scaling, frequency);
    case MLA_ROPE_SCALING_LINEAR: return frequency / o->scaling.factor;
    case MLA_ROPE_SCALING_LONGROPE: return frequency / factors->items[i];
    case MLA_ROPE_SCALING_NONE: break;
    }
    return frequency;
}

double mla_rope_frequency(const mla_rope_options *o, int64_t i) {
    return scaled_frequency(o, i, &o->scaling.short_factor);
}

static double yarn_amplitude(const mla_rope_scaling *s) {
    if (s->mscale > 0 && s->mscale_all_dim > 0)
        return mla_yarn_mscale(s->factor, s->mscale) / mla_yarn_mscale(s->factor, s->mscale_all_dim);
    return mla_yarn_mscale(s->factor, 1);
}

static double longrope_amplitude(const mla_rope_scaling *s) {
    return s->factor > 1 ? sqrt(1 + log(s->factor) / log((double)s->original_max_position_embeddings)) : 1;
}

double mla_rope_amplitude(const mla_rope_scaling *s) {
    if (s->type != MLA_ROPE_SCALING_YARN && s->type != MLA_ROPE_SCALING_LONGROPE) return 1;
    if (s->attention_factor > 0) return s->attention_factor;
    return s->type == MLA_ROPE_SCALING_YARN ? yarn_amplitude(s) : longrope_amplitude(s);
}

double mla_rope_score_factor(const mla_rope_scaling *s) {
    const bool given = s->type == MLA_ROPE_SCALING_YARN && s->mscale_all_dim > 0;
    const double m = given ? mla_yarn_mscale(s->factor, s->mscale_all_dim) : 1;
    return m * m;
}

/* Cosines and, behind them, sines: (positions, rotary/2) each. */
static float *make_table(mla_context *context, const mla_rope_options *o, int64_t positions,
                         const mla_floats *factors) {
    const int64_t half = o->rotary / 2;
    const double scale = mla_rope_amplitude(&o->scaling);
    float *cosine = mla_alloc(context, positions, 2 * (size_t)half * sizeof *cosine, "the rotary table"),
          *sine = cosine ? cosine + positions * half : NULL;
    for (int64_t i = 0; cosine && i < half; i++) {
        const double frequency = scaled_frequency(o, i, factors);
        for (int64_t t = 0; t < positions; t++) {
            cosine[t * half + i] = (float)(cos((double)t * frequency) * scale);
            sine[t * half + i] = (float)(sin((double)t * frequency) * scale);
        }
    }
    return cosine;
}

mla_status mla_rope_create(mla_context *context, mla_rope_table *out, const mla_rope_options *o) {
    const mla_rope_scaling *s = &o->scaling;
    const int64_t half = o->rotary / 2, original = s->original_max_position_embeddings;
    const bool two = s->type == MLA_ROPE_SCALING_LONGROPE && original < o->positions;
    const int64_t positions = two ? original : o->positions;
    float *table = make_table(context, o, positions, &s->short_factor),
          *longer = two && table ? make_table(context, o, o->positions, &s->long_factor) : NULL;
    *out = (mla_rope_table){.positions = o->positions, .rotary = o->rotary, .interleaved = o->interleaved};
    out->cosine = table;
    out->sine = table ? table + positions * half : NULL;
    if (two) out->original = original;
    out->long_cosine = longer;
    out->long_sine = longer ? longer + o->positions * half : NULL;
    return table && (longer || !two) ? MLA_OK : MLA_ERROR_MEMORY;
}

void mla_rope_free(mla_rope_table *table) {
    free((float *)(uintptr_t)table->cosine);
    free((float *)(uintptr_t)table->long_cosine);
    *table = (mla_rope_table){0};
}
