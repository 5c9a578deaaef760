/* Added tokens that are spelled out in text, found as `tokenizers` finds them: the leftmost and of those the longest,
 * the ones that are not normalized in the text as it is, then the others in what normalizing makes of the rest. */
#include "autograd/base/utf8.h"
#include "data/tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- what to look for ---- */

/* Its own words, or what normalizing makes of them: which is then what it stands for in decoded text, too. */
static mla_status set_pattern(mla_context *context, mla_tokenizer *t, mla_added_token *added,
                              mla_normalizer_scratch *scratch) {
    mla_marked_text text = {.bytes = added->content, .length = added->content_length};
    if (added->normalized) {
        const mla_status status = mla_normalizer_run(context, t->normalizer, scratch, &text, &text);
        if (status) return status;
    }
    added->pattern = mla_alloc(context, text.length + 1, 1, "added tokens");
    if (!added->pattern) return MLA_ERROR_MEMORY;
    if (text.length) memcpy(added->pattern, text.bytes, (size_t)text.length);
    added->length = text.length;
    if (added->normalized) t->tokens[added->id].bytes = added->pattern, t->tokens[added->id].length = added->length;
    return MLA_OK;
}

/* Into the list of those that begin with the same byte, behind all that are as long. */
static void enlist(mla_tokenizer *t, int32_t index) {
    mla_added_token *added = &t->added[index];
    int32_t *link = &t->added_first[added->normalized][(unsigned char)added->pattern[0]];
    while (*link >= 0 && t->added[*link].length >= added->length) link = &t->added[*link].next;
    added->next = *link;
    *link = index;
    t->has_added[added->normalized] = true;
}

mla_status mla_tokenizer_index_added(mla_context *context, mla_tokenizer *t) {
    mla_normalizer_scratch scratch = {0};
    mla_status status = mla_split_scratch_create(context, &scratch.split);
    memset(t->added_first, -1, sizeof t->added_first);
    for (int64_t i = 0; i < t->added_count && !status; i++) status = set_pattern(context, t, &t->added[i], &scratch);
    for (int special = 1; special >= 0 && !status; special--)
        for (int32_t i = 0; i < t->added_count; i++)
            if (t->added[i].special == special && t->added[i].length) enlist(t, i);
    mla_split_scratch_destroy(scratch.split);
    mla_normalizer_scratch_free(&scratch);
    return status;
}

/* ---- finding ---- */

static const mla_added_token *added_at(const mla_added_search *s, int64_t at) {
    const mla_tokenizer *t = s->tokenizer;
    for (int32_t i = t->added_first[s->normalized][(unsigned char)s->bytes[at]]; i >= 0; i = t->added[i].next)
        if (t->added[i].length <= s->length - at &&
            !memcmp(s->bytes + at, t->added[i].pattern, (size_t)t->added[i].length))
            return &t->added[i];
    return NULL;
}

/* The character that ends or begins at a place; -1 if there is none. */
static int32_t character_before(const mla_added_search *s, int64_t end, int64_t *length) {
    if (end <= 0) return -1;
    const int64_t at = mla_character_before(s->bytes, end);
    if (mla_utf8_length(s->bytes + at, end - at) != end - at) return -1;
    return mla_character(s->bytes + at, length);
}

static int32_t character_behind(const mla_added_search *s, int64_t at, int64_t *length) {
    if (at >= s->length || !mla_utf8_length(s->bytes + at, s->length - at)) return -1;
    return mla_character(s->bytes + at, length);
}

static bool is_single_word(const mla_added_search *s, int64_t begin, int64_t end) {
    int64_t length;
    const int32_t before = character_before(s, begin, &length), behind = character_behind(s, end, &length);
    return (before < 0 || !mla_is_word(before)) && (behind < 0 || !mla_is_word(behind));
}

/* A match takes the white space beside it along where its token strips. */
static void strip(const mla_added_search *s, mla_added_match *m) {
    int64_t length;
    int32_t c;
    while (m->token->rstrip && (c = character_behind(s, m->end, &length)) >= 0 && mla_is_white_space(c))
        m->end += length;
    if (!m->token->lstrip) return;
    while ((c = character_before(s, m->begin, &length)) >= 0 && mla_is_white_space(c)) m->begin -= length;
    if (m->begin < s->done) m->begin = s->done;
}

bool mla_added_next(mla_added_search *s, mla_added_match *m) {
    while (s->at < s->length) {
        const mla_added_token *token = added_at(s, s->at);
        if (!token) {
            s->at++;
            continue;
        }
        *m = (mla_added_match){token, s->done, s->at, s->at + token->length};
        s->at = m->end; /* what is passed over is not looked at again */
        if (token->special && !s->special) continue;
        if (token->single_word && !is_single_word(s, m->begin, m->end)) continue;
        strip(s, m);
        s->done = m->end;
        return true;
    }
    return false;
}
