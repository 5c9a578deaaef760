/* The spectrum of each layer's latents on a text: what is cached, as a matrix with a row for each token, has singular
 * values; how fast they fall says how much of the rank is used.
 *
 * They are the roots of the eigenvalues of its gram matrix, divided by the root of the number of tokens. The effective
 * rank is exp(H(p)) with p = s / sum of s (Roy & Vetterli 2007, "The effective rank"). */
#include "layers/adapt/matrices.h"
#include "layers/adapt/orthogonal_rows.h"
#include "train/draw/chart.h"
#include "train/draw/counterparts.h"
#include "train/draw/figures.h"
#include "train/draw/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { USUAL_TOKENS = 8192, TOKENS_AT_ONCE = 512 };

/* ---- figures */

typedef struct {
    mla_context *context;
    double **grams; /* a layer: (C,C), the sum of c cᵀ */
    int64_t layers;
} gatherer;

/* gram += cᵀ c, in double precision throughout: the small values of a spectrum are what is left of large ones. */
static void add_products(mla_context *context, const mla_tensor *c, double *gram) {
    const int64_t count = mla_rows(c), rank = mla_width(c);
    double *rows = mla_matrix_create(context, count, rank), *columns = mla_matrix_create(context, rank, count);
    double *part = mla_matrix_create(context, rank, rank);
    const bool enough = rows && columns && part;
    for (int64_t i = 0; enough && i < count * rank; i++) {
        rows[i] = (double)mla_row(c, 0)[i];
        columns[i % rank * count + i / rank] = rows[i];
    }
    if (enough) mla_matrix_multiply(context, rank, rank, count, columns, rows, false, part);
    for (int64_t i = 0; enough && i < rank * rank; i++) gram[i] += part[i];
    free(rows);
    free(columns);
    free(part);
}

static void gather(void *user, mla_tape *tape, const mla_attention_sight *sight) {
    const gatherer *g = user;
    (void)tape;
    if (sight->step == MLA_STEP_LATENT) add_products(g->context, sight->first, g->grams[sight->layer]);
}

static mla_status create_grams(gatherer *g, const mla_model_config *config) {
    g->layers = config->num_hidden_layers;
    g->grams = mla_alloc(g->context, g->layers, sizeof *g->grams, "the spectra");
    for (int64_t i = 0; i < g->layers && g->grams; i++) {
        const int64_t rank = mla_model_config_latent_rank(config, i);
        g->grams[i] = mla_matrix_create(g->context, rank, rank);
    }
    return mla_error_status(g->context);
}

static void destroy_grams(gatherer *g) {
    for (int64_t i = 0; i < g->layers && g->grams; i++) free(g->grams[i]);
    free(g->grams);
}

/* Windows of the text, one after the other. */
static mla_status read_text(const mla_picture_subject *s, int64_t tokens, gatherer *g) {
    const int64_t most = s->config->max_position_embeddings, window = most < TOKENS_AT_ONCE ? most : TOKENS_AT_ONCE;
    const mla_onlooker onlooker = {gather, g};
    const mla_pass pass = {.onlooker = &onlooker};
    mla_tape *tape;
    mla_status status = mla_tape_create(s->context, &tape, NULL);
    for (int64_t first = 0; first < tokens && !status; first += window) {
        const int64_t length = tokens - first < window ? tokens - first : window;
        mla_tape_begin(tape, &(mla_step){.inference = true});
        mla_decoder_hidden(tape, s->model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, length}, s->ids + first), &pass);
        status = mla_error_status(s->context);
    }
    mla_tape_destroy(tape);
    return status;
}

static double effective_rank(int64_t count, const double *values) {
    double sum = 0, entropy = 0;
    for (int64_t i = 0; i < count; i++) sum += values[i];
    for (int64_t i = 0; i < count; i++)
        if (values[i] > 0) entropy -= values[i] / sum * log(values[i] / sum);
    return exp(entropy);
}

/* How many of the largest hold a share of the sum of the squares. */
static int64_t rank_of_energy(int64_t count, const double *values, double share) {
    double sum = 0, held = 0;
    int64_t rank = 0;
    for (int64_t i = 0; i < count; i++) sum += values[i] * values[i];
    while (rank < count && held < share * sum) {
        held += values[rank] * values[rank];
        rank++;
    }
    return rank;
}

/* The gram matrix is spent. */
static mla_status describe_layer(mla_context *context, int64_t rank, double *gram, int64_t tokens, json_t *list) {
    double *values = mla_alloc(context, rank, sizeof *values, "a spectrum");
    json_t *layer = json_object(), *numbers = json_array();
    if (!values) return MLA_ERROR_MEMORY;
    mla_orthogonal_rows(rank, rank, gram);
    for (int64_t i = 0; i < rank; i++) {
        values[i] = sqrt(mla_row_length(rank, gram + i * rank) / (double)tokens);
        json_array_append_new(numbers, json_real(values[i]));
    }
    mla_figure_set_integer(layer, "rank", rank);
    mla_figure_set_number(layer, "effective_rank", effective_rank(rank, values));
    mla_figure_set_integer(layer, "rank_of_99_percent", rank_of_energy(rank, values, 0.99));
    json_object_set_new(layer, "singular_values", numbers);
    json_array_append_new(list, layer);
    free(values);
    return MLA_OK;
}

static mla_status check_subject(const mla_picture_subject *s, int64_t tokens) {
    if (!mla_has_latent(s->config))
        return mla_fail(s->context, MLA_ERROR_ARGUMENT,
                        "%s: its attention is %s, which has no latent: the spectrum is drawn of latent attention",
                        s->name, s->config->attention->name);
    if (tokens >= s->config->kv_lora_rank) return MLA_OK;
    return mla_fail(s->context, MLA_ERROR_ARGUMENT,
                    "the text has %lld tokens, and latents of rank %lld need at least as many: give a longer text",
                    (long long)tokens, (long long)s->config->kv_lora_rank);
}

static mla_status spectrum_figures(const mla_picture_subject *s, const mla_picture_options *o, json_t *out) {
    const int64_t most = o->tokens ? o->tokens : USUAL_TOKENS, tokens = s->count < most ? s->count : most;
    gatherer g = {.context = s->context};
    json_t *layers = json_array();
    mla_figure_set_integer(out, "tokens", tokens);
    json_object_set_new(out, "layers", layers);
    mla_status status = check_subject(s, tokens);
    if (!status) status = create_grams(&g, s->config);
    if (!status) status = read_text(s, tokens, &g);
    for (int64_t i = 0; i < g.layers && !status; i++)
        status = describe_layer(s->context, mla_model_config_latent_rank(s->config, i), g.grams[i], tokens, layers);
    destroy_grams(&g);
    return status;
}

/* ---- drawing: the values of all layers, and below them the ranks, a bar for each layer */

enum { CURVES_TOP = 130, CURVES_HEIGHT = 300, BARS_TOP = 540, BARS_HEIGHT = 180, HEIGHT = 830 };

static double spectrum_height(const json_t *f) {
    (void)f;
    return HEIGHT;
}

static double largest_rank(const json_t *f) {
    double most = 1;
    for (int64_t i = 0; i < mla_figure_count(f, "layers"); i++)
        most = fmax(most, mla_json_number_of(mla_figure_at(mla_figure_list(f, "layers"), i), "rank"));
    return most;
}

static double value_of(const json_t *layer, int64_t i) {
    return json_number_value(mla_figure_at(mla_figure_list(layer, "singular_values"), i));
}

/* Relative to the layer's largest. */
static double relative_value(const json_t *layer, int64_t i) { return value_of(layer, i) / value_of(layer, 0); }

/* The smallest that is drawn: a millionth, or what there is. */
static double smallest_value(const json_t *f) {
    double least = 0.1;
    for (int64_t i = 0; i < mla_figure_count(f, "layers"); i++) {
        const json_t *layer = mla_figure_at(mla_figure_list(f, "layers"), i);
        const double last = relative_value(layer, mla_figure_count(layer, "singular_values") - 1);
        if (last > 0) least = fmin(least, last / 2);
    }
    return fmax(least, 1e-6);
}

/* From pale, the first layer, to strong, the last. */
static double layer_strength(const json_t *f, int64_t i) {
    const double layers = (double)mla_figure_count(f, "layers");
    return layers > 1 ? 0.3 + 0.7 * (double)i / (layers - 1) : 1;
}

static void draw_curve(mla_canvas *canvas, const mla_chart *c, const json_t *f, int64_t layer) {
    const json_t *figures = mla_figure_at(mla_figure_list(f, "layers"), layer);
    const mla_stroke stroke = {.ink = MLA_INK_SMALL, .width = 1.8, .strength = layer_strength(f, layer)};
    for (int64_t i = 0; i + 1 < mla_figure_count(figures, "singular_values"); i++)
        mla_chart_curve(canvas, c, 2, (double[]){(double)i + 1, (double)i + 2},
                        (double[]){relative_value(figures, i), relative_value(figures, i + 1)}, stroke);
}

static void draw_bar(mla_canvas *canvas, const mla_chart *c, const json_t *f, int64_t i) {
    const json_t *layer = mla_figure_at(mla_figure_list(f, "layers"), i);
    const double slot = c->area.width / (double)mla_figure_count(f, "layers"), x = c->area.x + slot * ((double)i + 0.5);
    const double bottom = c->area.y + c->area.height, width = fmin(slot * 0.7, 70);
    const double effective = mla_json_number_of(layer, "effective_rank"), top = mla_chart_y(c, effective);
    const double level = mla_chart_y(c, mla_json_number_of(layer, "rank")),
                 energy = mla_chart_y(c, mla_json_number_of(layer, "rank_of_99_percent"));
    mla_canvas_box(canvas, (mla_rect){x - width / 2, level, width, bottom - level}, MLA_INK_NONE, 0, MLA_INK_PALE_TEXT);
    mla_canvas_box(canvas, (mla_rect){x - width / 2, top, width, bottom - top}, MLA_INK_SMALL, layer_strength(f, i),
                   MLA_INK_NONE);
    mla_canvas_line(canvas, x - width / 2, energy, x + width / 2, energy,
                    (mla_stroke){.ink = MLA_INK_BLUE, .width = 2});
    if (slot >= 34)
        mla_canvas_print(canvas, x, level - 6, &(mla_lettering){.size = 12, .anchor = MLA_MIDDLE, .bold = true}, "%.3g",
                         effective);
    if (slot >= 20 || i % 5 == 0)
        mla_canvas_print(canvas, x, bottom + 16,
                         &(mla_lettering){.size = 12, .anchor = MLA_MIDDLE, .ink = MLA_INK_PALE_TEXT}, "%lld",
                         (long long)i);
}

static void draw_spectrum(mla_canvas *canvas, const json_t *f) {
    const double most = largest_rank(f);
    const mla_chart curves = {
        .title = "Singular values, relative to the largest of the layer (pale: first layer)",
        .area = {110, CURVES_TOP, 930, CURVES_HEIGHT},
        .x = {.title = "which of them", .first = 1, .last = fmax(most, 2), .whole = true},
        .y = {.title = "singular value", .first = smallest_value(f), .last = 1.2, .logarithmic = true}};
    const mla_chart bars = {.title = "Effective rank of each layer's latent",
                            .area = {110, BARS_TOP, 930, BARS_HEIGHT},
                            .x = {.title = "layer", .none = true},
                            .y = {.title = "rank", .first = 0, .last = most * 1.15}};
    mla_canvas_print(canvas, 40, 38, &(mla_lettering){.size = 20, .bold = true, .room = 1000},
                     "How much of its latents a model uses: %s", mla_json_text_of(f, "model"));
    mla_canvas_print(canvas, 40, 62, &(mla_lettering){.ink = MLA_INK_PALE_TEXT, .room = 1000},
                     "The latents of %.0f tokens, as they are cached, a row for each token.",
                     mla_json_number_of(f, "tokens"));
    mla_chart_draw(canvas, &curves);
    for (int64_t i = 0; i < mla_figure_count(f, "layers"); i++) draw_curve(canvas, &curves, f, i);
    mla_chart_draw(canvas, &bars);
    for (int64_t i = 0; i < mla_figure_count(f, "layers"); i++) draw_bar(canvas, &bars, f, i);
    mla_canvas_paragraph(
        canvas, 40, HEIGHT - 36, &(mla_lettering){.size = 12, .ink = MLA_INK_PALE_TEXT, .room = 1000},
        "Frame: the rank there is. Filled, and the number: the effective rank, e to the entropy of the singular "
        "values. Blue line: how many of them hold 99 % of the squares.");
}

const mla_picture mla_picture_spectrum = {.name = "spectrum",
                                          .summary = "the singular values of each layer's latents on a text",
                                          .needs_weights = true,
                                          .text = MLA_PICTURE_TEXTS,
                                          .figures = spectrum_figures,
                                          .height = spectrum_height,
                                          .draw = draw_spectrum};
