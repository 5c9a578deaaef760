/* Checkpoints: all that a run needs to resume as if it had never stopped, in one sealed HDF5 file (data/formats/h5.h).
 *
 *     /model/NAME              the parameters, whole, f32, under Hugging Face's names
 *     /optim/m/NAME  .../v/    AdamW's moments
 *     /state/...               step, samples, tokens, data_tokens, optimizer_steps, skipped_in_a_row, seed
 *     /config/model  recipe    JSON texts
 *     /config/hugging_face     JSON text, where the model came from Hugging Face's files (train/hugging_face/import.h)
 *     /tokenizer               tokenizer.json as a text, where the run has one
 *     /config/labels           JSON list of names, where its head labels
 *     /config/thresholds       JSON, where some were chosen for it (train/scoring/thresholds.h)
 *
 * The checkpoint of an adapter has its tensors instead of the model's, and says which model it is for:
 *
 *     /adapter/NAME            f32, under PEFT's names (layers/adapters.h)
 *     /config/adapter          JSON text, as PEFT's adapter_config.json
 *     /config/base             JSON text: path, and hash of the parameters; /config/model is that model's, with the
 *                              head of the adapter where that has one of its own
 *
 * A run folder holds step-00001000.h5 files and `latest`, a text file with the name of the newest good one. */
#ifndef MLA_TRAIN_CHECKPOINT_CHECKPOINT_H
#define MLA_TRAIN_CHECKPOINT_CHECKPOINT_H

#include "data/formats/h5.h"
#include "layers/decoder.h"
#include "optim/adamw.h"

typedef struct {
    int64_t step;             /* steps done, skipped ones included */
    int64_t samples;          /* sequences taken from the data so far: the place in it */
    int64_t tokens;           /* targets trained on */
    int64_t data_tokens;      /* tokens there are to train on: whether the data is still the same */
    int64_t skipped_in_a_row; /* steps with a loss or gradient that is no number, up to now */
    int64_t seed;
} mla_run_state;

/* AdamW's moments where they do not lie in this process's memory as a whole: piece by piece, elements begin ... of m
 * (which: 0) or v (1) in the layout of the gradients. */
typedef struct {
    mla_status (*read)(void *user, int which, int64_t begin, int64_t count, float *out);
    mla_status (*write)(void *user, int which, int64_t begin, int64_t count, const float *in);
    void *user;
    int64_t steps; /* updates done */
} mla_distant_moments;

/* What is saved. moments, state and the texts may be NULL: a model alone. */
typedef struct {
    const mla_decoder *model;
    const mla_adamw_state *moments;
    const mla_run_state *state;
    const char *recipe, *tokenizer, *hugging_face; /* JSON texts */
    const char *labels, *thresholds;               /* JSON list of names, and object */
    const char *adapter, *base;                    /* JSON texts: of the model only the adapter is saved */
    mla_distant_moments *distant;                  /* instead of moments; or NULL */
} mla_checkpoint_content;

/* Writes a file; what was at `path` is replaced only when the new one is whole and verified. */
mla_status mla_checkpoint_save(mla_context *context, const char *path, const mla_checkpoint_content *content,
                               mla_step_hook hook);

/* Writes DIR/step-N.h5, points DIR/latest to it, and then removes all but the newest `keep` (0: keeps all). Those
 * of later steps neither count nor go: a run that fell back from a damaged one has such files, and will replace
 * them. */
mla_status mla_checkpoint_save_step(mla_context *context, const char *dir, const mla_checkpoint_content *content,
                                    int64_t keep, mla_step_hook hook);

/* Points DIR/latest to DIR/step-N.h5: a run that was killed between the two writes has left it at the one before. */
mla_status mla_checkpoint_set_latest(mla_context *context, const char *dir, int64_t step, mla_step_hook hook);

/* ---- A copy of a content, to be written while what it was taken from keeps changing. */

typedef struct mla_checkpoint_copy mla_checkpoint_copy;

/* Takes one: of all but the texts, which must stay; distant moments are fetched. Into the memory of *copy, or where
 * that is NULL into new memory, which mla_checkpoint_copy_free frees, also after an error. MLA_ERROR_MEMORY, and those
 * of content->distant. */
mla_status mla_checkpoint_copy_take(mla_context *context, const mla_checkpoint_content *content,
                                    mla_checkpoint_copy **copy);
void mla_checkpoint_copy_free(mla_checkpoint_copy *copy);
/* As mla_checkpoint_save_step. Any thread, with a context of its own: only the copy and the texts are looked at. */
mla_status mla_checkpoint_save_copy(mla_context *context, const char *dir, const mla_checkpoint_copy *copy,
                                    int64_t keep, mla_step_hook hook);
/* The memory of a copy, in bytes; parameters need not be allocated. */
int64_t mla_checkpoint_copy_bytes(const mla_params *params);

/* ---- */

/* How many checkpoints a folder has, good or not. MLA_ERROR_IO where it cannot be read. */
mla_status mla_checkpoint_count(mla_context *context, const char *dir, int64_t *count);

typedef struct mla_checkpoint mla_checkpoint;

/* Opens and verifies a file, or the newest good one of a run folder; damaged ones that are passed over are
 * named in warnings. MLA_ERROR_IO where there is none, MLA_ERROR_FORMAT where it is damaged or none of ours. */
mla_status mla_checkpoint_open(mla_context *context, mla_checkpoint **out, const char *path);
/* The same, and plain HDF5 files of other programs with the same content are accepted too: damage in those
 * cannot be found. */
mla_status mla_checkpoint_open_any(mla_context *context, mla_checkpoint **out, const char *path);
void mla_checkpoint_close(mla_checkpoint *checkpoint);

/* Its file, its model's configuration, and its texts; NULL where it has none. Owned by the checkpoint. */
const char *mla_checkpoint_path(const mla_checkpoint *checkpoint);
const mla_model_config *mla_checkpoint_config(const mla_checkpoint *checkpoint);
const char *mla_checkpoint_recipe(const mla_checkpoint *checkpoint);
const char *mla_checkpoint_tokenizer(const mla_checkpoint *checkpoint);
const char *mla_checkpoint_hugging_face(const mla_checkpoint *checkpoint);
const char *mla_checkpoint_labels(const mla_checkpoint *checkpoint);
const char *mla_checkpoint_thresholds(const mla_checkpoint *checkpoint);
const char *mla_checkpoint_adapter(const mla_checkpoint *checkpoint);
const char *mla_checkpoint_base(const mla_checkpoint *checkpoint);
bool mla_checkpoint_has_moments(const mla_checkpoint *checkpoint);
bool mla_checkpoint_has_state(const mla_checkpoint *checkpoint);
bool mla_checkpoint_is_sealed(const mla_checkpoint *checkpoint); /* and so has been verified */

/* Fills the allocated parameters of a model, not those of adapters on its projections: names and shapes must be the
 * model's, and every number finite. MLA_ERROR_ARGUMENT where the checkpoint is an adapter's. */
mla_status mla_checkpoint_read_params(mla_checkpoint *checkpoint, mla_params *params);
/* The same of all but the heads, the model's and the checkpoint's, which may differ: names that begin with "model.". */
mla_status mla_checkpoint_read_backbone(mla_checkpoint *checkpoint, mla_params *params);
/* The tensors of an adapter's checkpoint, without /adapter/; *out is the caller's, to be freed with free(). */
mla_status mla_checkpoint_list_adapter(mla_checkpoint *checkpoint, mla_h5_info **out, int64_t *count);
/* One of them, checked in the same way. */
mla_status mla_checkpoint_read_adapter(mla_checkpoint *checkpoint, const char *name, const mla_tensor *out);
/* Fills allocated moments and the state. */
mla_status mla_checkpoint_read_moments(mla_checkpoint *checkpoint, const mla_params *params, mla_adamw_state *moments);
mla_status mla_checkpoint_read_distant_moments(mla_checkpoint *checkpoint, const mla_params *params,
                                               mla_distant_moments *moments);
mla_status mla_checkpoint_read_state(mla_checkpoint *checkpoint, mla_run_state *state);

/* Builds the model and fills it, for inference; the caller owns it. */
mla_status mla_checkpoint_build(mla_checkpoint *checkpoint, mla_decoder **model);
/* Opens and builds: the caller owns both. */
mla_status mla_checkpoint_load(mla_context *context, const char *path, mla_checkpoint **checkpoint,
                               mla_decoder **model);

#endif
