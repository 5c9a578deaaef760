#include "autograd/base/clock.h"

#include <math.h>
#include <time.h>

static double read_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double mla_seconds(void) { return read_clock(CLOCK_MONOTONIC); }

double mla_wall_time(void) { return round(1e3 * read_clock(CLOCK_REALTIME)) / 1e3; }
