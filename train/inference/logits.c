#include "train/inference/logits.h"
#include "data/formats/h5.h"
#include "layers/head/head.h"

#include <stdlib.h>

static mla_status read_shape(mla_context *context, mla_h5_file *file, const char *path, int64_t shape[2]) {
    mla_h5_info info;
    const mla_status status = mla_h5_describe(file, "/ids", &info);
    if (status) return status;
    if (info.type != MLA_H5_I32 || info.ndim != 2 || info.shape[0] < 1 || info.shape[1] < 1)
        return mla_fail(context, MLA_ERROR_FORMAT,
                        "%s: /ids must be i32 of shape (N,T) with at least one id; it is %s of "
                        "%d dimensions",
                        path, mla_h5_type_name(info.type), info.ndim);
    shape[0] = info.shape[0];
    shape[1] = info.shape[1];
    return MLA_OK;
}

static mla_status check_length(mla_context *context, const char *path, int64_t length, const mla_decoder *model) {
    if (length <= model->config.max_position_embeddings) return MLA_OK;
    return mla_fail(context, MLA_ERROR_ARGUMENT,
                    "%s: sequences of %lld ids; the model has %lld positions "
                    "(max_position_embeddings)",
                    path, (long long)length, (long long)model->config.max_position_embeddings);
}

static mla_status check_ids(mla_context *context, const char *path, int64_t sequence, int64_t length,
                            const int32_t *ids, int64_t vocabulary) {
    for (int64_t i = 0; i < length; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary)
            return mla_fail(context, MLA_ERROR_ARGUMENT,
                            "%s: id %ld at [%lld,%lld] is not in the vocabulary of %lld "
                            "tokens",
                            path, (long)ids[i], (long long)sequence, (long long)i, (long long)vocabulary);
    return MLA_OK;
}

static mla_status append_logits(mla_tape *tape, const mla_decoder *model, const int32_t *ids, int64_t length,
                                mla_h5_file *out) {
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_tensor *in = mla_input(tape, MLA_I32, 2, (int64_t[]){1, length}, ids);
    const mla_tensor *logits = mla_decoder_logits(tape, model, in, NULL);
    const mla_status status = mla_error_status(mla_tape_context(tape));
    return status ? status : mla_h5_append(out, 1, logits->data);
}

/* The work between the two open files. */
static mla_status convert(mla_context *context, const mla_decoder *model, mla_h5_file *in, const char *path,
                          mla_h5_file *out, const int64_t shape[3]) {
    mla_tape *tape = NULL;
    int32_t *ids = mla_alloc(context, shape[1], sizeof *ids, "a sequence");
    mla_status status = ids ? mla_tape_create(context, &tape, NULL) : MLA_ERROR_MEMORY;
    if (!status) status = mla_h5_begin(out, "/logits", MLA_H5_F32, 3, shape);
    for (int64_t n = 0; n < shape[0] && !status; n++) {
        status = mla_h5_read_rows(in, "/ids", MLA_H5_I32, 2, shape, n, 1, ids);
        if (!status) status = check_ids(context, path, n, shape[1], ids, model->config.vocab_size);
        if (!status) status = append_logits(tape, model, ids, shape[1], out);
    }
    mla_tape_destroy(tape);
    free(ids);
    return status;
}

mla_status mla_logits_write(mla_context *context, const mla_decoder *model, const char *ids_path, const char *out_path,
                            int64_t shape[3]) {
    mla_h5_file *in = NULL, *out = NULL;
    shape[2] = model->config.head->labels ? model->config.num_labels : model->config.vocab_size;
    mla_status status = mla_h5_open(context, &in, ids_path, MLA_H5_ANY);
    if (!status) status = read_shape(context, in, ids_path, shape);
    if (!status) status = check_length(context, ids_path, shape[1], model);
    if (!status) status = mla_h5_create(context, &out, out_path, NULL);
    if (!status) status = convert(context, model, in, ids_path, out, shape);
    if (!status) status = mla_h5_commit(out);
    mla_h5_close(out);
    mla_h5_close(in);
    return status;
}
