#include "data/text/bad_lines.h"

#include <inttypes.h>
#include <stdio.h>

const char *const mla_bad_lines_names[] = {"error", "skip", NULL};

void mla_bad_lines_add(mla_context *context, mla_bad_lines *lines) {
    if (lines->count < MLA_BAD_LINES_TOLD)
        snprintf(lines->first[lines->count], sizeof *lines->first, "%s", mla_error(context));
    lines->count++;
    mla_clear_error(context);
}

void mla_bad_lines_warn(mla_context *context, const mla_bad_lines *lines) {
    for (int64_t i = 0; i < lines->count && i < MLA_BAD_LINES_TOLD; i++)
        mla_warn(context, "left out: %s", lines->first[i]);
    if (lines->count)
        mla_warn(context, "%" PRId64 " line%s left out (data.bad_lines: skip)", lines->count,
                 lines->count == 1 ? " is" : "s are");
}
