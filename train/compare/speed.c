#include "train/compare/speed.h"
#include "autograd/base/file.h"
#include "autograd/base/memory.h"
#include "train/inference/decode_bench.h"
#include "train/log/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FILE = 1 << 20 };
static const char file_name[] = "decoding.json";

static mla_model_config config_of(const mla_comparison *c, int arm, int64_t context) {
    mla_model_config config = c->arms.of[arm].recipe.model;
    if (!config.vocab_size) config.vocab_size = c->vocabulary;
    config.max_position_embeddings = context + MLA_DECODE_TOKENS;
    return config;
}

/* All models at once, with their caches. */
static int64_t bytes_needed(const mla_comparison *c, int64_t context) {
    int64_t bytes = 0;
    for (int i = 0; i < c->arms.count; i++)
        bytes += (context + MLA_DECODE_TOKENS) * c->arms.of[i].cache_bytes +
                 c->arms.of[i].parameters * (int64_t)sizeof(float);
    return bytes;
}

static json_t *skipped(int64_t needed, int64_t available) {
    char reason[128], need[32], have[32];
    mla_bytes_text((double)needed, sizeof need, need);
    mla_bytes_text((double)available, sizeof have, have);
    snprintf(reason, sizeof reason, "models and caches need %s, and the machine has %s left", need, have);
    return json_string(reason);
}

static mla_status measure_context(mla_comparison *c, int64_t context, json_t *entry) {
    mla_decode_case cases[MLA_MOST_ARMS];
    mla_decode_speed speeds[MLA_MOST_ARMS];
    mla_model_config *configs = mla_alloc(c->context, c->arms.count, sizeof *configs, "the arms' models");
    if (!configs) return MLA_ERROR_MEMORY;
    for (int i = 0; i < c->arms.count; i++) {
        configs[i] = config_of(c, i, context);
        cases[i] = (mla_decode_case){&configs[i], 1, MLA_F32, MLA_F32};
    }
    const mla_status status = mla_measure_decode(c->context, c->arms.count, cases, context, speeds);
    json_t *by_name = json_object();
    for (int i = 0; i < c->arms.count && !status; i++)
        json_object_set_new(by_name, c->arms.of[i].name, json_real(speeds[i].tokens_per_second));
    json_object_set_new(entry, "tokens_per_second", by_name);
    free(configs);
    return status;
}

static mla_status measure_all(mla_comparison *c, json_t *contexts) {
    const mla_ints *wanted = &c->o->contexts;
    mla_status status = MLA_OK;
    for (int64_t k = 0; k < wanted->count && !status; k++) {
        const int64_t context = wanted->items[k], needed = bytes_needed(c, context), available = mla_memory_available();
        json_t *entry = json_object();
        json_object_set_new(entry, "context", json_integer(context));
        if (available && needed > available) json_object_set_new(entry, "skipped", skipped(needed, available));
        else status = measure_context(c, context, entry);
        json_array_append_new(contexts, entry);
    }
    return status;
}

static mla_status write_file(mla_comparison *c, const json_t *json) {
    char path[PATH_MAX];
    char *text = mla_json_text(c->context, json);
    mla_status status = text ? mla_comparison_path(c, file_name, path) : MLA_ERROR_MEMORY;
    if (!status) status = mla_file_write(c->context, path, text, (int64_t)strlen(text));
    free(text);
    return status;
}

mla_status mla_speed_measure(mla_comparison *c, json_t **out) {
    mla_status status = mla_speed_read(c, out);
    if (status || *out) return status;
    if (c->o->progress && c->o->contexts.count) fprintf(c->o->progress, "measuring how fast the arms decode\n");
    *out = json_object();
    json_t *contexts = json_array();
    status = measure_all(c, contexts);
    json_object_set_new(*out, "contexts", contexts);
    return status ? status : write_file(c, *out);
}

/* Whether an entry is of this context and has all arms, or was skipped. */
static bool fits(const mla_comparison *c, const json_t *entry, int64_t context) {
    const json_t *speeds = json_object_get(entry, "tokens_per_second");
    if (json_integer_value(json_object_get(entry, "context")) != context) return false;
    if (json_is_string(json_object_get(entry, "skipped"))) return true;
    for (int i = 0; i < c->arms.count; i++)
        if (!json_is_real(json_object_get(speeds, c->arms.of[i].name))) return false;
    return (int)json_object_size(speeds) == c->arms.count;
}

mla_status mla_speed_read(mla_comparison *c, json_t **out) {
    char path[PATH_MAX], where[PATH_MAX + 2], *bytes = NULL;
    int64_t length;
    *out = NULL;
    mla_status status = mla_comparison_path(c, file_name, path);
    if (status || access(path, F_OK)) return status;
    snprintf(where, sizeof where, "%s: ", path);
    status = mla_file_read(c->context, &bytes, &length, path, MOST_FILE);
    if (!status) status = mla_json_read(c->context, where, bytes, length, 0, out);
    free(bytes);
    if (status) return status;
    const json_t *contexts = json_object_get(*out, "contexts");
    bool same = (int64_t)json_array_size(contexts) == c->o->contexts.count;
    for (size_t k = 0; k < json_array_size(contexts) && same; k++)
        same = fits(c, json_array_get(contexts, k), c->o->contexts.items[k]);
    if (same) return MLA_OK;
    json_decref(*out);
    *out = NULL;
    return MLA_OK;
}
