/* The lock of a run folder where the file system refuses flock, and where it refuses fcntl's locks as well. Both are
 * replaced here: `refusal` is what flock says, `fcntl_refusal` what fcntl says to a lock; 0: what the system does. */
#include "tests/support/check.h"
#include "tests/support/files.h"
#include "tests/support/model_folder.h"
#include "train/checkpoint/folder_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int refusal, fcntl_refusal;

int flock(int descriptor, int operation) {
    errno = refusal;
    return refusal ? -1 : (int)syscall(SYS_flock, descriptor, operation);
}

int fcntl(int descriptor, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    errno = fcntl_refusal;
    return command == F_SETLK && fcntl_refusal ? -1 : (int)syscall(SYS_fcntl, descriptor, command, argument);
}

static const int refusals[] = {ENOLCK, ENOSYS, EOPNOTSUPP, EBADF};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

static char other[64]; /* "process 7 on ", the first run */

/* What a second run is told while a first, in a process of its own, has the folder. */
static mla_status beside_another(const model_folder *f) {
    int ready[2], done[2];
    char byte = 0;
    mla_folder_lock lock;
    assert_true(!pipe(ready) && !pipe(done));
    const pid_t child = fork();
    if (!child) {
        alarm(60); /* where the test fails, nobody ends it */
        const bool taken = !mla_folder_lock_take(f->context, &lock, f->in);
        (void)!write(ready[1], taken ? "y" : "n", 1);
        (void)!read(done[0], &byte, 1);
        mla_folder_lock_release(&lock);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    snprintf(other, sizeof other, "process %ld on ", (long)child);
    const mla_status status = mla_folder_lock_take(f->context, &lock, f->in);
    mla_folder_lock_release(&lock);
    assert_int_equal(write(done[1], "x", 1), 1);
    waitpid(child, NULL, 0);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(done[i]);
    }
    return status;
}

static void check_free(model_folder *f) {
    mla_folder_lock lock;
    check_ok(f->context, mla_folder_lock_take(f->context, &lock, f->in));
    mla_folder_lock_release(&lock);
    char *path = path_in(f->in, "run.lock");
    assert_false(file_exists(path));
    free(path);
}

static void one_run_at_a_time(void **state) {
    model_folder *f = *state;
    refusal = fcntl_refusal = 0;
    check_error(f->context, beside_another(f), MLA_ERROR_ARGUMENT, "another run is using this folder; choose another");
    check_free(f);
    assert_string_equal(f->warning, "");
    for (int i = 0; i < REFUSALS; i++)
        for (int k = 0; k < 2; k++) {
            refusal = refusals[i];
            fcntl_refusal = k ? ENOLCK : 0;
            f->warning[0] = '\0';
            const mla_status status = beside_another(f);
            check_error(f->context, status, MLA_ERROR_ARGUMENT, other);
            check_free(f);
            assert_non_null(strstr(f->warning, k ? "the file run.lock in it keeps" : "locked by fcntl instead"));
            assert_non_null(strstr(f->warning, strerror(refusal)));
        }
}

/* The process may have died with the file in place. */
static void what_has_ended_is_taken_over(void **state) {
    model_folder *f = *state;
    char host[200], text[300];
    const pid_t child = fork();
    if (!child) _exit(0);
    waitpid(child, NULL, 0);
    gethostname(host, sizeof host);
    refusal = fcntl_refusal = ENOLCK;
    snprintf(text, sizeof text, "%s %ld -\n", host, (long)child);
    model_folder_write_text(f->in, "run.lock", text);
    check_free(f);
    snprintf(text, sizeof text, "%s %ld -\n", host, (long)getppid());
    model_folder_write_text(f->in, "run.lock", text);
    mla_folder_lock lock;
    check_error(f->context, mla_folder_lock_take(f->context, &lock, f->in), MLA_ERROR_ARGUMENT,
                "run.lock; choose another with --out, or remove that file if this run has ended");
    snprintf(text, sizeof text, "elsewhere %ld -\n", (long)child); /* of another host, where it may be alive */
    model_folder_write_text(f->in, "run.lock", text);
    check_error(f->context, mla_folder_lock_take(f->context, &lock, f->in), MLA_ERROR_ARGUMENT, "on elsewhere");
    model_folder_write_text(f->in, "run.lock", "elsewhere 1 77\n");
    check_error(f->context, mla_folder_lock_take(f->context, &lock, f->in), MLA_ERROR_ARGUMENT,
                "process 1 on elsewhere");
    setenv("SLURM_JOB_ID", "77", 1); /* a job that was requeued to another node */
    check_free(f);
    unsetenv("SLURM_JOB_ID");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_run_at_a_time, model_folder_create, model_folder_destroy),
        cmocka_unit_test_setup_teardown(what_has_ended_is_taken_over, model_folder_create, model_folder_destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
