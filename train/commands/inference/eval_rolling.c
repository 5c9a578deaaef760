#include "train/commands/inference/eval_rolling.h"
#include "data/text/text_source.h"
#include "train/commands/output.h"

#include <math.h>

typedef struct {
    mla_context *context;
    mla_scoring scoring;
    int64_t documents, words, bytes, windows;
    double sum; /* of log-likelihoods */
} job;

static double run_windows(job *j, mla_status *status) {
    const int64_t count = mla_likelihood_count(j->scoring.likelihood);
    double sum = 0;
    if (!*status) *status = mla_likelihood_run(j->scoring.likelihood);
    for (int64_t i = 0; i < count && !*status; i++) sum += mla_likelihood_of(j->scoring.likelihood, i).sum;
    j->windows += count;
    mla_likelihood_clear(j->scoring.likelihood);
    return sum;
}

/* ids: the prefix, and the text, of which window after window scores the next `sequence` tokens. */
static mla_status score_document(job *j, const mla_continued *e, double *sum) {
    const int64_t most = j->scoring.options.sequence;
    mla_status status = MLA_OK;
    *sum = 0;
    for (int64_t done = 1; done < e->count && !status;) {
        const int64_t scored = e->count - done < most ? e->count - done : most, end = done + scored;
        const int64_t first = end > most + 1 ? end - most - 1 : 0;
        status = mla_likelihood_add(j->scoring.likelihood, e->ids + first, end - first, scored);
        done = end;
        if (mla_likelihood_tokens(j->scoring.likelihood) >= MLA_SCORED_TOGETHER) *sum += run_windows(j, &status);
    }
    *sum += run_windows(j, &status);
    return status;
}

static mla_status add_document(job *j, const mla_document *document) {
    const mla_text_part text = {document->bytes, document->length};
    const int64_t words = mla_count_words(text);
    mla_continued e;
    double sum = 0;
    mla_status status = mla_continuation_encode_text(j->scoring.continuation, text, &e);
    if (!status) status = score_document(j, &e, &sum);
    if (!status && !isfinite(sum))
        status = mla_fail(j->context, MLA_ERROR_NUMERIC, "%s: the model's logits are not numbers", document->name);
    if (status) return status;
    j->documents++;
    j->words += words;
    j->bytes += text.length;
    j->sum += sum;
    mla_scoring_sample(&j->scoring, json_pack("{s:s, s:f, s:I, s:I}", "place", document->name, "loglikelihood", sum,
                                              "words", (json_int_t)words, "bytes", (json_int_t)text.length));
    return MLA_OK;
}

static void print_result(const job *j) {
    static const char *const names[] = {"word_perplexity", "byte_perplexity", "bits_per_byte"};
    const double by_word = -j->sum / (double)j->words, by_byte = -j->sum / (double)j->bytes;
    const double values[] = {exp(by_word), exp(by_byte), by_byte / M_LN2};
    FILE *out = j->scoring.call->out;
    json_t *json = mla_scoring_json(&j->scoring);
    json_object_set_new(json, "documents", json_integer(j->documents));
    json_object_set_new(json, "words", json_integer(j->words));
    json_object_set_new(json, "bytes", json_integer(j->bytes));
    mla_output_number(json, "loglikelihood", j->sum);
    for (int i = 0; i < 3; i++) mla_output_number(json, names[i], values[i]);
    if (j->scoring.options.json) {
        mla_output_print(out, json);
        return;
    }
    json_decref(json);
    fprintf(out, "checkpoint       %s\n", mla_checkpoint_path(j->scoring.loaded->checkpoint));
    for (int i = 0; i < 3; i++) fprintf(out, "%-16s %.4f\n", names[i], values[i]);
    fprintf(out, "texts            %lld, of %lld words and %lld bytes\n", (long long)j->documents, (long long)j->words,
            (long long)j->bytes);
    mla_scoring_print(&j->scoring, j->windows);
}

mla_status mla_eval_rolling(const mla_call *call, const mla_loaded *l, const char *field,
                            const mla_scoring_options *options) {
    job j = {.context = call->context};
    mla_text_source *source = NULL;
    const mla_document *document;
    const mla_text_options texts = {
        .paths = (const char *const *)call->operands->items, .count = call->operands->count, .jsonl_field = field};
    mla_status status = mla_scoring_open(&j.scoring, call, l, options);
    if (!status) status = mla_text_open(call->context, &source, &texts);
    while (!status && !(status = mla_text_next(source, &document)) && document) status = add_document(&j, document);
    if (!status) status = mla_scoring_finish(&j.scoring);
    if (!status) print_result(&j);
    mla_text_close(source);
    mla_scoring_close(&j.scoring);
    return status;
}
