/* The logits of given ids, in HDF5 files of any origin; and checkpoints of other programs, which have no
 * seal. */
#include "data/formats/h5.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "train/checkpoint/checkpoint.h"
#include "train/inference/logits.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 3, T = 7, V = 50 };

static const int32_t ids[N * T] = {0, 1, 2, 3, 4, 5, 6, 49, 48, 47, 46, 45, 44, 43, 7, 7, 7, 7, 7, 7, 7};

static mla_decoder *make_model(mla_context *context) {
    mla_model_config config;
    mla_decoder *model;
    check_ok(context, mla_model_config_parse_json(
                          context, "test",
                          "{\"vocab_size\": 50, \"hidden_size\": 16, "
                          "\"intermediate_size\": 24, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, "
                          "\"kv_lora_rank\": 6, \"qk_nope_head_dim\": 4, \"qk_rope_head_dim\": 4, \"v_head_dim\": 4, "
                          "\"max_position_embeddings\": 8, \"initializer_range\": 0.3}",
                          &config, NULL));
    check_ok(context, mla_decoder_create(context, &model, &config));
    check_ok(context, mla_params_allocate(model->params, false));
    mla_params_initialise(model->params, 1);
    return model;
}

/* As any other program would write it. */
static void write_foreign(const char *path, const char *name, hid_t type, int ndim, const hsize_t *shape,
                          const void *data) {
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
                space = H5Screate_simple(ndim, shape, NULL);
    const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (data) assert_true(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Fclose(file);
}

static void write_ids(const char *path, int64_t n, int64_t t, const int32_t *values) {
    write_foreign(path, "ids", H5T_NATIVE_INT32, 2, (hsize_t[]){(hsize_t)n, (hsize_t)t}, values);
}

static void logits_are_those_of_the_model(void **state) {
    mla_context *context = *state;
    char *folder = folder_create(), *in = path_in(folder, "ids.h5"), *out = path_in(folder, "logits.h5");
    mla_decoder *model = make_model(context);
    int64_t shape[3];
    float written[N * T * V];
    mla_h5_file *file;
    mla_tape *tape;
    write_ids(in, N, T, ids);
    check_ok(context, mla_logits_write(context, model, in, out, shape));
    assert_true(shape[0] == N && shape[1] == T && shape[2] == V);
    check_ok(context, mla_h5_open(context, &file, out, MLA_H5_SEALED));
    check_ok(context, mla_h5_read(file, "/logits", MLA_H5_F32, 3, shape, written));
    mla_h5_close(file);
    check_ok(context, mla_tape_create(context, &tape, NULL));
    mla_tape_begin(tape, &(mla_step){.inference = true});
    const mla_tensor *logits = mla_decoder_logits(tape, model, mla_input(tape, MLA_I32, 2, (int64_t[]){N, T}, ids),
                                                  NULL);
    check_ok(context, mla_error_status(context));
    assert_true(relative_error(N * T * V, written, logits->data) < 1e-6);
    mla_tape_destroy(tape);
    mla_decoder_destroy(model);
    free(in);
    free(out);
    folder_remove(folder);
}

static void ids_that_do_not_fit_are_refused(void **state) {
    mla_context *context = *state;
    char *folder = folder_create(), *in = path_in(folder, "ids.h5"), *out = path_in(folder, "logits.h5");
    mla_decoder *model = make_model(context);
    int64_t shape[3];
    int32_t wrong[N * T];
    static const int32_t out_of_range[] = {V, -1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof out_of_range / sizeof *out_of_range; i++) {
        char words[96];
        memcpy(wrong, ids, sizeof ids);
        wrong[T + 3] = out_of_range[i];
        write_ids(in, N, T, wrong);
        snprintf(words, sizeof words, "id %d at [1,3] is not in the vocabulary of 50", out_of_range[i]);
        check_error(context, mla_logits_write(context, model, in, out, shape), MLA_ERROR_ARGUMENT, words);
    }
    write_ids(in, 2, 9, wrong);
    check_error(context, mla_logits_write(context, model, in, out, shape), MLA_ERROR_ARGUMENT,
                "sequences of 9 ids; the model has 8 positions");
    write_ids(in, 0, 9, NULL);
    check_error(context, mla_logits_write(context, model, in, out, shape), MLA_ERROR_FORMAT, "at least one id");
    write_foreign(in, "ids", H5T_NATIVE_INT64, 2, (hsize_t[]){1, 2}, (int64_t[]){1, 2});
    check_error(context, mla_logits_write(context, model, in, out, shape), MLA_ERROR_FORMAT,
                "it is i64 of 2 dimensions");
    write_foreign(in, "ids", H5T_NATIVE_INT32, 1, (hsize_t[]){2}, ids);
    check_error(context, mla_logits_write(context, model, in, out, shape), MLA_ERROR_FORMAT,
                "it is i32 of 1 dimensions");
    write_foreign(in, "other", H5T_NATIVE_INT32, 2, (hsize_t[]){N, T}, ids);
    check_error(context, mla_logits_write(context, model, in, out, shape), MLA_ERROR_FORMAT, "ids");
    file_write(in, "no HDF5", 7);
    check_error(context, mla_logits_write(context, model, in, out, shape), MLA_ERROR_FORMAT, "ids.h5");
    assert_false(file_exists(out));
    mla_decoder_destroy(model);
    free(in);
    free(out);
    folder_remove(folder);
}

/* A copy of a checkpoint's content in a file that mla did not write. */
static void copy_without_seal(const char *from, const char *to) {
    const hid_t in = H5Fopen(from, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t out = H5Fcreate(to, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Ocopy(in, "model", out, "model", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    assert_true(H5Ocopy(in, "config", out, "config", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Fclose(out);
    H5Fclose(in);
}

static void a_checkpoint_without_seal_is_taken_on_demand_only(void **state) {
    mla_context *context = *state;
    char *folder = folder_create(), *ours = path_in(folder, "ours.h5"), *theirs = path_in(folder, "theirs.h5");
    mla_decoder *model = make_model(context), *again;
    mla_checkpoint *checkpoint;
    check_ok(context,
             mla_checkpoint_save(context, ours, &(mla_checkpoint_content){.model = model}, (mla_step_hook){0}));
    copy_without_seal(ours, theirs);
    check_error(context, mla_checkpoint_open(context, &checkpoint, theirs), MLA_ERROR_FORMAT, "--unsealed");
    assert_null(checkpoint);
    check_error(context, mla_checkpoint_load(context, theirs, &checkpoint, &again), MLA_ERROR_FORMAT, "--unsealed");
    check_ok(context, mla_checkpoint_open_any(context, &checkpoint, theirs));
    assert_false(mla_checkpoint_is_sealed(checkpoint));
    assert_false(mla_checkpoint_has_state(checkpoint));
    check_ok(context, mla_checkpoint_build(checkpoint, &again));
    assert_memory_equal(mla_params_values(model->params), mla_params_values(again->params),
                        (size_t)mla_params_values_length(model->params) * sizeof(float));
    mla_decoder_destroy(again);
    mla_checkpoint_close(checkpoint);

    /* ours is verified all the same */
    check_ok(context, mla_checkpoint_open_any(context, &checkpoint, ours));
    assert_true(mla_checkpoint_is_sealed(checkpoint));
    mla_checkpoint_close(checkpoint);
    int64_t bytes;
    char *content = file_read(ours, &bytes);
    content[bytes / 2] ^= 1;
    file_write(ours, content, bytes);
    assert_int_equal(mla_checkpoint_open_any(context, &checkpoint, ours), MLA_ERROR_FORMAT);
    mla_clear_error(context);
    free(content);
    mla_decoder_destroy(model);
    free(ours);
    free(theirs);
    folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(logits_are_those_of_the_model),
                                       cmocka_unit_test(ids_that_do_not_fit_are_refused),
                                       cmocka_unit_test(a_checkpoint_without_seal_is_taken_on_demand_only)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
