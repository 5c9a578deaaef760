/* mla eval for a model whose head labels. */
#ifndef MLA_TRAIN_COMMANDS_INFERENCE_EVAL_LABELS_H
#define MLA_TRAIN_COMMANDS_INFERENCE_EVAL_LABELS_H

#include "train/commands/commands.h"
#include "train/commands/load.h"
#include "train/recipe/recipe.h"

typedef enum { MLA_CHOOSE_NONE, MLA_CHOOSE_F1, MLA_CHOOSE_FPR } mla_choose_threshold;
extern const char *const mla_choose_names[];
#define MLA_USUAL_FPR 0.01

/* What is to be measured, and a threshold to be chosen. */
typedef struct {
    double at_fpr;
    int64_t bootstrap, seed; /* replicates */
    char *positive, *plot, *out;
    mla_choose_threshold choose;
} mla_label_figures;

/* Their fields, for the table of a command whose options have them `at` this offset. */
#define MLA_LABEL_FIGURE_FIELDS(at)                                                                                   \
    {"at-fpr",                                                                                                        \
     MLA_FIELD_FLOAT,                                                                                                 \
     (at) + offsetof(mla_label_figures, at_fpr),                                                                      \
     MLA_USUAL_FPR,                                                                                                   \
     0,                                                                                                               \
     1,                                                                                                               \
     .help = "labels: recall at this rate of false positives"},                                                       \
        {"positive", MLA_FIELD_STRING, (at) + offsetof(mla_label_figures, positive),                                  \
         .help = "labels: of two classes the one to be found; default: the second"},                                  \
        {"bootstrap",                                                                                                 \
         MLA_FIELD_INT,                                                                                               \
         (at) + offsetof(mla_label_figures, bootstrap),                                                               \
         0,                                                                                                           \
         0,                                                                                                           \
         1 << 20,                                                                                                     \
         .help = "labels: 95 % intervals by drawing the texts again so many times, for example 1000"},                \
        {"seed", MLA_FIELD_INT, (at) + offsetof(mla_label_figures, seed), 0, 0, 1LL << 50, .help = "of --bootstrap"}, \
        {"plot", MLA_FIELD_STRING, (at) + offsetof(mla_label_figures, plot),                                          \
         .help = "labels: draw ROC, precision over recall, and calibration into this .svg or .png"},                  \
        {"choose", MLA_FIELD_ENUM, (at) + offsetof(mla_label_figures, choose), .names = mla_choose_names,             \
         .help = "labels: choose the threshold on this data, by the best F1 or for --at-fpr; needs --out"},           \
    {                                                                                                                 \
        "out", MLA_FIELD_STRING, (at) + offsetof(mla_label_figures, out),                                             \
            .help = "write the model with that threshold, which mla classify uses, to this checkpoint"                \
    }
/* Whether any of them is not as by default. */
bool mla_label_figures_given(const mla_label_figures *figures);

typedef struct {
    const char *tokens; /* a token file with labels, or a run's; NULL: the operands are tables of labelled text */
    const char *field;  /* of these */
    int64_t sequence;
    mla_dtype precision;
    bool json;
    const mla_label_figures *figures;
} mla_eval_labels_options;

/* recipe: the checkpoint's, which says which columns the tables have. A text in several pieces (data.too_long: stride)
 * is decided by the mean of their probabilities. */
mla_status mla_eval_labels(const mla_call *call, const mla_loaded *loaded, const mla_recipe *recipe,
                           const mla_eval_labels_options *options);

#endif
