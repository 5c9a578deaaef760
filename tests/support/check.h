/* Comparisons that NaN does not pass, for use with cmocka (whose own let it), and a context that tests share. */
#ifndef MLA_TESTS_SUPPORT_CHECK_H
#define MLA_TESTS_SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "autograd/tape.h"

/* For cmocka_run_group_tests: the state of the tests is one context. */
int create_context(void **state);
int create_one_thread(void **state); /* for what is too small to share */
int destroy_context(void **state);

/* The same with a tape: the state is one of these. */
typedef struct {
    mla_context *context;
    mla_tape *tape;
} tape_fixture;
int create_tape(void **state);
int destroy_tape(void **state);

/* Fails the test unless |a - b| <= tolerance * max(1, |a|, |b|); NaN and infinity fail. */
#define check_close(a, b, tolerance) check_close_at((a), (b), (tolerance), #a, __FILE__, __LINE__)
void check_close_at(double a, double b, double tolerance, const char *what, const char *file, int line);

/* |a - b| / |b| over whole arrays (Euclidean norms); NaN in either gives infinity. */
double relative_error(int64_t count, const float *a, const float *b);

/* Fails the test with the context's message unless the status is MLA_OK. */
#define check_ok(context, status) check_ok_at((context), (status), #status, __FILE__, __LINE__)
void check_ok_at(const mla_context *context, mla_status status, const char *what, const char *file, int line);

/* Fails the test unless the call failed with `expected` and its message contains `words`; clears the error. */
#define check_error(context, status, expected, words) \
    check_error_at((context), (status), (expected), (words), #status, __FILE__, __LINE__)
void check_error_at(mla_context *context, mla_status status, mla_status expected, const char *words, const char *what,
                    const char *file, int line);

#endif
