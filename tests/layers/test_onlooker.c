/* Attention step by step, for those who look into a model: the same result as otherwise, and steps of the shapes that
 * are stated. */
#include "layers/attention/kv_cache.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 9, H = 4 };

static const char *const settings[] = {
    "",
    "q_lora_rank=6 latent_norm=false",
    "position=none kv_lora_ranks=7,4",
    "qk_norm=true head_dim=6 num_key_value_heads=2",
    "causal=false position=learned",
    "attention=multi_head head_dim=6",
    "attention=multi_head num_key_value_heads=2 qk_norm=true norm_position=post",
    "attention=multi_head num_key_value_heads=1 position=none",
};

typedef struct {
    int64_t seen[2][MLA_ATTENTION_STEPS]; /* a layer */
    int64_t query_width, key_width;
    bool has_scale;
} sights;

static void see(void *user, mla_tape *tape, const mla_attention_sight *s) {
    sights *all = user;
    (void)tape;
    all->seen[s->layer][s->step]++;
    assert_int_equal(s->first->shape[0], B);
    assert_int_equal(s->first->shape[1], T);
    if (s->step == MLA_STEP_QUERIES) all->query_width = mla_width(s->first);
    if (s->step == MLA_STEP_QUERIES) all->has_scale = s->scale > 0;
    if (s->step == MLA_STEP_KEYS) all->key_width = mla_width(s->first);
    assert_true((s->second != NULL) <= (s->step == MLA_STEP_KEYS || s->step == MLA_STEP_LATENT));
}

static float *logits(mla_tape *tape, const mla_decoder *model, const int32_t *ids, const mla_pass *pass) {
    mla_tape_begin(tape, &(mla_step){.inference = true});
    const mla_tensor *y = mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){B, T}, ids), pass);
    check_ok(model->context, mla_error_status(model->context));
    float *out = malloc((size_t)mla_size(y));
    return memcpy(out, y->data, (size_t)mla_size(y));
}

static void looked_at_is_the_same(void **state) {
    const tape_fixture *f = *state;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        mla_decoder *model = small_decoder(f->context, settings[i]);
        sights all = {0};
        const mla_onlooker onlooker = {see, &all};
        int32_t ids[B * T];
        fill_ids(B * T, ids);
        float *plain = logits(f->tape, model, ids, NULL),
              *shown = logits(f->tape, model, ids, &(mla_pass){.onlooker = &onlooker});
        assert_true(relative_error(B * T * SMALL_VOCABULARY, shown, plain) < 2e-6);
        const bool latent = !strstr(settings[i], "multi_head");
        for (int layer = 0; layer < 2; layer++)
            for (int step = 0; step < MLA_ATTENTION_STEPS; step++)
                assert_int_equal(all.seen[layer][step], step == MLA_STEP_LATENT ? latent : 1);
        assert_int_equal(all.query_width, all.key_width);
        assert_true(all.has_scale);
        free(plain), free(shown);
        mla_decoder_destroy(model);
    }
}

static void refuses_a_cache_and_what_has_no_steps(void **state) {
    const tape_fixture *f = *state;
    mla_decoder *model = small_decoder(f->context, "");
    sights all = {0};
    const mla_onlooker onlooker = {see, &all};
    const int32_t ids[] = {1, 2};
    mla_kv_cache *cache;
    check_ok(f->context, mla_kv_cache_create(f->context, &cache, &model->config, 4, MLA_F32));
    mla_tape_begin(f->tape, &(mla_step){.inference = true});
    mla_decoder_hidden(f->tape, model, mla_input(f->tape, MLA_I32, 2, (int64_t[]){1, 2}, ids),
                       &(mla_pass){.onlooker = &onlooker, .cache = cache});
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_ARGUMENT, "latent cannot be looked into while");

    mla_attention_kind blind = *model->config.attention;
    blind.apply_in_steps = NULL;
    model->config.attention = &blind;
    mla_tape_begin(f->tape, &(mla_step){.inference = true});
    mla_decoder_hidden(f->tape, model, mla_input(f->tape, MLA_I32, 2, (int64_t[]){1, 2}, ids),
                       &(mla_pass){.onlooker = &onlooker});
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_ARGUMENT, "latent cannot be looked into");
    mla_kv_cache_destroy(cache);
    mla_decoder_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(looked_at_is_the_same),
                                       cmocka_unit_test(refuses_a_cache_and_what_has_no_steps)};
    return cmocka_run_group_tests(tests, create_tape, destroy_tape);
}
