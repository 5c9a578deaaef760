#include "data/tokenizer/split.h"

#include "autograd/base/utf8.h"
#include "data/tokenizer/split_pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

typedef struct {
    pcre2_code *code;
    char *pattern;
    mla_split_behavior behavior;
    bool invert;
} stage_t;

struct mla_split {
    stage_t *stages;
    int count;
};

struct mla_split_scratch {
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
};

static mla_status compile(mla_context *context, pcre2_code **out, const char *pattern) {
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
    pcre2_compile_context *settings = NULL;
    char *translated;
    uint32_t empty = 0;
    mla_status status = mla_split_translate(context, &translated, pattern);
    if (status) return status;
    int error = PCRE2_ERROR_NOMEMORY;
    PCRE2_SIZE offset = 0;
    if ((settings = pcre2_compile_context_create(NULL))) {
        pcre2_set_newline(settings, PCRE2_NEWLINE_LF);
        *out = pcre2_compile((PCRE2_SPTR)translated, PCRE2_ZERO_TERMINATED, options, &error, &offset, settings);
    }
    if (!*out) {
        char words[256] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)words, sizeof words);
        const bool memory = error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED;
        status = mla_fail(context, memory ? MLA_ERROR_MEMORY : MLA_ERROR_FORMAT, "pattern \"%.80s\": %s (at '%.20s')",
                          pattern, words, translated + offset);
    } else if (pcre2_pattern_info(*out, PCRE2_INFO_MATCHEMPTY, &empty) == 0 && empty)
        status = mla_fail(context, MLA_ERROR_FORMAT, "pattern \"%.80s\" can match the empty string", pattern);
    else pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* where it is not available, matching interprets */
    pcre2_compile_context_free(settings);
    free(translated);
    return status;
}

mla_status mla_split_create(mla_context *context, mla_split **out, const char *const *patterns, int count) {
    mla_status status = MLA_ERROR_MEMORY;
    mla_split *split = mla_alloc(context, 1, sizeof *split, "patterns");
    *out = NULL;
    if (!split) return status;
    split->stages = mla_alloc(context, count, sizeof *split->stages, "patterns");
    if (!split->stages) goto done;
    split->count = count;
    for (int i = 0; i < count; i++) {
        stage_t *stage = &split->stages[i];
        if (!(stage->pattern = mla_alloc(context, (int64_t)strlen(patterns[i]) + 1, 1, "a pattern"))) goto done;
        strcpy(stage->pattern, patterns[i]);
        if ((status = compile(context, &stage->code, patterns[i]))) goto done;
    }
    *out = split;
    return MLA_OK;
done:
    mla_split_destroy(split);
    return status;
}

void mla_split_destroy(mla_split *split) {
    if (!split) return;
    for (int i = 0; i < split->count; i++) {
        pcre2_code_free(split->stages[i].code);
        free(split->stages[i].pattern);
    }
    free(split->stages);
    free(split);
}

void mla_split_set_behavior(mla_split *split, int pattern, mla_split_behavior behavior, bool invert) {
    split->stages[pattern].behavior = behavior;
    split->stages[pattern].invert = invert;
}

mla_status mla_split_scratch_create(mla_context *context, mla_split_scratch **out) {
    mla_split_scratch *scratch = *out = mla_alloc(context, 1, sizeof *scratch, "splitting text");
    if (!scratch) return MLA_ERROR_MEMORY;
    scratch->match = pcre2_match_data_create(1, NULL);
    scratch->limits = pcre2_match_context_create(NULL);
    scratch->stack = pcre2_jit_stack_create(32 << 10, 8 << 20, NULL); /* NULL where there is no JIT */
    if (scratch->match && scratch->limits) {
        pcre2_jit_stack_assign(scratch->limits, NULL, scratch->stack);
        pcre2_set_match_limit(scratch->limits, UINT32_MAX); /* long runs of spaces are no reason to fail */
        return MLA_OK;
    }
    mla_split_scratch_destroy(scratch);
    *out = NULL;
    return mla_fail(context, MLA_ERROR_MEMORY, "no memory for splitting text");
}

void mla_split_scratch_destroy(mla_split_scratch *scratch) {
    if (!scratch) return;
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->limits);
    pcre2_jit_stack_free(scratch->stack);
    free(scratch);
}

typedef struct {
    mla_context *context;
    const mla_split *split;
    mla_split_scratch *scratch;
    mla_split_visit *visit;
    void *user;
} run_t;

/* The next match of a pattern from `at` on; both ends are `length` if there is none. */
static mla_status split_find(const run_t *run, int stage, const char *bytes, int64_t length, int64_t at, int64_t *begin,
                             int64_t *end) {
    int found = pcre2_match(run->split->stages[stage].code, (PCRE2_SPTR)bytes, (PCRE2_SIZE)length, (PCRE2_SIZE)at,
                            PCRE2_NO_UTF_CHECK, run->scratch->match, run->scratch->limits);
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(run->scratch->match);
    *begin = found >= 0 ? (int64_t)range[0] : length;
    *end = found >= 0 ? (int64_t)range[1] : length;
    if (found >= 0 || found == PCRE2_ERROR_NOMATCH) return MLA_OK;
    char words[256] = "";
    pcre2_get_error_message(found, (PCRE2_UCHAR *)words, sizeof words);
    return mla_fail(run->context, found == PCRE2_ERROR_NOMEMORY ? MLA_ERROR_MEMORY : MLA_ERROR_LIBRARY,
                    "pattern \"%.80s\" on a text of %lld bytes: %s", run->split->stages[stage].pattern,
                    (long long)length, words);
}

static mla_status cut(const run_t *run, int stage, const char *bytes, int64_t length);

/* A part of a piece, that its neighbour may still join. */
typedef struct {
    int64_t begin, end;
    bool match; /* what was put there last */
} part_t;

static bool joins(const stage_t *stage, bool before, bool match) {
    switch (stage->behavior) {
    case MLA_SPLIT_MERGED_WITH_PREVIOUS: return match && !before;
    case MLA_SPLIT_MERGED_WITH_NEXT: return before && !match;
    case MLA_SPLIT_CONTIGUOUS: return match == before;
    default: return false;
    }
}

/* Bytes at ... end - 1, which match or not: they join the part before them, or that goes on to the next pattern. */
static mla_status cut_at(const run_t *run, int stage, const char *bytes, part_t *part, int64_t end, bool match) {
    const stage_t *s = &run->split->stages[stage];
    const bool open = part->end > part->begin;
    mla_status status = MLA_OK;
    match ^= s->invert;
    if (end == part->end) return MLA_OK;
    if (open && !joins(s, part->match, match)) {
        status = cut(run, stage + 1, bytes + part->begin, part->end - part->begin);
        part->begin = part->end;
    }
    part->end = end;
    part->match = match;
    return status;
}

/* Cuts one piece by the pattern `stage`, and what comes of it by the patterns after that. */
static mla_status cut(const run_t *run, int stage, const char *bytes, int64_t length) {
    if (stage == run->split->count) return run->visit(run->user, bytes, length);
    mla_status status = MLA_OK;
    part_t part = {0};
    for (int64_t begin, end; status == MLA_OK && part.end < length;) {
        status = split_find(run, stage, bytes, length, part.end, &begin, &end);
        if (status == MLA_OK) status = cut_at(run, stage, bytes, &part, begin, false);
        if (status == MLA_OK) status = cut_at(run, stage, bytes, &part, end, true);
    }
    return status ? status : cut(run, stage + 1, bytes + part.begin, part.end - part.begin);
}

mla_status mla_split_find(mla_context *context, const mla_split *split, mla_split_scratch *scratch, const char *bytes,
                          int64_t length, int64_t at, int64_t *begin, int64_t *end) {
    return split_find(&(run_t){.context = context, .split = split, .scratch = scratch}, 0, bytes, length, at, begin,
                      end);
}

mla_status mla_split_run(mla_context *context, const mla_split *split, mla_split_scratch *scratch, const char *bytes,
                         int64_t length, mla_split_visit *visit, void *user) {
    const run_t run = {context, split, scratch, visit, user};
    mla_status status = MLA_OK;
    for (int64_t at = 0; status == MLA_OK && at < length;) {
        const int64_t valid = mla_utf8_stretch(bytes + at, length - at, true);
        if (valid) status = cut(&run, 0, bytes + at, valid);
        const int64_t invalid = mla_utf8_stretch(bytes + at + valid, length - at - valid, false);
        if (status == MLA_OK && invalid) status = visit(user, bytes + at + valid, invalid);
        at += valid + invalid;
    }
    return status;
}
