#include "train/commands/report.h"
#include "autograd/base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mla_report_number(json_t *json, const char *key, double value) {
    json_object_set_new(json, key, isfinite(value) ? json_real(value) : json_null());
}

void mla_report_print(FILE *out, json_t *json) {
    json_dumpf(json, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(json);
}

json_t *mla_report_text(mla_context *context, const mla_bytes *text) {
    static const char replacement[] = "\xEF\xBF\xBD";
    char *valid = mla_alloc(context, 3 * text->count + 1, 1, "the text");
    int64_t count = 0;
    for (int64_t i = 0; valid && i < text->count;) {
        const int64_t length = mla_utf8_length(text->bytes + i, text->count - i), kept = length ? length : 3;
        memcpy(valid + count, length ? text->bytes + i : replacement, (size_t)kept);
        count += kept;
        i += length ? length : 1;
    }
    json_t *json = valid ? json_stringn(valid, (size_t)count) : NULL;
    free(valid);
    return json;
}
