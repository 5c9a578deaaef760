/* metrics.jsonl: one JSON object a step, a line each, written when the step is done.
 *
 * What depends on the clock and the machine stands in the object "time"; all else is the same, bit for bit,
 * for every run of the same recipe, and for a run that was stopped and resumed. */
#ifndef MLA_TRAIN_LOG_METRICS_H
#define MLA_TRAIN_LOG_METRICS_H

#include "data/tokens/mixture.h"
#include "layers/parts/pass.h"

/* Losses on the held-out text of each part of a mix (train/run/mix.h), nats per token; NaN: it has none. */
typedef struct {
    int count; /* below 2: there is no mix (absent in the file) */
    double losses[MLA_MOST_PARTS];
} mla_part_losses;

/* Where a process trains: noted with the first step that it logs. */
typedef struct {
    const char *processor, *version; /* "AMD EPYC 7B13"; of the program. NULL: it was not the first step. Those that
                                      * were read live as long as the context */
    int64_t threads, ranks;          /* threads of a rank */
} mla_session;

typedef struct {
    int64_t step;         /* from 1 */
    int64_t tokens;       /* trained on so far */
    double loss;          /* nats per token; not finite in a skipped step (null in the file) */
    double divergence;    /* KL(teacher || model), nats per token; NaN: no teacher (absent in the file) */
    double held_out_loss; /* NaN: not evaluated after this step (absent in the file); of a mix: the mean by weight */
    mla_part_losses parts;
    double accuracy, macro_f1; /* of a head that labels, on held-out texts; NaN: not evaluated (absent) */
    mla_statistics statistics; /* of layers that have some, as means by name; names that were read live as long as the
                                * context */
    double lr, grad_norm;
    bool skipped; /* loss or gradient were not finite: nothing was changed */
    /* dependent on time and machine */
    double wall_time; /* when it was done, as mla_wall_time; NaN: a log of before it was noted (absent in the file) */
    double seconds;   /* of this step */
    double waited;    /* of these, for other ranks; NaN: there are none (absent in the file) */
    double paused;    /* since the last line, for saves; NaN: there were none (absent in the file) */
    double written;   /* how long it took to write the checkpoint that was done since the last line; NaN: none was */
    double tokens_per_second;
    double share_of_peak; /* of the processor's arithmetic, 0 to 1; NaN: not known */
    int64_t memory;       /* bytes, at most so far */
    mla_session session;  /* not what mla_metrics_write writes: mla_metrics_begin */
} mla_metrics;

typedef struct mla_metrics_log mla_metrics_log;

/* Opens the file to continue after `step`: lines of later steps are cut off, and so is a line that was torn when
 * its writer died. Step 0: an empty file. MLA_ERROR_IO. */
mla_status mla_metrics_open(mla_context *context, mla_metrics_log **out, const char *path, int64_t step);

/* Notes a session with the next line that is written; version NULL: that of the library. MLA_ERROR_MEMORY. */
mla_status mla_metrics_begin(mla_metrics_log *log, const mla_session *session);

/* Appends one line: after an error (MLA_ERROR_IO) the file is as it was. */
mla_status mla_metrics_write(mla_metrics_log *log, const mla_metrics *metrics);

/* Forces what was written to disk; before a checkpoint of the same step. Any thread, with its own context. */
mla_status mla_metrics_sync(mla_context *context, const mla_metrics_log *log);
void mla_metrics_close(mla_metrics_log *log);

/* The line that has the latest held-out loss of a run's folder, up to `step`; its held_out_loss is NaN where there is
 * none, or no file. Errors: mla_metrics_read's. */
mla_status mla_metrics_held_out(mla_context *context, const char *folder, int64_t step, mla_metrics *out);

/* All lines of a file, to be freed with free(). A torn last line is left out; any other line that is not a
 * step's is MLA_ERROR_FORMAT. */
mla_status mla_metrics_read(mla_context *context, const char *path, mla_metrics **out, int64_t *count);

#endif
