/* What a comparison will be, before it begins. */
#include "autograd/base/clock.h"
#include "train/compare/compare.h"
#include "train/forecast/rehearsal.h"
#include "train/log/progress.h"

#include <math.h>
#include <stdlib.h>

enum { TIMED = 2 };

typedef struct {
    double step, forward; /* seconds: of a step; of a token that is only evaluated */
    int64_t memory;       /* bytes */
} step_cost;

/* Microbatches of an arm on random ids: one that is not timed, then some that are, and an update. */
static mla_status rehearse(mla_comparison *c, int arm, step_cost *out) {
    mla_recipe recipe = c->arms.of[arm].recipe; /* shares its strings */
    mla_rehearsal r;
    double loss, begin = 0;
    if (!recipe.model.vocab_size) recipe.model.vocab_size = c->vocabulary;
    const int64_t passes = recipe.train.batch / recipe.train.microbatch;
    mla_status status = mla_rehearsal_open(c->context, &r, &recipe, recipe.train.microbatch, 1);
    for (int i = 0; i <= TIMED && !status; i++) {
        const mla_step step = {.seed = 1, .step = (uint64_t)i, .training = true, .precision = r.precision};
        if (i == 1) begin = mla_seconds();
        status = mla_rehearsal_pass(&r, r.rows, &step, &loss);
    }
    if (!status) {
        const double pass = (mla_seconds() - begin) / TIMED, before = mla_seconds();
        const mla_cost *cost = &r.plan.cost;
        mla_rehearsal_update(&r);
        out->step = pass * (double)passes + mla_seconds() - before;
        out->forward = pass * cost->forward_flops / (cost->forward_flops + cost->backward_flops) /
                       (double)(r.rows * recipe.train.sequence);
        out->memory = mla_memory_total(&r.plan);
    }
    mla_rehearsal_close(&r);
    return status;
}

/* Now and then a part of what is held out, and at the end all of it, once it is known. */
static double evaluated_tokens(const mla_comparison *c) {
    const mla_recipe_train *t = &c->base.train;
    const double all = c->mix.count ? (double)mla_mix_tokens(&c->mix, MLA_HELD_OUT) : 0;
    const double part = (double)(t->eval_batches * t->microbatch * t->sequence);
    const int64_t times = t->eval_every ? (mla_comparison_steps(c) - 1) / t->eval_every : 0;
    return all + (double)times * (c->mix.count ? fmin(part, all) : part);
}

static double seconds_per_run(const mla_comparison *c, const step_cost *cost) {
    return cost->step * (double)mla_comparison_steps(c) + cost->forward * evaluated_tokens(c);
}

static json_t *describe_arm(const mla_comparison *c, const mla_arm *a, const step_cost *cost) {
    json_t *json = json_object(), *time = json_object();
    const int64_t steps = mla_comparison_steps(c);
    json_object_set_new(json, "name", json_string(a->name));
    json_object_set_new(json, "attention", json_string(a->recipe.model.attention->name));
    json_object_set_new(json, "intermediate_size", json_integer(a->recipe.model.intermediate_size));
    json_object_set_new(json, "parameters", json_integer(a->parameters));
    json_object_set_new(json, "cache_bytes_per_token", json_integer(a->cache_bytes));
    json_object_set_new(json, "flops_per_token", json_real(a->flops));
    json_object_set_new(json, "predicted_memory", json_integer(cost->memory));
    json_object_set_new(time, "seconds_per_step", json_real(cost->step));
    json_object_set_new(time, "seconds_per_run", steps ? json_real(seconds_per_run(c, cost)) : json_null());
    json_object_set_new(json, "time", time);
    return json;
}

/* Of all checkpoints that stay: values and two moments, in f32. */
static int64_t disk_bytes(const mla_comparison *c) {
    int64_t bytes = 0;
    for (int i = 0; i < mla_comparison_count(c); i++)
        bytes += c->base.checkpoint.keep * 3 * (int64_t)sizeof(float) * c->arms.of[mla_comparison_arm(c, i)].parameters;
    return bytes;
}

static mla_status describe(mla_comparison *c, json_t *json) {
    const int64_t steps = mla_comparison_steps(c);
    json_t *arms = json_array(), *rates = json_array();
    double seconds = 0;
    mla_status status = MLA_OK;
    for (int i = 0; i < c->arms.count && !status; i++) {
        step_cost cost = {0};
        status = rehearse(c, i, &cost);
        seconds += seconds_per_run(c, &cost) * (double)(c->rate_count + c->o->seeds - 1);
        json_array_append_new(arms, describe_arm(c, &c->arms.of[i], &cost));
    }
    for (int k = 0; k < c->rate_count; k++) json_array_append_new(rates, json_real(c->rates[k]));
    json_object_set_new(json, "match", json_string(mla_match_names[c->o->match]));
    json_object_set_new(json, "learning_rates", rates);
    json_object_set_new(json, "seeds", json_integer(c->o->seeds));
    json_object_set_new(json, "runs", json_integer(mla_comparison_count(c)));
    json_object_set_new(json, "steps", steps ? json_integer(steps) : json_null());
    json_object_set_new(json, "vocabulary", json_integer(c->vocabulary));
    json_object_set_new(json, "prepared", json_boolean(c->mix.count > 0));
    json_object_set_new(json, "disk_bytes", json_integer(disk_bytes(c)));
    json_object_set_new(json, "seconds", steps ? json_real(seconds) : json_null());
    json_object_set_new(json, "arms", arms);
    return status;
}

mla_status mla_compare_plan(mla_context *context, const mla_recipe *base, const mla_compare_options *options,
                            json_t **plan) {
    mla_comparison *c = NULL;
    *plan = json_object();
    mla_status status = mla_comparison_open(context, &c, base, options, true);
    if (!status) status = describe(c, *plan);
    mla_comparison_close(c);
    free(c);
    return status;
}

/* ---- as text ---- */

static double number_at(const json_t *json, const char *key) { return json_number_value(json_object_get(json, key)); }

static void print_arm(FILE *out, const json_t *arm) {
    const json_t *time = json_object_get(arm, "time");
    char parameters[32], memory[32], run[32] = "-";
    mla_count_text(number_at(arm, "parameters"), sizeof parameters, parameters);
    mla_bytes_text(number_at(arm, "predicted_memory"), sizeof memory, memory);
    if (json_is_number(json_object_get(time, "seconds_per_run")))
        mla_duration_text(number_at(time, "seconds_per_run"), sizeof run, run);
    fprintf(out, "%-16s %-10s %10s %7.0f %13.0f %12.2f %10s %10.1f %10s\n",
            json_string_value(json_object_get(arm, "name")), json_string_value(json_object_get(arm, "attention")),
            parameters, number_at(arm, "intermediate_size"), number_at(arm, "cache_bytes_per_token"),
            number_at(arm, "flops_per_token") / 1e6, memory, 1e3 * number_at(time, "seconds_per_step"), run);
}

void mla_compare_plan_print(FILE *out, const json_t *plan) {
    const json_t *arm, *rate;
    char disk[32], time[32];
    size_t i;
    fprintf(out, "%-16s %-10s %10s %7s %13s %12s %10s %10s %10s\n", "arm", "attention", "parameters", "width",
            "cache B/token", "MFLOP/token", "memory", "step ms", "a run");
    json_array_foreach(json_object_get(plan, "arms"), i, arm) print_arm(out, arm);
    fprintf(out, "\nlearning rates  ");
    json_array_foreach(json_object_get(plan, "learning_rates"), i, rate) fprintf(out, " %g", json_real_value(rate));
    mla_bytes_text(number_at(plan, "disk_bytes"), sizeof disk, disk);
    fprintf(out, "\nruns             %.0f, with %.0f seed%s; %s of checkpoints\n", number_at(plan, "runs"),
            number_at(plan, "seeds"), number_at(plan, "seeds") > 1 ? "s" : "", disk);
    if (json_is_number(json_object_get(plan, "seconds"))) {
        mla_duration_text(number_at(plan, "seconds"), sizeof time, time);
        fprintf(out, "time             about %s, one run after the other, by a few steps now\n", time);
    } else fprintf(out, "time             not known before the text is prepared: train.epochs says how long\n");
    if (json_is_false(json_object_get(plan, "prepared")))
        fprintf(
            out,
            "vocabulary       %.0f at most: the text is not prepared yet, widths may differ a little, and the time is "
            "without\n                 the loss of all held-out text at the end of each run\n",
            number_at(plan, "vocabulary"));
}
