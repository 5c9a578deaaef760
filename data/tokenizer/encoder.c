/* Encoding: the text is split into pieces, and within a piece the pair of lowest rank is merged, the leftmost
 * first, until no pair can be merged. Pieces repeat a lot, so their ids are remembered. */
#include "autograd/base/utf8.h"
#include "data/tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    remembered_length = 128,     /* longer pieces seldom come again */
    remembered_pieces = 1 << 16, /* then the memory is emptied: it stays in the cache of the processor */
};

/* A token within the piece being merged; the live ones are a list in the order of the text. */
typedef struct {
    int32_t id;             /* -1: merged into the one before it */
    int32_t previous, next; /* -1 at the ends */
} symbol_t;

struct mla_encoder {
    const mla_tokenizer *tokenizer;
    mla_split_scratch *scratch;
    mla_piece_table known; /* piece -> where its ids begin in known_ids: their count, then they */
    mla_id_list known_ids;
    symbol_t *symbols;
    int64_t symbol_capacity;
    mla_heap heap; /* pairs that can be merged: first = mla_pair(rank, position), second = the pair */
    mla_normalizer_scratch normalizing;
    mla_added added;
    bool frame;
    mla_marked_text text;     /* that is being split: normalized */
    const char *begin;        /* of the whole text; NULL: it goes on another */
    bool begins;              /* what was normalized begins the whole text */
    mla_marked_buffer spaced; /* the text with its spaces written otherwise */
    mla_context *context;     /* of the call that is running */
    mla_id_list *out;
    mla_bytes *marks; /* NULL: not asked for */
};

mla_status mla_encoder_create(mla_context *context, mla_encoder **out, const mla_tokenizer *tokenizer,
                              const mla_encoder_options *options) {
    *out = NULL;
    mla_encoder *encoder = mla_alloc(context, 1, sizeof *encoder, "an encoder");
    if (!encoder) return MLA_ERROR_MEMORY;
    mla_status status = mla_split_scratch_create(context, &encoder->scratch);
    if (status) {
        mla_encoder_destroy(encoder);
        return status;
    }
    encoder->tokenizer = tokenizer;
    encoder->normalizing.split = encoder->scratch;
    encoder->added = options ? options->added : MLA_ADDED_NONE;
    encoder->frame = options && options->frame;
    *out = encoder;
    return MLA_OK;
}

void mla_encoder_destroy(mla_encoder *encoder) {
    if (!encoder) return;
    mla_split_scratch_destroy(encoder->scratch);
    mla_normalizer_scratch_free(&encoder->normalizing);
    mla_marked_buffer_free(&encoder->spaced);
    mla_piece_free(&encoder->known);
    free(encoder->known_ids.ids);
    free(encoder->symbols);
    mla_heap_free(&encoder->heap);
    free(encoder);
}

static mla_status encoder_append(mla_context *context, mla_id_list *list, const int32_t *ids, int64_t count) {
    mla_status status = mla_grow(context, &list->ids, &list->capacity, list->count + count, sizeof *list->ids,
                                 "token ids");
    if (status || !count) return status;
    memcpy(list->ids + list->count, ids, (size_t)count * sizeof *ids);
    list->count += count;
    return MLA_OK;
}

/* Puts the pair that begins at `left` on the heap, if there is one and it can be merged. */
static mla_status offer(mla_encoder *e, int32_t left) {
    if (left < 0 || e->symbols[left].next < 0) return MLA_OK;
    const uint64_t pair = mla_pair(e->symbols[left].id, e->symbols[e->symbols[left].next].id);
    const int64_t *merge = mla_pair_find(&e->tokenizer->merges, pair);
    if (!merge) return MLA_OK;
    const int32_t rank = (int32_t)(*merge >> 32);
    return mla_heap_push(e->context, &e->heap, (mla_heap_entry){mla_pair(rank, left), pair});
}

/* The token that a text begins with before anything is merged: a byte, or a whole character; *length gets its bytes. */
static int32_t first_token(const mla_tokenizer *t, const char *text, int64_t left, int64_t *length) {
    *length = t->byte_level ? 0 : mla_utf8_length(text, left);
    const mla_piece *character = *length ? mla_piece_find(&t->characters, text, *length) : NULL;
    if (character) return (int32_t)character->value;
    *length = 1;
    return t->byte_ids[(unsigned char)*text];
}

static mla_status begin_piece(mla_encoder *e, const char *piece, int32_t length) {
    mla_status status = mla_grow(e->context, &e->symbols, &e->symbol_capacity, length, sizeof *e->symbols,
                                 "merging a piece");
    int64_t at = 0, step;
    e->heap.count = 0;
    for (int32_t i = 0; at < length && !status; i++, at += step) {
        const int32_t id = first_token(e->tokenizer, piece + at, length - at, &step);
        e->symbols[i] = (symbol_t){id, i - 1, at + step < length ? i + 1 : -1};
        if (i > 0) status = offer(e, i - 1);
    }
    return status;
}

/* Merges the pair of a heap entry, unless one of its two has changed since it was offered. */
static mla_status merge(mla_encoder *e, mla_heap_entry entry) {
    const int32_t at = (int32_t)(uint32_t)entry.first;
    symbol_t *left = &e->symbols[at];
    if (left->id < 0 || left->next < 0) return MLA_OK;
    symbol_t *right = &e->symbols[left->next];
    if (mla_pair(left->id, right->id) != entry.second) return MLA_OK;
    left->id = (int32_t)(uint32_t)*mla_pair_find(&e->tokenizer->merges, entry.second);
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0) e->symbols[left->next].previous = at;
    mla_status status = offer(e, left->previous);
    return status ? status : offer(e, at);
}

static mla_status merge_piece(mla_encoder *e, const char *piece, int64_t length) {
    if (length > INT32_MAX)
        return mla_fail(e->context, MLA_ERROR_ARGUMENT,
                        "a piece of text without a break has %lld bytes; at most %d can be encoded", (long long)length,
                        INT32_MAX);
    mla_status status = begin_piece(e, piece, (int32_t)length);
    for (mla_heap_entry entry; !status && mla_heap_pop(&e->heap, &entry);) status = merge(e, entry);
    for (int32_t i = 0; !status && i >= 0; i = e->symbols[i].next)
        status = encoder_append(e->context, e->out, &e->symbols[i].id, 1);
    return status;
}

static mla_status remember(mla_encoder *e, const char *piece, int64_t length, const int32_t *ids, int64_t count) {
    if (e->known.count >= remembered_pieces) {
        mla_piece_clear(&e->known);
        e->known_ids.count = 0;
    }
    mla_piece *known = mla_piece_insert(e->context, &e->known, piece, length);
    if (!known) return MLA_ERROR_MEMORY;
    known->value = e->known_ids.count;
    const int32_t header = (int32_t)count;
    mla_status status = encoder_append(e->context, &e->known_ids, &header, 1);
    return status ? status : encoder_append(e->context, &e->known_ids, ids, count);
}

static mla_status encode_piece(mla_encoder *e, const char *piece, int64_t length) {
    const mla_piece *found = mla_piece_find(&e->tokenizer->whole, piece, length);
    if (found) return encoder_append(e->context, e->out, &(int32_t){(int32_t)found->value}, 1);
    if (length > remembered_length) return merge_piece(e, piece, length);
    if ((found = mla_piece_find(&e->known, piece, length))) {
        const int32_t *ids = e->known_ids.ids + found->value;
        return encoder_append(e->context, e->out, ids + 1, ids[0]);
    }
    const int64_t before = e->out->count;
    mla_status status = merge_piece(e, piece, length);
    return status ? status : remember(e, piece, length, e->out->ids + before, e->out->count - before);
}

/* Marks the ids from `before` on, which are those of the bytes from `at` on. */
static mla_status mark_ids(mla_encoder *e, int64_t before, int64_t at) {
    mla_bytes *marks = e->marks;
    mla_status status = mla_grow(e->context, &marks->bytes, &marks->capacity, marks->count + e->out->count - before, 1,
                                 "the marks of tokens");
    for (int64_t i = before; i < e->out->count && !status; i++) {
        const int64_t end = at + e->tokenizer->tokens[e->out->ids[i]].taken;
        marks->bytes[marks->count++] = mla_marked_any(&e->text, at, end);
        at = end;
    }
    return status;
}

static mla_status visit_piece(void *user, const char *piece, int64_t length) {
    mla_encoder *e = user;
    const int64_t before = e->out->count;
    const mla_status status = encode_piece(e, piece, length);
    return status || !e->marks ? status : mark_ids(e, before, piece - e->text.bytes);
}

/* The character that stands for spaces is put before the text, where it does not begin so, and in the place of each. */
static mla_status write_spaces(mla_encoder *e, const mla_marked_text *text, bool begins) {
    const mla_metaspace *m = &e->tokenizer->metaspace;
    const int64_t size = (int64_t)strlen(m->replacement);
    const bool there = text->bytes[0] == ' ' ||
                       (text->length >= size && !memcmp(text->bytes, m->replacement, (size_t)size));
    mla_status status = MLA_OK;
    mla_marked_buffer_clear(&e->spaced);
    if (!there && (m->prepend == MLA_PREPEND_ALWAYS || (m->prepend == MLA_PREPEND_FIRST && begins)))
        status = mla_marked_replace(e->context, &e->spaced, text, 0, 1, m->replacement, size);
    for (int64_t at = 0, end; at < text->length && !status; at = end + 1) {
        const char *space = memchr(text->bytes + at, ' ', (size_t)(text->length - at));
        end = space ? space - text->bytes : text->length;
        status = mla_marked_copy(e->context, &e->spaced, text, at, end);
        if (!status && space)
            status = mla_marked_replace(e->context, &e->spaced, text, end, end + 1, m->replacement, size);
    }
    return status;
}

/* Text that holds no added tokens. */
static mla_status encode_plain(mla_encoder *e, const char *bytes, int64_t length) {
    const mla_marked_text whole = e->text,
                          part = mla_marked_part(&whole, bytes - whole.bytes, bytes - whole.bytes + length);
    mla_status status = MLA_OK;
    if (!length) return MLA_OK;
    if (*e->tokenizer->metaspace.replacement) {
        status = write_spaces(e, &part, e->begins && bytes == whole.bytes);
        e->text = mla_marked_buffer_text(&e->spaced, whole.marks != NULL);
    } else e->text = part;
    if (!status)
        status = mla_split_run(e->context, e->tokenizer->split, e->scratch, e->text.bytes, e->text.length, visit_piece,
                               e);
    e->text = whole;
    return status;
}

typedef mla_status encode_part(mla_encoder *e, const char *bytes, int64_t length);

/* Added tokens, of one kind, become their ids; what is between them goes to `rest`. */
static mla_status encode_added(mla_encoder *e, bool normalized, const char *bytes, int64_t length, encode_part *rest) {
    mla_added_search search = {.tokenizer = e->tokenizer,
                               .normalized = normalized,
                               .special = e->added == MLA_ADDED_ALL,
                               .bytes = bytes,
                               .length = length};
    mla_added_match match;
    mla_status status = MLA_OK;
    if (e->added == MLA_ADDED_NONE || !e->tokenizer->has_added[normalized]) return rest(e, bytes, length);
    while (!status && mla_added_next(&search, &match)) {
        if (match.begin > match.plain) status = rest(e, bytes + match.plain, match.begin - match.plain);
        if (!status) status = encoder_append(e->context, e->out, &match.token->id, 1);
    }
    return status || search.done >= length ? status : rest(e, bytes + search.done, length - search.done);
}

static mla_status encode_normalized(mla_encoder *e, const char *bytes, int64_t length) {
    const mla_marked_text text = {.bytes = bytes, .marks = e->text.marks, .length = length};
    e->begins = bytes == e->begin;
    const mla_status status = mla_normalizer_run(e->context, e->tokenizer->normalizer, &e->normalizing, &text,
                                                 &e->text);
    return status ? status : encode_added(e, true, e->text.bytes, e->text.length, encode_plain);
}

static mla_status encode(mla_context *context, mla_encoder *e, const mla_marked_text *text, mla_id_list *out,
                         mla_bytes *marks) {
    const int64_t before = out->count;
    const mla_frame frame = e->frame ? mla_tokenizer_frame(e->tokenizer) : (mla_frame){0};
    e->context = context;
    e->out = out;
    e->marks = marks;
    e->text.marks = text->marks;
    e->begin = text->inside ? NULL : text->bytes;
    mla_status status = encoder_append(context, out, frame.before, frame.before_count);
    if (!status) status = encode_added(e, false, text->bytes, text->length, encode_normalized);
    if (!status) status = encoder_append(context, out, frame.behind, frame.behind_count);
    if (status) out->count = before;
    return status;
}

int32_t mla_encoder_added_at(const mla_encoder *encoder, const char *bytes, int64_t length, int64_t *token) {
    const mla_tokenizer *t = encoder->tokenizer;
    int64_t longest = -1;
    for (int64_t i = 0; i < t->added_count && length > 0; i++) {
        const mla_added_token *added = &t->added[i];
        if (added->content[0] == bytes[0] && added->content_length <= length &&
            !memcmp(bytes, added->content, (size_t)added->content_length) &&
            (longest < 0 || added->content_length > t->added[longest].content_length))
            longest = i;
    }
    if (longest < 0) return -1;
    *token = t->added[longest].content_length;
    return t->added[longest].id;
}

mla_status mla_encoder_encode(mla_context *context, mla_encoder *encoder, const char *bytes, int64_t length,
                              mla_id_list *out) {
    return encode(context, encoder, &(mla_marked_text){.bytes = bytes, .length = length}, out, NULL);
}

mla_status mla_encoder_encode_marked(mla_context *context, mla_encoder *encoder, const mla_marked_text *text,
                                     mla_id_list *out, mla_bytes *marks) {
    const int64_t before = marks ? marks->count : 0;
    if (encoder->added != MLA_ADDED_NONE || encoder->frame)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "marked text is encoded without added tokens and a frame");
    const mla_status status = encode(context, encoder, text, out, marks);
    if (status && marks) marks->count = before;
    return status;
}
