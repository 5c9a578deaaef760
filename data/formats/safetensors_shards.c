/* What a path stands for: one file, or an index and its shards. */
#include "autograd/base/file.h"
#include "autograd/json/tree.h"
#include "data/formats/safetensors_internal.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST_INDEX = 100000000 };

static const char index_ending[] = ".index.json";

static mla_status safetensors_shards_join(mla_context *context, char out[PATH_MAX], const char *folder, size_t length,
                                          const char *name) {
    const int used = snprintf(out, PATH_MAX, "%.*s%s", (int)length, folder, name);
    return used < PATH_MAX ? MLA_OK : mla_fail(context, MLA_ERROR_ARGUMENT, "%s: the path is too long", folder);
}

/* The file of an index's folder; its name must not lead elsewhere. */
static mla_status shard_path(mla_safetensors *st, char out[PATH_MAX], const char *index, const char *tensor,
                             const char *shard) {
    const char *slash = strrchr(index, '/');
    if (!shard || !shard[0] || strchr(shard, '/') || !strcmp(shard, ".") || !strcmp(shard, ".."))
        return mla_fail(st->context, MLA_ERROR_FORMAT, "%s: tensor %s: \"%.200s\" is not the name of a file beside it",
                        index, tensor, shard ? shard : "");
    return safetensors_shards_join(st->context, out, index, slash ? (size_t)(slash + 1 - index) : 0, shard);
}

static bool is_open(const mla_safetensors *st, const char *path) {
    for (int64_t i = 0; i < st->part_count; i++)
        if (!strcmp(st->parts[i].path, path)) return true;
    return false;
}

static mla_status open_shards(mla_safetensors *st, const char *index, json_t *map) {
    char path[PATH_MAX];
    const char *tensor;
    json_t *shard;
    json_object_foreach(map, tensor, shard) {
        mla_status status = shard_path(st, path, index, tensor, json_string_value(shard));
        if (status) return status;
        if (is_open(st, path)) continue;
        if (access(path, F_OK))
            return mla_fail(st->context, MLA_ERROR_IO, "%s: shard %s is missing; %s is in it", index, path, tensor);
        if ((status = mla_safetensors_add_file(st, path))) return status;
    }
    return mla_safetensors_sort(st);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The index and the shards say the same. */
static mla_status check_index(const mla_safetensors *st, const char *index, json_t *map) {
    const char *tensor;
    json_t *shard;
    json_object_foreach(map, tensor, shard) {
        const mla_safetensors_info *t = mla_safetensors_find(st, tensor);
        if (!t)
            return mla_fail(st->context, MLA_ERROR_FORMAT, "%s: tensor %s is not in shard %s", index, tensor,
                            json_string_value(shard));
        if (strcmp(base_name(t->file), json_string_value(shard)))
            return mla_fail(st->context, MLA_ERROR_FORMAT, "%s: tensor %s should be in shard %s, but is in %s", index,
                            tensor, json_string_value(shard), base_name(t->file));
    }
    for (int64_t i = 0; i < st->count; i++)
        if (!json_object_get(map, st->tensors[i].name))
            return mla_fail(st->context, MLA_ERROR_FORMAT, "%s: does not list tensor %s, which is in shard %s", index,
                            st->tensors[i].name, base_name(st->tensors[i].file));
    return MLA_OK;
}

static mla_status open_index(mla_safetensors *st, const char *path) {
    char *text, where[PATH_MAX + 2];
    int64_t length;
    json_t *index;
    mla_status status = mla_file_read(st->context, &text, &length, path, LARGEST_INDEX);
    if (status) return status;
    snprintf(where, sizeof where, "%s: ", path);
    status = mla_json_read(st->context, where, text, length, 0, &index);
    json_t *map = json_object_get(index, "weight_map");
    if (!status && !json_is_object(map))
        status = mla_fail(st->context, MLA_ERROR_FORMAT, "%s: has no weight_map of tensors and their files", path);
    if (!status) status = open_shards(st, path, map);
    if (!status) status = check_index(st, path, map);
    json_decref(index);
    free(text);
    return status;
}

/* The file or the index in a folder, in the order in which transformers looks for them. */
static mla_status find_in_folder(mla_context *context, char out[PATH_MAX], const char *folder) {
    static const char *const names[] = {"/model.safetensors", "/model.safetensors.index.json"};
    for (int i = 0; i < 2; i++) {
        const mla_status status = safetensors_shards_join(context, out, folder, strlen(folder), names[i]);
        if (status || !access(out, F_OK)) return status;
    }
    return mla_fail(context, MLA_ERROR_IO,
                    "%s: has neither model.safetensors nor model.safetensors.index.json (other "
                    "formats are not read; save_pretrained of transformers writes this one)",
                    folder);
}

static mla_status open_path(mla_safetensors *st, const char *path) {
    char inner[PATH_MAX];
    struct stat info;
    if (stat(path, &info)) return mla_fail(st->context, MLA_ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) {
        const mla_status status = find_in_folder(st->context, inner, path);
        if (status) return status;
        path = inner;
    }
    if (mla_ends_with(path, index_ending)) return open_index(st, path);
    const mla_status status = mla_safetensors_add_file(st, path);
    return status ? status : mla_safetensors_sort(st);
}

mla_status mla_safetensors_open(mla_context *context, mla_safetensors **out, const char *path) {
    mla_safetensors *st = *out = mla_alloc(context, 1, sizeof *st, path);
    if (!st) return MLA_ERROR_MEMORY;
    st->context = context;
    const mla_status status = open_path(st, path);
    if (status) {
        mla_safetensors_close(st);
        *out = NULL;
    }
    return status;
}
