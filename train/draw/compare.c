/* Multi-head attention and this model's side by side: what is cached, how positions come in, what it takes to compute.
 */
#include "layers/attention/attention.h"
#include "train/draw/counterparts.h"
#include "train/draw/figures.h"
#include "train/draw/picture.h"
#include "train/log/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- figures */

static void describe_cache(json_t *out, const mla_model_config *c) {
    const mla_cache_row row = c->attention->cache_row(c, 0);
    mla_figure_set_integer(out, "cached_first", row.first);
    mla_figure_set_integer(out, "cached_second", row.second);
    mla_figure_set_integer(out, "groups", c->num_key_value_heads);
    json_object_set_new(out, "ranks_differ", json_boolean(c->kv_lora_ranks.count > 0));
}

static void describe_positions(json_t *out, const mla_model_config *c) {
    const bool turns = c->position == MLA_POSITION_ROPE;
    const int64_t rotary = turns ? c->attention->rotary(c) : 0, width = c->attention->head_width(c);
    mla_figure_set_text(out, "position", mla_position_names[c->position]);
    mla_figure_set_integer(out, "head_width", width);
    mla_figure_set_integer(out, "rotary", rotary);
}

static mla_status describe_column(const mla_picture_subject *s, const mla_counterpart *c, int64_t tokens,
                                  json_t *list) {
    mla_attention_costs costs;
    const mla_status status = mla_count_attention_costs(s->context, &c->config, tokens, &costs);
    if (status) return status;
    json_t *out = json_object();
    mla_figure_set_text(out, "name", c->name);
    json_object_set_new(out, "this_model", json_boolean(c->own));
    mla_figure_set_text(out, "attention", c->config.attention->name);
    describe_cache(out, &c->config);
    describe_positions(out, &c->config);
    mla_figure_set_integer(out, "cache_bytes_per_token", costs.cache_bytes_per_token);
    mla_figure_set_integer(out, "parameters", costs.parameters);
    mla_figure_set_integer(out, "attention_parameters", costs.attention_parameters);
    mla_figure_set_number(out, "prompt_flops_per_token", costs.prompt_flops);
    mla_figure_set_number(out, "decode_flops", costs.decode_flops);
    mla_figure_set_number(out, "decode_bytes", costs.decode_bytes);
    json_array_append_new(list, out);
    return MLA_OK;
}

/* MHA, and this model's attention or, where it is MHA itself, the MLA that it could have. */
static mla_status compare_figures(const mla_picture_subject *s, const mla_picture_options *o, json_t *out) {
    mla_counterpart all[MLA_MOST_COUNTERPARTS];
    const int64_t tokens = o->tokens ? o->tokens : MLA_PICTURE_TOKENS;
    int count = 0, other = 0;
    json_t *columns = json_array();
    json_object_set_new(out, "columns", columns);
    mla_status status = mla_counterparts(s->context, s->config, all, &count);
    for (int i = 1; i < count; i++)
        if (all[i].own || !other) other = all[i].own ? i : count - 1;
    if (!status) status = describe_column(s, &all[0], tokens, columns);
    if (!status) status = describe_column(s, &all[other], tokens, columns);
    mla_figure_set_integer(out, "tokens", tokens);
    mla_figure_set_integer(out, "heads", s->config->num_attention_heads);
    mla_figure_set_integer(out, "layers", s->config->num_hidden_layers);
    return status;
}

/* ---- drawing: three panels below each other in two columns */

enum { COLUMN = 490, INNER = 450, CACHED_TOP = 120, POSITIONS_TOP = 330, COMPUTING_TOP = 500, HEIGHT = 830 };

static double compare_height(const json_t *f) {
    (void)f;
    return HEIGHT;
}

static const json_t *column_at(const json_t *f, int i) { return mla_figure_at(mla_figure_list(f, "columns"), i); }

static const char *plural(double count) { return count == 1 ? "" : "s"; }

/* The larger of a figure in both columns. */
static double larger(const json_t *f, const char *key) {
    return fmax(mla_json_number_of(column_at(f, 0), key), mla_json_number_of(column_at(f, 1), key));
}

static bool is_latent_column(const json_t *column) { return !strcmp(mla_json_text_of(column, "attention"), "latent"); }

/* Wide boxes for heads, as many as it has; too many to tell apart are one. */
static void draw_strip(mla_canvas *canvas, mla_rect r, int64_t parts, mla_ink ink, double strength) {
    mla_canvas_box(canvas, r, ink, strength, MLA_INK_NONE);
    for (int64_t i = 1; i < parts && r.width / (double)parts > 4; i++) {
        const double x = r.x + r.width * (double)i / (double)parts;
        mla_canvas_line(canvas, x, r.y, x, r.y + r.height, (mla_stroke){.ink = MLA_INK_PAPER, .width = 1});
    }
}

static void draw_cached_part(mla_canvas *canvas, double x, double y, double width, int64_t parts, mla_ink ink,
                             const char *text) {
    draw_strip(canvas, (mla_rect){x, y, fmax(width, 2), 24}, parts, ink, 0.75);
    mla_canvas_text(canvas, x, y + 42, &(mla_lettering){.room = INNER}, text);
}

static double most_cached(const json_t *f) { return fmax(larger(f, "cached_first"), larger(f, "cached_second")); }

static void draw_cached(mla_canvas *canvas, const json_t *f, const json_t *column, double x, mla_ink ink) {
    const double first = mla_json_number_of(column, "cached_first"),
                 second = mla_json_number_of(column, "cached_second");
    const double scale = INNER / most_cached(f), groups = mla_json_number_of(column, "groups");
    const double layers = mla_json_number_of(f, "layers"), total = mla_json_number_of(column, "cache_bytes_per_token");
    char texts[2][96], bytes[32];
    const bool latent = is_latent_column(column);
    if (latent) snprintf(texts[0], sizeof *texts, "latent: %.0f numbers, keys and values of all heads", first);
    else snprintf(texts[0], sizeof *texts, "keys: %.0f × %.0f = %.0f numbers", groups, first / groups, first);
    if (latent) snprintf(texts[1], sizeof *texts, "rotary key: %.0f numbers, one for all heads", second);
    else snprintf(texts[1], sizeof *texts, "values: %.0f × %.0f = %.0f numbers", groups, second / groups, second);
    const int64_t parts = latent ? 1 : (int64_t)groups;
    draw_cached_part(canvas, x, CACHED_TOP + 44, first * scale, parts, ink, texts[0]);
    if (second > 0) draw_cached_part(canvas, x, CACHED_TOP + 100, second * scale, parts, ink, texts[1]);
    mla_bytes_text(total, sizeof bytes, bytes);
    mla_canvas_print(canvas, x, CACHED_TOP + 176, &(mla_lettering){.bold = true, .room = INNER},
                     total < 1000 ? "%.0f layer%s: %.0f bytes a token" : "%.0f layer%s: %.0f bytes a token (%s)",
                     layers, plural(layers), total, bytes);
}

static void position_text(const json_t *column, size_t size, char *out) {
    const double width = mla_json_number_of(column, "head_width"), rotary = mla_json_number_of(column, "rotary");
    const char *position = mla_json_text_of(column, "position");
    if (!strcmp(position, "learned"))
        snprintf(out, size, "Learned positions are added to the embeddings; attention itself knows of none.");
    else if (rotary == 0) snprintf(out, size, "None: attention does not know the order of tokens but for its mask.");
    else if (is_latent_column(column))
        snprintf(out, size,
                 "Decoupled RoPE: %.0f dimensions of a query head turn beside %.0f that do not. The latent has no "
                 "position in it, so it can be expanded, or absorbed, anywhere.",
                 rotary, width);
    else
        snprintf(
            out, size,
            "RoPE turns all %.0f dimensions of each query and key head. Keys are cached turned: positions are part "
            "of them.",
            width);
}

static void draw_positions(mla_canvas *canvas, const json_t *f, const json_t *column, double x, mla_ink ink) {
    const bool latent = is_latent_column(column);
    const double rotary = mla_json_number_of(column, "rotary"), width = mla_json_number_of(column, "head_width");
    const double still = latent ? width : width - rotary;
    const double scale = INNER / (larger(f, "head_width") + (larger(f, "rotary")));
    char text[256];
    mla_canvas_box(canvas, (mla_rect){x, POSITIONS_TOP + 42, still * scale, 18}, MLA_INK_PALE_TEXT, 0.35, MLA_INK_NONE);
    mla_canvas_box(canvas, (mla_rect){x + still * scale, POSITIONS_TOP + 42, rotary * scale, 18}, ink, 0.75,
                   MLA_INK_NONE);
    position_text(column, sizeof text, text);
    mla_canvas_paragraph(canvas, x, POSITIONS_TOP + 84, &(mla_lettering){.room = INNER}, text);
}

/* A figure with a bar beside the other column's. */
typedef struct {
    const char *key, *title, *unit;
    void (*text)(double value, size_t size, char *out);
} measure;

static const measure measures[] = {
    {"attention_parameters", "parameters of attention", "", mla_count_text},
    {"parameters", "parameters of the whole model", "", mla_count_text},
    {"prompt_flops_per_token", "prompt: FLOPs a token", "", mla_count_text},
    {"decode_flops", "the next token: FLOPs", "", mla_count_text},
    {"decode_bytes", "the next token: bytes moved", "", mla_bytes_text},
};

static void draw_measure(mla_canvas *canvas, const json_t *f, const json_t *column, const measure *m, double x,
                         double y, mla_ink ink) {
    const double value = mla_json_number_of(column, m->key), most = larger(f, m->key);
    char text[32];
    m->text(value, sizeof text, text);
    mla_canvas_text(canvas, x, y, &(mla_lettering){.ink = MLA_INK_PALE_TEXT, .room = 300}, m->title);
    mla_canvas_text(canvas, x + INNER, y, &(mla_lettering){.anchor = MLA_RIGHT, .bold = true},
                    isfinite(value) ? text : "none: causal is false");
    mla_canvas_box(canvas, (mla_rect){x, y + 7, INNER, 10}, MLA_INK_GRID, 0.5, MLA_INK_NONE);
    if (isfinite(value))
        mla_canvas_box(canvas, (mla_rect){x, y + 7, INNER * value / most, 10}, ink, 0.75, MLA_INK_NONE);
}

static void draw_panel(mla_canvas *canvas, double x, double y, double height, const char *title) {
    mla_canvas_box(canvas, (mla_rect){x, y, COLUMN, height}, MLA_INK_PANEL, 1, MLA_INK_GRID);
    mla_canvas_text(canvas, x + 20, y + 26, &(mla_lettering){.size = 14, .bold = true, .room = INNER}, title);
}

static void draw_column(mla_canvas *canvas, const json_t *f, int i) {
    const json_t *column = column_at(f, i);
    const double x = i ? 550 : 40;
    const mla_ink ink = i ? MLA_INK_SMALL : MLA_INK_LARGE;
    char title[96], count[32];
    const bool own = json_is_true(json_object_get(column, "this_model"));
    const bool ranks_differ = json_is_true(json_object_get(column, "ranks_differ"));
    mla_count_text(mla_json_number_of(f, "tokens"), sizeof count, count);
    snprintf(title, sizeof title, "Computing: attention at %s tokens, all layers", count);
    mla_canvas_print(canvas, x, 104, &(mla_lettering){.size = 16, .bold = true, .ink = ink, .room = COLUMN}, "%s%s",
                     mla_json_text_of(column, "name"),
                     own ? ", this model"
                     : i ? ", as this model could have it"
                         : "");
    draw_panel(canvas, x, CACHED_TOP, 194,
               ranks_differ ? "Cached per token in the first layer" : "Cached per token and layer");
    draw_cached(canvas, f, column, x + 20, ink);
    draw_panel(canvas, x, POSITIONS_TOP, 154, "Positions: one query head");
    draw_positions(canvas, f, column, x + 20, ink);
    draw_panel(canvas, x, COMPUTING_TOP, 290, title);
    for (size_t k = 0; k < sizeof measures / sizeof *measures; k++)
        draw_measure(canvas, f, column, &measures[k], x + 20, COMPUTING_TOP + 58 + 46 * (double)k, ink);
}

static void draw_compare(mla_canvas *canvas, const json_t *f) {
    const double layers = mla_json_number_of(f, "layers"), heads = mla_json_number_of(f, "heads");
    mla_canvas_print(canvas, 40, 38, &(mla_lettering){.size = 20, .bold = true, .room = 1000},
                     "Multi-head attention side by side with: %s", mla_json_text_of(f, "model"));
    mla_canvas_print(
        canvas, 40, 62, &(mla_lettering){.ink = MLA_INK_PALE_TEXT, .room = 1000},
        "%.0f layer%s of %.0f head%s; all else in the model is the same. Costs are those that its operations "
        "state, in f32.",
        layers, plural(layers), heads, plural(heads));
    draw_column(canvas, f, 0);
    draw_column(canvas, f, 1);
    mla_canvas_text(canvas, 40, HEIGHT - 14, &(mla_lettering){.size = 12, .ink = MLA_INK_PALE_TEXT, .room = 1000},
                    "Boxes and bars of both columns have one scale. A prompt is read at once; the next token is read "
                    "after it, from the cache.");
}

const mla_picture mla_picture_compare = {.name = "compare",
                                         .summary = "multi-head attention and this model's, side by side",
                                         .figures = compare_figures,
                                         .height = compare_height,
                                         .draw = draw_compare};
