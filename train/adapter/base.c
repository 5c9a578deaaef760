#include "train/adapter/base.h"
#include "autograd/kernels/rows.h"

#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static XXH64_hash_t hash_matrix(const mla_tensor *x, XXH64_hash_t hash) {
    const mla_values values = {x->data, x->dtype};
    for (int64_t i = 0; i < mla_count(x); i += MLA_PIECE) {
        const int64_t count = mla_piece(mla_count(x), i);
        uint16_t rounded[MLA_PIECE];
        if (x->dtype == MLA_F32) mla_narrow(count, (float *)x->data + i, rounded);
        const void *piece = x->dtype == MLA_F32 ? rounded : mla_beyond(values, i).data;
        hash = XXH3_64bits_withSeed(piece, (size_t)count * sizeof *rounded, hash);
    }
    return hash;
}

/* Of all parameters in their order: a hash of hashes. */
void mla_base_hash(const mla_decoder *model, char out[MLA_BASE_HASH]) {
    XXH64_hash_t hash = 0;
    for (int64_t i = 0; i < mla_params_count(model->params); i++) {
        const mla_param *p = mla_params_at(model->params, i);
        if (p->spec.adapter) continue;
        hash = XXH3_64bits_withSeed(p->spec.name, strlen(p->spec.name), hash);
        hash = p->spec.ndim > 1 ? hash_matrix(&p->tensor, hash)
                                : XXH3_64bits_withSeed(p->tensor.data, (size_t)mla_size(&p->tensor), hash);
    }
    snprintf(out, MLA_BASE_HASH, "%016" PRIx64, (uint64_t)hash);
}

char *mla_base_text(mla_context *context, const char *path, const mla_decoder *model) {
    char hash[MLA_BASE_HASH];
    mla_base_hash(model, hash);
    json_t *json = json_pack("{s:s, s:s}", "path", path, "hash", hash);
    char *text = json ? mla_json_text(context, json) : NULL;
    if (!json) mla_fail(context, MLA_ERROR_MEMORY, "no memory for the name of the base (%s)", path);
    json_decref(json);
    return text;
}

mla_status mla_base_check(mla_context *context, const char *where, const char *text, const mla_decoder *model) {
    char hash[MLA_BASE_HASH], begin[PATH_MAX + 32];
    json_t *json;
    snprintf(begin, sizeof begin, "%s: ", where);
    mla_status status = mla_json_parse(context, begin, text, &json);
    if (status) return status;
    const char *path = json_string_value(json_object_get(json, "path"));
    const char *wanted = json_string_value(json_object_get(json, "hash"));
    mla_base_hash(model, hash);
    if (!wanted || strcmp(wanted, hash))
        status = mla_fail(context, MLA_ERROR_ARGUMENT,
                          "%s: is an adapter for another base, %s: the weights of this one are "
                          "others (hash %s, not %s)",
                          where, path ? path : "unknown", hash, wanted ? wanted : "unknown");
    json_decref(json);
    return status;
}

static json_t *json_of(mla_context *context, const mla_model_config *config) {
    return mla_fields_write_json(context, &mla_model_fields, config);
}

static mla_status differ(mla_context *context, const char *where, const char *key, const json_t *a, const json_t *b) {
    char *wanted = json_dumps(a, JSON_ENCODE_ANY), *has = json_dumps(b, JSON_ENCODE_ANY);
    const mla_status status = mla_fail(context, MLA_ERROR_ARGUMENT,
                                       "%s: is an adapter for another base: one with %s %s, and this one has %s", where,
                                       key, wanted ? wanted : "?", has ? has : "?");
    free(wanted);
    free(has);
    return status;
}

mla_status mla_base_check_config(mla_context *context, const char *where, const mla_model_config *wanted,
                                 const mla_model_config *config) {
    json_t *a = json_of(context, wanted), *b = json_of(context, config), *value;
    const char *key;
    mla_status status = a && b ? MLA_OK : mla_error_status(context);
    json_object_foreach(a, key, value) {
        const json_t *other = json_object_get(b, key);
        if (!status && strcmp(key, "dropout") && !json_equal(value, (json_t *)(uintptr_t)other))
            status = differ(context, where, key, value, other);
    }
    json_decref(a);
    json_decref(b);
    return status;
}
