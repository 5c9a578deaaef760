#include "tests/support/allocations.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

/* For the sanitizer: impossible sizes are errors that the library reports, not the end of the test. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

bool allocations_can_be_watched(void) { return false; }
void allocations_watch(int64_t fail_at) { (void)fail_at; }
allocation_count allocations_stop(void) { return (allocation_count){0}; }

#else

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* glibc's own functions behind those that this file replaces for the whole program. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *memory);

enum { MOST_LIVE = 1 << 12 };

static atomic_bool watching, failed;
static atomic_llong made, others, failing_at;
static atomic_uintptr_t live[MOST_LIVE]; /* where memory that is counted lies; 0: free place */

bool allocations_can_be_watched(void) { return true; }

void allocations_watch(int64_t fail_at) {
    made = others = 0;
    for (int i = 0; i < MOST_LIVE; i++) live[i] = 0;
    failing_at = fail_at;
    failed = false;
    watching = true;
}

allocation_count allocations_stop(void) {
    watching = false;
    allocation_count count = {.made = made, .others = others, .failed = failed};
    for (int i = 0; i < MOST_LIVE; i++) count.live += live[i] != 0;
    return count;
}

static bool is_ours(const void *caller) {
    static const char *const libraries[] = {"libdnnl",  "libgomp", "libstdc++", "ld-linux", "libmpi",
                                            "libopen-", "openmpi", "libpmix",   "libevent"};
    Dl_info place;
    if (!watching) return false;
    if (!dladdr(caller, &place) || !place.dli_fname) return true;
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        if (strstr(place.dli_fname, libraries[i])) return false;
    return true;
}

/* Counts one allocation; true where it shall fail. */
static bool shall_fail(const void *caller) {
    if (!is_ours(caller)) {
        others += watching;
        return false;
    }
    if (++made != failing_at) return false;
    failed = true;
    return true;
}

static bool replace_live(uintptr_t from, uintptr_t to) {
    for (int i = 0; i < MOST_LIVE; i++) {
        uintptr_t expected = from;
        if (atomic_compare_exchange_strong(&live[i], &expected, to)) return true;
    }
    return false;
}

static void *count_live(const void *caller, void *memory) {
    if (memory && is_ours(caller) && !replace_live(0, (uintptr_t)memory)) abort();
    return memory;
}

static void forget_live(void *memory) {
    if (memory && watching) replace_live((uintptr_t)memory, 0);
}

void *malloc(size_t bytes) {
    const void *caller = __builtin_return_address(0);
    return shall_fail(caller) ? NULL : count_live(caller, __libc_malloc(bytes));
}

void *calloc(size_t count, size_t size) {
    const void *caller = __builtin_return_address(0);
    return shall_fail(caller) ? NULL : count_live(caller, __libc_calloc(count, size));
}

void *realloc(void *old, size_t bytes) {
    const void *caller = __builtin_return_address(0);
    if (shall_fail(caller)) return NULL;
    forget_live(old);
    return count_live(caller, __libc_realloc(old, bytes));
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    const void *caller = __builtin_return_address(0);
    return shall_fail(caller) ? NULL : count_live(caller, __libc_memalign(alignment, bytes));
}

int posix_memalign(void **memory, size_t alignment, size_t bytes) {
    const void *caller = __builtin_return_address(0);
    if (shall_fail(caller)) return ENOMEM;
    *memory = count_live(caller, __libc_memalign(alignment, bytes));
    return *memory ? 0 : ENOMEM;
}

void free(void *memory) {
    forget_live(memory);
    __libc_free(memory);
}

#endif
