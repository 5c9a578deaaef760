#include "train/run/label_evaluation.h"
#include "autograd/kernels/rows.h"
#include "layers/head/classification.h"
#include "train/scoring/scores.h"

#include <math.h>
#include <stdlib.h>

mla_tensor *mla_label_input(mla_tape *tape, const mla_token_stream *s) {
    const mla_stream_labels *labels = &s->labels;
    const int64_t shape[] = {labels->form == MLA_TAGS ? s->count : s->documents, labels->width};
    if (labels->form == MLA_VALUES) return mla_input(tape, MLA_F32, 2, shape, labels->values);
    return mla_input(tape, MLA_I32, 1, shape, labels->index);
}

/* ---- sums ---- */

mla_status mla_label_tally_create(mla_context *context, mla_label_tally *out, const mla_model_config *config) {
    *out = (mla_label_tally){.config = config, .count = MLA_TALLY_CLASSES + 3 * config->num_labels};
    out->sums = mla_alloc(context, out->count, sizeof *out->sums, "the sums of an evaluation");
    return out->sums ? MLA_OK : MLA_ERROR_MEMORY;
}

void mla_label_tally_free(mla_label_tally *tally) {
    free(tally->sums);
    *tally = (mla_label_tally){0};
}

static mla_label_counts *counts_of(const mla_label_tally *t, int64_t k) {
    return (mla_label_counts *)(t->sums + MLA_TALLY_CLASSES) + k;
}

static void count(const mla_label_tally *t, int64_t k, bool said, bool there) {
    mla_label_counts *c = counts_of(t, k);
    c->both += said && there;
    c->said += said;
    c->there += there;
}

static void tally_class(const mla_label_tally *t, int64_t class, const float *logits) {
    int64_t best = 0;
    for (int64_t k = 1; k < t->config->num_labels; k++) best = logits[k] > logits[best] ? k : best;
    t->sums[MLA_TALLY_RIGHT] += best == class;
    count(t, best, true, best == class);
    if (best != class) count(t, class, false, true);
}

static void tally_flags(const mla_label_tally *t, const float *flags, const float *logits) {
    bool right = true;
    for (int64_t k = 0; k < t->config->num_labels; k++) {
        const bool said = logits[k] > 0, there = flags[k] > 0.5f;
        right = right && said == there;
        count(t, k, said, there);
    }
    t->sums[MLA_TALLY_RIGHT] += right;
}

static void tally_numbers(const mla_label_tally *t, const float *numbers, const float *logits) {
    double squares = 0;
    for (int64_t k = 0; k < t->config->num_labels; k++) {
        const double off = (double)logits[k] - (double)numbers[k];
        squares += off * off;
    }
    t->sums[MLA_TALLY_SQUARES] += squares / (double)t->config->num_labels;
}

void mla_label_tally_add(mla_label_tally *t, const mla_stream_labels *labels, int64_t row, const float *logits) {
    t->sums[MLA_TALLY_TARGETS]++;
    switch (mla_classification_labels(t->config)) {
    case MLA_LABELS_CLASSES: tally_class(t, labels->index[row], logits); break;
    case MLA_LABELS_FLAGS: tally_flags(t, labels->values + row * labels->width, logits); break;
    case MLA_LABELS_NUMBERS: tally_numbers(t, labels->values + row * labels->width, logits); break;
    }
}

/* ---- scores ---- */

static void f1_of(const mla_label_tally *t, bool flags, mla_label_scores *out) {
    mla_f1_sums sums = {0};
    for (int64_t k = 0; k < t->config->num_labels; k++) mla_f1_add(&sums, counts_of(t, k), flags);
    out->macro_f1 = mla_f1_macro(&sums);
    out->micro_f1 = mla_f1_micro(&sums);
}

mla_label_scores mla_label_scores_of(const mla_label_tally *t) {
    const double targets = t->sums[MLA_TALLY_TARGETS];
    const mla_labels_kind kind = mla_classification_labels(t->config);
    mla_label_scores scores = {.targets = (int64_t)targets,
                               .loss = t->sums[MLA_TALLY_LOSS] / targets,
                               .accuracy = t->sums[MLA_TALLY_RIGHT] / targets,
                               .rmse = NAN};
    f1_of(t, kind == MLA_LABELS_FLAGS, &scores);
    if (kind != MLA_LABELS_NUMBERS) return scores;
    scores.accuracy = scores.macro_f1 = scores.micro_f1 = NAN;
    scores.rmse = sqrt(t->sums[MLA_TALLY_SQUARES] / targets);
    return scores;
}

/* ---- the model ---- */

/* One window, and the logits of one of its positions. */
typedef struct {
    int32_t *ids, *targets, *starts; /* (sequence) */
    float *row;                      /* (K) */
} window;

static mla_status window_create(mla_context *context, window *w, int64_t sequence, int64_t classes) {
    *w = (window){mla_alloc(context, sequence, sizeof *w->ids, "a window"),
                  mla_alloc(context, sequence, sizeof *w->targets, "a window"),
                  mla_alloc(context, sequence, sizeof *w->starts, "a window"),
                  mla_alloc(context, classes, sizeof *w->row, "logits")};
    return mla_error_status(context);
}

static void window_free(window *w) {
    free(w->ids);
    free(w->targets);
    free(w->starts);
    free(w->row);
}

/* Logits (1,T,K); *loss gets the window's added. NULL after an error. */
static const mla_tensor *window_run(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *d,
                                    const window *w, double *loss) {
    const int64_t shape[] = {1, d->sequence};
    mla_tape_begin(tape, &(mla_step){.inference = true, .precision = d->precision});
    const mla_batch batch = {.ids = mla_input(tape, MLA_I32, 2, shape, w->ids),
                             .targets = mla_input(tape, MLA_I32, 2, shape, w->targets),
                             .scale = 1,
                             .pass = {.starts = w->starts},
                             .labels = mla_label_input(tape, d->stream)};
    mla_tensor *logits = mla_decoder_logits(tape, model, batch.ids, &batch.pass);
    const mla_tensor *sum = mla_classification_loss(tape, &model->config, logits, &batch);
    if (mla_error_status(model->context)) return NULL;
    *loss += (double)*(const float *)sum->data;
    return logits;
}

mla_status mla_label_windows(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *d, int64_t first,
                             int64_t end, mla_label_visit visit, void *user, double *loss) {
    const int64_t classes = model->config.num_labels;
    window w;
    mla_status status = window_create(model->context, &w, d->sequence, classes);
    for (int64_t i = first; i < end && !status; i++) {
        mla_window_get(d->stream, d->packing, d->sequence, i, w.ids, w.targets, w.starts);
        const mla_tensor *logits = window_run(tape, model, d, &w, loss);
        if (!logits) status = mla_error_status(model->context);
        for (int64_t t = 0; t < d->sequence && !status; t++) {
            if (w.targets[t] < 0) continue;
            const mla_values all = {logits->data, logits->dtype};
            status = visit(user, w.targets[t], mla_load(all, t * classes, classes, w.row));
        }
    }
    window_free(&w);
    return status;
}

typedef struct {
    mla_label_tally *tally;
    const mla_stream_labels *labels;
} tallied;

static mla_status tally_visit(void *user, int64_t row, const float *logits) {
    const tallied *t = user;
    mla_label_tally_add(t->tally, t->labels, row, logits);
    return MLA_OK;
}

mla_status mla_label_evaluate(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *d, int64_t first,
                              int64_t end, mla_label_tally *tally) {
    tallied t = {tally, &d->stream->labels};
    return mla_label_windows(tape, model, d, first, end, tally_visit, &t, &tally->sums[MLA_TALLY_LOSS]);
}

mla_status mla_label_evaluate_team(mla_tape *tape, const mla_decoder *model, const mla_evaluation_data *data,
                                   mla_team *team, mla_range mine, mla_label_scores *out) {
    mla_label_tally tally;
    mla_status status = mla_label_tally_create(model->context, &tally, &model->config);
    if (!status) status = mla_label_evaluate(tape, model, data, mine.first, mine.first + mine.count, &tally);
    if (!status) status = mla_team_add_all(team, tally.sums, tally.count);
    if (!status) *out = mla_label_scores_of(&tally);
    mla_label_tally_free(&tally);
    return status;
}
