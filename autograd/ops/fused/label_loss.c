/* scale * sum over rows of a loss of logits z (rows,K), by what their labels say. A row's target is the number of its
 * label; -1: it has none. With u the weights of the classes, or 1:
 *
 *     classes, y one of K:      (1-s) u[y] (-log p[y]) + s/K sum over k of u[k] (-log p[k]),   p = softmax(z)
 *                               dz[j] = (1-s) u[y] (p[j] - (j = y)) + s/K (p[j] sum of u - u[j])
 *     flags, y in [0,1]^K:      1/K sum over k of u[k] y[k] log(1 + exp(-z[k])) + (1-y[k]) log(1 + exp(z[k]))
 *                               dz[j] = 1/K ((1-y[j]) a - u[j] y[j] (1-a)),   a = 1 / (1 + exp(-z[j]))
 *     numbers, y in R^K:        1/K sum over k of (z[k] - y[k])^2,   dz[j] = 2/K (z[j] - y[j])
 *
 * s smooths labels (Szegedy et al. 2016, "Rethinking the Inception architecture", section 7). The three are torch's
 * cross_entropy, binary_cross_entropy_with_logits (u its pos_weight) and mse_loss, summed over rows. */
#include "autograd/op.h"
#include "autograd/ops.h"

#include <math.h>

enum { LOGITS, TARGETS, LABELS, WEIGHTS };

/* A row's logits (count of them) and its label: classes: an index; otherwise values. */
typedef struct {
    int64_t count;
    const float *z, *values, *weights;
    int32_t index;
    float smoothing;
} row;

/* The loss of a row; its gradient, if it is not NULL, into dz. */
typedef double (*row_loss)(const row *r, float *dz);

static double weight_of(const row *r, int64_t k) { return r->weights ? (double)r->weights[k] : 1; }

static double log_of_sum(const row *r) {
    double top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < r->count; k++) top = fmax(top, (double)r->z[k]);
    for (int64_t k = 0; k < r->count; k++) sum += exp((double)r->z[k] - top);
    return top + log(sum);
}

static double loss_of_class(const row *r, float *dz) {
    const double total = log_of_sum(r), each = (double)r->smoothing / (double)r->count;
    const double own = (1 - (double)r->smoothing) * weight_of(r, r->index);
    double all = 0, loss = own * (total - (double)r->z[r->index]);
    for (int64_t k = 0; k < r->count; k++) {
        all += weight_of(r, k);
        loss += each * weight_of(r, k) * (total - (double)r->z[k]);
    }
    for (int64_t k = 0; dz && k < r->count; k++) {
        const double p = exp((double)r->z[k] - total);
        dz[k] = (float)(own * (p - (k == r->index)) + each * (all * p - weight_of(r, k)));
    }
    return loss;
}

/* log(1 + exp(x)) */
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

static double loss_of_flags(const row *r, float *dz) {
    const double each = 1 / (double)r->count;
    double loss = 0;
    for (int64_t k = 0; k < r->count; k++) {
        const double z = (double)r->z[k], yes = weight_of(r, k) * (double)r->values[k], no = 1 - (double)r->values[k];
        const double a = 1 / (1 + exp(-z));
        loss += each * (yes * softplus(-z) + no * softplus(z));
        if (dz) dz[k] = (float)(each * (no * a - yes * (1 - a)));
    }
    return loss;
}

static double loss_of_numbers(const row *r, float *dz) {
    const double each = 1 / (double)r->count;
    double loss = 0;
    for (int64_t k = 0; k < r->count; k++) {
        const double off = (double)r->z[k] - (double)r->values[k];
        loss += each * off * off;
        if (dz) dz[k] = (float)(2 * each * off);
    }
    return loss;
}

static const row_loss losses[] = {
    [MLA_LABELS_CLASSES] = loss_of_class, [MLA_LABELS_FLAGS] = loss_of_flags, [MLA_LABELS_NUMBERS] = loss_of_numbers};

typedef struct {
    mla_labels_kind kind;
    float scale, smoothing;
} attributes;

/* Row i, whose target is known to be a label's number. */
static row row_at(const mla_node *n, int64_t i, float *buffer) {
    const attributes *at = n->attributes;
    const int64_t count = mla_width(n->in[LOGITS]), target = ((const int32_t *)n->in[TARGETS]->data)[i];
    row r = {.count = count,
             .z = mla_load(mla_data(n->in[LOGITS]), i * count, count, buffer),
             .weights = n->in[WEIGHTS] ? n->in[WEIGHTS]->data : NULL,
             .smoothing = at->smoothing};
    if (at->kind == MLA_LABELS_CLASSES) r.index = ((const int32_t *)n->in[LABELS]->data)[target];
    else r.values = mla_row(n->in[LABELS], target);
    return r;
}

static bool labels_fit(const mla_node *n) {
    const int32_t *targets = n->in[TARGETS]->data, *labels = n->in[LABELS]->data;
    const int64_t classes = mla_width(n->in[LOGITS]), count = n->in[LABELS]->shape[0];
    const bool indices = ((const attributes *)n->attributes)->kind == MLA_LABELS_CLASSES;
    for (int64_t i = 0; i < mla_count(n->in[TARGETS]); i++) {
        const int32_t t = targets[i];
        if (t == -1 || (t >= 0 && t < count && (!indices || (labels[t] >= 0 && labels[t] < classes)))) continue;
        mla_fail(mla_tape_context(n->tape), MLA_ERROR_ARGUMENT,
                 t >= 0 && t < count ? "label_loss: the label of row %lld is class %lld, but the head has %lld"
                                     : "label_loss: the target of row %lld is label %lld, but there are %lld",
                 (long long)i, (long long)(t >= 0 && t < count ? labels[t] : t),
                 (long long)(t >= 0 && t < count ? classes : count));
        return false;
    }
    return true;
}

static void label_loss_forward(const mla_node *n) {
    const attributes *at = n->attributes;
    const int32_t *targets = n->in[TARGETS]->data;
    double sum = 0;
    if (!labels_fit(n)) return;
    for (int64_t i = 0; i < mla_count(n->in[TARGETS]); i++) {
        if (targets[i] < 0) continue;
        const row r = row_at(n, i, n->scratch);
        sum += losses[at->kind](&r, NULL);
    }
    *(float *)n->out->data = (float)(sum * (double)at->scale);
}

static void label_loss_backward(const mla_node *n) {
    const attributes *at = n->attributes;
    const int32_t *targets = n->in[TARGETS]->data;
    const int64_t width = mla_width(n->in[LOGITS]);
    const float factor = at->scale * *(const float *)n->out->grad;
    float *buffer = n->scratch, *dz = buffer + width;
    for (int64_t i = 0; i < mla_count(n->in[TARGETS]); i++) {
        float *out = mla_target(mla_in_gradient(n, LOGITS), n->mode[LOGITS], i * width, dz);
        const row r = targets[i] < 0 ? (row){0} : row_at(n, i, buffer);
        if (r.count) losses[at->kind](&r, out);
        for (int64_t k = 0; k < width; k++) out[k] = r.count ? out[k] * factor : 0;
        mla_store(mla_in_gradient(n, LOGITS), n->mode[LOGITS], i * width, width, out);
    }
}

static const mla_op label_loss = {.name = "label_loss",
                                  .forward = label_loss_forward,
                                  .backward = label_loss_backward,
                                  .attributes = sizeof(attributes),
                                  .keeps = MLA_INPUT(LOGITS) | MLA_INPUT(TARGETS) | MLA_INPUT(LABELS) |
                                           MLA_INPUT(WEIGHTS)};

static const char *label_loss_misfit(const mla_node *n, const mla_label_loss_options *o) {
    const mla_tensor *z = n->in[LOGITS], *targets = n->in[TARGETS], *labels = n->in[LABELS], *w = n->in[WEIGHTS];
    const bool classes = o->kind == MLA_LABELS_CLASSES;
    if (!labels) return "the labels are missing: what is learned here are labelled texts";
    if (z->dtype == MLA_I32) return "the logits must be f32 or bf16";
    if (targets->dtype != MLA_I32 || mla_count(targets) != mla_rows(z)) return "the targets must be i32, one a row";
    if (classes && (labels->dtype != MLA_I32 || labels->ndim != 1)) return "labels of classes must be i32, in a row";
    if (!classes && (labels->dtype != MLA_F32 || labels->ndim != 2 || mla_width(labels) != mla_width(z)))
        return "the labels must be rows of f32, as wide as the logits";
    if (labels->needs_grad || (w && w->needs_grad)) return "labels and weights must need no gradient";
    if (w && !mla_is_row_of(w, z)) return "the weights must be one row of f32 as wide as the logits";
    if (w && o->kind == MLA_LABELS_NUMBERS) return "numbers have no weights";
    if (o->smoothing && !classes) return "only labels of classes are smoothed";
    return o->smoothing >= 0 && o->smoothing < 1 ? NULL : "the smoothing must be at least 0 and below 1";
}

mla_tensor *mla_label_loss(mla_tape *tape, mla_tensor *logits, mla_tensor *targets, mla_tensor *labels,
                           const mla_label_loss_options *o) {
    mla_node *n = mla_op_begin(tape, &label_loss, 4, (mla_tensor *[]){logits, targets, labels, o->weights});
    if (!n) return mla_inert(tape);
    const char *why = label_loss_misfit(n, o);
    if (why) return mla_op_refuse(n, "%s", why);
    *(attributes *)n->attributes = (attributes){o->kind, o->scale, o->smoothing};
    n->forward_scratch = mla_width(logits) * (int64_t)sizeof(float);
    n->backward_scratch = 2 * n->forward_scratch;
    return mla_op_finish(n, MLA_F32, 1, (int64_t[]){1});
}
