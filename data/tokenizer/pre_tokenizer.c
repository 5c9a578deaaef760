/* The pre_tokenizer of a tokenizer.json: patterns that cut text into the pieces within which BPE merges. ByteLevel says
 * besides that tokens are written in the byte-level alphabet; Metaspace writes spaces as another character first. */
#include "autograd/json/tree.h"
#include "data/tokenizer/tokenizer_internal.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* How `tokenizers` splits where the file only says ByteLevel (with use_regex) or Digits. */
static const char byte_level_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char one_digit[] = "\\p{N}", all_digits[] = "\\p{N}+";

enum { most_patterns = 16 };

typedef struct {
    char *pattern;
    mla_split_behavior behavior;
    bool invert;
} pattern_t;

typedef struct {
    mla_context *context;
    const char *name; /* of the file */
    mla_tokenizer *tokenizer;
    pattern_t patterns[most_patterns];
    int count;
    bool begun; /* a step was seen */
} steps_t;

__attribute__((format(printf, 2, 3))) static mla_status refuse(const steps_t *s, const char *format, ...) {
    char words[512];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return mla_fail(s->context, MLA_ERROR_FORMAT, "%s: pre_tokenizer%s", s->name, words);
}

/* A pattern, or a text that stands for itself: then what has a meaning in patterns gets a backslash. */
static mla_status add_pattern(steps_t *s, const char *text, bool literal, mla_split_behavior behavior, bool invert) {
    if (s->tokenizer->byte_level) return refuse(s, ": a step after ByteLevel is not supported");
    if (s->count == most_patterns) return refuse(s, ": more than %d patterns", most_patterns);
    char *out = mla_alloc(s->context, 2 * (int64_t)strlen(text) + 1, 1, "a pattern");
    if (!out) return MLA_ERROR_MEMORY;
    s->patterns[s->count++] = (pattern_t){out, behavior, invert};
    for (; *text; *out++ = *text++)
        if (literal && ispunct((unsigned char)*text)) *out++ = '\\';
    return MLA_OK;
}

static mla_status read_split(steps_t *s, const json_t *step) {
    static const char *const behaviors[] = {"Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const json_t *pattern = json_object_get(step, "pattern");
    const char *regex = mla_json_text_of(pattern, "Regex"), *text = mla_json_text_of(pattern, "String");
    const char *behavior = mla_json_text_of(step, "behavior");
    if (!*regex && !*text) return refuse(s, " Split: the pattern is neither a Regex nor a String");
    for (int i = 0; i < 4; i++)
        if (!strcmp(behavior, behaviors[i]))
            return add_pattern(s, *regex ? regex : text, !*regex, (mla_split_behavior)i,
                               mla_json_is_on(step, "invert", false));
    return refuse(s,
                  " Split: behavior \"%.40s\" is not supported, only \"Isolated\", \"MergedWithPrevious\", "
                  "\"MergedWithNext\" and \"Contiguous\", which keep the whole text",
                  behavior);
}

static mla_status read_byte_level(steps_t *s, const json_t *step) {
    if (mla_json_is_on(step, "add_prefix_space", true))
        return refuse(s, " ByteLevel: add_prefix_space is not supported");
    if (*s->tokenizer->metaspace.replacement) return refuse(s, ": Metaspace before ByteLevel is not supported");
    const mla_status status = mla_json_is_on(step, "use_regex", true)
                                  ? add_pattern(s, byte_level_pattern, false, MLA_SPLIT_ISOLATED, false)
                                  : MLA_OK;
    s->tokenizer->byte_level = true;
    return status;
}

static mla_status read_digits(steps_t *s, const json_t *step) {
    return add_pattern(s, mla_json_is_on(step, "individual_digits", false) ? one_digit : all_digits, false,
                       MLA_SPLIT_ISOLATED, false);
}

/* Files of before prepend_scheme have add_prefix_space in its place. */
static mla_status read_metaspace(steps_t *s, const json_t *step) {
    static const char *const schemes[] = {
        [MLA_PREPEND_NEVER] = "never", [MLA_PREPEND_FIRST] = "first", [MLA_PREPEND_ALWAYS] = "always"};
    mla_metaspace *m = &s->tokenizer->metaspace;
    const char *replacement = mla_json_text_of(step, "replacement"), *scheme = mla_json_text_of(step, "prepend_scheme");
    if (s->begun) return refuse(s, " Metaspace: a step before it is not supported");
    if (!*replacement || strlen(replacement) >= sizeof m->replacement)
        return refuse(s, " Metaspace: the replacement is not one character");
    strcpy(m->replacement, replacement);
    m->prepend = mla_json_is_on(step, "add_prefix_space", true) ? MLA_PREPEND_ALWAYS : MLA_PREPEND_NEVER;
    for (int i = 0; i < 3; i++)
        if (!strcmp(scheme, schemes[i])) m->prepend = (mla_prepend)i;
    if (*scheme && strcmp(scheme, schemes[m->prepend]))
        return refuse(s, " Metaspace: prepend_scheme \"%.40s\" is none of first, always, never", scheme);
    if (m->prepend == MLA_PREPEND_FIRST && mla_normalizer_may_drop(s->tokenizer->normalizer))
        return refuse(s, " Metaspace: prepend_scheme \"first\" with a normalizer that takes characters away is not "
                         "supported");
    return mla_json_is_on(step, "split", true) ? add_pattern(s, replacement, true, MLA_SPLIT_MERGED_WITH_NEXT, false)
                                               : MLA_OK;
}

static mla_status read_step(steps_t *s, const json_t *step) {
    static const struct {
        const char *type;
        mla_status (*read)(steps_t *s, const json_t *step);
    } kinds[] = {
        {"Split", read_split}, {"ByteLevel", read_byte_level}, {"Digits", read_digits}, {"Metaspace", read_metaspace}};
    const char *type = mla_json_text_of(step, "type");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(type, kinds[i].type)) continue;
        const mla_status status = kinds[i].read(s, step);
        s->begun = true;
        return status;
    }
    return refuse(s, " \"%.40s\" is not supported: BPE is read with Split, Digits, ByteLevel and Metaspace", type);
}

static mla_status read_steps(steps_t *s, const json_t *json) {
    const json_t *step;
    mla_status status = MLA_OK;
    size_t i;
    if (!json || json_is_null(json)) return MLA_OK;
    if (strcmp(mla_json_text_of(json, "type"), "Sequence")) return read_step(s, json);
    json_array_foreach(json_object_get(json, "pretokenizers"), i, step) if (!status) status = read_step(s, step);
    return status;
}

static mla_status compile(const steps_t *s) {
    const char *patterns[most_patterns] = {NULL};
    for (int i = 0; i < s->count; i++) patterns[i] = s->patterns[i].pattern;
    const mla_status status = mla_split_create(s->context, &s->tokenizer->split, patterns, s->count);
    for (int i = 0; i < s->count && !status; i++)
        mla_split_set_behavior(s->tokenizer->split, i, s->patterns[i].behavior, s->patterns[i].invert);
    return status;
}

mla_status mla_tokenizer_read_pre_tokenizer(mla_context *context, mla_tokenizer *tokenizer, const json_t *json,
                                            const char *name) {
    steps_t s = {.context = context, .name = name, .tokenizer = tokenizer};
    mla_status status = read_steps(&s, json);
    if (!status) status = compile(&s);
    for (int i = 0; i < s.count; i++) free(s.patterns[i].pattern);
    return status;
}
