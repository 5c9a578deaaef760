/* Between adapter.c (files), adapter_config.c (PEFT's words) and adapter_export.c: not for others. */
#ifndef MLA_TRAIN_ADAPTER_ADAPTER_INTERNAL_H
#define MLA_TRAIN_ADAPTER_ADAPTER_INTERNAL_H

#include "data/formats/safetensors.h"
#include "train/adapter/adapter.h"
#include "train/checkpoint/checkpoint.h"

#include <jansson.h>
#include <limits.h>

/* A tensor in the file, and where attach has made room for it. */
typedef struct {
    char name[MLA_H5_MAX_NAME];         /* as PEFT saves it, whatever the file calls it */
    const mla_safetensors_info *stored; /* in PEFT's file; NULL in ours */
    int ndim;
    int64_t shape[MLA_MAX_DIMS];
    const mla_tensor *to; /* NULL before */
} mla_adapter_tensor;

struct mla_adapter {
    mla_context *context;
    char path[PATH_MAX]; /* the file or folder */
    json_t *config;
    char *labels;               /* JSON list of names, of a head of its own, once that is taken */
    mla_checkpoint *checkpoint; /* or */
    mla_safetensors *safetensors;
    mla_adapter_tensor *tensors;
    int64_t count;
};

/* Whether the configuration is one of an adapter that we have. */
mla_status mla_adapter_check_config(mla_context *context, const char *where, const json_t *config);
/* What it says of a projection: the value of `pattern` whose key names it (as PEFT matches them), else of `key`. */
mla_status mla_adapter_setting(mla_context *context, const char *where, const json_t *config, const char *pattern,
                               const char *key, const char *projection, double *out);
/* Whether it has tensors for a module, by the module's name in the model. */
bool mla_adapter_has(const mla_adapter *adapter, const char *module);
/* Every module that the configuration promises an adapter for, by PEFT's rules, has its tensors, and no other has any:
 * otherwise MLA_ERROR_FORMAT lists them; MLA_ERROR_ARGUMENT where the model has no such module. */
mla_status mla_adapter_check_targets(const mla_adapter *adapter, const mla_decoder *model);
/* Whether modules_to_save names the head alone. */
mla_status mla_adapter_check_saved_modules(mla_context *context, const char *where, const json_t *config);
/* Whether the head that the configuration promises is there, and no other. */
mla_status mla_adapter_check_head(const mla_adapter *adapter);
/* Writes the file with the names of its labels for a folder of PEFT's files; without a head of its own nothing. */
mla_status mla_adapter_write_labels(const mla_adapter *adapter, const char *path);
/* Its tensor of this name (MODULE ENDING, without PEFT's beginning); NULL where there is none. */
mla_adapter_tensor *mla_adapter_find(const mla_adapter *adapter, const char *module, const char *ending);
mla_status mla_adapter_read_tensor(const mla_adapter *adapter, const mla_adapter_tensor *tensor, const mla_tensor *to);

#endif
