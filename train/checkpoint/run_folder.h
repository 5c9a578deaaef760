/* The folder of a run: made, locked while a run uses it, and checked before a new run is put into it. */
#ifndef MLA_TRAIN_CHECKPOINT_RUN_FOLDER_H
#define MLA_TRAIN_CHECKPOINT_RUN_FOLDER_H

#include "train/recipe/recipe.h"

typedef struct mla_run_folder mla_run_folder;

/* Makes the folder (and those above it) where it is missing, and locks it. MLA_ERROR_ARGUMENT where another run
 * uses it, or where it has checkpoints and `resume` is false; MLA_ERROR_IO where it cannot be written to. Files
 * that a killed run was still writing (step-*.h5.tmp and the like) are removed. */
mla_status mla_run_folder_open(mla_context *context, mla_run_folder **out, const char *path, bool resume);
/* A folder that was made for the run and got no file is removed again. */
void mla_run_folder_close(mla_run_folder *folder);

const char *mla_run_folder_metrics(const mla_run_folder *folder); /* the path of metrics.jsonl */

mla_status mla_run_folder_write_recipe(mla_run_folder *folder, const mla_recipe *recipe);
mla_status mla_run_folder_write_tokenizer(mla_run_folder *folder, const char *json);

#endif
