#include "train/commands/report.h"
#include "autograd/base/utf8.h"

#include <math.h>
#include <stdlib.h>

void mla_report_number(json_t *json, const char *key, double value) {
    json_object_set_new(json, key, isfinite(value) ? json_real(value) : json_null());
}

void mla_report_print(FILE *out, json_t *json) {
    json_dumpf(json, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(json);
}

json_t *mla_report_text(mla_context *context, const mla_bytes *text) {
    char *valid = mla_alloc(context, 3 * text->count + 1, 1, "the text");
    const int64_t count = valid ? mla_utf8_repair(text->bytes, text->count, false, valid) : 0;
    json_t *json = valid ? json_stringn(valid, (size_t)count) : NULL;
    free(valid);
    return json;
}
