#include "train/recipe/recipe.h"
#include "autograd/base/file.h"
#include "autograd/schema/yaml.h"
#include "data/tokens/mixture.h"
#include "layers/head/head.h"
#include "train/recipe/recipe_path.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const mla_recipe_formats[] = {"auto", "text", "chat", "jsonl", "labels", NULL};
static const char *const packings[] = {"auto", "stream", "whole", NULL};
static const char *const too_longs[] = {"cut", "stride", "refuse", NULL};
static const char *const class_weights[] = {"none", "balanced", NULL};
static const char *const schedules[] = {"constant", "cosine", "linear", "wsd", "deepseek", NULL};
static const char *const recomputes[] = {"none", "block", NULL};
static const char *const reduces[] = {"f32", "bf16", NULL};
static const char *const precisions[] = {"f32", "bf16", "auto", NULL};

#define COUNT(array) ((int)(sizeof array / sizeof *array))

#define AT(member) offsetof(mla_recipe_synthetic, member)
static const mla_field synthetic_fields[] = {
    {"tokens", MLA_FIELD_INT, AT(tokens), 0, 0, 1e12, .help = "tokens to draw from a Markov chain; 0: none"},
    {"vocabulary", MLA_FIELD_INT, AT(vocabulary), 32, 2, 16384, .help = "different tokens"},
    {"order", MLA_FIELD_INT, AT(order), 1, 1, 2, .help = "tokens that decide on the next one"},
    {"sharpness", MLA_FIELD_FLOAT, AT(sharpness), 2, 1e-3, 8, .help = "how far from even the probabilities are"},
};
#undef AT
static const mla_field_table synthetic_table = {synthetic_fields, COUNT(synthetic_fields),
                                                sizeof(mla_recipe_synthetic)};

#define AT(member) offsetof(mla_recipe_data, member)
static const mla_field data_fields[] = {
    {"source", MLA_FIELD_LIST, AT(source), .help = "text to train on: files, folders, globs"},
    {"format", MLA_FIELD_ENUM, AT(format), .names = mla_recipe_formats,
     .help =
         "auto: files named as JSONL are; text: none is; jsonl: all are; chat: of conversations; labels: .jsonl, .csv "
         "and .tsv of text with labels, as auto for a head that labels"},
    {"template", MLA_FIELD_ENUM, AT(chat_template), .names = mla_chat_template_names,
     .help = "chat: how conversations become text; auto: as the model's own"},
    {"fields", MLA_FIELD_WORDS, AT(fields),
     .help = "chat: keys of a line that hold a question and its answer: prompt=question,completion=answer"},
    {"date", MLA_FIELD_STRING, AT(date), .help = "chat: what a template gets for today's date, as 2024-07-26"},
    {"packing", MLA_FIELD_ENUM, AT(packing), .names = packings,
     .help = "whole: documents whole, shuffled, kept apart; stream: cut where a sequence ends; auto: chat is whole"},
    {"field", MLA_FIELD_STRING, AT(field), .text = "text",
     .help = "JSONL: the key that holds the text; meta.text: one within another"},
    {"bad_lines", MLA_FIELD_ENUM, AT(bad_lines), .names = mla_bad_lines_names,
     .help = "JSONL and chat: lines that are broken or lack the field end it, or are left out and counted"},
    {"tokens", MLA_FIELD_STRING, AT(tokens), .help = "a token file made by mla prepare, instead of source"},
    {"mix", MLA_FIELD_WORDS, AT(mix),
     .help = "several texts and token files, each PATH:WEIGHT, by their share of the tokens: web.h5:3, letters:1"},
    {"tokenizer", MLA_FIELD_STRING, AT(tokenizer), .text = "bpe",
     .help = "bytes, bpe, or a tokenizer.json or its folder"},
    {"vocab_size", MLA_FIELD_INT, AT(vocab_size), 4096, 257, 1 << 20, .help = "tokens of a new BPE"},
    {"bos", MLA_FIELD_BOOL, AT(bos), 1,
     .help = "begin (and end) documents with the tokens that the tokenizer puts there, if any"},
    {"held_out", MLA_FIELD_FLOAT, AT(held_out), 0.02, 0, 0.9, .help = "share of documents to evaluate on"},
    {"seed", MLA_FIELD_INT, AT(seed), 0, 0, 1e15,
     .help = "of the order of the data, which runs of different train.seed then share; 0: as train.seed"},
    {"label_field", MLA_FIELD_STRING, AT(label_field), .text = "label", .help = "labels: the column that holds them"},
    {"text_template", MLA_FIELD_STRING, AT(text_template),
     .help = "labels: text made of columns, 'amount {amount} at {merchant}', instead of field"},
    {"group_field", MLA_FIELD_STRING, AT(group_field),
     .help = "labels: a column whose equal values stay on one side, in training or held out, as a customer's number"},
    {"sequence_field", MLA_FIELD_STRING, AT(sequence_field),
     .help =
         "labels: a column whose equal values make rows one example, as a card's number; the label is the last row's"},
    {"order_field", MLA_FIELD_STRING, AT(order_field),
     .help = "labels: the order of such rows: a column of numbers or ISO 8601 times"},
    {"labels", MLA_FIELD_LIST, AT(labels), .cuts_text = true,
     .help = "labels: their names in order, with commas between, or a list; none: those in the data, sorted"},
    {"too_long", MLA_FIELD_ENUM, AT(too_long), .names = too_longs,
     .help = "labels: what of text longer than a sequence; cut: its end goes, of rows gathered by sequence_field the "
             "oldest; stride: overlapping pieces that decide together"},
    {"class_weights", MLA_FIELD_ENUM, AT(class_weights), .names = class_weights,
     .help = "labels: balanced: each class weighs as much in the loss as another"},
    {"synthetic", MLA_FIELD_GROUP, AT(synthetic), .group = &synthetic_table,
     .help = "a source of known entropy, instead of text"},
};
#undef AT
static const mla_field_table data_table = {data_fields, COUNT(data_fields), sizeof(mla_recipe_data)};

#define AT(member) offsetof(mla_recipe_optim, member)
static const mla_field optim_fields[] = {
    {"lr", MLA_FIELD_FLOAT, AT(lr), 1e-3, 1e-12, 10, .help = "highest learning rate"},
    {"min_lr_ratio", MLA_FIELD_FLOAT, AT(min_lr_ratio), 0.1, 0, 1, .help = "last learning rate / highest"},
    {"beta1", MLA_FIELD_FLOAT, AT(beta1), 0.9, 0, 0.999999, .help = "AdamW: memory of the gradient"},
    {"beta2", MLA_FIELD_FLOAT, AT(beta2), 0.95, 0, 0.999999, .help = "AdamW: memory of its square"},
    {"eps", MLA_FIELD_FLOAT, AT(eps), 1e-8, 1e-16, 1, .help = "AdamW: added to the denominator"},
    {"weight_decay", MLA_FIELD_FLOAT, AT(weight_decay), 0.1, 0, 10, .help = "of matrices, times lr per step"},
    {"clip", MLA_FIELD_FLOAT, AT(clip), 1, 0, 1e9, .help = "largest norm of the gradient; 0: no limit"},
    {"schedule", MLA_FIELD_ENUM, AT(schedule), 1, .names = schedules, .help = "of the learning rate"},
    {"warmup_steps", MLA_FIELD_INT, AT(warmup_steps), 0, 0, 1e12, .help = "steps from 0 to the highest lr"},
    {"decay_fraction", MLA_FIELD_FLOAT, AT(decay_fraction), 0.1, 0, 1,
     .help = "wsd: the last share of the steps, in which lr falls"},
    {"drop_at", MLA_FIELD_FLOAT, AT(drop_at), 0.8, 0, 1, .help = "deepseek: share of the steps at the first drop"},
    {"drop_again_at", MLA_FIELD_FLOAT, AT(drop_again_at), 0.9, 0, 1,
     .help = "deepseek: share of the steps at the second drop"},
    {"drop_factor", MLA_FIELD_FLOAT, AT(drop_factor), 0.316, 1e-6, 1, .help = "deepseek: lr is multiplied by it"},
    {"shard", MLA_FIELD_BOOL, AT(shard), .help = "several ranks: each keeps its part of AdamW's memory only"},
};
#undef AT
static const mla_field_table optim_table = {optim_fields, COUNT(optim_fields), sizeof(mla_recipe_optim)};

#define AT(member) offsetof(mla_recipe_train, member)
static const mla_field train_fields[] = {
    {"steps", MLA_FIELD_INT, AT(steps), 0, 0, 1e12, .help = "optimizer steps; or give epochs or tokens"},
    {"epochs", MLA_FIELD_FLOAT, AT(epochs), 0, 0, 1e6, .help = "times through the data; or give steps or tokens"},
    {"tokens", MLA_FIELD_INT, AT(tokens), 0, 0, 1e15, .help = "tokens to train on; or give steps or epochs"},
    {"batch", MLA_FIELD_INT, AT(batch), 8, 1, 1 << 20, .help = "sequences per optimizer step"},
    {"microbatch", MLA_FIELD_INT, AT(microbatch), 0, 0, 1 << 20,
     .help = "sequences at once, fewer need less memory; 0: as batch"},
    {"sequence", MLA_FIELD_INT, AT(sequence), 256, 2, 1 << 24, .help = "tokens per sequence"},
    {"seed", MLA_FIELD_INT, AT(seed), 1, 0, 1e15, .help = "of weights, dropout and the order of the data"},
    {"threads", MLA_FIELD_INT, AT(threads), 0, 0, 4096, .help = "processor threads a rank; 0: its share of all"},
    {"recompute", MLA_FIELD_ENUM, AT(recompute), .names = recomputes,
     .help = "block: less memory, for a forward pass more per step"},
    {"precision", MLA_FIELD_ENUM, AT(precision), MLA_PRECISION_AUTO, .names = precisions,
     .help = "of the matrix products; auto: bf16 where the processors multiply it, else f32; a run keeps what it has"},
    {"eval_every", MLA_FIELD_INT, AT(eval_every), 100, 0, 1e12, .help = "steps between evaluations; 0: at the end"},
    {"eval_batches", MLA_FIELD_INT, AT(eval_batches), 16, 1, 1e9, .help = "held-out batches per evaluation"},
    {"log_every", MLA_FIELD_INT, AT(log_every), 10, 1, 1e9, .help = "steps between lines where there is no terminal"},
    {"tensorboard", MLA_FIELD_BOOL, AT(tensorboard), .help = "write what TensorBoard reads into the run folder, too"},
    {"comm_timeout", MLA_FIELD_FLOAT, AT(comm_timeout), 60, 0.5, 86400,
     .help = "several ranks: seconds without a sign of life until one counts as lost"},
    {"reduce", MLA_FIELD_ENUM, AT(reduce), .names = reduces,
     .help = "several ranks: how gradients travel; bf16: half the bytes, each rounded, sums in f32"},
    {"overlap", MLA_FIELD_BOOL, AT(overlap), 1, .help = "several ranks: send gradients while the backward pass runs"},
    {"bucket_mb", MLA_FIELD_FLOAT, AT(bucket_mb), 16, 0.001, 1024,
     .help = "several ranks: megabytes of gradients that are sent at once"},
    {"verify_every", MLA_FIELD_INT, AT(verify_every), 100, 0, 1e12,
     .help = "several ranks: steps between comparisons of their parameters; 0: never"},
    {"label_smoothing", MLA_FIELD_FLOAT, AT(label_smoothing), 0, 0, 0.9,
     .help = "a head that labels: share of a label that all classes get alike"},
    {"max_skipped", MLA_FIELD_INT, AT(max_skipped), 10, 0, 1e9,
     .help = "steps in a row whose loss is not finite before the run stops"},
};
#undef AT
static const mla_field_table train_table = {train_fields, COUNT(train_fields), sizeof(mla_recipe_train)};

#define AT(member) offsetof(mla_recipe_checkpoint, member)
static const mla_field checkpoint_fields[] = {
    {"every", MLA_FIELD_INT, AT(every), 500, 0, 1e12, .help = "steps between checkpoints; 0: at the end"},
    {"keep", MLA_FIELD_INT, AT(keep), 2, 1, 1e6, .help = "last checkpoints that stay"},
    {"background", MLA_FIELD_BOOL, AT(background),
     .help = "write a copy while training continues: more memory, short pauses"},
    {"out", MLA_FIELD_STRING, AT(out), .help = "folder of the run; --out replaces it"},
};
#undef AT
static const mla_field_table checkpoint_table = {checkpoint_fields, COUNT(checkpoint_fields),
                                                 sizeof(mla_recipe_checkpoint)};

#define AT(member) offsetof(mla_recipe_finetune, member)
static const mla_field finetune_fields[] = {
    {"base", MLA_FIELD_STRING, AT(base), .help = "a checkpoint or run folder to begin with; its model replaces model"},
    {"distil", MLA_FIELD_STRING, AT(distil),
     .help = "a teacher, checkpoint or run folder, with the same tokenizer: its "
             "probabilities are learned too"},
    {"distil_hash", MLA_FIELD_STRING, AT(distil_hash),
     .help = "of the teacher's weights: a run writes it, and asks for the same when it resumes"},
    {"distil_weight", MLA_FIELD_FLOAT, AT(distil_weight), 0.5, 0, 1,
     .help = "share of KL(teacher || model) in the loss; the rest is for the text"},
    {"distil_temperature", MLA_FIELD_FLOAT, AT(distil_temperature), 1, 0.05, 100,
     .help = "softens the probabilities of both in KL, which counts its square times"},
    {"distil_layers", MLA_FIELD_FLOAT, AT(distil_layers), 0, 0, 1e6,
     .help =
         "weight of a loss beside that: how far what each layer's attention gives is from the teacher's, as a share "
         "of its size (squared, mean of the layers); both must have as many layers, as wide; 0: none"},
    {"train", MLA_FIELD_WORDS, AT(train),
     .help = "parameters to train, the others stay as they are: kv_b_proj, '*norm', 'layers.3.*'; none: all"},
};
#undef AT
static const mla_field_table finetune_table = {finetune_fields, COUNT(finetune_fields), sizeof(mla_recipe_finetune)};

#define AT(member) offsetof(mla_recipe, member)
static const mla_field recipe_fields[] = {
    {"model", MLA_FIELD_GROUP, AT(model), .group = &mla_model_fields, .help = "sizes and kinds of layers"},
    {"finetune", MLA_FIELD_GROUP, AT(finetune), .group = &finetune_table, .help = "a model to begin with"},
    {"lora", MLA_FIELD_GROUP, AT(lora), .group = &mla_lora_fields,
     .help = "adapters: with targets, only they are trained"},
    {"data", MLA_FIELD_GROUP, AT(data), .group = &data_table, .help = "what to train on"},
    {"optim", MLA_FIELD_GROUP, AT(optim), .group = &optim_table, .help = "AdamW and its schedule"},
    {"train", MLA_FIELD_GROUP, AT(train), .group = &train_table, .help = "how long, in which batches"},
    {"checkpoint", MLA_FIELD_GROUP, AT(checkpoint), .group = &checkpoint_table, .help = "when and where to save"},
};
#undef AT
const mla_field_table mla_recipe_fields = {recipe_fields, COUNT(recipe_fields), sizeof(mla_recipe)};

mla_status mla_recipe_default(mla_context *context, mla_recipe *recipe) {
    return mla_fields_default(context, &mla_recipe_fields, recipe);
}

void mla_recipe_free(mla_recipe *recipe) { mla_fields_free(&mla_recipe_fields, recipe); }

/* ---- the check of the whole */

static mla_status check_model(mla_context *context, const char *where, const mla_recipe *recipe) {
    char prefix[512];
    snprintf(prefix, sizeof prefix, "%smodel.", where);
    mla_model_config model = recipe->model; /* a copy: what is 0 stays 0 in the recipe */
    if (model.vocab_size == 0) model.vocab_size = 1;
    if (model.num_labels == 0 && model.head->labels) model.num_labels = 2;
    return mla_model_config_check(context, prefix, &model);
}

mla_status mla_recipe_mix_entry(mla_context *context, const char *where, const char *entry, char **path,
                                double *weight) {
    const char *colon = strrchr(entry, ':');
    char *end = NULL;
    *path = NULL;
    *weight = colon ? strtod(colon + 1, &end) : 0;
    if (!colon || colon == entry || end == colon + 1 || *end)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%sdata.mix: %s has no weight: write PATH:WEIGHT without a space, as in web.h5:3", where,
                        entry);
    if (!(*weight > 0 && isfinite(*weight)))
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%sdata.mix: %s: the weight must be a number above 0; leave out what is not to be trained on",
                        where, entry);
    *path = strndup(entry, (size_t)(colon - entry));
    return *path ? MLA_OK : mla_fail(context, MLA_ERROR_MEMORY, "no memory for a path");
}

static mla_status check_entry(mla_context *context, const char *where, const mla_list *mix, int64_t index) {
    char *path, *other = NULL;
    double weight;
    mla_status status = mla_recipe_mix_entry(context, where, mix->items[index], &path, &weight);
    for (int64_t i = 0; i < index && !status; i++) {
        status = mla_recipe_mix_entry(context, where, mix->items[i], &other, &weight);
        if (!status && !strcmp(path, other))
            status = mla_fail(context, MLA_ERROR_ARGUMENT, "%sdata.mix: %s is there twice: add up its weights", where,
                              path);
        free(other);
    }
    if (!status && mla_file_is_pipe(path))
        status = mla_fail(context, MLA_ERROR_ARGUMENT,
                          "%sdata.mix: %s is a pipe: make a token file of it, by mla prepare", where, path);
    free(path);
    return status;
}

static mla_status check_mix(mla_context *context, const char *where, const mla_list *mix) {
    mla_status status = MLA_OK;
    if (mix->count > MLA_MOST_PARTS)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%sdata.mix: %lld parts; at most %d can be mixed", where,
                        (long long)mix->count, MLA_MOST_PARTS);
    for (int64_t i = 0; i < mix->count && !status; i++) status = check_entry(context, where, mix, i);
    return status;
}

static mla_status check_data(mla_context *context, const char *where, const mla_recipe_data *data) {
    const int given = (data->source.count > 0) + (data->tokens != NULL) + (data->mix.count > 0) +
                      (data->synthetic.tokens > 0);
    if (given == 1) return check_mix(context, where, &data->mix);
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%sdata: give %s of source (text), tokens (a token file), mix (several) and synthetic.tokens",
                    where, given ? "only one" : "one");
}

static mla_status check_length(mla_context *context, const char *where, const mla_recipe_train *train) {
    const int given = (train->steps > 0) + (train->epochs > 0) + (train->tokens > 0);
    if (given == 1) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%strain: give %s of steps, epochs and tokens, to say how long", where,
                    given ? "only one" : "one");
}

static mla_status check_batch(mla_context *context, const char *where, mla_recipe_train *train) {
    if (train->microbatch == 0) train->microbatch = train->batch;
    if (train->batch % train->microbatch == 0) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%strain.microbatch: %lld does not divide batch %lld; use a divisor",
                    where, (long long)train->microbatch, (long long)train->batch);
}

static mla_status check_train(mla_context *context, const char *where, mla_recipe *recipe) {
    mla_recipe_train *train = &recipe->train;
    if (!recipe->finetune.base && train->sequence > recipe->model.max_position_embeddings)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%strain.sequence: %lld is longer than model.max_position_embeddings %lld", where,
                        (long long)train->sequence, (long long)recipe->model.max_position_embeddings);
    mla_status status = check_length(context, where, train);
    return status ? status : check_batch(context, where, train);
}

static mla_status check_optim(mla_context *context, const char *where, const mla_recipe *recipe) {
    const mla_recipe_optim *optim = &recipe->optim;
    if (recipe->train.steps > 0 && optim->warmup_steps > recipe->train.steps)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%soptim.warmup_steps: %lld is more than train.steps %lld", where,
                        (long long)optim->warmup_steps, (long long)recipe->train.steps);
    if (optim->drop_at > optim->drop_again_at)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%soptim.drop_at: %g comes after drop_again_at %g", where,
                        optim->drop_at, optim->drop_again_at);
    return MLA_OK;
}

static mla_status check_finetune(mla_context *context, const char *where, const mla_recipe *recipe) {
    if (recipe->finetune.distil_layers > 0 && !recipe->finetune.distil)
        return mla_fail(context, MLA_ERROR_ARGUMENT,
                        "%sfinetune.distil_layers: there is no teacher whose layers could be learned; name one by "
                        "finetune.distil, or leave it out",
                        where);
    if (!recipe->lora.targets.count || !recipe->finetune.train.count) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%sgive only one of lora.targets (adapters, the model stays as it is) and "
                    "finetune.train (parameters of the model)",
                    where);
}

mla_status mla_recipe_check(mla_context *context, const char *where, mla_recipe *recipe) {
    mla_status status = mla_fields_check(context, where, &mla_recipe_fields, recipe);
    if (!status) status = check_model(context, where, recipe);
    if (!status) status = check_data(context, where, &recipe->data);
    if (!status) status = check_train(context, where, recipe);
    if (!status) status = check_optim(context, where, recipe);
    if (!status) status = check_finetune(context, where, recipe);
    return status;
}

mla_too_long mla_recipe_too_long(const mla_recipe_data *data) {
    return data->sequence_field && data->too_long == MLA_TOO_LONG_CUT ? MLA_TOO_LONG_CUT_START : data->too_long;
}

uint64_t mla_recipe_data_seed(const mla_recipe *recipe) {
    return (uint64_t)(recipe->data.seed ? recipe->data.seed : recipe->train.seed);
}

/* ---- from and to files */

mla_status mla_recipe_set(mla_context *context, mla_recipe *recipe, const char *assignment) {
    const char *sign = strchr(assignment, '=');
    if (!sign)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "--set %s: expected section.key=value, for example optim.lr=3e-4",
                        assignment);
    char *key = strndup(assignment, (size_t)(sign - assignment));
    if (!key) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for --set %s", assignment);
    mla_status status = mla_fields_set(context, "--set ", &mla_recipe_fields, recipe, key, sign + 1);
    free(key);
    return status;
}

static mla_status read_recipe(mla_context *context, mla_recipe *recipe, const char *name) {
    const char *text;
    const mla_status status = mla_recipe_find(context, name, &text);
    if (status) return status;
    return text ? mla_yaml_parse(context, name, text, (int64_t)strlen(text), &mla_recipe_fields, recipe)
                : mla_yaml_load(context, name, &mla_recipe_fields, recipe);
}

mla_status mla_recipe_load(mla_context *context, mla_recipe *recipe, const char *name, const char *const *sets,
                           int64_t count) {
    char where[PATH_MAX + 2] = "";
    mla_status status = mla_recipe_default(context, recipe);
    if (!status && name) snprintf(where, sizeof where, "%s: ", name);
    if (!status && name) status = read_recipe(context, recipe, name);
    for (int64_t i = 0; i < count && !status; i++) status = mla_recipe_set(context, recipe, sets[i]);
    if (!status) status = mla_recipe_check(context, where, recipe);
    if (status) mla_recipe_free(recipe);
    return status;
}

mla_status mla_recipe_save(mla_context *context, const mla_recipe *recipe, const char *path) {
    return mla_yaml_save(context, path, &mla_recipe_fields, recipe);
}

char *mla_recipe_json(mla_context *context, const mla_recipe *recipe) {
    json_t *json = mla_fields_write_json(context, &mla_recipe_fields, recipe);
    char *text = json ? mla_json_text(context, json) : NULL;
    json_decref(json);
    return text;
}

mla_status mla_recipe_parse_json(mla_context *context, const char *where, const char *text, mla_recipe *recipe) {
    json_t *json;
    mla_status status = mla_json_parse(context, where, text, &json);
    if (status) return status;
    status = mla_recipe_default(context, recipe);
    if (!status) status = mla_fields_read_json(context, where, &mla_recipe_fields, recipe, json, NULL);
    if (!status) status = mla_recipe_check(context, where, recipe);
    if (status) mla_recipe_free(recipe);
    json_decref(json);
    return status;
}
