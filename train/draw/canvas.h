/* A canvas for pictures: shapes and text on cairo, as SVG or PNG, in a light or a dark theme. The only place that knows
 * cairo. Units are pixels from the upper left corner; a PNG has twice as many, so that it is sharp.
 *
 * Nothing here returns an error: the first one (memory, cairo's) comes out of mla_canvas_finish. */
#ifndef MLA_TRAIN_DRAW_CANVAS_H
#define MLA_TRAIN_DRAW_CANVAS_H

#include "autograd/base/context.h"

typedef struct mla_canvas mla_canvas;

typedef enum { MLA_CANVAS_SVG, MLA_CANVAS_PNG } mla_canvas_format;
typedef enum { MLA_THEME_LIGHT, MLA_THEME_DARK } mla_theme;
extern const char *const mla_theme_names[]; /* end with NULL */

/* Colours by what they are for; each theme has its own. LARGE and SMALL are those of caches: red and green. */
typedef enum {
    MLA_INK_NONE,
    MLA_INK_PAPER,
    MLA_INK_TEXT,
    MLA_INK_PALE_TEXT,
    MLA_INK_GRID,
    MLA_INK_PANEL,
    MLA_INK_LARGE,
    MLA_INK_SMALL,
    MLA_INK_ORANGE,
    MLA_INK_VIOLET,
    MLA_INK_BLUE
} mla_ink;

typedef enum { MLA_LEFT, MLA_MIDDLE, MLA_RIGHT } mla_anchor;

typedef struct {
    double x, y, width, height;
} mla_rect;

typedef struct {
    mla_ink ink;
    double width; /* 0: 1 */
    bool dashed;
    double strength; /* how much of the ink's colour there is in the paper's; 0: all */
} mla_stroke;

typedef struct {
    double size; /* of the letters; 0: 13 */
    mla_anchor anchor;
    mla_ink ink; /* NONE: TEXT */
    bool bold;
    double room;   /* a longer text ends in an ellipsis; 0: no limit */
    bool on_paper; /* what is under it is covered */
} mla_lettering;

/* Begins with paper all over. The caller destroys it. Only error: MLA_ERROR_MEMORY. */
mla_status mla_canvas_create(mla_context *context, mla_canvas **out, double width, double height,
                             mla_canvas_format format, mla_theme theme);
void mla_canvas_destroy(mla_canvas *canvas);

double mla_canvas_width(const mla_canvas *canvas);
double mla_canvas_height(const mla_canvas *canvas);

/* The points of a path, open; NaN breaks it. */
void mla_canvas_path(mla_canvas *canvas, int64_t count, const double *x, const double *y, mla_stroke stroke);
void mla_canvas_line(mla_canvas *canvas, double x1, double y1, double x2, double y2, mla_stroke stroke);
/* A line with a head at its end. */
void mla_canvas_arrow(mla_canvas *canvas, double x1, double y1, double x2, double y2, mla_stroke stroke);
void mla_canvas_dot(mla_canvas *canvas, double x, double y, double radius, mla_ink ink);
/* fill and edge: NONE is none. strength: 0 to 1, how much of the fill's colour there is in the paper's. */
void mla_canvas_box(mla_canvas *canvas, mla_rect rect, mla_ink fill, double strength, mla_ink edge);
/* A grid of (rows,columns) cells, strengths of one ink, NaN: the panel's colour. */
void mla_canvas_cells(mla_canvas *canvas, mla_rect rect, int64_t rows, int64_t columns, const double *strengths,
                      mla_ink ink);

/* UTF-8; y is the baseline. Bytes that are no characters become U+FFFD, control characters spaces. */
void mla_canvas_text(mla_canvas *canvas, double x, double y, const mla_lettering *lettering, const char *text);
void mla_canvas_print(mla_canvas *canvas, double x, double y, const mla_lettering *lettering, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* In lines of the lettering's room, broken between words; returns the baseline of the line below the last. */
double mla_canvas_paragraph(mla_canvas *canvas, double x, double y, const mla_lettering *lettering, const char *text);
/* Turned by a quarter, to be read from the right. */
void mla_canvas_text_upwards(mla_canvas *canvas, double x, double y, const mla_lettering *lettering, const char *text);
double mla_canvas_text_width(mla_canvas *canvas, const mla_lettering *lettering, const char *text);

/* The picture as a file's bytes; free() them. Nothing can be drawn after it. MLA_ERROR_MEMORY, MLA_ERROR_LIBRARY. */
mla_status mla_canvas_finish(mla_canvas *canvas, char **bytes, int64_t *length);

#endif
