#include "train/commands/report.h"

#include <math.h>

void mla_report_number(json_t *json, const char *key, double value) {
    json_object_set_new(json, key, isfinite(value) ? json_real(value) : json_null());
}

void mla_report_print(FILE *out, json_t *json) {
    json_dumpf(json, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(json);
}
