#include "train/adapter/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { LONGEST = 480, MOST_STEPS = 100000, MOST_KILOBYTES = 1024 };

static pcre2_code *compile(const mla_pattern *p) {
    char text[LONGEST + 128];
    int error;
    PCRE2_SIZE at;
    if (strlen(p->before) + strlen(p->pattern) + strlen(p->behind) > LONGEST) return NULL;
    snprintf(text, sizeof text, "%s%s%s", p->before, p->pattern, p->behind);
    return pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED, &error, &at,
                         NULL);
}

static int match_within_limits(const pcre2_code *code, const char *name, pcre2_match_data *match) {
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int result = PCRE2_ERROR_NOMEMORY;
    if (code && match && limits) {
        pcre2_set_match_limit(limits, MOST_STEPS);
        pcre2_set_heap_limit(limits, MOST_KILOBYTES);
        result = pcre2_match(code, (PCRE2_SPTR)name, strlen(name), 0, 0, match, limits);
    }
    pcre2_match_context_free(limits);
    return result;
}

static int64_t index_of(pcre2_match_data *match) {
    PCRE2_UCHAR digits[24];
    PCRE2_SIZE length = sizeof digits;
    return pcre2_substring_copy_byname(match, (PCRE2_SPTR) "idx", digits, &length) ? -1
                                                                                   : strtoll((char *)digits, NULL, 10);
}

mla_status mla_pattern_match(mla_context *context, const char *where, mla_pattern pattern, const char *name, bool *out,
                             int64_t *number) {
    pcre2_code *code = compile(&pattern);
    pcre2_match_data *match = code ? pcre2_match_data_create_from_pattern(code, NULL) : NULL;
    const int result = match_within_limits(code, name, match);
    *out = result >= 0;
    if (number) *number = *out ? index_of(match) : -1;
    pcre2_match_data_free(match);
    pcre2_code_free(code);
    if (*out || result == PCRE2_ERROR_NOMATCH) return MLA_OK;
    return mla_fail(context, MLA_ERROR_FORMAT, "%s: \"%.100s\" is no pattern of names that we understand", where,
                    pattern.pattern);
}
