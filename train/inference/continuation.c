#include "train/inference/continuation.h"
#include "autograd/base/utf8.h"
#include "data/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

struct mla_continuation {
    mla_context *context;
    mla_continuation_options options;
    mla_encoder *framed, *plain;
    mla_text_part prefix; /* as it is spelled */
    mla_id_list ids, before;
    mla_bytes whole;
};

mla_status mla_continuation_create(mla_context *context, mla_continuation **out, const mla_continuation_options *o) {
    mla_continuation *c = *out = mla_alloc(context, 1, sizeof *c, "an encoder of continuations");
    if (!c) return MLA_ERROR_MEMORY;
    *c = (mla_continuation){.context = context, .options = *o};
    const mla_encoder_options plain = {.added = MLA_ADDED_ALL}, framed = {.added = MLA_ADDED_ALL, .frame = !o->no_bos};
    mla_status status = mla_encoder_create(context, &c->plain, o->tokenizer, &plain);
    if (!status) status = mla_encoder_create(context, &c->framed, o->tokenizer, &framed);
    if (!status) status = mla_tokenizer_token(context, o->tokenizer, o->prefix, &c->prefix.bytes, &c->prefix.length);
    if (!status) return MLA_OK;
    mla_continuation_destroy(c);
    *out = NULL;
    return status;
}

void mla_continuation_destroy(mla_continuation *c) {
    if (!c) return;
    mla_encoder_destroy(c->framed);
    mla_encoder_destroy(c->plain);
    free(c->ids.ids);
    free(c->before.ids);
    free(c->whole.bytes);
    free(c);
}

/* A text that spells out the prefix at its beginning gets no second one. */
static mla_status encode(mla_continuation *c, mla_text_part text, mla_id_list *out) {
    const int64_t n = c->prefix.length;
    const bool has_prefix = n && text.length >= n && !memcmp(text.bytes, c->prefix.bytes, (size_t)n);
    return mla_encoder_encode(c->context, has_prefix ? c->plain : c->framed, text.bytes, text.length, out);
}

static mla_status append_prefix(mla_continuation *c) {
    const mla_status status = mla_grow(c->context, &c->ids.ids, &c->ids.capacity, c->ids.count + 1, sizeof *c->ids.ids,
                                       "the tokens");
    if (!status) c->ids.ids[c->ids.count++] = c->options.prefix;
    return status;
}

/* Python's str.isspace, which knows the four separators of ASCII too. */
static bool is_space(int32_t character) {
    return mla_is_white_space(character) || (character >= 0x1c && character <= 0x1f);
}

static int64_t without_space_behind(mla_text_part text) {
    int64_t end = text.length, length;
    while (end > 0) {
        const int64_t last = mla_character_before(text.bytes, end);
        if (!is_space(mla_character(text.bytes + last, &length))) break;
        end = last;
    }
    return end;
}

static mla_status join(mla_continuation *c, mla_text_part context, mla_text_part text) {
    const int64_t length = context.length + text.length;
    const mla_status status = mla_grow(c->context, &c->whole.bytes, &c->whole.capacity, length + 1, 1, "a text");
    if (status) return status;
    if (context.length) memcpy(c->whole.bytes, context.bytes, (size_t)context.length);
    if (text.length) memcpy(c->whole.bytes + context.length, text.bytes, (size_t)text.length);
    c->whole.count = length;
    return MLA_OK;
}

/* Nothing stands before the text but the prefix, unless it begins with that itself. */
static mla_status encode_alone(mla_continuation *c, mla_text_part text, mla_continued *out) {
    mla_status status = append_prefix(c);
    if (!status) status = mla_encoder_encode(c->context, c->plain, text.bytes, text.length, &c->ids);
    const int64_t twice = c->ids.count > 1 && c->ids.ids[1] == c->options.prefix;
    *out = (mla_continued){c->ids.ids + twice, c->ids.count - twice, c->ids.count - twice - 1};
    return status;
}

mla_status mla_continuation_encode(mla_continuation *c, mla_text_part context, mla_text_part text, mla_continued *out) {
    const mla_text_part stem = {context.bytes, without_space_behind(context)};
    c->ids.count = c->before.count = 0;
    *out = (mla_continued){0};
    mla_status status = join(c, context, text);
    const mla_text_part whole = {c->whole.bytes, c->whole.count};
    if (status || !context.length) return status ? status : encode_alone(c, whole, out);
    status = encode(c, stem, &c->before);
    if (!status && !c->before.count) return encode_alone(c, whole, out);
    if (!status) status = encode(c, whole, &c->ids);
    if (status) return status;
    const int64_t behind = c->ids.count - c->before.count;
    if (behind > 0) memcpy(c->ids.ids, c->before.ids, (size_t)c->before.count * sizeof *c->ids.ids);
    *out = (mla_continued){c->ids.ids, c->ids.count, behind > 0 ? behind : 0};
    return MLA_OK;
}

mla_status mla_continuation_encode_text(mla_continuation *c, mla_text_part text, mla_continued *out) {
    c->ids.count = 0;
    mla_status status = append_prefix(c);
    if (!status) status = encode(c, text, &c->ids);
    *out = (mla_continued){c->ids.ids, c->ids.count, c->ids.count - 1};
    return status;
}

/* ---- counts ---- */

int64_t mla_count_words(mla_text_part text) {
    int64_t words = 1;
    bool inside = false; /* of white space */
    for (int64_t i = 0, length; i < text.length; i += length) {
        length = mla_utf8_length(text.bytes + i, text.length - i);
        const bool space = length && is_space(mla_character(text.bytes + i, &length));
        if (!length) length = 1;
        words += space && !inside;
        inside = space;
    }
    return words;
}

int64_t mla_count_characters(mla_text_part text) {
    int64_t count = 0;
    for (int64_t i = 0; i < text.length; i++) count += ((unsigned char)text.bytes[i] & 0xc0) != 0x80;
    return count;
}
