/* RoPE: which dimensions of a head turn, and after how many tokens they are where they were. */
#include "layers/attention/attention.h"
#include "layers/parts/rope.h"
#include "train/draw/chart.h"
#include "train/draw/counterparts.h"
#include "train/draw/figures.h"
#include "train/draw/picture.h"
#include "train/log/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- figures */

static mla_rope_options rope_of(const mla_model_config *c) {
    return (mla_rope_options){.rotary = c->attention->rotary(c),
                              .positions = c->max_position_embeddings,
                              .theta = c->rope_theta,
                              .interleaved = c->rope_interleave,
                              .scaling = c->rope_scaling};
}

static double wavelength(const mla_rope_options *o, int64_t i) { return 2 * M_PI / mla_rope_frequency(o, i); }

/* Pair i of a head in which `still` dimensions come first. */
static json_t *describe_pair(const mla_rope_options *o, int64_t still, int64_t i) {
    const int64_t half = o->rotary / 2, a = o->interleaved ? 2 * i : i, b = o->interleaved ? 2 * i + 1 : i + half;
    mla_rope_options plain = *o, longer = *o;
    plain.scaling = (mla_rope_scaling){0};
    longer.scaling.short_factor = o->scaling.long_factor;
    json_t *pair = json_object();
    json_object_set_new(pair, "dimensions", json_pack("[I, I]", (json_int_t)(still + a), (json_int_t)(still + b)));
    mla_figure_set_number(pair, "wavelength", wavelength(o, i));
    mla_figure_set_number(pair, "unscaled", wavelength(&plain, i));
    if (o->scaling.type == MLA_ROPE_SCALING_LONGROPE)
        mla_figure_set_number(pair, "wavelength_in_long_texts", wavelength(&longer, i));
    return pair;
}

static json_t *describe_head(const mla_counterpart *c) {
    const mla_rope_options o = rope_of(&c->config);
    const int64_t still = mla_has_latent(&c->config) ? c->config.attention->head_width(&c->config) : 0;
    json_t *head = json_object(), *pairs = json_array();
    mla_figure_set_text(head, "name", c->name);
    json_object_set_new(head, "this_model", json_boolean(c->own));
    mla_figure_set_integer(head, "still", still);
    mla_figure_set_integer(head, "rotary", o.rotary);
    mla_figure_set_number(head, "amplitude", mla_rope_amplitude(&o.scaling));
    for (int64_t i = 0; i < o.rotary / 2; i++) json_array_append_new(pairs, describe_pair(&o, still, i));
    json_object_set_new(head, "pairs", pairs);
    return head;
}

static mla_status expect_rope(const mla_picture_subject *s) {
    if (s->config->position == MLA_POSITION_ROPE && s->config->attention->rotary(s->config)) return MLA_OK;
    return mla_fail(s->context, MLA_ERROR_ARGUMENT,
                    "%s: its position is %s, so that no dimension turns: it has no RoPE", s->name,
                    mla_position_names[s->config->position]);
}

/* The latent attention, then the multi-head one, of which one is the model's. */
static mla_status rope_figures(const mla_picture_subject *s, const mla_picture_options *o, json_t *out) {
    mla_counterpart all[MLA_MOST_COUNTERPARTS];
    const mla_rope_scaling *scaling = &s->config->rope_scaling;
    json_t *heads = json_array();
    int count = 0, own = 0;
    (void)o;
    json_object_set_new(out, "heads", heads);
    mla_status status = expect_rope(s);
    if (!status) status = mla_counterparts(s->context, s->config, all, &count);
    if (status) return status;
    for (int i = 0; i < count - 1; i++)
        if (all[i].own) own = i;
    json_array_append_new(heads, describe_head(&all[count - 1]));
    if (all[own].config.position == MLA_POSITION_ROPE) json_array_append_new(heads, describe_head(&all[own]));
    mla_figure_set_number(out, "rope_theta", s->config->rope_theta);
    mla_figure_set_text(out, "scaling", mla_rope_scaling_names[scaling->type]);
    mla_figure_set_integer(out, "max_position_embeddings", s->config->max_position_embeddings);
    if (scaling->type) mla_figure_set_number(out, "factor", scaling->factor);
    if (scaling->type && scaling->original_max_position_embeddings)
        mla_figure_set_integer(out, "original_max_position_embeddings", scaling->original_max_position_embeddings);
    return MLA_OK;
}

/* ---- drawing: strips of the heads' dimensions, below them a chart of wavelengths */

enum { STRIPS_TOP = 100, STRIP_EVERY = 96, CHART_HEIGHT = 330 };

static double strips_height(const json_t *f) { return STRIP_EVERY * (double)mla_figure_count(f, "heads"); }
static double rope_height(const json_t *f) { return STRIPS_TOP + strips_height(f) + CHART_HEIGHT + 150; }

static double head_total(const json_t *head) {
    return mla_json_number_of(head, "still") + mla_json_number_of(head, "rotary");
}

static double widest_head(const json_t *f) {
    double most = 1;
    for (int64_t i = 0; i < mla_figure_count(f, "heads"); i++)
        most = fmax(most, head_total(mla_figure_at(mla_figure_list(f, "heads"), i)));
    return most;
}

static mla_ink head_ink(int64_t i) { return i ? MLA_INK_LARGE : MLA_INK_SMALL; }

/* From 1 for the shortest wave of RoPE to 0.15 for waves of a million tokens. */
static double strength_of(double wave) { return fmax(1 - 0.85 * log(wave / 6) / log(1e6 / 6), 0.15); }

static void draw_pairs(mla_canvas *canvas, const json_t *head, double x, double y, double cell, mla_ink ink) {
    const json_t *pairs = mla_figure_list(head, "pairs");
    for (int64_t i = 0; i < mla_figure_count(head, "pairs"); i++) {
        const json_t *pair = mla_figure_at(pairs, i), *dimensions = mla_figure_list(pair, "dimensions");
        for (int k = 0; k < 2; k++) {
            const double at = (double)json_integer_value(mla_figure_at(dimensions, k));
            mla_canvas_box(canvas, (mla_rect){x + at * cell, y, cell > 3 ? cell - 1 : cell, 26}, ink,
                           strength_of(mla_json_number_of(pair, "wavelength")), MLA_INK_NONE);
        }
    }
}

static void draw_head(mla_canvas *canvas, const json_t *f, int64_t i) {
    const json_t *head = mla_figure_at(mla_figure_list(f, "heads"), i);
    const double y = STRIPS_TOP + STRIP_EVERY * (double)i, cell = 1000 / widest_head(f);
    const double still = mla_json_number_of(head, "still"), rotary = mla_json_number_of(head, "rotary");
    const bool own = json_is_true(json_object_get(head, "this_model"));
    mla_canvas_print(canvas, 40, y, &(mla_lettering){.size = 14, .bold = true, .ink = head_ink(i), .room = 1000},
                     "%s%s", mla_json_text_of(head, "name"), own ? ", this model" : "");
    if (still > 0)
        mla_canvas_box(canvas, (mla_rect){40, y + 10, still * cell - 2, 26}, MLA_INK_PALE_TEXT, 0.3, MLA_INK_NONE);
    draw_pairs(canvas, head, 40, y + 10, cell, head_ink(i));
    if (still > 0)
        mla_canvas_print(canvas, 40, y + 54, &(mla_lettering){.room = 1000},
                         "%.0f dimensions of a query or key head stand still: content, by way of the latent. The %.0f "
                         "beside them turn: position.",
                         still, rotary);
    else
        mla_canvas_print(canvas, 40, y + 54, &(mla_lettering){.room = 1000},
                         "All %.0f dimensions of a query or key head turn: content and position are one.", rotary);
}

/* A key of the pairs over the share of the head's pairs before it. */
static void draw_waves(mla_canvas *canvas, const mla_chart *c, const json_t *head, const char *key, mla_stroke stroke) {
    const json_t *pairs = mla_figure_list(head, "pairs");
    const int64_t count = mla_figure_count(head, "pairs");
    double from[2] = {NAN, NAN};
    for (int64_t i = 0; i < count; i++) {
        const double x[] = {from[0], (double)i}, y[] = {from[1], mla_json_number_of(mla_figure_at(pairs, i), key)};
        mla_chart_curve(canvas, c, 2, x, y, stroke);
        if (!stroke.dashed) mla_canvas_dot(canvas, mla_chart_x(c, x[1]), mla_chart_y(c, y[1]), 2.5, stroke.ink);
        from[0] = x[1];
        from[1] = y[1];
    }
}

static double longest_wave(const json_t *f) {
    double most = mla_json_number_of(f, "max_position_embeddings");
    for (int64_t i = 0; i < mla_figure_count(f, "heads"); i++) {
        const json_t *pairs = mla_figure_list(mla_figure_at(mla_figure_list(f, "heads"), i), "pairs");
        for (size_t k = 0; k < json_array_size(pairs); k++) {
            const json_t *pair = mla_figure_at(pairs, (int64_t)k);
            most = fmax(most, fmax(mla_json_number_of(pair, "wavelength"), mla_json_number_of(pair, "unscaled")));
            most = fmax(most, mla_json_number_of(pair, "wavelength_in_long_texts"));
        }
    }
    return most;
}

static double most_pairs(const json_t *f) {
    double most = 2;
    for (int64_t i = 0; i < mla_figure_count(f, "heads"); i++)
        most = fmax(most, (double)mla_figure_count(mla_figure_at(mla_figure_list(f, "heads"), i), "pairs"));
    return most;
}

/* A line across the chart, with its words at its left end, so far below it; above it where that is negative. */
static void draw_level(mla_canvas *canvas, const mla_chart *c, double tokens, mla_ink ink, double below,
                       const char *words) {
    const double y = mla_chart_y(c, tokens);
    if (!isfinite(tokens) || y < c->area.y) return;
    mla_canvas_line(canvas, c->area.x, y, c->area.x + c->area.width, y,
                    (mla_stroke){.ink = ink, .width = 1.5, .dashed = true});
    mla_canvas_print(canvas, c->area.x + 8, y + below, &(mla_lettering){.size = 12, .ink = ink, .on_paper = true},
                     "%s: %.0f tokens", words, tokens);
}

static void draw_chart(mla_canvas *canvas, const json_t *f) {
    const double top = STRIPS_TOP + strips_height(f) + 20;
    const bool scaled = strcmp(mla_json_text_of(f, "scaling"), "none") != 0;
    const mla_chart chart = {.title = "Tokens after which a pair of dimensions has turned once",
                             .area = {110, top, 930, CHART_HEIGHT},
                             .x = {.title = "pair of dimensions", .first = 0, .last = most_pairs(f) - 1, .whole = true},
                             .y = {"wavelength in tokens", 3, longest_wave(f) * 2, true, mla_count_text, false, false}};
    mla_chart_draw(canvas, &chart);
    for (int64_t i = mla_figure_count(f, "heads") - 1; i >= 0; i--) {
        const json_t *head = mla_figure_at(mla_figure_list(f, "heads"), i);
        if (scaled)
            draw_waves(canvas, &chart, head, "unscaled", (mla_stroke){.ink = head_ink(i), .width = 1, .dashed = true});
        draw_waves(canvas, &chart, head, "wavelength_in_long_texts", (mla_stroke){.ink = MLA_INK_ORANGE, .width = 1.5});
        draw_waves(canvas, &chart, head, "wavelength", (mla_stroke){.ink = head_ink(i), .width = 2});
    }
    draw_level(canvas, &chart, mla_json_number_of(f, "max_position_embeddings"), MLA_INK_BLUE, -6, "longest text");
    draw_level(canvas, &chart, mla_json_number_of(f, "original_max_position_embeddings"), MLA_INK_PALE_TEXT, 16,
               "before scaling");
}

static void draw_rope(mla_canvas *canvas, const json_t *f) {
    const char *scaling = mla_json_text_of(f, "scaling");
    char scaled[64] = "", note[256];
    if (strcmp(scaling, "none"))
        snprintf(scaled, sizeof scaled, ", %s scaling by %g", scaling, mla_json_number_of(f, "factor"));
    mla_canvas_print(canvas, 40, 38, &(mla_lettering){.size = 20, .bold = true, .room = 1000}, "What RoPE turns: %s",
                     mla_json_text_of(f, "model"));
    mla_canvas_print(canvas, 40, 62, &(mla_lettering){.ink = MLA_INK_PALE_TEXT, .room = 1000},
                     "rope_theta %g%s. Each box is a dimension; the stronger its colour, the faster it turns.",
                     mla_json_number_of(f, "rope_theta"), scaled);
    for (int64_t i = 0; i < mla_figure_count(f, "heads"); i++) draw_head(canvas, f, i);
    draw_chart(canvas, f);
    snprintf(
        note, sizeof note,
        "Pairs whose wave is short tell neighbours apart; those whose wave is longer than the text hardly turn.%s%s",
        strcmp(scaling, "none") ? " Dashed: the same without scaling." : "",
        strcmp(scaling, "longrope") ? "" : " Orange: in texts that are longer than before scaling.");
    mla_canvas_paragraph(canvas, 40, rope_height(f) - 44,
                         &(mla_lettering){.size = 12, .ink = MLA_INK_PALE_TEXT, .room = 1000}, note);
}

const mla_picture mla_picture_rope = {.name = "rope",
                                      .summary = "which dimensions RoPE turns, and their wavelengths",
                                      .figures = rope_figures,
                                      .height = rope_height,
                                      .draw = draw_rope};
