#include "train/commands/training/stop_signals.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t signalled;

/* The first signal asks for a stop after the step, the second one, of any kind, ends the process at once. */
static void on_signal(int number) {
    if (signalled) {
        signal(number, SIG_DFL);
        raise(number);
    }
    signalled = 1;
}

static void *take_signals(void *unused) {
    for (;;) pause();
    return unused;
}

/* A thread that computes must not take a signal: in oneDNN's older kernels (before 3.11.2, its issue 4845) the stack
 * pointer is at times the address of a buffer, and what the system puts below it for a handler destroys other memory.
 * So one thread takes them all, which does nothing else; the caller, and all threads that it begins from now on, take
 * none. */
mla_status mla_stop_signals_take(mla_context *context, const volatile sig_atomic_t **stop) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1};
    pthread_t taker;
    sigset_t ours;
    const int code = pthread_create(&taker, NULL, take_signals, NULL);
    if (code) return mla_fail(context, MLA_ERROR_LIBRARY, "no thread to take signals: %s", strerror(code));
    pthread_detach(taker);
    *stop = &signalled;
    signalled = 0;
    sigemptyset(&ours);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        signal(numbers[i], on_signal);
        sigaddset(&ours, numbers[i]);
    }
    pthread_sigmask(SIG_BLOCK, &ours, NULL);
    return MLA_OK;
}
