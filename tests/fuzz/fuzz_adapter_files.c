/* The files of an adapter: ours, changed, sealed again or not; or PEFT's, an adapter_config.json and the header and
 * some bytes of an adapter_model.safetensors. Refused, or the adapter goes on its model and all its numbers are finite.
 */
#include "autograd/base/file.h"
#include "layers/attention/latent_attention.h"
#include "tests/fuzz/edits.h"
#include "train/adapter/adapter.h"
#include "train/adapter/base.h"
#include "train/checkpoint/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_BYTES = 4096 };

/* ---- the model */

static mla_decoder *make_model(mla_context *context, const mla_lora_options *adapters) {
    mla_model_config c;
    mla_decoder *model;
    mla_model_config_default(context, &c);
    c.vocab_size = 7;
    c.hidden_size = 8;
    c.intermediate_size = 6;
    c.num_hidden_layers = 1;
    c.num_attention_heads = 2;
    c.kv_lora_rank = 3;
    c.qk_nope_head_dim = 4;
    c.qk_rope_head_dim = 2;
    c.v_head_dim = 4;
    c.max_position_embeddings = 8;
    if (mla_model_config_check(context, "", &c) || mla_decoder_create(context, &model, &c)) abort();
    if (adapters && mla_adapters_attach(model, adapters)) abort();
    return model;
}

static void allocate(mla_decoder *model) {
    if (mla_params_allocate(model->params, false)) abort();
    mla_params_initialise(model->params, 1);
}

/* ---- our file */

static void make_valid(mla_context *context) {
    char *targets[] = {"q_proj:2", "down_proj"};
    const mla_lora_options options = {.targets = {targets, 2, 2}, .rank = 3, .alpha = 4, .dora = true};
    mla_decoder *model = make_model(context, &options);
    allocate(model);
    if (mla_adapters_begin(model)) abort();
    char *config = mla_adapter_config_text(model, &options, "base"), *base = mla_base_text(context, "base", model);
    const mla_checkpoint_content content = {.model = model, .adapter = config, .base = base, .recipe = "{}"};
    if (!config || !base || mla_checkpoint_save(context, fuzz_path(), &content, (mla_step_hook){0})) abort();
    free(config);
    free(base);
    mla_decoder_destroy(model);
    fuzz_keep_valid();
}

/* ---- PEFT's files */

static char folder[] = "/dev/shm/mla-fuzz-peft-XXXXXX";

static void name_in(const char *name, char path[64]) { snprintf(path, 64, "%s/%s", folder, name); }

static void remove_folder(void) {
    char path[64];
    name_in("adapter_config.json", path);
    unlink(path);
    name_in("adapter_model.safetensors", path);
    unlink(path);
    rmdir(folder);
}

static void write_parts(const char *name, const void *const parts[], const size_t sizes[], int count) {
    char path[64];
    name_in(name, path);
    FILE *file = fopen(path, "wb");
    if (!file) abort();
    for (int i = 0; i < count; i++)
        if (fwrite(parts[i], 1, sizes[i], file) != sizes[i]) abort();
    if (fclose(file)) abort();
}

/* Two bytes say how many numbers follow the header, of which the rest of the input is the beginning:
 * "CONFIG\0HEADER\0".
 */
static void write_peft(const uint8_t *data, size_t size) {
    static uint8_t numbers[MOST_BYTES];
    const size_t wanted = size > 1 ? (size_t)(data[0] | data[1] << 8) % MOST_BYTES : 0;
    const char *config = (const char *)data + (size > 1 ? 2 : size), *end = (const char *)data + size;
    const size_t config_size = strnlen(config, (size_t)(end - config));
    const char *header = config + config_size + (config + config_size < end);
    const size_t header_size = strnlen(header, (size_t)(end - header));
    const char *rest = header + header_size + (header + header_size < end);
    const uint64_t length = header_size;
    memset(numbers, 0x3d, sizeof numbers);
    memcpy(numbers, rest, (size_t)(end - rest) < MOST_BYTES ? (size_t)(end - rest) : MOST_BYTES);
    write_parts("adapter_config.json", (const void *[]){config}, &config_size, 1);
    write_parts("adapter_model.safetensors", (const void *[]){&length, header, numbers},
                (size_t[]){8, header_size, wanted}, 3);
}

/* ---- both */

static mla_status check_finite(void *user, const char *name, const mla_tensor *x) {
    (void)user;
    (void)name;
    for (int64_t i = 0; i < mla_count(x); i++)
        if (!isfinite(((const float *)x->data)[i])) abort();
    return MLA_OK;
}

static void put_on(mla_context *context, mla_adapter *adapter) {
    mla_decoder *model = make_model(context, NULL);
    if (mla_adapter_projections(adapter) < 0 || mla_adapter_elements(adapter) < 0) abort();
    const mla_status status = mla_adapter_attach(adapter, model, "one", 0.5f);
    if (status != mla_error_status(context)) abort();
    if (!status) {
        allocate(model);
        if (!mla_adapter_read(adapter, model) && mla_adapters_each(model, check_finite, NULL)) abort();
    }
    mla_clear_error(context);
    mla_decoder_destroy(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    mla_context *context;
    mla_adapter *adapter;
    if (!size || mla_context_create(&context, &(mla_context_options){.threads = 1})) return 0;
    if (!made) make_valid(context);
    if (!made && (!mkdtemp(folder) || atexit(remove_folder))) abort();
    made = true;
    const bool own = data[0] & 1;
    if (own) fuzz_edit(context, data + 1, size - 1, data[0] & 2);
    else write_peft(data + 1, size - 1);
    const mla_status status = mla_adapter_open(context, &adapter, own ? fuzz_path() : folder);
    if (status != mla_error_status(context)) abort();
    if (!status) put_on(context, adapter);
    mla_adapter_close(adapter);
    mla_context_destroy(context);
    return 0;
}
