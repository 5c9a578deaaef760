/* Time that only goes forward, and the time of day. */
#ifndef MLA_AUTOGRAD_BASE_CLOCK_H
#define MLA_AUTOGRAD_BASE_CLOCK_H

/* Seconds since some moment before the process began. Reads a clock and nothing else: no allocation, no lock. */
double mla_seconds(void);

/* Seconds since 1970 (UTC) to a thousandth, by the system's clock, which may be set. */
double mla_wall_time(void);

#endif
