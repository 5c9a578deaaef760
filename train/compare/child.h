/* A command of this program run as a process of its own, so that its peak memory is its own and nothing of it can harm
 * the one that waits. */
#ifndef MLA_TRAIN_COMPARE_CHILD_H
#define MLA_TRAIN_COMPARE_CHILD_H

#include "autograd/base/context.h"

#include <signal.h>

typedef struct {
    const char *folder;                /* it works there */
    const char *const *words;          /* "mla", "train", ...; ends with NULL */
    const volatile sig_atomic_t *stop; /* not 0: it gets SIGTERM once, and is waited for. NULL: never */
} mla_child_options;

/* What it left: as a shell would tell it, 128 + N after signal N; and what it printed, each at most 1 MiB. */
typedef struct {
    int code;
    char *out, *errors;
} mla_child_result;

/* Runs it to its end, in a process group of its own, so that a terminal's Ctrl-C comes to the caller alone; with the
 * signals blocked that the caller blocked before it took its own, which is none. If the caller dies, the child gets
 * SIGTERM. The caller of this frees the result in any case. MLA_ERROR_LIBRARY where it cannot be begun; what it returns
 * is no error here. */
mla_status mla_child_run(mla_context *context, const mla_child_options *options, mla_child_result *result);
void mla_child_free(mla_child_result *result);

#endif
