/* HDF5 files: what is written is read back; a changed bit, a cut, a full disk and a kill are noticed. */
#include "autograd/base/bfloat16.h"
#include "data/formats/h5.h"
#include "tests/support/check.h"
#include "tests/support/files.h"

#include <fcntl.h>
#include <hdf5.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROWS = 700, WIDTH = 3 };

typedef struct {
    mla_context *context;
    char *folder, *path, *temporary;
} fixture_t;

static int setup(void **state) {
    fixture_t *f = calloc(1, sizeof *f);
    *state = f;
    f->folder = folder_create();
    f->path = path_in(f->folder, "a.h5");
    f->temporary = path_in(f->folder, "a.h5.tmp");
    return mla_context_create(&f->context, NULL) != MLA_OK;
}

static int teardown(void **state) {
    fixture_t *f = *state;
    mla_context_destroy(f->context);
    folder_remove(f->folder);
    free(f->path);
    free(f->temporary);
    free(f);
    return 0;
}

static float weight(int64_t i, float base) { return base + (float)i * 0.5f; }

/* One dataset of each kind; `base` tells versions apart. */
static mla_status write_sample(mla_context *context, const char *path, float base, const mla_h5_options *options) {
    static float weights[ROWS * WIDTH];
    static mla_bf16 half[ROWS];
    for (int i = 0; i < ROWS * WIDTH; i++) weights[i] = weight(i, base);
    for (int i = 0; i < ROWS; i++) half[i] = mla_bf16_from_float(weight(i, base));
    mla_h5_file *file;
    mla_status status = mla_h5_create(context, &file, path, options);
    if (status) return status;
    mla_h5_write(file, "/model/layers.0.weight", MLA_H5_F32, 2, (int64_t[]){ROWS, WIDTH}, weights);
    mla_h5_write(file, "model/half", MLA_H5_BF16, 1, (int64_t[]){ROWS}, half);
    mla_h5_write(file, "/state/empty", MLA_H5_I32, 2, (int64_t[]){0, 5}, NULL);
    mla_h5_write_i64(file, "/state/step", 1000);
    mla_h5_write_f64(file, "/state/loss", 0.1);
    mla_h5_write_text(file, "/config", "{\"name\": \"sch\xc3\xb6n\"}");
    mla_h5_write_text(file, "/nothing", "");
    mla_h5_begin(file, "/long/rows", MLA_H5_F32, 2, (int64_t[]){ROWS, WIDTH});
    for (int row = 0; row < ROWS; row += 7) mla_h5_append(file, 7, weights + row * WIDTH);
    status = mla_h5_commit(file);
    mla_h5_close(file);
    return status;
}

/* Reads the sample and fails the test unless it is whole; returns its base. */
static float read_sample(mla_context *context, const char *path) {
    static float weights[ROWS * WIDTH], rows[7 * WIDTH];
    static mla_bf16 half[ROWS];
    mla_h5_file *file;
    const void *map;
    char *text;
    int64_t step;
    double loss;
    check_ok(context, mla_h5_open(context, &file, path, MLA_H5_SEALED));
    check_ok(context, mla_h5_read(file, "/model/layers.0.weight", MLA_H5_F32, 2, (int64_t[]){ROWS, WIDTH}, weights));
    for (int i = 0; i < ROWS * WIDTH; i++) assert_true(weights[i] == weight(i, weights[0]));
    check_ok(context, mla_h5_read(file, "model/half", MLA_H5_BF16, 1, (int64_t[]){ROWS}, half));
    for (int i = 0; i < ROWS; i++) assert_int_equal(half[i], mla_bf16_from_float(weight(i, weights[0])));
    check_ok(context, mla_h5_read_rows(file, "/long/rows", MLA_H5_F32, 2, (int64_t[]){ROWS, WIDTH}, 11, 7, rows));
    assert_memory_equal(rows, weights + 11 * WIDTH, sizeof rows);
    check_ok(context, mla_h5_map(file, "/long/rows", MLA_H5_F32, 2, (int64_t[]){ROWS, WIDTH}, &map));
    assert_memory_equal(map, weights, sizeof weights);
    assert_int_equal((uintptr_t)map % 64, 0);
    check_ok(context, mla_h5_read_i64(file, "/state/step", &step));
    check_ok(context, mla_h5_read_f64(file, "/state/loss", &loss));
    assert_true(step == 1000 && loss == 0.1);
    check_ok(context, mla_h5_read(file, "/state/empty", MLA_H5_I32, 2, (int64_t[]){0, 5}, NULL));
    check_ok(context, mla_h5_read_text(file, "/config", &text));
    assert_string_equal(text, "{\"name\": \"sch\xc3\xb6n\"}");
    free(text);
    check_ok(context, mla_h5_read_text(file, "/nothing", &text));
    assert_string_equal(text, "");
    free(text);
    mla_h5_close(file);
    return weights[0];
}

static void reads_what_was_written(void **state) {
    fixture_t *f = *state;
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    assert_false(file_exists(f->temporary));
    assert_true(read_sample(f->context, f->path) == 1);
    check_ok(f->context, mla_h5_verify(f->context, f->path));
    check_ok(f->context, write_sample(f->context, f->path, 2, NULL));
    assert_true(read_sample(f->context, f->path) == 2);
}

static void wait_for_the_next_second(void) {
    const time_t now = time(NULL);
    while (time(NULL) == now) usleep(10000);
}

static void equal_content_makes_equal_files(void **state) {
    fixture_t *f = *state;
    int64_t first_bytes, second_bytes;
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    char *first = file_read(f->path, &first_bytes);
    wait_for_the_next_second(); /* HDF5 keeps the time in objects, in seconds, unless it is told not to */
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    char *second = file_read(f->path, &second_bytes);
    assert_int_equal(first_bytes, second_bytes);
    assert_memory_equal(first, second, (size_t)first_bytes);
    free(first);
    free(second);
}

static void lists_names_types_and_shapes(void **state) {
    fixture_t *f = *state;
    const char *const names[] = {"/config",  "/integrity",   "/long/rows",  "/model/half", "/model/layers.0.weight",
                                 "/nothing", "/state/empty", "/state/loss", "/state/step"};
    mla_h5_file *file;
    mla_h5_info *infos;
    int64_t count;
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    check_ok(f->context, mla_h5_open(f->context, &file, f->path, MLA_H5_SEALED));
    check_ok(f->context, mla_h5_list(file, "/", &infos, &count));
    assert_int_equal(count, sizeof names / sizeof *names);
    for (int64_t i = 0; i < count; i++) assert_string_equal(infos[i].name, names[i]);
    assert_true(infos[3].type == MLA_H5_BF16 && infos[3].ndim == 1 && infos[3].shape[0] == ROWS);
    assert_true(infos[4].type == MLA_H5_F32 && infos[4].ndim == 2 && infos[4].shape[1] == WIDTH);
    assert_true(infos[0].type == MLA_H5_TEXT && infos[0].shape[0] == 18);
    assert_true(infos[8].type == MLA_H5_I64 && infos[8].ndim == 0);
    free(infos);
    check_ok(f->context, mla_h5_list(file, "/model", &infos, &count));
    assert_int_equal(count, 2);
    assert_string_equal(infos[1].name, "/model/layers.0.weight");
    free(infos);
    check_error(f->context, mla_h5_list(file, "/optim", &infos, &count), MLA_ERROR_FORMAT, "has no group /optim");
    mla_h5_close(file);
}

static void refuses_other_types_shapes_and_names(void **state) {
    fixture_t *f = *state;
    mla_context *context = f->context;
    mla_h5_file *file;
    float out[ROWS * WIDTH];
    char *text;
    const int64_t shape[] = {ROWS, WIDTH}, turned[] = {WIDTH, ROWS};
    check_ok(context, write_sample(context, f->path, 1, NULL));
    check_ok(context, mla_h5_open(context, &file, f->path, MLA_H5_SEALED));
    check_error(context, mla_h5_read(file, "/long/rows", MLA_H5_F32, 2, turned, out), MLA_ERROR_SHAPE,
                "dataset /long/rows is f32 (700, 3), not f32 (3, 700)");
    check_error(context, mla_h5_read(file, "/long/rows", MLA_H5_BF16, 2, shape, out), MLA_ERROR_SHAPE, "not bf16");
    check_error(context, mla_h5_read(file, "/long/rows", MLA_H5_F32, 1, shape, out), MLA_ERROR_SHAPE, "(700)");
    check_error(context, mla_h5_read_rows(file, "/long/rows", MLA_H5_F32, 2, shape, 698, 3, out), MLA_ERROR_ARGUMENT,
                "no rows 698 to 701");
    check_error(context, mla_h5_read(file, "/model/none", MLA_H5_F32, 2, shape, out), MLA_ERROR_FORMAT,
                "no dataset /model/none");
    check_error(context, mla_h5_read_text(file, "/long/rows", &text), MLA_ERROR_SHAPE, "is f32, not text");
    mla_h5_close(file);
}

/* The first failure sticks, and neither file nor temporary remain. */
static void refuses_bad_writes(void **state) {
    fixture_t *f = *state;
    mla_context *context = f->context;
    char long_name[400] = {0};
    memset(long_name, 'x', sizeof long_name - 1);
    const char *const names[] = {"", "/", "a/", "a\nb", long_name};
    const float two[] = {1, 2};
    mla_h5_file *file;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        check_ok(context, mla_h5_create(context, &file, f->path, NULL));
        check_error(context, mla_h5_write(file, names[i], MLA_H5_F32, 1, (int64_t[]){2}, two), MLA_ERROR_ARGUMENT,
                    "cannot name a dataset");
        assert_int_equal(mla_h5_write(file, "fine", MLA_H5_F32, 1, (int64_t[]){2}, two), MLA_ERROR_ARGUMENT);
        assert_int_equal(mla_h5_commit(file), MLA_ERROR_ARGUMENT);
        mla_h5_close(file);
    }
    const int64_t huge[] = {INT64_MAX / 2, 8}, negative[] = {-1};
    check_ok(context, mla_h5_create(context, &file, f->path, NULL));
    check_error(context, mla_h5_begin(file, "huge", MLA_H5_F32, 2, huge), MLA_ERROR_SHAPE, "dataset huge");
    mla_h5_close(file);
    check_ok(context, mla_h5_create(context, &file, f->path, NULL));
    check_error(context, mla_h5_begin(file, "n", MLA_H5_F32, 1, negative), MLA_ERROR_SHAPE, "dataset n ");
    mla_h5_close(file);
    check_ok(context, mla_h5_create(context, &file, f->path, NULL));
    check_ok(context, mla_h5_begin(file, "half", MLA_H5_F32, 1, (int64_t[]){4}));
    check_ok(context, mla_h5_append(file, 2, two));
    check_error(context, mla_h5_commit(file), MLA_ERROR_ARGUMENT, "half got 2 rows of 4");
    mla_h5_close(file);
    check_ok(context, mla_h5_create(context, &file, f->path, NULL));
    check_ok(context, mla_h5_write(file, "twice", MLA_H5_F32, 1, (int64_t[]){2}, two));
    check_error(context, mla_h5_write(file, "twice", MLA_H5_F32, 1, (int64_t[]){2}, two), MLA_ERROR_LIBRARY,
                "cannot create /twice; HDF5 says: ");
    mla_h5_close(file);
    assert_false(file_exists(f->path) || file_exists(f->temporary));
}

static void names_what_cannot_be_opened(void **state) {
    fixture_t *f = *state;
    mla_context *context = f->context;
    mla_h5_file *file;
    char *missing = path_in(f->folder, "none/a.h5");
    check_error(context, mla_h5_open(context, &file, f->path, MLA_H5_ANY), MLA_ERROR_IO, f->path);
    check_error(context, mla_h5_create(context, &file, missing, NULL), MLA_ERROR_IO, missing);
    file_write(f->path, "", 0);
    check_error(context, mla_h5_open(context, &file, f->path, MLA_H5_ANY), MLA_ERROR_FORMAT, "cut or empty");
    char text[1024] = "plain text";
    file_write(f->path, text, sizeof text);
    check_error(context, mla_h5_open(context, &file, f->path, MLA_H5_ANY), MLA_ERROR_FORMAT, "not an HDF5 file");
    free(missing);
}

/* Any size can be said of a text; one that the file has no bytes of would be that much memory. */
static void a_text_takes_no_more_than_the_file_has(void **state) {
    fixture_t *f = *state;
    mla_h5_file *file;
    char *text = NULL;
    const hid_t id = H5Fcreate(f->path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), type = H5Tcopy(H5T_C_S1);
    const hid_t space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, 1u << 30);
    H5Dclose(H5Dcreate2(id, "text", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    H5Tclose(type);
    assert_true(H5Fclose(id) >= 0);
    check_ok(f->context, mla_h5_open(f->context, &file, f->path, MLA_H5_ANY));
    check_error(f->context, mla_h5_read_text(file, "/text", &text), MLA_ERROR_FORMAT,
                "/text is a text of 1073741824 bytes");
    assert_null(text);
    mla_h5_close(file);
}

static void set_byte(const char *path, int64_t at, char value) {
    int descriptor = open(path, O_WRONLY);
    assert_int_equal(pwrite(descriptor, &value, 1, at), 1);
    close(descriptor);
}

static void check_damaged(fixture_t *f, const char *words) {
    mla_h5_file *file;
    check_error(f->context, mla_h5_open(f->context, &file, f->path, MLA_H5_ANY), MLA_ERROR_FORMAT, words);
    assert_null(file);
    check_error(f->context, mla_h5_verify(f->context, f->path), MLA_ERROR_FORMAT, words);
}

/* A bit of every byte of the file; the seven others in turn. */
static void finds_every_changed_bit(void **state) {
    fixture_t *f = *state;
    int64_t bytes;
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    char *data = file_read(f->path, &bytes);
    for (int64_t i = 0; i < bytes; i++) {
        mla_h5_file *file;
        set_byte(f->path, i, (char)(data[i] ^ (1 << i % 8)));
        check_error(f->context, mla_h5_open(f->context, &file, f->path, MLA_H5_ANY), MLA_ERROR_FORMAT, f->path);
        set_byte(f->path, i, data[i]);
    }
    assert_true(read_sample(f->context, f->path) == 1);
    free(data);
}

static void names_the_damaged_part(void **state) {
    fixture_t *f = *state;
    int64_t bytes;
    mla_h5_file *file;
    const void *map;
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    char *data = file_read(f->path, &bytes);
    check_ok(f->context, mla_h5_open(f->context, &file, f->path, MLA_H5_SEALED));
    check_ok(f->context, mla_h5_map(file, "/long/rows", MLA_H5_F32, 2, (int64_t[]){ROWS, WIDTH}, &map));
    char *found = memmem(data, (size_t)bytes, map, ROWS * WIDTH * sizeof(float)); /* the first of two equal ones */
    mla_h5_close(file);
    const struct {
        int64_t at;
        const char *words;
    } cases[] = {{100, "the seal"},
                 {513, "HDF5's own records"},
                 {found - data, "dataset /model/layers.0.weight changed"},
                 {found - data + ROWS * WIDTH * (int64_t)sizeof(float) - 1, "dataset /model/layers.0.weight changed"},
                 {(char *)memmem(data, (size_t)bytes, "{\"name", 6) - data, "dataset /config changed"},
                 {(char *)memmem(data, (size_t)bytes, " /config\n", 9) - data, "the table of datasets"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        set_byte(f->path, cases[i].at, (char)(data[cases[i].at] ^ 16));
        check_damaged(f, cases[i].words);
        set_byte(f->path, cases[i].at, data[cases[i].at]);
    }
    free(data);
}

static void finds_every_cut(void **state) {
    fixture_t *f = *state;
    int64_t bytes;
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    char *data = file_read(f->path, &bytes);
    assert_true(bytes > 5 * 4096);
    for (int64_t end = bytes - 1; end >= 0; end = end % 4096 ? end - end % 4096 : end - 4096) {
        assert_int_equal(truncate(f->path, end), 0);
        check_damaged(f, "cut");
    }
    file_write(f->path, data, bytes);
    assert_true(read_sample(f->context, f->path) == 1);
    assert_int_equal(truncate(f->path, bytes + 4096), 0);
    check_damaged(f, "was added to");
    free(data);
}

static void stop_at(void *user, const char *name) {
    if (!strcmp(user, name)) _exit(7);
}

static void a_kill_at_any_step_leaves_old_or_new(void **state) {
    fixture_t *f = *state;
    const char *const steps[] = {"create", "write", "close", "verify", "fsync", "rename", "folder"};
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        pid_t child = fork();
        if (!child) {
            mla_h5_options options = {.hook = {stop_at, (void *)(uintptr_t)steps[i]}};
            write_sample(f->context, f->path, 2, &options);
            _exit(0);
        }
        int result = 0;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_int_equal(WEXITSTATUS(result), 7);
        assert_true(read_sample(f->context, f->path) == (strcmp(steps[i], "folder") ? 1 : 2));
    }
    check_ok(f->context, write_sample(f->context, f->path, 3, NULL));
    assert_true(read_sample(f->context, f->path) == 3);
    assert_false(file_exists(f->temporary));
}

static mla_status write_blocks(mla_context *context, const char *path, int count, int64_t bytes) {
    void *zeros = calloc(1, (size_t)bytes);
    char name[32];
    mla_h5_file *file;
    mla_status status = mla_h5_create(context, &file, path, NULL);
    for (int i = 0; !status && i < count; i++) {
        snprintf(name, sizeof name, "block-%d", i);
        status = mla_h5_write(file, name, MLA_H5_U8, 1, &bytes, zeros);
    }
    if (!status) status = mla_h5_commit(file);
    mla_h5_close(file);
    free(zeros);
    return status;
}

/* Fills a 2 MB disk to every few KB with a file that stays, so that each write of the save is the one that
 * fails at some point, and HDF5's own at the close as well. */
static void a_full_disk_leaves_the_old_file(void **state) {
    fixture_t *f = *state;
    char *disk = disk_create(f->folder, 2048);
    if (!disk) skip();
    char *path = path_in(disk, "a.h5"), *temporary = path_in(disk, "a.h5.tmp");
    check_ok(f->context, write_sample(f->context, path, 1, NULL));
    int failures = 0;
    for (int kilobytes = 1600; disk_fill(disk, kilobytes); kilobytes += 4) {
        mla_status status = write_blocks(f->context, path, 40, 8000);
        if (status) {
            failures++;
            assert_non_null(strstr(mla_error(f->context), path));
            check_error(f->context, status, MLA_ERROR_IO, "No space left on device");
            assert_true(read_sample(f->context, path) == 1);
        } else {
            check_ok(f->context, mla_h5_verify(f->context, path));
            assert_int_equal(unlink(path), 0); /* there may be no room for two */
            check_ok(f->context, write_sample(f->context, path, 1, NULL));
        }
        assert_false(file_exists(temporary));
    }
    assert_true(failures > 10);
    disk_remove(disk);
    free(path);
    free(temporary);
}

/* The limit of `ulimit -f` is hit like a full disk, and by none of HDF5's own writes at the close or the exit. */
static void a_limit_on_files_leaves_the_old_file(void **state) {
    fixture_t *f = *state;
    check_ok(f->context, write_sample(f->context, f->path, 1, NULL));
    for (rlim_t limit = 1 << 12; limit < 330000; limit += 5000) {
        const pid_t child = fork();
        if (!child) {
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit, limit});
            const mla_status status = write_blocks(f->context, f->path, 40, 8000);
            exit(status == MLA_ERROR_IO && strstr(mla_error(f->context), "ulimit -f") ? 7 : 1);
        }
        int result = 0;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 7);
        assert_true(read_sample(f->context, f->path) == 1);
        assert_false(file_exists(f->temporary));
    }
}

/* ---- threads */

enum { ROUNDS = 60 };

/* Writes and reads a file over and over; the number of rounds that went well. */
static void *write_and_read(void *path) {
    mla_context *context;
    int64_t good = 0;
    if (mla_context_create(&context, NULL)) return NULL;
    for (int64_t i = 0; i < ROUNDS; i++) {
        mla_h5_file *file;
        int64_t back = -1;
        mla_status status = mla_h5_create(context, &file, path, NULL);
        if (!status) mla_h5_write_i64(file, "/some/where/number", i);
        if (!status) mla_h5_write_text(file, "/else/where", path);
        if (!status) status = mla_h5_commit(file);
        mla_h5_close(file);
        if (!status) status = mla_h5_open(context, &file, path, MLA_H5_SEALED);
        if (!status) status = mla_h5_read_i64(file, "/some/where/number", &back);
        if (!status) mla_h5_close(file);
        good += !status && back == i;
    }
    mla_context_destroy(context);
    return (void *)(intptr_t)good;
}

static void threads_take_turns(void **state) {
    fixture_t *f = *state;
    char *other = path_in(f->folder, "b.h5");
    pthread_t thread;
    void *good;
    assert_int_equal(pthread_create(&thread, NULL, write_and_read, other), 0);
    const intptr_t mine = (intptr_t)write_and_read(f->path);
    assert_int_equal(pthread_join(thread, &good), 0);
    assert_int_equal(mine, ROUNDS);
    assert_int_equal((intptr_t)good, ROUNDS);
    free(other);
}

#define test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {test(reads_what_was_written),
                                       test(equal_content_makes_equal_files),
                                       test(lists_names_types_and_shapes),
                                       test(refuses_other_types_shapes_and_names),
                                       test(refuses_bad_writes),
                                       test(names_what_cannot_be_opened),
                                       test(a_text_takes_no_more_than_the_file_has),
                                       test(finds_every_changed_bit),
                                       test(names_the_damaged_part),
                                       test(finds_every_cut),
                                       test(a_kill_at_any_step_leaves_old_or_new),
                                       test(a_full_disk_leaves_the_old_file),
                                       test(a_limit_on_files_leaves_the_old_file),
                                       test(threads_take_turns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
