#include "train/compare/summary.h"
#include "layers/attention/kv_cache.h"
#include "train/compare/student.h"
#include "train/run/machine.h"

#include <math.h>

enum { FORMAT = 1 };

static void set_number(json_t *json, const char *key, double value) {
    json_object_set_new(json, key, isfinite(value) ? json_real(value) : json_null());
}

static void set_integer(json_t *json, const char *key, int64_t value) {
    json_object_set_new(json, key, json_integer(value));
}

/* ---- numbers over seeds ---- */

/* A number of a run that is averaged over its seeds, and held against the first arm's. */
typedef struct {
    const char *key;
    size_t offset; /* of a double in mla_trial_result */
} averaged;

#define AT(member) offsetof(mla_trial_result, member)
static const averaged numbers[] = {
    {"held_out_loss", AT(held_out_loss)},   {"bits_per_byte", AT(bits_per_byte)},
    {"copy_first", AT(tasks.copy_first)},   {"copy_second", AT(tasks.copy_second)},
    {"recall_loss", AT(tasks.recall_loss)}, {"recall_accuracy", AT(tasks.recall_accuracy)},
};
#undef AT
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static double number_of(const mla_trial_result *r, size_t offset) {
    return r && !r->diverged ? *(const double *)(const void *)((const char *)r + offset) : NAN;
}

/* Of one arm over its seeds (first: NAN), or of its differences from another, seed by seed. */
static mla_interval interval_of(const mla_comparison *c, int arm, int from, size_t offset) {
    double values[MLA_MOST_SEEDS];
    int64_t count = 0;
    for (int64_t k = 0; k < c->o->seeds; k++) {
        const double value = number_of(mla_comparison_at_best(c, arm, k), offset);
        const double other = from < 0 ? 0 : number_of(mla_comparison_at_best(c, from, k), offset);
        if (isfinite(value - other)) values[count++] = value - other;
    }
    return count ? mla_interval_of(values, count) : (mla_interval){0, NAN, NAN, NAN};
}

static json_t *interval_json(const mla_interval *interval) {
    json_t *json = json_object();
    set_number(json, "mean", interval->mean);
    set_number(json, "half_width", interval->half_width);
    set_integer(json, "seeds", interval->count);
    return json;
}

static void describe_numbers(const mla_comparison *c, int arm, json_t *json) {
    json_t *differences = json_object();
    for (int i = 0; i < NUMBERS; i++) {
        const mla_interval own = interval_of(c, arm, -1, numbers[i].offset);
        const mla_interval difference = interval_of(c, arm, 0, numbers[i].offset);
        set_number(json, numbers[i].key, own.mean);
        if (!i) set_number(json, "deviation", own.deviation);
        if (arm) json_object_set_new(differences, numbers[i].key, interval_json(&difference));
    }
    set_number(json, "perplexity", exp(interval_of(c, arm, -1, numbers[0].offset).mean));
    json_object_set_new(json, "differences", differences);
}

/* ---- runs ---- */

static json_t *run_json(const mla_trial *trial, const mla_trial_result *r) {
    json_t *json = json_object(), *time = json_object();
    char name[MLA_ARM_NAME + 80];
    mla_trial_name(trial, sizeof name, name);
    json_object_set_new(json, "run", json_string(name));
    set_number(json, "learning_rate", trial->lr);
    set_integer(json, "seed", trial->seed);
    set_integer(json, "step", r->step);
    json_object_set_new(json, "diverged", json_boolean(r->diverged));
    set_number(json, "loss", number_of(r, offsetof(mla_trial_result, loss)));
    for (int i = 0; i < NUMBERS; i++) set_number(json, numbers[i].key, number_of(r, numbers[i].offset));
    set_number(time, "seconds", r->seconds);
    set_number(time, "tokens_per_second", r->tokens_per_second);
    set_integer(time, "peak_memory", r->peak_memory);
    json_object_set_new(json, "time", time);
    return json;
}

static void describe_runs(mla_comparison *c, int arm, json_t *json) {
    json_t *sweep = json_array(), *runs = json_array();
    for (int i = arm; i < mla_comparison_count(c); i += c->arms.count) {
        const mla_trial trial = mla_comparison_trial(c, i);
        const mla_trial_result *r = mla_comparison_result(c, i);
        const int row = i / c->arms.count;
        if (!r->done) continue;
        json_array_append_new(row < c->rate_count ? sweep : runs, run_json(&trial, r));
        if (row == c->best[arm]) json_array_insert_new(runs, 0, run_json(&trial, r));
    }
    json_object_set_new(json, "sweep", sweep);
    json_object_set_new(json, "runs", runs);
}

/* ---- what depends on the machine ---- */

static double median_speed(const mla_comparison *c, int arm) {
    double speeds[MLA_MOST_SEEDS];
    int64_t count = 0;
    for (int64_t k = 0; k < c->o->seeds; k++) {
        const double speed = number_of(mla_comparison_at_best(c, arm, k),
                                       offsetof(mla_trial_result, tokens_per_second));
        if (isfinite(speed)) speeds[count++] = speed;
    }
    return count ? mla_median(speeds, count) : NAN;
}

static int64_t most_memory(const mla_comparison *c, int arm) {
    int64_t most = 0;
    for (int64_t k = 0; k < c->o->seeds; k++) {
        const mla_trial_result *r = mla_comparison_at_best(c, arm, k);
        if (r && r->peak_memory > most) most = r->peak_memory;
    }
    return most;
}

static json_t *decoding_json(const mla_comparison *c, int arm, const json_t *speeds) {
    json_t *decoding = json_array(), *entry;
    size_t k;
    json_array_foreach(json_object_get(speeds, "contexts"), k, entry) {
        json_t *json = json_object();
        const json_t *by_name = json_object_get(entry, "tokens_per_second");
        json_object_set(json, "context", json_object_get(entry, "context"));
        set_number(json, "tokens_per_second",
                   by_name ? json_real_value(json_object_get(by_name, c->arms.of[arm].name)) : NAN);
        if (json_object_get(entry, "skipped")) json_object_set(json, "skipped", json_object_get(entry, "skipped"));
        json_array_append_new(decoding, json);
    }
    return decoding;
}

/* ---- arms ---- */

static void describe_shape(const mla_comparison *c, int arm, json_t *json) {
    const mla_arm *a = &c->arms.of[arm];
    const mla_model_config *m = &a->recipe.model;
    const mla_trial_result *r = mla_comparison_at_best(c, arm, 0);
    json_object_set_new(json, "name", json_string(a->name));
    json_object_set_new(json, "attention", json_string(m->attention->name));
    json_object_set_new(json, "position", json_string(mla_position_names[m->position]));
    set_integer(json, "intermediate_size", m->intermediate_size);
    set_integer(json, "parameters", a->parameters);
    set_number(json, "flops_per_token", a->flops);
    set_integer(json, "cache_bytes_per_token", r && !r->diverged ? r->tasks.cache_bytes : a->cache_bytes);
    json_object_set_new(json, "cache_measured", json_boolean(r && !r->diverged));
}

static bool is_at_edge(const mla_comparison *c, int arm) {
    return c->best[arm] >= 0 && c->rate_count > 1 && (c->best[arm] == 0 || c->best[arm] == c->rate_count - 1);
}

static json_t *arm_json(mla_comparison *c, int arm, const json_t *speeds) {
    json_t *json = json_object(), *time = json_object();
    describe_shape(c, arm, json);
    set_number(json, "learning_rate", c->best[arm] < 0 ? NAN : c->rates[c->best[arm]]);
    json_object_set_new(json, "at_edge", json_boolean(is_at_edge(c, arm)));
    describe_numbers(c, arm, json);
    describe_runs(c, arm, json);
    set_number(time, "tokens_per_second", median_speed(c, arm));
    set_integer(time, "peak_memory", most_memory(c, arm));
    json_object_set_new(time, "decoding", decoding_json(c, arm, speeds));
    json_object_set_new(json, "time", time);
    return json;
}

/* ---- all of it ---- */

static json_t *rates_json(const mla_comparison *c) {
    json_t *rates = json_array();
    for (int k = 0; k < c->rate_count; k++) json_array_append_new(rates, json_real(c->rates[k]));
    return rates;
}

static json_t *data_json(const mla_comparison *c) {
    json_t *data = json_object();
    set_integer(data, "vocabulary", c->vocabulary);
    set_integer(data, "train_tokens", mla_mix_tokens(&c->mix, MLA_TRAIN));
    set_integer(data, "held_out_tokens", mla_mix_tokens(&c->mix, MLA_HELD_OUT));
    return data;
}

json_t *mla_summary_json(mla_comparison *c, const json_t *speeds) {
    json_t *json = json_object(), *arms = json_array();
    const int runs = mla_comparison_count(c);
    int done = 0;
    for (int i = 0; i < runs; i++) done += mla_comparison_result(c, i)->done;
    set_integer(json, "format", FORMAT);
    json_object_set_new(json, "recipe", json_string(c->o->recipe));
    json_object_set_new(json, "match", json_string(mla_match_names[c->o->match]));
    json_object_set_new(json, "learning_rates", rates_json(c));
    set_integer(json, "seeds", c->o->seeds);
    set_integer(json, "first_seed", c->first_seed);
    set_integer(json, "steps", mla_comparison_steps(c));
    set_integer(json, "batch", c->base.train.batch);
    set_integer(json, "sequence", c->base.train.sequence);
    json_object_set_new(json, "data", data_json(c));
    set_integer(json, "runs", runs);
    set_integer(json, "runs_done", done);
    json_object_set_new(json, "complete", json_boolean(done == runs));
    for (int arm = 0; arm < c->arms.count; arm++) json_array_append_new(arms, arm_json(c, arm, speeds));
    json_object_set_new(json, "arms", arms);
    return json;
}
