#include "layers/adapt/adapters.h"
#include "train/checkpoint/checkpoint_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A dataset of numbers, and where its values are. */
typedef struct {
    char name[MLA_H5_MAX_NAME];
    int ndim;
    int64_t shape[MLA_MAX_DIMS], count;
    const float *values; /* NULL: distant moments, */
    int which;           /* m or v, */
    int64_t begin;       /* from this element on */
} dataset;

/* All that goes into a file. Values are where the content has them until they are copied. */
struct mla_checkpoint_copy {
    mla_context *context; /* while it is made */
    dataset *sets;
    int64_t count, capacity;
    char *config;
    mla_checkpoint_content content; /* its texts and distant moments */
    mla_run_state state;
    int64_t optimizer_steps;
    float *block; /* of copied values */
    int64_t block_capacity;
};

const mla_state_member mla_state_members[] = {{"/state/step", offsetof(mla_run_state, step)},
                                              {"/state/samples", offsetof(mla_run_state, samples)},
                                              {"/state/tokens", offsetof(mla_run_state, tokens)},
                                              {"/state/data_tokens", offsetof(mla_run_state, data_tokens)},
                                              {"/state/skipped_in_a_row", offsetof(mla_run_state, skipped_in_a_row)},
                                              {"/state/seed", offsetof(mla_run_state, seed)},
                                              {0}};

/* ---- what goes into a file ---- */

static mla_status checkpoint_save_add(mla_checkpoint_copy *c, const char *group, const char *name, int ndim,
                                      const int64_t *shape, dataset set) {
    const mla_status status = mla_grow(c->context, &c->sets, &c->capacity, c->count + 1, sizeof set,
                                       "the list of what is saved");
    if (status) return status;
    snprintf(set.name, sizeof set.name, "%s/%s", group, name);
    set.ndim = ndim;
    set.count = 1;
    for (int i = 0; i < ndim; i++) set.count *= set.shape[i] = shape[i];
    c->sets[c->count++] = set;
    return MLA_OK;
}

static mla_status add_adapter_tensor(void *copy, const char *name, const mla_tensor *x) {
    return checkpoint_save_add(copy, "/adapter", name, x->ndim, x->shape, (dataset){.values = x->data});
}

static mla_status add_params(mla_checkpoint_copy *c, const mla_params *params) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < mla_params_count(params) && !status; i++) {
        const mla_param *p = mla_params_at(params, i);
        if (p->spec.adapter) continue;
        status = checkpoint_save_add(c, "/model", p->spec.name, p->spec.ndim, p->spec.shape,
                                     (dataset){.values = p->tensor.data});
    }
    return status;
}

/* block: m or v; NULL: they are distant. */
static mla_status add_moments(mla_checkpoint_copy *c, const mla_params *params, int which, const float *block) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < mla_params_count(params) && !status; i++) {
        const mla_param *p = mla_params_at(params, i);
        if (p->spec.frozen) continue;
        status = checkpoint_save_add(
            c, which ? "/optim/v" : "/optim/m", p->spec.name, p->spec.ndim, p->spec.shape,
            (dataset){.values = block ? block + p->grad_offset : NULL, .which = which, .begin = p->grad_offset});
    }
    return status;
}

static mla_status checkpoint_save_describe(mla_context *context, const mla_checkpoint_content *content,
                                           mla_checkpoint_copy *c) {
    const mla_params *params = content->model->params;
    const mla_adamw_state *moments = content->moments;
    c->context = context;
    c->content = *content;
    c->count = 0;
    if (content->state) c->state = *content->state;
    c->optimizer_steps = content->distant ? content->distant->steps : moments ? moments->steps : 0;
    free(c->config);
    c->config = mla_model_config_json(context, &content->model->config);
    mla_status status = c->config ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status)
        status = content->adapter ? mla_adapters_each(content->model, add_adapter_tensor, c) : add_params(c, params);
    for (int which = 0; which < 2 && !status && (moments || content->distant); which++)
        status = add_moments(c, params, which, !moments ? NULL : which ? moments->v : moments->m);
    return status;
}

static void release(mla_checkpoint_copy *c) {
    free(c->sets);
    free(c->config);
    free(c->block);
}

/* ---- writing it ---- */

static mla_status write_distant(mla_context *context, mla_h5_file *file, const dataset *d, mla_distant_moments *from) {
    const int64_t all = d->shape[0], width = d->count / all, step = mla_piece_rows(width);
    float *buffer = mla_alloc(context, step * width, sizeof *buffer, "a piece of the moments");
    mla_status status = buffer ? mla_h5_begin(file, d->name, MLA_H5_F32, d->ndim, d->shape) : MLA_ERROR_MEMORY;
    for (int64_t first = 0; first < all && !status; first += step) {
        const int64_t rows = step < all - first ? step : all - first;
        status = from->read(from->user, d->which, d->begin + first * width, rows * width, buffer);
        if (!status) status = mla_h5_append(file, rows, buffer);
    }
    free(buffer);
    return status;
}

static void write_state(mla_h5_file *file, const mla_checkpoint_copy *c) {
    for (const mla_state_member *m = mla_state_members; m->name; m++)
        mla_h5_write_i64(file, m->name, *(const int64_t *)((const char *)&c->state + m->offset));
    mla_h5_write_i64(file, "/state/optimizer_steps", c->optimizer_steps);
}

static void write_texts(mla_h5_file *file, const mla_checkpoint_copy *c) {
    const char *const texts[][2] = {{"/config/model", c->config},
                                    {"/config/recipe", c->content.recipe},
                                    {"/config/hugging_face", c->content.hugging_face},
                                    {"/config/adapter", c->content.adapter},
                                    {"/config/base", c->content.base},
                                    {"/config/labels", c->content.labels},
                                    {"/config/thresholds", c->content.thresholds},
                                    {"/tokenizer", c->content.tokenizer}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i][1]) mla_h5_write_text(file, texts[i][0], texts[i][1]);
}

static mla_status write_file(mla_context *context, const char *path, const mla_checkpoint_copy *c, mla_step_hook hook) {
    mla_h5_file *file = NULL;
    mla_status status = mla_h5_create(context, &file, path, &(mla_h5_options){.hook = hook});
    for (int64_t i = 0; i < c->count && !status; i++) {
        const dataset *d = &c->sets[i];
        status = d->values ? mla_h5_write(file, d->name, MLA_H5_F32, d->ndim, d->shape, d->values)
                           : write_distant(context, file, d, c->content.distant);
    }
    if (!status && c->content.state) write_state(file, c);
    if (!status) write_texts(file, c);
    if (!status) status = mla_h5_commit(file);
    mla_h5_close(file);
    return status;
}

mla_status mla_checkpoint_save(mla_context *context, const char *path, const mla_checkpoint_content *content,
                               mla_step_hook hook) {
    mla_checkpoint_copy all = {0};
    mla_status status = checkpoint_save_describe(context, content, &all);
    if (!status) status = write_file(context, path, &all, hook);
    release(&all);
    return status;
}

/* ---- a copy ---- */

static void copy_values(const mla_context *context, float *to, const float *from, int64_t count) {
    enum { PIECE = 1 << 15 };
    #pragma omp parallel for num_threads(mla_context_threads(context)) schedule(static)
    for (int64_t at = 0; at < count; at += PIECE)
        memcpy(to + at, from + at, (size_t)(count - at < PIECE ? count - at : PIECE) * sizeof *to);
}

static mla_status copy_all(mla_checkpoint_copy *c) {
    int64_t length = 0;
    for (int64_t i = 0; i < c->count; i++) length += c->sets[i].count;
    mla_status status = mla_grow(c->context, &c->block, &c->block_capacity, length, sizeof *c->block,
                                 "a copy of the model to save");
    float *to = c->block;
    for (int64_t i = 0; i < c->count && !status; i++) {
        dataset *d = &c->sets[i];
        const mla_distant_moments *from = c->content.distant;
        if (d->values) copy_values(c->context, to, d->values, d->count);
        else status = from->read(from->user, d->which, d->begin, d->count, to);
        d->values = to;
        to += d->count;
    }
    return status;
}

mla_status mla_checkpoint_copy_take(mla_context *context, const mla_checkpoint_content *content,
                                    mla_checkpoint_copy **copy) {
    if (!*copy) *copy = mla_alloc(context, 1, sizeof **copy, "a copy of the model to save");
    if (!*copy) return MLA_ERROR_MEMORY;
    const mla_status status = checkpoint_save_describe(context, content, *copy);
    return status ? status : copy_all(*copy);
}

void mla_checkpoint_copy_free(mla_checkpoint_copy *copy) {
    if (copy) release(copy);
    free(copy);
}

int64_t mla_checkpoint_copy_bytes(const mla_params *params) {
    int64_t whole = 0, adapters = 0;
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        const mla_param *p = mla_params_at(params, i);
        *(p->spec.adapter ? &adapters : &whole) += p->count;
    }
    return ((adapters ? adapters : whole) + 2 * mla_params_elements(params, true)) * (int64_t)sizeof(float);
}

/* ---- in a run folder ---- */

static mla_status write_latest(mla_context *context, const char *dir, const char *name, mla_step_hook hook) {
    char path[PATH_MAX], temporary[PATH_MAX];
    snprintf(path, sizeof path, "%s/latest", dir);
    snprintf(temporary, sizeof temporary, "%s/latest.tmp", dir);
    FILE *file = fopen(temporary, "w");
    bool good = file && fprintf(file, "%s\n", name) > 0;
    if (file) good = !fclose(file) && good;
    if (!good) {
        const mla_status status = mla_fail(context, MLA_ERROR_IO, "%s: cannot be written: %s", temporary,
                                           strerror(errno));
        unlink(temporary);
        return status;
    }
    return mla_replace(context, temporary, path, hook);
}

mla_status mla_checkpoint_set_latest(mla_context *context, const char *dir, int64_t step, mla_step_hook hook) {
    char path[PATH_MAX];
    mla_checkpoint_step_path(path, dir, step);
    return write_latest(context, dir, strrchr(path, '/') + 1, hook);
}

static mla_status remove_old(mla_context *context, const char *dir, int64_t newest, int64_t keep) {
    int64_t *steps, count, later = 0;
    char path[PATH_MAX];
    const mla_status status = mla_checkpoint_steps(context, dir, &steps, &count);
    while (!status && later < count && steps[later] > newest) later++;
    for (int64_t i = later + keep; !status && i < count; i++) {
        mla_checkpoint_step_path(path, dir, steps[i]);
        unlink(path);
    }
    free(steps);
    return status;
}

mla_status mla_checkpoint_save_copy(mla_context *context, const char *dir, const mla_checkpoint_copy *copy,
                                    int64_t keep, mla_step_hook hook) {
    char path[PATH_MAX];
    mla_checkpoint_step_path(path, dir, copy->state.step);
    mla_status status = write_file(context, path, copy, hook);
    if (!status) status = mla_checkpoint_set_latest(context, dir, copy->state.step, hook);
    if (!status && keep > 0) status = remove_old(context, dir, copy->state.step, keep);
    return status;
}

mla_status mla_checkpoint_save_step(mla_context *context, const char *dir, const mla_checkpoint_content *content,
                                    int64_t keep, mla_step_hook hook) {
    mla_checkpoint_copy all = {0};
    mla_status status = checkpoint_save_describe(context, content, &all);
    if (!status) status = mla_checkpoint_save_copy(context, dir, &all, keep, hook);
    release(&all);
    return status;
}
