/* A checkpoint, changed, with a seal or without: refused, or its model, moments, state and texts can be read, and every
 * number is finite. */
#include "layers/decoder.h"
#include "tests/fuzz/edits.h"
#include "train/checkpoint/checkpoint.h"

#include <math.h>
#include <stdlib.h>

static void make_config(mla_context *context, mla_model_config *c) {
    mla_model_config_default(context, c);
    c->vocab_size = 7;
    c->hidden_size = 8;
    c->intermediate_size = 6;
    c->num_hidden_layers = 1;
    c->num_attention_heads = 2;
    c->kv_lora_rank = 3;
    c->qk_nope_head_dim = 4;
    c->qk_rope_head_dim = 2;
    c->v_head_dim = 4;
    c->max_position_embeddings = 8;
    if (mla_model_config_check(context, "", c)) abort();
}

static void make_valid(mla_context *context) {
    mla_model_config config;
    mla_decoder *model;
    mla_adamw_state moments;
    const mla_run_state state = {.step = 3, .samples = 12, .tokens = 99, .data_tokens = 1000, .seed = 1};
    make_config(context, &config);
    if (mla_decoder_create(context, &model, &config) || mla_params_allocate(model->params, true)) abort();
    mla_params_initialise(model->params, 1);
    if (mla_adamw_state_allocate(context, &moments, model->params)) abort();
    const mla_checkpoint_content content = {
        .model = model, .moments = &moments, .state = &state, .recipe = "{}", .tokenizer = "{}", .hugging_face = "{}"};
    if (mla_checkpoint_save(context, fuzz_path(), &content, (mla_step_hook){0})) abort();
    mla_adamw_state_free(&moments);
    mla_decoder_destroy(model);
    fuzz_keep_valid();
}

static void read_adapter(mla_context *context, mla_checkpoint *checkpoint) {
    mla_h5_info *all = NULL;
    int64_t count = 0;
    if (mla_checkpoint_list_adapter(checkpoint, &all, &count) && (all || count)) abort();
    free(all);
    mla_clear_error(context);
}

static void read_model(mla_context *context, mla_checkpoint *checkpoint, mla_decoder *model) {
    mla_adamw_state moments = {0};
    if (mla_params_elements(model->params, false) > 1 << 20 || mla_params_allocate(model->params, true)) return;
    if (!mla_checkpoint_read_params(checkpoint, model->params))
        for (int64_t i = 0; i < mla_params_count(model->params); i++) {
            const mla_param *p = mla_params_at(model->params, i);
            for (int64_t k = 0; k < p->count; k++)
                if (!isfinite(((const float *)p->tensor.data)[k])) abort();
        }
    mla_clear_error(context);
    if (!mla_adamw_state_allocate(context, &moments, model->params))
        mla_checkpoint_read_moments(checkpoint, model->params, &moments);
    mla_clear_error(context);
    mla_adamw_state_free(&moments);
}

static void read_all(mla_context *context, mla_checkpoint *checkpoint) {
    const mla_model_config *c = mla_checkpoint_config(checkpoint);
    mla_decoder *model = NULL;
    mla_run_state state;
    if (!mla_checkpoint_read_state(checkpoint, &state) && (state.step < 0 || state.samples < 0 || state.tokens < 0))
        abort();
    mla_clear_error(context);
    read_adapter(context, checkpoint);
    if (c->num_hidden_layers > 64 || c->max_position_embeddings > 1 << 16) return; /* a large model takes long */
    if (!mla_decoder_create(context, &model, c)) read_model(context, checkpoint, model);
    mla_decoder_destroy(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    mla_context *context;
    mla_checkpoint *checkpoint;
    if (!size || mla_context_create(&context, &(mla_context_options){.threads = 1})) return 0;
    if (!made) make_valid(context);
    made = true;
    fuzz_edit(context, data + 1, size - 1, data[0] & 1);
    const mla_status status = mla_checkpoint_open_any(context, &checkpoint, fuzz_path());
    if (status != mla_error_status(context) || (status != MLA_OK) != (checkpoint == NULL)) abort();
    if (checkpoint) read_all(context, checkpoint);
    mla_checkpoint_close(checkpoint);
    mla_context_destroy(context);
    return 0;
}
