/* What a file of a corpus holds: its text, or what it is otherwise.
 *
 * Text is any sequence of bytes in an encoding that has ASCII in it (UTF-8, Latin-1, Shift-JIS, GBK, ...); it is not
 * converted. No text is what begins as a file of another kind does (UTF-16, UTF-32, Parquet, PDF, ZIP, tar), or whose
 * first 64 KiB have a zero in them, or more than one in fifty of the control characters that no text uses: those below
 * the space but backspace, tab, ends of lines and pages, ^Z and escape; and delete. */
#ifndef MLA_DATA_TEXT_TEXT_CONTENT_H
#define MLA_DATA_TEXT_TEXT_CONTENT_H

#include "autograd/base/context.h"

typedef struct {
    const char *name, *remedy; /* "a PDF document"; how to get its text, or NULL */
    bool is_corpus;            /* it holds text for certain: to leave it out would be wrong */
} mla_text_kind;

typedef struct {
    const char *text; /* without a byte-order mark of UTF-8 */
    int64_t length;
    const mla_text_kind *other; /* what it is that is no text; NULL: text */
    void *map;                  /* its own */
    size_t size, passed;
} mla_text_content;

/* Maps the text of a file, or of the descriptor `spool` if that is not -1 (then `path` is its name). What gzip, zstd,
 * xz or bzip2 made is decompressed, into a file without a name in TMPDIR (unpack.h). MLA_ERROR_IO; MLA_ERROR_FORMAT
 * where compressed data is damaged, or missing in a file that is named so. */
mla_status mla_text_content_open(mla_context *context, const char *path, int spool, mla_text_content *out);
/* What is before text + at will hardly be read again: its pages leave the process, so that long files take no memory.
 */
void mla_text_content_pass(mla_text_content *content, int64_t at);
void mla_text_content_close(mla_text_content *content);

#endif
