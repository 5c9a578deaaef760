#include "train/draw/figures.h"
#include "autograd/base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mla_figure_set_integer(json_t *figures, const char *key, int64_t value) {
    json_object_set_new(figures, key, json_integer(value));
}

void mla_figure_set_number(json_t *figures, const char *key, double value) {
    json_object_set_new(figures, key, isfinite(value) ? json_real(value) : json_null());
}

void mla_figure_set_text(json_t *figures, const char *key, const char *value) {
    const size_t length = strlen(value);
    char *valid = malloc(3 * length + 1); /* JSON takes characters only; without memory, the figure is missing */
    if (valid)
        json_object_set_new(figures, key,
                            json_stringn(valid, (size_t)mla_utf8_repair(value, (int64_t)length, true, valid)));
    free(valid);
}

const json_t *mla_figure_list(const json_t *figures, const char *key) { return json_object_get(figures, key); }

int64_t mla_figure_count(const json_t *figures, const char *key) {
    return (int64_t)json_array_size(mla_figure_list(figures, key));
}

const json_t *mla_figure_at(const json_t *list, int64_t i) { return json_array_get(list, (size_t)i); }
