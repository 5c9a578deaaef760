/* mla compare: kinds of attention on one text, with error bars. */
#include "train/compare/compare.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"
#include "train/commands/training/stop_signals.h"
#include "train/compare/table.h"

#include <stdlib.h>

typedef struct {
    char *out, *only;
    mla_list set, arms, arm;
    mla_match match;
    mla_floats lr;
    mla_ints decode;
    int64_t seeds;
    bool dry_run, json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"out", MLA_FIELD_STRING, AT(out), .help = "the folder of the comparison; the same command again goes on in it"},
    {"arms", MLA_FIELD_WORDS, AT(arms), .text = "mha,gqa,mqa,mla",
     .help = "mha, gqa, mqa, mla, base, each also with -nope for no positions; the first is what others are held "
             "against"},
    {"arm", MLA_FIELD_LIST, AT(arm),
     .help = "an arm of your own: 'NAME=mla model.kv_lora_rank=32', keys of model and optim; may be repeated"},
    {"match", MLA_FIELD_ENUM, AT(match), .names = mla_match_names,
     .help = "what is made equal, by the feed-forward's width; cache: by the latent rank first"},
    {"lr", MLA_FIELD_FLOATS, AT(lr), 0, 1e-12, 10,
     .help = "learning rates to sweep for each arm, 1e-3,2e-3; none: half, once and twice the recipe's"},
    {"seeds", MLA_FIELD_INT, AT(seeds), 3, 1, MLA_MOST_SEEDS, .help = "runs of each arm at its best learning rate"},
    {"decode", MLA_FIELD_INTS, AT(decode), 0, 0, 1 << 24,
     .help = "positions behind which decoding is timed; 0: none; left out: 1024,8192,32768"},
    {"only", MLA_FIELD_STRING, AT(only),
     .help = "K/N: make the K-th of N parts of the runs; left out in a Slurm array: as its tasks are numbered"},
    {"dry-run", MLA_FIELD_BOOL, AT(dry_run), .help = "say what would be done, with memory and time, and train nothing"},
    {"set", MLA_FIELD_LIST, AT(set), .help = "section.key=value instead of the recipe's; may be repeated"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the result as JSON, and no progress"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* ---- which part ---- */

static mla_status take_part(mla_context *context, const char *text, mla_compare_options *out) {
    char rest;
    if (sscanf(text, "%d/%d%c", &out->part, &out->parts, &rest) == 2 && out->part >= 1 && out->part <= out->parts)
        return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "--only %s: expected K/N with K from 1 to N, as 2/8", text);
}

static bool number_in_environment(const char *name, int *out) {
    const char *text = getenv(name);
    char rest;
    return text && sscanf(text, "%d%c", out, &rest) == 1;
}

/* Task ids of an array are MIN, MIN + STEP, ... MAX. */
static mla_status take_array(mla_context *context, mla_compare_options *out) {
    int id, count, least, most, step = 1;
    if (!number_in_environment("SLURM_ARRAY_TASK_ID", &id)) return MLA_OK;
    number_in_environment("SLURM_ARRAY_TASK_STEP", &step);
    const bool known = number_in_environment("SLURM_ARRAY_TASK_COUNT", &count) &&
                       number_in_environment("SLURM_ARRAY_TASK_MIN", &least) &&
                       number_in_environment("SLURM_ARRAY_TASK_MAX", &most);
    if (!known || step < 1 || least + (count - 1) * step != most || (id - least) % step)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "this is task %d of a Slurm array whose numbers are not one after the other: use --array=1-N, "
                        "or say which part is done with --only K/N",
                        id);
    out->part = (id - least) / step + 1;
    out->parts = count;
    return MLA_OK;
}

/* ---- running ---- */

static mla_status take_options(const mla_call *call, mla_compare_options *out) {
    static const mla_ints usual = {3, {1024, 8192, 32768}};
    const options *o = call->options;
    *out = (mla_compare_options){.folder = o->out,
                                 .recipe = call->operands->items[0],
                                 .arms = &o->arms,
                                 .own = &o->arm,
                                 .match = o->match,
                                 .rates = o->lr,
                                 .seeds = o->seeds,
                                 .contexts = o->decode.count ? o->decode : usual,
                                 .progress = o->json ? NULL : stderr};
    for (int64_t i = 0; i < o->decode.count; i++)
        if (!o->decode.items[i]) out->contexts.count = 0;
    if (o->decode.count > 1 && !out->contexts.count)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "--decode: 0 stands alone, for none");
    if (!o->out && !o->dry_run)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "name the folder of the comparison: --out DIR");
    return o->only ? take_part(call->context, o->only, out) : take_array(call->context, out);
}

/* A part that is done is all that was asked for, the whole is not. */
static mla_status judge_rest(const mla_call *call, const mla_compare_options *compare, int left) {
    if (!left) return MLA_OK;
    if (!compare->parts)
        return mla_fail(call->context, MLA_ERROR_LIBRARY,
                        "%s: %d runs are still going, by another process; when they are done, the same command ends "
                        "the comparison",
                        compare->folder, left);
    fprintf(stderr,
            "part %d of %d is done as far as it can be; %d runs of others are missing: when they are done, the "
            "same command goes on\n",
            compare->part, compare->parts, left);
    return MLA_OK;
}

static mla_status run(const mla_call *call, const mla_recipe *recipe, const mla_compare_options *compare) {
    const options *o = call->options;
    int left = 0;
    json_t *result = NULL;
    mla_status status = o->dry_run ? mla_compare_plan(call->context, recipe, compare, &result)
                                   : mla_compare(call->context, recipe, compare, &result, &left);
    if (!status) status = judge_rest(call, compare, left);
    if (status) json_decref(result);
    else if (o->json) mla_output_print(call->out, result);
    else {
        (o->dry_run ? mla_compare_plan_print : mla_table_print)(call->out, result);
        json_decref(result);
    }
    return status;
}

static mla_status compare_run(const mla_call *call) {
    const options *o = call->options;
    mla_compare_options compare;
    mla_recipe recipe;
    mla_status status = take_options(call, &compare);
    if (!status)
        status = mla_recipe_load(call->context, &recipe, call->operands->items[0], (const char *const *)o->set.items,
                                 o->set.count);
    if (status) return status;
    status = mla_stop_signals_take(call->context, &compare.stop);
    mla_context_set_threads(call->context, (int)recipe.train.threads);
    if (!status) status = run(call, &recipe, &compare);
    mla_recipe_free(&recipe);
    return status;
}

const mla_command mla_command_compare = {
    .name = "compare",
    .summary = "Compare kinds of attention on one text, with error bars",
    .operands = "RECIPE",
    .min_operands = 1,
    .max_operands = 1,
    .example = "  mla compare mha-small --out runs/compare --dry-run\n"
               "  mla compare mha-small --arms mha,gqa,mqa,mla --lr 5e-4,1e-3,2e-3 --seeds 5 --out runs/compare\n"
               "  mla compare mla-small --arms mla --arm 'narrow=mla model.kv_lora_rank=32' --out runs/ranks\n",
    .options = &table,
    .run = compare_run,
};
