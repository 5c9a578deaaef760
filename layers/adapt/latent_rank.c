#include "layers/adapt/latent_rank.h"
#include "autograd/base/random.h"
#include "autograd/kernels/gemm.h"
#include "layers/adapt/orthogonal_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

mla_latent_layer *mla_latent_layer_at(const mla_decoder *model, int64_t i) {
    return model->config.attention == &mla_latent_kind ? model->blocks[i].attention : NULL;
}

enum { CHUNK = 1024 };
static const double small = 1e-8, ridge = 1e-3; /* of the mean of a diagonal */

static const float *data(const mla_tensor *x) { return x->data; }

/* ---- matrices in double precision; n by n unless said otherwise ---- */

static double *create(mla_context *context, int64_t rows, int64_t columns) {
    return mla_alloc(context, rows * columns, sizeof(double), "a latent's moments");
}

/* out (m,n) = a (m,k) times b (k,n), or b (n,k) transposed */
static void latent_rank_multiply(const mla_context *context, int64_t m, int64_t n, int64_t k, const double *a,
                                 const double *b, bool transposed, double *out) {
    const int64_t step = transposed ? k : 1, next = transposed ? 1 : n;
    #pragma omp parallel for num_threads(mla_context_threads(context))
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) out[i * n + j] = 0;
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = 0; j < n; j++) out[i * n + j] += a[i * k + l] * b[l * next + j * step];
    }
}

/* The same in f32, for weights and samples. */
static mla_status multiply_f32(mla_context *context, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                               bool transposed, float *out) {
    mla_gemm_now(context, &(mla_gemm_shape){.m = m, .n = n, .k = k, .b_transposed = transposed}, a, b, out, NULL);
    return mla_error_status(context);
}

static float *narrow(mla_context *context, int64_t count, const double *a) {
    float *out = mla_alloc(context, count, sizeof *out, "a latent's map");
    for (int64_t i = 0; i < count && out; i++) out[i] = (float)a[i];
    return out;
}

/* Adds a share of the mean of the diagonal to it. */
static void lift(int64_t n, double *a, double share) {
    double trace = 0;
    for (int64_t i = 0; i < n; i++) trace += a[i * n + i];
    for (int64_t i = 0; i < n; i++) a[i * n + i] += trace > 0 ? share * trace / (double)n : 1;
}

/* Positive definite a = L Lᵀ, in its lower half. */
static void factorise(int64_t n, double *a) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = a[i * n + j];
            for (int64_t k = 0; k < j; k++) sum -= a[i * n + k] * a[j * n + k];
            a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
        }
}

/* x = x (L Lᵀ)⁻¹, one row. */
static void solve(int64_t n, const double *l, double *x) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++) x[i] -= l[i * n + k] * x[k];
        x[i] /= l[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t k = i + 1; k < n; k++) x[i] -= l[k * n + i] * x[k];
        x[i] /= l[i * n + i];
    }
}

/* Takes from a row what it has of those before it, twice, for what rounding leaves; false where nothing is
 * left. */
static bool orthonormalise(int64_t n, double *rows, int64_t i) {
    double *row = rows + i * n;
    const double before = mla_row_length(n, row);
    for (int64_t p = 0; p < 2 * i; p++) {
        const double *other = rows + p % i * n;
        double part = 0;
        for (int64_t j = 0; j < n; j++) part += row[j] * other[j];
        for (int64_t j = 0; j < n; j++) row[j] -= part * other[j];
    }
    const double length = mla_row_length(n, row);
    if (!(length > 1e-9 * before)) return false;
    for (int64_t j = 0; j < n; j++) row[j] /= length;
    return true;
}

/* A row with nothing of its own becomes the first unit vector that has. */
static void orthonormalise_all(int64_t n, double *rows) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t unit = 0; !orthonormalise(n, rows, i); unit++)
            for (int64_t j = 0; j < n; j++) rows[i * n + j] = j == unit;
}

/* ---- the sample ---- */

/* out (n,m) += aᵀ b over `count` rows: a (count,n), b (count,m) */
static mla_status add_products(mla_context *context, int64_t count, int64_t n, const float *a, int64_t m,
                               const float *b, double *out) {
    float *part = mla_alloc(context, n * m, sizeof *part, "a latent's moments");
    if (!part) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < count && !mla_error_status(context); i += CHUNK) {
        const int64_t rows = count - i < CHUNK ? count - i : CHUNK;
        mla_gemm_now(context, &(mla_gemm_shape){.m = n, .n = m, .k = rows, .a_transposed = true}, a + i * n, b + i * m,
                     part, NULL);
        for (int64_t j = 0; j < n * m; j++) out[j] += (double)part[j];
    }
    free(part);
    return mla_error_status(context);
}

mla_status mla_latent_sample_create(mla_context *context, mla_latent_sample *out, int64_t rank, int64_t capacity) {
    *out = (mla_latent_sample){.rank = rank, .capacity = capacity};
    out->h = mla_alloc(context, capacity, (size_t)rank * sizeof *out->h, "the latents of the calibration text");
    out->weight = create(context, rank, rank);
    return out->h && out->weight ? MLA_OK : MLA_ERROR_MEMORY;
}

void mla_latent_sample_free(mla_latent_sample *sample) {
    free(sample->h);
    free(sample->weight);
    *sample = (mla_latent_sample){0};
}

void mla_latent_sample_add(mla_latent_sample *sample, int64_t count, const float *h) {
    memcpy(sample->h + sample->count * sample->rank, h, (size_t)(count * sample->rank) * sizeof *h);
    sample->count += count;
}

mla_status mla_latent_sample_add_gradients(mla_context *context, mla_latent_sample *sample, int64_t count,
                                           const float *g) {
    return add_products(context, count, sample->rank, g, sample->rank, g, sample->weight);
}

/* ---- directions ---- */

void mla_latent_directions_free(mla_latent_directions *d) {
    free(d->kept);
    *d = (mla_latent_directions){0};
}

/* S becomes Lᵀ, from its eigenvalues and eigenvectors, and inverse L⁻¹. */
static void take_root(int64_t n, double *s, double *inverse) {
    mla_orthogonal_rows(n, n, s);
    for (int64_t i = 0; i < n; i++) {
        const double value = mla_row_length(n, s + i * n);
        for (int64_t j = i * n; j < (i + 1) * n; j++) {
            s[j] /= sqrt(value);
            inverse[j] = s[j] / value;
        }
    }
}

/* From S and G, both by u, which are used up. work (n,n). */
static void latent_rank_find(const mla_context *context, int64_t n, double *s, double *g, double *work,
                             const mla_latent_directions *out) {
    lift(n, s, small);
    lift(n, g, small);
    take_root(n, s, work);
    latent_rank_multiply(context, n, n, n, s, g, false, out->turn);
    latent_rank_multiply(context, n, n, n, out->turn, s, true, g); /* Lᵀ G L */
    mla_orthogonal_rows(n, n, g);
    for (int64_t i = 0; i < n; i++) out->cost[i] = mla_row_length(n, g + i * n);
    orthonormalise_all(n, g); /* Wᵀ */
    latent_rank_multiply(context, n, n, n, g, work, false, out->kept);
    latent_rank_multiply(context, n, n, n, g, s, false, work); /* (L W)ᵀ */
    memcpy(out->basis, work, (size_t)(n * n) * sizeof *work);
    orthonormalise_all(n, out->basis);
    latent_rank_multiply(context, n, n, n, out->basis, work, true, out->turn);
}

static double gain(const mla_latent_layer *layer, int64_t i) {
    return layer->kv_a_norm.gain ? (double)data(layer->kv_a_norm.gain)[i] : 1;
}

/* In place: h (count,n) becomes u = h / rms(h), without a norm h itself. */
static void normalise(const mla_context *context, const mla_norm *norm, int64_t count, int64_t n, float *h) {
    #pragma omp parallel for num_threads(mla_context_threads(context))
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int64_t j = 0; j < n; j++) sum += (double)h[i * n + j] * (double)h[i * n + j];
        const double rms = norm->gain ? sqrt(sum / (double)n + (double)norm->eps) : 1;
        for (int64_t j = 0; j < n; j++) h[i * n + j] = (float)((double)h[i * n + j] / rms);
    }
}

static float *normalised(mla_context *context, const mla_latent_layer *layer, const mla_latent_sample *sample) {
    float *u = mla_alloc(context, sample->count * sample->rank, sizeof *u, "latents");
    if (!u) return NULL;
    memcpy(u, sample->h, (size_t)(sample->count * sample->rank) * sizeof *u);
    normalise(context, &layer->kv_a_norm, sample->count, sample->rank, u);
    return u;
}

static mla_status begin(mla_context *context, int64_t n, double **work, mla_latent_directions *out) {
    double *all = out->kept = create(context, 3 * n + 1, n);
    *work = create(context, 3 * n, n);
    if (!all || !*work) return MLA_ERROR_MEMORY;
    out->basis = all + n * n;
    out->turn = all + 2 * n * n;
    out->cost = all + 3 * n * n;
    return MLA_OK;
}

mla_status mla_latent_directions_measure(mla_context *context, const mla_latent_layer *layer,
                                         const mla_latent_sample *sample, mla_latent_directions *out) {
    const int64_t n = sample->rank;
    double *s;
    mla_status status = begin(context, n, &s, out);
    float *u = status ? NULL : normalised(context, layer, sample);
    if (!status) status = u ? add_products(context, sample->count, n, u, n, u, s) : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < n * n && !status; i++) {
        s[i] /= (double)sample->count;
        s[n * n + i] = gain(layer, i / n) * sample->weight[i] / (double)sample->count * gain(layer, i % n);
    }
    if (!status) latent_rank_find(context, n, s, s + n * n, s + 2 * n * n, out);
    free(u);
    free(s);
    return status;
}

mla_status mla_latent_directions_weights(mla_context *context, const mla_latent_layer *layer,
                                         mla_latent_directions *out) {
    const mla_tensor *kv_a = layer->kv_a_proj.weight, *kv_b = layer->kv_b_proj.weight;
    const int64_t n = layer->rank;
    double *s;
    mla_status status = begin(context, n, &s, out);
    float *part = mla_alloc(context, n * n, sizeof *part, "a latent's moments");
    if (!status)
        status = part ? multiply_f32(context, n, n, kv_a->shape[1], data(kv_a), data(kv_a), true, part)
                      : MLA_ERROR_MEMORY;
    if (!status) status = add_products(context, kv_b->shape[0], n, data(kv_b), n, data(kv_b), s + n * n);
    for (int64_t i = 0; i < n * n && !status; i++) {
        s[i] = (double)part[i];
        s[n * n + i] *= gain(layer, i / n) * gain(layer, i % n);
    }
    if (!status) latent_rank_find(context, n, s, s + n * n, s + 2 * n * n, out);
    free(part);
    free(s);
    return status;
}

/* ---- another rank ---- */

/* The rows of kv_a (or, with a width of 1, its bias) behind those of the latent: the rotary key's. */
static void copy_rotary(const mla_tensor *from, const mla_tensor *to, int64_t width, int64_t from_rank,
                        int64_t to_rank) {
    memcpy((float *)to->data + to_rank * width, data(from) + from_rank * width,
           (size_t)(mla_count(from) - from_rank * width) * sizeof(float));
}

/* A map (r,C) of those of the latent. */
static mla_status map_rows(mla_context *context, const mla_tensor *from, const mla_tensor *to, int64_t n, int64_t r,
                           const float *map) {
    const int64_t width = mla_count(from) / from->shape[0];
    copy_rotary(from, to, width, n, r);
    return multiply_f32(context, r, width, n, map, data(from), false, to->data);
}

/* Those of the latent, times a factor, and then rows of zeros. */
static void lengthen_rows(const mla_tensor *from, const mla_tensor *to, int64_t n, int64_t r, double factor) {
    const int64_t width = mla_count(from) / from->shape[0];
    float *out = to->data;
    for (int64_t i = 0; i < r * width; i++) out[i] = i < n * width ? (float)(factor * (double)data(from)[i]) : 0;
    copy_rotary(from, to, width, n, r);
}

static void grow(const mla_latent_layer *from, const mla_latent_layer *to) {
    const int64_t n = from->rank, r = to->rank;
    const double factor = from->kv_a_norm.gain ? sqrt((double)r / (double)n) : 1;
    float *kv_b = to->kv_b_proj.weight->data;
    lengthen_rows(from->kv_a_proj.weight, to->kv_a_proj.weight, n, r, factor);
    if (from->kv_a_proj.bias) lengthen_rows(from->kv_a_proj.bias, to->kv_a_proj.bias, n, r, factor);
    for (int64_t i = 0; i < r && to->kv_a_norm.gain; i++)
        ((float *)to->kv_a_norm.gain->data)[i] = i < n ? (float)(gain(from, i) / factor) : 1;
    for (int64_t i = 0; i < from->kv_b_proj.weight->shape[0]; i++) {
        mla_random_normal(mla_random_stream(1, "another rank", (uint64_t)n, (uint64_t)i, 0), 0, r - n,
                          kv_b + i * r + n);
        for (int64_t j = n; j < r; j++) kv_b[i * r + j] *= (float)from->config->initializer_range;
        memcpy(kv_b + i * r, data(from->kv_b_proj.weight) + i * n, (size_t)n * sizeof *kv_b);
    }
}

/* What the new layer makes of the sample: u' (count,r) = norm(map h). */
static float *new_latents(mla_context *context, const mla_latent_layer *to, const mla_latent_sample *sample,
                          const float *map) {
    float *u = mla_alloc(context, sample->count * to->rank, sizeof *u, "latents");
    if (!u) return NULL;
    if (multiply_f32(context, sample->count, to->rank, sample->rank, sample->h, map, true, u)) {
        free(u);
        return NULL;
    }
    normalise(context, &to->kv_a_norm, sample->count, to->rank, u);
    return u;
}

/* back (C,r), with which u is about back u', made better: back + (E[u u'ᵀ] - back E[u' u'ᵀ]) E[u' u'ᵀ]⁻¹. The
 * ridge draws to the old one where the sample says little. */
static mla_status fit(mla_context *context, const mla_latent_layer *from, const mla_latent_layer *to,
                      const mla_latent_sample *sample, const float *map, double *back) {
    const int64_t n = from->rank, r = to->rank;
    float *u = normalised(context, from, sample), *v = new_latents(context, to, sample, map);
    double *cross = create(context, n, r), *own = create(context, r, r), *part = create(context, n, r);
    mla_status status = u && v && cross && own && part ? MLA_OK : mla_error_status(context);
    if (!status) status = add_products(context, sample->count, n, u, r, v, cross);
    if (!status) status = add_products(context, sample->count, r, v, r, v, own);
    if (!status) {
        latent_rank_multiply(context, n, r, r, back, own, false, part);
        lift(r, own, ridge);
        factorise(r, own);
        for (int64_t i = 0; i < n * r; i++) cross[i] -= part[i];
        for (int64_t i = 0; i < n; i++) solve(r, own, cross + i * r);
        for (int64_t i = 0; i < n * r; i++) back[i] += cross[i];
    }
    free(u), free(v), free(cross), free(own), free(part);
    return status;
}

/* map (r,C): h to what the new norm gets; back (C,r): its latents to about u. */
static void make_maps(const mla_latent_layer *from, const mla_latent_layer *to, const mla_latent_directions *d,
                      double *map, double *back) {
    const int64_t n = from->rank, r = to->rank;
    const double factor = from->kv_a_norm.gain ? sqrt((double)r / (double)n) : 1;
    for (int64_t i = 0; i < r; i++)
        for (int64_t j = 0; j < n; j++) {
            for (int64_t k = i; k < r; k++) map[i * n + j] += factor * d->turn[i * n + k] * d->kept[k * n + j];
            back[j * r + i] = d->basis[i * n + j] / factor;
        }
}

/* kv_b' = kv_b gain back */
static mla_status map_columns(mla_context *context, const mla_latent_layer *from, const mla_latent_layer *to,
                              double *back) {
    const mla_tensor *kv_b = from->kv_b_proj.weight;
    const int64_t n = from->rank, r = to->rank;
    for (int64_t i = 0; i < n * r; i++) back[i] *= gain(from, i / r);
    float *all = narrow(context, n * r, back);
    const mla_status status = all ? multiply_f32(context, kv_b->shape[0], r, n, data(kv_b), all, false,
                                                 to->kv_b_proj.weight->data)
                                  : MLA_ERROR_MEMORY;
    free(all);
    return status;
}

static mla_status shrink(mla_context *context, const mla_latent_layer *from, const mla_latent_directions *directions,
                         const mla_latent_sample *sample, const mla_latent_layer *to) {
    const mla_linear_layer *old = &from->kv_a_proj, *new = &to->kv_a_proj;
    const int64_t n = from->rank, r = to->rank;
    double *exact = create(context, 2 * r, n), *back = exact ? exact + r * n : NULL;
    if (exact) make_maps(from, to, directions, exact, back);
    float *map = exact ? narrow(context, r * n, exact) : NULL;
    mla_status status = map ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status && sample) status = fit(context, from, to, sample, map, back);
    if (!status) status = map_rows(context, old->weight, new->weight, n, r, map);
    if (!status && old->bias) status = map_rows(context, old->bias, new->bias, n, r, map);
    if (!status) status = map_columns(context, from, to, back);
    for (int64_t i = 0; i < r && to->kv_a_norm.gain; i++) ((float *)to->kv_a_norm.gain->data)[i] = 1;
    free(exact);
    free(map);
    return status;
}

mla_status mla_latent_layer_resize(mla_context *context, const mla_latent_layer *from,
                                   const mla_latent_directions *directions, const mla_latent_sample *sample,
                                   const mla_latent_layer *to) {
    if (to->rank < from->rank) return shrink(context, from, directions, sample, to);
    grow(from, to);
    return MLA_OK;
}
