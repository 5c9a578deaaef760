#include "data/tokenizer/normalizer.h"
#include "autograd/base/utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 16 };

typedef struct step step_t;
struct step {
    mla_status (*run)(mla_context *context, const step_t *step, mla_normalizer_scratch *scratch,
                      const mla_marked_text *text, mla_marked_buffer *out);
    mla_unicode *unicode; /* of a form */
    mla_split *pattern;   /* of Replace */
    char *text, *content; /* of Replace, where it is no pattern; of Replace and Prepend */
    bool left, right;     /* of Strip */
};

struct mla_normalizer {
    step_t steps[MOST_STEPS];
    int count;
};

/* ---- the steps: each appends what it makes of a text, which is valid UTF-8 and not empty ---- */

static mla_status run_form(mla_context *context, const step_t *step, mla_normalizer_scratch *scratch,
                           const mla_marked_text *text, mla_marked_buffer *out) {
    return mla_unicode_normalize(context, step->unicode, &scratch->unicode, text, out);
}

static mla_status run_lowercase(mla_context *context, const step_t *step, mla_normalizer_scratch *scratch,
                                const mla_marked_text *text, mla_marked_buffer *out) {
    char lower[8];
    mla_status status = MLA_OK;
    (void)step, (void)scratch;
    for (int64_t at = 0, length; at < text->length && !status; at += length) {
        const int64_t written = mla_lower_case(mla_character(text->bytes + at, &length), lower);
        status = mla_marked_replace(context, out, text, at, at + length, lower, written);
    }
    return status;
}

static mla_status run_strip_accents(mla_context *context, const step_t *step, mla_normalizer_scratch *scratch,
                                    const mla_marked_text *text, mla_marked_buffer *out) {
    mla_status status = MLA_OK;
    (void)step, (void)scratch;
    for (int64_t at = 0, length; at < text->length && !status; at += length)
        if (!mla_is_mark(mla_character(text->bytes + at, &length)))
            status = mla_marked_copy(context, out, text, at, at + length);
    return status;
}

static mla_status run_strip(mla_context *context, const step_t *step, mla_normalizer_scratch *scratch,
                            const mla_marked_text *text, mla_marked_buffer *out) {
    int64_t begin = 0, end = text->length, length;
    (void)scratch;
    while (step->left && begin < end && mla_is_white_space(mla_character(text->bytes + begin, &length)))
        begin += length;
    while (step->right && end > begin) {
        const int64_t last = mla_character_before(text->bytes, end);
        if (!mla_is_white_space(mla_character(text->bytes + last, &length))) break;
        end = last;
    }
    return mla_marked_copy(context, out, text, begin, end);
}

/* The next place of what is to be replaced, from `at` on; the end of the text if there is none. */
static mla_status find_next(mla_context *context, const step_t *step, mla_normalizer_scratch *scratch,
                            const mla_marked_text *text, int64_t at, int64_t *begin, int64_t *end) {
    if (step->pattern)
        return mla_split_find(context, step->pattern, scratch->split, text->bytes, text->length, at, begin, end);
    const char *found = memmem(text->bytes + at, (size_t)(text->length - at), step->text, strlen(step->text));
    *begin = found ? found - text->bytes : text->length;
    *end = found ? *begin + (int64_t)strlen(step->text) : text->length;
    return MLA_OK;
}

static mla_status run_replace(mla_context *context, const step_t *step, mla_normalizer_scratch *scratch,
                              const mla_marked_text *text, mla_marked_buffer *out) {
    const int64_t length = (int64_t)strlen(step->content);
    mla_status status = MLA_OK;
    for (int64_t at = 0, begin, end; at < text->length && !status; at = end) {
        status = find_next(context, step, scratch, text, at, &begin, &end);
        if (!status) status = mla_marked_copy(context, out, text, at, begin);
        if (!status && end > begin) status = mla_marked_replace(context, out, text, begin, end, step->content, length);
    }
    return status;
}

/* It belongs to the character that it is put before. */
static mla_status run_prepend(mla_context *context, const step_t *step, mla_normalizer_scratch *scratch,
                              const mla_marked_text *text, mla_marked_buffer *out) {
    const mla_status status = mla_marked_replace(context, out, text, 0, 1, step->content,
                                                 (int64_t)strlen(step->content));
    (void)scratch;
    return status ? status : mla_marked_copy(context, out, text, 0, text->length);
}

/* ---- reading ---- */

typedef struct {
    mla_context *context;
    const char *name; /* of the file */
    mla_normalizer *normalizer;
} normalizer_reader;

static mla_status copy_text(const normalizer_reader *r, const json_t *json, const char *what, char **out) {
    if (!json_is_string(json) || strlen(json_string_value(json)) != json_string_length(json))
        return mla_fail(r->context, MLA_ERROR_FORMAT, "%s: normalizer: %s is missing, or no text", r->name, what);
    *out = mla_alloc(r->context, (int64_t)json_string_length(json) + 1, 1, "a normalizer");
    if (!*out) return MLA_ERROR_MEMORY;
    strcpy(*out, json_string_value(json));
    return MLA_OK;
}

static mla_status read_replace(const normalizer_reader *r, step_t *step, const json_t *json) {
    const json_t *pattern = json_object_get(json, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    mla_status status = copy_text(r, json_object_get(json, "content"), "the content of Replace", &step->content);
    step->run = run_replace;
    if (!status && regex) return mla_split_create(r->context, &step->pattern, &regex, 1);
    if (!status)
        status = copy_text(r, json_object_get(pattern, "String"), "the pattern of Replace, a String or Regex",
                           &step->text);
    if (!status && !*step->text)
        return mla_fail(r->context, MLA_ERROR_FORMAT, "%s: normalizer: Replace of an empty String", r->name);
    return status;
}

static mla_status read_prepend(const normalizer_reader *r, step_t *step, const json_t *json) {
    step->run = run_prepend;
    return copy_text(r, json_object_get(json, "prepend"), "the text of Prepend", &step->content);
}

static mla_status read_strip(const normalizer_reader *r, step_t *step, const json_t *json) {
    (void)r;
    step->run = run_strip;
    step->left = json_is_true(json_object_get(json, "strip_left"));
    step->right = json_is_true(json_object_get(json, "strip_right"));
    return MLA_OK;
}

static mla_status read_lowercase(const normalizer_reader *r, step_t *step, const json_t *json) {
    (void)r, (void)json;
    step->run = run_lowercase;
    return MLA_OK;
}

static mla_status read_strip_accents(const normalizer_reader *r, step_t *step, const json_t *json) {
    (void)r, (void)json;
    step->run = run_strip_accents;
    return MLA_OK;
}

static mla_status read_form(const normalizer_reader *r, step_t *step, const json_t *json) {
    const char *type = json_string_value(json_object_get(json, "type"));
    step->run = run_form;
    return mla_unicode_create(r->context, &step->unicode,
                              !strcmp(type, "NFC")    ? MLA_NFC
                              : !strcmp(type, "NFD")  ? MLA_NFD
                              : !strcmp(type, "NFKC") ? MLA_NFKC
                                                      : MLA_NFKD);
}

static const struct {
    const char *type;
    mla_status (*read)(const normalizer_reader *r, step_t *step, const json_t *json);
} kinds[] = {{"NFC", read_form},
             {"NFD", read_form},
             {"NFKC", read_form},
             {"NFKD", read_form},
             {"Lowercase", read_lowercase},
             {"StripAccents", read_strip_accents},
             {"Strip", read_strip},
             {"Replace", read_replace},
             {"Prepend", read_prepend}};

static mla_status normalizer_read_step(const normalizer_reader *r, const json_t *json) {
    const char *type = json_string_value(json_object_get(json, "type"));
    mla_normalizer *n = r->normalizer;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && type; i++) {
        if (strcmp(type, kinds[i].type)) continue;
        if (n->count == MOST_STEPS)
            return mla_fail(r->context, MLA_ERROR_FORMAT, "%s: normalizer: more than %d steps", r->name, MOST_STEPS);
        return kinds[i].read(r, &n->steps[n->count++], json);
    }
    return mla_fail(r->context, MLA_ERROR_FORMAT, "%s: normalizer \"%.40s\" is not supported", r->name,
                    type ? type : "");
}

/* Sequences may hold sequences; jansson has limited how deep. */
static mla_status read_steps(const normalizer_reader *r, const json_t *json) {
    const char *type = json_string_value(json_object_get(json, "type"));
    const json_t *step;
    mla_status status = MLA_OK;
    size_t i;
    if (!type || strcmp(type, "Sequence")) return normalizer_read_step(r, json);
    json_array_foreach(json_object_get(json, "normalizers"), i, step) if (!status) status = read_steps(r, step);
    return status;
}

mla_status mla_normalizer_read(mla_context *context, mla_normalizer **out, const json_t *json, const char *name) {
    *out = NULL;
    if (!json || json_is_null(json)) return MLA_OK;
    normalizer_reader r = {context, name, mla_alloc(context, 1, sizeof *r.normalizer, "a normalizer")};
    const mla_status status = r.normalizer ? read_steps(&r, json) : MLA_ERROR_MEMORY;
    if (status) mla_normalizer_destroy(r.normalizer);
    else *out = r.normalizer;
    return status;
}

bool mla_normalizer_may_drop(const mla_normalizer *n) {
    for (int i = 0; n && i < n->count; i++) {
        const step_t *s = &n->steps[i];
        if (s->left || s->run == run_strip_accents || (s->run == run_replace && !*s->content)) return true;
    }
    return false;
}

void mla_normalizer_destroy(mla_normalizer *n) {
    if (!n) return;
    for (int i = 0; i < n->count; i++) {
        mla_unicode_destroy(n->steps[i].unicode);
        mla_split_destroy(n->steps[i].pattern);
        free(n->steps[i].text);
        free(n->steps[i].content);
    }
    free(n);
}

/* ---- running ---- */

void mla_normalizer_scratch_free(mla_normalizer_scratch *s) {
    mla_marked_buffer_free(&s->result);
    mla_marked_buffer_free(&s->steps[0]);
    mla_marked_buffer_free(&s->steps[1]);
    free(s->unicode.characters);
    free(s->unicode.bytes);
}

static bool changes_nothing(const step_t *step, const mla_marked_text *text) {
    return !text->length || (step->unicode && mla_unicode_is_in_form(step->unicode, text->bytes, text->length));
}

/* All steps on valid text, each from one buffer to the other. */
static mla_status run_steps(mla_context *context, const mla_normalizer *n, mla_normalizer_scratch *s,
                            mla_marked_text *text) {
    mla_status status = MLA_OK;
    for (int i = 0, to = 0; i < n->count && !status; i++) {
        if (changes_nothing(&n->steps[i], text)) continue;
        mla_marked_buffer_clear(&s->steps[to]);
        status = n->steps[i].run(context, &n->steps[i], s, text, &s->steps[to]);
        *text = mla_marked_buffer_text(&s->steps[to], text->marks != NULL);
        to = !to;
    }
    return status;
}

/* The valid text at the beginning goes through the steps, the invalid bytes behind it do not. */
static mla_status run_stretch(mla_context *context, const mla_normalizer *n, mla_normalizer_scratch *s,
                              const mla_marked_text *text, int64_t *at) {
    const int64_t valid = mla_utf8_stretch(text->bytes + *at, text->length - *at, true), begin = *at + valid;
    const int64_t invalid = mla_utf8_stretch(text->bytes + begin, text->length - begin, false);
    mla_marked_text part = mla_marked_part(text, *at, begin);
    mla_status status = run_steps(context, n, s, &part);
    if (!status) status = mla_marked_copy(context, &s->result, &part, 0, part.length);
    *at = begin + invalid;
    return status ? status : mla_marked_copy(context, &s->result, text, begin, *at);
}

mla_status mla_normalizer_run(mla_context *context, const mla_normalizer *n, mla_normalizer_scratch *s,
                              const mla_marked_text *text, mla_marked_text *out) {
    mla_status status = MLA_OK;
    *out = *text;
    if (!n || !n->count || !text->length) return MLA_OK;
    if (mla_utf8_stretch(text->bytes, text->length, true) == text->length) return run_steps(context, n, s, out);
    mla_marked_buffer_clear(&s->result);
    for (int64_t at = 0; at < text->length && !status;) status = run_stretch(context, n, s, text, &at);
    *out = mla_marked_buffer_text(&s->result, text->marks != NULL);
    return status;
}
