/* Text of which some bytes may be marked, while it is rewritten: what takes the place of a marked byte is marked. */
#ifndef MLA_DATA_TOKENIZER_MARKED_TEXT_H
#define MLA_DATA_TOKENIZER_MARKED_TEXT_H

#include "autograd/base/context.h"

/* Bytes that grow. Start with {0}; free with free(bytes.bytes). */
typedef struct {
    char *bytes; /* not terminated */
    int64_t count, capacity;
} mla_bytes;

mla_status mla_bytes_append(mla_context *context, mla_bytes *out, const char *bytes, int64_t length);

typedef struct {
    const char *bytes;
    const char *marks; /* 0 or 1 for each byte; NULL: nobody asks */
    int64_t length;
    bool inside; /* it goes on a text that began before it */
} mla_marked_text;

typedef struct {
    mla_bytes bytes, marks;
} mla_marked_buffer; /* begins as {0} */

/* Appends bytes begin ... end - 1 of a text with their marks. */
mla_status mla_marked_copy(mla_context *context, mla_marked_buffer *out, const mla_marked_text *text, int64_t begin,
                           int64_t end);

/* Appends other bytes in their place. */
mla_status mla_marked_replace(mla_context *context, mla_marked_buffer *out, const mla_marked_text *text, int64_t begin,
                              int64_t end, const char *bytes, int64_t length);

/* Whether one of the bytes begin ... end - 1 is marked. */
bool mla_marked_any(const mla_marked_text *text, int64_t begin, int64_t end);

/* A part of a text, and what is in a buffer, with marks if they are wanted. */
mla_marked_text mla_marked_part(const mla_marked_text *text, int64_t begin, int64_t end);
mla_marked_text mla_marked_buffer_text(const mla_marked_buffer *buffer, bool marks);

void mla_marked_buffer_clear(mla_marked_buffer *buffer);
void mla_marked_buffer_free(mla_marked_buffer *buffer);

#endif
