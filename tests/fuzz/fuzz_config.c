/* Any text as a config.json: refused, or a checked configuration that is written and read again as the same.
 */
#include "train/hugging_face/model_config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void check_same(mla_context *context, const mla_model_config *a, const mla_model_config *b) {
    char *x = mla_model_config_json(context, a), *y = mla_model_config_json(context, b);
    if (!x || !y || strcmp(x, y)) abort();
    free(x);
    free(y);
}

/* A model that transformers itself would refuse need not be writable. */
static void check_round_trip(mla_context *context, const mla_model_config *config, const char *text) {
    mla_model_config again;
    json_t *origin, *json;
    if (mla_json_parse(context, "", text, &origin)) abort();
    json = mla_hugging_face_write(context, config, origin);
    if (!json && mla_error_status(context) != MLA_ERROR_ARGUMENT) abort();
    if (json) {
        char *written = mla_json_text(context, json);
        if (!written || mla_hugging_face_read(context, "", written, &again)) abort();
        check_same(context, config, &again);
        free(written);
    }
    json_decref(json);
    json_decref(origin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mla_context *context;
    mla_model_config config;
    char *text = malloc(size + 1);
    if (!text || mla_context_create(&context, NULL)) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    const mla_status status = mla_hugging_face_read(context, "", text, &config);
    if (status != mla_error_status(context)) abort();
    if (!status) check_round_trip(context, &config, text);
    mla_clear_error(context);
    mla_list ignored = {0};
    if (!mla_model_config_parse_json(context, "", text, &config, &ignored)) check_same(context, &config, &config);
    mla_list_free(&ignored);
    mla_context_destroy(context);
    free(text);
    return 0;
}
