#include "train/compare/schedule.h"
#include "autograd/base/clock.h"
#include "train/log/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the best rates ---- */

static mla_status all_diverged(const mla_comparison *c, int arm) {
    return mla_fail(c->context, MLA_ERROR_NUMERIC,
                    "%s diverges at every learning rate from %g to %g: give lower ones, --lr", c->arms.of[arm].name,
                    c->rates[0], c->rates[c->rate_count - 1]);
}

/* Of equal losses, the lower rate. */
static mla_status choose_rate(mla_comparison *c, int arm) {
    const mla_trial_result *sweep = c->sweep[arm];
    int best = -1;
    c->best[arm] = -1;
    for (int k = 0; k < c->rate_count; k++) {
        if (!sweep[k].done) return MLA_OK;
        if (!sweep[k].diverged && (best < 0 || sweep[k].held_out_loss < sweep[best].held_out_loss)) best = k;
    }
    c->best[arm] = best;
    return best < 0 ? all_diverged(c, arm) : MLA_OK;
}

mla_status mla_schedule_choose(mla_comparison *c) {
    mla_status status = MLA_OK;
    for (int arm = 0; arm < c->arms.count && !status; arm++) status = choose_rate(c, arm);
    for (int i = 0; i < mla_comparison_count(c) && !status; i++) {
        const mla_trial trial = mla_comparison_trial(c, i);
        mla_trial_result *result = mla_comparison_result(c, i);
        if (!result->done && mla_comparison_is_ready(c, i)) status = mla_trial_read(c->context, &trial, result);
    }
    return status;
}

/* ---- what is said on the way ---- */

typedef struct {
    mla_comparison *c;
    mla_status (*after)(mla_comparison *c);
    double begin;
    int made;                /* runs by this process */
    int waited;              /* times that it has waited for others */
    char *warned;            /* what the last run warned of */
    bool *left_alone, *ours; /* (count): another process is at it; it is this process's */
} scheduler;

static int count_done(mla_comparison *c) {
    int done = 0;
    for (int i = 0; i < mla_comparison_count(c); i++) done += mla_comparison_result(c, i)->done;
    return done;
}

static int count_ours_left(const scheduler *s) {
    int left = 0;
    for (int i = 0; i < mla_comparison_count(s->c); i++) left += s->ours[i] && !mla_comparison_result(s->c, i)->done;
    return left;
}

static void say_begin(const scheduler *s, const mla_trial *trial) {
    char name[MLA_ARM_NAME + 80];
    if (!s->c->o->progress) return;
    mla_trial_name(trial, sizeof name, name);
    fprintf(s->c->o->progress, "run %d of %d: %s\n", count_done(s->c) + 1, mla_comparison_count(s->c), name);
    fflush(s->c->o->progress);
}

static void say_end(const scheduler *s, const mla_trial_result *r, double seconds) {
    char took[32], left[32];
    FILE *out = s->c->o->progress;
    if (!out) return;
    mla_duration_text(seconds, sizeof took, took);
    mla_duration_text((mla_seconds() - s->begin) / s->made * count_ours_left(s), sizeof left, left);
    if (r->diverged) fprintf(out, "    diverged after %lld steps, %s", (long long)r->step, took);
    else fprintf(out, "    held-out loss %.4f, %s", r->held_out_loss, took);
    fprintf(out, count_ours_left(s) ? "; about %s left\n" : "\n", left);
    fflush(out);
}

/* ---- one after the other ---- */

static bool is_ours(const mla_compare_options *o, int i) { return !o->parts || i % o->parts == o->part - 1; }

static int next_run(const scheduler *s) {
    for (int i = 0; i < mla_comparison_count(s->c); i++)
        if (s->ours[i] && !s->left_alone[i] && !mla_comparison_result(s->c, i)->done &&
            mla_comparison_is_ready(s->c, i))
            return i;
    return -1;
}

static mla_status make_run(scheduler *s, int i) {
    mla_comparison *c = s->c;
    const mla_trial trial = mla_comparison_trial(c, i);
    const mla_trial_options options = {
        .held_out = &c->mix.parts[0].data.held_out, .stop = c->o->stop, .warned = &s->warned};
    const double begin = mla_seconds();
    mla_trial_result result;
    mla_status status = mla_trial_is_busy(c->context, &trial, &s->left_alone[i]);
    if (!status) status = mla_trial_read(c->context, &trial, &result); /* another process may have made it by now */
    if (!status && result.done) return *mla_comparison_result(c, i) = result, MLA_OK;
    if (status || s->left_alone[i]) return status;
    say_begin(s, &trial);
    status = mla_trial_run(c->context, &trial, &options, &result);
    if (status) return status;
    *mla_comparison_result(c, i) = result;
    s->made++;
    say_end(s, &result, mla_seconds() - begin);
    return s->after(c);
}

static bool asked_to_stop(const mla_comparison *c) { return c->o->stop && *c->o->stop; }

enum { MOST_WAITS = 40 };

/* A run of a process that was killed is still saved by its own, which takes a moment: true where there is one to be
 * looked at again. */
static bool wait_for_others(scheduler *s) {
    const int count = mla_comparison_count(s->c);
    bool some = false;
    for (int i = 0; i < count; i++) some |= s->left_alone[i];
    if (!some || s->c->o->parts || s->waited++ >= MOST_WAITS) return false;
    usleep(250000);
    memset(s->left_alone, 0, (size_t)count * sizeof *s->left_alone);
    return true;
}

static mla_status make_runs(scheduler *s) {
    mla_comparison *c = s->c;
    mla_status status = mla_schedule_choose(c);
    for (int i; !status && ((i = next_run(s)) >= 0 || wait_for_others(s));) {
        if (asked_to_stop(c))
            return mla_fail(c->context, MLA_ERROR_STOPPED,
                            "stopped between two runs, %d of %d are done; the same command goes on", count_done(c),
                            mla_comparison_count(c));
        if (i >= 0) status = make_run(s, i);
        if (!status) status = mla_schedule_choose(c);
    }
    return status;
}

mla_status mla_schedule_run(mla_comparison *c, mla_status (*after)(mla_comparison *comparison), int *left) {
    const int count = mla_comparison_count(c);
    scheduler s = {.c = c,
                   .after = after,
                   .begin = mla_seconds(),
                   .left_alone = mla_alloc(c->context, count, sizeof(bool), "the runs"),
                   .ours = mla_alloc(c->context, count, sizeof(bool), "the runs")};
    mla_status status = s.left_alone && s.ours ? MLA_OK : MLA_ERROR_MEMORY;
    for (int i = 0; i < count && !status; i++) s.ours[i] = is_ours(c->o, i);
    if (!status) status = make_runs(&s);
    if (!status) *left = count - count_done(c);
    free(s.warned);
    free(s.left_alone);
    free(s.ours);
    return status;
}
