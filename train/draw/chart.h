/* Charts: axes, linear or logarithmic, and what is drawn between them. */
#ifndef MLA_TRAIN_DRAW_CHART_H
#define MLA_TRAIN_DRAW_CHART_H

#include "train/draw/canvas.h"

typedef struct {
    const char *title;
    double first, last; /* last > first; logarithmic: both above 0 */
    bool logarithmic;
    void (*text)(double value, size_t size, char *out); /* of a tick; NULL: as it is */
    bool whole;                                         /* ticks are whole numbers */
    bool none;                                          /* there are none */
} mla_axis;

typedef struct {
    const char *title;
    mla_rect area; /* between the axes; their ticks and titles are outside: 78 to the left, 44 below, 24 above */
    mla_axis x, y;
} mla_chart;

void mla_chart_draw(mla_canvas *canvas, const mla_chart *chart);

/* Where a value is; outside of the area where it lies outside of the axis. */
double mla_chart_x(const mla_chart *chart, double value);
double mla_chart_y(const mla_chart *chart, double value);

/* A curve, cut off at the edges of the area. */
void mla_chart_curve(mla_canvas *canvas, const mla_chart *chart, int64_t count, const double *x, const double *y,
                     mla_stroke stroke);

#endif
