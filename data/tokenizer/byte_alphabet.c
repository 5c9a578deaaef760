#include "data/tokenizer/byte_alphabet.h"

#include <stdbool.h>
#include <string.h>

void mla_byte_alphabet_make(mla_byte_alphabet *alphabet) {
    uint16_t other = 256;
    memset(alphabet->byte, -1, sizeof alphabet->byte);
    for (uint16_t byte = 0; byte < 256; byte++) {
        const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
        alphabet->character[byte] = printable ? byte : other++;
        alphabet->byte[alphabet->character[byte]] = (int16_t)byte;
    }
}

void mla_byte_alphabet_write(const mla_byte_alphabet *alphabet, char *out, const char *bytes, int64_t length) {
    for (int64_t i = 0; i < length; i++) {
        const uint16_t c = alphabet->character[(unsigned char)bytes[i]];
        if (c >= 0x80) *out++ = (char)(0xC0 | c >> 6);
        *out++ = (char)(c < 0x80 ? c : 0x80 | (c & 0x3F));
    }
    *out = '\0';
}

int64_t mla_byte_alphabet_read(const mla_byte_alphabet *alphabet, char *out, const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    int64_t count = 0;
    while (*s) {
        unsigned c = *s++;
        if (c >= 0xE0) return -1; /* three bytes or more: beyond the alphabet */
        if (c >= 0x80) c = (c & 0x1F) << 6 | (*s++ & 0x3F);
        if (c >= sizeof alphabet->byte / sizeof *alphabet->byte || alphabet->byte[c] < 0) return -1;
        out[count++] = (char)alphabet->byte[c];
    }
    return count;
}
