/* A feed-forward that nobody but this test knows, with a loss of its own: that it is minimised, by its share, and
 * noted, also where blocks are computed again. */
#include "layers/parts/linear.h"
#include "tests/support/check.h"
#include "tests/support/layercheck.h"
#include "tests/support/small_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 2, T = 5 };

typedef struct {
    mla_linear_layer up_proj, down_proj;
    int64_t index;
} own_layer;

static mla_status build(const mla_builder *b, void *memory) {
    own_layer *layer = memory;
    const int64_t d = b->config->hidden_size, f = b->config->intermediate_size;
    layer->index = b->layer;
    mla_linear_build(b, &layer->up_proj, &(mla_linear_spec){"up_proj", d, f, false});
    return mla_linear_build(b, &layer->down_proj, &(mla_linear_spec){"down_proj", f, d, false});
}

/* The loss is the sum of what goes into the layer, of which the embeddings get a gradient; none in the first layer. */
static mla_tensor *apply(mla_tape *tape, const void *memory, mla_tensor *x, const mla_pass *pass) {
    const own_layer *layer = memory;
    mla_tensor *h = mla_silu(tape, mla_linear_apply(tape, &layer->up_proj, x));
    if (layer->index > 0) h = mla_pass_add_loss(tape, pass, h, "own_loss", mla_sum(tape, h));
    return mla_linear_apply(tape, &layer->down_proj, h);
}

static const mla_feed_forward_kind own_kind = {
    .name = "own", .size = sizeof(own_layer), .build = build, .apply = apply};

static mla_decoder *own_model(mla_context *context) {
    mla_model_config config = small_config(context, "");
    mla_decoder *model;
    config.feed_forward = &own_kind;
    check_ok(context, mla_decoder_create(context, &model, &config));
    check_ok(context, mla_params_allocate(model->params, true));
    fill_layer(model->params, 0.3f);
    return model;
}

typedef struct {
    float loss, *gradients;
    int64_t length;
    mla_statistics statistics;
} outcome;

static outcome train(mla_decoder *model, float share, bool recompute) {
    outcome o = {.length = mla_params_gradients_length(model->params)};
    int32_t ids[B * T];
    mla_tape *tape;
    fill_ids(B * T, ids);
    check_ok(model->context, mla_tape_create(model->context, &tape, NULL));
    mla_params_clear_gradients(model->params);
    mla_tape_begin(tape, &(mla_step){.seed = 1, .training = true});
    mla_tensor *in = mla_input(tape, MLA_I32, 2, (int64_t[]){B, T}, ids);
    const mla_pass pass = {.recompute = recompute, .loss_share = share, .statistics = &o.statistics};
    mla_tensor *loss = language_loss(tape, model, in, in, 1.0f / (B * T), &pass);
    check_ok(model->context, mla_backward(tape, loss));
    o.loss = *(float *)loss->data;
    o.gradients = malloc((size_t)o.length * sizeof *o.gradients);
    memcpy(o.gradients, mla_params_gradients(model->params), (size_t)o.length * sizeof *o.gradients);
    mla_tape_destroy(tape);
    return o;
}

/* The gradients are linear in the share: g(s) = g(0) + s (g(1) - g(0)). */
static void its_loss_is_minimised_by_its_share(void **state) {
    mla_decoder *model = own_model(*state);
    outcome none = train(model, 0, false), half = train(model, 0.5f, false), whole = train(model, 1, false);
    double added = 0;
    for (int64_t i = 0; i < none.length; i++) {
        const double difference = (double)(whole.gradients[i] - none.gradients[i]);
        added += difference * difference;
        check_close((double)half.gradients[i], (double)none.gradients[i] + difference / 2, 1e-5);
    }
    assert_true(added > 1);
    check_close((double)whole.loss, (double)none.loss, 0); /* the text's alone */
    free(none.gradients);
    free(half.gradients);
    free(whole.gradients);
    mla_decoder_destroy(model);
}

static void it_is_noted_once_also_where_blocks_are_recomputed(void **state) {
    mla_decoder *model = own_model(*state);
    outcome kept = train(model, 0.5f, false), again = train(model, 0.5f, true);
    assert_memory_equal(kept.gradients, again.gradients, (size_t)kept.length * sizeof *kept.gradients);
    for (const outcome *o = &kept; o; o = o == &kept ? &again : NULL) {
        assert_int_equal(o->statistics.count, 1);
        assert_string_equal(o->statistics.of[0].name, "own_loss");
        assert_int_equal(o->statistics.of[0].parts, 1); /* one of two layers */
        assert_true(isfinite(o->statistics.of[0].sum));
    }
    check_close(again.statistics.of[0].sum, kept.statistics.of[0].sum, 0);
    free(kept.gradients);
    free(again.gradients);
    mla_decoder_destroy(model);
}

/* Each projection that a kind builds is one that adapters find. */
static void its_projections_are_entered(void **state) {
    mla_decoder *model = own_model(*state);
    int64_t own = 0;
    const mla_linear_layer *p;
    for (int64_t i = 0; (p = mla_decoder_projection(model, i)); i++) own += strstr(p->weight->name, ".mlp.") != NULL;
    assert_int_equal(own, 4); /* two in each of two layers */
    mla_decoder_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(its_loss_is_minimised_by_its_share),
                                       cmocka_unit_test(it_is_noted_once_also_where_blocks_are_recomputed),
                                       cmocka_unit_test(its_projections_are_entered)};
    return cmocka_run_group_tests(tests, create_one_thread, destroy_context);
}
