#include "layers/head/classification.h"

/* ---- checks ---- */

static mla_status check_labels(mla_context *context, const char *where, mla_model_config *c) {
    const int64_t least = c->problem_type == MLA_PROBLEM_SINGLE_LABEL ? 2 : 1;
    if (c->num_labels >= least) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%snum_labels: %lld, a head that labels needs at least %lld", where,
                    (long long)c->num_labels, (long long)least);
}

static mla_status check_token(mla_context *context, const char *where, mla_model_config *c) {
    if (c->problem_type != MLA_PROBLEM_SINGLE_LABEL)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%sproblem_type: a token has one label; use single_label_classification, or head: sequence",
                        where);
    if (c->pooling != MLA_POOLING_LAST)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%spooling: is for head: sequence; a token is labelled by itself",
                        where);
    return check_labels(context, where, c);
}

/* ---- building ---- */

static mla_tensor *add_score(const mla_builder *b, const char *name, int ndim) {
    const mla_model_config *c = b->config;
    const bool matrix = ndim == 2;
    return mla_params_add(b->params, &(mla_param_spec){.name = name,
                                                       .ndim = ndim,
                                                       .decay = matrix,
                                                       .takes_bf16 = matrix,
                                                       .shape = {c->num_labels, matrix ? c->hidden_size : 0},
                                                       .init = matrix ? MLA_INIT_NORMAL : MLA_INIT_ZERO,
                                                       .scale = matrix ? (float)c->initializer_range : 0});
}

static mla_status build_sequence(const mla_builder *b, void *head, mla_tensor *embeddings) {
    mla_classification_head *h = head;
    (void)embeddings;
    *h = (mla_classification_head){.config = b->config, .weight = add_score(b, "score.weight", 2)};
    return mla_error_status(b->context);
}

static mla_status build_token(const mla_builder *b, void *head, mla_tensor *embeddings) {
    const mla_status status = build_sequence(b, head, embeddings);
    if (!status) ((mla_classification_head *)head)->bias = add_score(b, "score.bias", 1);
    return mla_error_status(b->context);
}

/* ---- applying ---- */

static mla_tensor *classification_logits(mla_tape *tape, const void *head, mla_tensor *hidden, const mla_pass *pass) {
    const mla_classification_head *h = head;
    const float p = (float)h->config->classifier_dropout;
    if (h->config->pooling == MLA_POOLING_MEAN) hidden = mla_running_mean(tape, hidden, pass->starts);
    if (p > 0) hidden = mla_dropout(tape, hidden, p);
    return mla_linear(tape, hidden, h->weight, h->bias);
}

mla_labels_kind mla_classification_labels(const mla_model_config *config) {
    return config->problem_type == MLA_PROBLEM_REGRESSION    ? MLA_LABELS_NUMBERS
           : config->problem_type == MLA_PROBLEM_MULTI_LABEL ? MLA_LABELS_FLAGS
                                                             : MLA_LABELS_CLASSES;
}

mla_tensor *mla_classification_loss(mla_tape *tape, const mla_model_config *config, mla_tensor *logits,
                                    const mla_batch *batch) {
    const mla_label_loss_options options = {.kind = mla_classification_labels(config),
                                            .scale = batch->scale,
                                            .smoothing = batch->label_smoothing,
                                            .weights = batch->label_weights};
    return mla_label_loss(tape, logits, batch->targets, batch->labels, &options);
}

static mla_tensor *classification_head_loss(mla_tape *tape, const void *head, mla_tensor *hidden,
                                            const mla_batch *batch) {
    const mla_classification_head *h = head;
    return mla_classification_loss(tape, h->config, classification_logits(tape, head, hidden, &batch->pass), batch);
}

const mla_head_kind mla_sequence_kind = {.name = "sequence",
                                         .size = sizeof(mla_classification_head),
                                         .labels = MLA_LABELS_OF_DOCUMENTS,
                                         .check = check_labels,
                                         .build = build_sequence,
                                         .logits = classification_logits,
                                         .loss = classification_head_loss};

const mla_head_kind mla_token_kind = {.name = "token",
                                      .size = sizeof(mla_classification_head),
                                      .labels = MLA_LABELS_OF_TOKENS,
                                      .check = check_token,
                                      .build = build_token,
                                      .logits = classification_logits,
                                      .loss = classification_head_loss};
