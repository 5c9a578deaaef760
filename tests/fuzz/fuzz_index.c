/* Any bytes as the index of a folder with two shards, "a" (tensor x) and "b" (tensor y). */
#include "autograd/base/file.h"
#include "data/formats/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

static char folder[] = "/dev/shm/mla-fuzz-XXXXXX";
static char paths[3][64]; /* a, b, the index */

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command)) abort();
}

static void make_folder(mla_context *context) {
    static const char *const names[] = {"a", "b", "model.safetensors.index.json"}, *const tensors[] = {"x", "y"};
    if (!mkdtemp(folder) || atexit(remove_folder)) abort();
    for (int i = 0; i < 3; i++) snprintf(paths[i], sizeof paths[i], "%s/%s", folder, names[i]);
    for (int i = 0; i < 2; i++) {
        const mla_safetensors_item item = {tensors[i], 1, {1}, (float[]){1}};
        if (mla_safetensors_write(context, paths[i], MLA_SAFETENSORS_F32, &item, 1)) abort();
    }
}

static void write_index(const uint8_t *data, size_t size) {
    FILE *file = fopen(paths[2], "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mla_context *context;
    mla_safetensors *file;
    if (mla_context_create(&context, NULL)) return 0;
    if (!paths[0][0]) make_folder(context);
    write_index(data, size);
    const mla_status status = mla_safetensors_open(context, &file, folder);
    if (status != mla_error_status(context) || (status != MLA_OK) != (file == NULL)) abort();
    if (file && mla_safetensors_count(file) > 2) abort();
    mla_safetensors_close(file);
    mla_context_destroy(context);
    return 0;
}
