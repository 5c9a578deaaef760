#include "data/text/text_content.h"
#include "autograd/base/file.h"
#include "data/text/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- kinds */

typedef struct {
    int64_t at, length;
    const char *magic;
    bool says_all; /* otherwise a text may begin so, and the file must look binary as well */
    mla_text_kind kind;
} signature;

static const mla_text_kind binary = {"binary", NULL, false};

/* The longer ones first where one begins as another. */
static const signature signatures[] = {
    {0, 4, "\xff\xfe\0\0", true, {"UTF-32", "convert it: iconv -f UTF-32 -t UTF-8", false}},
    {0, 4, "\0\0\xfe\xff", true, {"UTF-32", "convert it: iconv -f UTF-32 -t UTF-8", false}},
    {0, 2, "\xff\xfe", true, {"UTF-16", "convert it: iconv -f UTF-16 -t UTF-8", false}},
    {0, 2, "\xfe\xff", true, {"UTF-16", "convert it: iconv -f UTF-16 -t UTF-8", false}},
    {0,
     4,
     "PAR1",
     false,
     {"Parquet",
      "convert it: python3 -c 'import pandas, sys; pandas.read_parquet(sys.argv[1]).to_json(sys.argv[2], "
      "orient=\"records\", lines=True)' IN.parquet OUT.jsonl",
      true}},
    {0, 5, "%PDF-", true, {"a PDF document", "take its text: pdftotext", false}},
    {0, 4, "PK\3\4", false, {"a ZIP archive", "unpack it: unzip", false}},
    {257, 5, "ustar", false, {"a tar archive", "unpack it: tar -x", false}},
};
enum { SIGNATURES = sizeof signatures / sizeof *signatures };

static bool is_control(unsigned char c) { return (c < ' ' && !strchr("\b\t\n\v\f\r\x1a\x1b", c)) || c == 0x7f; }

static bool is_binary(const char *bytes, int64_t count) {
    enum { LOOKED_AT = 1 << 16 };
    int64_t controls = 0;
    if (count > LOOKED_AT) count = LOOKED_AT;
    if (memchr(bytes, 0, (size_t)count)) return true;
    for (int64_t i = 0; i < count; i++) controls += is_control((unsigned char)bytes[i]);
    return controls * 50 > count;
}

/* What bytes are that are no text; NULL: they are. */
static const mla_text_kind *other_kind(const char *bytes, int64_t count) {
    const bool looks_binary = count && is_binary(bytes, count);
    for (int i = 0; i < SIGNATURES; i++) {
        const signature *s = &signatures[i];
        if (!looks_binary && !s->says_all) continue;
        if (s->at + s->length <= count && !memcmp(bytes + s->at, s->magic, (size_t)s->length)) return &s->kind;
    }
    return looks_binary ? &binary : NULL;
}

/* ---- opening */

static mla_status content_failed(mla_context *context, const char *action, const char *path) {
    return mla_fail(context, MLA_ERROR_IO, "cannot %s %s: %s", action, path, strerror(errno));
}

static mla_status map_descriptor(mla_context *context, const char *path, int descriptor, mla_text_content *out) {
    struct stat info;
    *out = (mla_text_content){0};
    if (fstat(descriptor, &info)) return content_failed(context, "read", path);
    out->size = (size_t)info.st_size;
    out->length = info.st_size;
    if (!out->size) return MLA_OK;
    out->map = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (out->map == MAP_FAILED) {
        out->map = NULL;
        return content_failed(context, "map", path);
    }
    madvise(out->map, out->size, MADV_SEQUENTIAL);
    out->text = out->map;
    return MLA_OK;
}

static mla_status open_mapped(mla_context *context, const char *path, int spool, mla_text_content *out) {
    if (spool >= 0) return map_descriptor(context, path, spool, out);
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return content_failed(context, "read", path);
    const mla_status status = map_descriptor(context, path, descriptor, out);
    close(descriptor);
    return status;
}

/* Puts the decompressed text in the place of the compressed one. */
static mla_status unpack(mla_context *context, const char *path, const mla_codec *codec, mla_text_content *content) {
    mla_text_content packed = *content;
    int to;
    mla_status status = mla_file_nameless(context, &to);
    if (status) return status;
    status = mla_codec_unpack(context, codec, path, packed.text, packed.length, to);
    if (!status) status = map_descriptor(context, path, to, content);
    if (!status) mla_text_content_close(&packed);
    close(to);
    return status;
}

static void skip_mark(mla_text_content *content) {
    if (content->length < 3 || memcmp(content->text, "\xef\xbb\xbf", 3)) return;
    content->text += 3;
    content->length -= 3;
}

/* A name that promises compressed data; others download such a file decompressed, under the same name. */
static mla_status check_name(mla_context *context, const char *path, const mla_text_content *content) {
    const bool promises = path[mla_codec_stem(path)] != '\0';
    if (!promises || (content->length && !other_kind(content->text, content->length))) return MLA_OK;
    return mla_fail(context, MLA_ERROR_FORMAT,
                    "%s: is named as compressed data, but holds none: bring the file again from where it came, or "
                    "take it away",
                    path);
}

mla_status mla_text_content_open(mla_context *context, const char *path, int spool, mla_text_content *out) {
    mla_status status = open_mapped(context, path, spool, out);
    const mla_codec *codec = status ? NULL : mla_codec_find(out->text, out->length);
    if (codec) status = unpack(context, path, codec, out);
    else if (!status) status = check_name(context, path, out);
    if (!status) out->other = other_kind(out->text, out->length);
    if (!status) skip_mark(out);
    if (status) mla_text_content_close(out);
    return status;
}

void mla_text_content_pass(mla_text_content *content, int64_t at) {
    enum { STEP = 1 << 24 }; /* whole pages */
    const size_t end = (size_t)(content->text + at - (const char *)content->map) / STEP * STEP;
    if (end <= content->passed) return;
    madvise((char *)content->map + content->passed, end - content->passed, MADV_DONTNEED);
    content->passed = end;
}

void mla_text_content_close(mla_text_content *content) {
    if (content->map) munmap(content->map, content->size);
    *content = (mla_text_content){0};
}
