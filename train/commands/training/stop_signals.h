/* SIGINT, SIGTERM and SIGUSR1 ask for a stop that loses nothing. */
#ifndef MLA_TRAIN_COMMANDS_TRAINING_STOP_SIGNALS_H
#define MLA_TRAIN_COMMANDS_TRAINING_STOP_SIGNALS_H

#include "autograd/base/context.h"

#include <signal.h>

/* From now on a thread of its own takes these signals, and the caller, with all threads that it begins later, takes
 * none. *stop is not 0 after the first of them; the second one, of any kind, ends the process at once. Once a process.
 * MLA_ERROR_LIBRARY. */
mla_status mla_stop_signals_take(mla_context *context, const volatile sig_atomic_t **stop);

#endif
