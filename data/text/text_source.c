#include "data/text/text_source.h"
#include "autograd/base/file.h"
#include "data/text/json_field.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct mla_text_source {
    mla_context *context;
    char *field;
    bool lines;
    mla_bad_lines_choice bad_lines;
    double held_out;
    uint64_t seed, limit; /* documents whose hash is up to the limit are held out */
    char **files;
    int64_t count, capacity;
    int64_t documents, bytes;
    /* The place of reading: the file, mapped, and how far it was read. */
    int64_t file;
    char *map;
    int64_t length, at, line;
    mla_json_field reader; /* of JSONL; owns the bytes of a document that is escaped */
    mla_bad_lines bad;     /* of the last reading, or the one that goes on */
    char *name;            /* of a JSONL document */
    mla_document document;
    int64_t tail; /* bytes of the only document that are still to come, as held out */
};

/* ---- Finding the files */

/* Behind a message about a path that is not there: it may have been meant as several. */
static const char *remedy(const char *path) {
    return strpbrk(path, ", ") ? "; it is read as one path: give several as a list in the recipe, source: [a, b], or "
                                 "one by one on the command line"
                               : "";
}

static mla_status text_source_failed(mla_text_source *s, const char *action, const char *path, int error) {
    return mla_fail(s->context, MLA_ERROR_IO, "cannot %s %s: %s%s", action, path, strerror(error),
                    error == ENOENT ? remedy(path) : "");
}

static mla_status add_file(mla_text_source *s, const char *path) {
    mla_status status = mla_grow(s->context, &s->files, &s->capacity, s->count + 1, sizeof *s->files, "file names");
    if (status) return status;
    char *copy = strdup(path);
    if (!copy) return mla_fail(s->context, MLA_ERROR_MEMORY, "no memory for file names");
    s->files[s->count++] = copy;
    return MLA_OK;
}

static mla_status add_entry(mla_text_source *s, const FTSENT *entry) {
    switch (entry->fts_info) {
    case FTS_F: return add_file(s, entry->fts_path);
    case FTS_DNR: return text_source_failed(s, "read folder", entry->fts_path, entry->fts_errno);
    case FTS_ERR:
    case FTS_NS: return text_source_failed(s, "read", entry->fts_path, entry->fts_errno);
    case FTS_DEFAULT:
    case FTS_SLNONE:
        if (entry->fts_level) mla_warn(s->context, "left out %s: not a file", entry->fts_path);
        else return mla_fail(s->context, MLA_ERROR_IO, "%s is not a file or a folder", entry->fts_path);
    }
    return MLA_OK;
}

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

/* A file, or a folder with all below it. */
static mla_status add_path(mla_text_source *s, const char *path) {
    mla_status status = MLA_OK;
    FTSENT *entry;
    char *copy = strdup(path);
    FTS *walk = copy ? fts_open((char *[]){copy, NULL}, FTS_LOGICAL | FTS_NOCHDIR, by_name) : NULL;
    if (!walk) status = text_source_failed(s, "read", path, errno);
    while (!status && (entry = fts_read(walk))) status = add_entry(s, entry);
    if (walk) fts_close(walk);
    free(copy);
    return status;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static mla_status add_glob(mla_text_source *s, const char *pattern) {
    glob_t found = {0};
    mla_status status = MLA_OK;
    int result = glob(pattern, GLOB_NOSORT | GLOB_ERR, NULL, &found);
    if (result == GLOB_NOMATCH)
        status = mla_fail(s->context, MLA_ERROR_IO, "there is no text at %s: no such file, folder or match%s", pattern,
                          remedy(pattern));
    else if (result)
        status = text_source_failed(s, "read all folders of", pattern, result == GLOB_NOSPACE ? ENOMEM : errno);
    else qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, by_text);
    for (size_t i = 0; !status && i < found.gl_pathc; i++) status = add_path(s, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

/* ---- Reading */

static mla_status map_file(mla_text_source *s) {
    const char *path = s->files[s->file];
    struct stat info;
    mla_status status = MLA_OK;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &info)) {
        status = text_source_failed(s, "read", path, errno);
        goto done;
    }
    s->length = info.st_size;
    s->at = s->line = 0;
    if (!s->length) goto done;
    s->map = mmap(NULL, (size_t)s->length, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (s->map == MAP_FAILED) {
        s->map = NULL;
        status = text_source_failed(s, "map", path, errno);
        goto done;
    }
    madvise(s->map, (size_t)s->length, MADV_SEQUENTIAL);
done:
    if (descriptor >= 0) close(descriptor);
    return status;
}

static void unmap_file(mla_text_source *s) {
    if (s->map) munmap(s->map, (size_t)s->length);
    s->map = NULL;
    s->length = s->at = 0;
}

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

static mla_status take_line(mla_text_source *s) {
    const char *line = s->map + s->at, *end = memchr(line, '\n', (size_t)(s->length - s->at));
    const int64_t bytes = end ? end - line : s->length - s->at;
    s->at += bytes + 1;
    s->line++;
    s->document.length = 0;
    int64_t blanks = 0;
    while (blanks < bytes && strchr(" \t\r", line[blanks]) && line[blanks]) blanks++;
    if (blanks == bytes) return MLA_OK;
    free(s->name);
    if (asprintf(&s->name, "%s:%" PRId64, s->files[s->file], s->line) < 0) {
        s->name = NULL;
        return mla_fail(s->context, MLA_ERROR_MEMORY, "no memory for the name of a document");
    }
    s->document = (mla_document){.bytes = line, .length = bytes, .name = s->name};
    return s->lines ? MLA_OK : take_field(s, line, bytes);
}

static void take_file(mla_text_source *s) {
    s->document = (mla_document){.bytes = s->map, .length = s->length, .name = s->files[s->file]};
    s->at = s->length;
}

/* The next document that is not empty, in s->document; of length 0 at the end. */
static mla_status advance(mla_text_source *s) {
    s->document.length = 0;
    mla_status status = MLA_OK;
    while (!status && !s->document.length) {
        if (s->at < s->length) {
            if (s->lines || (s->field && mla_ends_with(s->files[s->file], ".jsonl"))) status = take_line(s);
            else take_file(s);
            continue;
        }
        unmap_file(s);
        if (++s->file >= s->count) return MLA_OK;
        status = map_file(s);
    }
    return status;
}

/* ---- Holding out */

static uint64_t hash(const mla_text_source *s) {
    return XXH3_64bits_withSeed(s->document.bytes, (size_t)s->document.length, s->seed);
}

/* Where the only document, of 2 bytes or more, is cut: behind the line that its held-out part would begin in,
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
    if (!s->documents)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT, "there is no text in %s%s: all files are empty",
                        s->count ? s->files[0] : "the paths given", s->count > 1 ? " and the others" : "");
    if (s->held_out > 0 && s->lines && s->documents == 1)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT, "%s has one line only: none can be held out; set held_out to 0",
                        s->files[0]);
    if (s->held_out > 0 && s->bytes == 1)
        return mla_fail(s->context, MLA_ERROR_ARGUMENT, "%s is too short to hold out a part of it", s->files[0]);
    return s->held_out > 0 ? set_limit(s, least, most) : MLA_OK;
}

/* ---- The public part */

static mla_status find_files(mla_text_source *s, const mla_text_options *options) {
    mla_status status = MLA_OK;
    for (int64_t i = 0; !status && i < options->count; i++) {
        const char *path = options->paths[i];
        bool literal = !access(path, F_OK) || !strpbrk(path, "*?[");
        status = literal ? add_path(s, path) : add_glob(s, path);
    }
    return status;
}

mla_status mla_text_open(mla_context *context, mla_text_source **out, const mla_text_options *options) {
    *out = NULL;
    if (!(options->held_out >= 0 && options->held_out < 1))
        return mla_fail(context, MLA_ERROR_ARGUMENT, "held_out is %g: it is a fraction, at least 0 and less than 1",
                        options->held_out);
    mla_text_source *s = mla_alloc(context, 1, sizeof *s, "a text source");
    if (!s) return MLA_ERROR_MEMORY;
    *s = (mla_text_source){.context = context,
                           .lines = options->lines,
                           .bad_lines = options->bad_lines,
                           .held_out = options->held_out,
                           .seed = options->seed,
                           .file = -1};
    mla_status status = MLA_OK;
    if (options->jsonl_field && !(s->field = strdup(options->jsonl_field)))
        status = mla_fail(context, MLA_ERROR_MEMORY, "no memory for a text source");
    if (!status) status = find_files(s, options);
    if (!status) status = scan(s);
    mla_bad_lines_warn(context, &s->bad);
    mla_text_rewind(s);
    if (status) mla_text_close(s);
    else *out = s;
    return status;
}

void mla_text_close(mla_text_source *s) {
    if (!s) return;
    unmap_file(s);
    for (int64_t i = 0; i < s->count; i++) free(s->files[i]);
    mla_json_field_free(&s->reader);
    free(s->files);
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
    unmap_file(s);
    s->file = -1;
    s->tail = 0;
    s->bad.count = 0;
}

const mla_bad_lines *mla_text_bad_lines(const mla_text_source *s) { return &s->bad; }
int64_t mla_text_documents(const mla_text_source *s) { return s->documents; }
int64_t mla_text_bytes(const mla_text_source *s) { return s->bytes; }
