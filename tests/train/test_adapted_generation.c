/* Generation with adapters on all projections, 500 tokens far: the absorbed form, the expanded form and the full
 * forward pass say the same; and a form that leaves out the adapters of kv_b_proj says something else. */
#include "layers/adapt/adapters.h"
#include "layers/adapt/latent_rank.h"
#include "tests/support/check.h"
#include "train/inference/generation.h"

#include <string.h>

enum { V = 97, POSITIONS = 512, TOKENS = 500 };

static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6};
enum { PROMPT = sizeof prompt / sizeof *prompt };

static const struct {
    const char *name;
    int64_t query_rank;
    bool dora, latent_norm;
} cases[] = {{"LoRA", 0, false, true}, {"DoRA, query rank", 10, true, true}};
enum { CASES = sizeof cases / sizeof *cases };

static mla_decoder *make_model(mla_context *context, int i) {
    mla_model_config c;
    mla_lora_options lora;
    mla_decoder *model;
    mla_model_config_default(context, &c);
    c.vocab_size = V, c.hidden_size = 32, c.intermediate_size = 48, c.num_hidden_layers = 2, c.num_attention_heads = 4;
    c.max_position_embeddings = POSITIONS, c.initializer_range = 0.25, c.q_lora_rank = cases[i].query_rank;
    c.kv_lora_rank = 12, c.qk_nope_head_dim = 8, c.qk_rope_head_dim = 4, c.v_head_dim = 6;
    c.latent_norm = cases[i].latent_norm;
    check_ok(context, mla_fields_default(context, &mla_lora_fields, &lora));
    check_ok(context, mla_list_append(context, &lora.targets, "*:3:6"));
    lora.dora = cases[i].dora;
    check_ok(context, mla_decoder_create(context, &model, &c));
    check_ok(context, mla_adapters_attach(model, &lora));
    check_ok(context, mla_params_allocate(model->params, false));
    mla_params_initialise(model->params, 11);
    for (int64_t k = 0; k < mla_params_count(model->params); k++) { /* B is not zero */
        mla_param *p = mla_params_at(model->params, k);
        if (p->spec.adapter && p->spec.ndim == 2)
            for (int64_t j = 0; j < p->count; j++)
                ((float *)p->tensor.data)[j] = 0.3f * (float)((j * 7 + k) % 11 - 5) / 5;
    }
    check_ok(context, mla_adapters_begin(model));
    mla_fields_free(&mla_lora_fields, &lora);
    return model;
}

typedef struct {
    int32_t ids[TOKENS];
    float logits[TOKENS][V];
    int64_t count;
} text;

static mla_status keep(void *user, int32_t id, const float *logits) {
    text *t = user;
    t->ids[t->count] = id;
    memcpy(t->logits[t->count++], logits, sizeof *t->logits);
    return MLA_OK;
}

static void generate(mla_decoder *model, mla_decode_form form, text *out) {
    mla_generation result;
    out->count = 0;
    check_ok(
        model->context,
        mla_generate(
            model->context, model,
            &(mla_generation_options){
                .prompt = prompt, .prompt_count = PROMPT, .tokens = TOKENS, .form = form, .token = keep, .user = out},
            &result));
    assert_int_equal(out->count, TOKENS);
}

static double largest_error(const text *a, const text *b) {
    double worst = 0;
    for (int i = 0; i < TOKENS; i++) {
        const double error = relative_error(V, a->logits[i], b->logits[i]);
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

/* What a decoder would say that has forgotten the adapters of kv_b_proj. */
static void generate_without_kv_b(mla_decoder *model, mla_decode_form form, text *out) {
    mla_lora_layer *saved[2];
    for (int i = 0; i < 2; i++) {
        saved[i] = mla_latent_layer_at(model, i)->kv_b_proj.lora;
        assert_non_null(saved[i]);
        mla_latent_layer_at(model, i)->kv_b_proj.lora = NULL;
    }
    generate(model, form, out);
    for (int i = 0; i < 2; i++) mla_latent_layer_at(model, i)->kv_b_proj.lora = saved[i];
}

static void all_forms_say_the_same(void **state) {
    static text full, other;
    for (int i = 0; i < CASES; i++) {
        mla_decoder *model = make_model(*state, i);
        generate(model, MLA_DECODE_FULL, &full);
        for (mla_decode_form form = MLA_DECODE_ABSORBED; form < MLA_DECODE_FULL; form++) {
            generate(model, form, &other);
            const double error = largest_error(&other, &full);
            if (memcmp(full.ids, other.ids, sizeof full.ids) || !(error < 1e-4))
                fail_msg("%s, form %d: other tokens, or logits off by %g", cases[i].name, form, error);
            generate_without_kv_b(model, form, &other);
            if (!memcmp(full.ids, other.ids, sizeof full.ids))
                fail_msg("%s, form %d: without kv_b_proj's adapters the text is the same", cases[i].name, form);
        }
        mla_decoder_destroy(model);
    }
}

static int setup(void **state) { return mla_context_create((mla_context **)state, NULL) != MLA_OK; }
static int teardown(void **state) {
    mla_context_destroy(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_forms_say_the_same)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
