#include "layers/head/language.h"

static mla_status language_build(const mla_builder *b, void *head, mla_tensor *embeddings) {
    mla_language_head *h = head;
    const mla_param_spec spec = {.name = "lm_head.weight",
                                 .ndim = 2,
                                 .decay = true,
                                 .takes_bf16 = true,
                                 .shape = {b->config->vocab_size, b->config->hidden_size},
                                 .init = MLA_INIT_NORMAL,
                                 .scale = (float)b->config->initializer_range};
    h->weight = b->config->tie_word_embeddings ? embeddings : mla_params_add(b->params, &spec);
    return mla_error_status(b->context);
}

static mla_status check(mla_context *context, const char *where, mla_model_config *config) {
    if (!config->num_labels) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%snum_labels: a language model has none; set head: sequence or token, or leave it out", where);
}

static mla_tensor *logits(mla_tape *tape, const void *head, mla_tensor *hidden, const mla_pass *pass) {
    const mla_language_head *h = head;
    (void)pass;
    return mla_tape_is_inference(tape) ? mla_logits(tape, hidden, h->weight)
                                       : mla_linear(tape, hidden, h->weight, NULL);
}

/* Cross-entropy with the next token, in nats. */
static mla_tensor *loss(mla_tape *tape, const void *head, mla_tensor *hidden, const mla_batch *batch) {
    const mla_language_head *h = head;
    return mla_output_loss(tape, hidden, h->weight, batch->targets, &(mla_output_loss_options){.scale = batch->scale});
}

const mla_head_kind mla_language_kind = {.name = "language",
                                         .size = sizeof(mla_language_head),
                                         .check = check,
                                         .build = language_build,
                                         .logits = logits,
                                         .loss = loss};
