/* TensorBoard's event files. A file is a row of records as TFRecord frames them, each of which is a message of
 * event.proto; this is the only file that knows either. */
#ifndef MLA_TRAIN_LOG_EVENT_FILE_H
#define MLA_TRAIN_LOG_EVENT_FILE_H

#include "autograd/base/context.h"

typedef struct mla_event_file mla_event_file;

/* When something was: seconds since 1970, and the step. */
typedef struct {
    double wall_time;
    int64_t step;
} mla_event_time;

typedef struct {
    const char *tag; /* "GROUP/NAME" */
    float value;
} mla_scalar;

/* Makes a file, which must not be there yet. MLA_ERROR_IO. */
mla_status mla_event_file_create(mla_context *context, mla_event_file **out, const char *path, double wall_time);
void mla_event_file_close(mla_event_file *file); /* NULL: nothing */

/* Each adds a record: after an error (MLA_ERROR_IO) the file is as it was. Begin: readers forget what they have of this
 * step and later ones. Text: in Markdown. */
mla_status mla_event_file_begin(mla_event_file *file, mla_event_time time);
mla_status mla_event_file_scalars(mla_event_file *file, mla_event_time time, const mla_scalar *scalars, int count);
mla_status mla_event_file_text(mla_event_file *file, mla_event_time time, const char *tag, const char *text);

/* Cuts off what is of steps behind `step`, and from the first record on that is damaged or torn. *last: the last step
 * that is left; a file without any is removed, and *last is 0. MLA_ERROR_IO. */
mla_status mla_event_file_cut(mla_context *context, const char *path, int64_t step, int64_t *last);

#endif
