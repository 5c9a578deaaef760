/* Characters and Unicode's normalization forms, by utf8proc: unicode.c alone includes it. Texts are valid UTF-8. */
#ifndef MLA_DATA_TOKENIZER_UNICODE_H
#define MLA_DATA_TOKENIZER_UNICODE_H

#include "data/tokenizer/marked_text.h"

/* The character at the start of a text that is not empty; *length gets its bytes. */
int32_t mla_character(const char *bytes, int64_t *length);
/* Where the last character of bytes 0 ... end - 1 begins, end > 0. */
int64_t mla_character_before(const char *bytes, int64_t end);

bool mla_is_white_space(int32_t character);
bool mla_is_mark(int32_t character); /* combining marks of all kinds */
bool mla_is_word(int32_t character); /* what \w is to `tokenizers`: letters, marks, decimal digits, _ and its like */

/* The full lower case of one character, as UTF-8 in `out` (8 bytes); returns its length. */
int64_t mla_lower_case(int32_t character, char *out);

typedef enum { MLA_NFC, MLA_NFD, MLA_NFKC, MLA_NFKD } mla_unicode_form;

/* What brings text into one of the forms (UAX #15); shared by threads. */
typedef struct mla_unicode mla_unicode;

mla_status mla_unicode_create(mla_context *context, mla_unicode **out, mla_unicode_form form);
void mla_unicode_destroy(mla_unicode *unicode);

/* Room to work in, one per thread; begins as {0}. Free the two. */
typedef struct {
    int32_t *characters;
    char *bytes;
    int64_t capacity, byte_capacity;
} mla_unicode_scratch;

/* Whether a text is in the form for certain, at the cost of looking at it; false may also mean perhaps. */
bool mla_unicode_is_in_form(const mla_unicode *unicode, const char *bytes, int64_t length);

/* Appends the text in the form to *out. */
mla_status mla_unicode_normalize(mla_context *context, const mla_unicode *unicode, mla_unicode_scratch *scratch,
                                 const mla_marked_text *text, mla_marked_buffer *out);

#endif
