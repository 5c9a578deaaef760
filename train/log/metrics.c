#include "train/log/metrics.h"
#include "autograd/json/tree.h"
#include "autograd/schema/fields.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct mla_metrics_log {
    mla_context *context;
    int descriptor;
    char *path;
    char *session; /* JSON for the next line; NULL: none */
};

static mla_status metrics_failed(mla_context *context, const char *action, const char *path) {
    return mla_fail(context, MLA_ERROR_IO, "cannot %s %s: %s", action, path, strerror(errno));
}

/* ---- one line */

static int64_t whole_of(const json_t *object, const char *key) {
    return (int64_t)json_integer_value(json_object_get(object, key));
}

static mla_part_losses parts_of(const json_t *losses) {
    mla_part_losses parts = {.count = (int)json_array_size(losses)};
    if (parts.count > MLA_MOST_PARTS) parts.count = 0;
    for (int k = 0; k < parts.count; k++) {
        const json_t *loss = json_array_get(losses, (size_t)k);
        parts.losses[k] = json_is_number(loss) ? json_number_value(loss) : NAN;
    }
    return parts;
}

/* Words that were read, each once; the context keeps them. */
typedef struct {
    char **words;
    int64_t count, capacity;
} word_list;

static void destroy_words(void *attached) {
    word_list *list = attached;
    for (int64_t i = 0; i < list->count; i++) free(list->words[i]);
    free(list->words);
    free(list);
}

static word_list *words_of(mla_context *context) {
    word_list *list = mla_context_attached(context, destroy_words);
    if (list) return list;
    list = mla_alloc(context, 1, sizeof *list, "the words of a log");
    if (!list || !mla_context_attach(context, list, destroy_words)) return list;
    free(list);
    return NULL;
}

/* NULL without memory. */
static const char *kept_word(mla_context *context, const char *word) {
    word_list *list = words_of(context);
    for (int64_t i = 0; list && i < list->count; i++)
        if (!strcmp(list->words[i], word)) return list->words[i];
    if (!list ||
        mla_grow(context, &list->words, &list->capacity, list->count + 1, sizeof *list->words, "the words of a log"))
        return NULL;
    char *copy = strdup(word);
    if (copy) list->words[list->count++] = copy;
    return copy;
}

/* Those that are no numbers were not finite. Errors stay in the context. */
static mla_statistics read_statistics(mla_context *context, json_t *means) {
    mla_statistics out = {0};
    const char *name;
    json_t *mean;
    if (json_object_size(means) > MLA_MOST_STATISTICS)
        mla_fail(context, MLA_ERROR_FORMAT, "a step with %zu statistics; at most %d are written",
                 json_object_size(means), MLA_MOST_STATISTICS);
    json_object_foreach(means, name, mean) {
        const char *kept = out.count < MLA_MOST_STATISTICS ? kept_word(context, name) : NULL;
        if (!kept) break;
        out.of[out.count].name = kept;
        out.of[out.count].sum = json_is_number(mean) ? json_number_value(mean) : NAN;
        out.of[out.count++].parts = 1;
    }
    return out;
}

static mla_session read_session(mla_context *context, const json_t *json) {
    if (!json) return (mla_session){0};
    return (mla_session){.processor = kept_word(context, mla_json_text_of(json, "processor")),
                         .version = kept_word(context, mla_json_text_of(json, "version")),
                         .threads = whole_of(json, "threads"),
                         .ranks = whole_of(json, "ranks")};
}

static bool parse_line(mla_context *context, const char *line, int64_t length, mla_metrics *out) {
    json_t *json;
    if (mla_json_read(context, "", line, length, MLA_JSON_QUIET, &json)) mla_clear_error(context); /* the caller says */
    const json_t *time = json_object_get(json, "time");
    *out = (mla_metrics){.step = whole_of(json, "step"),
                         .tokens = whole_of(json, "tokens"),
                         .loss = mla_json_number_of(json, "loss"),
                         .divergence = mla_json_number_of(json, "kl"),
                         .held_out_loss = mla_json_number_of(json, "held_out_loss"),
                         .parts = parts_of(json_object_get(json, "held_out_losses")),
                         .accuracy = mla_json_number_of(json, "accuracy"),
                         .macro_f1 = mla_json_number_of(json, "macro_f1"),
                         .lr = mla_json_number_of(json, "lr"),
                         .grad_norm = mla_json_number_of(json, "grad_norm"),
                         .skipped = json_is_true(json_object_get(json, "skipped")),
                         .wall_time = mla_json_number_of(time, "wall_time"),
                         .seconds = mla_json_number_of(time, "seconds"),
                         .waited = mla_json_number_of(time, "waited"),
                         .paused = mla_json_number_of(time, "paused"),
                         .written = mla_json_number_of(time, "written"),
                         .tokens_per_second = mla_json_number_of(time, "tokens_per_second"),
                         .share_of_peak = mla_json_number_of(time, "share_of_peak"),
                         .memory = whole_of(time, "memory")};
    out->statistics = read_statistics(context, json_object_get(json, "statistics"));
    out->session = read_session(context, json_object_get(time, "session"));
    json_decref(json);
    return out->step > 0;
}

/* JSON has no NaN. */
static const char *number_text(double value, size_t size, char *out) {
    if (isfinite(value)) mla_float_text(value, size, out);
    else snprintf(out, size, "null");
    return out;
}

enum { WIDTH = 40 };

/* "KEY": VALUE and a comma; nothing for NaN. */
static const char *optional_text(const char *key, double value, char out[2 * WIDTH]) {
    char number[WIDTH];
    out[0] = '\0';
    if (isfinite(value)) snprintf(out, 2 * WIDTH, "\"%s\": %s, ", key, number_text(value, WIDTH, number));
    return out;
}

/* "statistics": {"NAME": MEAN, ...}, or nothing. */
static const char *statistics_text(const mla_statistics *s, size_t size, char *out) {
    char number[WIDTH];
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < s->count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s\"%s\": %s", i ? ", " : "\"statistics\": {", s->of[i].name,
                                 number_text(s->of[i].sum / (double)s->of[i].parts, WIDTH, number));
    if (s->count && used < size) snprintf(out + used, size - used, "}, ");
    return out;
}

/* "held_out_loss": LOSS, and for a mix "held_out_losses": [LOSS of each part]; or nothing. */
static const char *held_out_text(const mla_metrics *m, size_t size, char *out) {
    char number[WIDTH];
    size_t used = strlen(optional_text("held_out_loss", m->held_out_loss, out));
    if (m->parts.count < 2 || !used) return out;
    for (int k = 0; k < m->parts.count; k++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", k ? ", " : "\"held_out_losses\": [",
                                 number_text(m->parts.losses[k], WIDTH, number));
    snprintf(out + used, size - used, "], ");
    return out;
}

static int format_line(const mla_metrics *m, const char *session, size_t size, char *out) {
    char loss[WIDTH], lr[WIDTH], norm[WIDTH], seconds[WIDTH], speed[WIDTH], share[WIDTH];
    char statistics[MLA_MOST_STATISTICS * 3 * WIDTH], kl[2 * WIDTH], held_out[(MLA_MOST_PARTS + 3) * WIDTH],
        accuracy[2 * WIDTH], macro_f1[2 * WIDTH], wall[2 * WIDTH], waited[2 * WIDTH], paused[2 * WIDTH],
        written[2 * WIDTH];
    return snprintf(
        out, size,
        "{\"step\": %lld, \"tokens\": %lld, \"loss\": %s, %s%s%s%s%s\"lr\": %s, \"grad_norm\": %s, \"skipped\": %s, "
        "\"time\": {%s%s%s%s\"seconds\": %s, %s%s%s\"tokens_per_second\": %s, \"share_of_peak\": %s, \"memory\": %lld}}\n",
        (long long)m->step, (long long)m->tokens, number_text(m->loss, WIDTH, loss),
        optional_text("kl", m->divergence, kl), statistics_text(&m->statistics, sizeof statistics, statistics),
        held_out_text(m, sizeof held_out, held_out), optional_text("accuracy", m->accuracy, accuracy),
        optional_text("macro_f1", m->macro_f1, macro_f1), number_text(m->lr, WIDTH, lr),
        number_text(m->grad_norm, WIDTH, norm), m->skipped ? "true" : "false",
        optional_text("wall_time", m->wall_time, wall), session ? "\"session\": " : "", session ? session : "",
        session ? ", " : "", number_text(m->seconds, WIDTH, seconds), optional_text("waited", m->waited, waited),
        optional_text("paused", m->paused, paused), optional_text("written", m->written, written),
        number_text(m->tokens_per_second, WIDTH, speed), number_text(m->share_of_peak, WIDTH, share),
        (long long)m->memory);
}

/* ---- the whole file */

static mla_status read_all(mla_context *context, const char *path, int descriptor, char **text, int64_t *length) {
    struct stat info;
    if (fstat(descriptor, &info)) return metrics_failed(context, "read", path);
    *text = mla_alloc(context, info.st_size, 1, path);
    if (!*text) return MLA_ERROR_MEMORY;
    *length = 0;
    while (*length < info.st_size) {
        ssize_t got = pread(descriptor, *text + *length, (size_t)(info.st_size - *length), *length);
        if (got < 0) return metrics_failed(context, "read", path);
        if (got == 0) break;
        *length += got;
    }
    return MLA_OK;
}

/* The length of the next whole line, newline included; 0 where there is none. */
static int64_t line_length(const char *text, int64_t length) {
    const char *end = memchr(text, '\n', (size_t)length);
    return end ? end + 1 - text : 0;
}

/* Bytes of the lines up to `step`, in which steps follow one another. */
static int64_t kept_length(mla_context *context, const char *text, int64_t length, int64_t step) {
    int64_t kept = 0, size, last = 0;
    mla_metrics line;
    while ((size = line_length(text + kept, length - kept)) > 0) {
        if (!parse_line(context, text + kept, size, &line) || line.step <= last || line.step > step) break;
        last = line.step;
        kept += size;
    }
    return kept;
}

mla_status mla_metrics_open(mla_context *context, mla_metrics_log **out, const char *path, int64_t step) {
    char *text = NULL;
    int64_t length = 0, kept = 0;
    mla_metrics_log *log = *out = mla_alloc(context, 1, sizeof *log, "the metrics");
    if (!log) return MLA_ERROR_MEMORY;
    mla_status status = MLA_OK;
    *log = (mla_metrics_log){context, open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666), strdup(path), NULL};
    if (!log->path) status = mla_fail(context, MLA_ERROR_MEMORY, "no memory for a path");
    else if (log->descriptor < 0) status = metrics_failed(context, "open", path);
    else status = read_all(context, path, log->descriptor, &text, &length);
    if (!status) kept = kept_length(context, text, length, step);
    if (!status) status = mla_error_status(context);
    if (!status && ftruncate(log->descriptor, kept)) status = metrics_failed(context, "cut", path);
    free(text);
    if (!status) return MLA_OK;
    mla_metrics_close(log);
    *out = NULL;
    return status;
}

enum { MOST_SESSION = 1024 };

mla_status mla_metrics_begin(mla_metrics_log *log, const mla_session *session) {
    json_t *json = json_pack("{s:s, s:I, s:I, s:s}", "processor", session->processor, "threads",
                             (json_int_t)session->threads, "ranks", (json_int_t)session->ranks, "version",
                             session->version ? session->version : MLA_VERSION);
    free(log->session);
    log->session = json ? json_dumps(json, 0) : NULL;
    json_decref(json);
    if (!log->session) return mla_fail(log->context, MLA_ERROR_MEMORY, "no memory for a line of the log");
    if (strlen(log->session) < MOST_SESSION) return MLA_OK;
    return mla_fail(log->context, MLA_ERROR_ARGUMENT, "%s is too long for a line of the log", log->session);
}

mla_status mla_metrics_write(mla_metrics_log *log, const mla_metrics *metrics) {
    char line[MOST_SESSION + (3 * MLA_MOST_STATISTICS + MLA_MOST_PARTS + 32) * WIDTH];
    const int length = format_line(metrics, log->session, sizeof line, line);
    const off_t before = lseek(log->descriptor, 0, SEEK_END);
    const ssize_t written = write(log->descriptor, line, (size_t)length);
    if (written == length) {
        free(log->session);
        log->session = NULL;
        return MLA_OK;
    }
    if (written >= 0) errno = ENOSPC; /* a part is written only where there is no more room */
    mla_status status = metrics_failed(log->context, "write", log->path);
    if (ftruncate(log->descriptor, before)) return status; /* what is torn is cut when the file is opened again */
    return status;
}

mla_status mla_metrics_sync(mla_context *context, const mla_metrics_log *log) {
    return fsync(log->descriptor) ? metrics_failed(context, "sync", log->path) : MLA_OK;
}

void mla_metrics_close(mla_metrics_log *log) {
    if (!log) return;
    if (log->descriptor >= 0) close(log->descriptor);
    free(log->path);
    free(log->session);
    free(log);
}

static mla_status parse_all(mla_context *context, const char *path, const char *text, int64_t length, mla_metrics **out,
                            int64_t *count) {
    int64_t capacity = 0, size;
    mla_status status = MLA_OK;
    for (int64_t at = 0; !status && (size = line_length(text + at, length - at)) > 0; at += size) {
        status = mla_grow(context, out, &capacity, *count + 1, sizeof **out, "the metrics");
        if (!status && !parse_line(context, text + at, size, &(*out)[*count]))
            status = mla_fail(context, MLA_ERROR_FORMAT, "%s: line %lld is not a step of a run", path,
                              (long long)*count + 1);
        if (!status) status = mla_error_status(context);
        *count += !status;
    }
    return status;
}

mla_status mla_metrics_read(mla_context *context, const char *path, mla_metrics **out, int64_t *count) {
    char *text = NULL;
    int64_t length = 0;
    *out = NULL;
    *count = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return metrics_failed(context, "open", path);
    mla_status status = read_all(context, path, descriptor, &text, &length);
    if (!status) status = parse_all(context, path, text, length, out, count);
    close(descriptor);
    free(text);
    if (status) {
        free(*out);
        *out = NULL;
        *count = 0;
    }
    return status;
}

mla_status mla_metrics_held_out(mla_context *context, const char *folder, int64_t step, mla_metrics *out) {
    char path[PATH_MAX];
    mla_metrics *all = NULL;
    int64_t count = 0;
    *out = (mla_metrics){.held_out_loss = NAN, .accuracy = NAN, .macro_f1 = NAN};
    if (snprintf(path, sizeof path, "%s/metrics.jsonl", folder) >= (int)sizeof path || access(path, F_OK))
        return MLA_OK;
    const mla_status status = mla_metrics_read(context, path, &all, &count);
    for (int64_t i = 0; i < count && all[i].step <= step; i++)
        if (isfinite(all[i].held_out_loss)) *out = all[i];
    free(all);
    return status;
}
