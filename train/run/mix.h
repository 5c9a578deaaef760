/* All that a run trains on: one dataset, or several that are mixed by weight (data.mix).
 *
 * Weights are shares of the sequences, and so of the tokens (where documents are packed, of the positions). Sequence i
 * of the run comes from a part that the weights, the seed and i decide alone (data/tokens/mixture.h), so the mix is the
 * same on any number of ranks and in a run that is resumed. A part that runs out begins again, in another order. An
 * epoch of the mix is as many sequences as its parts have together. */
#ifndef MLA_TRAIN_RUN_MIX_H
#define MLA_TRAIN_RUN_MIX_H

#include "data/tokens/mixture.h"
#include "data/tokens/sampler.h"
#include "train/run/dataset.h"

typedef struct {
    char *path;    /* NULL: the only one, not of a mix */
    double weight; /* their sum is 1 */
    mla_dataset data;
    mla_sampler sampler;
} mla_mix_part;

typedef struct {
    int count;
    mla_mix_part parts[MLA_MOST_PARTS];
    mla_mixture mixture;
} mla_mix;

/* Opens the data of a checked recipe, as mla_dataset_open does; the text of part k of a mix is prepared in DIR/part-k.
 * All parts have one tokenizer: where data.tokenizer is bpe, that of the first token file among them, or else a new one
 * that is trained on the text of all. MLA_ERROR_ARGUMENT where they do not. The caller closes it in any case. */
mla_status mla_mix_open(mla_context *context, mla_mix *mix, const mla_recipe *recipe, const char *dir,
                        mla_dataset_text text);
void mla_mix_close(mla_mix *mix);

/* MLA_ERROR_ARGUMENT unless the recipe that the checkpoint `where` has kept, as JSON, mixes by the same weights: the
 * place in each part follows from them. The parts may have moved. */
mla_status mla_mix_check_resumed(mla_context *context, const mla_mix *mix, const char *where, const char *saved);

/* Packs and samples all parts as the recipe says. The mix must stay where it is. */
mla_status mla_mix_begin(mla_context *context, mla_mix *mix, const mla_recipe *recipe);

/* Sequence `index` of the run, as mla_sampler_get; starts are written in any case. */
void mla_mix_get(const mla_mix *mix, int64_t index, int32_t *inputs, int32_t *targets, int32_t *starts);
/* Whether some part is packed, so that starts matter. */
bool mla_mix_is_packed(const mla_mix *mix);

/* Sequences of an epoch; tokens of a split, of all parts. */
int64_t mla_mix_samples(const mla_mix *mix);
int64_t mla_mix_tokens(const mla_mix *mix, mla_token_split split);

/* The mean of the parts' losses by their weights, over those that have one; NaN: none has. */
double mla_mix_mean(const mla_mix *mix, const double *losses);
/* Bytes of held-out text a token, by the same weights; NaN where some part's are unknown. */
double mla_mix_bytes_per_token(const mla_mix *mix, const double *losses);

#endif
