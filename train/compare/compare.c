#include "train/compare/compare.h"
#include "autograd/base/file.h"
#include "train/compare/speed.h"
#include "train/compare/summary.h"
#include "train/compare/table.h"

#include <stdlib.h>
#include <string.h>

static mla_status write_text(mla_comparison *c, const char *name, const char *text) {
    char path[PATH_MAX];
    const mla_status status = text ? mla_comparison_path(c, name, path) : MLA_ERROR_MEMORY;
    return status ? status : mla_file_write(c->context, path, text, (int64_t)strlen(text));
}

static mla_status write_files(mla_comparison *c, const json_t *summary) {
    char *json = mla_json_text(c->context, summary), *csv = mla_table_csv(c->context, summary);
    mla_status status = write_text(c, "comparison.json", json);
    if (!status) status = write_text(c, "comparison.csv", csv);
    free(json);
    free(csv);
    return status;
}

/* After a run: what is known by now. */
static mla_status keep_up(mla_comparison *c) {
    mla_folder_lock lock = {.handle = -1};
    json_t *summary = NULL;
    mla_status status = mla_schedule_choose(c);
    if (!status) status = mla_comparison_lock(c, &lock);
    if (!status && !(summary = mla_summary_json(c, NULL))) status = MLA_ERROR_MEMORY;
    if (!status) status = write_files(c, summary);
    mla_folder_lock_release(&lock);
    json_decref(summary);
    return status;
}

/* When all runs are done. */
static mla_status end(mla_comparison *c, bool complete, json_t **summary) {
    mla_folder_lock lock = {.handle = -1};
    json_t *speeds = NULL;
    mla_status status = mla_comparison_lock(c, &lock);
    if (!status) status = (complete ? mla_speed_measure : mla_speed_read)(c, &speeds);
    if (!status && !(*summary = mla_summary_json(c, speeds))) status = MLA_ERROR_MEMORY;
    if (!status) status = write_files(c, *summary);
    mla_folder_lock_release(&lock);
    json_decref(speeds);
    return status;
}

mla_status mla_compare(mla_context *context, const mla_recipe *base, const mla_compare_options *options,
                       json_t **summary, int *left) {
    mla_comparison *c = NULL;
    *summary = NULL;
    mla_status status = mla_comparison_open(context, &c, base, options, false);
    if (!status) status = mla_schedule_run(c, keep_up, left);
    if (!status) status = end(c, *left == 0, summary);
    mla_comparison_close(c);
    free(c);
    return status;
}
