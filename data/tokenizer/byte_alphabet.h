/* GPT-2's way of writing bytes in JSON: printable ASCII and Latin-1 stand for themselves, the other 68 bytes
 * are written as U+0100 and on. */
#ifndef MLA_DATA_TOKENIZER_BYTE_ALPHABET_H
#define MLA_DATA_TOKENIZER_BYTE_ALPHABET_H

#include <stdint.h>

typedef struct {
    uint16_t character[256]; /* of each byte */
    int16_t byte[256 + 68];  /* of each character; -1 if it stands for none */
} mla_byte_alphabet;

void mla_byte_alphabet_make(mla_byte_alphabet *alphabet);

/* Writes `length` bytes as UTF-8, terminated, to `out` (at least 2 * length + 1 bytes). */
void mla_byte_alphabet_write(const mla_byte_alphabet *alphabet, char *out, const char *bytes, int64_t length);

/* The bytes that `text` (valid UTF-8) is written for, to `out` (at least as long as the text). Returns how
 * many; -1 if the text has other characters. */
int64_t mla_byte_alphabet_read(const mla_byte_alphabet *alphabet, char *out, const char *text);

#endif
