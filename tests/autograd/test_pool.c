/* The pool hands out aligned buffers, takes them back when nobody holds them, and counts. */
#include "tests/support/check.h"

#include "autograd/pool.h"

#include <string.h>

static void buffers_are_large_enough_and_aligned(void **state) {
    mla_pool *pool;
    check_ok(*state, mla_pool_create(*state, &pool, false));
    for (int64_t bytes = 1; bytes < 40 << 20; bytes = bytes * 3 + 1) {
        mla_buffer *buffer = mla_pool_take(pool, bytes);
        assert_non_null(buffer);
        assert_int_equal((uintptr_t)buffer->data % 64, 0);
        assert_true(buffer->bytes >= bytes);
        assert_true(bytes < 256 || (double)buffer->bytes <= 1.13 * (double)bytes);
        memset(buffer->data, 1, (size_t)bytes);
        mla_buffer_release(pool, buffer);
    }
    mla_pool_destroy(pool);
}

static void buffers_come_back_with_the_last_holder(void **state) {
    mla_pool *pool;
    check_ok(*state, mla_pool_create(*state, &pool, false));
    mla_buffer *first = mla_pool_take(pool, 1000);
    const int64_t one = mla_pool_held(pool);
    assert_int_equal(mla_pool_reserved(pool), one);
    mla_buffer_hold(first);
    mla_buffer_release(pool, first);
    assert_int_equal(mla_pool_held(pool), one);
    mla_buffer *second = mla_pool_take(pool, 1000);
    assert_ptr_not_equal(second->data, first->data);
    mla_buffer_release(pool, first);
    assert_int_equal(mla_pool_held(pool), one);
    assert_ptr_equal(mla_pool_take(pool, 990), first);
    assert_int_equal(mla_pool_reserved(pool), 2 * one);
    mla_buffer_release(pool, first);
    mla_buffer_release(pool, second);
    mla_buffer_release(pool, NULL);
    assert_int_equal(mla_pool_held(pool), 0);
    mla_pool_destroy(pool);
}

/* A larger buffer does not serve a smaller wish: the next step could not count on finding it. */
static void a_class_serves_only_itself(void **state) {
    mla_pool *pool;
    check_ok(*state, mla_pool_create(*state, &pool, false));
    mla_buffer_release(pool, mla_pool_take(pool, 1 << 20));
    const int64_t reserved = mla_pool_reserved(pool);
    mla_buffer *smaller = mla_pool_take(pool, 1 << 19);
    assert_true(mla_pool_reserved(pool) > reserved);
    mla_buffer_release(pool, smaller);
    mla_pool_destroy(pool);
}

static void a_counting_pool_counts_the_same(void **state) {
    mla_pool *pools[2];
    for (int counting = 0; counting < 2; counting++) {
        mla_pool *pool;
        check_ok(*state, mla_pool_create(*state, &pools[counting], counting));
        pool = pools[counting];
        mla_buffer *a = mla_pool_take(pool, 5000), *b = mla_pool_take(pool, 70000);
        assert_int_equal(a->data == NULL, counting);
        mla_buffer_release(pool, a);
        mla_buffer_release(pool, mla_pool_take(pool, 4000));
        mla_buffer_release(pool, b);
    }
    assert_int_equal(mla_pool_reserved(pools[0]), mla_pool_reserved(pools[1]));
    mla_pool_destroy(pools[0]);
    mla_pool_destroy(pools[1]);
}

static void impossible_sizes_are_errors(void **state) {
    mla_pool *pool;
    check_ok(*state, mla_pool_create(*state, &pool, false));
    assert_null(mla_pool_take(pool, INT64_MAX));
    check_error(*state, mla_error_status(*state), MLA_ERROR_MEMORY, "beyond any machine");
    assert_null(mla_pool_take(pool, (int64_t)1 << 47));
    check_error(*state, mla_error_status(*state), MLA_ERROR_MEMORY, "lower the batch");
    assert_int_equal(mla_pool_held(pool), 0);
    mla_pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_are_large_enough_and_aligned),
        cmocka_unit_test(buffers_come_back_with_the_last_holder),
        cmocka_unit_test(a_class_serves_only_itself),
        cmocka_unit_test(a_counting_pool_counts_the_same),
        cmocka_unit_test(impossible_sizes_are_errors),
    };
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
