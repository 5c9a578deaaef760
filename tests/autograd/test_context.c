/* The context keeps the first error and what is attached to it, and mla_grow doubles. */
#include "tests/support/check.h"

#include <stdlib.h>

static void keeps_the_first_error(void **state) {
    mla_context *context = *state;
    assert_int_equal(mla_fail(context, MLA_ERROR_IO, "first %d", 1), MLA_ERROR_IO);
    assert_int_equal(mla_fail(context, MLA_ERROR_MEMORY, "second"), MLA_ERROR_MEMORY);
    check_error(context, mla_error_status(context), MLA_ERROR_IO, "first 1");
    assert_int_equal(mla_error_status(context), MLA_OK);
}

static void refuses_sizes_that_overflow(void **state) {
    mla_context *context = *state;
    int64_t *items = NULL, capacity = 0;
    check_ok(context, mla_grow(context, &items, &capacity, 3, sizeof *items, "items"));
    assert_int_equal(capacity, 3);
    check_ok(context, mla_grow(context, &items, &capacity, 4, sizeof *items, "items"));
    assert_int_equal(capacity, 6);
    check_error(context, mla_grow(context, &items, &capacity, INT64_MAX / 4, sizeof *items, "items"), MLA_ERROR_MEMORY,
                "items");
    assert_null(mla_alloc(context, INT64_MAX / 2, 8, "a table"));
    mla_clear_error(context);
    free(items);
}

static void destroy_number(void *attached) { *(int *)attached = -1; }
static void destroy_other(void *attached) { *(int *)attached = -2; }

static void destroys_what_is_attached(void **state) {
    (void)state;
    int number = 1, other = 2;
    mla_context *context;
    assert_int_equal(mla_context_create(&context, NULL), MLA_OK);
    assert_null(mla_context_attached(context, destroy_number));
    check_ok(context, mla_context_attach(context, &number, destroy_number));
    check_ok(context, mla_context_attach(context, &other, destroy_other));
    assert_ptr_equal(mla_context_attached(context, destroy_number), &number);
    assert_ptr_equal(mla_context_attached(context, destroy_other), &other);
    mla_context_destroy(context);
    assert_int_equal(number, -1);
    assert_int_equal(other, -2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_the_first_error),
                                       cmocka_unit_test(refuses_sizes_that_overflow),
                                       cmocka_unit_test(destroys_what_is_attached)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
