/* mla forecast: step time, efficiency and memory of a recipe on many nodes, from what this one shows. */
#include "train/forecast/forecast.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"
#include "train/log/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    mla_list set, nodes, network;
    int64_t ranks_per_node;
    bool json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"nodes", MLA_FIELD_WORDS, AT(nodes), .text = "1,2,4,...,256",
     .help = "how many; \"...\" continues by the same factor"},
    {"ranks-per-node", MLA_FIELD_INT, AT(ranks_per_node), 0, 0, 4096, .help = "0: as many as are here now"},
    {"network", MLA_FIELD_WORDS, AT(network),
     .help = "of a node each way, Gbit/s, and its delay, microseconds: 25,20; otherwise measured where ranks are on "
             "several "
             "nodes"},
    {"set", MLA_FIELD_LIST, AT(set), .help = "section.key=value instead of the recipe's; may be repeated"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the result as JSON"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* ---- what was asked for ---- */

enum { MOST_ROWS = 64, MOST_NODES = 1 << 20 };

typedef struct {
    int64_t nodes[MOST_ROWS], count;
} plan;

static bool forecast_append(plan *p, int64_t nodes) {
    const bool good = p->count < MOST_ROWS && nodes >= 1 && nodes <= MOST_NODES &&
                      (!p->count || nodes > p->nodes[p->count - 1]);
    if (good) p->nodes[p->count++] = nodes;
    return good;
}

/* Up to below `end`, by the factor between the last two. */
static bool extend(plan *p, int64_t end) {
    if (p->count < 2) return false;
    const int64_t *last = &p->nodes[p->count - 1], factor = last[0] / last[-1];
    bool good = factor >= 2;
    while (good && p->nodes[p->count - 1] * factor < end) good = forecast_append(p, p->nodes[p->count - 1] * factor);
    return good;
}

static bool read_nodes(const mla_list *words, plan *p) {
    bool dots = false;
    for (int64_t i = 0; i < words->count; i++) {
        char *end;
        const bool continues = dots;
        dots = !dots && !strcmp(words->items[i], "...");
        if (dots) continue;
        const int64_t nodes = strtoll(words->items[i], &end, 10);
        if (*end || (continues && !extend(p, nodes)) || !forecast_append(p, nodes)) return false;
    }
    return !dots;
}

static bool read_network(const mla_list *words, mla_network *network) {
    char *ends[2] = {"", ""};
    if (!words->count) return true;
    if (words->count != 2) return false;
    const double gigabits = strtod(words->items[0], &ends[0]), microseconds = strtod(words->items[1], &ends[1]);
    *network = (mla_network){.bandwidth = gigabits * 1e9 / 8, .latency = microseconds * 1e-6};
    return !*ends[0] && !*ends[1] && gigabits > 0 && microseconds >= 0;
}

static mla_status forecast_refuse(mla_context *context, const char *option, const mla_list *words, const char *remedy) {
    char text[256] = "";
    for (int64_t i = 0; i < words->count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? "," : "", words->items[i]);
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%s %s: give %s", option, text, remedy);
}

static mla_status read_options(const mla_call *call, plan *p, mla_network *network) {
    const options *o = call->options;
    if (!read_nodes(&o->nodes, p))
        return forecast_refuse(call->context, "--nodes", &o->nodes, "rising numbers, such as 1,2,3 or 1,2,4,...,256");
    if (!read_network(&o->network, network))
        return forecast_refuse(call->context, "--network", &o->network, "Gbit/s and microseconds, such as 25,20");
    return MLA_OK;
}

/* ---- results ---- */

static void print_measured(FILE *out, const mla_forecast_basis *b) {
    fprintf(out, "Measured here, %lld rank%s to a node, %lld thread%s each:\n", (long long)b->ranks_per_host,
            b->ranks_per_host == 1 ? "" : "s", (long long)b->threads, b->threads == 1 ? "" : "s");
    for (int64_t i = 0; i < b->pass_count; i++) {
        const mla_forecast_pass *p = &b->passes[i];
        const double flops = (p->memory.cost.forward_flops + p->memory.cost.backward_flops) / p->seconds;
        fprintf(out, "  a pass of %-4lld sequence%s %9.1f ms  %.0f GFLOP/s, %.0f %% of what matrix products reach\n",
                (long long)p->rows, p->rows == 1 ? " " : "s", 1e3 * p->seconds, flops / 1e9,
                100 * flops / b->peak_flops);
    }
    fprintf(out, "  norm and update         %9.1f ms\n", 1e3 * b->update);
    fprintf(out, "  copying                 %9.1f GB/s\n", b->copying / 1e9);
    if (b->exchange_measured) fprintf(out, "  between ranks of a node %9.1f GB/s a rank\n", b->exchange / 1e9);
    if (b->network_measured)
        fprintf(out, "  network                 %9.2f Gbit/s a node each way, delay %.0f us\n",
                8 * b->network.bandwidth / 1e9, 1e6 * b->network.latency);
}

static void print_assumed(FILE *out, const mla_forecast_basis *b, const mla_network *stated) {
    fprintf(out, "%s:\n", stated->bandwidth ? "Stated and assumed" : "Assumed");
    if (!b->network_measured)
        fprintf(out, "  network %g Gbit/s a node each way, delay %g us\n", 8 * b->network.bandwidth / 1e9,
                1e6 * b->network.latency);
    if (b->ranks_per_host > 1 && !b->exchange_measured)
        fprintf(
            out,
            "  ranks of a node do not slow each other, and exchange %.1f GB/s: measure it by mpirun -n %lld mla forecast\n",
            b->exchange / 1e9, (long long)b->ranks_per_host);
    fprintf(out,
            "  all nodes like this one and equally fast, the network's full bandwidth for all of them at once\n"
            "  a core copies each byte that goes out or comes in, and spends %g us on each message\n"
            "  no evaluations, checkpoints or waiting for data\n\n",
            1e6 * b->message);
}

static void print_basis(FILE *out, const mla_forecast_basis *b, const mla_network *stated) {
    const mla_recipe_train *t = &b->recipe->train;
    char parameters[32];
    mla_count_text((double)b->parameters, sizeof parameters, parameters);
    fprintf(out, "%s parameters, %s; %lld sequences of %lld tokens a step, at most %lld at once; optimizer %s\n\n",
            parameters, mla_dtype_name(b->precision), (long long)t->batch, (long long)t->sequence,
            (long long)t->microbatch, b->recipe->optim.shard ? "sharded" : "whole on each rank");
    print_measured(out, b);
    print_assumed(out, b, stated);
}

static void print_rows(FILE *out, const mla_forecast_basis *b, const plan *p) {
    const mla_recipe_train *t = &b->recipe->train;
    fprintf(out, "%6s %6s %10s %10s %10s %6s %10s   %s\n", "nodes", "ranks", "seq./rank", "step ms", "tokens/s", "eff.",
            "memory", "bound by");
    for (int64_t i = 0; i < p->count; i++) {
        const mla_forecast_row r = mla_forecast(b, p->nodes[i]);
        char memory[32], tokens[32];
        if (!r.samples) {
            fprintf(out, "%6lld %6lld %10s %10s %10s %6s %10s   %s\n", (long long)r.hosts, (long long)r.ranks, "-", "-",
                    "-", "-", "-", r.bound);
            continue;
        }
        mla_bytes_text((double)r.memory, sizeof memory, memory);
        mla_count_text((double)(t->batch * t->sequence) / r.seconds, sizeof tokens, tokens);
        fprintf(out, "%6lld %6lld %10lld %10.1f %10s %6.2f %10s   %s\n", (long long)r.hosts, (long long)r.ranks,
                (long long)r.samples, 1e3 * r.seconds, tokens, r.efficiency, memory, r.bound);
    }
}

static json_t *row_json(const mla_forecast_row *r) {
    json_t *json = json_object();
    json_object_set_new(json, "nodes", json_integer(r->hosts));
    json_object_set_new(json, "ranks", json_integer(r->ranks));
    json_object_set_new(json, "sequences", json_integer(r->samples));
    mla_output_number(json, "seconds", r->seconds);
    mla_output_number(json, "compute", r->compute);
    mla_output_number(json, "update", r->update);
    mla_output_number(json, "reduction", r->reduction);
    mla_output_number(json, "bandwidth", r->bandwidth);
    mla_output_number(json, "latency", r->latency);
    mla_output_number(json, "efficiency", r->efficiency);
    json_object_set_new(json, "memory", json_integer(r->memory));
    json_object_set_new(json, "bound", json_string(r->bound));
    return json;
}

static json_t *basis_json(const mla_forecast_basis *b) {
    json_t *json = json_object(), *passes = json_array();
    json_object_set_new(json, "parameters", json_integer(b->parameters));
    json_object_set_new(json, "gradient_bytes", json_integer(b->gradient_bytes));
    json_object_set_new(json, "buckets", json_integer(b->buckets));
    json_object_set_new(json, "precision", json_string(mla_dtype_name(b->precision)));
    json_object_set_new(json, "ranks_per_node", json_integer(b->ranks_per_host));
    json_object_set_new(json, "threads", json_integer(b->threads));
    mla_output_number(json, "peak_flops", b->peak_flops);
    for (int64_t i = 0; i < b->pass_count; i++) {
        json_t *pass = json_object();
        json_object_set_new(pass, "sequences", json_integer(b->passes[i].rows));
        mla_output_number(pass, "seconds", b->passes[i].seconds);
        json_array_append_new(passes, pass);
    }
    json_object_set_new(json, "passes", passes);
    mla_output_number(json, "update", b->update);
    mla_output_number(json, "copying", b->copying);
    mla_output_number(json, "exchange", b->exchange);
    json_object_set_new(json, "exchange_measured", json_boolean(b->exchange_measured));
    mla_output_number(json, "network_bandwidth", b->network.bandwidth);
    mla_output_number(json, "network_latency", b->network.latency);
    json_object_set_new(json, "network_measured", json_boolean(b->network_measured));
    mla_output_number(json, "message", b->message);
    return json;
}

static void forecast_print_json(FILE *out, const mla_forecast_basis *b, const plan *p) {
    json_t *json = json_object(), *rows = json_array();
    for (int64_t i = 0; i < p->count; i++) {
        const mla_forecast_row r = mla_forecast(b, p->nodes[i]);
        json_array_append_new(rows, row_json(&r));
    }
    json_object_set_new(json, "basis", basis_json(b));
    json_object_set_new(json, "rows", rows);
    mla_output_print(out, json);
}

/* ---- running ---- */

static mla_status forecast(const mla_call *call, mla_recipe *recipe, const plan *p, const mla_network *network) {
    const options *o = call->options;
    mla_forecast_basis basis;
    mla_context_set_threads(call->context, mla_comm_threads(*call->comm, call->context, (int)recipe->train.threads));
    const mla_status status = mla_forecast_measure(call->context, *call->comm, recipe, p->nodes, p->count,
                                                   o->ranks_per_node, network, &basis);
    if (!status && mla_comm_rank(*call->comm) == 0) {
        if (o->json) forecast_print_json(call->out, &basis, p);
        else {
            print_basis(call->out, &basis, network);
            print_rows(call->out, &basis, p);
        }
    }
    mla_forecast_free(&basis);
    return status;
}

static mla_status forecast_run(const mla_call *call) {
    const options *o = call->options;
    plan p = {.count = 0};
    mla_network network = {0};
    mla_recipe recipe;
    mla_recipe effective;
    mla_status status = read_options(call, &p, &network);
    if (!status)
        status = mla_recipe_load(call->context, &recipe, call->operands->items[0], (const char *const *)o->set.items,
                                 o->set.count);
    if (status) return status;
    status = mla_comm_start(call->context, recipe.train.comm_timeout, call->comm);
    effective = recipe;
    if (!status) status = forecast(call, &effective, &p, &network);
    mla_recipe_free(&recipe);
    return status;
}

const mla_command mla_command_forecast = {
    .name = "forecast",
    .summary = "Predict the time of a step on many nodes, and what bounds it",
    .operands = "RECIPE",
    .min_operands = 1,
    .max_operands = 1,
    .example = "  mla forecast decoder-d512x8 --set train.batch=256 --network 100,5\n"
               "  mpirun -n 2 mla forecast my-recipe.yaml --nodes 1,2,4,...,64\n"
               "  srun --nodes 2 --ntasks-per-node 1 mla forecast my-recipe.yaml\n",
    .options = &table,
    .run = forecast_run,
    .ranks = true,
};
