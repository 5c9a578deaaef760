/* Memory of a training step: from the second one on nothing is allocated, what a run takes was predicted, and an
 * allocation that fails, whichever it is, ends in an error and not in a leak. */
#include "autograd/base/memory.h"
#include "optim/adamw.h"
#include "tests/support/allocations.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/small_model.h"
#include "tests/support/tiny_run.h"
#include "train/run/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- allocations from the second step on ---- */

enum { STEPS = 12 };

typedef struct {
    allocation_count step[STEPS + 1]; /* allocations from the end of step i - 1 to the end of step i */
    int64_t resident[STEPS + 1];
} counter;

static void after_step(void *user, const mla_metrics *m) {
    counter *c = user;
    if (m->step > STEPS) return;
    c->step[m->step] = allocations_stop();
    c->resident[m->step] = mla_memory_resident();
    if (m->step < STEPS) allocations_watch(0);
}

static void count_run(const char *name, int threads, const char *const *more) {
    mla_context *context;
    mla_recipe recipe;
    mla_train_result result;
    counter c = {0};
    char *folder = folder_create();
    assert_int_equal(mla_context_create(&context, &(mla_context_options){.threads = threads}), MLA_OK);
    check_ok(context, tiny_recipe(context, &recipe, more));
    recipe.train.steps = STEPS + 1; /* the last one is followed by an evaluation, which may allocate */
    recipe.checkpoint.every = recipe.train.eval_every = 0;
    const mla_train_options options = {.out = folder, .stepped = after_step, .user = &c};
    check_ok(context, mla_train(context, &recipe, &options, &result));
    int64_t ours = 0;
    for (int i = 2; i <= STEPS; i++) ours += c.step[i].made;
    print_message(
        "%-22s steps 2 to %d: %lld allocations of ours; of oneDNN and OpenMP %lld in step 2, %lld in step %d\n", name,
        STEPS, (long long)ours, (long long)c.step[2].others, (long long)c.step[STEPS].others, STEPS);
    assert_int_equal(ours, 0);
    assert_int_equal(c.step[STEPS].others, c.step[2].others);
    /* On a busy machine a thread may first come to touch its scratch in a later step. */
    assert_true(c.resident[STEPS] <= c.resident[2] + (1 << 20));
    mla_recipe_free(&recipe);
    mla_context_destroy(context);
    folder_remove(folder);
}

static void later_steps_allocate_nothing(void **state) {
    (void)state;
    if (!allocations_can_be_watched()) skip();
    static const char *const query_rank[] = {"model.q_lora_rank=16", "model.num_hidden_layers=2", "train.batch=4",
                                             "train.microbatch=2", NULL};
    static const char *const multi_head[] = {"model.attention=multi_head", NULL};
    static const char *const article[] = {
        "model.norm=layernorm",   "model.norm_position=post",       "model.gated=false",
        "model.position=learned", "model.qk_rope_head_dim=0",       "model.hidden_act=relu",
        "model.mlp_bias=true",    "model.tie_word_embeddings=true", NULL};
    count_run("latent attention", 2, NULL);
    count_run("with a query rank", 1, query_rank);
    count_run("in bf16", 2, (const char *const[]){"train.precision=bf16", NULL});
    count_run("blocks computed again", 1, (const char *const[]){"train.recompute=block", "train.precision=auto", NULL});
    count_run("multi-head attention", 1, multi_head);
    count_run("the article's block", 1, article);
}

/* ---- the prediction ---- */

static bool train_and_compare(const char *name, const char *const *more) {
    mla_context *context;
    mla_recipe recipe;
    mla_train_result r;
    char *folder = folder_create();
    assert_int_equal(mla_context_create(&context, &(mla_context_options){.threads = 1}), MLA_OK);
    check_ok(context, tiny_recipe(context, &recipe, more));
    recipe.checkpoint.every = 0;
    check_ok(context, mla_train(context, &recipe, &(mla_train_options){.out = folder}, &r));
    const double ratio = (double)r.plan.predicted_memory / (double)r.peak_memory;
    print_message("%-22s predicted %.1f MB, measured %.1f MB: %+.1f %%\n", name, (double)r.plan.predicted_memory / 1e6,
                  (double)r.peak_memory / 1e6, 100 * (ratio - 1));
    folder_remove(folder);
    mla_recipe_free(&recipe);
    mla_context_destroy(context);
    return ratio >= 0.9 && ratio <= 1.1;
}

/* In a process of its own, whose peak is that of one run. */
static void check_prediction(const char *name, const char *const *more) {
    fflush(stdout);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const bool good = train_and_compare(name, more);
        fflush(stdout);
        _exit(good ? 0 : 1);
    }
    int ended;
    assert_int_equal(waitpid(child, &ended, 0), child);
    if (ended) fail_msg("%s: the prediction is wrong by more than 10 %%", name);
}

static void memory_is_as_predicted(void **state) {
    (void)state;
    if (!allocations_can_be_watched()) skip(); /* the sanitizer takes memory of its own */
    check_prediction("d256 x 2", (const char *const[]){"model.hidden_size=256", "model.num_hidden_layers=2",
                                                       "model.num_attention_heads=4", "model.kv_lora_rank=64",
                                                       "model.qk_nope_head_dim=64", "model.qk_rope_head_dim=32",
                                                       "model.v_head_dim=64", "model.intermediate_size=704",
                                                       "model.vocab_size=2048", "model.max_position_embeddings=256",
                                                       "data.synthetic.tokens=5000", "train.batch=4",
                                                       "train.microbatch=4", "train.sequence=256", NULL});
    check_prediction("in bf16", (const char *const[]){
                                    "model.hidden_size=256", "model.num_hidden_layers=2", "model.num_attention_heads=4",
                                    "model.kv_lora_rank=64", "model.qk_nope_head_dim=64", "model.qk_rope_head_dim=32",
                                    "model.v_head_dim=64", "model.intermediate_size=704", "model.vocab_size=2048",
                                    "model.max_position_embeddings=256", "data.synthetic.tokens=5000", "train.batch=4",
                                    "train.microbatch=4", "train.sequence=256", "train.precision=bf16", NULL});
    check_prediction("long, without dropout",
                     (const char *const[]){"model.hidden_size=128", "model.num_hidden_layers=4",
                                           "model.kv_lora_rank=32", "model.intermediate_size=352", "model.dropout=0",
                                           "model.max_position_embeddings=2048", "data.synthetic.tokens=10000",
                                           "train.batch=1", "train.sequence=2048", NULL});
    check_prediction("wide, many parameters",
                     (const char *const[]){"model.hidden_size=512", "model.num_hidden_layers=2",
                                           "model.num_attention_heads=8", "model.intermediate_size=2048",
                                           "model.vocab_size=8192", "train.batch=2", NULL});
    check_prediction("saved from a copy", (const char *const[]){"model.hidden_size=512", "model.num_hidden_layers=2",
                                                                "model.num_attention_heads=8",
                                                                "model.intermediate_size=2048", "model.vocab_size=8192",
                                                                "train.batch=2", "checkpoint.background=true", NULL});
    check_prediction("multi-head attention",
                     (const char *const[]){"model.attention=multi_head", "model.hidden_size=192",
                                           "model.num_hidden_layers=3", "model.num_attention_heads=6",
                                           "model.intermediate_size=512", "model.max_position_embeddings=256",
                                           "data.synthetic.tokens=5000", "train.batch=8", "train.microbatch=8",
                                           "train.sequence=256", NULL});
}

/* ---- failing allocations ---- */

static mla_status one_step(mla_context *context, mla_tape *tape, const mla_decoder *model, mla_dtype precision,
                           mla_adamw_state *moments) {
    static const int32_t ids[2][8] = {{1, 2, 3, 4, 5, 6, 7, 8}, {8, 7, 6, 5, 4, 3, 2, 1}};
    const int64_t shape[] = {2, 8};
    mla_params_clear_gradients(model->params);
    mla_status status = precision == MLA_BF16 ? mla_params_refresh_bf16(model->params) : MLA_OK;
    if (status) return status;
    mla_tape_begin(tape, &(mla_step){.training = true, .precision = precision});
    mla_tensor *x = mla_input(tape, MLA_I32, 2, shape, ids), *y = mla_input(tape, MLA_I32, 2, shape, ids);
    status = mla_backward(tape, language_loss(tape, model, x, y, 1, NULL));
    if (!status) mla_adamw_step(moments, model->params, &(mla_adamw_options){0.9f, 0.95f, 1e-8f, 0.1f}, 1e-3f, 1);
    return status ? status : mla_error_status(context);
}

/* Model, optimizer and two steps, from nothing to nothing. */
static mla_status whole_life(const mla_model_config *config, mla_dtype precision) {
    mla_context *context;
    mla_decoder *model = NULL;
    mla_adamw_state moments = {0};
    mla_tape *tape = NULL;
    if (mla_context_create(&context, &(mla_context_options){.threads = 1})) return MLA_ERROR_MEMORY;
    mla_status status = mla_decoder_create(context, &model, config);
    if (!status) status = mla_params_allocate(model->params, true);
    if (!status) mla_params_initialise(model->params, 1);
    if (!status) status = mla_adamw_state_allocate(context, &moments, model->params);
    if (!status) status = mla_tape_create(context, &tape, NULL);
    for (int i = 0; i < 2 && !status; i++) status = one_step(context, tape, model, precision, &moments);
    mla_tape_destroy(tape);
    mla_adamw_state_free(&moments);
    mla_decoder_destroy(model);
    mla_context_destroy(context);
    return status;
}

static void fail_each_allocation(const char *name, mla_dtype precision, const char *const *more) {
    mla_context *context;
    mla_recipe recipe;
    allocation_count count = {.failed = true};
    int64_t n;
    assert_int_equal(mla_context_create(&context, NULL), MLA_OK);
    check_ok(context, tiny_recipe(context, &recipe, more));
    recipe.model.vocab_size = 32;
    check_ok(context, mla_model_config_check(context, "", &recipe.model));
    assert_int_equal(whole_life(&recipe.model, precision), MLA_OK); /* what libraries keep, they have now */
    for (n = 1; count.failed; n++) {
        allocations_watch(n);
        const mla_status status = whole_life(&recipe.model, precision);
        count = allocations_stop();
        if (count.live) fail_msg("%lld allocations leak when number %lld fails", (long long)count.live, (long long)n);
        if (count.failed != (status == MLA_ERROR_MEMORY || status == MLA_ERROR_LIBRARY))
            fail_msg("allocation %lld: the status is \"%s\"", (long long)n, mla_status_name(status));
    }
    print_message("%-22s %lld allocations, each failed once\n", name, (long long)n - 2);
    assert_true(n > 100);
    mla_recipe_free(&recipe);
    mla_context_destroy(context);
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    if (!allocations_can_be_watched()) skip();
    fail_each_allocation("latent attention", MLA_F32, (const char *const[]){"model.q_lora_rank=16", NULL});
    fail_each_allocation("multi-head attention", MLA_F32, (const char *const[]){"model.attention=multi_head", NULL});
    fail_each_allocation("in bf16", MLA_BF16, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_as_predicted), /* first: its processes shall start small */
        cmocka_unit_test(later_steps_allocate_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
