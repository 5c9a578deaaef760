/* Any bytes as the YAML of a recipe: refused, or what is saved of it is read again as the same. */
#include "autograd/schema/yaml.h"
#include "layers/parts/config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A field of each kind, as recipes have them. */
typedef struct {
    mla_model_config model;
    char *text, *usual;
    mla_list paths, words;
} recipe;

static const mla_field fields[] = {
    {"model", MLA_FIELD_GROUP, offsetof(recipe, model), .group = &mla_model_fields, .help = "a model"},
    {"text", MLA_FIELD_STRING, offsetof(recipe, text), .help = "a text"},
    {"usual", MLA_FIELD_STRING, offsetof(recipe, usual), .text = "usual", .help = "a text with a default"},
    {"paths", MLA_FIELD_LIST, offsetof(recipe, paths), .help = "paths"},
    {"words", MLA_FIELD_WORDS, offsetof(recipe, words), .help = "words"},
};
static const mla_field_table table = {fields, sizeof fields / sizeof *fields, sizeof(recipe)};

static char path[] = "/dev/shm/mla-fuzz-XXXXXX";

static void remove_file(void) { remove(path); }

static void write_file(const uint8_t *data, size_t size) {
    static bool made;
    if (!made && (mkstemp(path) < 0 || atexit(remove_file))) abort();
    made = true;
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file)) abort();
}

static char *text_of(mla_context *context, const recipe *r) {
    json_t *json = mla_fields_write_json(context, &table, r);
    char *text = json ? mla_json_text(context, json) : NULL;
    json_decref(json);
    if (!text) abort();
    return text;
}

static void check_round_trip(mla_context *context, const recipe *r) {
    recipe again;
    if (mla_fields_default(context, &table, &again) || mla_yaml_save(context, path, &table, r) ||
        mla_yaml_load(context, path, &table, &again))
        abort();
    char *x = text_of(context, r), *y = text_of(context, &again);
    if (strcmp(x, y)) abort();
    free(x);
    free(y);
    mla_fields_free(&table, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mla_context *context;
    recipe r;
    if (mla_context_create(&context, NULL)) return 0;
    write_file(data, size);
    if (!mla_fields_default(context, &table, &r)) {
        const mla_status status = mla_yaml_load(context, path, &table, &r);
        if (status != mla_error_status(context)) abort();
        if (!status && (mla_fields_check(context, "", &table, &r) || !r.usual)) abort();
        if (!status) check_round_trip(context, &r);
        mla_fields_free(&table, &r);
    }
    mla_context_destroy(context);
    return 0;
}
