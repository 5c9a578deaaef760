#include "train/log/gnuplot.h"
#include "autograd/base/atomic_file.h"
#include "autograd/base/file.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* In gnuplot's single quotes only the quote is special. */
void mla_gnuplot_quoted(FILE *script, const char *text) {
    fputc('\'', script);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', script);
        fputc((unsigned char)*text < ' ' ? '?' : *text, script);
    }
    fputc('\'', script);
}

void mla_gnuplot_value(FILE *script, double value) {
    if (isfinite(value)) fprintf(script, " %.9g", value);
    else fputs(" NaN", script);
}

bool mla_gnuplot_extend(mla_gnuplot_extent *e, double x, double y) {
    if (!isfinite(x) || !isfinite(y)) return false;
    if (!e->points++) *e = (mla_gnuplot_extent){1, x, x, y, y};
    e->first = fmin(e->first, x);
    e->last = fmax(e->last, x);
    e->least = fmin(e->least, y);
    e->most = fmax(e->most, y);
    return true;
}

static void write_flat_range(FILE *script, char axis, double value) {
    const double room = 0.1 * fabs(value) + 1e-9;
    fprintf(script, "set %crange [%.9g:%.9g]\n", axis, value - room, value + room);
}

void mla_gnuplot_flat_ranges(FILE *script, const mla_gnuplot_extent *e) {
    if (e->points && e->first == e->last) write_flat_range(script, 'x', e->first);
    if (e->points && e->least == e->most) write_flat_range(script, 'y', e->least);
}

static mla_status run_gnuplot(mla_context *context, const char *script, int out) {
    char *words[] = {"gnuplot", (char *)script, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int result;
    if (posix_spawn_file_actions_init(&actions)) return mla_fail(context, MLA_ERROR_MEMORY, "no memory for gnuplot");
    int error = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (!error) error = posix_spawnp(&child, "gnuplot", &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error == ENOENT)
        return mla_fail(context, MLA_ERROR_LIBRARY,
                        "gnuplot is not installed; it is in Debian's package gnuplot-nox (apt install gnuplot-nox)");
    if (error) return mla_fail(context, MLA_ERROR_LIBRARY, "cannot run gnuplot: %s", strerror(error));
    while (waitpid(child, &result, 0) < 0)
        if (errno != EINTR) return mla_fail(context, MLA_ERROR_LIBRARY, "lost gnuplot: %s", strerror(errno));
    if (WIFEXITED(result) && WEXITSTATUS(result) == 0) return MLA_OK;
    return mla_fail(context, MLA_ERROR_LIBRARY, "gnuplot failed; its own message is above");
}

/* Writes the script to a temporary file and runs it. */
mla_status mla_gnuplot_draw(mla_context *context, const mla_gnuplot_script *script, const char *terminal, int out) {
    const char *wanted = getenv("TMPDIR"), *folder = wanted && *wanted ? wanted : "/tmp";
    char path[4096];
    if (snprintf(path, sizeof path, "%s/mla-plot-XXXXXX", folder) >= (int)sizeof path)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s (TMPDIR) is too long", folder);
    const int descriptor = mkstemp(path);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    if (!file) return mla_fail(context, MLA_ERROR_IO, "cannot write to %s: %s", folder, strerror(errno));
    fprintf(file, "%s\n", terminal);
    mla_status status = script->write(context, file, script->user);
    const bool torn = ferror(file);
    if ((fclose(file) || torn) && !status)
        status = mla_fail(context, MLA_ERROR_IO, "cannot write %s: %s", path, strerror(errno));
    if (!status) status = run_gnuplot(context, path, out);
    unlink(path);
    return status;
}

static const char *terminal_of(const char *path) {
    if (mla_ends_with(path, ".svg")) return "set term svg size ";
    return mla_ends_with(path, ".png") ? "set term pngcairo size " : NULL;
}

/* gnuplot writes the picture to its standard output, that is to the temporary file. */
mla_status mla_gnuplot_picture(mla_context *context, const mla_gnuplot_script *script, const char *size,
                               const char *path) {
    char temporary[4096], terminal[64];
    if (!terminal_of(path))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%s: pictures are drawn into files named .png or .svg", path);
    snprintf(terminal, sizeof terminal, "%s%s", terminal_of(path), size);
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "the path %s is too long", path);
    FILE *file = fopen(temporary, "wb");
    if (!file) return mla_fail(context, MLA_ERROR_IO, "cannot write %s: %s", temporary, strerror(errno));
    mla_status status = mla_gnuplot_draw(context, script, terminal, fileno(file));
    const bool empty = lseek(fileno(file), 0, SEEK_END) <= 0;
    if (fclose(file) && !status) status = mla_fail(context, MLA_ERROR_IO, "cannot write %s", temporary);
    if (!status && empty) status = mla_fail(context, MLA_ERROR_LIBRARY, "gnuplot drew nothing into %s", path);
    if (!status) status = mla_replace(context, temporary, path, (mla_step_hook){0});
    if (status) unlink(temporary);
    return status;
}

void mla_gnuplot_dark(FILE *script) {
    fputs("set border lc rgb '#9a9a9a'\nset grid lc rgb '#4a4a4a'\nset title tc rgb '#e0e0e0'\n"
          "set xlabel tc rgb '#e0e0e0'\nset ylabel tc rgb '#e0e0e0'\nset tics tc rgb '#e0e0e0'\n"
          "set key tc rgb '#e0e0e0'\n",
          script);
}

mla_status mla_gnuplot_svg(mla_context *context, const mla_gnuplot_script *script, mla_picture_bytes *out) {
    int file;
    mla_status status = mla_file_nameless(context, &file);
    if (status) return status;
    status = mla_gnuplot_draw(context, script, "set term svg size 720,420 font 'sans-serif,13' noenhanced", file);
    const off_t length = lseek(file, 0, SEEK_END);
    if (!status && !(out->bytes = mla_alloc(context, length + 1, 1, "a picture"))) status = MLA_ERROR_MEMORY;
    if (!status && (out->length = pread(file, out->bytes, (size_t)length, 0)) != length)
        status = mla_fail(context, MLA_ERROR_IO, "cannot read a picture that was just drawn");
    close(file);
    return status;
}
