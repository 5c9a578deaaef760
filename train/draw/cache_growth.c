/* The cache of a model as texts grow, beside those of other attentions of the same heads: bytes over tokens up to the
 * length that was asked for, and on to what fills the machine's memory. */
#include "autograd/base/memory.h"
#include "train/draw/chart.h"
#include "train/draw/counterparts.h"
#include "train/draw/figures.h"
#include "train/draw/picture.h"
#include "train/log/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- figures */

static json_t *describe_line(const mla_counterpart *c, int64_t tokens, int64_t of_mha, int64_t memory) {
    const int64_t bytes = mla_kv_cache_bytes_per_token(&c->config, MLA_F32);
    json_t *line = json_object();
    mla_figure_set_text(line, "name", c->name);
    json_object_set_new(line, "this_model", json_boolean(c->own));
    mla_figure_set_integer(line, "bytes_per_token", bytes);
    mla_figure_set_number(line, "bytes", (double)bytes * (double)tokens);
    mla_figure_set_number(line, "share_of_mha", (double)bytes / (double)of_mha);
    mla_figure_set_integer(line, "tokens_in_memory", memory / bytes);
    return line;
}

static mla_status cache_figures(const mla_picture_subject *s, const mla_picture_options *o, json_t *out) {
    mla_counterpart all[MLA_MOST_COUNTERPARTS];
    int count = 0;
    const int64_t tokens = o->tokens ? o->tokens : MLA_PICTURE_TOKENS, memory = mla_memory_installed();
    if (!s->config->causal)
        return mla_fail(
            s->context, MLA_ERROR_ARGUMENT,
            "%s: a model with causal: false caches nothing, as its first tokens depend on those that follow", s->name);
    json_t *lines = json_array();
    const mla_status status = mla_counterparts(s->context, s->config, all, &count);
    const int64_t of_mha = status ? 1 : mla_kv_cache_bytes_per_token(&all[0].config, MLA_F32);
    for (int i = 0; i < count && !status; i++)
        json_array_append_new(lines, describe_line(&all[i], tokens, of_mha, memory));
    mla_figure_set_text(out, "precision", mla_dtype_name(MLA_F32)); /* caches are, whatever a model trains in */
    mla_figure_set_integer(out, "tokens", tokens);
    mla_figure_set_integer(out, "max_position_embeddings", s->config->max_position_embeddings);
    mla_figure_set_integer(out, "memory_bytes", memory);
    json_object_set_new(out, "lines", lines);
    return status;
}

/* ---- drawing */

enum { TABLE_TOP = 490, ROW = 26 };

static double cache_height(const json_t *f) {
    return TABLE_TOP + ROW * (double)(mla_figure_count(f, "lines") + 1) + 56;
}

static mla_ink ink_of(const json_t *line) {
    const char *name = mla_json_text_of(line, "name");
    return !strncmp(name, "MHA", 3)   ? MLA_INK_LARGE
           : !strncmp(name, "GQA", 3) ? MLA_INK_ORANGE
           : !strncmp(name, "MQA", 3) ? MLA_INK_VIOLET
                                      : MLA_INK_SMALL;
}

static bool is_own(const json_t *line) { return json_is_true(json_object_get(line, "this_model")); }

static void draw_line(mla_canvas *canvas, const mla_chart *c, const json_t *line, bool dashed) {
    const double bytes = mla_json_number_of(line, "bytes_per_token");
    const double x[] = {c->x.first, c->x.last}, y[] = {x[0] * bytes, x[1] * bytes};
    mla_chart_curve(canvas, c, 2, x, y,
                    (mla_stroke){.ink = ink_of(line), .width = is_own(line) ? 5 : 2, .dashed = dashed});
}

/* Whether one before line i, not the model's own, takes the same bytes. */
static bool covers_another(const json_t *lines, int64_t i) {
    const double bytes = mla_json_number_of(mla_figure_at(lines, i), "bytes_per_token");
    for (int64_t k = 0; k < i; k++) {
        const json_t *other = mla_figure_at(lines, k);
        if (!is_own(other) && mla_json_number_of(other, "bytes_per_token") == bytes) return true;
    }
    return false;
}

/* The model's own first, and thick, so that another one of the same bytes is seen on it; of others, the later one is
 * dashed. */
static void draw_lines(mla_canvas *canvas, const mla_chart *c, const json_t *f) {
    const json_t *lines = mla_figure_list(f, "lines");
    for (int own = 1; own >= 0; own--)
        for (int64_t i = 0; i < mla_figure_count(f, "lines"); i++) {
            const json_t *line = mla_figure_at(lines, i);
            if (is_own(line) == own) draw_line(canvas, c, line, !own && covers_another(lines, i));
        }
}

static double most_bytes(const json_t *f) {
    double most = 0;
    for (int64_t i = 0; i < mla_figure_count(f, "lines"); i++)
        most = fmax(most, mla_json_number_of(mla_figure_at(mla_figure_list(f, "lines"), i), "bytes_per_token"));
    return most;
}

static double least_bytes(const json_t *f) {
    double least = INFINITY;
    for (int64_t i = 0; i < mla_figure_count(f, "lines"); i++)
        least = fmin(least, mla_json_number_of(mla_figure_at(mla_figure_list(f, "lines"), i), "bytes_per_token"));
    return least;
}

static void draw_growth(mla_canvas *canvas, const json_t *f) {
    const double tokens = mla_json_number_of(f, "tokens");
    char title[64], count[32];
    mla_count_text(tokens, sizeof count, count);
    snprintf(title, sizeof title, "Up to %s tokens", count);
    const mla_chart chart = {
        .title = title,
        .area = {96, 110, 400, 310},
        .x = {.title = "tokens", .first = 0, .last = tokens, .text = mla_count_text},
        .y = {.title = "bytes of cache", .first = 0, .last = most_bytes(f) * tokens * 1.05, .text = mla_bytes_text}};
    mla_chart_draw(canvas, &chart);
    draw_lines(canvas, &chart, f);
}

static void draw_memory(mla_canvas *canvas, const mla_chart *c, double memory) {
    const double y = mla_chart_y(c, memory);
    char bytes[32];
    mla_bytes_text(memory, sizeof bytes, bytes);
    mla_canvas_line(canvas, c->area.x, y, c->area.x + c->area.width, y,
                    (mla_stroke){.ink = MLA_INK_BLUE, .width = 2, .dashed = true});
    mla_canvas_print(canvas, c->area.x + 8, y - 8, &(mla_lettering){.size = 12, .ink = MLA_INK_BLUE, .on_paper = true},
                     "memory of this machine: %s", bytes);
}

/* On to where the smallest cache has filled the memory. */
static void draw_beyond(mla_canvas *canvas, const json_t *f) {
    const double tokens = mla_json_number_of(f, "tokens"), memory = mla_json_number_of(f, "memory_bytes");
    const double last = pow(10, ceil(log10(fmax(memory / least_bytes(f), tokens * 10))));
    const mla_chart chart = {.title = "And beyond, to this machine's memory",
                             .area = {644, 110, 400, 310},
                             .x = {"tokens", 100, last, true, mla_count_text, false, false},
                             .y = {"bytes of cache", 100 * least_bytes(f), fmax(memory, most_bytes(f) * tokens) * 4,
                                   true, mla_bytes_text, false, false}};
    const double x = mla_chart_x(&chart, tokens), top = mla_chart_y(&chart, fmax(memory, most_bytes(f) * tokens));
    mla_chart_draw(canvas, &chart);
    mla_canvas_line(canvas, x, top, x, chart.area.y + chart.area.height,
                    (mla_stroke){.ink = MLA_INK_PALE_TEXT, .width = 1, .dashed = true});
    draw_lines(canvas, &chart, f);
    if (memory > 0) draw_memory(canvas, &chart, memory);
}

static const double columns[] = {76, 470, 640, 800, 1030};

static void draw_row(mla_canvas *canvas, double y, const json_t *line) {
    const mla_lettering number = {.anchor = MLA_RIGHT, .bold = is_own(line)};
    const double x[] = {mla_json_number_of(line, "bytes_per_token"), mla_json_number_of(line, "bytes"),
                        mla_json_number_of(line, "share_of_mha"), mla_json_number_of(line, "tokens_in_memory")};
    char bytes[32], count[32];
    mla_bytes_text(x[1], sizeof bytes, bytes);
    mla_count_text(x[3], sizeof count, count);
    mla_canvas_box(canvas, (mla_rect){40, y - 11, 24, 12}, ink_of(line), 1, MLA_INK_NONE);
    mla_canvas_print(canvas, columns[0], y, &(mla_lettering){.bold = is_own(line), .room = 260}, "%s%s",
                     mla_json_text_of(line, "name"), is_own(line) ? "  (this model)" : "");
    mla_canvas_print(canvas, columns[1], y, &number, "%.0f", x[0]);
    mla_canvas_text(canvas, columns[2], y, &number, bytes);
    mla_canvas_print(canvas, columns[3], y, &number, "%.3g %%", 100 * x[2]);
    mla_canvas_text(canvas, columns[4], y, &number, count);
}

static void draw_table(mla_canvas *canvas, const json_t *f) {
    const mla_lettering head = {.size = 12, .anchor = MLA_RIGHT, .ink = MLA_INK_PALE_TEXT};
    char at[64], count[32];
    mla_count_text(mla_json_number_of(f, "tokens"), sizeof count, count);
    snprintf(at, sizeof at, "at %s tokens", count);
    const char *const titles[] = {"bytes per token", at, "of MHA", "tokens that fill the memory"};
    for (int i = 0; i < 4; i++) mla_canvas_text(canvas, columns[i + 1], TABLE_TOP, &head, titles[i]);
    for (int64_t i = 0; i < mla_figure_count(f, "lines"); i++)
        draw_row(canvas, TABLE_TOP + ROW * (double)(i + 1), mla_figure_at(mla_figure_list(f, "lines"), i));
}

static void draw_cache(mla_canvas *canvas, const json_t *f) {
    mla_canvas_print(canvas, 40, 38, &(mla_lettering){.size = 20, .bold = true, .room = 1000},
                     "What a text costs in cache: %s", mla_json_text_of(f, "model"));
    mla_canvas_print(canvas, 40, 62, &(mla_lettering){.ink = MLA_INK_PALE_TEXT, .room = 1000},
                     "All layers, %s, one text. The others have the same heads and layers.",
                     mla_json_text_of(f, "precision"));
    draw_growth(canvas, f);
    draw_beyond(canvas, f);
    draw_table(canvas, f);
    mla_canvas_print(
        canvas, 40, mla_canvas_height(canvas) - 20,
        &(mla_lettering){.size = 12, .ink = MLA_INK_PALE_TEXT, .room = 1000},
        "The model itself reads texts of up to %.0f tokens (max_position_embeddings). The memory also holds "
        "the weights.",
        mla_json_number_of(f, "max_position_embeddings"));
}

const mla_picture mla_picture_cache = {.name = "cache",
                                       .summary = "the cache as texts grow, beside MHA's, GQA's and MQA's",
                                       .figures = cache_figures,
                                       .height = cache_height,
                                       .draw = draw_cache};
