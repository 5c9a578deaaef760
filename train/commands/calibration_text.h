/* The text that rank and convert look at, from their options. */
#ifndef MLA_TRAIN_COMMANDS_CALIBRATION_TEXT_H
#define MLA_TRAIN_COMMANDS_CALIBRATION_TEXT_H

#include "autograd/schema/fields.h"
#include "train/commands/load.h"
#include "train/convert/calibration.h"

typedef struct {
    mla_list calibrate; /* texts, or one token file; none: no text */
    int64_t tokens, sequence;
    char *field;
} mla_calibration_options;

/* Their fields, for the table of a command whose options have them `at` this offset. */
#define MLA_CALIBRATION_FIELDS(at)                                                                                \
    {"calibrate", MLA_FIELD_LIST, (at) + offsetof(mla_calibration_options, calibrate),                            \
     .help = "text like that the model is for: files, folders, globs, or one token file (.h5); may be repeated"}, \
        {"tokens",                                                                                                \
         MLA_FIELD_INT,                                                                                           \
         (at) + offsetof(mla_calibration_options, tokens),                                                        \
         32768,                                                                                                   \
         3,                                                                                                       \
         1 << 30,                                                                                                 \
         .help = "of the text to use at most, evenly spread; a third of them only measures the result"},          \
        {"sequence", MLA_FIELD_INT, (at) + offsetof(mla_calibration_options, sequence),        0,                 \
         0,          1 << 30,       .help = "tokens that are seen together; 0: as in training"},                  \
    {                                                                                                             \
        "field", MLA_FIELD_STRING, (at) + offsetof(mla_calibration_options, field),                               \
            .text = "text", .help = "JSONL: the key that holds the text"                                          \
    }

/* Begins as {0}. */
typedef struct {
    mla_token_file *file; /* or */
    mla_text_ids ids;
    mla_token_stream stream;
} mla_calibration_source;

/* Reads the text of the options with the model's tokenizer; `out` points into `source`, and to no text where the
 * options name none. The caller closes the source in any case. MLA_ERROR_ARGUMENT: a token file among others; the
 * errors of texts and token files. */
mla_status mla_calibration_open(mla_context *context, const mla_loaded *loaded, const mla_calibration_options *options,
                                mla_calibration_source *source, mla_calibration_text *out);
void mla_calibration_close(mla_calibration_source *source);

#endif
