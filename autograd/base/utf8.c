#include "autograd/base/utf8.h"

#include <string.h>

/* How long a character is that begins with this byte; 0 if none does. */
static int64_t announced_length(unsigned char first) {
    if (first < 0x80) return 1;
    return first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

/* How many of the bytes fit the character that the first one announces. Unicode 15, table 3-7. */
static int64_t fitting(const unsigned char *s, int64_t n) {
    const int64_t length = announced_length(s[0]);
    if (length < 2 || n < 2) return length > 0;
    const unsigned char low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high) return 1;
    int64_t i = 2;
    while (i < length && i < n && (s[i] & 0xC0) == 0x80) i++;
    return i;
}

int64_t mla_utf8_length(const char *bytes, int64_t count) {
    const unsigned char *s = (const unsigned char *)bytes;
    const int64_t length = announced_length(s[0]);
    return fitting(s, count) == length ? length : 0;
}

int64_t mla_utf8_unfinished(const char *bytes, int64_t count) {
    for (int64_t back = 1; back <= 3 && back <= count; back++) {
        const unsigned char *s = (const unsigned char *)bytes + count - back;
        if (announced_length(s[0]) > back) return fitting(s, back) == back ? back : 0;
        if ((s[0] & 0xC0) != 0x80) return 0;
    }
    return 0;
}

/* How many bytes at the start are ASCII, and none of them zero where that counts, in steps of eight. */
static int64_t ascii_bytes(const char *bytes, int64_t count, bool zeros) {
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    int64_t i = 0;
    for (uint64_t eight; i + 8 <= count; i += 8) {
        memcpy(&eight, bytes + i, sizeof eight);
        if ((eight | (zeros ? eight : eight - ones)) & tops) break;
    }
    return i;
}

int64_t mla_utf8_repair(const char *bytes, int64_t count, bool zeros, char *out) {
    static const char replacement[] = "\xEF\xBF\xBD";
    char *to = out;
    for (int64_t i = 0; i < count;) {
        const int64_t plain = ascii_bytes(bytes + i, count - i, false);
        const int64_t valid = plain ? plain : zeros && !bytes[i] ? 0 : mla_utf8_length(bytes + i, count - i);
        const int64_t length = valid ? valid : 3;
        memcpy(to, valid ? bytes + i : replacement, (size_t)length);
        to += length;
        i += valid ? valid : 1;
    }
    return to - out;
}

int64_t mla_utf8_stretch(const char *bytes, int64_t count, bool valid) {
    int64_t length = 0;
    while (length < count) {
        if (valid) length += ascii_bytes(bytes + length, count - length, true);
        const int64_t next = length < count ? mla_utf8_length(bytes + length, count - length) : 0;
        if (length == count || (next > 0) != valid) break;
        length += valid ? next : 1;
    }
    return length;
}
