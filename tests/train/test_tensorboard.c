/* TensorBoard's event files: byte by byte those of TensorFlow's writer; cut where they are torn or where a run is
 * resumed; and together always the steps of the log, each once. */
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "train/log/event_file.h"
#include "train/log/tensorboard.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char *folder, *path;

/* By the package tensorboard 2.21 (RecordWriter and its messages): a version at 1700000000.25, a text, a beginning and
 * three scalars at 1700000001. */
static const char by_tensorflow[] =
    "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe93700000000000000e7e8ca590900001040"
    "fc54d9412a2c0a2a0a0672656369706542160807120412020801420c202020206d6f64656c3a20314a080a060a047465787414e9f876100000"
    "000000000095fbfe180900004040fc54d94110ac023a020801dd381e424b00000000000000870999960900004040fc54d94110ac022a3d0a11"
    "0a0a747261696e2f6c6f737315000020400a100a096576616c2f6c6f737315000000000a160a0f747261696e2f677261645f6e6f726d150000"
    "c07f692d3987";
enum { BEGUN = 127, WHOLE = 234 }; /* bytes before the scalars, and with them */

static void write_like_tensorflow(mla_context *context) {
    const mla_scalar scalars[] = {{"train/loss", 2.5f}, {"eval/loss", 0}, {"train/grad_norm", NAN}};
    const mla_event_time now = {1700000001, 300};
    mla_event_file *file;
    unlink(path);
    check_ok(context, mla_event_file_create(context, &file, path, 1700000000.25));
    check_ok(context, mla_event_file_text(file, (mla_event_time){1700000000.25, 0}, "recipe", "    model: 1"));
    check_ok(context, mla_event_file_begin(file, now));
    check_ok(context, mla_event_file_scalars(file, now, scalars, 3));
    mla_event_file_close(file);
}

static int64_t size_of(const char *name) {
    int64_t bytes;
    free(file_read(name, &bytes));
    return bytes;
}

static void writes_what_tensorflow_writes(void **state) {
    int64_t bytes;
    write_like_tensorflow(*state);
    char *written = file_read(path, &bytes), hex[2 * WHOLE + 1];
    assert_int_equal(bytes, WHOLE);
    for (int64_t i = 0; i < bytes; i++) snprintf(hex + 2 * i, 3, "%02x", (unsigned char)written[i]);
    assert_string_equal(hex, by_tensorflow);
    free(written);
}

static void refuses_a_file_that_is_there(void **state) {
    mla_event_file *file;
    write_like_tensorflow(*state);
    check_error(*state, mla_event_file_create(*state, &file, path, 1), MLA_ERROR_IO, path);
    assert_int_equal(size_of(path), WHOLE);
}

/* ---- cutting */

static void keeps_what_is_whole(void **state) {
    int64_t last;
    write_like_tensorflow(*state);
    check_ok(*state, mla_event_file_cut(*state, path, 300, &last));
    assert_int_equal(last, 300);
    assert_int_equal(size_of(path), WHOLE);
}

static void a_file_without_a_step_goes(void **state) {
    int64_t last = -1;
    write_like_tensorflow(*state);
    check_ok(*state, mla_event_file_cut(*state, path, 299, &last));
    assert_int_equal(last, 0);
    assert_false(file_exists(path));
    check_error(*state, mla_event_file_cut(*state, path, 299, &last), MLA_ERROR_IO, path);
}

/* Torn after each number of bytes of a second step: what is left is the first. */
static void a_torn_record_is_cut(void **state) {
    int64_t last, whole;
    write_like_tensorflow(*state);
    char *bytes = file_read(path, &whole), *twice = malloc(2 * WHOLE);
    memcpy(twice, bytes, WHOLE);
    memcpy(twice + WHOLE, bytes + BEGUN, WHOLE - BEGUN);
    for (int64_t more = 0; more < WHOLE - BEGUN; more++) {
        file_write(path, twice, WHOLE + more);
        check_ok(*state, mla_event_file_cut(*state, path, 1000, &last));
        assert_int_equal(last, 300);
        assert_int_equal(size_of(path), WHOLE);
    }
    free(twice), free(bytes);
}

/* Each bit of the last record turned: it is cut, whatever it says of its length. */
static void a_damaged_record_is_cut(void **state) {
    int64_t last, whole;
    write_like_tensorflow(*state);
    char *bytes = file_read(path, &whole);
    for (int bit = 8 * BEGUN; bit < 8 * WHOLE; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        file_write(path, bytes, WHOLE);
        check_ok(*state, mla_event_file_cut(*state, path, 1000, &last));
        assert_int_equal(last, 0);
        assert_false(file_exists(path));
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    free(bytes);
}

/* A limit on the size of files stands for a full disk. */
static void a_full_disk_leaves_whole_records(void **state) {
    mla_event_file *file;
    struct rlimit old, small;
    unlink(path);
    check_ok(*state, mla_event_file_create(*state, &file, path, 1));
    const int64_t before = size_of(path);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = (rlim_t)before + 10;
    setrlimit(RLIMIT_FSIZE, &small);
    const mla_status status = mla_event_file_scalars(file, (mla_event_time){1, 1}, &(mla_scalar){"a", 1}, 1);
    setrlimit(RLIMIT_FSIZE, &old);
    check_error(*state, status, MLA_ERROR_IO, path);
    assert_int_equal(size_of(path), before);
    check_ok(*state, mla_event_file_scalars(file, (mla_event_time){1, 1}, &(mla_scalar){"a", 1}, 1));
    mla_event_file_close(file);
}

/* ---- with a log */

static char *log_path;

static void write_log(mla_context *context, int64_t after, int64_t last, mla_tensorboard *events) {
    mla_metrics_log *log;
    check_ok(context, mla_metrics_open(context, &log, log_path, after));
    for (int64_t step = after + 1; step <= last; step++) {
        mla_metrics line = {.step = step, .loss = 1, .wall_time = 1700000000 + (double)step, .held_out_loss = NAN};
        check_ok(context, mla_metrics_write(log, &line));
        check_ok(context, mla_tensorboard_write(events, &line));
    }
    mla_metrics_close(log);
}

/* A session of training from `after` to `last`, whose events are lost where it is without them. */
static void train(mla_context *context, int64_t after, int64_t last, bool with_events) {
    mla_tensorboard *events = NULL;
    write_log(context, after, after, NULL); /* cuts the log */
    check_ok(context, mla_tensorboard_open(context, with_events ? &events : NULL, folder, after));
    write_log(context, after, last, events);
    mla_tensorboard_close(events);
}

static int is_event_file(const struct dirent *entry) { return strstr(entry->d_name, ".mla") != NULL; }

/* The steps of a file's scalars, "1 2 3 ". Of a message: wall_time (9 bytes), step (a tag and up to 127), summary. */
static void append_steps(const char *name, char *steps) {
    int64_t bytes, length;
    char *file = file_read(name, &bytes);
    for (int64_t at = 0; at < bytes; at += 16 + length) {
        memcpy(&length, file + at, sizeof length);
        const char *message = file + at + 12;
        if (message[9] == 0x10 && message[11] == 0x2a) sprintf(steps + strlen(steps), "%d ", message[10]);
    }
    free(file);
}

/* The steps of all files, in the order in which TensorBoard reads them. Returns how many files there are. */
static int all_steps(char *steps) {
    struct dirent **entries;
    const int count = scandir(folder, &entries, is_event_file, alphasort);
    *steps = '\0';
    for (int i = 0; i < count; i++) {
        char *name = path_in(folder, entries[i]->d_name);
        append_steps(name, steps);
        free(name), free(entries[i]);
    }
    free(entries);
    return count;
}

static void check_steps(const char *expected, int files) {
    char steps[4096];
    const int count = all_steps(steps);
    assert_string_equal(steps, expected);
    assert_int_equal(count, files);
}

static void a_resumed_run_has_each_step_once(void **state) {
    unlink(path);
    train(*state, 0, 5, true);
    check_steps("1 2 3 4 5 ", 1);
    train(*state, 3, 7, true); /* killed after 5, saved at 3 */
    check_steps("1 2 3 4 5 6 7 ", 2);
    train(*state, 7, 7, true); /* nothing to do: no file */
    check_steps("1 2 3 4 5 6 7 ", 2);
    train(*state, 3, 4, true);
    check_steps("1 2 3 4 ", 2);
    train(*state, 0, 2, true);
    check_steps("1 2 ", 1);
}

static void steps_without_events_are_added(void **state) {
    train(*state, 0, 0, true);
    train(*state, 0, 3, false);
    check_steps("", 0);
    train(*state, 3, 4, true);
    check_steps("1 2 3 4 ", 1);
    train(*state, 4, 6, false);
    train(*state, 5, 7, true);
    check_steps("1 2 3 4 5 6 7 ", 2);
    train(*state, 6, 8, false); /* what the events had of 7 is of a session that the log has no more */
    check_steps("1 2 3 4 5 6 ", 2);
}

static void other_event_files_stay(void **state) {
    char *other = path_in(folder, "events.out.tfevents.1.host");
    file_write(other, "not ours", 8);
    train(*state, 0, 1, true);
    train(*state, 0, 1, true);
    assert_int_equal(size_of(other), 8);
    unlink(other), free(other);
}

/* Lines of a log of before have no time: 0.5 s a step and a pause, up to the time of the file. */
static void old_logs_have_times_too(void **state) {
    static const char old[] = "{\"step\": 1, \"loss\": 2, \"time\": {\"seconds\": 1}}\n"
                              "{\"step\": 2, \"loss\": 2, \"time\": {\"seconds\": 0.5, \"paused\": 0.25}}\n"
                              "{\"step\": 3, \"loss\": 2, \"time\": {\"wall_time\": 1600000000, \"seconds\": 0.5}}\n";
    mla_list paths = {0}, folders = {.items = &folder, .count = 1};
    char *dir = path_in(folder, "out");
    double times[3];
    int64_t bytes, length, found = 0;
    file_write(log_path, old, sizeof old - 1);
    check_ok(*state, mla_tensorboard_export(*state, dir, &folders, &paths));
    assert_int_equal(paths.count, 1);
    char *file = file_read(paths.items[0], &bytes);
    for (int64_t at = 0; at < bytes; at += 16 + length) {
        memcpy(&length, file + at, sizeof length);
        if (file[at + 21] == 0x10) memcpy(&times[found++], file + at + 13, sizeof *times);
    }
    assert_int_equal(found, 3);
    check_close(times[2], 1600000000, 0);
    check_close(times[1] - times[2], -0.5, 1e-9);
    check_close(times[0] - times[2], -1.25, 1e-9);
    free(file), free(dir);
    mla_list_free(&paths);
}

static int setup(void **state) {
    folder = folder_create();
    path = path_in(folder, "events.out.tfevents.1.mla");
    log_path = path_in(folder, "metrics.jsonl");
    return mla_context_create((mla_context **)state, NULL) != MLA_OK;
}

static int teardown(void **state) {
    mla_context_destroy(*state);
    free(path), free(log_path);
    folder_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(writes_what_tensorflow_writes),
                                       cmocka_unit_test(refuses_a_file_that_is_there),
                                       cmocka_unit_test(keeps_what_is_whole),
                                       cmocka_unit_test(a_file_without_a_step_goes),
                                       cmocka_unit_test(a_torn_record_is_cut),
                                       cmocka_unit_test(a_damaged_record_is_cut),
                                       cmocka_unit_test(a_full_disk_leaves_whole_records),
                                       cmocka_unit_test(a_resumed_run_has_each_step_once),
                                       cmocka_unit_test(steps_without_events_are_added),
                                       cmocka_unit_test(other_event_files_stay),
                                       cmocka_unit_test(old_logs_have_times_too)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
