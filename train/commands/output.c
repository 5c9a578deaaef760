#include "train/commands/output.h"
#include "autograd/base/utf8.h"

#include <math.h>
#include <stdlib.h>

void mla_output_number(json_t *json, const char *key, double value) {
    json_object_set_new(json, key, isfinite(value) ? json_real(value) : json_null());
}

void mla_output_print(FILE *out, json_t *json) {
    json_dumpf(json, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(json);
}

json_t *mla_output_text(mla_context *context, const mla_bytes *text) {
    char *valid = mla_alloc(context, 3 * text->count + 1, 1, "the text");
    const int64_t count = valid ? mla_utf8_repair(text->bytes, text->count, false, valid) : 0;
    json_t *json = valid ? json_stringn(valid, (size_t)count) : NULL;
    free(valid);
    return json;
}

void mla_output_scores(FILE *out, const mla_label_scores *s) {
    if (isfinite(s->accuracy)) fprintf(out, "accuracy         %.4f of %lld\n", s->accuracy, (long long)s->targets);
    if (isfinite(s->macro_f1)) fprintf(out, "F1               %.4f macro, %.4f micro\n", s->macro_f1, s->micro_f1);
    if (isfinite(s->rmse)) fprintf(out, "error            %.4f (root mean square)\n", s->rmse);
}
