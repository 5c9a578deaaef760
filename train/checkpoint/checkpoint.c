#include "autograd/kernels/rows.h"
#include "layers/adapt/adapters.h"
#include "layers/adapt/names.h"
#include "train/checkpoint/checkpoint_internal.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct mla_checkpoint {
    mla_context *context;
    mla_h5_file *file;
    char path[PATH_MAX];
    mla_model_config config;
    char *recipe, *tokenizer, *hugging_face, *adapter, *base, *labels, *thresholds;
    bool has_moments, has_state;
};

/* ---- the files of a run folder ---- */

/* The step of a file's name; -1 where it is no checkpoint's. */
static int64_t step_of(const char *name) {
    long long step;
    int length = 0;
    return sscanf(name, "step-%lld.h5%n", &step, &length) == 1 && length && !name[length] && step >= 0 ? step : -1;
}

static int newest_first(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

mla_status mla_checkpoint_steps(mla_context *context, const char *dir, int64_t **steps, int64_t *count) {
    int64_t capacity = 0;
    *steps = NULL;
    *count = 0;
    DIR *folder = opendir(dir);
    if (!folder) return mla_fail(context, MLA_ERROR_IO, "%s: cannot be read: %s", dir, strerror(errno));
    mla_status status = MLA_OK;
    for (struct dirent *entry; !status && (entry = readdir(folder));) {
        const int64_t step = step_of(entry->d_name);
        if (step < 0) continue;
        status = mla_grow(context, steps, &capacity, *count + 1, sizeof **steps, "the list of checkpoints");
        if (!status) (*steps)[(*count)++] = step;
    }
    closedir(folder);
    if (*count) qsort(*steps, (size_t)*count, sizeof **steps, newest_first);
    return status;
}

mla_status mla_checkpoint_count(mla_context *context, const char *dir, int64_t *count) {
    int64_t *steps;
    const mla_status status = mla_checkpoint_steps(context, dir, &steps, count);
    free(steps);
    return status;
}

void mla_checkpoint_step_path(char path[PATH_MAX], const char *dir, int64_t step) {
    snprintf(path, PATH_MAX, "%s/step-%08lld.h5", dir, (long long)step);
}

/* ---- reading ---- */

static bool has(mla_h5_info *all, int64_t count, const char *name) {
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(all[i].name, name)) return true;
    return false;
}

static bool has_below(mla_h5_info *all, int64_t count, const char *group) {
    for (int64_t i = 0; i < count; i++)
        if (!strncmp(all[i].name, group, strlen(group))) return true;
    return false;
}

/* The texts that a checkpoint may have. */
static mla_status read_optional_texts(mla_checkpoint *c, mla_h5_info *all, int64_t count) {
    const struct {
        const char *name;
        char **text;
    } texts[] = {{"/config/recipe", &c->recipe},
                 {"/tokenizer", &c->tokenizer},
                 {"/config/hugging_face", &c->hugging_face},
                 {"/config/adapter", &c->adapter},
                 {"/config/base", &c->base},
                 {"/config/labels", &c->labels},
                 {"/config/thresholds", &c->thresholds}};
    mla_status status = MLA_OK;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && !status; i++)
        if (has(all, count, texts[i].name)) status = mla_h5_read_text(c->file, texts[i].name, texts[i].text);
    return status;
}

static mla_status read_texts(mla_checkpoint *c) {
    mla_h5_info *all = NULL;
    int64_t count = 0;
    char *config = NULL;
    mla_list ignored = {0};
    mla_status status = mla_h5_list(c->file, "/", &all, &count);
    if (!status && !has(all, count, "/config/model"))
        status = mla_fail(c->context, MLA_ERROR_FORMAT, "%s: has no /config/model; it is not a checkpoint of mla",
                          c->path);
    if (!status) status = mla_h5_read_text(c->file, "/config/model", &config);
    if (!status) status = mla_model_config_parse_json(c->context, c->path, config, &c->config, &ignored);
    if (!status) status = read_optional_texts(c, all, count);
    c->has_moments = has_below(all, count, "/optim/m/");
    c->has_state = has_below(all, count, "/state/");
    mla_list_free(&ignored);
    free(config);
    free(all);
    return status;
}

static mla_status check_seal(const mla_checkpoint *c, mla_h5_origin origin) {
    if (origin == MLA_H5_ANY || mla_h5_is_sealed(c->file)) return MLA_OK;
    return mla_fail(c->context, MLA_ERROR_FORMAT,
                    "%s: was written by another program and has no seal, so damage in it "
                    "would not be found; --unsealed accepts it all the same",
                    c->path);
}

static mla_status open_file(mla_context *context, mla_checkpoint **out, const char *path, mla_h5_origin origin) {
    mla_checkpoint *c = *out = mla_alloc(context, 1, sizeof *c, "the checkpoint");
    if (!c) return MLA_ERROR_MEMORY;
    c->context = context;
    snprintf(c->path, sizeof c->path, "%s", path);
    mla_status status = mla_h5_open(context, &c->file, path, MLA_H5_ANY);
    if (!status) status = check_seal(c, origin);
    if (!status) status = read_texts(c);
    if (status) {
        mla_checkpoint_close(c);
        *out = NULL;
    }
    return status;
}

/* After the last of them failed: its error, and that there is no other. */
static mla_status none_is_whole(mla_context *context, const char *dir, int64_t count) {
    char last[1024];
    snprintf(last, sizeof last, "%s", mla_error(context));
    mla_clear_error(context);
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: no whole checkpoint is left, of %lld; the last that was tried: %s",
                    dir, (long long)count, last);
}

/* The newest good one; each that is passed over is named in a warning, with the one that is tried next. */
static mla_status open_newest(mla_context *context, mla_checkpoint **out, const char *dir, mla_h5_origin origin) {
    int64_t *steps, count;
    char path[PATH_MAX], next[PATH_MAX];
    mla_status status = mla_checkpoint_steps(context, dir, &steps, &count);
    if (!status && !count) status = mla_fail(context, MLA_ERROR_IO, "%s: has no checkpoint (step-*.h5)", dir);
    for (int64_t i = 0; i < count; i++) {
        mla_checkpoint_step_path(path, dir, steps[i]);
        status = open_file(context, out, path, origin);
        if (!status || status == MLA_ERROR_MEMORY) break;
        if (i == count - 1) {
            status = none_is_whole(context, dir, count);
            break;
        }
        mla_checkpoint_step_path(next, dir, steps[i + 1]);
        mla_warn(context, "%s; going back to %s", mla_error(context), next);
        mla_clear_error(context);
    }
    free(steps);
    return status;
}

static mla_status open_path(mla_context *context, mla_checkpoint **out, const char *path, mla_h5_origin origin) {
    struct stat info;
    *out = NULL;
    if (stat(path, &info)) return mla_fail(context, MLA_ERROR_IO, "%s: %s", path, strerror(errno));
    return S_ISDIR(info.st_mode) ? open_newest(context, out, path, origin) : open_file(context, out, path, origin);
}

mla_status mla_checkpoint_open(mla_context *context, mla_checkpoint **out, const char *path) {
    return open_path(context, out, path, MLA_H5_SEALED);
}

mla_status mla_checkpoint_open_any(mla_context *context, mla_checkpoint **out, const char *path) {
    return open_path(context, out, path, MLA_H5_ANY);
}

void mla_checkpoint_close(mla_checkpoint *c) {
    if (!c) return;
    mla_h5_close(c->file);
    free(c->recipe);
    free(c->tokenizer);
    free(c->hugging_face);
    free(c->adapter);
    free(c->base);
    free(c->labels);
    free(c->thresholds);
    free(c);
}

const char *mla_checkpoint_path(const mla_checkpoint *c) { return c->path; }
const mla_model_config *mla_checkpoint_config(const mla_checkpoint *c) { return &c->config; }
const char *mla_checkpoint_recipe(const mla_checkpoint *c) { return c->recipe; }
const char *mla_checkpoint_tokenizer(const mla_checkpoint *c) { return c->tokenizer; }
const char *mla_checkpoint_hugging_face(const mla_checkpoint *c) { return c->hugging_face; }
const char *mla_checkpoint_adapter(const mla_checkpoint *c) { return c->adapter; }
const char *mla_checkpoint_labels(const mla_checkpoint *c) { return c->labels; }
const char *mla_checkpoint_thresholds(const mla_checkpoint *c) { return c->thresholds; }
const char *mla_checkpoint_base(const mla_checkpoint *c) { return c->base; }
bool mla_checkpoint_has_moments(const mla_checkpoint *c) { return c->has_moments; }
bool mla_checkpoint_has_state(const mla_checkpoint *c) { return c->has_state; }
bool mla_checkpoint_is_sealed(const mla_checkpoint *c) { return mla_h5_is_sealed(c->file); }

static mla_status check_finite(const mla_checkpoint *c, const char *name, int64_t first, int64_t count,
                               const float *values) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return mla_fail(c->context, MLA_ERROR_NUMERIC, "%s: %s: element %lld is not a finite number", c->path, name,
                            (long long)(first + i));
    return MLA_OK;
}

static mla_status read_tensor(mla_checkpoint *c, const char *group, const char *tensor, const mla_tensor *like,
                              float *out) {
    char name[MLA_H5_MAX_NAME];
    snprintf(name, sizeof name, "%s/%s", group, tensor);
    const mla_status status = mla_h5_read(c->file, name, MLA_H5_F32, like->ndim, like->shape, out);
    return status ? status : check_finite(c, name, 0, mla_count(like), out);
}

static mla_status read_param(mla_checkpoint *c, const char *group, const mla_param *p, float *out) {
    return read_tensor(c, group, p->spec.name, &p->tensor, out);
}

static mla_status read_rounded(mla_checkpoint *c, const mla_param *p) {
    float *values = mla_alloc(c->context, p->count, sizeof *values, p->spec.name);
    const mla_status status = values ? read_param(c, "/model", p, values) : MLA_ERROR_MEMORY;
    if (!status) mla_narrow_all(c->context, p->count, values, p->tensor.data);
    free(values);
    return status;
}

/* The file must not hold parameters that the model has no place for. */
static mla_status check_no_others(mla_checkpoint *c, const mla_params *params, bool heads) {
    mla_h5_info *all = NULL;
    int64_t count = 0;
    mla_status status = mla_h5_list(c->file, "/model", &all, &count);
    for (int64_t i = 0; i < count && !status; i++)
        if (!mla_params_find(params, all[i].name + strlen("/model/")) &&
            (heads || mla_name_is_of_backbone(all[i].name + strlen("/model/"))))
            status = mla_fail(c->context, MLA_ERROR_FORMAT,
                              "%s: holds %s, which a model of its configuration does not have", c->path, all[i].name);
    free(all);
    return status;
}

static mla_status read_all_params(mla_checkpoint *c, mla_params *params, bool heads) {
    if (c->adapter)
        return mla_fail(c->context, MLA_ERROR_ARGUMENT,
                        "%s: is an adapter, not a model: name the model it is for, and this "
                        "with --adapter",
                        c->path);
    mla_status status = check_no_others(c, params, heads);
    for (int64_t i = 0; i < mla_params_count(params) && !status; i++) {
        const mla_param *p = mla_params_at(params, i);
        if (mla_name_is_of_backbone(p->spec.name) ? p->spec.adapter : !heads) continue;
        status = p->tensor.dtype == MLA_BF16 ? read_rounded(c, p) : read_param(c, "/model", p, p->tensor.data);
    }
    mla_params_changed(params);
    return status;
}

mla_status mla_checkpoint_read_params(mla_checkpoint *c, mla_params *params) {
    return read_all_params(c, params, true);
}

mla_status mla_checkpoint_read_backbone(mla_checkpoint *c, mla_params *params) {
    return read_all_params(c, params, false);
}

mla_status mla_checkpoint_list_adapter(mla_checkpoint *c, mla_h5_info **out, int64_t *count) {
    static const char group[] = "/adapter/";
    const mla_status status = mla_h5_list(c->file, "/adapter", out, count);
    for (int64_t i = 0; i < *count && !status; i++)
        memmove((*out)[i].name, (*out)[i].name + strlen(group), strlen((*out)[i].name + strlen(group)) + 1);
    return status;
}

mla_status mla_checkpoint_read_adapter(mla_checkpoint *c, const char *name, const mla_tensor *out) {
    return read_tensor(c, "/adapter", name, out, out->data);
}

mla_status mla_checkpoint_read_moments(mla_checkpoint *c, const mla_params *params, mla_adamw_state *moments) {
    mla_status status = mla_h5_read_i64(c->file, "/state/optimizer_steps", &moments->steps);
    for (int64_t i = 0; i < mla_params_count(params) && !status; i++) {
        const mla_param *p = mla_params_at(params, i);
        if (p->spec.frozen) continue;
        status = read_param(c, "/optim/m", p, moments->m + p->grad_offset);
        if (!status) status = read_param(c, "/optim/v", p, moments->v + p->grad_offset);
    }
    return status;
}

/* One moment of a parameter, m or v, in pieces. */
static mla_status read_distant(mla_checkpoint *c, const mla_param *p, int which, mla_distant_moments *moments,
                               float *buffer) {
    char name[MLA_H5_MAX_NAME];
    const int64_t all = p->spec.shape[0], width = p->count / all, step = mla_piece_rows(width);
    mla_status status = MLA_OK;
    snprintf(name, sizeof name, "/optim/%c/%s", which ? 'v' : 'm', p->spec.name);
    for (int64_t first = 0; first < all && !status; first += step) {
        const int64_t rows = step < all - first ? step : all - first, count = rows * width;
        status = mla_h5_read_rows(c->file, name, MLA_H5_F32, p->spec.ndim, p->spec.shape, first, rows, buffer);
        if (!status) status = check_finite(c, name, first * width, count, buffer);
        if (!status) status = moments->write(moments->user, which, p->grad_offset + first * width, count, buffer);
    }
    return status;
}

mla_status mla_checkpoint_read_distant_moments(mla_checkpoint *c, const mla_params *params,
                                               mla_distant_moments *moments) {
    int64_t capacity = 0;
    float *buffer = NULL;
    mla_status status = mla_h5_read_i64(c->file, "/state/optimizer_steps", &moments->steps);
    for (int64_t i = 0; i < 2 * mla_params_count(params) && !status; i++) {
        const mla_param *p = mla_params_at(params, i / 2);
        if (p->spec.frozen) continue;
        const int64_t width = p->count / p->spec.shape[0];
        status = mla_grow(c->context, &buffer, &capacity, mla_piece_rows(width) * width, sizeof *buffer,
                          "a piece of the moments");
        if (!status) status = read_distant(c, p, (int)(i % 2), moments, buffer);
    }
    free(buffer);
    return status;
}

mla_status mla_checkpoint_read_state(mla_checkpoint *c, mla_run_state *state) {
    mla_status status = MLA_OK;
    for (const mla_state_member *m = mla_state_members; m->name && !status; m++) {
        int64_t *member = (int64_t *)((char *)state + m->offset);
        status = mla_h5_read_i64(c->file, m->name, member);
        if (!status && *member < 0 && m->offset != offsetof(mla_run_state, seed))
            status = mla_fail(c->context, MLA_ERROR_FORMAT, "%s: %s is negative", c->path, m->name);
    }
    return status;
}

mla_status mla_checkpoint_build(mla_checkpoint *c, mla_decoder **model) {
    mla_status status = mla_decoder_create(c->context, model, &c->config);
    if (!status) status = mla_params_allocate((*model)->params, false);
    if (!status) status = mla_checkpoint_read_params(c, (*model)->params);
    if (!status) return MLA_OK;
    mla_decoder_destroy(*model);
    *model = NULL;
    return status;
}

mla_status mla_checkpoint_load(mla_context *context, const char *path, mla_checkpoint **checkpoint,
                               mla_decoder **model) {
    *model = NULL;
    mla_status status = mla_checkpoint_open(context, checkpoint, path);
    if (!status) status = mla_checkpoint_build(*checkpoint, model);
    if (!status) return MLA_OK;
    mla_checkpoint_close(*checkpoint);
    *checkpoint = NULL;
    return status;
}
