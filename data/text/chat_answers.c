/* Where the answers of a rendered conversation are.
 *
 * Where the template marks them by {% generation %}, there. Elsewhere an answer is found by the marks that its bytes
 * have (data/jinja), and its ends by rendering again: it begins where the conversation before it, rendered with the
 * prompt for an answer, ends, and it ends with the last special token of what follows its bytes in the conversation up
 * to it. Both are compared from the last byte before that comes from the conversation, not from the beginning:
 * templates render what is before otherwise once more follows (reasoning of earlier turns goes, the system message
 * moves). */
#include "data/text/chat_encoder_internal.h"

#include <string.h>

typedef struct {
    mla_context *context;
    mla_chat_encoder *e;
    const char *where;
    const mla_chat *chat;
    int64_t message; /* the answer's */
} search;

static mla_status not_found(const search *s, const char *reason) {
    return mla_fail(
        s->context, MLA_ERROR_ARGUMENT,
        "%s: where the answer (message %lld) begins and ends cannot be told from the template (%s): %s. Mark "
        "answers in it by {%% generation %%}, or choose another by data.template, or --template",
        s->where, (long long)s->message + 1, s->e->name, reason);
}

/* The last byte before a place that is from the conversation; -1: there is none. */
static int64_t last_given(const mla_jinja_output *text, int64_t before) {
    while (--before >= 0 && text->marks[before] == MLA_JINJA_TEMPLATE) continue;
    return before;
}

static int64_t next_given(const mla_jinja_output *text, int64_t from) {
    while (from < text->length && text->marks[from] == MLA_JINJA_TEMPLATE) from++;
    return from;
}

/* Whether both texts have the same byte of the same message there; both may have none. */
static bool same_byte(const mla_jinja_output *a, int64_t at, const mla_jinja_output *b, int64_t other) {
    if (at < 0 || other < 0) return at < 0 && other < 0;
    return a->marks[at] == b->marks[other] && a->bytes[at] == b->bytes[other];
}

/* How many bytes of the template's the two have in common from there on. */
static int64_t in_common(const mla_jinja_output *a, int64_t at, const mla_jinja_output *b, int64_t other) {
    int64_t count = 0;
    while (at + count < a->length && other + count < b->length && a->marks[at + count] == MLA_JINJA_TEMPLATE &&
           b->marks[other + count] == MLA_JINJA_TEMPLATE && a->bytes[at + count] == b->bytes[other + count])
        count++;
    return count;
}

/* First and last byte of a message; false: it has none. */
static bool bounds_of(const mla_jinja_output *text, int64_t message, int64_t *first, int64_t *last) {
    *first = -1;
    for (int64_t k = 0; k < text->length; k++) {
        if (mla_jinja_message(text->marks[k]) != message) continue;
        if (*first < 0) *first = k;
        *last = k;
    }
    return *first >= 0;
}

/* *begin: where the answer begins whose first byte is at `first`. */
static mla_status find_begin(const search *s, int64_t first, int64_t *begin) {
    const mla_jinja_output *whole = &s->e->whole, *part = &s->e->part;
    const mla_status status = mla_chat_render_prompt(s->context, s->e, s->where, s->chat, s->message);
    if (status) return status;
    const int64_t at = last_given(whole, first), other = last_given(part, part->length);
    if (!same_byte(whole, at, part, other))
        return not_found(s, "what is before it is rendered otherwise where it is missing");
    *begin = at + 1 + in_common(whole, at + 1, part, other + 1);
    return MLA_OK;
}

/* Behind the last special token from a place on, up to another; where there is none, what is not blank. */
static int64_t ending(const search *s, int64_t from, int64_t to, bool *has_token) {
    const mla_jinja_output *whole = &s->e->whole;
    int64_t end = from, length;
    *has_token = false;
    for (int64_t k = from; k < to; k++) {
        if (mla_chat_token_at(s->e, whole, k, &length) < 0 || k + length > to) continue;
        *has_token = true;
        end = k + length;
        k = end - 1;
    }
    if (*has_token) return end;
    while (to > from && strchr(" \t\r\n", whole->bytes[to - 1])) to--;
    return to;
}

/* *end: where the answer ends whose last byte is at `last`. */
static mla_status find_end(const search *s, int64_t last, int64_t *end) {
    const mla_jinja_output *whole = &s->e->whole, *part = &s->e->part;
    const bool is_last = s->message + 1 == s->chat->count;
    int64_t count = next_given(whole, last + 1) - last - 1;
    bool has_token;
    if (!is_last) {
        const mla_status status = mla_chat_render(s->context, s->e, s->where, s->chat, s->message + 1, NULL, false,
                                                  &s->e->part);
        if (status) return status;
        const int64_t other = last_given(part, part->length);
        if (!same_byte(whole, last, part, other))
            return not_found(s, "it is rendered otherwise where nothing follows it");
        count = in_common(whole, last + 1, part, other + 1);
    }
    *end = ending(s, last + 1, last + 1 + count, &has_token);
    s->e->open_end |= is_last && !has_token;
    return MLA_OK;
}

static mla_status mark_answer(const search *s) {
    int64_t first, last = 0, begin = 0, end = 0;
    if (!bounds_of(&s->e->whole, s->message, &first, &last)) return MLA_OK; /* an empty answer is none */
    for (int64_t k = first; k <= last; k++)
        if (s->e->whole.marks[k] >= MLA_JINJA_FIRST_MESSAGE && mla_jinja_message(s->e->whole.marks[k]) != s->message)
            return not_found(s, "another message stands within it");
    mla_status status = find_begin(s, first, &begin);
    if (!status) status = find_end(s, last, &end);
    if (!status) memset(s->e->learned.bytes + begin, 1, (size_t)(end - begin));
    return status;
}

/* ---- {% generation %} ---- */

/* Whether the span holds something, and nothing that is not to be learned. */
static bool is_learned(const search *s, mla_jinja_span span) {
    bool any = false;
    for (int64_t k = span.begin; k < span.end; k++) {
        const int64_t i = mla_jinja_message(s->e->whole.marks[k]);
        const char *role = json_string_value(json_object_get(json_array_get(s->chat->messages, (size_t)i), "role"));
        if (i >= 0 && role && !strcmp(role, "assistant") && !s->chat->learned[i]) return false;
        any |= i >= 0;
    }
    return any;
}

static void mark_spans(const search *s) {
    const mla_jinja_output *whole = &s->e->whole;
    for (int64_t i = 0; i < whole->span_count; i++) {
        const mla_jinja_span span = whole->spans[i];
        if (is_learned(s, span)) memset(s->e->learned.bytes + span.begin, 1, (size_t)(span.end - span.begin));
    }
}

mla_status mla_chat_find_answers(mla_context *context, mla_chat_encoder *e, const char *where, const mla_chat *chat) {
    search s = {context, e, where, chat, 0};
    mla_status status = mla_grow(context, &e->learned.bytes, &e->learned.capacity, e->whole.length, 1,
                                 "a conversation");
    if (status) return status;
    if (e->whole.length) memset(e->learned.bytes, 0, (size_t)e->whole.length);
    e->learned.count = e->whole.length;
    e->open_end = false;
    if (mla_jinja_has_generation(e->jinja)) return mark_spans(&s), MLA_OK;
    for (; s.message < chat->count && !status; s.message++)
        if (chat->learned[s.message]) status = mark_answer(&s);
    return status;
}
