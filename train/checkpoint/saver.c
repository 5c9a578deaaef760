#include "train/checkpoint/saver.h"
#include "autograd/base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mla_saver {
    mla_context *context;
    mla_saver_options options;
    mla_saved saved; /* the last one, or the one in flight */
    /* of saves in the background: */
    mla_checkpoint_copy *copy;
    pthread_t thread;
    bool in_flight;
    int written;       /* by the thread, atomically: all that it has to say is said */
    mla_context *own;  /* the thread's, while one is in flight, */
    mla_status status; /* and this too */
};

mla_status mla_saver_create(mla_context *context, mla_saver **out, const mla_saver_options *options) {
    mla_saver *s = *out = mla_alloc(context, 1, sizeof *s, "what saves the run");
    if (!s) return MLA_ERROR_MEMORY;
    s->context = context;
    s->options = *options;
    if (!options->background) return MLA_OK;
    const mla_context_options same = {.threads = mla_context_threads(context)};
    if (!mla_context_create(&s->own, &same)) return MLA_OK;
    return mla_fail(context, MLA_ERROR_MEMORY, "no memory for what saves the run");
}

static mla_status sync_log(const mla_saver *s, mla_context *context) {
    return s->options.log ? mla_metrics_sync(context, s->options.log) : MLA_OK;
}

/* ---- the thread ---- */

static void *write_copy(void *user) {
    enum { NICER = 10 };
    mla_saver *s = user;
    const double begin = mla_seconds();
    nice(NICER); /* where the processor is short, training goes first */
    s->status = sync_log(s, s->own);
    if (!s->status)
        s->status = mla_checkpoint_save_copy(s->own, s->options.dir, s->copy, s->options.keep, s->options.hook);
    s->saved.seconds = mla_seconds() - begin;
    __atomic_store_n(&s->written, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Signals are for the main thread. */
static mla_status start(mla_saver *s) {
    sigset_t all, old;
    s->written = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const int code = pthread_create(&s->thread, NULL, write_copy, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    s->in_flight = code == 0;
    if (!code) return MLA_OK;
    return mla_fail(s->context, MLA_ERROR_LIBRARY,
                    "no thread to write the checkpoint: %s; set checkpoint.background=false", strerror(code));
}

/* ---- the main thread ---- */

static mla_status conclude(mla_saver *s) {
    if (s->in_flight) pthread_join(s->thread, NULL);
    s->in_flight = false;
    if (s->status) return mla_fail(s->context, s->status, "%s", mla_error(s->own));
    if (s->options.saved) s->options.saved(s->options.user, &s->saved);
    return MLA_OK;
}

mla_status mla_saver_wait(mla_saver *s) { return s && s->in_flight ? conclude(s) : MLA_OK; }

mla_status mla_saver_poll(mla_saver *s) {
    return s && s->in_flight && __atomic_load_n(&s->written, __ATOMIC_ACQUIRE) ? conclude(s) : MLA_OK;
}

void mla_saver_destroy(mla_saver *s) {
    if (!s) return;
    mla_saver_wait(s);
    mla_checkpoint_copy_free(s->copy);
    mla_context_destroy(s->own);
    free(s);
}

static mla_status save_at_once(mla_saver *s, const mla_checkpoint_content *content, double begin) {
    const mla_saver_options *o = &s->options;
    mla_status status = sync_log(s, s->context);
    if (!status) status = mla_checkpoint_save_step(s->context, o->dir, content, o->keep, o->hook);
    if (status) return status;
    s->saved = (mla_saved){content->state->step, mla_seconds() - begin, mla_seconds() - begin};
    return conclude(s);
}

static mla_status save_beside(mla_saver *s, const mla_checkpoint_content *content, double begin) {
    const mla_status status = mla_checkpoint_copy_take(s->context, content, &s->copy);
    if (status) return status;
    s->saved = (mla_saved){.step = content->state->step, .paused = mla_seconds() - begin};
    return start(s);
}

mla_status mla_saver_save(mla_saver *s, const mla_checkpoint_content *content) {
    if (!s) return MLA_OK;
    const double begin = mla_seconds();
    const mla_status status = mla_saver_wait(s);
    if (status) return status;
    return (s->options.background ? save_beside : save_at_once)(s, content, begin);
}
