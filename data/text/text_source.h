/* Documents, one after the other, from text files, folders, globs, pipes, JSONL and JSON files, compressed or not.
 *
 * A file is a document, its bytes as they are but for a byte-order mark of UTF-8. With a JSONL field named, each line
 * of a file called .jsonl, .ndjson or .jsonlines (in any case) is a document: the string in that field; so is each of
 * one called .json, and of a pipe, where the first line is a whole object; and so is each object of one whose text is
 * an array of objects. With `jsonl` that holds for all files, with `lines` each line (or object of an array) is a
 * document as it stands. Empty documents are left out.
 *
 * What gzip, zstd, xz or bzip2 made (told by its first bytes; any number of members) is decompressed, and the endings
 * .gz, .zst, .xz, .bz2 are no part of a name. What is damaged, cut off or has something else behind it is an error.
 *
 * Folders are read with all folders below them, links followed, sorted by name; a path that is no file may be a glob
 * ("texts-*.txt"), whose matches are sorted by name. The order is that of the list of paths: the same files give the
 * same documents in the same order. Left out, with a warning that counts them and names the first, are in folders
 * whatever begins with a dot (.git, ._a.txt), and in folders and globs what holds no text (text_content.h states the
 * rule). A file of that kind that has a path of its own is an error, and Parquet always is.
 *
 * A path may be a pipe (<(zcat a.gz), a FIFO) or -, the standard input: that is read once, into a file without a name
 * in TMPDIR, and then is a file like others.
 *
 * Held-out documents are chosen by a hash of their content, so equal documents are never on both sides, and a
 * document stays on its side when others are added (unless the corpus is so small that a side would be empty:
 * then its nearest document moves there). If there is only one document (not a line), its tail is held out, cut at the
 * end of a line where there is one: it comes as two documents.
 *
 * Files are mapped, not copied: they must not be cut while they are read. A compressed one is decompressed anew in each
 * pass, one at a time, into a file without a name in TMPDIR, which is mapped: the disk must have room for the largest,
 * memory for what is in use of it (and for what the codec needs, 128 MiB at most). */
#ifndef MLA_DATA_TEXT_TEXT_SOURCE_H
#define MLA_DATA_TEXT_TEXT_SOURCE_H

#include "data/text/bad_lines.h"

typedef struct {
    const char *const *paths;
    int64_t count;
    const char *jsonl_field;        /* NULL: JSONL and JSON files are plain text like others */
    bool jsonl;                     /* all files are JSONL, whatever they are called; needs the field */
    mla_bad_lines_choice bad_lines; /* JSONL lines without text in the field: an error, or left out with a warning */
    bool lines;                     /* all files are lists of lines */
    double held_out;                /* fraction of the documents, 0 <= held_out < 1; 0: none */
    uint64_t seed;                  /* of the choice of held-out documents */
} mla_text_options;

typedef struct {
    const char *bytes; /* not terminated */
    int64_t length;    /* > 0 */
    const char *name;  /* the file, and the line in a JSONL file: "a.jsonl:17" */
    bool held_out;
} mla_document;

typedef struct mla_text_source mla_text_source;

/* Finds all files and reads them once, so that whatever is wrong is found now: MLA_ERROR_IO for a path that is missing
 * or cannot be read, MLA_ERROR_FORMAT for a JSONL line without the field (file and line named), for what is no text or
 * damaged, MLA_ERROR_ARGUMENT for a source with no text or none that can be held out. Options are copied. */
mla_status mla_text_open(mla_context *context, mla_text_source **out, const mla_text_options *options);
void mla_text_close(mla_text_source *source);

/* The next document, valid until the next call; NULL after the last one. */
mla_status mla_text_next(mla_text_source *source, const mla_document **out);
/* Back to the first document. */
void mla_text_rewind(mla_text_source *source);

/* The lines that were left out, as far as was read since the beginning. */
const mla_bad_lines *mla_text_bad_lines(const mla_text_source *source);

/* Of the whole source. */
int64_t mla_text_documents(const mla_text_source *source);
int64_t mla_text_bytes(const mla_text_source *source);

#endif
