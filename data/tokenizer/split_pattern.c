#include "data/tokenizer/split_pattern.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* White_Space of Unicode, as contents of a class. PCRE2's own \s has U+180E besides. */
#define SPACE "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_SPACE                                                                                           \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}!-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{" \
    "2027}"                                                                                                 \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

typedef struct {
    mla_context *context;
    const char *pattern, *at; /* all of it, and what is still to be read */
    bool in_class;
    char *out;
    size_t length;
} translation_t;

static mla_status split_pattern_refuse(const translation_t *t, int length, const char *why) {
    return mla_fail(t->context, MLA_ERROR_FORMAT, "pattern \"%.80s\": '%.*s' %s", t->pattern, length, t->at, why);
}

static void write_text(translation_t *t, const char *text, size_t length) {
    memcpy(t->out + t->length, text, length);
    t->length += length;
}

static void copy(translation_t *t, size_t length) {
    write_text(t, t->at, length);
    t->at += length;
}

static void write_space(translation_t *t, bool wanted) {
    if (t->in_class) write_text(t, wanted ? SPACE : NOT_SPACE, strlen(wanted ? SPACE : NOT_SPACE));
    else {
        write_text(t, wanted ? "[" : "[^", wanted ? 1 : 2);
        write_text(t, SPACE "]", strlen(SPACE "]"));
    }
    t->at += 2;
}

/* \p{L}, \P{Lu}, \p{^N}: Oniguruma's scripts are Unicode's Script, PCRE2's are Script_Extensions. */
static mla_status read_property(translation_t *t) {
    size_t end = strcspn(t->at, "}"), name = t->at[2] == '{' && t->at[3] == '^' ? 4 : 3;
    if (t->at[2] != '{' || t->at[end] != '}' || end <= name || end - name > 2)
        return split_pattern_refuse(t, (int)end + (t->at[end] == '}'),
                                    "is not a category of one or two letters, such as \\p{L}");
    copy(t, end + 1);
    return MLA_OK;
}

static mla_status read_escape(translation_t *t) {
    const char c = t->at[1];
    if (c == 's' || c == 'S') return write_space(t, c == 's'), MLA_OK;
    if (c == 'p' || c == 'P') return read_property(t);
    if (c == '\0' || (isalnum((unsigned char)c) && !strchr("dDrntf", c) && !(c == 'x' && t->at[2] == '{')))
        return split_pattern_refuse(t, 2, "does not mean the same to `tokenizers` and to PCRE2, or nothing at all");
    copy(t, 2);
    return MLA_OK;
}

static mla_status read_in_class(translation_t *t) {
    if (*t->at == '[')
        return split_pattern_refuse(t, 1, "inside a class is a nested class; for the character write \\[");
    if (*t->at == '&' && t->at[1] == '&') return split_pattern_refuse(t, 2, "inside a class is an intersection");
    t->in_class = *t->at != ']';
    copy(t, 1);
    return MLA_OK;
}

static mla_status read_group(translation_t *t) {
    static const char *const known[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    if (t->at[1] == '*') return split_pattern_refuse(t, 2, "is not a group of `tokenizers`");
    if (t->at[1] != '?') return copy(t, 1), MLA_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strncmp(t->at, known[i], strlen(known[i]))) return copy(t, strlen(known[i])), MLA_OK;
    return split_pattern_refuse(t, 4, "is a kind of group that does not mean the same to `tokenizers` and to PCRE2");
}

static mla_status read_next(translation_t *t) {
    if (*t->at == '\\') return read_escape(t);
    if (t->in_class) return read_in_class(t);
    if (*t->at == '(') return read_group(t);
    if (!strncmp(t->at, "}+", 2) || !strncmp(t->at, "{,", 2))
        return split_pattern_refuse(t, 2, "does not mean the same to `tokenizers` and to PCRE2");
    t->in_class = *t->at == '[';
    copy(t, t->in_class && t->at[1] == '^' ? 2 : 1);
    if (t->in_class && *t->at == ']')
        return split_pattern_refuse(t, 1, "at the beginning of a class must be written \\]");
    return MLA_OK;
}

mla_status mla_split_translate(mla_context *context, char **out, const char *pattern) {
    /* The longest replacement of two characters is NOT_SPACE. */
    *out = mla_alloc(context, (int64_t)strlen(pattern) + 1, sizeof NOT_SPACE / 2 + 1, "a pattern");
    if (!*out) return MLA_ERROR_MEMORY;
    translation_t t = {.context = context, .pattern = pattern, .at = pattern, .out = *out};
    mla_status status = MLA_OK;
    while (status == MLA_OK && *t.at) status = read_next(&t);
    if (status == MLA_OK) return MLA_OK;
    free(*out);
    *out = NULL;
    return status;
}
