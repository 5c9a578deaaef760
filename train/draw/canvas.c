#include "train/draw/canvas.h"
#include "autograd/base/utf8.h"

#include <cairo-svg.h>
#include <cairo.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* First inks, then the surface and its bytes, then shapes, then text. */

enum { PNG_SCALE = 2, LONGEST_TEXT = 4096 };

struct mla_canvas {
    mla_context *context;
    double width, height;
    mla_canvas_format format;
    mla_theme theme;
    cairo_surface_t *surface;
    cairo_t *cairo;
    char *bytes;
    int64_t length, capacity;
};

const char *const mla_theme_names[] = {"light", "dark", NULL};

static const uint32_t colours[][2] = {
    [MLA_INK_PAPER] = {0xffffff, 0x0d1117},     [MLA_INK_TEXT] = {0x1f2328, 0xe6edf3},
    [MLA_INK_PALE_TEXT] = {0x59636e, 0x9198a1}, [MLA_INK_GRID] = {0xd1d9e0, 0x30363d},
    [MLA_INK_PANEL] = {0xf6f8fa, 0x161b22},     [MLA_INK_LARGE] = {0xcf222e, 0xff7b72},
    [MLA_INK_SMALL] = {0x1a7f37, 0x56d364},     [MLA_INK_ORANGE] = {0xbc4c00, 0xffa657},
    [MLA_INK_VIOLET] = {0x8250df, 0xd2a8ff},    [MLA_INK_BLUE] = {0x0969da, 0x79c0ff},
};

/* ---- inks */

/* The parts of an ink's colour, mixed with the paper's by its strength. */
static void mix(const mla_canvas *c, mla_ink ink, double strength, double rgb[3]) {
    const uint32_t paper = colours[MLA_INK_PAPER][c->theme], colour = colours[ink][c->theme];
    for (int i = 0; i < 3; i++) {
        const int shift = 16 - 8 * i;
        const double from = (paper >> shift) & 255, to = (colour >> shift) & 255;
        rgb[i] = (from + (to - from) * strength) / 255;
    }
}

static void set_ink(mla_canvas *c, mla_ink ink, double strength) {
    double rgb[3];
    mix(c, ink, strength, rgb);
    cairo_set_source_rgb(c->cairo, rgb[0], rgb[1], rgb[2]);
}

/* ---- the surface */

static cairo_status_t append(void *user, const unsigned char *data, unsigned int length) {
    mla_canvas *c = user;
    if (mla_grow(c->context, &c->bytes, &c->capacity, c->length + length, 1, "a picture"))
        return CAIRO_STATUS_NO_MEMORY;
    memcpy(c->bytes + c->length, data, length);
    c->length += length;
    return CAIRO_STATUS_SUCCESS;
}

mla_status mla_canvas_create(mla_context *context, mla_canvas **out, double width, double height,
                             mla_canvas_format format, mla_theme theme) {
    mla_canvas *c = *out = mla_alloc(context, 1, sizeof *c, "a picture");
    if (!c) return MLA_ERROR_MEMORY;
    *c = (mla_canvas){.context = context, .width = width, .height = height, .format = format, .theme = theme};
    c->surface = format == MLA_CANVAS_SVG ? cairo_svg_surface_create_for_stream(append, c, width, height)
                                          : cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(width * PNG_SCALE),
                                                                       (int)ceil(height * PNG_SCALE));
    c->cairo = cairo_create(c->surface);
    if (format == MLA_CANVAS_PNG) cairo_scale(c->cairo, PNG_SCALE, PNG_SCALE);
    else cairo_svg_surface_set_document_unit(c->surface, CAIRO_SVG_UNIT_PX);
    set_ink(c, MLA_INK_PAPER, 1);
    cairo_paint(c->cairo);
    return MLA_OK;
}

void mla_canvas_destroy(mla_canvas *c) {
    if (!c) return;
    cairo_destroy(c->cairo);
    cairo_surface_destroy(c->surface);
    free(c->bytes);
    free(c);
}

double mla_canvas_width(const mla_canvas *c) { return c->width; }
double mla_canvas_height(const mla_canvas *c) { return c->height; }

mla_status mla_canvas_finish(mla_canvas *c, char **bytes, int64_t *length) {
    cairo_status_t status = cairo_status(c->cairo);
    *bytes = NULL;
    if (!status && c->format == MLA_CANVAS_PNG) status = cairo_surface_write_to_png_stream(c->surface, append, c);
    cairo_surface_finish(c->surface);
    if (!status) status = cairo_surface_status(c->surface);
    if (mla_error_status(c->context)) return mla_error_status(c->context);
    if (status == CAIRO_STATUS_NO_MEMORY) return mla_fail(c->context, MLA_ERROR_MEMORY, "no memory for a picture");
    if (status) return mla_fail(c->context, MLA_ERROR_LIBRARY, "cairo: %s", cairo_status_to_string(status));
    *bytes = c->bytes;
    *length = c->length;
    c->bytes = NULL;
    return MLA_OK;
}

/* ---- shapes */

static void stroke_path(mla_canvas *c, mla_stroke stroke) {
    const double dashes[] = {5, 4};
    set_ink(c, stroke.ink, stroke.strength > 0 ? stroke.strength : 1);
    cairo_set_line_width(c->cairo, stroke.width > 0 ? stroke.width : 1);
    cairo_set_line_join(c->cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_set_dash(c->cairo, dashes, stroke.dashed ? 2 : 0, 0);
    cairo_stroke(c->cairo);
}

void mla_canvas_path(mla_canvas *c, int64_t count, const double *x, const double *y, mla_stroke stroke) {
    bool begun = false;
    for (int64_t i = 0; i < count; i++) {
        const bool is_point = isfinite(x[i]) && isfinite(y[i]);
        if (is_point) (begun ? cairo_line_to : cairo_move_to)(c->cairo, x[i], y[i]);
        begun = is_point;
    }
    stroke_path(c, stroke);
}

void mla_canvas_line(mla_canvas *c, double x1, double y1, double x2, double y2, mla_stroke stroke) {
    mla_canvas_path(c, 2, (double[]){x1, x2}, (double[]){y1, y2}, stroke);
}

void mla_canvas_arrow(mla_canvas *c, double x1, double y1, double x2, double y2, mla_stroke stroke) {
    const double angle = atan2(y2 - y1, x2 - x1), head = 8, spread = 0.45;
    mla_canvas_line(c, x1, y1, x2 - cos(angle) * head / 2, y2 - sin(angle) * head / 2, stroke);
    set_ink(c, stroke.ink, 1);
    cairo_move_to(c->cairo, x2, y2);
    cairo_line_to(c->cairo, x2 - head * cos(angle - spread), y2 - head * sin(angle - spread));
    cairo_line_to(c->cairo, x2 - head * cos(angle + spread), y2 - head * sin(angle + spread));
    cairo_fill(c->cairo);
}

void mla_canvas_dot(mla_canvas *c, double x, double y, double radius, mla_ink ink) {
    set_ink(c, ink, 1);
    cairo_arc(c->cairo, x, y, radius, 0, 2 * M_PI);
    cairo_fill(c->cairo);
}

void mla_canvas_box(mla_canvas *c, mla_rect r, mla_ink fill, double strength, mla_ink edge) {
    cairo_rectangle(c->cairo, r.x, r.y, r.width, r.height);
    if (fill) {
        set_ink(c, fill, strength);
        cairo_fill_preserve(c->cairo);
    }
    if (edge) stroke_path(c, (mla_stroke){.ink = edge});
    cairo_new_path(c->cairo);
}

/* A grid has about so many pixels: several a cell, so that a viewer that smooths pictures leaves the cells apart. */
enum { GRID_PIXELS = 768 };

static void fill_cell(unsigned char *pixels, int stride, int64_t row, int64_t column, int side, const double rgb[3]) {
    const uint32_t value = ((uint32_t)(rgb[0] * 255 + 0.5) << 16) | ((uint32_t)(rgb[1] * 255 + 0.5) << 8) |
                           (uint32_t)(rgb[2] * 255 + 0.5);
    for (int64_t y = row * side; y < (row + 1) * side; y++)
        for (int64_t x = column * side; x < (column + 1) * side; x++)
            memcpy(pixels + y * stride + x * (int64_t)sizeof value, &value, sizeof value);
}

void mla_canvas_cells(mla_canvas *c, mla_rect r, int64_t rows, int64_t columns, const double *strengths, mla_ink ink) {
    const int64_t most = rows > columns ? rows : columns;
    const int side = most < GRID_PIXELS ? (int)(GRID_PIXELS / most) : 1;
    const int width = (int)columns * side, height = (int)rows * side;
    cairo_surface_t *image = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    unsigned char *pixels = cairo_image_surface_get_data(image);
    for (int64_t i = 0; pixels && i < rows * columns; i++) {
        double rgb[3];
        mix(c, isnan(strengths[i]) ? MLA_INK_PANEL : ink, isnan(strengths[i]) ? 1 : strengths[i], rgb);
        fill_cell(pixels, cairo_image_surface_get_stride(image), i / columns, i % columns, side, rgb);
    }
    cairo_surface_mark_dirty(image);
    cairo_save(c->cairo);
    cairo_translate(c->cairo, r.x, r.y);
    cairo_scale(c->cairo, r.width / width, r.height / height);
    cairo_set_source_surface(c->cairo, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(c->cairo), CAIRO_FILTER_NEAREST);
    cairo_paint(c->cairo);
    cairo_restore(c->cairo);
    cairo_surface_destroy(image);
}

/* ---- text */

static void set_font(mla_canvas *c, const mla_lettering *l) {
    cairo_select_font_face(c->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           l->bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c->cairo, l->size > 0 ? l->size : 13);
}

static double advance(mla_canvas *c, const char *text) {
    cairo_text_extents_t extents;
    cairo_text_extents(c->cairo, text, &extents);
    return extents.x_advance;
}

/* What cairo takes: characters, none of which controls a terminal. */
static void clean(const char *text, char out[LONGEST_TEXT]) {
    const int64_t length = (int64_t)strnlen(text, LONGEST_TEXT / 3 - 1);
    out[mla_utf8_repair(text, length, true, out)] = '\0';
    for (char *at = out; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127) *at = ' ';
}

/* Cuts whole characters off until the text and an ellipsis fit. */
static void cut_to_room(mla_canvas *c, double room, char *text) {
    if (room <= 0 || advance(c, text) <= room) return;
    const double ellipsis = advance(c, "…");
    size_t length = strlen(text);
    while (length && advance(c, text) + ellipsis > room) {
        do length--;
        while (length && ((unsigned char)text[length] & 0xc0) == 0x80);
        text[length] = '\0';
    }
    strcpy(text + length, "…");
}

/* Leaves the text as it will stand in `out`, and returns its width. */
static double prepare(mla_canvas *c, const mla_lettering *l, const char *text, char out[LONGEST_TEXT + 4]) {
    clean(text, out);
    set_font(c, l);
    cut_to_room(c, l->room, out);
    return advance(c, out);
}

void mla_canvas_text(mla_canvas *c, double x, double y, const mla_lettering *l, const char *text) {
    char valid[LONGEST_TEXT + 4];
    const double width = prepare(c, l, text, valid);
    const double left = x - width * (double)l->anchor / 2, size = l->size > 0 ? l->size : 13;
    if (l->on_paper)
        mla_canvas_box(c, (mla_rect){left - 3, y - size, width + 6, size * 1.3}, MLA_INK_PAPER, 1, MLA_INK_NONE);
    set_ink(c, l->ink ? l->ink : MLA_INK_TEXT, 1);
    cairo_move_to(c->cairo, left, y);
    cairo_show_text(c->cairo, valid);
    cairo_new_path(c->cairo);
}

void mla_canvas_print(mla_canvas *c, double x, double y, const mla_lettering *l, const char *format, ...) {
    char text[LONGEST_TEXT];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    mla_canvas_text(c, x, y, l, text);
}

/* How much of a text makes a line: up to the last space that fits, or to the end of the first word. */
static size_t line_length(mla_canvas *c, const mla_lettering *l, const char *text) {
    const mla_lettering whole = {.size = l->size, .bold = l->bold};
    char line[LONGEST_TEXT];
    size_t fits = 0;
    for (size_t end = 0; end < sizeof line && (end == 0 || text[end - 1]); end++) {
        if (text[end] && text[end] != ' ') continue;
        snprintf(line, sizeof line, "%.*s", (int)end, text);
        if (fits && mla_canvas_text_width(c, &whole, line) > l->room) break;
        fits = end;
    }
    return fits;
}

double mla_canvas_paragraph(mla_canvas *c, double x, double y, const mla_lettering *l, const char *text) {
    while (*text) {
        const size_t length = line_length(c, l, text);
        mla_canvas_print(c, x, y, l, "%.*s", (int)length, text);
        y += 1.4 * (l->size > 0 ? l->size : 13);
        for (text += length; *text == ' ';) text++;
        if (!length && *text) break; /* longer than any text here */
    }
    return y;
}

void mla_canvas_text_upwards(mla_canvas *c, double x, double y, const mla_lettering *l, const char *text) {
    cairo_save(c->cairo);
    cairo_translate(c->cairo, x, y);
    cairo_rotate(c->cairo, -M_PI / 2);
    mla_canvas_text(c, 0, 0, l, text);
    cairo_restore(c->cairo);
}

double mla_canvas_text_width(mla_canvas *c, const mla_lettering *l, const char *text) {
    char valid[LONGEST_TEXT + 4];
    return prepare(c, l, text, valid);
}
