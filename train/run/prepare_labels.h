/* From labelled text (data/labels) to a token file with labels. What `mla prepare` and `mla train` do for a model whose
 * head labels (layers/head/classification.h). */
#ifndef MLA_TRAIN_RUN_PREPARE_LABELS_H
#define MLA_TRAIN_RUN_PREPARE_LABELS_H

#include "data/labels/examples.h"
#include "train/recipe/recipe.h"

typedef struct {
    mla_example_options examples;
    const mla_list *labels; /* names of the classes in their order; empty: those that are there, sorted */
    int64_t num_labels;     /* as many must be there; 0: any */
    const char *tokenizer;  /* as in mla_prepare_options; or */
    const char *tokenizer_json;
    int64_t vocab_size;
    bool bos;        /* texts get what the tokenizer puts before and behind them */
    double held_out; /* share of the examples of each class, or of the groups */
} mla_prepare_labels_options;

/* The options that a recipe stands for; they point into it. */
mla_prepare_labels_options mla_prepare_labels_options_of(const mla_recipe *recipe);

/* MLA_ERROR_ARGUMENT where model.num_labels is given (not 0), and another number of labels was found. */
mla_status mla_check_num_labels(mla_context *context, int64_t wanted, int64_t found);

/* Writes the token file at `path`, wholly or not at all. Warns of classes with one example: they are in training alone.
 *
 * Errors: those of examples and of the tokenizer; MLA_ERROR_FORMAT, with file and line, for a label that is not among
 * those that were given, or as many numbers as no row had before; MLA_ERROR_ARGUMENT for no rows, fewer than two
 * classes, another number of labels than num_labels, groups of which none can be held out. */
mla_status mla_prepare_labels(mla_context *context, const mla_prepare_labels_options *options, const char *path);

#endif
