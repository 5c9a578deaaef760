/* metrics.jsonl: what is written is read, resuming cuts, torn lines are forgiven; and the words of the
 * progress line. */
#include "tests/support/check.h"
#include "train/log/metrics.h"
#include "train/log/progress.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char folder[] = "/tmp/mla-metrics-XXXXXX";
static char path[64];

static mla_metrics line_of(int64_t step) {
    return (mla_metrics){.step = step,
                         .tokens = 100 * step,
                         .loss = 1.0 / (double)(step + 2),
                         .divergence = step % 3 ? NAN : 0.7,
                         .held_out_loss = step % 2 ? NAN : 0.1 + 0.2,
                         .accuracy = step % 4 ? NAN : 0.875,
                         .macro_f1 = step % 4 ? NAN : 0.75,
                         .statistics = {.count = 1, .of = {{.name = "balance", .sum = 3 * (double)step, .parts = 3}}},
                         .lr = 1e-3,
                         .grad_norm = 0.5,
                         .wall_time = step == 3 ? NAN : 1700000000.125,
                         .seconds = 0.25,
                         .waited = NAN,
                         .paused = step % 2 ? 0.125 : NAN,
                         .written = NAN,
                         .tokens_per_second = 400,
                         .share_of_peak = 0.5,
                         .memory = 1 << 20};
}

static void write_steps(mla_context *context, int64_t after, int64_t last) {
    mla_metrics_log *log;
    check_ok(context, mla_metrics_open(context, &log, path, after));
    for (int64_t step = after + 1; step <= last; step++) {
        mla_metrics line = line_of(step);
        check_ok(context, mla_metrics_write(log, &line));
    }
    check_ok(context, mla_metrics_sync(context, log));
    mla_metrics_close(log);
}

static char *file_text(void) {
    static char text[1 << 16];
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void append_text(const char *text) {
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void reads_what_it_wrote(void **state) {
    mla_context *context = *state;
    mla_metrics *lines;
    int64_t count;
    write_steps(context, 0, 3);
    check_ok(context, mla_metrics_read(context, path, &lines, &count));
    assert_int_equal(count, 3);
    for (int64_t i = 0; i < count; i++) {
        const mla_metrics expected = line_of(i + 1);
        assert_int_equal(lines[i].step, expected.step);
        assert_int_equal(lines[i].tokens, expected.tokens);
        assert_int_equal(lines[i].memory, expected.memory);
        assert_true(lines[i].loss == expected.loss); /* to the last bit */
        assert_int_equal(isnan(lines[i].held_out_loss), isnan(expected.held_out_loss));
        if (!isnan(expected.held_out_loss)) assert_true(lines[i].held_out_loss == expected.held_out_loss);
        assert_int_equal(isnan(lines[i].macro_f1), isnan(expected.macro_f1));
        if (!isnan(expected.accuracy)) assert_true(lines[i].accuracy == expected.accuracy);
        assert_int_equal(isnan(lines[i].divergence), isnan(expected.divergence));
        if (!isnan(expected.divergence)) assert_true(lines[i].divergence == expected.divergence);
        assert_int_equal(isnan(lines[i].paused), isnan(expected.paused));
        assert_true(isnan(expected.paused) || lines[i].paused == expected.paused);
        assert_int_equal(isnan(lines[i].wall_time), isnan(expected.wall_time));
        assert_true(isnan(expected.wall_time) || lines[i].wall_time == expected.wall_time);
        assert_int_equal(lines[i].statistics.count, 1);
        assert_string_equal(lines[i].statistics.of[0].name, "balance");
        assert_true(lines[i].statistics.of[0].sum / (double)lines[i].statistics.of[0].parts == (double)(i + 1));
        assert_true(lines[i].share_of_peak == 0.5 && lines[i].lr == 1e-3 && lines[i].grad_norm == 0.5);
    }
    free(lines);
}

static void resuming_gives_the_unbroken_file(void **state) {
    mla_context *context = *state;
    write_steps(context, 0, 6);
    char *unbroken = strdup(file_text());
    write_steps(context, 4, 6);
    assert_string_equal(file_text(), unbroken);
    append_text("{\"step\": 7, \"lo"); /* killed while writing */
    write_steps(context, 6, 6);
    assert_string_equal(file_text(), unbroken);
    write_steps(context, 0, 0);
    assert_string_equal(file_text(), "");
    free(unbroken);
}

static void garbage_ends_what_is_kept(void **state) {
    mla_context *context = *state;
    mla_metrics *lines;
    int64_t count;
    write_steps(context, 0, 2);
    char *good = strdup(file_text());
    append_text("garbage\n");
    check_error(context, mla_metrics_read(context, path, &lines, &count), MLA_ERROR_FORMAT, "line 3");
    append_text("{\"step\": 3}\n");
    write_steps(context, 9, 9);
    assert_string_equal(file_text(), good);
    append_text("{\"step\": 2}\n"); /* a step that is there already */
    write_steps(context, 9, 9);
    assert_string_equal(file_text(), good);
    free(good);
}

/* A session is noted with its first line, and again where the run is resumed. */
static void sessions_are_noted(void **state) {
    mla_context *context = *state;
    mla_metrics_log *log;
    mla_metrics *lines;
    int64_t count;
    for (int64_t step = 0; step < 4; step += 2) {
        check_ok(context, mla_metrics_open(context, &log, path, step));
        check_ok(context, mla_metrics_begin(log, &(mla_session){"A \"fast\" one", step ? "0.2" : NULL, step + 1, 4}));
        for (int64_t i = 1; i <= 2; i++) {
            const mla_metrics line = line_of(step + i);
            check_ok(context, mla_metrics_write(log, &line));
        }
        mla_metrics_close(log);
    }
    check_ok(context, mla_metrics_read(context, path, &lines, &count));
    assert_int_equal(count, 4);
    for (int64_t i = 0; i < count; i += 2) {
        assert_string_equal(lines[i].session.processor, "A \"fast\" one");
        assert_int_equal(lines[i].session.threads, i + 1);
        assert_int_equal(lines[i].session.ranks, 4);
        assert_null(lines[i + 1].session.processor);
    }
    assert_string_equal(lines[2].session.version, "0.2");
    free(lines);
}

/* More statistics than a step has are refused, not cut off the log. */
static void too_many_statistics_are_refused(void **state) {
    mla_context *context = *state;
    mla_metrics_log *log;
    mla_metrics *lines;
    int64_t count;
    write_steps(context, 0, 1);
    append_text("{\"step\": 2, \"statistics\": {\"s0\": 0");
    for (int i = 1; i <= MLA_MOST_STATISTICS; i++) {
        char more[32];
        snprintf(more, sizeof more, ", \"s%d\": %d", i, i);
        append_text(more);
    }
    append_text("}}\n");
    char *before = strdup(file_text());
    check_error(context, mla_metrics_read(context, path, &lines, &count), MLA_ERROR_FORMAT, "17 statistics");
    check_error(context, mla_metrics_open(context, &log, path, 2), MLA_ERROR_FORMAT, "17 statistics");
    assert_string_equal(file_text(), before);
    free(before);
}

static void a_torn_last_line_is_left_out(void **state) {
    mla_context *context = *state;
    mla_metrics *lines;
    int64_t count;
    write_steps(context, 0, 2);
    append_text("{\"step\": 3, \"loss\": 1}");
    check_ok(context, mla_metrics_read(context, path, &lines, &count));
    assert_int_equal(count, 2);
    free(lines);
    check_error(context, mla_metrics_read(context, "/nonexistent", &lines, &count), MLA_ERROR_IO, "/nonexistent");
    assert_null(lines);
}

static void not_finite_is_null(void **state) {
    mla_context *context = *state;
    mla_metrics_log *log;
    mla_metrics skipped = line_of(1), *lines;
    int64_t count;
    skipped.loss = INFINITY;
    skipped.grad_norm = NAN;
    skipped.skipped = true;
    check_ok(context, mla_metrics_open(context, &log, path, 0));
    check_ok(context, mla_metrics_write(log, &skipped));
    mla_metrics_close(log);
    assert_non_null(strstr(file_text(), "\"loss\": null, \"statistics\""));
    check_ok(context, mla_metrics_read(context, path, &lines, &count));
    assert_true(isnan(lines[0].loss) && isnan(lines[0].grad_norm) && lines[0].skipped);
    free(lines);
}

/* A limit on the size of files stands for a full disk. */
static void a_full_disk_leaves_whole_lines(void **state) {
    mla_context *context = *state;
    mla_metrics_log *log;
    write_steps(context, 0, 2);
    char *before = strdup(file_text());
    check_ok(context, mla_metrics_open(context, &log, path, 2));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = strlen(before) + 10;
    setrlimit(RLIMIT_FSIZE, &small);
    mla_metrics line = line_of(3);
    mla_status status = mla_metrics_write(log, &line);
    setrlimit(RLIMIT_FSIZE, &old);
    check_error(context, status, MLA_ERROR_IO, path);
    assert_string_equal(file_text(), before);
    check_ok(context, mla_metrics_write(log, &line));
    mla_metrics_close(log);
    free(before);
}

static void numbers_are_short(void **state) {
    (void)state;
    static const struct {
        void (*text)(double, size_t, char *);
        double value;
        const char *expected;
    } cases[] = {{mla_duration_text, 59.6, "1:00"}, {mla_duration_text, 3723, "1:02:03"},
                 {mla_duration_text, NAN, "?"},     {mla_count_text, 12345, "12.3k"},
                 {mla_count_text, 999, "999"},      {mla_count_text, 4560000, "4.56M"},
                 {mla_bytes_text, 812e6, "812 MB"}, {mla_bytes_text, 1.25e9, "1.25 GB"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        cases[i].text(cases[i].value, sizeof text, text);
        assert_string_equal(text, cases[i].expected);
    }
}

static void progress_prints_plain_lines(void **state) {
    mla_context *context = *state;
    mla_progress *progress;
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    check_ok(context, mla_progress_create(context, &progress,
                                          &(mla_progress_options){.out = out, .steps = 100, .log_every = 10}));
    for (int64_t step = 1; step <= 100; step++) {
        mla_metrics line = line_of(step);
        line.held_out_loss = step == 15 ? 0.75 : NAN;
        line.accuracy = line.macro_f1 = NAN;
        line.skipped = step == 17;
        mla_progress_step(progress, &line);
    }
    mla_progress_note(progress, "saved %s", "x");
    mla_progress_end(progress);
    fclose(out);
    const char *text = file_text();
    int lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 13); /* 10, 20 ... 100, the evaluation, the skipped step, the note */
    assert_non_null(strstr(text, "step 20/100  loss 0.0455  held-out 0.7500  400 tokens/s  50 % of peak  1.05 MB  "
                                 "ETA 0:20\n"));
    assert_non_null(strstr(text, "step 17/100  loss 0.0526 (skipped)"));
    assert_non_null(strstr(text, "saved x\n"));
    assert_null(strchr(text, '\r'));
}

static int setup(void **state) {
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    return mla_context_create((mla_context **)state, NULL) != MLA_OK;
}

static int teardown(void **state) {
    mla_context_destroy(*state);
    unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(reads_what_it_wrote),
                                       cmocka_unit_test(resuming_gives_the_unbroken_file),
                                       cmocka_unit_test(garbage_ends_what_is_kept),
                                       cmocka_unit_test(sessions_are_noted),
                                       cmocka_unit_test(too_many_statistics_are_refused),
                                       cmocka_unit_test(a_torn_last_line_is_left_out),
                                       cmocka_unit_test(not_finite_is_null),
                                       cmocka_unit_test(a_full_disk_leaves_whole_lines),
                                       cmocka_unit_test(numbers_are_short),
                                       cmocka_unit_test(progress_prints_plain_lines)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
