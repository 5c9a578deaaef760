#include "train/log/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct mla_progress {
    mla_progress_options options;
    bool terminal;
    double held_out_loss, accuracy, macro_f1; /* the latest; NaN before the first */
    mla_part_losses parts;
    double step_seconds; /* running means; 0 before the first step */
    double speed;
    char line[512];
};

/* ---- words for numbers */

void mla_duration_text(double seconds, size_t size, char *out) {
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(out, size, "?");
        return;
    }
    const long long s = llround(seconds);
    if (s >= 3600) snprintf(out, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else snprintf(out, size, "%lld:%02lld", s / 60, s % 60);
}

/* Three digits and a unit: divided by `base` until it is below it. */
static void scaled_text(double value, double base, const char *const *units, size_t size, char *out) {
    while (value >= base && units[1]) {
        value /= base;
        units++;
    }
    const int decimals = value >= 100 || value == floor(value) ? 0 : value >= 10 ? 1 : 2;
    snprintf(out, size, "%.*f%s", decimals, value, *units);
}

void mla_count_text(double count, size_t size, char *out) {
    static const char *const units[] = {"", "k", "M", "G", "T", NULL};
    scaled_text(count, 1000, units, size, out);
}

void mla_bytes_text(double bytes, size_t size, char *out) {
    static const char *const units[] = {" B", " kB", " MB", " GB", " TB", NULL};
    scaled_text(bytes, 1000, units, size, out);
}

/* ---- the line */

static double running_mean(double mean, double value) { return mean > 0 ? 0.9 * mean + 0.1 * value : value; }

static void progress_append(mla_progress *p, const char *format, ...) {
    const size_t used = strlen(p->line);
    va_list args;
    va_start(args, format);
    vsnprintf(p->line + used, sizeof p->line - used, format, args);
    va_end(args);
}

static void compose(mla_progress *p, const mla_metrics *m) {
    char speed[32], memory[32], left[32];
    mla_count_text(p->speed, sizeof speed, speed);
    mla_bytes_text((double)m->memory, sizeof memory, memory);
    mla_duration_text(p->step_seconds * (double)(p->options.steps - m->step), sizeof left, left);
    p->line[0] = '\0';
    progress_append(p, "step %lld/%lld  loss %.4f", (long long)m->step, (long long)p->options.steps, m->loss);
    if (m->skipped) progress_append(p, " (skipped)");
    if (isfinite(m->divergence)) progress_append(p, "  KL %.4f", m->divergence);
    if (isfinite(p->held_out_loss)) progress_append(p, "  held-out %.4f", p->held_out_loss);
    for (int k = 0; k < p->parts.count && p->parts.count > 1; k++)
        progress_append(p, "%s%.4f%s", k ? " " : " (", p->parts.losses[k], k == p->parts.count - 1 ? ")" : "");
    if (isfinite(p->accuracy)) progress_append(p, "  accuracy %.4f  macro F1 %.4f", p->accuracy, p->macro_f1);
    progress_append(p, "  %s tokens/s", speed);
    if (isfinite(m->share_of_peak)) progress_append(p, "  %.0f %% of peak", 100 * m->share_of_peak);
    progress_append(p, "  %s  ETA %s", memory, left);
}

static int columns(FILE *out) {
    struct winsize window;
    return ioctl(fileno(out), TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
}

/* Cut to the terminal: a line that wraps could not be written over. */
static void rewrite(mla_progress *p) {
    fprintf(p->options.out, "\r%.*s\033[K", columns(p->options.out) - 1, p->line);
    fflush(p->options.out);
}

static bool worth_a_line(const mla_progress *p, const mla_metrics *m) {
    return m->step % p->options.log_every == 0 || m->step == p->options.steps || m->skipped ||
           isfinite(m->held_out_loss);
}

mla_status mla_progress_create(mla_context *context, mla_progress **out, const mla_progress_options *options) {
    *out = mla_alloc(context, 1, sizeof **out, "the progress line");
    if (!*out) return MLA_ERROR_MEMORY;
    **out = (mla_progress){.options = *options,
                           .terminal = isatty(fileno(options->out)) == 1,
                           .held_out_loss = NAN,
                           .accuracy = NAN,
                           .macro_f1 = NAN};
    if ((*out)->options.log_every < 1) (*out)->options.log_every = 1;
    return MLA_OK;
}

void mla_progress_step(mla_progress *progress, const mla_metrics *metrics) {
    progress->step_seconds = running_mean(progress->step_seconds, metrics->seconds);
    progress->speed = running_mean(progress->speed, metrics->tokens_per_second);
    if (isfinite(metrics->held_out_loss)) {
        progress->held_out_loss = metrics->held_out_loss;
        progress->parts = metrics->parts;
    }
    if (isfinite(metrics->accuracy)) progress->accuracy = metrics->accuracy;
    if (isfinite(metrics->macro_f1)) progress->macro_f1 = metrics->macro_f1;
    compose(progress, metrics);
    if (progress->terminal) rewrite(progress);
    else if (worth_a_line(progress, metrics)) fprintf(progress->options.out, "%s\n", progress->line);
}

void mla_progress_note(mla_progress *progress, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (progress->terminal) fputs("\r\033[K", progress->options.out);
    vfprintf(progress->options.out, format, args);
    fputc('\n', progress->options.out);
    va_end(args);
    if (progress->terminal && progress->line[0]) rewrite(progress);
}

void mla_progress_end(mla_progress *progress) {
    if (!progress) return;
    if (progress->terminal && progress->line[0]) fputc('\n', progress->options.out);
    fflush(progress->options.out);
    free(progress);
}
