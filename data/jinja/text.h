/* Texts with marks: cutting, searching, joining. Places are in bytes unless it says characters; texts never change. */
#ifndef MLA_DATA_JINJA_TEXT_H
#define MLA_DATA_JINJA_TEXT_H

#include "data/jinja/value.h"

/* A text that grows; begins with {.machine = m}. */
typedef struct {
    jinja_machine *machine;
    char *bytes;
    uint16_t *marks;
    int64_t length, capacity;
    bool marked, safe;
} jinja_builder;
void mla_jinja_put(jinja_builder *b, const char *bytes, int64_t length, const uint16_t *marks);
void mla_jinja_put_text(jinja_builder *b, const jinja_text *text);
void mla_jinja_put_part(jinja_builder *b, const jinja_text *text, int64_t begin, int64_t end);
void mla_jinja_put_string(jinja_builder *b, const char *string);
void mla_jinja_put_escaped(jinja_builder *b, const jinja_text *text); /* for HTML, unless it is safe */
void mla_jinja_put_character(jinja_builder *b, uint32_t character);
jinja_value mla_jinja_built(jinja_builder *b);

/* A text of the template's, or one with a mark for all of its bytes; copied. */
jinja_value mla_jinja_string(jinja_machine *m, const char *bytes, int64_t length, uint16_t mark);
jinja_value mla_jinja_part(jinja_machine *m, const jinja_text *text, int64_t begin, int64_t end);
/* The value as a C string of the arena; NULs are kept out by "?". */
const char *mla_jinja_chars(jinja_machine *m, const jinja_text *text);

/* The bytes of the character at a place; the character; how many there are between two places; where the nth is. */
int64_t mla_jinja_character(const jinja_text *text, int64_t at);
uint32_t mla_jinja_code_point(const jinja_text *text, int64_t at);
int64_t mla_jinja_characters(const jinja_text *text, int64_t begin, int64_t end);
int64_t mla_jinja_place(const jinja_text *text, int64_t characters);

/* The first, from a place on, or the last before one; -1: there is none. */
int64_t mla_jinja_find(const jinja_text *text, const jinja_text *part, int64_t from);
int64_t mla_jinja_find_last(const jinja_text *text, const jinja_text *part, int64_t before);
bool mla_jinja_at(const jinja_text *text, const jinja_text *part, int64_t at);

bool mla_jinja_is_space(uint32_t character); /* str.isspace of Python */
/* Without what it begins with (left) and ends with (right) of a set of characters; NULL: white space. */
jinja_value mla_jinja_strip(jinja_machine *m, const jinja_text *text, const jinja_text *set, bool left, bool right);

#endif
