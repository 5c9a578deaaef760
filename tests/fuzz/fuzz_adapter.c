/* Any text as PEFT's adapter_config.json: refused, or every projection gets a rank and an alpha above 0, or an error.
 */
#include "autograd/schema/fields.h"
#include "train/adapter/adapter_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void ask(mla_context *context, const json_t *config, const char *pattern, const char *key,
                const char *projection) {
    double value = NAN;
    const mla_status status = mla_adapter_setting(context, "", config, pattern, key, projection, &value);
    if (status != mla_error_status(context)) abort();
    if (!status && !(value > 0 && isfinite(value))) abort();
    mla_clear_error(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const projections[] = {"model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj"};
    mla_context *context;
    json_t *config;
    char *text = malloc(size + 1);
    if (!text || mla_context_create(&context, NULL)) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    mla_status status = mla_json_parse(context, "", text, &config);
    if (!status) {
        status = mla_adapter_check_config(context, "", config);
        if (status != mla_error_status(context)) abort();
        mla_clear_error(context);
        for (int i = 0; i < 2; i++) {
            ask(context, config, "rank_pattern", "r", projections[i]);
            ask(context, config, "alpha_pattern", "lora_alpha", projections[i]);
        }
        json_decref(config);
    }
    mla_context_destroy(context);
    free(text);
    return 0;
}
