/* What mpirun or srun tells a process that it has started, before MPI is. */
#ifndef MLA_TRAIN_DISTRIBUTED_LAUNCHER_H
#define MLA_TRAIN_DISTRIBUTED_LAUNCHER_H

#include <stdbool.h>
#include <stdint.h>

/* How many processes were started, this one included; 0 where nobody says it. */
int64_t mla_launched(void);

/* PMIx alone does not say how many there are, so MPI has to be asked. */
bool mla_launched_maybe_several(void);

#endif
