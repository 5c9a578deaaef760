/* Pictures by gnuplot. The data stands in the script, so that no path of the user's is ever part of a command. */
#ifndef MLA_TRAIN_LOG_GNUPLOT_H
#define MLA_TRAIN_LOG_GNUPLOT_H

#include "autograd/base/context.h"

#include <stdio.h>

/* What writes a script, behind its "set term" line. */
typedef struct {
    mla_status (*write)(mla_context *context, FILE *script, const void *user);
    const void *user;
} mla_gnuplot_script;

/* A text in single quotes, and " 0.5" or " NaN". */
void mla_gnuplot_quoted(FILE *script, const char *text);
void mla_gnuplot_value(FILE *script, double value);

/* What is drawn, from the first to the last x, from the least to the most y. Begins as {0}. */
typedef struct {
    int64_t points;
    double first, last, least, most;
} mla_gnuplot_extent;
/* Adds a point; false where it has a coordinate that is not finite. */
bool mla_gnuplot_extend(mla_gnuplot_extent *extent, double x, double y);
/* Sets a range where there would be none, of which gnuplot warns. */
void mla_gnuplot_flat_ranges(FILE *script, const mla_gnuplot_extent *extent);

/* Draws to a descriptor. The writer's errors; MLA_ERROR_LIBRARY if gnuplot is missing (names the package) or fails. */
mla_status mla_gnuplot_draw(mla_context *context, const mla_gnuplot_script *script, const char *terminal, int out);
/* The same into the file at `path`, wholly or not at all, of a size as "1200,750". MLA_ERROR_ARGUMENT for one that is
 * not named .png or .svg. */
mla_status mla_gnuplot_picture(mla_context *context, const mla_gnuplot_script *script, const char *size,
                               const char *path);

/* For a page that is black: the border, the grid and the texts are light. Before "plot". */
void mla_gnuplot_dark(FILE *script);

/* A picture in memory; free(bytes), also after an error. */
typedef struct {
    char *bytes;
    int64_t length;
} mla_picture_bytes;

/* The same as SVG in memory. */
mla_status mla_gnuplot_svg(mla_context *context, const mla_gnuplot_script *script, mla_picture_bytes *out);

#endif
