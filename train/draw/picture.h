/* What a picture is: figures of a model, as a JSON object, and a drawing that is made of these figures alone. So what
 * `mla draw --json` prints is what is drawn. */
#ifndef MLA_TRAIN_DRAW_PICTURE_H
#define MLA_TRAIN_DRAW_PICTURE_H

#include "data/tokenizer/tokenizer.h"
#include "layers/decoder.h"
#include "train/draw/canvas.h"

#include <jansson.h>

/* A model to be drawn. */
typedef struct {
    mla_context *context;
    const char *name;               /* for the titles */
    const mla_model_config *config; /* checked, with vocab_size */
    const mla_decoder *model;       /* with its weights; NULL where there are none */
    const mla_tokenizer *tokenizer; /* NULL where there is no text */
    const int32_t *ids;             /* the text */
    int64_t count;
} mla_picture_subject;

typedef struct {
    int64_t tokens;      /* length of the text that costs are stated for, or most of what is read; 0: as usual */
    bool measure;        /* flow: times and errors */
    int64_t layer, head; /* flow, attention: which; -1: the first, all */
} mla_picture_options;

/* What text a picture is made of. */
typedef enum { MLA_PICTURE_NO_TEXT, MLA_PICTURE_TEXTS, MLA_PICTURE_SENTENCE } mla_picture_text;

typedef struct {
    const char *name, *summary;
    bool needs_weights;
    mla_picture_text text;
    /* Fills an object. MLA_ERROR_ARGUMENT where the model has no such part. */
    mla_status (*figures)(const mla_picture_subject *subject, const mla_picture_options *options, json_t *out);
    double (*height)(const json_t *figures); /* all are MLA_PICTURE_WIDTH wide */
    void (*draw)(mla_canvas *canvas, const json_t *figures);
} mla_picture;

enum { MLA_PICTURE_WIDTH = 1080, MLA_PICTURE_TOKENS = 10000 /* that costs are stated for, usually */ };

/* All pictures; ends with NULL. */
extern const mla_picture *const mla_pictures[];

/* The picture of this name. MLA_ERROR_ARGUMENT names all. */
mla_status mla_picture_find(mla_context *context, const char *name, const mla_picture **out);

/* The figures of a picture, with its name and the model's; the caller calls json_decref(*out), NULL after an error.
 * MLA_ERROR_ARGUMENT where the subject lacks what the picture needs. */
mla_status mla_picture_figures(const mla_picture *picture, const mla_picture_subject *subject,
                               const mla_picture_options *options, json_t **out);

/* Draws figures; free(*bytes). Errors: mla_canvas_finish's. */
mla_status mla_picture_draw(mla_context *context, const mla_picture *picture, const json_t *figures,
                            mla_canvas_format format, mla_theme theme, char **bytes, int64_t *length);

#endif
