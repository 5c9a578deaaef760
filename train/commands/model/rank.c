/* mla rank: another latent rank for a model that is there. */
#include "train/commands/calibration_text.h"
#include "train/commands/commands.h"
#include "train/commands/output.h"
#include "train/convert/latent_rank.h"

#include <math.h>

typedef struct {
    mla_ints latent;
    int64_t budget;
    mla_calibration_options calibrate;
    char *out;
    mla_latent_rank_method method;
    bool json;
} options;

static const char *const methods[] = {"moments", "svd", NULL};

#define AT(member) offsetof(options, member)
static const mla_field fields[] = {
    {"latent", MLA_FIELD_INTS, AT(latent), 0, 1, 1 << 20, .help = "the new rank, or one for each layer"},
    {"budget", MLA_FIELD_INT, AT(budget), 0, 0, INT32_MAX,
     .help = "instead: bytes of cache per token, given to the layers whose loss of rank costs most"},
    MLA_CALIBRATION_FIELDS(AT(calibrate)),
    {"out", MLA_FIELD_STRING, AT(out), .help = "the checkpoint to write; needed"},
    {"method", MLA_FIELD_ENUM, AT(method), .names = methods,
     .help = "to shrink by; svd: the singular values of the weights, to compare with"},
    {"json", MLA_FIELD_BOOL, AT(json), .help = "print the result as JSON"},
};
#undef AT
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(options)};

/* ---- the result */

static json_t *pair(const double values[2]) {
    json_t *json = json_object();
    mla_output_number(json, "before", values[0]);
    mla_output_number(json, "after", values[1]);
    return json;
}

static json_t *layers(const mla_latent_rank_report *r) {
    json_t *all = json_array();
    for (int64_t i = 0; i < r->layers; i++) {
        json_t *layer = json_pack("{s:I, s:I}", "before", (json_int_t)r->layer[i].before, "after",
                                  (json_int_t)r->layer[i].after);
        mla_output_number(layer, "error", r->layer[i].error);
        json_array_append_new(all, layer);
    }
    return all;
}

static void rank_print_json(const mla_call *call, const mla_loaded *l, const mla_latent_rank_report *r) {
    const options *o = call->options;
    json_t *json = json_object();
    json_object_set_new(json, "checkpoint", json_string(mla_checkpoint_path(l->checkpoint)));
    json_object_set_new(json, "out", json_string(o->out));
    json_object_set_new(json, "calibrated", json_integer(r->calibrated));
    json_object_set_new(json, "left_out", json_integer(r->left_out));
    json_object_set_new(json, "layers", layers(r));
    json_object_set_new(json, "loss", pair(r->loss));
    json_object_set_new(json, "calibration_loss", pair(r->calibration_loss));
    json_object_set_new(json, "cache_bytes_per_token",
                        pair((double[]){(double)r->bytes_per_token[0], (double)r->bytes_per_token[1]}));
    mla_output_print(call->out, json);
}

static void rank_print_text(const mla_call *call, const mla_loaded *l, const mla_latent_rank_report *r) {
    const options *o = call->options;
    fprintf(call->out, "model            %s\nlayer   rank             error of the attention's output\n",
            mla_checkpoint_path(l->checkpoint));
    for (int64_t i = 0; i < r->layers; i++) {
        fprintf(call->out, "%5lld   %5lld -> %-5lld  ", (long long)i, (long long)r->layer[i].before,
                (long long)r->layer[i].after);
        fprintf(call->out, isfinite(r->layer[i].error) ? "%.4f\n" : "not measured\n", r->layer[i].error);
    }
    if (r->left_out)
        fprintf(call->out,
                "loss             %.4f -> %.4f nats per token, over %lld tokens\n"
                "calibrated on    %.4f -> %.4f, %lld other tokens\n",
                r->loss[0], r->loss[1], (long long)r->left_out, r->calibration_loss[0], r->calibration_loss[1],
                (long long)r->calibrated);
    fprintf(call->out, "cache            %lld -> %lld bytes per token\ncheckpoint       %s\n",
            (long long)r->bytes_per_token[0], (long long)r->bytes_per_token[1], o->out);
}

/* ---- running */

static mla_status change(const mla_call *call, const mla_loaded *l, const mla_calibration_text *text) {
    const options *o = call->options;
    const mla_latent_rank_options r = {.latent = o->latent,
                                       .budget = o->budget,
                                       .method = o->method,
                                       .text = text->text,
                                       .sequence = text->sequence,
                                       .tokens = text->tokens};
    mla_latent_rank_report report;
    mla_decoder *model = NULL;
    mla_status status = mla_change_latent_rank(l->model, &r, &model, &report);
    if (!status) status = mla_loaded_save(call->context, l, model, o->out);
    if (!status) (o->json ? rank_print_json : rank_print_text)(call, l, &report);
    mla_decoder_destroy(model);
    return status;
}

static mla_status rank_run(const mla_call *call) {
    const options *o = call->options;
    mla_loaded l;
    mla_calibration_source source = {0};
    mla_calibration_text text;
    if (!o->out)
        return mla_fail(call->context, MLA_ERROR_ARGUMENT, "rank needs --out FILE.h5, the checkpoint to write");
    mla_status status = mla_load_model(call->context, &l, &(mla_load_options){.checkpoint = call->operands->items[0]});
    if (!status) status = mla_calibration_open(call->context, &l, &o->calibrate, &source, &text);
    if (!status) status = change(call, &l, &text);
    mla_calibration_close(&source);
    mla_loaded_close(&l);
    return status;
}

const mla_command mla_command_rank = {
    .name = "rank",
    .summary = "Give a model another latent rank, one for all layers or one for each: what is cached grows "
               "or shrinks",
    .operands = "FILE-OR-DIR",
    .min_operands = 1,
    .max_operands = 1,
    .example = "  mla rank runs/quickstart --latent 96 --out wider.h5\n"
               "  mla rank runs/quickstart --latent 48 --calibrate runs/quickstart/tokens.h5 --out smaller.h5\n"
               "  mla rank runs/quickstart --budget 768 --calibrate letters --calibrate notes.txt --out less.h5\n",
    .options = &table,
    .run = rank_run,
};
