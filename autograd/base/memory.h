/* What memory this process has, and what the machine has left. Bytes. */
#ifndef MLA_AUTOGRAD_BASE_MEMORY_H
#define MLA_AUTOGRAD_BASE_MEMORY_H

#include <stdint.h>

/* Of this process: the most that was resident so far (VmHWM), and what is resident now (VmRSS); 0 where the
 * system does not say. */
int64_t mla_memory_peak(void);
int64_t mla_memory_resident(void);

/* What the machine can still give without swapping, or the control group's limit where that is less. */
int64_t mla_memory_available(void);
/* What it has in all, or the control group's limit where that is less; 0 where the system does not say. */
int64_t mla_memory_installed(void);

#endif
