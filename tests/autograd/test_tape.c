/* The tape: gradients shared and copied, scopes, the hook, errors, runs on shapes alone, memory. */
#include "tests/support/allocations.h"
#include "tests/support/check.h"

#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/params.h"

#include <stdlib.h>
#include <string.h>

enum { N = 6 };

typedef tape_fixture fixture;

static const mla_step step = {.seed = 1, .training = true};
static const float values[] = {1, -2, 3, 0.5f, -1, 4}, weights[] = {2, 1, -1, 3, 0.5f, -2};

static mla_tensor *leaf(mla_tape *tape) { return mla_input_with_gradient(tape, 1, (const int64_t[]){N}, values); }
static mla_tensor *weigh(mla_tape *tape, mla_tensor *x) {
    return mla_sum(tape, mla_mul(tape, x, mla_input(tape, MLA_F32, 1, (const int64_t[]){N}, weights)));
}

/* gradient = by_weights * weights + by_values * values */
static void check_gradient(const mla_tensor *x, float by_weights, float by_values) {
    assert_true(x->has_grad);
    for (int i = 0; i < N; i++)
        check_close((double)((float *)x->grad)[i], (double)(by_weights * weights[i] + by_values * values[i]), 1e-6);
}

static mla_tensor *doubled(mla_tape *tape, const void *user, mla_tensor *x) {
    (void)user;
    return mla_scale(tape, x, 2);
}

/* ---- gradients ---- */

/* x and y share the gradient of x + y; what x gets besides must not reach y, whichever is first. */
static void shared_gradients_are_copied_on_write(void **state) {
    fixture *f = *state;
    for (int order = 0; order < 2; order++) {
        mla_tape_begin(f->tape, &step);
        mla_tensor *x = leaf(f->tape), *y = leaf(f->tape), *square = NULL;
        if (order == 0) square = mla_sum(f->tape, mla_mul(f->tape, x, x));
        mla_tensor *sum = weigh(f->tape, mla_residual_add(f->tape, x, y, 0));
        if (order == 1) square = mla_sum(f->tape, mla_mul(f->tape, x, x));
        check_ok(f->context, mla_backward(f->tape, mla_add(f->tape, sum, square)));
        check_gradient(x, 1, 2);
        check_gradient(y, 1, 0);
    }
}

static void an_input_may_stand_twice(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = leaf(f->tape);
    check_ok(f->context, mla_backward(f->tape, weigh(f->tape, mla_residual_add(f->tape, x, x, 0))));
    check_gradient(x, 2, 0);
}

/* x's gradient by `dropped` is z's, which u shares: what x gets by its second place must not reach u. */
static void a_second_place_leaves_shared_gradients_alone(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = leaf(f->tape), *leaf_u = leaf(f->tape), *u = mla_scale(f->tape, leaf_u, 1);
    mla_tensor *dropped = mla_residual_add(f->tape, x, x, 0.5f);
    check_ok(f->context, mla_backward(f->tape, weigh(f->tape, mla_residual_add(f->tape, dropped, u, 0))));
    check_gradient(leaf_u, 1, 0);
}

static void a_branch_without_gradient_is_passed_over(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = leaf(f->tape), *unused = leaf(f->tape);
    mla_exp(f->tape, mla_mul(f->tape, x, unused));
    check_ok(f->context, mla_backward(f->tape, weigh(f->tape, x)));
    check_gradient(x, 1, 0);
    assert_false(unused->has_grad);
}

static void gradients_add_up_over_two_losses_of_a_step(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = leaf(f->tape);
    check_ok(f->context, mla_backward(f->tape, weigh(f->tape, x)));
    check_ok(f->context, mla_backward(f->tape, weigh(f->tape, mla_scale(f->tape, x, 2))));
    check_gradient(x, 3, 0);
    x = mla_input_with_gradient(f->tape, 1, (const int64_t[]){1}, values); /* a loss that no op has made */
    for (int i = 1; i <= 2; i++) {
        check_ok(f->context, mla_backward(f->tape, x));
        assert_true(*(float *)x->grad == (float)i);
    }
}

static void nothing_flows_to_what_needs_none(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *fixed = mla_input(f->tape, MLA_F32, 1, (const int64_t[]){N}, values);
    mla_tensor *y = mla_exp(f->tape, fixed);
    assert_false(y->needs_grad);
    check_error(f->context, mla_backward(f->tape, mla_sum(f->tape, y)), MLA_ERROR_SHAPE, "depends on no parameter");
    check_error(f->context, mla_backward(f->tape, leaf(f->tape)), MLA_ERROR_SHAPE, "a loss of one f32 element");
}

/* The first walk takes all ops with it, those of the second loss too. */
static void walked_ops_give_no_gradient_again(void **state) {
    static const char words[] = "has been walked by mla_backward";
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = leaf(f->tape), *y = mla_exp(f->tape, x);
    mla_tensor *first = weigh(f->tape, y), *second = mla_sum(f->tape, y);
    check_ok(f->context, mla_backward(f->tape, first));
    check_error(f->context, mla_backward(f->tape, first), MLA_ERROR_ARGUMENT, words);
    check_error(f->context, mla_backward(f->tape, second), MLA_ERROR_ARGUMENT, words);
    assert_ptr_equal(mla_scale(f->tape, y, 2), mla_inert(f->tape));
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_ARGUMENT, words);
    check_error(f->context, mla_backward(f->tape, mla_recompute(f->tape, doubled, NULL, 0, y)), MLA_ERROR_ARGUMENT,
                words);
    assert_ptr_not_equal(mla_detached(f->tape, doubled, NULL, y), mla_inert(f->tape)); /* asks for no gradient */
}

/* ---- scopes ---- */

static int64_t held(const fixture *f) { return mla_pool_held(mla_tape_pool(f->tape)); }

static void scopes_free_what_nobody_keeps(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    assert_int_equal(held(f), 0);
    mla_tensor *x = leaf(f->tape);
    int64_t scope = mla_scope_open(f->tape);
    mla_tensor *y = mla_scope_close(f->tape, scope, mla_scale(f->tape, mla_scale(f->tape, x, 2), 2));
    const int64_t one = held(f); /* only y: scaling keeps nothing */
    scope = mla_scope_open(f->tape);
    mla_tensor *inner = mla_exp(f->tape, y); /* keeps its output */
    mla_tensor *z = mla_scope_close(f->tape, scope, mla_scale(f->tape, inner, 2));
    assert_int_equal(held(f), 3 * one);
    assert_non_null(inner->data);
    check_ok(f->context, mla_backward(f->tape, weigh(f->tape, z)));
    assert_null(inner->data);
    mla_tape_begin(f->tape, &step);
    assert_int_equal(held(f), 0);
}

static void what_is_kept_outlives_its_scopes(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &(mla_step){.inference = true});
    mla_tensor *x = leaf(f->tape);
    const int64_t outer = mla_scope_open(f->tape), inner = mla_scope_open(f->tape);
    mla_tensor *kept = mla_scope_keep(mla_scale(f->tape, x, 3));
    mla_tensor *y = mla_scope_close(f->tape, inner, mla_exp(f->tape, kept));
    mla_scope_close(f->tape, outer, mla_scale(f->tape, y, 2));
    const mla_tensor *z = mla_scale(f->tape, kept, 1);
    check_ok(f->context, mla_error_status(f->context));
    for (int i = 0; i < N; i++) check_close((double)((float *)z->data)[i], 3 * (double)values[i], 1e-6);
    mla_tape_begin(f->tape, &step);
    assert_int_equal(held(f), 0);
}

static void use_after_the_scope_is_an_error(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    const int64_t outer = mla_scope_open(f->tape), inner = mla_scope_open(f->tape);
    mla_tensor *x = leaf(f->tape), *y = mla_exp(f->tape, x), *z = mla_exp(f->tape, y);
    assert_ptr_equal(mla_scope_close(f->tape, inner, z), z);
    assert_ptr_equal(mla_exp(f->tape, y), mla_inert(f->tape));
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_ARGUMENT, "exp: input 0 was made in a scope");
    mla_tensor *kept = mla_exp(f->tape, z);
    assert_ptr_not_equal(kept, mla_inert(f->tape));
    mla_scope_close(f->tape, outer, kept);
    assert_ptr_equal(mla_exp(f->tape, z), mla_inert(f->tape));
    mla_clear_error(f->context);
}

static void gradients_of_inputs_in_scopes_return(void **state) {
    fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        mla_tape_begin(f->tape, &step);
        assert_int_equal(held(f), 0);
        const int64_t scope = mla_scope_open(f->tape);
        mla_tensor *loss = mla_scope_close(f->tape, scope, weigh(f->tape, leaf(f->tape)));
        check_ok(f->context, mla_backward(f->tape, loss));
    }
    mla_tape_begin(f->tape, &step);
    assert_int_equal(held(f), 0);
}

/* ---- a small model ---- */

enum { TOKENS = 12, VOCABULARY = 9, WIDTH = 40, HIDDEN = 56, TENSORS = 6 };

typedef struct {
    mla_params *params;
    mla_tensor *table, *gain, *gate, *up, *down, *bias;
} model;

static void add_parameters(model *m) {
    const mla_init normal = MLA_INIT_NORMAL;
    const mla_param_spec specs[TENSORS] = {
        {.name = "table", .ndim = 2, .shape = {VOCABULARY, WIDTH}, .init = normal, .scale = 1},
        {.name = "gain", .ndim = 1, .shape = {WIDTH}, .init = MLA_INIT_ONE},
        {.name = "gate", .ndim = 2, .shape = {HIDDEN, WIDTH}, .init = normal, .scale = 0.1f},
        {.name = "up", .ndim = 2, .shape = {HIDDEN, WIDTH}, .init = normal, .scale = 0.1f},
        {.name = "down", .ndim = 2, .shape = {WIDTH, HIDDEN}, .init = normal, .scale = 0.1f},
        {.name = "bias", .ndim = 1, .shape = {WIDTH}}};
    mla_tensor **tensors[TENSORS] = {&m->table, &m->gain, &m->gate, &m->up, &m->down, &m->bias};
    for (int i = 0; i < TENSORS; i++)
        if (!(*tensors[i] = mla_params_add(m->params, &specs[i]))) return;
}

static mla_status create_model(mla_context *context, model *m) {
    if (mla_params_create(context, &m->params)) return MLA_ERROR_MEMORY;
    add_parameters(m);
    if (mla_error_status(context) || mla_params_allocate(m->params, true)) return mla_error_status(context);
    mla_params_initialise(m->params, 7);
    return MLA_OK;
}

static mla_tensor *feed_forward(mla_tape *t, const model *m, mla_tensor *x) {
    const int64_t scope = mla_scope_open(t);
    mla_tensor *normed = mla_rmsnorm(t, x, m->gain, 1e-6f, MLA_F32);
    mla_tensor *hidden = mla_swiglu(t, mla_linear(t, normed, m->gate, NULL), mla_linear(t, normed, m->up, NULL));
    mla_tensor *y = mla_residual_add(t, x, mla_linear(t, hidden, m->down, m->bias), 0.1f);
    return mla_scope_close(t, scope, y);
}

/* Two blocks of the same weights, then the table again, as output: every parameter has more than one use. */
static mla_tensor *model_loss(mla_tape *t, const model *m) {
    static const int32_t ids[TOKENS] = {1, 0, 5, 8, 8, 2, 3, 1, 7, 6, 4, 0};
    mla_tensor *x = mla_gather(t, m->table, mla_input(t, MLA_I32, 2, (const int64_t[]){2, TOKENS / 2}, ids));
    x = feed_forward(t, m, feed_forward(t, m, x));
    mla_tensor *logits = mla_linear(t, mla_layernorm(t, x, m->gain, m->bias, 1e-5f, MLA_F32), m->table, NULL);
    mla_tensor *flat = mla_reshape(t, logits, 2, (const int64_t[]){TOKENS, VOCABULARY});
    return mla_sum(t, mla_softmax(t, mla_tanh(t, flat), false));
}

/* ---- the hook ---- */

enum { MOST_CALLS = 32 };

typedef struct {
    int calls;
    mla_tensor *parameter[MOST_CALLS];
    float first[MOST_CALLS]; /* of its gradient, at the call */
} calls;

static void note_call(void *user, mla_tensor *parameter) {
    calls *c = user;
    assert_true(c->calls < MOST_CALLS);
    c->parameter[c->calls] = parameter;
    c->first[c->calls++] = *(float *)parameter->grad;
}

static void the_hook_fires_once_when_a_gradient_is_final(void **state) {
    fixture *f = *state;
    model m;
    check_ok(f->context, create_model(f->context, &m));
    for (int pass = 0; pass < 2; pass++) {
        calls c = {0};
        mla_tape_begin(f->tape, &(mla_step){.training = true, .gradient_final = note_call, .user = &c});
        check_ok(f->context, mla_backward(f->tape, model_loss(f->tape, &m)));
        assert_int_equal(c.calls, TENSORS);
        assert_ptr_equal(c.parameter[TENSORS - 1], m.table); /* the first used is the last to be final */
        for (int i = 0; i < TENSORS; i++) {
            assert_true(c.first[i] == *(float *)c.parameter[i]->grad);
            for (int k = 0; k < i; k++) assert_ptr_not_equal(c.parameter[i], c.parameter[k]);
        }
    }
    mla_params_destroy(m.params);
}

/* `ignored` depends on the bias alone, and the loss does not depend on it. */
static void the_hook_is_not_called_without_a_gradient(void **state) {
    fixture *f = *state;
    model m;
    calls c = {0};
    check_ok(f->context, create_model(f->context, &m));
    mla_tape_begin(f->tape, &(mla_step){.training = true, .gradient_final = note_call, .user = &c});
    mla_exp(f->tape, m.bias);
    check_ok(f->context, mla_backward(f->tape, mla_sum(f->tape, m.gain)));
    assert_int_equal(c.calls, 1);
    assert_ptr_equal(c.parameter[0], m.gain);
    mla_params_destroy(m.params);
}

/* ---- computing again ---- */

static mla_tensor *block(mla_tape *tape, const void *m, mla_tensor *x) { return feed_forward(tape, m, x); }
static mla_tensor *nothing(mla_tape *tape, const void *user, mla_tensor *x) {
    (void)tape, (void)user;
    return x;
}

typedef struct {
    bool recompute, shared, behind; /* one block's weights in two parts; the gain behind the part, too */
} plan;

static mla_status block_gradients(fixture *f, const model *m, const plan *p, calls *c, float *gain) {
    static float x[4 * WIDTH];
    for (int i = 0; i < 4 * WIDTH; i++) x[i] = (float)(i * 7 % 11) - 5;
    mla_params_clear_gradients(m->params);
    mla_tape_begin(f->tape, &(mla_step){.gradient_final = c ? note_call : NULL, .user = c});
    mla_tensor *y = mla_input_with_gradient(f->tape, 2, (const int64_t[]){4, WIDTH}, x);
    for (int i = 0; i < 1 + p->shared; i++)
        y = p->recompute ? mla_recompute(f->tape, block, m, sizeof *m, y) : feed_forward(f->tape, m, y);
    if (p->behind) y = mla_rmsnorm(f->tape, y, m->gain, 1e-6f, MLA_F32);
    const mla_status status = mla_backward(f->tape, mla_sum(f->tape, mla_exp(f->tape, y)));
    memcpy(gain, m->gain->grad, WIDTH * sizeof *gain);
    return status;
}

/* Its gradient would be called final before it is; without anyone who wants to know when, it is right. */
static void a_parameter_of_two_parts_is_refused_where_it_matters(void **state) {
    static const plan plans[] = {{.shared = true}, {.behind = true}};
    fixture *f = *state;
    model m;
    float once[WIDTH], again[WIDTH];
    check_ok(f->context, create_model(f->context, &m));
    for (int i = 0; i < 2; i++) {
        calls c = {0};
        plan p = plans[i];
        check_ok(f->context, block_gradients(f, &m, &p, &c, once));
        p.recompute = true;
        check_ok(f->context, block_gradients(f, &m, &p, NULL, again));
        assert_memory_equal(once, again, sizeof once);
        check_error(f->context, block_gradients(f, &m, &p, &c, again), MLA_ERROR_ARGUMENT, "gain");
        c.calls = 0;
        check_ok(f->context, block_gradients(f, &m, &(plan){.recompute = true}, &c, once));
        assert_int_equal(c.calls, 5); /* all but the table */
    }
    mla_params_destroy(m.params);
}

static void a_part_may_be_empty(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = leaf(f->tape), *y = mla_recompute(f->tape, nothing, NULL, 0, mla_scale(f->tape, x, 2));
    check_ok(f->context, mla_backward(f->tape, weigh(f->tape, y)));
    check_gradient(x, 2, 0);
}

static mla_tensor *shrinking(mla_tape *tape, const void *user, mla_tensor *x) {
    return mla_slice(tape, x, 0, 0, (**(int *const *)user)--);
}

static void a_part_must_stay_the_same(void **state) {
    fixture *f = *state;
    int length = N, *const user = &length;
    mla_tape_begin(f->tape, &step);
    mla_tensor *y = mla_recompute(f->tape, shrinking, &user, sizeof user, leaf(f->tape));
    check_error(f->context, mla_backward(f->tape, weigh(f->tape, y)), MLA_ERROR_ARGUMENT,
                "recompute: the graph gave (6) f32, and computed again (5) f32");
}

/* ---- errors, inference, shapes ---- */

static void after_an_error_ops_are_inert(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &step);
    mla_tensor *x = leaf(f->tape), *bad = mla_reshape(f->tape, x, 1, (const int64_t[]){N + 1});
    assert_ptr_equal(bad, mla_inert(f->tape));
    mla_tensor *loss = mla_sum(f->tape, mla_add(f->tape, mla_exp(f->tape, bad), x));
    assert_ptr_equal(loss, mla_inert(f->tape));
    check_error(f->context, mla_backward(f->tape, loss), MLA_ERROR_SHAPE, "reshape: the new shape");
    assert_ptr_equal(mla_input(f->tape, MLA_F32, 1, (const int64_t[]){0}, values), mla_inert(f->tape));
    check_error(f->context, mla_error_status(f->context), MLA_ERROR_SHAPE, "at least 1");
    mla_tape_begin(f->tape, &step);
    x = leaf(f->tape);
    check_ok(f->context, mla_backward(f->tape, weigh(f->tape, x)));
    check_gradient(x, 1, 0);
}

static void inference_keeps_nothing(void **state) {
    fixture *f = *state;
    mla_tape_begin(f->tape, &(mla_step){.inference = true});
    mla_tensor *x = leaf(f->tape);
    const int64_t scope = mla_scope_open(f->tape);
    mla_tensor *y = mla_scope_close(f->tape, scope, mla_exp(f->tape, mla_tanh(f->tape, mla_exp(f->tape, x))));
    assert_false(y->needs_grad);
    assert_int_equal(held(f), 256); /* the smallest buffer, of y */
    check_error(f->context, mla_backward(f->tape, mla_sum(f->tape, y)), MLA_ERROR_SHAPE, "depends on no parameter");
}

static void shapes_alone_predict_memory_and_cost(void **state) {
    fixture *f = *state;
    model m, shapes;
    mla_tape *tape;
    mla_tape_options options = {.shapes_only = true};
    check_ok(f->context, mla_tape_create(f->context, &tape, &options));
    check_ok(f->context, mla_params_create(f->context, &shapes.params));
    add_parameters(&shapes);
    mla_params_lay_out(shapes.params);
    mla_tape_begin(tape, &step);
    check_ok(f->context, mla_backward(tape, model_loss(tape, &shapes)));
    const int64_t predicted = mla_pool_reserved(mla_tape_pool(tape));
    const mla_cost cost = mla_tape_cost(tape);
    mla_tape_destroy(tape);

    options.shapes_only = false;
    check_ok(f->context, mla_tape_create(f->context, &tape, &options));
    check_ok(f->context, create_model(f->context, &m));
    mla_tape_begin(tape, &step);
    check_ok(f->context, mla_backward(tape, model_loss(tape, &m)));
    const mla_cost real = mla_tape_cost(tape);
    assert_int_equal(mla_pool_reserved(mla_tape_pool(tape)), predicted);
    assert_memory_equal(&cost, &real, sizeof cost);
    assert_true(cost.forward_flops >= 2.0 * TOKENS * WIDTH * (6 * HIDDEN + VOCABULARY));
    assert_true(cost.backward_flops == 2 * cost.forward_flops);
    mla_tape_destroy(tape);
    mla_params_destroy(m.params);
    mla_params_destroy(shapes.params);
}

/* ---- memory ---- */

static void later_steps_allocate_nothing(void **state) {
    if (!allocations_can_be_watched()) skip();
    fixture *f = *state;
    model m;
    check_ok(f->context, create_model(f->context, &m));
    float first[2];
    int64_t reserved = 0;
    for (int i = 0; i < 3; i++) {
        if (i == 1) reserved = mla_pool_reserved(mla_tape_pool(f->tape));
        allocations_watch(0);
        mla_params_clear_gradients(m.params);
        mla_tape_begin(f->tape, &step);
        mla_tensor *loss = model_loss(f->tape, &m);
        const mla_status status = mla_backward(f->tape, loss);
        const allocation_count count = allocations_stop();
        check_ok(f->context, status);
        if (i == 0) memcpy(first, m.table->grad, sizeof first);
        if (i > 0) assert_int_equal(count.made, 0);
        if (i > 0) assert_int_equal(mla_pool_reserved(mla_tape_pool(f->tape)), reserved);
        assert_memory_equal(first, m.table->grad, sizeof first);
    }
    mla_params_destroy(m.params);
}

/* Two steps, from nothing to nothing. */
static mla_status whole_life(void) {
    mla_context *context;
    mla_tape *tape = NULL;
    model m = {0};
    if (mla_context_create(&context, &(mla_context_options){.threads = 1})) return MLA_ERROR_MEMORY;
    if (!mla_tape_create(context, &tape, NULL) && !create_model(context, &m))
        for (int i = 0; i < 2; i++) {
            mla_tape_begin(tape, &step);
            mla_backward(tape, model_loss(tape, &m));
        }
    const mla_status status = mla_error_status(context);
    mla_tape_destroy(tape);
    mla_params_destroy(m.params);
    mla_context_destroy(context);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    if (!allocations_can_be_watched()) skip();
    allocation_count count = {.failed = true};
    int64_t n;
    for (n = 1; count.failed; n++) {
        allocations_watch(n);
        const mla_status status = whole_life();
        count = allocations_stop();
        if (count.live) fail_msg("%lld allocations leak when number %lld fails", (long long)count.live, (long long)n);
        if (count.failed != (status == MLA_ERROR_MEMORY || status == MLA_ERROR_LIBRARY))
            fail_msg("allocation %lld: the status is \"%s\"", (long long)n, mla_status_name(status));
    }
    assert_true(n > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_gradients_are_copied_on_write),
        cmocka_unit_test(an_input_may_stand_twice),
        cmocka_unit_test(a_second_place_leaves_shared_gradients_alone),
        cmocka_unit_test(a_branch_without_gradient_is_passed_over),
        cmocka_unit_test(gradients_add_up_over_two_losses_of_a_step),
        cmocka_unit_test(nothing_flows_to_what_needs_none),
        cmocka_unit_test(walked_ops_give_no_gradient_again),
        cmocka_unit_test(scopes_free_what_nobody_keeps),
        cmocka_unit_test(what_is_kept_outlives_its_scopes),
        cmocka_unit_test(use_after_the_scope_is_an_error),
        cmocka_unit_test(gradients_of_inputs_in_scopes_return),
        cmocka_unit_test(the_hook_fires_once_when_a_gradient_is_final),
        cmocka_unit_test(the_hook_is_not_called_without_a_gradient),
        cmocka_unit_test(a_parameter_of_two_parts_is_refused_where_it_matters),
        cmocka_unit_test(a_part_may_be_empty),
        cmocka_unit_test(a_part_must_stay_the_same),
        cmocka_unit_test(after_an_error_ops_are_inert),
        cmocka_unit_test(inference_keeps_nothing),
        cmocka_unit_test(shapes_alone_predict_memory_and_cost),
        cmocka_unit_test(later_steps_allocate_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, create_tape, destroy_tape);
}
