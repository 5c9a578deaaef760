/* What `mla --version` prints: of what this mla is made, and what the processor has. */
#ifndef MLA_TRAIN_COMMANDS_VERSION_H
#define MLA_TRAIN_COMMANDS_VERSION_H

#include <stdbool.h>
#include <stdio.h>

/* "0.1.0"; and "0.1.0, commit 2de145037826" where it was built from a repository of its own. */
const char *mla_version(void);
const char *mla_version_and_commit(void);

/* The version, the commit where it was built from a repository of its own, the libraries with theirs, the processor,
 * and what train.precision=auto means here. Not when it was built: the same sources give the same program. */
void mla_version_print(FILE *out, bool json);

#endif
