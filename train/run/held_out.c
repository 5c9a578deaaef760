#include "train/run/held_out.h"

#include <math.h>

static mla_status evaluate_part(const mla_held_out *h, const mla_dataset *d, int64_t batches, mla_label_scores *out) {
    const mla_recipe_train *r = h->recipe;
    const mla_evaluation_data data = {&d->held_out, d->packed_held_out, h->rows, r->sequence, h->precision};
    int64_t windows = mla_window_count(data.stream, data.packing, r->sequence);
    mla_evaluation_sums sums;
    *out = (mla_label_scores){.loss = NAN, .accuracy = NAN, .macro_f1 = NAN, .micro_f1 = NAN, .rmse = NAN};
    if (windows < 1) return MLA_OK;
    if (batches && batches <= windows / r->microbatch) windows = batches * r->microbatch;
    const mla_range mine = mla_team_share(h->comm, windows);
    if (d->labels) return mla_label_evaluate_team(h->tape, h->model, &data, h->team, mine, out);
    mla_status status = mla_evaluate_windows(h->tape, h->model, &data, mine.first, mine.first + mine.count, &sums);
    if (!status) status = mla_team_add(h->team, &sums.loss, &sums.tokens);
    if (!status && sums.tokens) out->loss = sums.loss / (double)sums.tokens;
    return status;
}

mla_status mla_held_out_evaluate(const mla_held_out *h, int64_t batches, mla_label_scores *out,
                                 mla_part_losses *parts) {
    mla_status status = MLA_OK;
    *parts = (mla_part_losses){.count = h->mix->count};
    for (int k = 0; k < h->mix->count && !status; k++) {
        status = evaluate_part(h, &h->mix->parts[k].data, batches, out);
        parts->losses[k] = out->loss;
    }
    out->loss = status ? NAN : mla_mix_mean(h->mix, parts->losses);
    return status;
}

double mla_held_out_bits_per_byte(const mla_mix *mix, double loss, const mla_part_losses *parts) {
    if (mix->count == 1) return mla_bits_per_byte(loss, &mix->parts[0].data.held_out);
    return loss / M_LN2 / mla_mix_bytes_per_token(mix, parts->losses);
}
