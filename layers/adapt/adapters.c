#include "layers/adapt/adapters.h"
#include "autograd/kernels/rows.h"
#include "autograd/schema/nearest.h"
#include "layers/adapt/names.h"
#include "layers/adapt/truncated_svd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const inits[] = {"uniform", "normal", "pissa", NULL};

#define AT(member) offsetof(mla_lora_options, member)
static const mla_field fields[] = {
    {"targets", MLA_FIELD_WORDS, AT(targets),
     .help = "projections with an adapter: q_proj, '*_proj', kv_b_proj:16:32 (pattern:rank:alpha); none: no adapters"},
    {"rank", MLA_FIELD_INT, AT(rank), 8, .help = "of the adapters, where a target has none of its own"},
    {"alpha", MLA_FIELD_FLOAT, AT(alpha), 16, 1e-6, 1e6, .help = "an adapter counts alpha / rank times"},
    {"rslora", MLA_FIELD_BOOL, AT(rslora), .help = "alpha / sqrt(rank) times instead"},
    {"dora", MLA_FIELD_BOOL, AT(dora), .help = "magnitudes of the rows of the weights are trained as well"},
    {"dropout", MLA_FIELD_FLOAT, AT(dropout), 0, 0, 0.95, .help = "of what goes into the adapters, in training"},
    {"init", MLA_FIELD_ENUM, AT(init), .names = inits,
     .help = "how adapters begin; pissa: with the largest singular values of the weights"},
};
#undef AT
const mla_field_table mla_lora_fields = {fields, sizeof fields / sizeof *fields, sizeof(mla_lora_options)};

/* ---- names and patterns ---- */

enum { LONGEST_PATTERN = MLA_LONGEST_PATTERN };

int mla_adapters_stem(const mla_linear_layer *projection) {
    return (int)(strlen(projection->weight->name) - strlen(".weight"));
}

static void name_of(const mla_linear_layer *projection, size_t size, char *out) {
    snprintf(out, size, "%.*s", mla_adapters_stem(projection), projection->weight->name);
}

mla_linear_layer *mla_adapters_find(const mla_decoder *model, const char *name) {
    mla_linear_layer *p;
    for (int64_t i = 0; (p = mla_decoder_projection(model, i)); i++)
        if (strlen(name) == (size_t)mla_adapters_stem(p) && !strncmp(name, p->weight->name, strlen(name))) return p;
    return NULL;
}

typedef struct {
    char pattern[LONGEST_PATTERN];
    int64_t rank;
    double alpha;
    bool used;
} target;

static bool matches(const target *t, const mla_linear_layer *projection) {
    char name[2 * LONGEST_PATTERN];
    name_of(projection, sizeof name, name);
    return mla_name_matches(t->pattern, name);
}

static mla_status bad_target(mla_context *context, const char *text, const char *why) {
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "lora.targets: \"%s\": %s; expected pattern, pattern:rank or "
                    "pattern:rank:alpha, as q_proj, kv_b_proj:16 or kv_b_proj:16:32",
                    text, why);
}

static mla_status parse(mla_context *context, const char *text, const mla_lora_options *options, target *out) {
    const size_t length = strcspn(text, ":");
    char *rest = (char *)(uintptr_t)text + length;
    *out = (target){.rank = options->rank, .alpha = options->alpha};
    if (!length || length >= sizeof out->pattern) return bad_target(context, text, "the pattern is empty or too long");
    memcpy(out->pattern, text, length);
    if (*rest == ':') {
        const char *number = rest + 1;
        out->rank = strtoll(number, &rest, 10);
        if (rest == number || (*rest && *rest != ':')) return bad_target(context, text, "the rank is no whole number");
    }
    if (*rest == ':') {
        const char *number = rest + 1;
        out->alpha = strtod(number, &rest);
        if (rest == number || *rest || !(out->alpha > 0) || !isfinite(out->alpha))
            return bad_target(context, text, "alpha is no number above 0");
    }
    return MLA_OK;
}

/* The last part of the name of a projection of the first block; NULL for one elsewhere. */
static const char *first_block_part(const mla_linear_layer *projection, size_t size, char *name) {
    static const char first[] = "model.layers.0.";
    name_of(projection, size, name);
    return strncmp(name, first, strlen(first)) ? NULL : strrchr(name, '.') + 1;
}

static mla_status matches_nothing(const mla_decoder *model, const char *pattern) {
    const mla_linear_layer *p;
    mla_nearest nearest = {.word = strrchr(pattern, '.') ? strrchr(pattern, '.') + 1 : pattern};
    char known[512] = "", name[2 * LONGEST_PATTERN], best[2 * LONGEST_PATTERN];
    for (int64_t i = 0; (p = mla_decoder_projection(model, i)); i++) {
        const char *part = first_block_part(p, sizeof name, name);
        const size_t used = strlen(known);
        if (!part) continue;
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", part);
        mla_nearest_offer(&nearest, part);
        if (nearest.best == part) nearest.best = strcpy(best, part); /* the name is gone with the next one */
    }
    return mla_fail(model->context, MLA_ERROR_ARGUMENT,
                    "lora.targets: \"%s\" names no projection of this model%s%s%s; it "
                    "has %s in layers 0 to %lld",
                    pattern, nearest.best ? ": did you mean \"" : "", nearest.best ? nearest.best : "",
                    nearest.best ? "\"?" : "", known, (long long)model->config.num_hidden_layers - 1);
}

/* ---- attaching ---- */

static mla_status adapters_add(mla_decoder *model, mla_linear_layer *projection, const target *t,
                               const mla_lora_options *o) {
    mla_lora_spec spec = {.name = "default",
                          .rank = t->rank,
                          .alpha = t->alpha,
                          .rslora = o->rslora,
                          .dora = o->dora,
                          .share = 1,
                          .dropout = (float)o->dropout,
                          .deviation = o->init == MLA_LORA_NORMAL && t->rank > 0 ? 1 / (float)t->rank : 0};
    mla_status status = mla_lora_add(model->context, model->params, projection, &spec);
    if (status || o->init != MLA_LORA_PISSA) return status;
    spec.name = "start";
    spec.frozen = true;
    spec.share = -1;
    spec.dropout = 0; /* what it takes out, it takes out of the weight */
    return mla_lora_add(model->context, model->params, projection, &spec);
}

static mla_status attach(mla_decoder *model, const mla_lora_options *options, int64_t count, target *targets) {
    mla_linear_layer *projection;
    mla_status status = MLA_OK;
    for (int64_t i = 0; !status && (projection = mla_decoder_projection(model, i)); i++)
        for (int64_t k = 0, done = 0; k < count && !status; k++) {
            if (!matches(&targets[k], projection)) continue;
            targets[k].used = true;
            if (!done++) status = adapters_add(model, projection, &targets[k], options);
        }
    for (int64_t k = 0; k < count && !status; k++)
        if (!targets[k].used) status = matches_nothing(model, targets[k].pattern);
    return status;
}

mla_status mla_adapters_attach(mla_decoder *model, const mla_lora_options *options) {
    const int64_t count = options->targets.count;
    if (!count) return MLA_OK;
    if (options->dora && options->init == MLA_LORA_PISSA)
        return mla_fail(model->context, MLA_ERROR_ARGUMENT, "lora: dora does not go with init: pissa; choose one");
    target *targets = mla_alloc(model->context, count, sizeof *targets, "the targets");
    mla_status status = targets ? MLA_OK : MLA_ERROR_MEMORY;
    for (int64_t k = 0; k < count && !status; k++)
        status = parse(model->context, options->targets.items[k], options, &targets[k]);
    mla_params_freeze(model->params);
    if (model->config.head->labels) mla_adapters_own_head(model, false);
    if (!status) status = attach(model, options, count, targets);
    free(targets);
    return status;
}

/* ---- a head that is the adapter's own ---- */

static bool is_own_head(const mla_param *p) { return p->spec.adapter && !mla_name_is_of_backbone(p->spec.name); }

void mla_adapters_own_head(mla_decoder *model, bool frozen) {
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        mla_param *p = mla_params_at(model->params, i);
        if (mla_name_is_of_backbone(p->spec.name)) continue;
        p->spec.adapter = true;
        p->spec.frozen = frozen;
        p->tensor.needs_grad = !frozen;
    }
}

bool mla_adapters_have_head(const mla_decoder *model) {
    for (int64_t i = 0; i < mla_params_count(model->params); i++)
        if (is_own_head(mla_params_at(model->params, i))) return true;
    return false;
}

static void give_head_back(mla_decoder *model) {
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        mla_param *p = mla_params_at(model->params, i);
        if (is_own_head(p)) p->spec.adapter = false;
    }
}

static mla_status visit_head(const mla_decoder *model, mla_adapters_visit visit, void *user) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < mla_params_count(model->params) && !status; i++) {
        const mla_param *p = mla_params_at(model->params, i);
        char name[2 * LONGEST_PATTERN];
        snprintf(name, sizeof name, "base_model.model.%s", p->spec.name);
        if (is_own_head(p)) status = visit(user, name, &p->tensor);
    }
    return status;
}

void mla_adapters_keep_base_bf16(mla_decoder *model, const mla_lora_options *options, mla_dtype precision) {
    if (options->targets.count && precision == MLA_BF16) mla_params_keep_bf16(model->params);
}

/* ---- values that follow from the model's ---- */

static void scale_all(const mla_tensor *x, float factor) {
    for (int64_t i = 0; i < mla_count(x); i++) ((float *)x->data)[i] *= factor;
}

static mla_status decompose(mla_context *context, const mla_tensor *w, const mla_lora_layer *l) {
    float *wide = w->dtype == MLA_BF16 ? mla_alloc(context, mla_count(w), sizeof *wide, w->name) : NULL;
    if (w->dtype == MLA_BF16 && !wide) return MLA_ERROR_MEMORY;
    if (wide) mla_widen_all(context, mla_count(w), w->data, wide);
    const mla_status status = mla_truncated_svd(context, w->shape[0], w->shape[1], wide ? wide : w->data, l->rank,
                                                l->a->data, l->b->data);
    free(wide);
    return status;
}

/* PiSSA: s B A is what the largest singular values make of W, and `start` holds the same. */
static mla_status begin_pissa(mla_context *context, const mla_linear_layer *projection, const mla_lora_layer *l,
                              const mla_lora_layer *start) {
    const mla_status status = decompose(context, projection->weight, l);
    if (status) return status;
    scale_all(l->a, 1 / sqrtf(l->scale));
    scale_all(l->b, 1 / sqrtf(l->scale));
    memcpy(start->a->data, l->a->data, (size_t)mla_size(l->a));
    memcpy(start->b->data, l->b->data, (size_t)mla_size(l->b));
    return MLA_OK;
}

static mla_status begin_layer(mla_tape *tape, const mla_linear_layer *projection, const mla_lora_layer *l) {
    if (l->next && l->next->share < 0) return begin_pissa(mla_tape_context(tape), projection, l, l->next);
    if (!l->magnitude) return MLA_OK;
    mla_tape_begin(tape, &(mla_step){.inference = true});
    const mla_tensor *norm = mla_lora_norm(tape, projection->weight, l->a, l->b, l->scale);
    const mla_status status = mla_error_status(mla_tape_context(tape));
    if (!status) memcpy(l->magnitude->data, norm->data, (size_t)mla_size(norm));
    return status;
}

mla_status mla_adapters_begin(mla_decoder *model) {
    const mla_linear_layer *projection;
    mla_tape *tape;
    mla_status status = mla_tape_create(model->context, &tape, NULL);
    for (int64_t i = 0; !status && (projection = mla_decoder_projection(model, i)); i++)
        for (const mla_lora_layer *l = projection->lora; l && !status; l = l->next)
            status = l->share < 0 ? MLA_OK : begin_layer(tape, projection, l);
    mla_tape_destroy(tape);
    mla_params_changed(model->params);
    return status;
}

/* ---- in files ---- */

mla_status mla_adapters_each(const mla_decoder *model, mla_adapters_visit visit, void *user) {
    static const char *const endings[2][3] = {
        {"lora_A.weight", "lora_B.weight", "lora_magnitude_vector"},
        {"lora_A.start.weight", "lora_B.start.weight", "lora_magnitude_vector.start"}};
    const mla_linear_layer *projection;
    mla_status status = MLA_OK;
    for (int64_t i = 0; !status && (projection = mla_decoder_projection(model, i)); i++) {
        const mla_lora_layer *l = projection->lora;
        for (int k = 0; k < 2 && l; k++, l = l->next) {
            const mla_tensor *const tensors[] = {l->a, l->b, l->magnitude};
            for (int j = 0; j < 3 && !status; j++) {
                char name[2 * LONGEST_PATTERN];
                snprintf(name, sizeof name, "base_model.model.%.*s.%s", mla_adapters_stem(projection),
                         projection->weight->name, endings[k][j]);
                if (tensors[j]) status = visit(user, name, tensors[j]);
            }
        }
    }
    return status ? status : visit_head(model, visit, user);
}

/* ---- merging ---- */

mla_status mla_adapters_merge(mla_decoder *model) {
    const mla_linear_layer *projection;
    mla_tape *tape;
    mla_status status = mla_tape_create(model->context, &tape, NULL);
    for (int64_t i = 0; !status && (projection = mla_decoder_projection(model, i)); i++) {
        mla_tape_begin(tape, &(mla_step){.inference = true});
        const mla_tensor *merged = mla_linear_weight(tape, projection);
        if (projection->lora && projection->weight->dtype != MLA_F32)
            mla_fail(model->context, MLA_ERROR_ARGUMENT, "%s is kept in bf16: adapters are merged into f32 only",
                     projection->weight->name);
        status = mla_error_status(model->context);
        if (!status && projection->lora) memcpy(projection->weight->data, merged->data, (size_t)mla_size(merged));
    }
    mla_tape_destroy(tape);
    if (status) return status;
    mla_decoder_remove_adapters(model);
    give_head_back(model);
    mla_params_changed(model->params);
    return MLA_OK;
}
