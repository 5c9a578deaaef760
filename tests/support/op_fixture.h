/* The matrices and rows that tests of ops work on, with a tape. */
#ifndef MLA_TESTS_SUPPORT_OP_FIXTURE_H
#define MLA_TESTS_SUPPORT_OP_FIXTURE_H

#include "tests/support/check.h"

enum { ROWS = 70, WIDTH = 131, COUNT = ROWS * WIDTH };

/* The state of the tests is one of these. */
typedef struct {
    mla_context *context;
    mla_tape *tape;
    float a[COUNT], b[COUNT], c[COUNT], row[WIDTH], row2[WIDTH];
} op_fixture;
int create_op_fixture(void **state);
int destroy_op_fixture(void **state);

/* Normally distributed, the same values for the same name. */
void fill(const char *name, int64_t count, float *x);

/* Begins a step of training. */
void begin(op_fixture *f);

#endif
