/* Damaged checkpoints in a run folder: a flipped bit or a cut is reported by the name of what it hit and never
 * loaded, and the run resumes from the last good one. With a number as argument, that many more flips. */
#include "data/formats/h5.h"
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/tiny_run.h"
#include "train/checkpoint/checkpoint.h"
#include "train/run/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int more_flips = 100;

typedef struct {
    mla_context *context;
    char *folder, *run, *path; /* of the last checkpoint */
    char *bytes;               /* of it, as it was written */
    int64_t count;
    char warnings[4096];
} fixture;

static void warn(void *user, const char *message) {
    fixture *f = user;
    strncat(f->warnings, message, sizeof f->warnings - strlen(f->warnings) - 2);
    strcat(f->warnings, "\n");
}

static mla_status train(fixture *f, bool resume, mla_train_result *result) {
    mla_recipe recipe;
    f->warnings[0] = '\0';
    mla_status status = tiny_recipe(f->context, &recipe, NULL);
    if (status) return status;
    status = mla_train(f->context, &recipe, &(mla_train_options){.out = f->run, .resume = resume}, result);
    mla_recipe_free(&recipe);
    return status;
}

static int set_up(void **state) {
    fixture *f = *state = calloc(1, sizeof *f);
    mla_train_result result;
    assert_non_null(f);
    assert_int_equal(mla_context_create(&f->context, &(mla_context_options){.threads = 1, .warn = warn, .user = f}),
                     MLA_OK);
    f->folder = folder_create();
    f->run = path_in(f->folder, "run");
    check_ok(f->context, train(f, false, &result));
    f->path = path_in(f->run, "step-00000003.h5");
    f->bytes = file_read(f->path, &f->count);
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    folder_remove(f->folder);
    mla_context_destroy(f->context);
    free(f->run), free(f->path), free(f->bytes), free(f);
    return 0;
}

/* ---- what lies where in the file */

typedef struct {
    int64_t first, bytes;
    char name[MLA_H5_MAX_NAME];
} region;

/* The regions of the table that the file has of its datasets, and behind them the table's own (by its content). */
static region *find_regions(fixture *f, int64_t *count) {
    mla_h5_file *file;
    mla_h5_info info;
    check_ok(f->context, mla_h5_open(f->context, &file, f->path, MLA_H5_SEALED));
    check_ok(f->context, mla_h5_describe(file, "/integrity", &info));
    char *table = calloc(1, (size_t)info.shape[0] + 1);
    region *regions = calloc(1000, sizeof *regions);
    check_ok(f->context, mla_h5_read(file, "/integrity", MLA_H5_U8, 1, info.shape, table));
    mla_h5_close(file);
    *count = 0;
    for (char *line = table; *line && *count < 999; line = strchr(line, '\n') + 1, ++*count) {
        long long first, bytes;
        region *r = &regions[*count];
        assert_int_equal(sscanf(line, "%*x %lld %lld %254s", &first, &bytes, r->name), 3);
        r->first = first, r->bytes = bytes;
    }
    const char *found = memmem(f->bytes, (size_t)f->count, table, (size_t)info.shape[0]);
    assert_non_null(found);
    regions[(*count)++] = (region){found - f->bytes, info.shape[0], "the table of datasets"};
    free(table);
    return regions;
}

/* What a message must name when the byte at `place` is damaged. */
static const char *name_at(const region *regions, int64_t count, int64_t place) {
    if (place < 512) return "seal";
    for (int64_t i = 0; i < count; i++)
        if (place >= regions[i].first && place < regions[i].first + regions[i].bytes) return regions[i].name;
    return "HDF5's own records";
}

/* ---- damage */

static void check_refused(fixture *f, const char *name, int64_t place) {
    mla_checkpoint *checkpoint;
    const mla_status status = mla_checkpoint_open(f->context, &checkpoint, f->path);
    if (!status) fail_msg("damage at byte %lld, in %s, is not noticed", (long long)place, name);
    check_error(f->context, status, MLA_ERROR_FORMAT, f->path);
}

static void flip(fixture *f, const region *regions, int64_t count, int64_t place, int bit) {
    const char *name = name_at(regions, count, place);
    mla_checkpoint *checkpoint;
    f->bytes[place] = (char)(f->bytes[place] ^ 1 << bit);
    file_write(f->path, f->bytes, f->count);
    f->bytes[place] = (char)(f->bytes[place] ^ 1 << bit);
    const mla_status status = mla_checkpoint_open(f->context, &checkpoint, f->path);
    if (!strstr(mla_error(f->context), f->path)) fail_msg("%s does not name the file", mla_error(f->context));
    check_error(f->context, status, MLA_ERROR_FORMAT, name);
}

static void a_flipped_bit_is_named(void **state) {
    fixture *f = *state;
    int64_t count, flips = 0;
    region *regions = find_regions(f, &count);
    srand(1);
    for (int64_t i = 0; i < 16; i++, flips++) flip(f, regions, count, 32 * i + rand() % 32, rand() % 8);
    for (int64_t i = 0; i < count; i++, flips++)
        flip(f, regions, count, regions[i].first + rand() % regions[i].bytes, rand() % 8);
    for (int64_t place = 512; place < f->count; place += f->count / 50 + 1, flips++)
        flip(f, regions, count, place, rand() % 8);
    for (int i = 0; i < more_flips; i++, flips++) flip(f, regions, count, rand() % f->count, rand() % 8);
    file_write(f->path, f->bytes, f->count);
    print_message("%lld flips in a file of %lld bytes, %lld datasets\n", (long long)flips, (long long)f->count,
                  (long long)count - 1);
    free(regions);
}

static void a_cut_is_named(void **state) {
    fixture *f = *state;
    int64_t cuts = 0;
    for (int64_t bytes = 0; bytes < f->count; bytes += 4096, cuts++) {
        file_write(f->path, f->bytes, bytes);
        check_refused(f, "a cut", bytes);
    }
    file_write(f->path, f->bytes, f->count - 1);
    check_refused(f, "a cut", f->count - 1);
    file_write(f->path, f->bytes, f->count);
    print_message("%lld cuts\n", (long long)cuts + 1);
}

/* ---- going back */

static void damage(const fixture *f, const char *name) {
    char *path = path_in(f->run, name);
    int64_t count;
    char *bytes = file_read(path, &count);
    bytes[count / 2] ^= 16;
    file_write(path, bytes, count);
    free(bytes), free(path);
}

static void check_restored(const fixture *f) {
    int64_t count;
    char *bytes = file_read(f->path, &count);
    assert_int_equal(count, f->count);
    assert_memory_equal(bytes, f->bytes, (size_t)count);
    free(bytes);
}

static void the_run_goes_back_to_the_last_good_one(void **state) {
    fixture *f = *state;
    mla_train_result result;
    damage(f, "step-00000003.h5");
    check_ok(f->context, train(f, true, &result));
    assert_int_equal(result.plan.first_step, 2);
    const char *named = strstr(f->warnings, "step-00000003.h5");
    assert_non_null(named);
    assert_non_null(strstr(named, "step-00000002.h5"));
    check_restored(f);
    damage(f, "step-00000003.h5");
    damage(f, "step-00000002.h5");
    check_ok(f->context, train(f, true, &result));
    assert_int_equal(result.plan.first_step, 1);
    check_restored(f);
}

/* A damaged file of a later step counts for nothing when old ones are removed. */
static void a_damaged_one_pushes_out_no_good_one(void **state) {
    fixture *f = *state;
    mla_train_result result;
    mla_checkpoint *checkpoint;
    char *first = path_in(f->run, "step-00000001.h5"), *second = path_in(f->run, "step-00000002.h5");
    damage(f, "step-00000003.h5");
    damage(f, "step-00000002.h5");
    const volatile sig_atomic_t stop = 1;
    mla_recipe recipe;
    check_ok(f->context, tiny_recipe(f->context, &recipe, (const char *const[]){"checkpoint.keep=1", NULL}));
    const mla_train_options options = {.out = f->run, .resume = true, .stop = &stop};
    check_error(f->context, mla_train(f->context, &recipe, &options, &result), MLA_ERROR_STOPPED, "step 2");
    mla_recipe_free(&recipe);
    assert_false(file_exists(first));
    check_ok(f->context, mla_checkpoint_open(f->context, &checkpoint, second));
    mla_checkpoint_close(checkpoint);
    check_ok(f->context, train(f, true, &result));
    check_restored(f);
    free(first), free(second);
}

static void none_left_is_an_error(void **state) {
    fixture *f = *state;
    mla_train_result result;
    damage(f, "step-00000001.h5");
    damage(f, "step-00000002.h5");
    damage(f, "step-00000003.h5");
    check_error(f->context, train(f, true, &result), MLA_ERROR_FORMAT, "no whole checkpoint is left, of 3");
}

int main(int argc, char **argv) {
    if (argc > 1) more_flips = atoi(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_flipped_bit_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_run_goes_back_to_the_last_good_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_one_pushes_out_no_good_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(none_left_is_an_error, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
