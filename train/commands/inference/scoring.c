#include "train/commands/inference/scoring.h"
#include "autograd/base/clock.h"
#include "autograd/base/file.h"
#include "train/commands/output.h"
#include "train/hugging_face/chat_files.h"

#include <stdlib.h>

/* ---- the token before texts ---- */

/* The id of bos_token or its like: a text, or an object that holds it. -1: there is none. */
static int32_t named_token(const mla_tokenizer *tokenizer, const json_t *config, const char *key) {
    const json_t *token = json_object_get(config, key);
    const char *text = json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
    return text ? mla_tokenizer_added(tokenizer, text) : -1;
}

/* BOS, or else the end token: as tokenizer_config.json names them, or as an export of the model would. */
static mla_status find_prefix(mla_context *context, const mla_loaded *l, int32_t *out) {
    const mla_frame frame = mla_tokenizer_frame(l->tokenizer);
    mla_chat_files files = {0};
    const mla_status status = mla_chat_files_of_checkpoint(context, mla_checkpoint_hugging_face(l->checkpoint), &files);
    *out = named_token(l->tokenizer, files.tokens, "bos_token");
    if (*out < 0) *out = named_token(l->tokenizer, files.tokens, "eos_token");
    if (*out < 0 && frame.before_count) *out = frame.before[0];
    if (*out < 0) *out = mla_tokenizer_separator(l->tokenizer);
    mla_chat_files_free(&files);
    return status;
}

/* ---- opening and closing ---- */

mla_status mla_scoring_open(mla_scoring *s, const mla_call *call, const mla_loaded *l, const mla_scoring_options *o) {
    mla_context *context = call->context;
    *s = (mla_scoring){.call = call, .loaded = l, .options = *o, .begin = mla_seconds()};
    if (!o->sequence) s->options.sequence = l->model->config.max_position_embeddings;
    mla_status status = mla_loaded_expect_tokenizer(context, l);
    mla_continuation_options texts = {.tokenizer = l->tokenizer, .no_bos = o->no_bos};
    if (!status) status = find_prefix(context, l, &texts.prefix);
    if (!status) status = mla_continuation_create(context, &s->continuation, &texts);
    const mla_likelihood_options tokens = {l->model, s->options.sequence, o->precision};
    if (!status) status = mla_likelihood_create(context, &s->likelihood, &tokens);
    if (status || !o->samples) return status;
    s->samples = open_memstream(&s->sample_text, &s->sample_size);
    return s->samples ? MLA_OK : mla_fail(context, MLA_ERROR_MEMORY, "no memory for the samples");
}

void mla_scoring_close(mla_scoring *s) {
    if (s->samples) fclose(s->samples);
    free(s->sample_text);
    mla_likelihood_destroy(s->likelihood);
    mla_continuation_destroy(s->continuation);
}

void mla_scoring_sample(mla_scoring *s, json_t *line) {
    if (s->samples) mla_output_print(s->samples, line);
    else json_decref(line);
}

mla_status mla_scoring_finish(mla_scoring *s) {
    s->seconds = mla_seconds() - s->begin;
    if (!s->samples) return MLA_OK;
    if (fflush(s->samples) || ferror(s->samples))
        return mla_fail(s->call->context, MLA_ERROR_MEMORY, "no memory for the samples");
    return mla_file_write(s->call->context, s->options.samples, s->sample_text, (int64_t)s->sample_size);
}

/* ---- figures ---- */

json_t *mla_scoring_json(const mla_scoring *s) {
    json_t *json = json_object();
    json_object_set_new(json, "checkpoint", json_string(mla_checkpoint_path(s->loaded->checkpoint)));
    json_object_set_new(json, "sequence", json_integer(s->options.sequence));
    json_object_set_new(json, "precision", json_string(mla_dtype_name(s->options.precision)));
    json_object_set_new(json, "cut", json_integer(mla_likelihood_cut(s->likelihood)));
    json_object_set_new(json, "tokens", json_integer(mla_likelihood_seen(s->likelihood)));
    mla_output_number(json, "seconds", s->seconds);
    return json;
}

void mla_scoring_print(const mla_scoring *s, int64_t requests) {
    const int64_t cut = mla_likelihood_cut(s->likelihood), tokens = mla_likelihood_seen(s->likelihood);
    if (cut)
        fprintf(s->call->out, "cut              %lld of %lld contexts, at their beginning: longer than %lld tokens\n",
                (long long)cut, (long long)requests, (long long)s->options.sequence);
    fprintf(s->call->out, "speed            %.0f tokens/s, in %s\n", (double)tokens / s->seconds,
            mla_dtype_name(s->options.precision));
}
