#include "layers/adapt/latent_rank.h"
#include "autograd/base/random.h"
#include "autograd/kernels/gemm.h"
#include "layers/adapt/matrices.h"
#include "layers/adapt/neutral_norm.h"
#include "layers/adapt/orthogonal_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

mla_latent_layer *mla_latent_layer_at(const mla_decoder *model, int64_t i) {
    return model->config.attention == &mla_latent_kind ? model->blocks[i].attention : NULL;
}

static const double small = 1e-8, ridge = 1e-3; /* of the mean of a diagonal */

static const float *data(const mla_tensor *x) { return x->data; }

/* ---- matrices in double precision; n by n unless said otherwise ---- */

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

/* ---- the sample ---- */

mla_status mla_latent_sample_create(mla_context *context, mla_latent_sample *out, const mla_latent_layer *layer,
                                    int64_t capacity) {
    const int64_t rank = layer->rank;
    *out = (mla_latent_sample){.rank = rank, .capacity = capacity, .weight = mla_matrix_create(context, rank, rank)};
    if (mla_neutral_norm_of_latent(layer)) {
        out->second = mla_matrix_create(context, rank, rank);
        out->sum = mla_matrix_create(context, 1, rank);
    } else {
        out->h = mla_alloc(context, capacity, (size_t)rank * sizeof *out->h, "the latents of the calibration text");
    }
    return out->weight && (out->h || (out->second && out->sum)) ? MLA_OK : MLA_ERROR_MEMORY;
}

void mla_latent_sample_free(mla_latent_sample *sample) {
    free(sample->h), free(sample->second), free(sample->sum), free(sample->weight);
    *sample = (mla_latent_sample){0};
}

mla_status mla_latent_sample_add(mla_context *context, mla_latent_sample *sample, int64_t count, const float *h) {
    const int64_t n = sample->rank;
    if (sample->h) memcpy(sample->h + sample->count * n, h, (size_t)(count * n) * sizeof *h);
    sample->count += count;
    if (sample->h) return MLA_OK;
    for (int64_t i = 0; i < count * n; i++) sample->sum[i % n] += (double)h[i];
    return mla_matrix_add_products(context, count, n, h, n, h, sample->second);
}

mla_status mla_latent_sample_add_gradients(mla_context *context, mla_latent_sample *sample, int64_t count,
                                           const float *g) {
    return mla_matrix_add_products(context, count, sample->rank, g, sample->rank, g, sample->weight);
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
    mla_matrix_lift(n, s, small);
    mla_matrix_lift(n, g, small);
    take_root(n, s, work);
    mla_matrix_multiply(context, n, n, n, s, g, false, out->turn);
    mla_matrix_multiply(context, n, n, n, out->turn, s, true, g); /* Lᵀ G L */
    mla_orthogonal_rows(n, n, g);
    for (int64_t i = 0; i < n; i++) out->cost[i] = mla_row_length(n, g + i * n);
    mla_matrix_orthonormalise(n, g); /* Wᵀ */
    mla_matrix_multiply(context, n, n, n, g, work, false, out->kept);
    mla_matrix_multiply(context, n, n, n, g, s, false, work); /* (L W)ᵀ */
    memcpy(out->basis, work, (size_t)(n * n) * sizeof *work);
    mla_matrix_orthonormalise(n, out->basis);
    mla_matrix_multiply(context, n, n, n, out->basis, work, true, out->turn);
}

static double gain(const mla_latent_layer *layer, int64_t i) {
    return layer->kv_a_norm.gain ? (double)data(layer->kv_a_norm.gain)[i] : 1;
}

/* What makes c of u, where n of the latent's channels are directions. */
static double gain_of(const mla_latent_layer *layer, int64_t n, int64_t i) {
    return n < layer->rank ? 1 : gain(layer, i);
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

static mla_status latent_rank_begin(mla_context *context, int64_t n, double **work, mla_latent_directions *out) {
    double *all = out->kept = mla_matrix_create(context, 3 * n + 2, n);
    *work = mla_matrix_create(context, 3 * n, n);
    if (!all || !*work) return MLA_ERROR_MEMORY;
    out->basis = all + n * n;
    out->turn = all + 2 * n * n;
    out->cost = all + 3 * n * n;
    return MLA_OK;
}

/* How many of the latent's channels are directions to choose from. */
static int64_t directions_of(const mla_latent_layer *layer) { return layer->rank - mla_neutral_norm_of_latent(layer); }

/* The constant of a neutral norm is the last channel, and the most needed one. */
static void put_constant_first(const mla_latent_layer *layer, const mla_latent_directions *d) {
    if (directions_of(layer) == layer->rank) return;
    memmove(d->cost + 1, d->cost, (size_t)directions_of(layer) * sizeof *d->cost);
}

/* S: E[u uᵀ], or E[h hᵀ] less what the mean makes of it. */
static mla_status take_second(mla_context *context, const mla_latent_layer *layer, const mla_latent_sample *sample,
                              double *s) {
    const int64_t n = directions_of(layer), c = sample->rank;
    const double count = (double)sample->count;
    float *u = sample->h ? normalised(context, layer, sample) : NULL;
    mla_status status = sample->h && !u ? MLA_ERROR_MEMORY : MLA_OK;
    if (u) status = mla_matrix_add_products(context, sample->count, n, u, n, u, s);
    for (int64_t i = 0; i < n * n && !sample->h; i++)
        s[i] = sample->second[i / n * c + i % n] - sample->sum[i / n] * sample->sum[i % n] / count;
    for (int64_t i = 0; i < n * n; i++) s[i] /= count;
    free(u);
    return status;
}

mla_status mla_latent_directions_measure(mla_context *context, const mla_latent_layer *layer,
                                         const mla_latent_sample *sample, mla_latent_directions *out) {
    const int64_t n = directions_of(layer), c = sample->rank;
    double *s;
    mla_status status = latent_rank_begin(context, n, &s, out);
    if (!status) status = take_second(context, layer, sample, s);
    for (int64_t i = 0; i < n && !status; i++)
        for (int64_t k = 0; k < n; k++)
            s[n * n + i * n + k] = gain_of(layer, n, i) * sample->weight[i * c + k] / (double)sample->count *
                                   gain_of(layer, n, k);
    if (!status) latent_rank_find(context, n, s, s + n * n, s + 2 * n * n, out);
    if (!status) put_constant_first(layer, out);
    free(s);
    return status;
}

mla_status mla_latent_directions_weights(mla_context *context, const mla_latent_layer *layer,
                                         mla_latent_directions *out) {
    const mla_tensor *kv_a = layer->kv_a_proj.weight, *kv_b = layer->kv_b_proj.weight;
    const int64_t n = directions_of(layer), c = layer->rank;
    double *s, *all = mla_matrix_create(context, c, c);
    mla_status status = latent_rank_begin(context, n, &s, out);
    float *part = mla_alloc(context, n * n, sizeof *part, "a latent's moments");
    if (!status)
        status = part && all ? multiply_f32(context, n, n, kv_a->shape[1], data(kv_a), data(kv_a), true, part)
                             : MLA_ERROR_MEMORY;
    if (!status) status = mla_matrix_add_products(context, kv_b->shape[0], c, data(kv_b), c, data(kv_b), all);
    for (int64_t i = 0; i < n * n && !status; i++) {
        s[i] = (double)part[i];
        s[n * n + i] = all[i / n * c + i % n] * gain_of(layer, n, i / n) * gain_of(layer, n, i % n);
    }
    if (!status) latent_rank_find(context, n, s, s + n * n, s + 2 * n * n, out);
    if (!status) put_constant_first(layer, out);
    free(part), free(all), free(s);
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
    double *cross = mla_matrix_create(context, n, r), *own = mla_matrix_create(context, r, r),
           *part = mla_matrix_create(context, n, r);
    mla_status status = u && v && cross && own && part ? MLA_OK : mla_error_status(context);
    if (!status) status = mla_matrix_add_products(context, sample->count, n, u, r, v, cross);
    if (!status) status = mla_matrix_add_products(context, sample->count, r, v, r, v, own);
    if (!status) {
        mla_matrix_multiply(context, n, r, r, back, own, false, part);
        mla_matrix_lift(r, own, ridge);
        factorise(r, own);
        for (int64_t i = 0; i < n * r; i++) cross[i] -= part[i];
        for (int64_t i = 0; i < n; i++) solve(r, own, cross + i * r);
        for (int64_t i = 0; i < n * r; i++) back[i] += cross[i];
    }
    free(u), free(v), free(cross), free(own), free(part);
    return status;
}

/* map (r,n): h to what the new norm gets, `factor` times as long; back (n,r): its latents to about u. */
static void make_maps(int64_t n, int64_t r, double factor, const mla_latent_directions *d, double *map, double *back) {
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
    const double factor = from->kv_a_norm.gain ? sqrt((double)r / (double)n) : 1;
    double *exact = mla_matrix_create(context, 2 * r, n), *back = exact ? exact + r * n : NULL;
    if (exact) make_maps(n, r, factor, directions, exact, back);
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

/* ---- another rank where the norm is neutral ---- */

/* Of n directions r, by maps: kv_a' = map kv_a, bias' = map (bias - mean). */
static mla_status map_down(mla_context *context, const mla_latent_layer *from, const double *map, int64_t n,
                           const double *mean, const mla_latent_layer *to) {
    const int64_t r = to->rank - 1, width = from->kv_a_proj.weight->shape[1], row = width + 1;
    const float *weight = data(from->kv_a_proj.weight), *bias = data(from->kv_a_proj.bias);
    float *out = to->kv_a_proj.weight->data, *out_bias = to->kv_a_proj.bias->data;
    double *all = mla_matrix_create(context, n + r, row), *mapped = all ? all + n * row : NULL;
    if (!all) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < n * row; i++)
        all[i] = i % row < width ? (double)weight[i / row * width + i % row] : (double)bias[i / row] - mean[i / row];
    mla_matrix_multiply(context, r, row, n, map, all, false, mapped);
    for (int64_t i = 0; i < r * row; i++)
        *(i % row < width ? &out[i / row * width + i % row] : &out_bias[i / row]) = (float)mapped[i];
    free(all);
    memset(out + r * width, 0, (size_t)width * sizeof *out);
    copy_rotary(from->kv_a_proj.weight, to->kv_a_proj.weight, width, n + 1, r + 1);
    copy_rotary(from->kv_a_proj.bias, to->kv_a_proj.bias, 1, n + 1, r + 1);
    mla_neutral_norm_fill(&to->kv_a_proj, &to->kv_a_norm, r + 1);
    return MLA_OK;
}

/* kv_b' = kv_b [back, mean; 0, 1]: in the constant's column what the mean makes. */
static mla_status map_up(mla_context *context, const mla_latent_layer *from, const double *back, int64_t n,
                         const double *mean, const mla_latent_layer *to) {
    const int64_t r = to->rank - 1, rows = from->kv_b_proj.weight->shape[0];
    float *out = to->kv_b_proj.weight->data;
    double *old = mla_matrix_create(context, rows, n + 1), *map = mla_matrix_create(context, n + 1, r + 1),
           *new = mla_matrix_create(context, rows, r + 1);
    const mla_status status = old && map && new ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < rows * (n + 1) && !status; i++) old[i] = (double)data(from->kv_b_proj.weight)[i];
    for (int64_t i = 0; i < n && !status; i++) {
        memcpy(map + i * (r + 1), back + i * r, (size_t)r * sizeof *map);
        map[i * (r + 1) + r] = mean[i];
    }
    if (!status) {
        map[n * (r + 1) + r] = 1;
        mla_matrix_multiply(context, rows, r + 1, n + 1, old, map, false, new);
        for (int64_t i = 0; i < rows * (r + 1); i++) out[i] = (float)new[i];
    }
    free(old), free(map), free(new);
    return status;
}

/* What grows keeps all directions, and has new ones that nothing reaches yet; their columns are random, so that they
 * have a gradient. */
static mla_status grow_maps(mla_context *context, const mla_latent_layer *from, int64_t r, double *map, double *back) {
    const int64_t n = from->rank - 1;
    float *random = mla_alloc(context, n * r, sizeof *random, "a latent's map");
    if (!random) return MLA_ERROR_MEMORY;
    mla_random_normal(mla_random_stream(1, "another rank", (uint64_t)n, 0, 0), 0, n * r, random);
    for (int64_t i = 0; i < n * r; i++) {
        back[i] = i % r == i / r ? 1 : i % r < n ? 0 : from->config->initializer_range * (double)random[i];
        map[i] = i / n == i % n;
    }
    free(random);
    return MLA_OK;
}

static mla_status resize_neutral(mla_context *context, const mla_latent_layer *from, const mla_latent_directions *d,
                                 const mla_latent_sample *sample, const mla_latent_layer *to) {
    const int64_t n = from->rank - 1, r = to->rank - 1;
    double *map = mla_matrix_create(context, 2 * r + 1, n), *back = map ? map + r * n : NULL;
    double *mean = map ? back + r * n : NULL;
    mla_status status = map ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status && r < n) {
        for (int64_t i = 0; i < n && sample; i++) mean[i] = sample->sum[i] / (double)sample->count;
        make_maps(n, r, 1, d, map, back);
    } else if (!status) {
        status = grow_maps(context, from, r, map, back);
    }
    if (!status) status = map_down(context, from, map, n, mean, to);
    if (!status) status = map_up(context, from, back, n, mean, to);
    free(map);
    return status;
}

mla_status mla_latent_layer_resize(mla_context *context, const mla_latent_layer *from,
                                   const mla_latent_directions *directions, const mla_latent_sample *sample,
                                   const mla_latent_layer *to) {
    if (mla_neutral_norm_of_latent(from)) return resize_neutral(context, from, directions, sample, to);
    if (to->rank < from->rank) return shrink(context, from, directions, sample, to);
    grow(from, to);
    return MLA_OK;
}
