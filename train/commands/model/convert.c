/* mla convert: latent attention for a model with multi-head attention. */
#include "train/commands/calibration_text.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"
#include "train/convert/to_latent.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    int64_t rope_dim, fold;
    mla_ints latent;
    int64_t budget;
    mla_calibration_options calibrate;
    double max_loss;
    char *out;
    bool fold_norms, dry_run, json;
} options;

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"rope-dim", MLA_FIELD_INT, AT(rope_dim), 0, 0, 1 << 20,
     .help = "rows of the keys that go on turning with their position, for all heads together; 0: all"},
    {"freqfold", MLA_FIELD_INT, AT(fold), 0, 0, 1 << 16,
     .help = "neighbouring frequencies that are taken for one; 0: chosen by what is lost"},
    {"latent", MLA_FIELD_INTS, AT(latent), 0, 1, 1 << 20, .help = "kv_lora_rank, or one for each layer"},
    {"budget", MLA_FIELD_INT, AT(budget), 0, 0, INT32_MAX,
     .help = "instead: bytes of cache per token (f32), given to the layers whose loss of rank costs most"},
    {"fold-qk-norm", MLA_FIELD_BOOL, AT(fold_norms),
     .help = "let the mean size of each head stand for the norms of queries and keys (qk_norm), so that the result can "
             "be exported; what that costs is a stage of its own"},
    MLA_CALIBRATION_FIELDS(AT(calibrate)),
    {"max-loss", MLA_FIELD_FLOAT, AT(max_loss), 0, 0, 1e9,
     .help = "nats per token that a stage may add to the loss; 0: any. The model before a stage that adds more is "
             "written"},
    {"out", MLA_FIELD_STRING, AT(out), .help = "the checkpoint to write; needed without --dry-run"},
    {"dry-run", MLA_FIELD_BOOL, AT(dry_run), .help = "print what each stage would cache, and make nothing"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the result as JSON"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* ---- the result ---- */

/* No stage before these makes a latent that could be written. */
static bool nothing_made(const mla_conversion_report *r) { return r->refused >= 0 && r->refused <= MLA_STAGE_EXACT; }

static json_t *stage_json(const mla_conversion_report *r, int which) {
    const mla_conversion_stage *stage = &r->stage[which];
    json_t *json = json_pack("{s:s, s:I}", "stage", mla_stage_names[which], "cache_bytes_per_token",
                             (json_int_t)stage->bytes_per_token);
    json_t *layers = json_array();
    mla_output_number(json, "loss", stage->loss);
    mla_output_number(json, "kl", stage->divergence);
    for (int64_t i = 0; i < r->layers; i++) {
        json_t *layer = json_object();
        if (stage->rank[i]) json_object_set_new(layer, "kv_lora_rank", json_integer(stage->rank[i]));
        mla_output_number(layer, "error", stage->error[i]);
        json_array_append_new(layers, layer);
    }
    json_object_set_new(json, "layers", layers);
    return json;
}

static void convert_print_json(const mla_call *call, const char *checkpoint, const mla_conversion_report *r) {
    const options *o = call->options;
    json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "checkpoint", checkpoint, "calibrated",
                             (json_int_t)r->calibrated, "left_out", (json_int_t)r->left_out, "cache_bytes_per_token",
                             (json_int_t)r->bytes_per_token, "rope_dim", (json_int_t)r->rope_dim, "freqfold",
                             (json_int_t)r->fold);
    json_t *stages = json_array();
    if (o->out && !o->dry_run && !nothing_made(r)) json_object_set_new(json, "out", json_string(o->out));
    mla_output_number(json, "loss", r->loss);
    for (int s = 0; s < MLA_STAGES; s++)
        if (r->stage[s].made) json_array_append_new(stages, stage_json(r, s));
    json_object_set_new(json, "stages", stages);
    if (r->refused >= 0) json_object_set_new(json, "refused", json_string(mla_stage_names[r->refused]));
    mla_output_print(call->out, json);
}

static void print_number(FILE *out, const char *format, double x) {
    if (isfinite(x)) fprintf(out, format, x);
    else fprintf(out, "%12s", "-");
}

static void print_stages(FILE *out, const mla_conversion_report *r) {
    fprintf(out, "%-10s%12s%12s%12s%14s\n", "stage", "loss", "added", "KL", "bytes/token");
    fprintf(out, "%-10s", "original");
    print_number(out, "%12.4f", r->loss);
    fprintf(out, "%12s%12s%14lld\n", "", "", (long long)r->bytes_per_token);
    for (int s = 0; s < MLA_STAGES; s++) {
        const mla_conversion_stage *stage = &r->stage[s];
        if (!stage->made) continue;
        fprintf(out, "%-10s", mla_stage_names[s]);
        print_number(out, "%12.4f", stage->loss);
        print_number(out, "%+12.4f", stage->loss - r->loss);
        print_number(out, "%12.6f", stage->divergence);
        fprintf(out, "%14lld\n", (long long)stage->bytes_per_token);
    }
}

static void print_layers(FILE *out, const mla_conversion_report *r) {
    fprintf(out, "\nerror of the attention's output, and kv_lora_rank\nlayer");
    for (int s = 0; s < MLA_STAGES; s++)
        if (r->stage[s].made) fprintf(out, "%20s", mla_stage_names[s]);
    for (int64_t i = 0; i < r->layers; i++) {
        fprintf(out, "\n%5lld", (long long)i);
        for (int s = 0; s < MLA_STAGES; s++) {
            if (!r->stage[s].made) continue;
            print_number(out, "%12.2e", r->stage[s].error[i]);
            if (r->stage[s].rank[i]) fprintf(out, "%8lld", (long long)r->stage[s].rank[i]);
            else fprintf(out, "%8s", "-");
        }
    }
    fprintf(out, "\n");
}

static void convert_print_text(const mla_call *call, const char *checkpoint, const mla_conversion_report *r) {
    const options *o = call->options;
    fprintf(call->out, "model      %s\n", checkpoint);
    if (r->left_out)
        fprintf(call->out, "text       %lld tokens calibrate, %lld others measure\n", (long long)r->calibrated,
                (long long)r->left_out);
    fprintf(call->out, "positions  %lld rows of the keys turn%s", (long long)r->rope_dim, r->fold ? "" : "\n");
    if (r->fold) fprintf(call->out, ", %lld frequencies folded into one\n", (long long)r->fold);
    fprintf(call->out, "\n");
    print_stages(call->out, r);
    print_layers(call->out, r);
    if (!o->dry_run && !nothing_made(r)) fprintf(call->out, "\ncheckpoint %s\n", o->out);
}

static void print_result(const mla_call *call, const char *checkpoint, const mla_conversion_report *r) {
    const options *o = call->options;
    (o->json ? convert_print_json : convert_print_text)(call, checkpoint, r);
}

/* ---- running ---- */

static const double silence = 60; /* seconds after which a rank counts as lost */

static mla_status check_refused(const mla_call *call, const mla_conversion_report *r) {
    const options *o = call->options;
    const bool nothing = nothing_made(r);
    if (r->refused < 0) return MLA_OK;
    return mla_fail(call->context, MLA_ERROR_ARGUMENT,
                    "the %s stage adds %.4f nats per token to the loss, more than --max-loss %g; %s%s",
                    mla_stage_names[r->refused], r->stage[r->refused].loss - r->loss, o->max_loss,
                    nothing ? "nothing is written" : o->out,
                    !nothing         ? " holds the model of the stage before it"
                    : !o->fold_norms ? ""
                                     : ": without --fold-qk-norm the norms stay, exactly");
}

static mla_status convert_model(const mla_call *call, const mla_loaded *l, const mla_to_latent_options *what) {
    const char *path = mla_checkpoint_path(l->checkpoint);
    mla_conversion_report *r = mla_alloc(call->context, 1, sizeof *r, "a report");
    mla_decoder *made = NULL;
    const options *o = call->options;
    const bool first = mla_comm_rank(*call->comm) == 0; /* of several ranks, this one writes and talks */
    mla_status status = !r           ? MLA_ERROR_MEMORY
                        : o->dry_run ? mla_to_latent_plan(l->model, what, r)
                                     : mla_to_latent(l->model, what, &made, r);
    if (!status && made && first) status = mla_loaded_save(call->context, l, made, o->out);
    if (!status && first) print_result(call, path, r);
    if (!status) status = mla_comm_meet(*call->comm); /* it is written before any rank may end with a refusal */
    if (!status) status = check_refused(call, r);
    mla_decoder_destroy(made);
    free(r);
    return status;
}

/* Where mpirun has started several. */
static mla_status start_ranks(const mla_call *call) {
    const mla_status status = mla_comm_start(call->context, silence, call->comm);
    if (!status && *call->comm) mla_context_set_threads(call->context, mla_comm_threads(*call->comm, call->context, 0));
    return status;
}

static mla_status convert_run(const mla_call *call) {
    const options *o = call->options;
    mla_loaded l;
    mla_calibration_source text = {0};
    mla_to_latent_options what = {.rope_dim = o->rope_dim,
                                  .fold = o->fold,
                                  .latent = o->latent,
                                  .budget = o->budget,
                                  .fold_norms = o->fold_norms,
                                  .max_loss = o->max_loss};
    if (!o->out && !o->dry_run)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "convert needs --out FILE.h5, the checkpoint to write");
    mla_status status = mla_load_model(call->context, &l, &(mla_load_options){.checkpoint = call->operands->items[0]});
    if (!status) status = mla_calibration_open(call->context, &l, &o->calibrate, &text, &what.calibrate);
    if (!status) status = start_ranks(call);
    what.calibrate.comm = *call->comm;
    if (!status) status = convert_model(call, &l, &what);
    mla_calibration_close(&text);
    mla_loaded_close(&l);
    return status;
}

const mla_command mla_command_convert = {
    .name = "convert",
    .summary = "Give a model with multi-head attention a latent: exactly first, then with fewer rotary rows, then a "
               "narrower latent, with the loss of every stage",
    .operands = "FILE-OR-DIR",
    .min_operands = 1,
    .max_operands = 1,
    .example = "  mla convert runs/gqa --out exact.h5\n"
               "  mla convert runs/gqa --rope-dim 32 --latent 96 --calibrate licences.h5 --out latent.h5\n"
               "  mla convert runs/gqa --rope-dim 32 --budget 2048 --calibrate texts --max-loss 0.1 --out latent.h5\n"
               "  mpirun -n 4 mla convert runs/gqa --rope-dim 32 --latent 96 --calibrate texts --out latent.h5\n"
               "  mla convert qwen3.h5 --fold-qk-norm --calibrate texts --out exportable.h5\n",
    .options = &table,
    .run = convert_run,
    .ranks = true,
};
