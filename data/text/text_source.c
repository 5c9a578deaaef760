#include "data/text/text_source.h"
#include "data/text/json_field.h"
#include "data/text/records.h"
#include "data/text/text_content.h"
#include "data/text/text_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct mla_text_source {
    mla_context *context;
    char *field;
    bool jsonl, lines;
    mla_bad_lines_choice bad_lines;
    double held_out;
    uint64_t seed, limit; /* documents whose hash is up to the limit are held out */
    mla_text_files files;
    int64_t documents, bytes;
    /* The place of reading: the file, and how far it was read. */
    int64_t file;
    mla_text_content content;
    mla_records records;
    mla_json_field reader; /* of JSONL; owns the bytes of a document that is escaped */
    mla_bad_lines bad;     /* of the last reading, or the one that goes on */
    char *name;            /* of a JSONL document */
    mla_document document;
    int64_t tail; /* bytes of the only document that are still to come, as held out */
};

/* ---- Reading */

static const char *path_of(const mla_text_source *s) { return s->files.items[s->file].path; }

/* The text in the field of a line; without one, it is an error, or left out and counted. */
static mla_status take_field(mla_text_source *s, const char *line, int64_t bytes) {
    mla_document *d = &s->document;
    const mla_status status = mla_json_field_text(s->context, &s->reader, s->name, s->field, line, bytes, &d->bytes,
                                                  &d->length);
    if (status != MLA_ERROR_FORMAT || s->bad_lines != MLA_BAD_LINES_SKIP) return status;
    d->length = 0;
    mla_bad_lines_add(s->context, &s->bad);
    return MLA_OK;
}

static mla_status take_record(mla_text_source *s) {
    const char *record = NULL;
    int64_t bytes = 0;
    mla_text_content_pass(&s->content, s->records.at);
    const mla_status status = mla_records_next(s->context, &s->records, path_of(s), &record, &bytes);
    if (status || !bytes) return status;
    free(s->name);
    if (asprintf(&s->name, "%s:%" PRId64, path_of(s), s->records.line) < 0) {
        s->name = NULL;
        return mla_fail(s->context, MLA_ERROR_MEMORY, "no memory for the name of a document");
    }
    s->document = (mla_document){.bytes = record, .length = bytes, .name = s->name};
    return s->lines ? MLA_OK : take_field(s, record, bytes);
}

static void take_file(mla_text_source *s) {
    s->document = (mla_document){.bytes = s->content.text, .length = s->content.length, .name = path_of(s)};
    s->records.at = s->records.length;
}

/* JSON that is written over several lines, and has the field: what has not (package.json) is a text itself. */
static bool is_objects(mla_text_source *s) {
    const mla_text_content *c = &s->content;
    const int64_t first = mla_records_first_of_objects(c->text, c->length);
    const char *text;
    int64_t size;
    if (!first) return false;
    const bool has = !mla_json_field_text(s->context, &s->reader, "", s->field, c->text, first, &text, &size);
    if (!has) mla_clear_error(s->context);
    return has;
}

static mla_record_form form_of(mla_text_source *s) {
    const mla_text_content *c = &s->content;
    if (s->lines || s->jsonl || (s->field && mla_records_named(path_of(s))))
        return mla_records_form(c->text, c->length);
    const bool is_pipe = s->files.items[s->file].spool >= 0;
    if (!s->field || (!is_pipe && !mla_records_maybe(path_of(s)))) return MLA_RECORDS_NONE;
    if (mla_records_form(c->text, c->length) == MLA_RECORDS_ELEMENTS) return MLA_RECORDS_ELEMENTS;
    if (mla_records_first_is_object(c->text, c->length)) return MLA_RECORDS_LINES;
    return is_objects(s) ? MLA_RECORDS_OBJECTS : MLA_RECORDS_NONE;
}

/* What is no text is left out, unless somebody asked for it. */
static mla_status leave_out(mla_text_source *s, mla_text_file *file) {
    const mla_text_kind *kind = s->content.other;
    if (!file->named && !kind->is_corpus) {
        mla_text_files_leave_out(&s->files, file, kind->name);
        mla_text_content_close(&s->content);
        return MLA_OK;
    }
    return mla_fail(s->context, MLA_ERROR_FORMAT, "%s: is %s, not text%s%s", file->path, kind->name,
                    kind->remedy ? "; " : "", kind->remedy ? kind->remedy : "");
}

static mla_status open_file(mla_text_source *s) {
    mla_text_file *file = &s->files.items[s->file];
    if (file->left_out) return MLA_OK;
    mla_status status = mla_text_content_open(s->context, file->path, file->spool, &s->content);
    if (!status && s->content.other) status = leave_out(s, file);
    if (status) return status;
    s->records = (mla_records){.text = s->content.text, .length = s->content.length, .next_line = 1};
    s->records.form = form_of(s);
    return MLA_OK;
}

static void close_file(mla_text_source *s) {
    mla_text_content_close(&s->content);
    s->records = (mla_records){0};
}

/* The next document that is not empty, in s->document; of length 0 at the end. */
static mla_status advance(mla_text_source *s) {
    s->document.length = 0;
    mla_status status = MLA_OK;
    while (!status && !s->document.length) {
        if (s->records.at < s->records.length) {
            if (s->records.form != MLA_RECORDS_NONE) status = take_record(s);
            else take_file(s);
            continue;
        }
        close_file(s);
        if (++s->file >= s->files.count) return MLA_OK;
        status = open_file(s);
    }
    return status;
}

/* ---- Holding out */

static uint64_t hash(const mla_text_source *s) {
    return XXH3_64bits_withSeed(s->document.bytes, (size_t)s->document.length, s->seed);
}

/* Where the only document, of 2 bytes or more, is cut: after the line that its held-out part would begin in,
 * or before that line if it is the last, or between two characters; not at its ends. */
static int64_t cut_of(const mla_document *document, double held_out) {
    const char *bytes = document->bytes;
    int64_t length = document->length, cut = (int64_t)((double)length * (1 - held_out));
    cut = cut < 1 ? 1 : cut < length ? cut : length - 1;
    const char *newline = memchr(bytes + cut - 1, '\n', (size_t)(length - cut));
    if (!newline) newline = memrchr(bytes, '\n', (size_t)cut);
    if (newline) return newline + 1 - bytes;
    int64_t character = cut;
    while (character < length && ((unsigned char)bytes[character] & 0xc0) == 0x80) character++;
    return character < length ? character : cut;
}

static mla_status set_limit(mla_text_source *s, uint64_t least, uint64_t most) {
    s->limit = (uint64_t)(s->held_out * 0x1p64);
    if (s->documents > 1 && least == most)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT,
                        "all documents are equal: none can be held out; set held_out to 0");
    if (s->limit < least) s->limit = least;
    if (s->limit >= most) s->limit = most - 1;
    return MLA_OK;
}

static mla_status no_text(const mla_text_source *s) {
    const mla_text_files *f = &s->files;
    return mla_fail(s->context, MLA_ERROR_ARGUMENT, "there is no text in %s%s: %s",
                    f->count ? f->items[0].path : "the paths given", f->count > 1 ? " and the others" : "",
                    f->no_text.count ? "what is not empty is no text" : "all files are empty");
}

/* Reads all documents once: counts them, and sets the limit so that both sides get one. */
static mla_status scan(mla_text_source *s) {
    uint64_t least = UINT64_MAX, most = 0;
    for (mla_status status;;) {
        if ((status = advance(s))) return status;
        if (!s->document.length) break;
        uint64_t h = hash(s);
        least = h < least ? h : least;
        most = h > most ? h : most;
        s->bytes += s->document.length;
        s->documents++;
    }
    mla_text_files_warn(&s->files);
    if (!s->documents) return no_text(s);
    if (s->held_out > 0 && s->lines && s->documents == 1)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT, "%s has one line only: none can be held out; set held_out to 0",
                        s->files.items[0].path);
    if (s->held_out > 0 && s->bytes == 1)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT, "%s is too short to hold out a part of it",
                        s->files.items[0].path);
    return s->held_out > 0 ? set_limit(s, least, most) : MLA_OK;
}

/* ---- The public part */

mla_status mla_text_open(mla_context *context, mla_text_source **out, const mla_text_options *options) {
    *out = NULL;
    if (!(options->held_out >= 0 && options->held_out < 1))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "held_out is %g: it is a fraction, at least 0 and less than 1",
                        options->held_out);
    mla_text_source *s = mla_alloc(context, 1, sizeof *s, "a text source");
    if (!s) return MLA_ERROR_MEMORY;
    *s = (mla_text_source){.context = context,
                           .jsonl = options->jsonl,
                           .lines = options->lines,
                           .bad_lines = options->bad_lines,
                           .held_out = options->held_out,
                           .seed = options->seed,
                           .file = -1};
    mla_status status = MLA_OK;
    if (options->jsonl_field && !(s->field = strdup(options->jsonl_field)))
        status = mla_fail(context, MLA_ERROR_MEMORY, "no memory for a text source");
    if (!status) status = mla_text_files_find(context, &s->files, options->paths, options->count);
    if (!status) status = scan(s);
    mla_bad_lines_warn(context, &s->bad);
    mla_text_rewind(s);
    if (status) mla_text_close(s);
    else *out = s;
    return status;
}

void mla_text_close(mla_text_source *s) {
    if (!s) return;
    close_file(s);
    mla_text_files_free(&s->files);
    mla_json_field_free(&s->reader);
    free(s->field);
    free(s->name);
    free(s);
}

mla_status mla_text_next(mla_text_source *s, const mla_document **out) {
    *out = &s->document;
    if (s->tail) {
        s->document.bytes += s->document.length;
        s->document.length = s->tail;
        s->document.held_out = true;
        s->tail = 0;
        return MLA_OK;
    }
    mla_status status = advance(s);
    if (status || !s->document.length) *out = NULL;
    if (status || !s->document.length || s->held_out == 0) return status;
    if (s->documents == 1) {
        int64_t cut = cut_of(&s->document, s->held_out);
        s->tail = s->document.length - cut;
        s->document.length = cut;
    } else s->document.held_out = hash(s) <= s->limit;
    return MLA_OK;
}

void mla_text_rewind(mla_text_source *s) {
    close_file(s);
    s->file = -1;
    s->tail = 0;
    s->bad.count = 0;
}

const mla_bad_lines *mla_text_bad_lines(const mla_text_source *s) { return &s->bad; }
int64_t mla_text_documents(const mla_text_source *s) { return s->documents; }
int64_t mla_text_bytes(const mla_text_source *s) { return s->bytes; }
