/* Moments of keys and queries first, then the basis (group by group an eigenproblem of a Hermitian matrix, solved as a
 * symmetric one of twice the size), then the frame: the rows of the basis, those that turn first. */
#include "layers/adapt/key_frame.h"
#include "layers/adapt/matrices.h"
#include "layers/adapt/orthogonal_rows.h"

#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef double _Complex number;

static const double small = 1e-10; /* of the mean of a diagonal */

/* ---- moments ---- */

int64_t mla_key_row(const mla_model_config *c, int64_t i) {
    return c->rope_interleave || c->position != MLA_POSITION_ROPE ? i : i % 2 * (c->head_dim / 2) + i / 2;
}

mla_status mla_key_moments_create(mla_context *context, mla_key_moments *out, const mla_model_config *c) {
    const int64_t width = c->num_key_value_heads * c->head_dim;
    *out = (mla_key_moments){.heads = c->num_key_value_heads, .width = c->head_dim};
    out->keys = mla_matrix_create(context, width, width);
    out->queries = mla_matrix_create(context, out->heads, c->head_dim / 2);
    return out->keys && out->queries ? MLA_OK : MLA_ERROR_MEMORY;
}

void mla_key_moments_free(mla_key_moments *m) {
    free(m->keys);
    free(m->queries);
    *m = (mla_key_moments){0};
}

static void add_queries(mla_key_moments *m, const mla_model_config *c, const mla_tensor *q) {
    const int64_t heads = c->num_attention_heads, shared = heads / m->heads, half = m->width / 2;
    const float *row = q->data;
    for (int64_t i = 0; i < mla_count(q) / m->width; i++, row += m->width) {
        double *sums = m->queries + i % heads / shared * half;
        for (int64_t p = 0; p < half; p++) {
            const double a = (double)row[mla_key_row(c, 2 * p)], b = (double)row[mla_key_row(c, 2 * p + 1)];
            sums[p] += a * a + b * b;
        }
    }
}

/* The keys' rows in neighbours' order. */
static void order_keys(const mla_key_moments *m, const mla_model_config *c, const mla_tensor *k, float *out) {
    const float *head = k->data;
    for (int64_t i = 0; i < mla_count(k) / m->width; i++, head += m->width, out += m->width)
        for (int64_t j = 0; j < m->width; j++) out[j] = head[mla_key_row(c, j)];
}

mla_status mla_key_moments_add(mla_context *context, mla_key_moments *m, const mla_model_config *c, const mla_tensor *q,
                               const mla_tensor *k) {
    const int64_t width = m->heads * m->width, tokens = mla_count(k) / width;
    float *keys = mla_alloc(context, mla_count(k), sizeof *keys, "keys");
    if (!keys) return MLA_ERROR_MEMORY;
    order_keys(m, c, k, keys);
    add_queries(m, c, q);
    m->tokens += tokens;
    const mla_status status = mla_matrix_add_products(context, tokens, width, keys, width, keys, m->keys);
    free(keys);
    return status;
}

/* ---- the basis ---- */

/* One group of pairs: m of them, number k being pair pairs[k] of the layer. */
typedef struct {
    int64_t m, half; /* K/2: pairs of a head */
    int64_t *pairs;
    double *scale;     /* (m): S */
    double *symmetric; /* (2m,2m) */
    number *vectors;   /* (m,m): eigenvectors as rows */
    double *values;    /* (m) */
} group;

static mla_status create_group(mla_context *context, group *g, int64_t m) {
    *g = (group){.m = m,
                 .pairs = mla_alloc(context, m, sizeof *g->pairs, "rotary pairs"),
                 .scale = mla_matrix_create(context, 1, m),
                 .symmetric = mla_matrix_create(context, 2 * m, 2 * m),
                 .vectors = mla_alloc(context, m * m, sizeof *g->vectors, "rotary pairs"),
                 .values = mla_matrix_create(context, 1, m)};
    return g->pairs && g->scale && g->symmetric && g->vectors && g->values ? MLA_OK : MLA_ERROR_MEMORY;
}

static void free_group(group *g) {
    free(g->pairs), free(g->scale), free(g->symmetric), free(g->vectors), free(g->values);
}

/* E[z_p conj(z_q)] of pairs p and q of the layer. */
static number key_moment(const mla_key_moments *m, int64_t p, int64_t q) {
    const int64_t n = m->heads * m->width;
    const double *a = m->keys + 2 * p * n + 2 * q, *b = a + n;
    return ((a[0] + b[1]) + I * (b[0] - a[1])) / (double)m->tokens;
}

/* S_p = sqrt(E|q_p|²): where queries are nothing, next to nothing. */
static void take_scales(const mla_key_moments *m, group *g) {
    double mean = 0;
    for (int64_t k = 0; k < g->m; k++) mean += g->scale[k] = m->queries[g->pairs[k]] / (double)m->tokens;
    mean /= (double)g->m;
    for (int64_t k = 0; k < g->m; k++) g->scale[k] = mean > 0 ? sqrt(g->scale[k] + small * mean) : 1;
}

/* S E[z zᴴ] S = X + iY as [X -Y; Y X]. */
static void fill_symmetric(const mla_key_moments *m, group *g) {
    const int64_t n = g->m;
    double *s = g->symmetric;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            const number x = g->scale[i] * key_moment(m, g->pairs[i], g->pairs[j]) * g->scale[j];
            s[i * 2 * n + j] = s[(n + i) * 2 * n + n + j] = creal(x);
            s[(n + i) * 2 * n + j] = cimag(x);
            s[i * 2 * n + n + j] = -cimag(x);
        }
    mla_matrix_lift(2 * n, s, small);
}

/* Takes from vector i what it has of those before it, twice; what remains of its length. */
static double separate(const group *g, int64_t i) {
    number *v = g->vectors + i * g->m;
    double length = 0;
    for (int64_t p = 0; p < 2 * i; p++) {
        const number *other = g->vectors + p % i * g->m;
        number part = 0;
        for (int64_t j = 0; j < g->m; j++) part += conj(other[j]) * v[j];
        for (int64_t j = 0; j < g->m; j++) v[j] -= part * other[j];
    }
    for (int64_t j = 0; j < g->m; j++) length += creal(v[j] * conj(v[j]));
    for (int64_t j = 0; j < g->m && length > 0; j++) v[j] /= sqrt(length);
    return sqrt(length);
}

/* Each eigenvector of the complex matrix is there twice, x and ix: the second has nothing of its own. */
static void take_vectors(group *g) {
    const int64_t n = g->m;
    int64_t found = 0;
    for (int64_t row = 0; row < 2 * n && found < n; row++) {
        const double *x = g->symmetric + row * 2 * n, length = mla_row_length(2 * n, x);
        if (!(length > 0)) break;
        for (int64_t j = 0; j < n; j++) g->vectors[found * n + j] = (x[j] + I * x[n + j]) / length;
        g->values[found] = length;
        found += separate(g, found) > 1e-4;
    }
    for (int64_t unit = 0; found < n && unit < n; unit++) {
        for (int64_t j = 0; j < n; j++) g->vectors[found * n + j] = j == unit;
        g->values[found] = 0;
        found += separate(g, found) > 1e-4;
    }
}

/* The complex number x as an entry of a real matrix, for pair `row` made of pair `column`. */
static void put(double *matrix, int64_t n, int64_t row, int64_t column, number x) {
    double *at = matrix + 2 * row * n + 2 * column;
    at[0] = at[n + 1] = creal(x);
    at[n] = cimag(x);
    at[1] = -cimag(x);
}

double _Complex mla_key_mean_turn(const mla_key_positions *positions, double frequency) {
    number sum = 0;
    double all = 0;
    for (int64_t d = 0; d < positions->distances; d++) {
        const double share = 1 / (1 + (double)d);
        sum += share * cexp(I * frequency * (double)d);
        all += share;
    }
    return sum / all;
}

/* Rows of z' = Tᴴ S z, q' = Tᴴ S⁻¹ q, and q' = Tᴴ S⁻¹ (mu q); `first` is the number of the group's first pair. */
static void put_group(const mla_key_positions *positions, const group *g, int64_t n, int64_t first,
                      const mla_key_basis *out) {
    for (int64_t j = 0; j < g->m; j++) {
        const int64_t pair = g->pairs[j];
        const number mu = mla_key_mean_turn(positions, positions->frequencies[pair % g->half]);
        for (int64_t k = 0; k < g->m; k++) {
            const number t = conj(g->vectors[k * g->m + j]);
            put(out->keys, n, first + k, pair, t * g->scale[j]);
            put(out->queries, n, first + k, pair, t / g->scale[j]);
            put(out->settled, n, first + k, pair, t / g->scale[j] * mu);
        }
    }
    memcpy(out->value + first, g->values, (size_t)g->m * sizeof *g->values);
}

static mla_status create_basis(mla_context *context, mla_key_basis *out, int64_t n) {
    *out = (mla_key_basis){.keys = mla_matrix_create(context, n, n),
                           .queries = mla_matrix_create(context, n, n),
                           .settled = mla_matrix_create(context, n, n),
                           .value = mla_matrix_create(context, 1, n / 2)};
    return out->keys && out->queries && out->settled && out->value ? MLA_OK : MLA_ERROR_MEMORY;
}

mla_status mla_key_basis_measure(mla_context *context, const mla_key_moments *m, const mla_key_positions *positions,
                                 mla_key_basis *out) {
    const int64_t n = m->heads * m->width, half = m->width / 2, fold = positions->fold;
    group g = {0};
    mla_status status = create_basis(context, out, n);
    if (!status) status = create_group(context, &g, m->heads * fold);
    g.half = half;
    for (int64_t first = 0; first < half && !status; first += fold) {
        for (int64_t k = 0; k < g.m; k++) g.pairs[k] = k / fold * half + first + k % fold;
        take_scales(m, &g);
        fill_symmetric(m, &g);
        mla_orthogonal_rows(2 * g.m, 2 * g.m, g.symmetric);
        take_vectors(&g);
        put_group(positions, &g, n, first / fold * g.m, out);
    }
    free_group(&g);
    return status;
}

void mla_key_basis_free(mla_key_basis *b) {
    free(b->keys), free(b->queries), free(b->settled), free(b->value);
    *b = (mla_key_basis){0};
}

/* ---- the frame ---- */

static mla_status create_frame(mla_context *context, mla_key_frame *out, int64_t width) {
    *out = (mla_key_frame){.width = width,
                           .keys = mla_matrix_create(context, width, width),
                           .queries = mla_matrix_create(context, width, width)};
    return out->keys && out->queries ? MLA_OK : MLA_ERROR_MEMORY;
}

static void copy_pair(const mla_key_frame *out, int64_t to, const double *keys, const double *queries, int64_t from) {
    const int64_t n = out->width;
    memcpy(out->keys + 2 * to * n, keys + 2 * from * n, (size_t)(2 * n) * sizeof *keys);
    memcpy(out->queries + 2 * to * n, queries + 2 * from * n, (size_t)(2 * n) * sizeof *queries);
}

mla_status mla_key_frame_create(mla_context *context, mla_key_frame *out, int64_t width, const mla_key_basis *basis,
                                const bool *turns) {
    const mla_status status = create_frame(context, out, width);
    if (status) return status;
    int64_t pairs = 0;
    for (int64_t p = 0; p < width / 2; p++)
        if (turns[p]) copy_pair(out, pairs++, basis->keys, basis->queries, p);
    out->rotary = 2 * pairs;
    for (int64_t p = 0; p < width / 2; p++)
        if (!turns[p]) copy_pair(out, pairs++, basis->keys, basis->settled, p);
    return MLA_OK;
}

mla_status mla_key_frame_identity(mla_context *context, mla_key_frame *out, int64_t width) {
    const mla_status status = create_frame(context, out, width);
    for (int64_t i = 0; i < width && !status; i++) out->keys[i * width + i] = out->queries[i * width + i] = 1;
    out->rotary = width;
    return status;
}

void mla_key_frame_free(mla_key_frame *frame) {
    free(frame->keys), free(frame->queries);
    *frame = (mla_key_frame){0};
}
