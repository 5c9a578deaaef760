#include "tests/support/tiny_run.h"

#include <string.h>

static const char *const sets[] = {
    "model.hidden_size=32",  "model.num_hidden_layers=1",  "model.num_attention_heads=2",
    "model.kv_lora_rank=16", "model.qk_nope_head_dim=16",  "model.qk_rope_head_dim=8",
    "model.v_head_dim=16",   "model.intermediate_size=64", "model.max_position_embeddings=32",
    "model.dropout=0.1",     "data.synthetic.tokens=500",  "train.steps=3",
    "train.batch=2",         "train.microbatch=1",         "train.sequence=32",
    "train.eval_every=2",    "checkpoint.every=1",         "checkpoint.keep=3"};
enum { SETS = sizeof sets / sizeof *sets, MOST = SETS + 24 };

mla_status tiny_recipe(mla_context *context, mla_recipe *recipe, const char *const *more) {
    const char *all[MOST];
    int64_t count = SETS;
    memcpy(all, sets, sizeof sets);
    while (more && *more && count < MOST) all[count++] = *more++;
    return mla_recipe_load(context, recipe, NULL, all, count);
}
