/* Documents, one after the other, from text files, folders, globs and JSONL files.
 *
 * A file is a document, whatever bytes it holds (invalid UTF-8 and zeros included). With a JSONL field named,
 * each line of a file whose name ends in .jsonl is a document: the string in that field (json_field.h). Empty documents
 * are left out. Folders are read with all folders below them, links followed, sorted by name; a path that is no file
 * may be a glob ("texts-*.txt"), whose matches are sorted by name. The order is that of the list of paths: the same
 * files give the same documents in the same order.
 *
 * With `lines`, each line of every file is a document, as it stands.
 *
 * Held-out documents are chosen by a hash of their content, so equal documents are never on both sides, and a
 * document stays on its side when others are added (unless the corpus is so small that a side would be empty:
 * then its nearest document moves there). If there is only one document (not a line), its tail is held out, cut at the
 * end of a line where there is one: it comes as two documents.
 *
 * Files are mapped, not copied: they must not be cut while they are read. */
#ifndef MLA_DATA_TEXT_TEXT_SOURCE_H
#define MLA_DATA_TEXT_TEXT_SOURCE_H

#include "data/text/bad_lines.h"

typedef struct {
    const char *const *paths;
    int64_t count;
    const char *jsonl_field;        /* NULL: .jsonl files are plain text like others */
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

/* Finds all files and reads them once, so that whatever is wrong is found now: MLA_ERROR_IO for a path that
 * is missing or cannot be read, MLA_ERROR_FORMAT for a JSONL line without the field (file and line named),
 * MLA_ERROR_ARGUMENT for a source with no text or none that can be held out. Options are copied. */
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
