#include "data/text/synthetic.h"

#include "autograd/base/random.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

struct mla_synthetic {
    int64_t vocabulary, states; /* a state is the last `order` tokens as digits, the latest lowest */
    int order;
    double sharpness, entropy;
    uint64_t seed;
    double *chances;    /* (states, vocabulary): p(x | s) */
    double *stationary; /* (states) */
};

static const double *row(const mla_synthetic *s, int64_t state) { return s->chances + state * s->vocabulary; }

static int64_t next_state(const mla_synthetic *s, int64_t state, int64_t token) {
    return (state * s->vocabulary + token) % s->states;
}

static void softmax(int64_t count, const float *logits, double scale, double *out) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += out[i] = exp(scale * (double)logits[i]);
    for (int64_t i = 0; i < count; i++) out[i] /= sum;
}

static mla_status set_chances(mla_context *context, mla_synthetic *s) {
    float *noise = mla_alloc(context, s->vocabulary, sizeof *noise, "synthetic text");
    if (!noise) return MLA_ERROR_MEMORY;
    for (int64_t state = 0; state < s->states; state++) {
        mla_stream stream = mla_random_stream(s->seed, "synthetic chances", (uint64_t)state, 0, 0);
        mla_random_normal(stream, 0, s->vocabulary, noise);
        softmax(s->vocabulary, noise, s->sharpness, s->chances + state * s->vocabulary);
    }
    free(noise);
    return MLA_OK;
}

/* to = from P */
static void synthetic_step(const mla_synthetic *s, const double *from, double *to) {
    for (int64_t state = 0; state < s->states; state++) to[state] = 0;
    for (int64_t state = 0; state < s->states; state++)
        for (int64_t token = 0; token < s->vocabulary; token++)
            to[next_state(s, state, token)] += from[state] * row(s, state)[token];
}

/* All chances are above zero, so the powers of P converge; two steps a round, until nothing moves. */
static mla_status set_stationary(mla_context *context, mla_synthetic *s) {
    double *other = mla_alloc(context, s->states, sizeof *other, "synthetic text"), moved = 1;
    if (!other) return MLA_ERROR_MEMORY;
    for (int64_t state = 0; state < s->states; state++) s->stationary[state] = 1 / (double)s->states;
    for (int round = 0; round < 10000 && moved > 1e-14; round++) {
        synthetic_step(s, s->stationary, other);
        synthetic_step(s, other, s->stationary);
        moved = 0;
        for (int64_t state = 0; state < s->states; state++) moved += fabs(s->stationary[state] - other[state]);
    }
    free(other);
    return MLA_OK;
}

static double entropy_rate(const mla_synthetic *s) {
    double sum = 0;
    for (int64_t state = 0; state < s->states; state++)
        for (int64_t token = 0; token < s->vocabulary; token++) {
            double p = row(s, state)[token];
            sum -= s->stationary[state] * p * log(p);
        }
    return sum;
}

static mla_status check_options(mla_context *context, const mla_synthetic *s) {
    int64_t limit = 1 << 26;
    if (s->order < 1 || s->order > 2)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "synthetic text of order %d: it can be 1 or 2", s->order);
    for (int i = 0; i <= s->order && s->vocabulary > 0; i++) limit /= s->vocabulary;
    if (s->vocabulary < 2 || limit < 1)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "synthetic text of order %d with a vocabulary of %" PRId64 ": it can be from 2 to %d", s->order,
                        s->vocabulary, s->order == 1 ? 8192 : 406);
    if (!(s->sharpness > 0 && s->sharpness <= 8))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "synthetic text of sharpness %g: it can be up to 8", s->sharpness);
    return MLA_OK;
}

mla_status mla_synthetic_create(mla_context *context, mla_synthetic **out, const mla_synthetic_options *options) {
    *out = NULL;
    mla_synthetic *s = mla_alloc(context, 1, sizeof *s, "synthetic text");
    if (!s) return MLA_ERROR_MEMORY;
    *s = (mla_synthetic){.vocabulary = options->vocabulary ? options->vocabulary : 32,
                         .order = options->order ? options->order : 1,
                         .sharpness = options->sharpness != 0 ? options->sharpness : 2,
                         .seed = options->seed};
    mla_status status = check_options(context, s);
    if (status) goto done;
    s->states = s->order == 1 ? s->vocabulary : s->vocabulary * s->vocabulary;
    s->chances = mla_alloc(context, s->states * s->vocabulary, sizeof *s->chances, "synthetic text");
    s->stationary = mla_alloc(context, s->states, sizeof *s->stationary, "synthetic text");
    if (!s->chances || !s->stationary) status = MLA_ERROR_MEMORY;
    if (!status) status = set_chances(context, s);
    if (!status) status = set_stationary(context, s);
    if (!status) s->entropy = entropy_rate(s);
done:
    if (status) mla_synthetic_destroy(s);
    else *out = s;
    return status;
}

void mla_synthetic_destroy(mla_synthetic *s) {
    if (!s) return;
    free(s->chances);
    free(s->stationary);
    free(s);
}

int64_t mla_synthetic_vocabulary(const mla_synthetic *s) { return s->vocabulary; }
double mla_synthetic_entropy(const mla_synthetic *s) { return s->entropy; }

/* Uniform in [0, 1), 53 bits. */
static double uniform(mla_stream stream, uint64_t index) {
    uint32_t bits[4];
    mla_random_bits(stream, index, bits);
    return (double)(((uint64_t)bits[0] << 32 | bits[1]) >> 11) * 0x1p-53;
}

/* The first index at which the running sum of the chances exceeds u. */
static int64_t synthetic_draw(int64_t count, const double *chances, double u) {
    int64_t i = 0;
    for (double sum = chances[0]; i < count - 1 && sum <= u;) sum += chances[++i];
    return i;
}

void mla_synthetic_generate(const mla_synthetic *s, uint64_t part, int64_t count, int32_t *out) {
    mla_stream stream = mla_random_stream(s->seed, "synthetic text", part, 0, 0);
    int64_t state = synthetic_draw(s->states, s->stationary, uniform(stream, 0));
    for (int64_t i = 0; i < count; i++) {
        int64_t token = synthetic_draw(s->vocabulary, row(s, state), uniform(stream, (uint64_t)i + 1));
        state = next_state(s, state, token);
        out[i] = (int32_t)token;
    }
}

double mla_synthetic_loss(const mla_synthetic *s, int64_t count, const int32_t *tokens) {
    double sum = 0;
    int64_t state = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i >= s->order) sum -= log(row(s, state)[tokens[i]]);
        state = next_state(s, state, tokens[i]);
    }
    return sum / (double)(count - s->order);
}
