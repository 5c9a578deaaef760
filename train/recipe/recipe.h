/* A recipe is everything that decides what a run does: the model, its data, the optimizer, the training and
 * the checkpoints. Recipes are YAML files (train/recipes/); any value can be set from outside, key by key.
 *
 *     mla_recipe recipe;
 *     const char *sets[] = {"optim.lr=3e-4", "model.rope_scaling.type=yarn"};
 *     if ((status = mla_recipe_load(context, &recipe, "a.yaml", sets, 2))) return status;
 *     ...
 *     mla_recipe_free(&recipe);
 *
 * What a key means and takes is said once, in the tables of recipe.c; `mla train --help` prints them. */
#ifndef MLA_TRAIN_RECIPE_RECIPE_H
#define MLA_TRAIN_RECIPE_RECIPE_H

#include "data/text/bad_lines.h"
#include "data/text/chat_template.h"
#include "data/tokens/token_file.h"
#include "layers/adapt/adapters.h"
#include "optim/schedule.h"

typedef enum {
    MLA_RECIPE_AUTO,
    MLA_RECIPE_TEXT,
    MLA_RECIPE_CHAT,
    MLA_RECIPE_JSONL,
    MLA_RECIPE_LABELS
} mla_recipe_format;
typedef enum { MLA_WEIGHTS_NONE, MLA_WEIGHTS_BALANCED } mla_recipe_class_weights;
typedef enum { MLA_PACKING_AUTO, MLA_PACKING_STREAM, MLA_PACKING_WHOLE } mla_recipe_packing;
typedef enum { MLA_RECOMPUTE_NONE, MLA_RECOMPUTE_BLOCK } mla_recipe_recompute;
typedef enum { MLA_PRECISION_F32, MLA_PRECISION_BF16, MLA_PRECISION_AUTO } mla_recipe_precision;
typedef enum { MLA_REDUCE_F32, MLA_REDUCE_BF16 } mla_recipe_reduce;

/* A source of known entropy, a random Markov chain: data/text/synthetic.h. */
typedef struct {
    int64_t tokens; /* 0: not used */
    int64_t vocabulary, order;
    double sharpness;
} mla_recipe_synthetic;

/* Exactly one of source, tokens, mix and synthetic.tokens is given. */
typedef struct {
    mla_list source; /* files, folders, globs */
    /* AUTO: files named as JSONL are, and tables for a head that labels; TEXT: none is; JSONL: all are; CHAT: of
     * conversations; LABELS: tables of labelled text */
    mla_recipe_format format;
    mla_chat_template chat_template; /* of conversations */
    mla_list fields;                 /* "prompt=question", ...: data/text/chat.h */
    char *date;                      /* that a template gets for today's; NULL: none */
    char *field;                     /* of the objects of JSONL */
    mla_bad_lines_choice bad_lines;  /* of JSONL and conversations */
    mla_list mix;                    /* several of both, each "PATH:WEIGHT": train/run/mix.h */
    char *tokens;                    /* a token file of `mla prepare`; NULL: none */
    char *tokenizer;                 /* "bytes", "bpe" or a tokenizer.json */
    int64_t vocab_size;              /* of a new BPE */
    bool bos;                        /* texts get what the tokenizer puts before and behind them */
    double held_out;                 /* share of the documents */
    int64_t seed;                    /* of the order, and of a synthetic source; 0: as train.seed */
    mla_recipe_packing packing; /* STREAM: cut where a sequence ends; WHOLE: documents whole and apart; AUTO: chat is */
    mla_recipe_synthetic synthetic;
    /* Of labelled text (data/labels): */
    char *label_field, *text_template, *group_field; /* columns; a template instead of `field` */
    char *sequence_field, *order_field;              /* columns: rows that are one example, and their order */
    mla_list labels;                                 /* names in their order; none: as in the data, sorted */
    mla_too_long too_long;
    mla_recipe_class_weights class_weights;
} mla_recipe_data;

typedef struct {
    double lr, min_lr_ratio;
    double beta1, beta2, eps, weight_decay;
    double clip; /* largest norm of the gradient; 0: any */
    mla_schedule_kind schedule;
    int64_t warmup_steps;
    double decay_fraction;                      /* wsd: the last share of the steps */
    double drop_at, drop_again_at, drop_factor; /* deepseek: shares of the steps */
    bool shard;                                 /* each rank keeps a part of the moments only */
} mla_recipe_optim;

/* Exactly one of steps, epochs and tokens is above 0. */
typedef struct {
    int64_t steps;
    double epochs;
    int64_t tokens;
    int64_t batch;      /* sequences per optimizer step */
    int64_t microbatch; /* sequences per forward pass, divides batch; set by the check if it is 0 */
    int64_t sequence;   /* tokens per sequence, T */
    int64_t seed;
    int64_t threads; /* 0: all */
    mla_recipe_precision precision;
    mla_recipe_recompute recompute;
    int64_t eval_every, eval_batches; /* in steps; 0: only at the end */
    int64_t log_every;
    bool tensorboard;    /* event files beside the log */
    double comm_timeout; /* seconds */
    mla_recipe_reduce reduce;
    bool overlap;         /* of the exchange of gradients with the backward pass */
    double bucket_mb;     /* megabytes of gradients that ranks exchange at once */
    int64_t verify_every; /* steps between comparisons of the ranks' parameters; 0: never */
    double label_smoothing;
    int64_t max_skipped; /* non-finite steps in a row before the run stops */
} mla_recipe_train;

typedef struct {
    int64_t every;   /* in steps; 0: only at the end */
    int64_t keep;    /* the last ones that stay */
    bool background; /* a copy is written while training continues */
    char *out;       /* the run folder; NULL: the command line says */
} mla_recipe_checkpoint;

/* Training that begins with a model that is there. */
typedef struct {
    char *base;        /* its checkpoint, or a run folder; then `model` is that model's; NULL: a new model */
    mla_list train;    /* patterns of the parameters that are trained (layers/names); none: all */
    char *distil;      /* checkpoint or run folder of a teacher; NULL: none */
    char *distil_hash; /* of its weights, by the run itself; NULL: not known yet */
    double distil_weight, distil_temperature, distil_layers;
} mla_recipe_finetune;

typedef struct {
    mla_model_config model; /* vocab_size 0: as many as the tokenizer has */
    mla_recipe_finetune finetune;
    mla_lora_options lora; /* with targets: only adapters are trained, finetune.base stays as it is */
    mla_recipe_data data;
    mla_recipe_optim optim;
    mla_recipe_train train;
    mla_recipe_checkpoint checkpoint;
} mla_recipe;

extern const mla_field_table mla_recipe_fields;
extern const char *const mla_recipe_formats[]; /* names */

/* Defaults; no error but memory. The caller calls mla_recipe_free in any case. */
mla_status mla_recipe_default(mla_context *context, mla_recipe *recipe);
void mla_recipe_free(mla_recipe *recipe);

/* Reads a file, or a recipe that came with mla, by name (recipe_path.h; NULL: none, defaults only), applies `count`
 * assignments "section.key=value" in their order, and checks the whole. After an error nothing needs to be freed.
 * MLA_ERROR_IO if the file cannot be read, MLA_ERROR_FORMAT if it is not YAML, MLA_ERROR_ARGUMENT for a wrong key or
 * value, or a name of nothing. */
mla_status mla_recipe_load(mla_context *context, mla_recipe *recipe, const char *name, const char *const *sets,
                           int64_t count);

/* Applies one assignment, without the check of the whole. */
mla_status mla_recipe_set(mla_context *context, mla_recipe *recipe, const char *assignment);

/* What becomes of labelled text that is too long: of rows that are gathered (sequence_field) a cut takes the oldest. */
mla_too_long mla_recipe_too_long(const mla_recipe_data *data);

/* The seed of the data: data.seed, or that of the run. */
uint64_t mla_recipe_data_seed(const mla_recipe *recipe);

/* Checks that the values fit together and fills in train.microbatch. `where` starts the message. */
mla_status mla_recipe_check(mla_context *context, const char *where, mla_recipe *recipe);

/* An entry of data.mix, "PATH:WEIGHT". free(*path), NULL after an error: MLA_ERROR_ARGUMENT where there is no weight,
 * or none above 0. `where` starts the message. */
mla_status mla_recipe_mix_entry(mla_context *context, const char *where, const char *entry, char **path,
                                double *weight);

/* Writes the effective recipe, all keys with their values; wholly or, after an error, not at all. */
mla_status mla_recipe_save(mla_context *context, const mla_recipe *recipe, const char *path);

/* The same as JSON text for a checkpoint, and back. free() the text; NULL after an error. */
char *mla_recipe_json(mla_context *context, const mla_recipe *recipe);
mla_status mla_recipe_parse_json(mla_context *context, const char *where, const char *text, mla_recipe *recipe);

#endif
