/* The flow of one layer's attention, from its input to its output: boxes for its steps, with matrices, sizes, costs and
 * what was measured. */
#include "train/draw/figures.h"
#include "train/draw/layer_steps.h"
#include "train/draw/picture.h"
#include "train/log/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USUAL_TOKENS = 512 };

/* ---- figures */

static const char *const step_names[] = {"input", "queries", "latent", "keys", "attention", "output"};

/* Which step a projection belongs to. */
static mla_attention_step step_of(const char *projection, bool latent) {
    if (!strncmp(projection, "q_", 2)) return MLA_STEP_QUERIES;
    if (!strncmp(projection, "o_", 2)) return MLA_STEP_OUTPUT;
    if (!strncmp(projection, "kv_b", 4)) return MLA_STEP_KEYS;
    return latent ? MLA_STEP_LATENT : MLA_STEP_KEYS;
}

/* The matrices of a layer's attention that belong to a step: name, (out,in). */
static json_t *matrices_of(const mla_decoder *model, int64_t layer, mla_attention_step step, bool latent) {
    char prefix[64];
    json_t *list = json_array();
    const size_t length = (size_t)snprintf(prefix, sizeof prefix, "model.layers.%lld.self_attn.", (long long)layer);
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        const mla_param *p = mla_params_at(model->params, i);
        const char *name = p->spec.name + length;
        if (strncmp(p->spec.name, prefix, length) || p->spec.ndim != 2 || step_of(name, latent) != step) continue;
        json_t *matrix = json_pack("{s:I, s:I}", "out", (json_int_t)p->spec.shape[0], "in",
                                   (json_int_t)p->spec.shape[1]);
        char projection[64];
        snprintf(projection, sizeof projection, "%.*s", (int)strcspn(name, "."), name);
        mla_figure_set_text(matrix, "name", projection);
        json_array_append_new(list, matrix);
    }
    return list;
}

static json_t *describe_step(const mla_layer_step *s, mla_attention_step step, json_t *matrices) {
    json_t *json = json_object(), *shape = json_array();
    for (int i = 1; i < s->ndim; i++) json_array_append_new(shape, json_integer(s->shape[i]));
    mla_figure_set_text(json, "name", step_names[step]);
    json_object_set_new(json, "shape", shape);
    mla_figure_set_integer(json, "second_width", s->second_width);
    mla_figure_set_number(json, "flops", s->flops);
    mla_figure_set_number(json, "bytes", s->bytes);
    mla_figure_set_number(json, "ms", 1e3 * s->seconds[0]);
    mla_figure_set_number(json, "ms_bf16", 1e3 * s->seconds[1]);
    mla_figure_set_number(json, "error_bf16", s->error);
    json_object_set_new(json, "matrices", matrices);
    return json;
}

static mla_status describe_steps(const mla_picture_subject *s, const mla_layer_steps *steps, int64_t layer,
                                 json_t *out) {
    mla_decoder *model;
    const mla_status status = mla_decoder_create(s->context, &model, s->config);
    if (status) return status;
    const bool latent = steps->of[MLA_STEP_LATENT].seen;
    json_t *list = json_array();
    for (int i = MLA_STEP_QUERIES; i < MLA_ATTENTION_STEPS; i++)
        if (steps->of[i].seen)
            json_array_append_new(list, describe_step(&steps->of[i], (mla_attention_step)i,
                                                      matrices_of(model, layer, (mla_attention_step)i, latent)));
    json_object_set_new(out, "steps", list);
    mla_decoder_destroy(model);
    return MLA_OK;
}

static mla_status check_layer(const mla_picture_subject *s, int64_t layer) {
    const int64_t layers = s->config->num_hidden_layers;
    if (layer < layers) return MLA_OK;
    return mla_fail(s->context, MLA_ERROR_ARGUMENT, "--layer %lld: %s has layers 0 to %lld", (long long)layer, s->name,
                    (long long)layers - 1);
}

static mla_status choose_tokens(const mla_picture_subject *s, int64_t wanted, int64_t *out) {
    const int64_t most = s->config->max_position_embeddings;
    *out = wanted ? wanted : most < USUAL_TOKENS ? most : USUAL_TOKENS;
    if (*out <= most) return MLA_OK;
    return mla_fail(s->context, MLA_ERROR_ARGUMENT,
                    "--tokens %lld: the model has %lld positions (max_position_embeddings)", (long long)wanted,
                    (long long)most);
}

static mla_status flow_figures(const mla_picture_subject *s, const mla_picture_options *o, json_t *out) {
    mla_layer_steps steps;
    mla_layer_steps_options options = {.layer = o->layer < 0 ? 0 : o->layer, .measure = o->measure, .model = s->model};
    mla_status status = check_layer(s, options.layer);
    if (!status) status = choose_tokens(s, o->tokens, &options.tokens);
    if (!status) status = mla_layer_steps_find(s->context, s->config, &options, &steps);
    if (!status) status = describe_steps(s, &steps, options.layer, out);
    if (status) return status;
    const mla_cache_row row = s->config->attention->cache_row(s->config, options.layer);
    mla_figure_set_text(out, "attention", s->config->attention->name);
    mla_figure_set_integer(out, "layer", options.layer);
    mla_figure_set_integer(out, "layers", s->config->num_hidden_layers);
    mla_figure_set_integer(out, "tokens", options.tokens);
    mla_figure_set_integer(out, "hidden_size", s->config->hidden_size);
    mla_figure_set_integer(out, "cached_first", row.first);
    mla_figure_set_integer(out, "cached_second", row.second);
    json_object_set_new(out, "causal", json_boolean(s->config->causal));
    json_object_set_new(out, "measured", json_boolean(o->measure));
    json_object_set_new(out, "initial_weights", json_boolean(o->measure && !s->model));
    if (o->measure) mla_figure_set_integer(out, "threads", mla_context_threads(s->context));
    return MLA_OK;
}

/* ---- drawing: queries to the left, keys and values to the right, and what joins them below */

enum { BOX_WIDTH = 490, BOX_HEIGHT = 112, LEFT = 40, RIGHT = 550, ROW_EVERY = 150, FIRST_ROW = 166, BYPASS = 16 };

static const json_t *step_figures(const json_t *f, mla_attention_step step) {
    const json_t *list = mla_figure_list(f, "steps");
    for (int64_t i = 0; i < mla_figure_count(f, "steps"); i++)
        if (!strcmp(mla_json_text_of(mla_figure_at(list, i), "name"), step_names[step])) return mla_figure_at(list, i);
    return NULL;
}

static bool has_latent(const json_t *f) { return step_figures(f, MLA_STEP_LATENT) != NULL; }

/* Rows: projections, cache, up-projection (of latent attention), attention, output. */
static double row_y(const json_t *f, int row) {
    return FIRST_ROW + ROW_EVERY * (double)(has_latent(f) || row < 2 ? row : row - 1);
}

static double flow_height(const json_t *f) { return row_y(f, 4) + BOX_HEIGHT + 110; }

static void matrices_text(const json_t *step, size_t size, char *out) {
    size_t used = 0;
    out[0] = '\0';
    for (int64_t i = 0; i < mla_figure_count(step, "matrices") && used < size; i++) {
        const json_t *matrix = mla_figure_at(mla_figure_list(step, "matrices"), i);
        used += (size_t)snprintf(out + used, size - used, "%s%s %.0f × %.0f", i ? ",  " : "",
                                 mla_json_text_of(matrix, "name"), mla_json_number_of(matrix, "out"),
                                 mla_json_number_of(matrix, "in"));
    }
}

/* What each step gives: two tensors of one length, or one. */
static const char *const given[][2] = {{"", ""},           {"queries", ""}, {"latent", "rotary key"},
                                       {"keys", "values"}, {"", ""},        {"", ""}};

static size_t append_shape(const json_t *step, bool second, size_t size, char *out) {
    size_t used = 0;
    const int64_t count = mla_figure_count(step, "shape");
    for (int64_t i = 0; i < count && used < size; i++) {
        const json_t *there = mla_figure_at(mla_figure_list(step, "shape"), i);
        const double width = second && i == count - 1 ? mla_json_number_of(step, "second_width")
                                                      : json_number_value(there);
        used += (size_t)snprintf(out + used, size - used, i ? " × %.0f" : "%.0f", width);
    }
    return used;
}

static void shape_text(const json_t *step, mla_attention_step which, size_t size, char *out) {
    size_t used = (size_t)snprintf(out, size, "gives %s%s", given[which][0], *given[which][0] ? " " : "");
    used += append_shape(step, false, size - used, out + used);
    if (mla_json_number_of(step, "second_width") <= 0) return;
    used += (size_t)snprintf(out + used, size - used, ",  %s ", given[which][1]);
    append_shape(step, true, size - used, out + used);
}

static void costs_text(const json_t *f, const json_t *step, size_t size, char *out) {
    char flops[32], bytes[32];
    mla_count_text(mla_json_number_of(step, "flops"), sizeof flops, flops);
    mla_bytes_text(mla_json_number_of(step, "bytes"), sizeof bytes, bytes);
    if (!json_is_true(json_object_get(f, "measured"))) snprintf(out, size, "%s FLOPs, %s moved", flops, bytes);
    else
        snprintf(out, size, "%s FLOPs in %.3g ms f32, %.3g ms bf16;  error of bf16 %.2g %%", flops,
                 mla_json_number_of(step, "ms"), mla_json_number_of(step, "ms_bf16"),
                 100 * mla_json_number_of(step, "error_bf16"));
}

/* Of the time, or of the FLOPs where none was measured, beside the step that has most. */
static double share_of(const json_t *f, const json_t *step) {
    const char *key = json_is_true(json_object_get(f, "measured")) ? "ms" : "flops";
    double most = 0;
    for (int64_t i = 0; i < mla_figure_count(f, "steps"); i++)
        most = fmax(most, mla_json_number_of(mla_figure_at(mla_figure_list(f, "steps"), i), key));
    return most > 0 ? mla_json_number_of(step, key) / most : 0;
}

static void draw_step(mla_canvas *canvas, const json_t *f, mla_rect r, mla_attention_step step, const char *title) {
    const json_t *figures = step_figures(f, step);
    const mla_lettering plain = {.room = r.width - 32},
                        pale = {.size = 12, .ink = MLA_INK_PALE_TEXT, .room = r.width - 32};
    char text[512];
    mla_canvas_box(canvas, r, MLA_INK_PANEL, 1, MLA_INK_PALE_TEXT);
    mla_canvas_box(canvas, (mla_rect){r.x + 1, r.y + r.height - 7, (BOX_WIDTH - 2) * share_of(f, figures), 6},
                   MLA_INK_BLUE, 0.7, MLA_INK_NONE);
    mla_canvas_text(canvas, r.x + 16, r.y + 24, &(mla_lettering){.size = 15, .bold = true, .room = r.width - 32},
                    title);
    matrices_text(figures, sizeof text, text);
    mla_canvas_text(canvas, r.x + 16, r.y + 47, &plain,
                    *text ? text : "softmax of the scores of all heads, tile by tile");
    shape_text(figures, step, sizeof text, text);
    mla_canvas_text(canvas, r.x + 16, r.y + 69, &plain, text);
    costs_text(f, figures, sizeof text, text);
    mla_canvas_text(canvas, r.x + 16, r.y + 90, &pale, text);
}

static void draw_cache_box(mla_canvas *canvas, const json_t *f, mla_rect r) {
    const double first = mla_json_number_of(f, "cached_first"), second = mla_json_number_of(f, "cached_second");
    const mla_ink ink = has_latent(f) ? MLA_INK_SMALL : MLA_INK_LARGE;
    const mla_lettering plain = {.room = r.width - 32};
    const bool causal = json_is_true(json_object_get(f, "causal"));
    char text[160];
    mla_canvas_box(canvas, r, ink, 0.14, ink);
    mla_canvas_text(canvas, r.x + 16, r.y + 24,
                    &(mla_lettering){.size = 15, .bold = true, .ink = ink, .room = r.width - 32},
                    causal ? "Cache: all that is kept of a token" : "No cache: causal is false");
    if (has_latent(f) && second > 0)
        snprintf(text, sizeof text, "latent %.0f + rotary key %.0f numbers", first, second);
    else if (has_latent(f)) snprintf(text, sizeof text, "latent: %.0f numbers", first);
    else snprintf(text, sizeof text, "keys %.0f + values %.0f numbers", first, second);
    mla_canvas_text(canvas, r.x + 16, r.y + 47, &plain, text);
    mla_canvas_print(canvas, r.x + 16, r.y + 69, &plain, "%.0f bytes a token in this layer (f32)",
                     4 * (first + second));
    if (has_latent(f))
        mla_canvas_text(canvas, r.x + 16, r.y + 90,
                        &(mla_lettering){.size = 12, .ink = MLA_INK_PALE_TEXT, .room = r.width - 32},
                        "For one new token nothing is expanded: its query is absorbed.");
}

static mla_rect box_at(const json_t *f, double x, int row, double width) {
    return (mla_rect){x, row_y(f, row), width, BOX_HEIGHT};
}

static void draw_down(mla_canvas *canvas, double x, double from, double to) {
    mla_canvas_arrow(canvas, x, from, x, to - 2, (mla_stroke){.ink = MLA_INK_TEXT, .width = 1.5});
}

static void draw_arrows(mla_canvas *canvas, const json_t *f) {
    const double left = LEFT + BOX_WIDTH / 2.0, right = RIGHT + BOX_WIDTH / 2.0;
    const double attention = row_y(f, 3), bottom = BOX_HEIGHT;
    draw_down(canvas, left, FIRST_ROW - 38, FIRST_ROW);
    draw_down(canvas, right, FIRST_ROW - 38, FIRST_ROW);
    draw_down(canvas, left, row_y(f, 0) + bottom, attention);
    draw_down(canvas, right, row_y(f, 0) + bottom, row_y(f, 1));
    if (has_latent(f)) draw_down(canvas, right, row_y(f, 1) + bottom, row_y(f, 2));
    draw_down(canvas, right, row_y(f, has_latent(f) ? 2 : 1) + bottom, attention);
    draw_down(canvas, LEFT + 500, attention + bottom, row_y(f, 4));
    draw_down(canvas, LEFT + 500, row_y(f, 4) + bottom, row_y(f, 4) + bottom + 36);
    mla_canvas_text(canvas, LEFT + 508, row_y(f, 4) + bottom + 24,
                    &(mla_lettering){.size = 12, .ink = MLA_INK_PALE_TEXT}, "output, a row for each token");
}

static void draw_words(mla_canvas *canvas, const json_t *f) {
    const mla_lettering word = {.size = 12, .ink = MLA_INK_PALE_TEXT};
    const double left = LEFT + BOX_WIDTH / 2.0 + 8, right = RIGHT + BOX_WIDTH / 2.0 + 8;
    mla_canvas_text(canvas, left, row_y(f, 3) - 16, &word, "queries");
    mla_canvas_text(canvas, right, row_y(f, 3) - 16, &word, "keys and values of all heads");
    if (!has_latent(f)) return;
    mla_canvas_text(canvas, right, row_y(f, 1) - 14, &word, "latent, narrow");
    mla_canvas_text(canvas, right, row_y(f, 2) - 14, &word,
                    mla_json_number_of(f, "cached_second") > 0 ? "latent, and the key for all heads" : "latent");
}

static void draw_notes(mla_canvas *canvas, const json_t *f) {
    const bool measured = json_is_true(json_object_get(f, "measured"));
    const bool initial = json_is_true(json_object_get(f, "initial_weights"));
    const char *one = has_latent(f) ? " In training and prompts, up-projection and attention are one operation." : "";
    const double threads = mla_json_number_of(f, "threads");
    char text[384];
    if (measured)
        snprintf(
            text, sizeof text,
            "Bars: time, relative to the slowest step. Times are the middle of several runs with %.0f thread%s and %s weights; "
            "errors are of bf16 against f32, with all that came before.%s",
            threads, threads == 1 ? "" : "s", initial ? "initial" : "the model's", one);
    else
        snprintf(text, sizeof text,
                 "Bars: FLOPs, relative to the step with the most. --measure adds times and errors.%s", one);
    mla_canvas_paragraph(canvas, 40, mla_canvas_height(canvas) - 38,
                         &(mla_lettering){.size = 12, .ink = MLA_INK_PALE_TEXT, .room = 1000}, text);
}

static void draw_flow(mla_canvas *canvas, const json_t *f) {
    const bool latent = has_latent(f);
    const double tokens = mla_json_number_of(f, "tokens"), width = mla_json_number_of(f, "hidden_size");
    mla_canvas_print(canvas, 40, 38, &(mla_lettering){.size = 20, .bold = true, .room = 1000},
                     "How attention flows: %s", mla_json_text_of(f, "model"));
    mla_canvas_print(canvas, 40, 62, &(mla_lettering){.ink = MLA_INK_PALE_TEXT, .room = 1000},
                     "Layer %.0f of %.0f, counted from 0; a text of %.0f tokens. Matrices are outputs × inputs.",
                     mla_json_number_of(f, "layer"), mla_json_number_of(f, "layers"), tokens);
    mla_canvas_box(canvas, (mla_rect){LEFT, 92, 1000, 36}, MLA_INK_PANEL, 1, MLA_INK_PALE_TEXT);
    mla_canvas_print(canvas, 540, 115, &(mla_lettering){.anchor = MLA_MIDDLE, .room = 960},
                     "input: %.0f × %.0f, a row for each token", tokens, width);
    draw_step(canvas, f, box_at(f, LEFT, 0, BOX_WIDTH), MLA_STEP_QUERIES, "Query projection");
    draw_step(canvas, f, box_at(f, RIGHT, 0, BOX_WIDTH), latent ? MLA_STEP_LATENT : MLA_STEP_KEYS,
              latent ? "Down-projection to the latent" : "Key and value projections");
    draw_cache_box(canvas, f, box_at(f, RIGHT, 1, BOX_WIDTH));
    if (latent) draw_step(canvas, f, box_at(f, RIGHT, 2, BOX_WIDTH), MLA_STEP_KEYS, "Up-projection to keys and values");
    draw_step(canvas, f, box_at(f, LEFT, 3, 1000), MLA_STEP_ATTENTION, "Attention");
    draw_step(canvas, f, box_at(f, LEFT, 4, 1000), MLA_STEP_OUTPUT, "Output projection");
    draw_arrows(canvas, f);
    draw_words(canvas, f);
    draw_notes(canvas, f);
}

const mla_picture mla_picture_flow = {.name = "flow",
                                      .summary = "the steps of one layer's attention, with sizes, costs and times",
                                      .figures = flow_figures,
                                      .height = flow_height,
                                      .draw = draw_flow};
