#include "layers/adapt/names.h"
#include "autograd/schema/nearest.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_NAME = 2 * MLA_LONGEST_PATTERN };

bool mla_name_matches(const char *pattern, const char *name) {
    char behind_dot[MLA_LONGEST_PATTERN + 2];
    if (snprintf(behind_dot, sizeof behind_dot, "*.%s", pattern) >= (int)sizeof behind_dot) return false;
    return !fnmatch(pattern, name, 0) || !fnmatch(behind_dot, name, 0);
}

bool mla_name_is_of_backbone(const char *name) { return !strncmp(name, "model.", strlen("model.")); }

/* ---- parameters ---- */

/* "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight". */
static void stem_of(const mla_param *p, char out[LONGEST_NAME]) {
    snprintf(out, LONGEST_NAME, "%s", p->spec.name);
    char *dot = strrchr(out, '.');
    if (dot) *dot = '\0';
}

static bool names(const char *pattern, const mla_param *p) {
    char stem[LONGEST_NAME];
    stem_of(p, stem);
    return mla_name_matches(pattern, p->spec.name) || mla_name_matches(pattern, stem);
}

static const char *last_part(const char *name) { return strrchr(name, '.') ? strrchr(name, '.') + 1 : name; }

/* The last parts of the stems of the first block and of what is outside the blocks, each once: "embed_tokens, ...". */
static void list_known(const mla_decoder *model, size_t size, char *out) {
    char stem[LONGEST_NAME], last[LONGEST_NAME] = "";
    out[0] = '\0';
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        const size_t used = strlen(out);
        stem_of(mla_params_at(model->params, i), stem);
        if ((strstr(stem, ".layers.") && !strstr(stem, ".layers.0.")) || !strcmp(stem, last)) continue;
        snprintf(out + used, size - used, "%s%s", used ? ", " : "", last_part(stem));
        memcpy(last, stem, sizeof last);
    }
}

/* The nearest whole stem where the pattern has a dot, the nearest last part of one where it has none. */
static mla_status names_nothing(const mla_decoder *model, const char *key, const char *pattern) {
    char stem[LONGEST_NAME], best[LONGEST_NAME] = "", known[512];
    mla_nearest nearest = {.word = pattern};
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        stem_of(mla_params_at(model->params, i), stem);
        const char *candidate = strchr(pattern, '.') ? stem : last_part(stem), *before = nearest.best;
        mla_nearest_offer(&nearest, candidate);
        if (nearest.best != candidate || (before && !strcmp(best, candidate))) continue;
        snprintf(best, sizeof best, "%s", candidate);
        nearest.best = best; /* the candidate is gone with the next one */
    }
    list_known(model, sizeof known, known);
    return mla_fail(model->context, MLA_ERROR_ARGUMENT, "%s: \"%s\" names no parameter of this model%s%s%s; it has %s",
                    key, pattern, nearest.best ? ": did you mean \"" : "", nearest.best ? best : "",
                    nearest.best ? "\"?" : "", known);
}

/* Thaws what the pattern names. */
static mla_status thaw(mla_decoder *model, const char *key, const char *pattern) {
    int64_t count = 0;
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        mla_param *p = mla_params_at(model->params, i);
        if (!names(pattern, p)) continue;
        p->spec.frozen = false;
        p->tensor.needs_grad = true;
        count++;
    }
    return count ? MLA_OK : names_nothing(model, key, pattern);
}

mla_status mla_names_train_only(mla_decoder *model, const char *key, const mla_list *patterns) {
    mla_status status = MLA_OK;
    if (!patterns->count) return MLA_OK;
    mla_params_freeze(model->params);
    for (int64_t i = 0; i < patterns->count && !status; i++) status = thaw(model, key, patterns->items[i]);
    return status;
}
