/* What runs were, as parts of a page: how far each is, what it learned, how fast; its curves; its recipe. */
#ifndef MLA_TRAIN_REPORT_RUN_REPORT_H
#define MLA_TRAIN_REPORT_RUN_REPORT_H

#include "autograd/schema/fields.h"

#include <stdio.h>

/* The table and the curves of the runs in `folders`, and their recipes. MLA_ERROR_IO where one has no metrics.jsonl,
 * MLA_ERROR_FORMAT for a damaged or an empty one; mla_gnuplot_draw's. */
mla_status mla_report_runs(mla_context *context, FILE *page, const mla_list *folders);

#endif
