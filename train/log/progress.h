/* What someone who watches a run sees: one line that is written over again on a terminal, plain lines
 * elsewhere. */
#ifndef MLA_TRAIN_LOG_PROGRESS_H
#define MLA_TRAIN_LOG_PROGRESS_H

#include "train/log/metrics.h"
#include <stdio.h>

typedef struct {
    FILE *out;         /* usually stderr; a terminal or not is asked of it */
    int64_t steps;     /* the last step of the run */
    int64_t log_every; /* steps between plain lines */
} mla_progress_options;

typedef struct mla_progress mla_progress;

/* The caller calls mla_progress_end. Only error: MLA_ERROR_MEMORY. */
mla_status mla_progress_create(mla_context *context, mla_progress **out, const mla_progress_options *options);

/* Shows a step. Plain lines come every log_every steps, with every evaluation, skipped step and at the end.
 */
void mla_progress_step(mla_progress *progress, const mla_metrics *metrics);

/* Prints a line of text above the status line. */
void mla_progress_note(mla_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Leaves the last status line standing, and frees. */
void mla_progress_end(mla_progress *progress);

/* "1:02:03", "4:05"; "12.3k", "4.56M"; "812 MB", "1.2 GB". At most 32 bytes. */
void mla_duration_text(double seconds, size_t size, char *out);
void mla_count_text(double count, size_t size, char *out);
void mla_bytes_text(double bytes, size_t size, char *out);

#endif
