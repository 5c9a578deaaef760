#include "train/compare/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUT, ERRORS, STREAMS };
enum { MOST_TEXT = 1 << 20 };

/* ---- the child ---- */

/* Between fork and exec: only what a signal handler may call. */
static void become(const mla_child_options *o, pid_t parent, const int writers[STREAMS]) {
    static const int taken[] = {SIGINT, SIGTERM, SIGUSR1}; /* by the parent, whose handlers must not run here */
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) signal(taken[i], SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127); /* it died before that */
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(writers[OUT], STDOUT_FILENO) < 0 || dup2(writers[ERRORS], STDERR_FILENO) < 0 || chdir(o->folder))
        _exit(127);
    execv("/proc/self/exe", (char *const *)(uintptr_t)o->words);
    _exit(127);
}

/* ---- what it prints ---- */

typedef struct {
    int reader;
    char *text;
    int64_t length, capacity;
} stream;

/* False at its end. What is beyond the most that is kept is read, and lost. */
static bool take(mla_context *context, stream *s) {
    char lost[4096];
    if (mla_grow(context, &s->text, &s->capacity, s->length + (int64_t)sizeof lost + 1, 1, "what a run prints"))
        return false;
    const bool keeps = s->length < MOST_TEXT;
    const ssize_t got = read(s->reader, keeps ? s->text + s->length : lost, sizeof lost);
    if (got < 0 && errno == EINTR) return true;
    if (got <= 0) return false;
    if (keeps) s->length += got;
    s->text[s->length] = '\0';
    return true;
}

static void close_stream(stream *s) {
    if (s->reader >= 0) close(s->reader);
    s->reader = -1;
}

/* Reads both until they end, which they do with the child; passes the wish to stop on, once. */
static void follow(mla_context *context, const mla_child_options *o, pid_t child, stream streams[STREAMS]) {
    bool asked = false;
    while (streams[OUT].reader >= 0 || streams[ERRORS].reader >= 0) {
        struct pollfd ready[STREAMS];
        for (int i = 0; i < STREAMS; i++) ready[i] = (struct pollfd){.fd = streams[i].reader, .events = POLLIN};
        const int count = poll(ready, STREAMS, 20);
        for (int i = 0; i < STREAMS && count > 0; i++)
            if (ready[i].revents && !take(context, &streams[i])) close_stream(&streams[i]);
        if (o->stop && *o->stop && !asked) asked = !kill(child, SIGTERM);
    }
}

static int wait_for(pid_t child) {
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

/* ---- both ---- */

static mla_status open_pipes(mla_context *context, stream streams[STREAMS], int writers[STREAMS]) {
    for (int i = 0; i < STREAMS; i++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC))
            return mla_fail(context, MLA_ERROR_LIBRARY, "no pipe to a run: %s", strerror(errno));
        streams[i].reader = ends[0];
        writers[i] = ends[1];
    }
    return MLA_OK;
}

mla_status mla_child_run(mla_context *context, const mla_child_options *o, mla_child_result *result) {
    stream streams[STREAMS] = {{.reader = -1}, {.reader = -1}};
    int writers[STREAMS] = {-1, -1};
    *result = (mla_child_result){.code = -1};
    const pid_t parent = getpid();
    mla_status status = open_pipes(context, streams, writers);
    const pid_t child = status ? -1 : fork();
    if (child == 0) become(o, parent, writers);
    for (int i = 0; i < STREAMS; i++)
        if (writers[i] >= 0) close(writers[i]);
    if (!status && child < 0)
        status = mla_fail(context, MLA_ERROR_LIBRARY, "no process for a run: %s", strerror(errno));

    if (child > 0) {
        follow(context, o, child, streams);
        result->code = wait_for(child);
    }

    for (int i = 0; i < STREAMS; i++) close_stream(&streams[i]);
    result->out = streams[OUT].text;
    result->errors = streams[ERRORS].text;
    return status ? status : mla_error_status(context);
}

void mla_child_free(mla_child_result *result) {
    free(result->out);
    free(result->errors);
    *result = (mla_child_result){0};
}
