/* Attention maps of a sentence: for each head of each layer, how much each token looks at those before it. */
#include "autograd/base/utf8.h"
#include "train/draw/figures.h"
#include "train/draw/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 256, MOST_MAPS = 256, MOST_WEIGHTS = 1 << 21 };

/* ---- figures */

typedef struct {
    mla_context *context;
    bool causal;
    int64_t layer, head; /* -1: all */
    float *q;            /* (T,H,K) of the layer that is being looked at */
    int64_t heads, width;
    float scale;
    json_t *maps;
} looker;

static mla_status keep_queries(looker *l, const mla_attention_sight *sight) {
    const mla_tensor *q = sight->first;
    free(l->q);
    l->q = mla_alloc(l->context, mla_count(q), sizeof *l->q, "the queries");
    if (!l->q) return MLA_ERROR_MEMORY;
    memcpy(l->q, q->data, (size_t)mla_size(q));
    l->heads = q->shape[2];
    l->width = q->shape[3];
    l->scale = sight->scale;
    return MLA_OK;
}

/* softmax(scale q kᵀ) of one token, over the keys that it sees. */
static json_t *weights_of(const looker *l, const mla_tensor *k, int64_t head, int64_t t) {
    const int64_t length = k->shape[1], groups = k->shape[2], group = head * groups / l->heads;
    const int64_t seen = l->causal ? t + 1 : length;
    const float *q = l->q + (t * l->heads + head) * l->width, *keys = (const float *)k->data + group * l->width;
    double scores[MOST_TOKENS], top = -INFINITY, sum = 0;
    json_t *row = json_array();
    for (int64_t s = 0; s < seen; s++) {
        scores[s] = 0;
        for (int64_t i = 0; i < l->width; i++) scores[s] += (double)q[i] * (double)keys[s * groups * l->width + i];
        scores[s] *= (double)l->scale;
        top = fmax(top, scores[s]);
    }
    for (int64_t s = 0; s < seen; s++) sum += exp(scores[s] - top);
    for (int64_t s = 0; s < seen; s++) json_array_append_new(row, json_real(exp(scores[s] - top) / sum));
    return row;
}

static void add_maps(looker *l, int64_t layer, const mla_tensor *k) {
    for (int64_t head = 0; head < l->heads; head++) {
        if (l->head >= 0 && l->head != head) continue;
        json_t *map = json_object(), *rows = json_array();
        for (int64_t t = 0; t < k->shape[1]; t++) json_array_append_new(rows, weights_of(l, k, head, t));
        mla_figure_set_integer(map, "layer", layer);
        mla_figure_set_integer(map, "head", head);
        json_object_set_new(map, "weights", rows);
        json_array_append_new(l->maps, map);
    }
}

static void look(void *user, mla_tape *tape, const mla_attention_sight *sight) {
    looker *l = user;
    (void)tape;
    if (l->layer >= 0 && sight->layer != l->layer) return;
    if (sight->step == MLA_STEP_QUERIES) keep_queries(l, sight);
    if (sight->step == MLA_STEP_KEYS && l->q) add_maps(l, sight->layer, sight->first);
}

static mla_status read_sentence(const mla_picture_subject *s, looker *l) {
    const mla_onlooker onlooker = {look, l};
    const mla_pass pass = {.onlooker = &onlooker};
    mla_tape *tape;
    const mla_status status = mla_tape_create(s->context, &tape, NULL);
    if (status) return status;
    mla_tape_begin(tape, &(mla_step){.inference = true});
    mla_decoder_hidden(tape, s->model, mla_input(tape, MLA_I32, 2, (int64_t[]){1, s->count}, s->ids), &pass);
    mla_tape_destroy(tape);
    return mla_error_status(s->context);
}

/* Spaces and line ends as signs. */
static const char *sign_of(char c) { return c == ' ' ? "·" : c == '\n' ? "↵" : c == '\t' ? "→" : NULL; }

/* A token as it is shown, cut where it is long. */
static json_t *token_text(const mla_picture_subject *s, int32_t id) {
    enum { LONGEST = 40 };
    char valid[3 * LONGEST], text[9 * LONGEST + 1];
    const char *bytes;
    int64_t length;
    size_t used = 0;
    if (mla_tokenizer_token(s->context, s->tokenizer, id, &bytes, &length)) return NULL;
    const int64_t count = mla_utf8_repair(bytes, length < LONGEST ? length : LONGEST, true, valid);
    for (int64_t i = 0; i < count; i++) {
        const char *sign = sign_of(valid[i]);
        if (sign) used += (size_t)snprintf(text + used, sizeof text - used, "%s", sign);
        else text[used++] = valid[i];
    }
    return json_stringn(text, used);
}

static mla_status check_choice(const mla_picture_subject *s, const char *option, int64_t value, int64_t count) {
    if (value < count) return MLA_OK;
    return mla_fail(s->context, MLA_ERROR_ARGUMENT, "--%s %lld: %s has %ss 0 to %lld", option, (long long)value,
                    s->name, option, (long long)count - 1);
}

static mla_status check_sizes(const mla_picture_subject *s, const mla_picture_options *o) {
    const mla_model_config *c = s->config;
    const int64_t most = c->max_position_embeddings < MOST_TOKENS ? c->max_position_embeddings : MOST_TOKENS;
    const int64_t maps = (o->layer < 0 ? c->num_hidden_layers : 1) * (o->head < 0 ? c->num_attention_heads : 1);
    mla_status status = check_choice(s, "layer", o->layer, c->num_hidden_layers);
    if (!status) status = check_choice(s, "head", o->head, c->num_attention_heads);
    if (status) return status;
    if (s->count > most)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT,
                        "the text has %lld tokens, and maps of at most %lld can be drawn%s: give a shorter text",
                        (long long)s->count, (long long)most,
                        most < MOST_TOKENS ? " (the model's max_position_embeddings)" : "");
    if (maps <= MOST_MAPS && maps * s->count * s->count <= MOST_WEIGHTS) return MLA_OK;
    return mla_fail(
        s->context, MLA_ERROR_ARGUMENT,
        "%lld maps of %lld tokens are too many for one picture: choose with --layer and --head, or give a shorter "
        "text",
        (long long)maps, (long long)s->count);
}

static mla_status attention_figures(const mla_picture_subject *s, const mla_picture_options *o, json_t *out) {
    looker l = {.context = s->context, .causal = s->config->causal, .layer = o->layer, .head = o->head};
    mla_status status = check_sizes(s, o);
    json_t *tokens = json_array();
    l.maps = json_array();
    for (int64_t i = 0; i < s->count && !status; i++) json_array_append_new(tokens, token_text(s, s->ids[i]));
    json_object_set_new(out, "tokens", tokens);
    json_object_set_new(out, "maps", l.maps);
    json_object_set_new(out, "heads_in_a_row", json_integer(o->head < 0 ? s->config->num_attention_heads : 1));
    if (!status) status = read_sentence(s, &l);
    free(l.q);
    return status;
}

/* ---- drawing: one large map with its tokens, or a grid of small ones */

enum { GRID_TOP = 120, GAP = 14, TITLE = 20, MOST_COLUMNS = 16, LABELS = 150 };

static int64_t columns_of(const json_t *f) {
    const int64_t maps = mla_figure_count(f, "maps"), heads = (int64_t)mla_json_number_of(f, "heads_in_a_row");
    const int64_t columns = heads > 1 ? heads : maps;
    if (columns <= 8) return columns;
    return columns % 8 == 0 || columns > MOST_COLUMNS ? 8 : columns;
}

static double side_of(const json_t *f) {
    const int64_t columns = columns_of(f);
    return mla_figure_count(f, "maps") == 1 ? 1000 - LABELS - 90
                                            : fmin((1000 - GAP * (double)(columns - 1)) / (double)columns, 320);
}

static double attention_height(const json_t *f) {
    const int64_t columns = columns_of(f), rows = (mla_figure_count(f, "maps") + columns - 1) / columns;
    if (mla_figure_count(f, "maps") == 1) return GRID_TOP + side_of(f) + LABELS + 30;
    return GRID_TOP + (side_of(f) + TITLE + GAP) * (double)rows + 40;
}

/* Square roots, so that small weights are seen. */
static void draw_map(mla_canvas *canvas, const json_t *map, mla_rect r) {
    const json_t *rows = mla_figure_list(map, "weights");
    const int64_t count = mla_figure_count(map, "weights");
    double *strengths = malloc((size_t)(count * count) * sizeof *strengths);
    for (int64_t t = 0; strengths && t < count; t++)
        for (int64_t s = 0; s < count; s++) {
            const json_t *weight = mla_figure_at(mla_figure_at(rows, t), s);
            strengths[t * count + s] = weight ? sqrt(json_number_value(weight)) : (double)NAN;
        }
    if (strengths) mla_canvas_cells(canvas, r, count, count, strengths, MLA_INK_BLUE);
    free(strengths);
    mla_canvas_box(canvas, r, MLA_INK_NONE, 0, MLA_INK_GRID);
}

static void draw_tokens(mla_canvas *canvas, const json_t *f, mla_rect r) {
    const int64_t count = mla_figure_count(f, "tokens");
    const double cell = r.height / (double)count;
    const mla_lettering left = {.size = fmin(cell * 0.8, 13), .anchor = MLA_RIGHT, .room = LABELS - 10};
    if (cell < 9) return; /* too small to be read */
    for (int64_t i = 0; i < count; i++) {
        const char *text = json_string_value(mla_figure_at(mla_figure_list(f, "tokens"), i));
        const double at = ((double)i + 0.5) * cell + left.size * 0.35;
        mla_canvas_text(canvas, r.x - 8, r.y + at, &left, text ? text : "");
        mla_canvas_text_upwards(canvas, r.x + at, r.y + r.height + 8, &left, text ? text : "");
    }
}

static void draw_one(mla_canvas *canvas, const json_t *f) {
    const mla_rect r = {40 + LABELS, GRID_TOP, side_of(f), side_of(f)};
    draw_map(canvas, mla_figure_at(mla_figure_list(f, "maps"), 0), r);
    draw_tokens(canvas, f, r);
}

static void draw_grid(mla_canvas *canvas, const json_t *f) {
    const int64_t columns = columns_of(f);
    const double side = side_of(f);
    for (int64_t i = 0; i < mla_figure_count(f, "maps"); i++) {
        const json_t *map = mla_figure_at(mla_figure_list(f, "maps"), i);
        const double x = 40 + (side + GAP) * (double)(i % columns);
        const double y = GRID_TOP + TITLE + (side + TITLE + GAP) * (double)(i / columns);
        mla_canvas_print(canvas, x, y - 5, &(mla_lettering){.size = 12, .ink = MLA_INK_PALE_TEXT, .room = side},
                         side < 100 ? "%.0f, %.0f" : "layer %.0f, head %.0f", mla_json_number_of(map, "layer"),
                         mla_json_number_of(map, "head"));
        draw_map(canvas, map, (mla_rect){x, y, side, side});
    }
}

static void draw_attention(mla_canvas *canvas, const json_t *f) {
    const json_t *first = mla_figure_at(mla_figure_list(f, "maps"), 0);
    const bool one = mla_figure_count(f, "maps") == 1;
    char text[2048] = "";
    for (int64_t i = 0; i < mla_figure_count(f, "tokens") && strlen(text) < 1500; i++) {
        const char *token = json_string_value(mla_figure_at(mla_figure_list(f, "tokens"), i));
        snprintf(text + strlen(text), sizeof text - strlen(text), i ? " %s" : "%s", token ? token : "");
    }
    mla_canvas_print(canvas, 40, 38, &(mla_lettering){.size = 20, .bold = true, .room = 1000},
                     "What tokens look at: %s", mla_json_text_of(f, "model"));
    if (one)
        mla_canvas_print(
            canvas, 40, 62, &(mla_lettering){.ink = MLA_INK_PALE_TEXT, .room = 1000},
            "Layer %.0f, head %.0f. Each row is a token, and its columns are what it looks at; colours are the "
            "roots of the weights.",
            mla_json_number_of(first, "layer"), mla_json_number_of(first, "head"));
    else
        mla_canvas_text(canvas, 40, 62, &(mla_lettering){.ink = MLA_INK_PALE_TEXT, .room = 1000},
                        "Rows of a map are tokens, columns what they look at; colours are the roots of the weights.");
    mla_canvas_text(canvas, 40, 88, &(mla_lettering){.size = 12, .room = 1000}, text);
    (one ? draw_one : draw_grid)(canvas, f);
}

const mla_picture mla_picture_attention = {.name = "attention",
                                           .summary = "what the tokens of a sentence look at, in each head",
                                           .needs_weights = true,
                                           .text = MLA_PICTURE_SENTENCE,
                                           .figures = attention_figures,
                                           .height = attention_height,
                                           .draw = draw_attention};
