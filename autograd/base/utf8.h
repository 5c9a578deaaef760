/* Characters in bytes that may be anything. */
#ifndef MLA_AUTOGRAD_BASE_UTF8_H
#define MLA_AUTOGRAD_BASE_UTF8_H

#include <stdbool.h>
#include <stdint.h>

/* The length of the valid UTF-8 character at the start of `count` >= 1 bytes; 0 if there is none. */
int64_t mla_utf8_length(const char *bytes, int64_t count);

/* How many bytes at the end are the beginning of a character whose rest may still come: 0 to 3. */
int64_t mla_utf8_unfinished(const char *bytes, int64_t count);

/* Copies the bytes to `out`, of at least 3 * count bytes, with U+FFFD for each that belongs to no character, and for
 * zeros if they are to go. Returns the length. */
int64_t mla_utf8_repair(const char *bytes, int64_t count, bool zeros, char *out);

/* How many bytes at the start are all characters (valid), or all belong to none (not valid). */
int64_t mla_utf8_stretch(const char *bytes, int64_t count, bool valid);

#endif
