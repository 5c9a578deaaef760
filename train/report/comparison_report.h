/* What a comparison found (train/compare), as parts of a page. */
#ifndef MLA_TRAIN_REPORT_COMPARISON_REPORT_H
#define MLA_TRAIN_REPORT_COMPARISON_REPORT_H

#include "autograd/base/context.h"

#include <stdio.h>

/* Whether `mla compare` was told to use this folder. */
bool mla_is_comparison(const char *folder);

/* How far it is, its table with intervals, and the held-out loss against the bytes of cache. MLA_ERROR_IO and
 * MLA_ERROR_FORMAT for a comparison.json that cannot be read; mla_gnuplot_draw's. */
mla_status mla_report_comparison(mla_context *context, FILE *page, const char *folder);

#endif
