/* Between safetensors.c (one file) and safetensors_shards.c (what a path stands for): not for others. */
#ifndef MLA_DATA_FORMATS_SAFETENSORS_INTERNAL_H
#define MLA_DATA_FORMATS_SAFETENSORS_INTERNAL_H

#include "data/formats/safetensors.h"

typedef struct {
    char *path;
    void *map; /* NULL: bytes of the caller's */
    size_t size;
} mla_safetensors_part;

struct mla_safetensors {
    mla_context *context;
    mla_safetensors_part *parts;
    int64_t part_count, part_capacity;
    mla_safetensors_info *tensors;
    int64_t count, capacity;
};

/* Maps a file, checks it and adds its tensors. */
mla_status mla_safetensors_add_file(mla_safetensors *st, const char *path);
/* Sorts by name. MLA_ERROR_FORMAT names a tensor that is there twice, and its files. */
mla_status mla_safetensors_sort(mla_safetensors *st);

#endif
