/* Figures in JSON: put in, and read by who draws them, as numbers and texts by autograd/json/tree.h. */
#ifndef MLA_TRAIN_DRAW_FIGURES_H
#define MLA_TRAIN_DRAW_FIGURES_H

#include "autograd/json/tree.h"

#include <jansson.h>
#include <stdint.h>

void mla_figure_set_integer(json_t *figures, const char *key, int64_t value);
void mla_figure_set_number(json_t *figures, const char *key, double value); /* null where it is not finite */
void mla_figure_set_text(json_t *figures, const char *key, const char *value);

const json_t *mla_figure_list(const json_t *figures, const char *key);
int64_t mla_figure_count(const json_t *figures, const char *key); /* of a list's elements */
const json_t *mla_figure_at(const json_t *list, int64_t i);

#endif
