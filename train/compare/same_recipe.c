#include "train/compare/same_recipe.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY = 128 };

/* The first key in which two trees differ, and its values there. */
typedef struct {
    char key[KEY];
    const json_t *before, *now;
} difference;

static bool find_difference(const json_t *before, const json_t *now, const char *key, difference *out) {
    const char *name;
    json_t *value;
    if (json_equal(before, now)) return false;
    if (!json_is_object(before) || !json_is_object(now)) {
        snprintf(out->key, sizeof out->key, "%s", key);
        out->before = before;
        out->now = now;
        return true;
    }
    json_object_foreach((json_t *)(uintptr_t)now, name, value) {
        char inner[KEY];
        snprintf(inner, sizeof inner, "%s%s%s", key, *key ? "." : "", name);
        if (find_difference(json_object_get(before, name), value, inner, out)) return true;
    }
    json_object_foreach((json_t *)(uintptr_t)before, name, value) if (!json_object_get(now, name)) {
        snprintf(out->key, sizeof out->key, "%s%s%s", key, *key ? "." : "", name);
        out->before = value;
        return true;
    }
    return false;
}

static char *value_text(const json_t *value) {
    return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12)) : strdup("none");
}

static mla_status refuse(mla_context *context, const difference *d, const char *path, const char *what) {
    char *before = value_text(d->before), *now = value_text(d->now);
    const mla_status status = mla_fail(context, MLA_ERROR_ARGUMENT,
                                       "%s: holds %s whose %s is %.200s, and now it is %.200s: give it as it was, or "
                                       "choose another folder with --out",
                                       path, what, d->key, before ? before : "?", now ? now : "?");
    free(before);
    free(now);
    return status;
}

mla_status mla_same_recipe(mla_context *context, const mla_recipe *recipe, const char *path, const char *what) {
    if (access(path, F_OK)) return mla_recipe_save(context, recipe, path);
    mla_recipe stored;
    difference d = {.key = ""};
    mla_status status = mla_recipe_load(context, &stored, path, NULL, 0);
    if (status) return status;
    json_t *before = mla_fields_write_json(context, &mla_recipe_fields, &stored);
    json_t *now = mla_fields_write_json(context, &mla_recipe_fields, recipe);
    status = before && now ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status && find_difference(before, now, "", &d)) status = refuse(context, &d, path, what);
    json_decref(before);
    json_decref(now);
    mla_recipe_free(&stored);
    return status;
}
