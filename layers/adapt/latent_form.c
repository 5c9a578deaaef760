#include "layers/adapt/latent_form.h"
#include "layers/adapt/matrices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the configuration ---- */

static bool has_query_bias(const mla_model_config *c) { return c->attention_bias || c->qkv_bias; }

mla_model_config mla_latent_form_config(const mla_model_config *from, int64_t rotary) {
    const int64_t width = from->num_key_value_heads * from->head_dim;
    mla_model_config c = *from;
    c.attention = &mla_latent_kind;
    c.q_lora_rank = has_query_bias(from) && !from->qk_norm ? from->hidden_size + 1 : 0;
    c.kv_lora_rank = 2 * width - rotary + 1;
    c.kv_lora_ranks.count = 0;
    c.qk_rope_head_dim = rotary;
    c.qk_nope_head_dim = rotary < width ? from->head_dim : 1;
    c.v_head_dim = from->head_dim;
    if (!from->qk_norm) c.num_key_value_heads = c.head_dim = 0;
    c.position = rotary ? MLA_POSITION_ROPE : from->position == MLA_POSITION_ROPE ? MLA_POSITION_NONE : from->position;
    c.rope_interleave = true;
    c.attention_bias = c.latent_norm = true;
    c.qkv_bias = false;
    return c;
}

/* ---- projections of the old layer, in double precision, rows of heads in neighbours' order ---- */

/* out (rows, in + 1): the weight and its bias, or 0, behind each row. */
static double *read_projection(mla_context *context, const mla_model_config *c, const mla_linear_layer *p,
                               bool rotated) {
    const int64_t rows = p->weight->shape[0], in = p->weight->shape[1], width = c->head_dim;
    double *out = mla_matrix_create(context, rows, in + 1);
    for (int64_t i = 0; i < rows && out; i++) {
        const int64_t from = rotated ? i / width * width + mla_key_row(c, i % width) : i;
        for (int64_t j = 0; j < in; j++)
            out[i * (in + 1) + j] = (double)((const float *)p->weight->data)[from * in + j];
        out[i * (in + 1) + in] = p->bias ? (double)((const float *)p->bias->data)[from] : 0;
    }
    return out;
}

/* Rows (count, in + 1) into rows of a projection from `first` on. */
static void write_rows(const mla_linear_layer *to, int64_t first, int64_t count, const double *rows) {
    const int64_t in = to->weight->shape[1];
    float *weight = (float *)to->weight->data + first * in;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < in; j++) weight[i * in + j] = (float)rows[i * (in + 1) + j];
        if (to->bias) ((float *)to->bias->data)[first + i] = (float)rows[i * (in + 1) + in];
    }
}

/* ---- the latent ---- */

static void clear(const mla_tensor *x) {
    if (x) memset(x->data, 0, (size_t)mla_count(x) * sizeof(float));
}

/* What kv_a makes keys and values of, (L, seen + 1) each: of x by the old projections, or of heads that have their norm
 * already, [keys; values]. */
static mla_status read_keys_and_values(mla_context *context, const mla_multi_head_layer *from, int64_t n, double **keys,
                                       double **values) {
    if (from->config->qk_norm) {
        *keys = mla_matrix_create(context, n, 2 * n + 1), *values = mla_matrix_create(context, n, 2 * n + 1);
        for (int64_t i = 0; i < n && *keys && *values; i++)
            (*keys)[i * (2 * n + 1) + i] = (*values)[i * (2 * n + 1) + n + i] = 1;
    } else {
        *keys = read_projection(context, from->config, &from->k_proj, true);
        *values = read_projection(context, from->config, &from->v_proj, false);
    }
    return *keys && *values ? MLA_OK : MLA_ERROR_MEMORY;
}

/* kv_a: keys that do not turn, values, the constant, keys that turn. */
static mla_status fill_down(mla_context *context, const mla_multi_head_layer *from, const mla_key_frame *frame,
                            const mla_latent_layer *to) {
    const int64_t row = to->kv_a_proj.weight->shape[1] + 1, n = frame->width, r = frame->rotary;
    double *keys = NULL, *values = NULL, *framed = mla_matrix_create(context, n, row);
    mla_status status = read_keys_and_values(context, from, n, &keys, &values);
    if (!framed) status = MLA_ERROR_MEMORY;
    if (!status) {
        mla_matrix_multiply(context, n, row, n, frame->keys, keys, false, framed);
        clear(to->kv_a_proj.weight);
        write_rows(&to->kv_a_proj, 0, n - r, framed + r * row);
        write_rows(&to->kv_a_proj, n - r, n, values);
        write_rows(&to->kv_a_proj, to->rank, r, framed);
        mla_neutral_norm_fill(&to->kv_a_proj, &to->kv_a_norm, to->rank);
    }
    free(keys), free(values), free(framed);
    return status;
}

/* kv_b: for head h of group g, [settled keys' way back; selector of the values]. */
static void fill_up(const mla_multi_head_layer *from, const mla_key_frame *frame, double turned,
                    const mla_latent_layer *to) {
    const mla_model_config *c = to->config;
    const int64_t n = frame->width, r = frame->rotary, width = c->v_head_dim, rank = to->rank;
    const int64_t shared = c->num_attention_heads / from->config->num_key_value_heads;
    clear(to->kv_b_proj.weight);
    float *row = to->kv_b_proj.weight->data;
    for (int64_t h = 0; h < c->num_attention_heads; h++) {
        const int64_t first = h / shared * width;
        for (int64_t i = 0; i < c->qk_nope_head_dim; i++, row += rank)
            for (int64_t j = r; j < n; j++) row[j - r] = (float)(frame->queries[j * n + first + i] * turned * turned);
        for (int64_t i = 0; i < width; i++, row += rank) row[n - r + first + i] = 1;
    }
}

/* ---- queries ---- */

typedef struct {
    int64_t nope, head, row; /* N, h, numbers in a row */
} query_rows;

/* out (N + r, row) of head h: its queries, and what of them meets keys that turn. */
static void frame_queries(const mla_multi_head_layer *from, const mla_key_frame *frame, const query_rows *which,
                          const double *queries, double *out) {
    const mla_model_config *c = from->config;
    const int64_t n = frame->width, r = frame->rotary, width = c->head_dim, nope = which->nope, row = which->row;
    const int64_t group = which->head / (c->num_attention_heads / c->num_key_value_heads);
    const double scale = sqrt((double)(nope + r) / (double)width);
    const double *q = queries + which->head * width * row;
    memset(out, 0, (size_t)((nope + r) * row) * sizeof *out);
    for (int64_t i = 0; i < nope * row && r < n; i++) out[i] = scale * q[i];
    for (int64_t i = 0; i < r; i++)
        for (int64_t k = 0; k < width; k++) {
            const double factor = scale * frame->queries[i * n + group * width + k];
            for (int64_t j = 0; j < row; j++) out[(nope + i) * row + j] += factor * q[k * row + j];
        }
}

/* Rows (count, in + 1) of a projection that sees [x; 1]. */
static void write_extended(const mla_linear_layer *to, int64_t first, int64_t count, const double *rows) {
    const int64_t in = to->weight->shape[1];
    for (int64_t i = 0; i < count * in; i++) ((float *)to->weight->data)[first * in + i] = (float)rows[i];
}

/* [x; 1] of x. */
static void fill_query_down(const mla_latent_layer *to) {
    const int64_t in = to->config->hidden_size;
    clear(to->q_a_proj.weight);
    clear(to->q_a_proj.bias);
    for (int64_t i = 0; i < in; i++) ((float *)to->q_a_proj.weight->data)[i * in + i] = 1;
    mla_neutral_norm_fill(&to->q_a_proj, &to->q_a_norm, in + 1);
}

/* What q_b or q_proj makes queries of, (H K, seen + 1). */
static double *read_queries(mla_context *context, const mla_multi_head_layer *from) {
    const int64_t rows = from->config->num_attention_heads * from->config->head_dim;
    if (!from->config->qk_norm) return read_projection(context, from->config, &from->q_proj, true);
    double *out = mla_matrix_create(context, rows, rows + 1);
    for (int64_t i = 0; i < rows && out; i++) out[i * (rows + 1) + i] = 1;
    return out;
}

static mla_status fill_queries(mla_context *context, const mla_multi_head_layer *from, const mla_key_frame *frame,
                               const mla_latent_layer *to) {
    const mla_model_config *c = to->config;
    const int64_t rows = c->qk_nope_head_dim + frame->rotary;
    const int64_t seen = c->qk_norm ? c->num_attention_heads * c->head_dim : c->hidden_size;
    double *queries = read_queries(context, from);
    double *head = queries ? mla_matrix_create(context, rows, seen + 1) : NULL;
    for (int64_t h = 0; h < c->num_attention_heads && head; h++) {
        frame_queries(from, frame, &(query_rows){c->qk_nope_head_dim, h, seen + 1}, queries, head);
        if (c->q_lora_rank) write_extended(&to->q_b_proj, h * rows, rows, head);
        else write_rows(c->qk_norm ? &to->q_b_proj : &to->q_proj, h * rows, rows, head);
    }
    if (c->q_lora_rank) fill_query_down(to);
    free(queries), free(head);
    return head ? MLA_OK : MLA_ERROR_MEMORY;
}

/* ---- heads with norms ---- */

static void copy_heads(mla_context *context, const mla_model_config *c, const mla_linear_layer *from, bool rotated,
                       const mla_linear_layer *to) {
    double *rows = read_projection(context, c, from, rotated);
    if (rows) write_rows(to, 0, to->weight->shape[0], rows);
    free(rows);
}

static void copy_head_norm(const mla_model_config *c, const mla_norm *from, const mla_norm *to) {
    for (int64_t i = 0; i < c->head_dim; i++)
        ((float *)to->gain->data)[i] = ((const float *)from->gain->data)[mla_key_row(c, i)];
}

static mla_status fill_normed_heads(mla_context *context, const mla_multi_head_layer *from,
                                    const mla_latent_layer *to) {
    const mla_model_config *c = from->config;
    copy_heads(context, c, &from->q_proj, true, &to->q_proj);
    copy_heads(context, c, &from->k_proj, true, &to->k_proj);
    copy_heads(context, c, &from->v_proj, false, &to->v_proj);
    copy_head_norm(c, &from->q_norm, &to->q_norm);
    copy_head_norm(c, &from->k_norm, &to->k_norm);
    return mla_error_status(context);
}

/* ---- all of it ---- */

static void copy_output(const mla_linear_layer *from, const mla_linear_layer *to) {
    memcpy(to->weight->data, from->weight->data, (size_t)mla_count(to->weight) * sizeof(float));
    clear(to->bias);
    if (from->bias) memcpy(to->bias->data, from->bias->data, (size_t)mla_count(to->bias) * sizeof(float));
}

mla_status mla_latent_form_fill(mla_context *context, const mla_multi_head_layer *from, const mla_key_frame *frame,
                                double turned, const mla_latent_layer *to) {
    mla_status status = fill_down(context, from, frame, to);
    if (!status) status = fill_queries(context, from, frame, to);
    if (!status && from->config->qk_norm) status = fill_normed_heads(context, from, to);
    if (status) return status;
    fill_up(from, frame, turned, to);
    copy_output(&from->o_proj, &to->o_proj);
    return MLA_OK;
}
