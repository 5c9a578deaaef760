/* The cache: its size, its limits, and that a sequence token by token gives what it gives as a whole. */
#include "autograd/base/bfloat16.h"
#include "autograd/kernels/rows.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <stdlib.h>
#include <string.h>

enum { T = 12 };

static void bytes_per_token(void **state) {
    static const struct {
        const char *settings;
        int64_t floats;
    } cases[] = {{"", 2 * (7 + 4)},
                 {"position=none", 2 * 7},
                 {"kv_lora_ranks=5,9", 5 + 4 + 9 + 4},
                 {"num_hidden_layers=5 kv_lora_rank=512 qk_rope_head_dim=64", 5 * 576},
                 {"attention=multi_head", 2 * 2 * 4 * 4},
                 {"attention=multi_head num_key_value_heads=2", 2 * 2 * 2 * 4},
                 {"attention=multi_head num_key_value_heads=1 head_dim=6", 2 * 2 * 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_model_config config = small_config(*state, cases[i].settings);
        assert_int_equal(mla_kv_cache_bytes_per_token(&config, MLA_F32), 4 * cases[i].floats);
        assert_int_equal(mla_kv_cache_bytes_per_token(&config, MLA_BF16), 2 * cases[i].floats);
    }
}

/* ---- rows ---- */

static void rows_stand_side_by_side(void **state) {
    const mla_model_config config = small_config(*state, "");
    static const float latent[] = {0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 16};
    static const float keys[] = {7, 8, 9, -1, 17, 18, 19, -2};
    const mla_tensor first = {.ndim = 3, .shape = {1, 2, 7}, .data = (void *)(uintptr_t)latent};
    const mla_tensor second = {.ndim = 3, .shape = {1, 2, 4}, .data = (void *)(uintptr_t)keys};
    mla_kv_cache *cache;
    check_ok(*state, mla_kv_cache_create(*state, &cache, &config, 5, MLA_F32));
    mla_layer_cache *layer = mla_kv_cache_layer(cache, 1);
    assert_int_equal(layer->width, 11);
    check_ok(*state, mla_layer_cache_append(*state, layer, &first, &second));
    check_ok(*state, mla_layer_cache_append(*state, layer, &first, &second));
    assert_int_equal(mla_kv_cache_length(cache), 4);
    for (int t = 0; t < 4; t++) {
        assert_memory_equal((float *)layer->rows + t * 11, latent + t % 2 * 7, 7 * sizeof *latent);
        assert_memory_equal((float *)layer->rows + t * 11 + 7, keys + t % 2 * 4, 4 * sizeof *keys);
    }
    check_error(*state, mla_layer_cache_append(*state, layer, &first, &second), MLA_ERROR_ARGUMENT,
                "the cache holds 5 positions, and 6 are needed");
    assert_int_equal(layer->length, 4);
    assert_int_equal(mla_kv_cache_layer(cache, 0)->length, 0);
    mla_kv_cache_destroy(cache);
}

/* What is appended is rounded to the cache's type, whatever it comes in. */
static void rows_are_of_the_cache_type(void **state) {
    enum { C = 7, R = 4 };
    static const float latent[2 * C] = {0, 1.0f / 3, -2.001953125f, 3e38f, 1.00390625f, 1.01171875f, -1e-40f, 7};
    const mla_model_config config = small_config(*state, "");
    static const float keys[2 * R] = {0.1f, 0.2f, 0.3f, 0.4f, 5.5f, -6, 7, 8};
    mla_bf16 rounded[2 * C], key_bits[2 * R];
    for (int i = 0; i < 2 * C; i++) rounded[i] = mla_bf16_from_float(latent[i]);
    for (int i = 0; i < 2 * R; i++) key_bits[i] = mla_bf16_from_float(keys[i]);
    const mla_tensor wide[] = {{.ndim = 3, .shape = {1, 2, C}, .data = (void *)(uintptr_t)latent},
                               {.ndim = 3, .shape = {1, 2, R}, .data = (void *)(uintptr_t)keys}};
    const mla_tensor narrow[] = {{.dtype = MLA_BF16, .ndim = 3, .shape = {1, 2, C}, .data = rounded},
                                 {.dtype = MLA_BF16, .ndim = 3, .shape = {1, 2, R}, .data = key_bits}};
    for (int i = 0; i < 3; i++) {
        mla_kv_cache *cache;
        check_ok(*state, mla_kv_cache_create(*state, &cache, &config, 2, i < 2 ? MLA_BF16 : MLA_F32));
        mla_layer_cache *layer = mla_kv_cache_layer(cache, 1);
        check_ok(*state, mla_layer_cache_append(*state, layer, i ? narrow : wide, i ? narrow + 1 : wide + 1));
        for (int t = 0; t < 2; t++)
            for (int j = 0; j < C + R; j++) {
                const mla_bf16 wanted = j < C ? rounded[t * C + j] : key_bits[t * R + j - C];
                if (i < 2) assert_int_equal(((mla_bf16 *)layer->rows)[t * (C + R) + j], wanted);
                else assert_true(((float *)layer->rows)[t * (C + R) + j] == mla_bf16_to_float(wanted));
            }
        mla_kv_cache_destroy(cache);
    }
}

static void refuses_what_does_not_fit(void **state) {
    const mla_model_config config = small_config(*state, "");
    const mla_tensor two = {.ndim = 3, .shape = {2, 1, 7}}, narrow = {.ndim = 3, .shape = {1, 1, 6}};
    const mla_tensor first = {.ndim = 3, .shape = {1, 1, 7}}, second = {.ndim = 3, .shape = {1, 1, 4}};
    const mla_tensor ids = {.dtype = MLA_I32, .ndim = 3, .shape = {1, 1, 7}};
    const mla_tensor ids_second = {.dtype = MLA_I32, .ndim = 3, .shape = {1, 1, 4}};
    const mla_tensor longer = {.ndim = 3, .shape = {1, 2, 4}}, pair = {.ndim = 3, .shape = {2, 1, 4}};
    const struct {
        const mla_tensor *first, *second;
    } cases[] = {{&two, &pair},  {&narrow, &second}, {&first, &longer},
                 {&first, NULL}, {&ids, &second},    {&first, &ids_second}};
    mla_kv_cache *cache;
    check_ok(*state, mla_kv_cache_create(*state, &cache, &config, 5, MLA_F32));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_error(*state,
                    mla_layer_cache_append(*state, mla_kv_cache_layer(cache, 0), cases[i].first, cases[i].second),
                    MLA_ERROR_SHAPE, "the cache takes (1,T,7) and (1,T,4) of f32 or bf16; got (");
    assert_int_equal(mla_kv_cache_layer(cache, 0)->length, 0);
    mla_kv_cache_destroy(cache);
}

static void refuses_impossible_capacities(void **state) {
    const mla_model_config config = small_config(*state, "");
    mla_kv_cache *cache;
    check_error(*state, mla_kv_cache_create(*state, &cache, &config, 0, MLA_F32), MLA_ERROR_ARGUMENT,
                "at least 1 position, not 0");
    check_error(*state, mla_kv_cache_create(*state, &cache, &config, -3, MLA_F32), MLA_ERROR_ARGUMENT, "not -3");
    check_error(*state, mla_kv_cache_create(*state, &cache, &config, INT64_MAX, MLA_F32), MLA_ERROR_MEMORY,
                "the cache");
    assert_null(cache);
}

/* ---- sequences ---- */

typedef struct {
    mla_decoder *model;
    mla_tape *tape;
    mla_kv_cache *cache;
    int32_t ids[T + 1];
    mla_dtype precision;
} sequence;

static void create_sequence(mla_context *context, sequence *s, const char *settings, int64_t capacity) {
    s->precision = MLA_F32;
    s->model = small_decoder(context, settings);
    check_ok(context, mla_tape_create(context, &s->tape, NULL));
    check_ok(context, mla_kv_cache_create(context, &s->cache, &s->model->config, capacity, MLA_F32));
    fill_ids(T + 1, s->ids);
}

static void destroy_sequence(sequence *s) {
    mla_kv_cache_destroy(s->cache);
    mla_tape_destroy(s->tape);
    mla_decoder_destroy(s->model);
}

/* The logits of positions from `first`, in the precision of s; they live until the next call. */
static const mla_tensor *logits_of(sequence *s, int64_t first, int64_t count, mla_kv_cache *cache) {
    mla_tape_begin(s->tape, &(mla_step){.inference = true, .decoding = cache != NULL, .precision = s->precision});
    mla_tensor *ids = mla_input(s->tape, MLA_I32, 2, (int64_t[]){1, count}, s->ids + first);
    return mla_decoder_logits(s->tape, s->model, ids, &(mla_pass){.cache = cache});
}

static mla_status status_of(const sequence *s) { return mla_error_status(s->model->context); }

/* The first `prompt` tokens at once, the others one by one. */
static void check_sequence(mla_context *context, const char *settings, int64_t prompt, mla_dtype precision) {
    static float whole[T * SMALL_VOCABULARY];
    const double bound = precision == MLA_F32 ? 1e-5 : 3e-2;
    sequence s;
    create_sequence(context, &s, settings, T);
    s.precision = precision;
    const mla_tensor *logits = logits_of(&s, 0, T, NULL);
    check_ok(context, status_of(&s));
    memcpy(whole, logits->data, sizeof whole);
    for (int64_t t = 0; t < T; t += t ? 1 : prompt) {
        const int64_t count = t ? 1 : prompt;
        logits = logits_of(&s, t, count, s.cache);
        check_ok(context, status_of(&s));
        assert_int_equal(mla_kv_cache_length(s.cache), t + count);
        const double error = relative_error(count * SMALL_VOCABULARY, logits->data, whole + t * SMALL_VOCABULARY);
        assert_int_equal(logits->dtype, MLA_F32);
        if (!(error < bound))
            fail_msg("%s, prompt %d: error %.3g at position %d", settings, (int)prompt, error, (int)t);
    }
    destroy_sequence(&s);
}

static void token_by_token_is_as_the_whole(void **state) {
    static const char *const settings[] = {
        "",
        "q_lora_rank=6 rope_interleave=false attention_bias=true",
        "latent_norm=false position=learned",
        "position=none",
        "kv_lora_ranks=9,5",
        "kv_lora_ranks=3,8 latent_norm=false position=learned",
        "rope_scaling.type=yarn rope_scaling.factor=4 rope_scaling.original_max_position_embeddings=4 "
        "rope_scaling.mscale=1 rope_scaling.mscale_all_dim=0.7",
        "attention=multi_head",
        "attention=multi_head num_key_value_heads=2 rope_interleave=false qk_norm=true",
        "attention=multi_head num_key_value_heads=1 position=learned norm_position=post dropout=0.5"};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        check_sequence(*state, settings[i], 1, MLA_F32);
        check_sequence(*state, settings[i], 7, MLA_F32);
        check_sequence(*state, settings[i], 7, MLA_BF16);
    }
}

/* The rows of one cache as those of another. */
static void copy_rows(mla_kv_cache *from, mla_kv_cache *to) {
    for (int64_t i = 0; i < 2; i++) {
        const mla_layer_cache *a = mla_kv_cache_layer(from, i), *b = mla_kv_cache_layer(to, i);
        mla_widen(a->length * a->width, a->rows, b->rows);
    }
}

/* A cache of bf16 gives what one of f32 does that holds the same rounded numbers. */
static void bf16_caches_are_rounded_and_no_more(void **state) {
    static const char *const settings[] = {"", "q_lora_rank=6 latent_norm=false position=none", "attention=multi_head",
                                           "attention=multi_head num_key_value_heads=2"};
    for (size_t i = 0; i < 2 * sizeof settings / sizeof *settings; i++) {
        float wanted[SMALL_VOCABULARY];
        sequence s;
        mla_kv_cache *half;
        create_sequence(*state, &s, settings[i / 2], T);
        check_ok(*state, mla_kv_cache_create(*state, &half, &s.model->config, T, MLA_BF16));
        if (i % 2) mla_kv_cache_expand(half);
        if (i % 2) mla_kv_cache_expand(s.cache);
        logits_of(&s, 0, 3, s.cache);
        logits_of(&s, 0, 3, half);
        for (int64_t t = 3; t < T; t++) {
            copy_rows(half, s.cache);
            for (int64_t k = 0; k < 2; k++) mla_kv_cache_layer(s.cache, k)->length = t;
            memcpy(wanted, logits_of(&s, t, 1, s.cache)->data, sizeof wanted);
            const double error = relative_error(SMALL_VOCABULARY, logits_of(&s, t, 1, half)->data, wanted);
            check_ok(*state, status_of(&s));
            /* the newest row alone is rounded in one of them */
            if (!(error < 2e-3)) fail_msg("%s: error %.3g at position %d", settings[i / 2], error, (int)t);
            assert_true(error > 0);
        }
        mla_kv_cache_destroy(half);
        destroy_sequence(&s);
    }
}

static void sequences_end_with_the_cache(void **state) {
    static const char *const settings[] = {"", "attention=multi_head"};
    for (int i = 0; i < 2; i++) {
        sequence s;
        create_sequence(*state, &s, settings[i], 4);
        logits_of(&s, 0, 5, s.cache);
        check_error(*state, status_of(&s), MLA_ERROR_ARGUMENT, "the cache holds 4 positions, and 5 are needed");
        assert_int_equal(mla_kv_cache_length(s.cache), 0);
        logits_of(&s, 0, 4, s.cache);
        check_ok(*state, status_of(&s));
        logits_of(&s, 4, 1, s.cache);
        check_error(*state, status_of(&s), MLA_ERROR_ARGUMENT, "the cache holds 4 positions, and 5 are needed");
        destroy_sequence(&s);
    }
}

static void sequences_end_with_the_model(void **state) {
    sequence s;
    create_sequence(*state, &s, "max_position_embeddings=6", 100);
    logits_of(&s, 0, 5, s.cache);
    logits_of(&s, 5, 1, s.cache);
    check_ok(*state, status_of(&s));
    logits_of(&s, 6, 1, s.cache);
    check_error(*state, status_of(&s), MLA_ERROR_SHAPE,
                "a sequence of 7 tokens is longer than max_position_embeddings 6");
    destroy_sequence(&s);
}

/* Rows of a model with other layers, or of other widths, would be read beyond their ends. */
static void refuses_the_cache_of_another_model(void **state) {
    static const struct {
        const char *settings, *words;
    } cases[] = {{"num_hidden_layers=1", "the cache was made for a model with num_hidden_layers 1, and this one has 2"},
                 {"num_hidden_layers=3", "the cache was made for a model with num_hidden_layers 3, and this one has 2"},
                 {"kv_lora_rank=6", "the cache has rows of 6 + 4 elements in layer 0, and this model's are 7 + 4"},
                 {"kv_lora_ranks=7,5", "the cache has rows of 5 + 4 elements in layer 1, and this model's are 7 + 4"},
                 {"attention=multi_head", "in layer 0, and this model's are 7 + 4: make a cache for this model"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_model_config other = small_config(*state, cases[i].settings);
        mla_kv_cache *cache;
        sequence s;
        create_sequence(*state, &s, "", T);
        check_ok(*state, mla_kv_cache_create(*state, &cache, &other, T, MLA_F32));
        logits_of(&s, 0, 3, cache);
        check_error(*state, status_of(&s), MLA_ERROR_ARGUMENT, cases[i].words);
        mla_kv_cache_destroy(cache);
        destroy_sequence(&s);
    }
}

static void refuses_other_uses(void **state) {
    sequence s;
    create_sequence(*state, &s, "", T);
    mla_tape_begin(s.tape, &(mla_step){.inference = true});
    mla_decoder_hidden(s.tape, s.model, mla_input(s.tape, MLA_I32, 2, (int64_t[]){2, 3}, s.ids),
                       &(mla_pass){.cache = s.cache});
    check_error(*state, status_of(&s), MLA_ERROR_SHAPE,
                "with a cache, ids must be (1,T) at first, then (1,1); got (2,3)");
    logits_of(&s, 0, 3, s.cache);
    check_ok(*state, status_of(&s));
    logits_of(&s, 3, 2, s.cache);
    check_error(*state, status_of(&s), MLA_ERROR_SHAPE, "then (1,1); got (1,2)");
    destroy_sequence(&s);
    create_sequence(*state, &s, "causal=false", T);
    logits_of(&s, 0, 3, s.cache);
    check_error(*state, status_of(&s), MLA_ERROR_ARGUMENT, "a model with causal: false cannot use a cache");
    destroy_sequence(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_per_token),
                                       cmocka_unit_test(rows_stand_side_by_side),
                                       cmocka_unit_test(rows_are_of_the_cache_type),
                                       cmocka_unit_test(refuses_what_does_not_fit),
                                       cmocka_unit_test(refuses_impossible_capacities),
                                       cmocka_unit_test(token_by_token_is_as_the_whole),
                                       cmocka_unit_test(bf16_caches_are_rounded_and_no_more),
                                       cmocka_unit_test(sequences_end_with_the_cache),
                                       cmocka_unit_test(sequences_end_with_the_model),
                                       cmocka_unit_test(refuses_the_cache_of_another_model),
                                       cmocka_unit_test(refuses_other_uses)};
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
