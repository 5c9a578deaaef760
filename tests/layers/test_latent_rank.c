/* Another rank for a layer: growing changes nothing and can learn; shrinking loses nothing where nothing is
 * there to be lost, and otherwise what counts least. */
#include "layers/adapt/latent_rank.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = 16, BATCH = 8, TOKENS = BATCH * T };

/* With every kind of layer. */
static const char *const kinds[] = {"", "latent_norm=false position=learned", "q_lora_rank=6 attention_bias=true"};
enum { KINDS = 3 };

typedef struct {
    mla_context *context;
    mla_decoder *model, *changed;
    mla_tape *tape;
    float x[TOKENS * SMALL_WIDTH];
} setting;

static mla_latent_layer *layer(const mla_decoder *model) { return mla_latent_layer_at(model, 0); }

static void copy_params(const mla_decoder *from, const mla_decoder *to) {
    for (int64_t i = 0; i < mla_params_count(to->params); i++) {
        const mla_param *p = mla_params_at(to->params, i), *old = mla_params_find(from->params, p->spec.name);
        if (p->count == old->count) memcpy(p->tensor.data, old->tensor.data, (size_t)p->count * sizeof(float));
    }
}

/* A model, one with latents of another rank and no values in those yet, and an input. */
static void create(mla_context *context, setting *s, const char *kind, int rank) {
    char text[256];
    snprintf(text, sizeof text, "%s kv_lora_rank=%d", kind, rank);
    s->context = context;
    s->model = small_decoder(context, kind);
    s->changed = small_decoder(context, text);
    copy_params(s->model, s->changed);
    check_ok(context, mla_tape_create(context, &s->tape, NULL));
    fill_values(s->x, TOKENS * SMALL_WIDTH, "x", 1);
}

static void destroy(setting *s) {
    mla_tape_destroy(s->tape);
    mla_decoder_destroy(s->model);
    mla_decoder_destroy(s->changed);
}

/* The output, which lives until the next call. */
static mla_tensor *apply(setting *s, const mla_decoder *model, bool recorded) {
    mla_tape_begin(s->tape, &(mla_step){.inference = !recorded});
    return mla_latent_layer_apply(s->tape, layer(model),
                                  mla_input(s->tape, MLA_F32, 3, (int64_t[]){BATCH, T, SMALL_WIDTH}, s->x),
                                  &(mla_pass){0}, NULL);
}

/* Between the outputs of both. */
static double error_of(setting *s) {
    static float old[TOKENS * SMALL_WIDTH];
    memcpy(old, apply(s, s->model, false)->data, sizeof old);
    const mla_tensor *new = apply(s, s->changed, false);
    check_ok(s->context, mla_error_status(s->context));
    return relative_error(TOKENS * SMALL_WIDTH, new->data, old);
}

/* ---- growing ---- */

static void growing_changes_nothing(void **state) {
    for (int i = 0; i < 2 * KINDS; i++) {
        setting s;
        create(*state, &s, kinds[i / 2], i % 2 ? 7 : 12);
        check_ok(*state, mla_latent_layer_resize(*state, layer(s.model), NULL, NULL, layer(s.changed)));
        const double error = error_of(&s);
        if (!(error < (i % 2 ? 1e-12 : 1e-6))) fail_msg("%s: error %g", kinds[i / 2], error);
        destroy(&s);
    }
}

/* Latents so small that eps is as large: the mean over more elements must not be another. */
static void growing_minds_eps(void **state) {
    setting s;
    create(*state, &s, "", 14);
    for (int i = 0; i < TOKENS * SMALL_WIDTH; i++) s.x[i] *= 1e-3f;
    check_ok(*state, mla_latent_layer_resize(*state, layer(s.model), NULL, NULL, layer(s.changed)));
    assert_true(error_of(&s) < 1e-6);
    destroy(&s);
}

static double length_of(const float *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

static void new_dimensions_can_learn(void **state) {
    for (int i = 0; i < KINDS; i++) {
        setting s;
        create(*state, &s, kinds[i], 12);
        check_ok(*state, mla_latent_layer_resize(*state, layer(s.model), NULL, NULL, layer(s.changed)));
        const mla_tensor *kv_a = layer(s.changed)->kv_a_proj.weight;
        assert_true(length_of((float *)kv_a->data + 7 * SMALL_WIDTH, 5 * SMALL_WIDTH) == 0);
        mla_tensor *y = apply(&s, s.changed, true);
        check_ok(*state, mla_backward(s.tape, mla_sum(s.tape, mla_mul(s.tape, y, y))));
        assert_true(kv_a->has_grad);
        for (int row = 7; row < 12; row++)
            assert_true(length_of((float *)kv_a->grad + row * SMALL_WIDTH, SMALL_WIDTH) > 1e-6);
        destroy(&s);
    }
}

/* ---- shrinking ---- */

/* kv_a, with its bias, gives latents of rank 3 only: rows 3 ... 6 are mixtures of those before. */
static void lower_rank(const setting *s) {
    const mla_linear_layer *kv_a = &layer(s->model)->kv_a_proj;
    float *w = kv_a->weight->data, *b = kv_a->bias ? kv_a->bias->data : NULL;
    for (int i = 3; i < 7; i++) {
        for (int j = 0; j < SMALL_WIDTH; j++)
            w[i * SMALL_WIDTH + j] = 0.5f * w[(i % 3) * SMALL_WIDTH + j] - 0.25f * w[(i + 1) % 3 * SMALL_WIDTH + j];
        if (b) b[i] = 0.5f * b[i % 3] - 0.25f * b[(i + 1) % 3];
    }
}

static mla_tensor *see(void *user, mla_tape *tape, const mla_latent_layer *of, mla_tensor *x, mla_tensor *h,
                       mla_tensor *c) {
    (void)of, (void)x;
    mla_latent_sample_add(mla_tape_context(tape), user, mla_rows(h), h->data);
    return c;
}

/* The latents of x, and a unit of gradient for every element. */
static mla_latent_sample sample_of(setting *s) {
    mla_latent_sample sample;
    const mla_latent_probe probe = {see, &sample};
    check_ok(s->context, mla_latent_sample_create(s->context, &sample, layer(s->model), TOKENS));
    layer(s->model)->probe = &probe;
    apply(s, s->model, false);
    layer(s->model)->probe = NULL;
    check_ok(s->context, mla_error_status(s->context));
    assert_int_equal(sample.count, TOKENS);
    for (int64_t i = 0; i < sample.rank; i++) sample.weight[i * sample.rank + i] = TOKENS;
    return sample;
}

static void measured(setting *s, mla_latent_sample *sample, mla_latent_directions *directions) {
    check_ok(s->context, mla_latent_directions_measure(s->context, layer(s->model), sample, directions));
}

static void resize(setting *s, const mla_latent_directions *directions, const mla_latent_sample *sample) {
    check_ok(s->context, mla_latent_layer_resize(s->context, layer(s->model), directions, sample, layer(s->changed)));
}

static void what_is_not_there_is_not_lost(void **state) {
    for (int i = 0; i < KINDS; i++) {
        setting s;
        mla_latent_directions directions;
        create(*state, &s, kinds[i], 3);
        lower_rank(&s);
        mla_latent_sample sample = sample_of(&s);
        measured(&s, &sample, &directions);
        resize(&s, &directions, &sample);
        const double with_text = error_of(&s);
        assert_true(directions.cost[3] < 1e-5 * directions.cost[0]);
        mla_latent_directions_free(&directions);
        check_ok(*state, mla_latent_directions_weights(*state, layer(s.model), &directions));
        resize(&s, &directions, NULL);
        const double by_weights = error_of(&s);
        if (!(with_text < 1e-5 && by_weights < 1e-5))
            fail_msg("%s: %g with text, %g by the weights", kinds[i], with_text, by_weights);
        mla_latent_directions_free(&directions);
        mla_latent_sample_free(&sample);
        destroy(&s);
    }
}

/* The text has three directions only, the weights all of them. */
static void the_text_decides(void **state) {
    for (int i = 0; i < 2; i++) { /* biases would add a direction */
        setting s;
        mla_latent_directions directions;
        create(*state, &s, kinds[i], 3);
        for (int t = 0; t < TOKENS; t++)
            for (int j = 3; j < SMALL_WIDTH; j++) s.x[t * SMALL_WIDTH + j] = s.x[t * SMALL_WIDTH + j % 3];
        mla_latent_sample sample = sample_of(&s);
        measured(&s, &sample, &directions);
        resize(&s, &directions, &sample);
        const double with_text = error_of(&s);
        mla_latent_directions_free(&directions);
        check_ok(*state, mla_latent_directions_weights(*state, layer(s.model), &directions));
        resize(&s, &directions, NULL);
        const double by_weights = error_of(&s);
        if (!(with_text < 1e-5 && by_weights > 1e-2))
            fail_msg("%s: %g with text, %g by the weights", kinds[i], with_text, by_weights);
        mla_latent_directions_free(&directions);
        mla_latent_sample_free(&sample);
        destroy(&s);
    }
}

/* Only one element of the latents matters to the loss, and not even the largest. */
static void the_loss_decides(void **state) {
    for (int i = 0; i < 2; i++) {
        setting s;
        mla_latent_directions directions;
        create(*state, &s, kinds[i], 1);
        mla_latent_sample sample = sample_of(&s);
        memset(sample.weight, 0, 7 * 7 * sizeof *sample.weight);
        float gradients[TOKENS * 7] = {0};
        for (int t = 0; t < TOKENS; t++) gradients[t * 7 + 4] = t % 2 ? 1 : -1;
        check_ok(*state, mla_latent_sample_add_gradients(*state, &sample, TOKENS, gradients));
        measured(&s, &sample, &directions);
        for (int k = 0; k < 7; k++) /* nothing of the others is in it */
            if (k != 4) assert_true(fabs(directions.kept[k]) < 1e-3 * fabs(directions.kept[4]));
        assert_true(directions.cost[1] < 1e-6 * directions.cost[0]);
        mla_latent_directions_free(&directions);
        mla_latent_sample_free(&sample);
        destroy(&s);
    }
}

static void check_directions(const mla_latent_directions *d) {
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 7; j++) {
            double orthonormal = 0, restored = 0;
            for (int k = 0; k < 7; k++) orthonormal += d->basis[i * 7 + k] * d->basis[j * 7 + k];
            for (int k = 0; k < 49; k++) restored += d->basis[k / 7 * 7 + i] * d->turn[k] * d->kept[k % 7 * 7 + j];
            check_close(orthonormal, i == j, 1e-9);
            check_close(restored, i == j, 1e-6);
            if (j < i) check_close(d->turn[i * 7 + j], 0, 1e-9);
        }
    for (int i = 1; i < 7; i++) assert_true(d->cost[i] <= d->cost[i - 1]);
}

/* All of them together give u back; also where the latents have fewer directions, or none. */
static void all_directions_are_all_there_is(void **state) {
    setting s;
    mla_latent_directions d;
    create(*state, &s, "", 3);
    for (int i = 0; i < 3; i++) {
        if (i == 1) lower_rank(&s);
        mla_latent_sample sample = sample_of(&s);
        if (i == 2) {
            memset(sample.h, 0, TOKENS * 7 * sizeof *sample.h);
            memset(sample.weight, 0, 7 * 7 * sizeof *sample.weight);
        }
        measured(&s, &sample, &d);
        check_directions(&d);
        mla_latent_directions_free(&d);
        mla_latent_sample_free(&sample);
    }
    destroy(&s);
}

/* With what the norm makes of fewer directions, least squares with the latents that the new layer has is
 * better. */
static void least_squares_helps(void **state) {
    for (int i = 0; i < KINDS; i += 2) { /* with a norm; without, the directions are least squares already */
        setting s;
        mla_latent_directions directions;
        create(*state, &s, kinds[i], 4);
        mla_latent_sample sample = sample_of(&s);
        measured(&s, &sample, &directions);
        resize(&s, &directions, NULL);
        const double without = error_of(&s);
        resize(&s, &directions, &sample);
        const double with = error_of(&s);
        if (!(with < 0.98 * without)) fail_msg("%s: %g with least squares, %g without", kinds[i], with, without);
        mla_latent_directions_free(&directions);
        mla_latent_sample_free(&sample);
        destroy(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(growing_changes_nothing),
                                       cmocka_unit_test(growing_minds_eps),
                                       cmocka_unit_test(new_dimensions_can_learn),
                                       cmocka_unit_test(what_is_not_there_is_not_lost),
                                       cmocka_unit_test(the_text_decides),
                                       cmocka_unit_test(the_loss_decides),
                                       cmocka_unit_test(all_directions_are_all_there_is),
                                       cmocka_unit_test(least_squares_helps)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
