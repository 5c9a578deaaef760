/* Trains a two-layer decoder with latent attention, by the library alone, until it knows a sentence by heart. */
#include <layers/decoder.h>
#include <optim/adamw.h>
#include <optim/clip.h>

#include <stdio.h>
#include <string.h>

static const char text[] = "Keys and values pass through a narrow latent, and only the latent is cached.";
enum { LENGTH = sizeof text - 2, STEPS = 60 }; /* every letter is predicted from those before it */

static mla_status build(mla_context *context, mla_decoder **model, mla_adamw_state *moments) {
    mla_model_config config;
    mla_model_config_default(context, &config);
    config.vocab_size = 256;
    config.hidden_size = 64;
    config.intermediate_size = 128;
    config.num_hidden_layers = 2;
    config.kv_lora_rank = 16;
    config.qk_rope_head_dim = 8;
    mla_status status = mla_model_config_check(context, "", &config);
    if (!status) status = mla_decoder_create(context, model, &config);
    if (!status) status = mla_params_allocate((*model)->params, true);
    if (!status) status = mla_adamw_state_allocate(context, moments, (*model)->params);
    if (!status) mla_params_initialise((*model)->params, 1);
    return status;
}

/* One step of gradient descent; *loss in nats per letter. */
static mla_status step(mla_tape *tape, mla_decoder *model, mla_adamw_state *moments, double *loss) {
    const int64_t shape[] = {1, LENGTH};
    const mla_adamw_options options = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f};
    int32_t ids[LENGTH], targets[LENGTH];
    for (int i = 0; i < LENGTH; i++) ids[i] = text[i], targets[i] = text[i + 1];
    mla_params_clear_gradients(model->params);
    mla_tape_begin(tape, &(mla_step){.step = (uint64_t)moments->steps, .training = true});
    const mla_batch batch = {.ids = mla_input(tape, MLA_I32, 2, shape, ids),
                             .targets = mla_input(tape, MLA_I32, 2, shape, targets),
                             .scale = 1.0f / LENGTH};
    mla_tensor *result = mla_decoder_loss(tape, model, &batch);
    const mla_status status = mla_backward(tape, result);
    if (status) return status;
    *loss = (double)*(const float *)result->data;
    mla_adamw_step(moments, model->params, &options, 1e-2f, mla_clip_scale(mla_gradient_norm(model->params), 1));
    return MLA_OK;
}

int main(void) {
    mla_context *context;
    mla_decoder *model = NULL;
    mla_adamw_state moments = {0};
    mla_tape *tape = NULL;
    double first = 0, loss = 0;
    if (mla_context_create(&context, NULL)) return 1;
    mla_status status = build(context, &model, &moments);
    if (!status) status = mla_tape_create(context, &tape, NULL);
    if (!status) status = step(tape, model, &moments, &first);
    for (int i = 1; i < STEPS && !status; i++) status = step(tape, model, &moments, &loss);
    if (status) fprintf(stderr, "memorise: %s\n", mla_error(context));
    else printf("loss %.3f, after %d steps %.3f nats per letter\n", first, STEPS, loss);
    mla_tape_destroy(tape);
    mla_adamw_state_free(&moments);
    mla_decoder_destroy(model);
    mla_context_destroy(context);
    return status || !(first > 4 && loss < 0.1); /* NaN fails */
}
