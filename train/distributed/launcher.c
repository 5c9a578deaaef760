#include "train/distributed/launcher.h"

#include <stdlib.h>

static int64_t number_in_environment(const char *name) {
    const char *text = getenv(name);
    return text ? strtoll(text, NULL, 10) : 0;
}

int64_t mla_launched(void) {
    const int64_t open_mpi = number_in_environment("OMPI_COMM_WORLD_SIZE"), pmi = number_in_environment("PMI_SIZE");
    if (open_mpi) return open_mpi;
    return pmi || !getenv("PMIX_RANK") ? pmi : number_in_environment("SLURM_STEP_NUM_TASKS");
}

bool mla_launched_maybe_several(void) {
    const int64_t launched = mla_launched();
    return launched > 1 || (!launched && getenv("PMIX_RANK"));
}
