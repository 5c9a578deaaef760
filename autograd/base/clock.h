/* Time that only goes forward. */
#ifndef MLA_AUTOGRAD_BASE_CLOCK_H
#define MLA_AUTOGRAD_BASE_CLOCK_H

/* Seconds since some moment before the process began. Reads a clock and nothing else: no allocation, no lock. */
double mla_seconds(void);

#endif
