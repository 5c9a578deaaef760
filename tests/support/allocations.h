/* Watches allocations: counts them, and makes one fail. Inert until a test starts it. Those made within oneDNN,
 * the OpenMP run time, the C++ library and MPI are never failed, and counted apart: they are not ours to answer for.
 * Under the address sanitizer, whose own allocator must stay in place, nothing can be watched. */
#ifndef MLA_TESTS_SUPPORT_ALLOCATIONS_H
#define MLA_TESTS_SUPPORT_ALLOCATIONS_H

#include <stdbool.h>
#include <stdint.h>

bool allocations_can_be_watched(void);

/* Starts to count from 0; the fail_at-th allocation from now on fails (0: none). */
void allocations_watch(int64_t fail_at);

typedef struct {
    int64_t made, live; /* live: made and not freed */
    int64_t others;     /* made within those libraries */
    bool failed;        /* whether one was made to fail */
} allocation_count;

/* Stops counting and failing. */
allocation_count allocations_stop(void);

#endif
