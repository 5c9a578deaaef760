/* mla bench: the time of a training step of a recipe's model, by op, its share of the peak and its memory by kind;
 * or the speed of decoding.
 *
 * The weights and ids are random and nothing is saved; of finetune.base only the sizes are read (of a teacher, all).
 * With --interactive it makes one step for each line "step" on its input and answers with a line of JSON, so that
 * another program can be timed in turns with it (tests/bench/interleave.py). */
#include "autograd/base/clock.h"
#include "autograd/base/memory.h"
#include "autograd/base/random.h"
#include "layers/attention/multi_head_attention.h"
#include "train/commands/commands.h"
#include "train/commands/load.h"
#include "train/commands/output.h"
#include "train/forecast/rehearsal.h"
#include "train/inference/decode_bench.h"
#include "train/run/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_list set;
    int64_t steps, context, batch;
    mla_use_precision cache_precision;
    bool json, interactive;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"set", MLA_FIELD_LIST, AT(set), .help = "section.key=value instead of the recipe's; may be repeated"},
    {"steps", MLA_FIELD_INT, AT(steps), 5, 1, 10000, .help = "steps to measure, after one that is not counted"},
    {"context", MLA_FIELD_INT, AT(context), 8192, 1, 1 << 24, .help = "decode: positions in the cache"},
    {"batch", MLA_FIELD_INT, AT(batch), 1, 1, MLA_MOST_SEQUENCES, .help = "decode: sequences at a time"},
    {"cache-precision", MLA_FIELD_ENUM, AT(cache_precision), .names = mla_use_precisions,
     .help = "decode: of what is cached; auto: train.precision"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the result as JSON"},
    {"interactive", MLA_FIELD_BOOL, AT(interactive), .help = "one step for each line \"step\" on standard input"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

enum { MOST_OPS = 64 };

typedef struct {
    const char *name;
    double seconds[2], flops[2]; /* forward, backward */
    int64_t runs;
} op_time;

typedef struct {
    mla_context *context;
    mla_recipe recipe; /* effective; shares its strings with the one that was loaded */
    mla_rehearsal rehearsal;
    float *x; /* (microbatch, sequence, D), where one block is measured without a model around it */
    op_time ops[MOST_OPS];
    int op_count;
    double optimizer_seconds;
    mla_products *products; /* of the first steps; NULL: not asked for yet */
    int64_t step, base_memory;
} bench;

/* ---- a step ---- */

static void add_time(void *user, const char *op, bool backward, double seconds, const mla_cost *cost) {
    bench *b = user;
    int i = 0;
    while (i < b->op_count && strcmp(b->ops[i].name, op)) i++;
    if (i == MOST_OPS) return;
    if (i == b->op_count) b->ops[b->op_count++] = (op_time){.name = op};
    b->ops[i].seconds[backward] += seconds;
    b->ops[i].flops[backward] += backward ? cost->backward_flops : cost->forward_flops;
    b->ops[i].runs += !backward;
}

static void update(bench *b) {
    const double begin = mla_seconds();
    mla_rehearsal_update(&b->rehearsal);
    b->optimizer_seconds += mla_seconds() - begin;
}

/* Forward and backward of the first block; the loss is the mean square of its result. */
static mla_status block_pass(bench *b, const mla_step *step, double *loss) {
    const mla_rehearsal *r = &b->rehearsal;
    const int64_t shape[] = {r->rows, b->recipe.train.sequence, r->model->config.hidden_size};
    mla_tape_begin(r->tape, step);
    if (r->precision == MLA_BF16) mla_params_refresh_bf16(r->model->params);
    mla_tensor *x = mla_input(r->tape, MLA_F32, 3, shape, b->x);
    mla_tensor *y = mla_block_apply(r->tape, &r->model->blocks[0], x, &(mla_pass){0}, NULL);
    mla_tensor *result = mla_scale(r->tape, mla_sum(r->tape, mla_mul(r->tape, y, y)), 1 / (float)mla_count(x));
    const mla_status status = mla_backward(r->tape, result);
    if (!status) *loss = (double)*(const float *)result->data;
    return status;
}

static mla_status step(bench *b, double *seconds, double *loss) {
    mla_rehearsal *r = &b->rehearsal;
    const double begin = mla_seconds();
    mla_params_clear_gradients(r->model->params);
    *loss = 0;
    for (int64_t sample = 0; sample < b->recipe.train.batch; sample += r->rows) {
        const mla_step pass = {.seed = 1,
                               .step = (uint64_t)b->step,
                               .first_sample = sample,
                               .training = true,
                               .precision = r->precision,
                               .timed = add_time,
                               .user = b};
        double part;
        const mla_status status = b->x ? block_pass(b, &pass, &part) : mla_rehearsal_pass(r, r->rows, &pass, &part);
        if (status) return status;
        *loss += part;
    }
    update(b);
    b->step++;
    *seconds = mla_seconds() - begin;
    return MLA_OK;
}

/* ---- setting up ---- */

/* A model that is one block, as the recipe describes it, and next to nothing around it. */
static void reduce_to_block(mla_recipe *recipe) {
    mla_model_config *config = &recipe->model;
    recipe->finetune = (mla_recipe_finetune){0};
    config->num_hidden_layers = config->vocab_size = 1;
    config->final_norm = false;
    config->tie_word_embeddings = true;
    if (config->position == MLA_POSITION_LEARNED) config->position = MLA_POSITION_NONE;
}

static mla_status set_up(bench *b, bool one_block) {
    const mla_recipe_train *r = &b->recipe.train;
    if (one_block) reduce_to_block(&b->recipe);
    b->base_memory = mla_memory_resident();
    const mla_status status = mla_rehearsal_open(b->context, &b->rehearsal, &b->recipe, r->microbatch, 1);
    if (status || !one_block) return status;
    const int64_t count = r->microbatch * r->sequence * b->recipe.model.hidden_size;
    b->x = mla_alloc(b->context, count, sizeof *b->x, "x");
    if (!b->x) return MLA_ERROR_MEMORY;
    mla_random_normal(mla_random_stream(1, "x", 0, 0, 0), 0, count, b->x);
    return MLA_OK;
}

static void tear_down(bench *b) {
    mla_rehearsal_close(&b->rehearsal);
    mla_products_destroy(b->products);
    free(b->x);
}

static double model_flops(const bench *b) {
    return (b->rehearsal.plan.cost.forward_flops + b->rehearsal.plan.cost.backward_flops) *
           (double)(b->recipe.train.batch / b->recipe.train.microbatch);
}

/* ---- results ---- */

/* FLOPs per second of the step's products by themselves, now. */
static mla_status measure_products(bench *b, double *out) {
    mla_status status = b->products ? MLA_OK : mla_products_create(b->context, &b->products);
    if (!status) status = mla_products_measure(b->products, out);
    return status;
}

typedef struct {
    double ms, flops_per_second, fraction;
    int64_t peak;
} result;

/* Steps and products in turns, each step against the products after it: the machine's speed changes by the minute. A
 * few rounds, for the products of one take as long as some steps. */
static mla_status measure_fraction(bench *b, int64_t rounds, double *out) {
    enum { MOST = 3 };
    double fractions[MOST], seconds, loss, rate;
    const int64_t count = rounds < MOST ? rounds : MOST;
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        status = step(b, &seconds, &loss);
        if (!status) status = measure_products(b, &rate);
        if (!status) fractions[i] = model_flops(b) / seconds / rate;
    }
    if (!status) *out = mla_median(fractions, count);
    return status;
}

static mla_status measure_steps(bench *b, int64_t steps, result *out) {
    double *seconds = mla_alloc(b->context, steps, sizeof *seconds, "the times"), warm_up, loss;
    mla_status status = seconds ? step(b, &warm_up, &loss) : MLA_ERROR_MEMORY;
    b->op_count = 0;
    b->optimizer_seconds = 0;
    for (int64_t i = 0; i < steps && !status; i++) status = step(b, &seconds[i], &loss);
    if (!status) {
        const double median = mla_median(seconds, steps);
        out->ms = 1e3 * median;
        out->peak = mla_memory_peak();
        out->flops_per_second = model_flops(b) / median;
    }
    free(seconds);
    return status;
}

static int slowest_first(const void *a, const void *b) {
    const op_time *x = a, *y = b;
    const double s = x->seconds[0] + x->seconds[1], t = y->seconds[0] + y->seconds[1];
    return (s < t) - (s > t);
}

static void print_ops(FILE *out, bench *b, int64_t steps) {
    qsort(b->ops, (size_t)b->op_count, sizeof *b->ops, slowest_first);
    fprintf(out, "%-20s %6s %12s %12s %12s %12s\n", "op", "runs", "forward ms", "GFLOP/s", "backward ms", "GFLOP/s");
    for (int i = 0; i < b->op_count; i++) {
        const op_time *t = &b->ops[i];
        fprintf(out, "%-20s %6lld", t->name, (long long)(t->runs / steps));
        for (int k = 0; k < 2; k++)
            fprintf(out, " %12.2f %12.1f", 1e3 * t->seconds[k] / (double)steps,
                    t->seconds[k] > 0 ? t->flops[k] / t->seconds[k] / 1e9 : 0);
        fputc('\n', out);
    }
    fprintf(out, "%-20s %6d %12.2f\n\n", "adamw and clipping", 1, 1e3 * b->optimizer_seconds / (double)steps);
}

static void bench_print_text(FILE *out, bench *b, const result *r, int64_t steps) {
    const double mib = 1 << 20;
    const mla_memory_plan *plan = &b->rehearsal.plan;
    fprintf(out, "step             %.1f ms (median of %lld), %s, %d threads, %s\n", r->ms, (long long)steps,
            mla_dtype_name(b->rehearsal.precision), mla_context_threads(b->context), mla_gemm_library());
    fprintf(out, "model            %.1f GFLOP a step, %.1f GFLOP/s\n", model_flops(b) / 1e9, r->flops_per_second / 1e9);
    fprintf(out, "oneDNN fraction  %.3f of what the step's own matrix products reach by themselves\n", r->fraction);
    fprintf(out,
            "memory           %.0f MiB peak; predicted %.0f: parameters %.0f, gradients %.0f, moments %.0f, step %.0f, "
            "program %.0f\n",
            (double)r->peak / mib, (double)(mla_memory_total(plan) + b->base_memory) / mib,
            (double)plan->parameters / mib, (double)plan->gradients / mib, (double)plan->moments / mib,
            (double)plan->step / mib, (double)b->base_memory / mib);
}

static void bench_print_json(FILE *out, const bench *b, const result *r) {
    json_t *json = json_object();
    json_object_set_new(json, "precision", json_string(mla_dtype_name(b->rehearsal.precision)));
    json_object_set_new(json, "threads", json_integer(mla_context_threads(b->context)));
    json_object_set_new(json, "library", json_string(mla_gemm_library()));
    mla_output_number(json, "ms", r->ms);
    mla_output_number(json, "model_gflop", model_flops(b) / 1e9);
    mla_output_number(json, "onednn_fraction", r->fraction);
    mla_output_number(json, "peak_mib", (double)r->peak / (1 << 20));
    mla_output_print(out, json);
}

/* The protocol of tests/bench/interleave.py. */
static mla_status answer(bench *b, FILE *out) {
    char line[64];
    mla_status status = MLA_OK;
    fprintf(out, "{\"ready\":true,\"library\":\"%s\",\"precision\":\"%s\",\"threads\":%d}\n", mla_gemm_library(),
            mla_dtype_name(b->rehearsal.precision), mla_context_threads(b->context));
    fflush(out);
    while (!status && fgets(line, sizeof line, stdin)) {
        double seconds, loss, rate;
        if (!strncmp(line, "fraction", 8)) {
            if (!(status = measure_products(b, &rate)))
                fprintf(out, "{\"products_gflops\":%.3f,\"model_gflop\":%.3f}\n", rate / 1e9, model_flops(b) / 1e9);
        } else if (!(status = step(b, &seconds, &loss)))
            fprintf(out, "{\"ms\":%.3f,\"peak_mib\":%.1f,\"loss\":%.6f}\n", 1e3 * seconds,
                    (double)mla_memory_peak() / (1 << 20), loss);
        fflush(out);
    }
    return status;
}

static mla_status bench_step(const mla_call *call, bench *b) {
    const options *o = call->options;
    result r;
    mla_status status = set_up(b, !strcmp(call->operands->items[0], "block"));
    if (!status && o->interactive) {
        status = answer(b, call->out);
        tear_down(b);
        return status;
    }
    if (!status) status = measure_steps(b, o->steps, &r);
    if (!status && !o->json) print_ops(call->out, b, o->steps);
    if (!status) status = measure_fraction(b, o->steps, &r.fraction);
    if (!status && o->json) bench_print_json(call->out, b, &r);
    else if (!status) bench_print_text(call->out, b, &r, o->steps);
    tear_down(b);
    return status;
}

/* ---- decoding ---- */

static void print_decode(FILE *out, const char *name, const mla_decode_case *of, int64_t context,
                         const mla_decode_speed *speed) {
    fprintf(out, "%-12s %6lld %10lld %14.2f %12.1f\n", name, (long long)of->batch, (long long)context,
            speed->tokens_per_second, (double)speed->cache_bytes / (1 << 20));
}

static void print_ratio(FILE *out, const char *name, const mla_decode_speed *a, const mla_decode_speed *b) {
    fprintf(out, "%-30s %14.2f %12.3f\n", name, a->tokens_per_second / b->tokens_per_second,
            (double)a->cache_bytes / (double)b->cache_bytes);
}

/* This model, multi-head attention of the same heads and width, and, of a batch, this model with one sequence. */
enum { OWN, MULTI_HEAD, ALONE, DECODE_CASES };

static void print_decode_speeds(FILE *out, const mla_decode_case *cases, int64_t context,
                                const mla_decode_speed *speed) {
    static const char *const names[] = {"this model", "multi-head", "this model"};
    const int count = cases[OWN].batch > 1 ? DECODE_CASES : ALONE;
    fprintf(out, "products in %s, caches in %s\n", mla_dtype_name(cases->precision), mla_dtype_name(cases->cache));
    fprintf(out, "%-12s %6s %10s %14s %12s\n", "attention", "batch", "context", "tokens/s", "cache MiB");
    for (int i = 0; i < count; i++) print_decode(out, names[i], &cases[i], context, &speed[i]);
    print_ratio(out, "ratio to multi-head", &speed[OWN], &speed[MULTI_HEAD]);
    if (count > ALONE) print_ratio(out, "ratio to one at a time", &speed[OWN], &speed[ALONE]);
}

static json_t *decode_json(const char *attention, const mla_decode_case *of, const mla_decode_speed *speed) {
    json_t *json = json_object();
    json_object_set_new(json, "attention", json_string(attention));
    json_object_set_new(json, "batch", json_integer(of->batch));
    mla_output_number(json, "tokens_per_second", speed->tokens_per_second);
    json_object_set_new(json, "cache_bytes", json_integer(speed->cache_bytes));
    return json;
}

static void print_decode_json(FILE *out, const mla_decode_case *cases, int64_t context, const mla_decode_speed *speed) {
    json_t *json = json_object(), *all = json_array();
    const int count = cases[OWN].batch > 1 ? DECODE_CASES : ALONE;
    json_object_set_new(json, "precision", json_string(mla_dtype_name(cases->precision)));
    json_object_set_new(json, "cache_precision", json_string(mla_dtype_name(cases->cache)));
    json_object_set_new(json, "context", json_integer(context));
    for (int i = 0; i < count; i++)
        json_array_append_new(all, decode_json(cases[i].config->attention->name, &cases[i], &speed[i]));
    json_object_set_new(json, "cases", all);
    mla_output_print(out, json);
}

static mla_status bench_decode(const mla_call *call, bench *b) {
    const options *o = call->options;
    mla_model_config own = b->recipe.model, multi_head;
    if (!own.vocab_size) own.vocab_size = b->recipe.data.vocab_size;
    own.max_position_embeddings = o->context + MLA_DECODE_TOKENS;
    multi_head = own;
    multi_head.attention = &mla_multi_head_kind;
    multi_head.num_key_value_heads = multi_head.head_dim = 0;
    mla_status status = mla_model_config_check(call->context, "", &own);
    if (!status) status = mla_model_config_check(call->context, "", &multi_head);

    const mla_dtype precision = mla_precision_choose_decoding(b->recipe.train.precision);
    const mla_dtype cache = mla_cache_precision(o->cache_precision, precision);
    mla_decode_speed speed[DECODE_CASES];
    const mla_decode_case cases[] = {[OWN] = {&own, o->batch, cache, precision},
                                     [MULTI_HEAD] = {&multi_head, o->batch, cache, precision},
                                     [ALONE] = {&own, 1, cache, precision}};
    const int count = o->batch > 1 ? DECODE_CASES : ALONE;
    if (!status) status = mla_measure_decode(call->context, count, cases, o->context, speed);
    if (!status && o->json) print_decode_json(call->out, cases, o->context, speed);
    else if (!status) print_decode_speeds(call->out, cases, o->context, speed);
    return status;
}

static mla_status bench_run(const mla_call *call) {
    const options *o = call->options;
    const char *what = call->operands->items[0];
    bench b = {.context = call->context};
    const bool decodes = !strcmp(what, "decode");
    if (!decodes && strcmp(what, "step") && strcmp(what, "block"))
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "bench: there is no benchmark %s: use step, block or decode",
                        what);
    if (decodes && o->interactive)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "--interactive is for bench step and block");
    if (!decodes && (o->batch > 1 || o->cache_precision != MLA_USE_AS_TRAINED))
        return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                        "--batch and --cache-precision are for bench decode; a step takes --set train.batch=%lld",
                        (long long)o->batch);
    mla_recipe recipe;
    mla_status status = mla_recipe_load(call->context, &recipe, call->operands->items[1],
                                        (const char *const *)o->set.items, o->set.count);
    if (status) return status;
    b.recipe = recipe;
    mla_context_set_threads(call->context, (int)recipe.train.threads);
    status = decodes ? bench_decode(call, &b) : bench_step(call, &b);
    mla_recipe_free(&recipe);
    return status;
}

const mla_command mla_command_bench = {
    .name = "bench",
    .summary = "Measure a training step (of a model or one block) by op, or decoding",
    .operands = "step|block|decode RECIPE",
    .min_operands = 2,
    .max_operands = 2,
    .example = "  mla bench step decoder-d512x8 --set train.precision=bf16\n"
               "  mla bench decode decoder-d512x8 --context 32768\n"
               "  mla bench decode decoder-d512x8 --context 1024 --batch 8\n",
    .options = &table,
    .run = bench_run,
};
