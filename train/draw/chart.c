#include "train/draw/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Ticks are at 1, 2 or 5 times a power of ten, about as many as there is room for; on a logarithmic axis at powers. */

enum { TICK_EVERY = 80, MOST_TICKS = 32 };

static double share(const mla_axis *a, double value) {
    if (a->logarithmic) return log(value / a->first) / log(a->last / a->first);
    return (value - a->first) / (a->last - a->first);
}

double mla_chart_x(const mla_chart *c, double value) { return c->area.x + c->area.width * share(&c->x, value); }
double mla_chart_y(const mla_chart *c, double value) { return c->area.y + c->area.height * (1 - share(&c->y, value)); }

static double round_step(double step) {
    const double power = pow(10, floor(log10(step))), rest = step / power;
    return power * (rest <= 1 ? 1 : rest <= 2 ? 2 : rest <= 5 ? 5 : 10);
}

static int linear_ticks(const mla_axis *a, double room, double out[MOST_TICKS]) {
    const double apart = round_step((a->last - a->first) / fmax(room / TICK_EVERY, 1));
    const double step = a->whole ? fmax(apart, 1) : apart;
    int count = 0;
    for (double i = ceil(a->first / step - 1e-9); i * step <= a->last + step * 1e-9 && count < MOST_TICKS; i++)
        out[count++] = i * step + 0.0; /* not -0 */
    return count;
}

/* Powers of ten; where they are few, 2 and 5 times them too. */
static int power_ticks(const mla_axis *a, double room, double out[MOST_TICKS]) {
    const double decades = log10(a->last / a->first), most = fmax(room / TICK_EVERY, 1);
    const int apart = (int)fmax(ceil(decades / most), 1);
    const double between[] = {1, 2, 5};
    int count = 0;
    for (int power = (int)floor(log10(a->first)); power <= (int)ceil(log10(a->last)); power++)
        for (int i = 0; i < (decades * 3 <= most ? 3 : 1); i++) {
            const double value = between[i] * pow(10, power), slack = 1 + 1e-9;
            if (power % apart == 0 && value * slack >= a->first && value <= a->last * slack && count < MOST_TICKS)
                out[count++] = value;
        }
    return count;
}

static int ticks(const mla_axis *a, double room, double out[MOST_TICKS]) {
    if (a->none) return 0;
    return (a->logarithmic ? power_ticks : linear_ticks)(a, room, out);
}

static void tick_text(const mla_axis *a, double value, size_t size, char *out) {
    if (a->text) a->text(value, size, out);
    else snprintf(out, size, "%g", value);
}

static void draw_x(mla_canvas *canvas, const mla_chart *c) {
    const mla_rect r = c->area;
    const mla_lettering small = {.size = 12, .anchor = MLA_MIDDLE, .ink = MLA_INK_PALE_TEXT};
    double at[MOST_TICKS];
    const int count = ticks(&c->x, r.width, at);
    for (int i = 0; i < count; i++) {
        char text[32];
        const double x = mla_chart_x(c, at[i]);
        tick_text(&c->x, at[i], sizeof text, text);
        mla_canvas_line(canvas, x, r.y, x, r.y + r.height, (mla_stroke){.ink = MLA_INK_GRID, .width = 1});
        mla_canvas_text(canvas, x, r.y + r.height + 16, &small, text);
    }
    mla_canvas_text(canvas, r.x + r.width / 2, r.y + r.height + 36, &small, c->x.title);
}

static void draw_y(mla_canvas *canvas, const mla_chart *c) {
    const mla_rect r = c->area;
    const mla_lettering small = {.size = 12, .anchor = MLA_RIGHT, .ink = MLA_INK_PALE_TEXT};
    const mla_lettering title = {.size = 12, .anchor = MLA_MIDDLE, .ink = MLA_INK_PALE_TEXT};
    double at[MOST_TICKS];
    const int count = ticks(&c->y, r.height * 1.6, at);
    for (int i = 0; i < count; i++) {
        char text[32];
        const double y = mla_chart_y(c, at[i]);
        tick_text(&c->y, at[i], sizeof text, text);
        mla_canvas_line(canvas, r.x, y, r.x + r.width, y, (mla_stroke){.ink = MLA_INK_GRID, .width = 1});
        mla_canvas_text(canvas, r.x - 8, y + 4, &small, text);
    }
    mla_canvas_text_upwards(canvas, r.x - 66, r.y + r.height / 2, &title, c->y.title);
}

void mla_chart_draw(mla_canvas *canvas, const mla_chart *c) {
    draw_x(canvas, c);
    draw_y(canvas, c);
    mla_canvas_box(canvas, c->area, MLA_INK_NONE, 0, MLA_INK_PALE_TEXT);
    mla_canvas_text(canvas, c->area.x, c->area.y - 10,
                    &(mla_lettering){.size = 14, .bold = true, .room = c->area.width}, c->title);
}

void mla_chart_curve(mla_canvas *canvas, const mla_chart *c, int64_t count, const double *x, const double *y,
                     mla_stroke stroke) {
    const mla_rect r = c->area;
    for (int64_t i = 0; i + 1 < count; i++) {
        double from[2] = {mla_chart_x(c, x[i]), mla_chart_y(c, y[i])};
        double to[2] = {mla_chart_x(c, x[i + 1]), mla_chart_y(c, y[i + 1])};
        const double top = r.y, bottom = r.y + r.height, rise = to[1] - from[1], run = to[0] - from[0];
        double *const ends[] = {from, to};
        if (!isfinite(rise) || fmax(from[1], to[1]) < top || fmin(from[1], to[1]) > bottom) continue;
        for (int k = 0; k < 2; k++) {
            const double y_there = fmin(fmax(ends[k][1], top), bottom);
            if (rise != 0) ends[k][0] += (y_there - ends[k][1]) / rise * run;
            ends[k][1] = y_there;
        }
        mla_canvas_line(canvas, from[0], from[1], to[0], to[1], stroke);
    }
}
