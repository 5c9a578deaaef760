#include "data/tokens/packing.h"
#include "data/tokens/permutation.h"

#include <inttypes.h>
#include <stdlib.h>

enum { CANDIDATES = 64 };
#define SHUFFLE UINT64_MAX /* the key of the permutation; those of epochs count from 0 */

typedef struct {
    int64_t first; /* its first token in the stream */
    int64_t count; /* positions */
    int64_t next;  /* piece of the same sequence; -1: none */
    int64_t document;
} piece_t;

typedef struct {
    int64_t head, tail; /* pieces */
    int64_t left;       /* positions that are free */
} sequence_t;

struct mla_packing {
    mla_context *context;
    const mla_token_stream *stream;
    int64_t length;
    piece_t *pieces;
    sequence_t *sequences;
    int64_t piece_count, piece_capacity, sequence_capacity;
    int64_t document; /* that is being packed */
    mla_packing_report report;
};

static int64_t packing_smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* A sequence with room for `count` positions, begun if need be; NULL without memory. */
static sequence_t *packing_make_room(mla_packing *p, int64_t count) {
    const int64_t all = p->report.sequences;
    for (int64_t i = all > CANDIDATES ? all - CANDIDATES : 0; i < all; i++)
        if (p->sequences[i].left >= count) return &p->sequences[i];
    if (mla_grow(p->context, &p->sequences, &p->sequence_capacity, all + 1, sizeof *p->sequences,
                 "the packed sequences"))
        return NULL;
    p->sequences[all] = (sequence_t){-1, -1, p->length};
    return &p->sequences[p->report.sequences++];
}

static int64_t count_targets(const mla_packing *p, int64_t first, int64_t count) {
    const mla_stream_labels *labels = &p->stream->labels;
    int64_t targets = 0;
    if (labels->form == MLA_TAGS) {
        for (int64_t i = first; i < first + count; i++) targets += labels->index[i] >= 0;
        return targets;
    }
    if (labels->form) return 1;
    if (!p->stream->answers) return count;
    for (int64_t i = first + 1; i <= first + count; i++) targets += p->stream->answers[i];
    return targets;
}

/* Input tokens first ... first + count - 1, and their targets one after them. */
static mla_status add_piece(mla_packing *p, int64_t first, int64_t count) {
    mla_status status = mla_grow(p->context, &p->pieces, &p->piece_capacity, p->piece_count + 1, sizeof *p->pieces,
                                 "the packed documents");
    sequence_t *sequence = status ? NULL : packing_make_room(p, count);
    if (!sequence) return mla_error_status(p->context);
    const int64_t index = p->piece_count++;
    p->pieces[index] = (piece_t){first, count, -1, p->document};
    if (sequence->head < 0) sequence->head = index;
    else p->pieces[sequence->tail].next = index;
    sequence->tail = index;
    sequence->left -= count;
    p->report.positions += count;
    p->report.targets += count_targets(p, first, count);
    return MLA_OK;
}

static mla_status add_example(mla_packing *p, int64_t first, int64_t count) {
    const int64_t kept = packing_smaller(count, p->length);
    if (!kept || !count_targets(p, first, kept)) {
        p->report.left_out++;
        return MLA_OK;
    }
    p->report.cut += kept < count;
    return add_piece(p, first, kept);
}

static mla_status add_text(mla_packing *p, int64_t first, int64_t count) {
    mla_status status = MLA_OK;
    for (int64_t at = 0; at < count && !status; at += p->length)
        status = add_piece(p, first + at, packing_smaller(count - at, p->length));
    return status;
}

static mla_status refuse_long(const mla_packing *p, int64_t count) {
    return mla_fail(p->context, MLA_ERROR_ARGUMENT,
                    "document %" PRId64 " has %" PRId64 " tokens, more than a sequence of %" PRId64
                    ": set train.sequence higher, or data.too_long to cut or stride",
                    p->document + 1, count, p->length);
}

static mla_status add_labelled(mla_packing *p, int64_t first, int64_t count) {
    const mla_stream_labels *labels = &p->stream->labels;
    const bool is_long = count > p->length;
    if (is_long && labels->too_long == MLA_TOO_LONG_REFUSE) return refuse_long(p, count);
    if (!count || labels->too_long == MLA_TOO_LONG_CUT || !is_long) return add_example(p, first, count);
    if (labels->too_long == MLA_TOO_LONG_CUT_START) {
        p->report.cut++;
        return add_piece(p, first + count - p->length, p->length);
    }
    p->report.strided++;
    if (labels->form == MLA_TAGS) return add_text(p, first, count);
    const int64_t step = p->length / 2 ? p->length / 2 : 1;
    mla_status status = MLA_OK;
    for (int64_t at = 0; at + p->length < count && !status; at += step) status = add_piece(p, first + at, p->length);
    return status ? status : add_piece(p, first + count - p->length, p->length);
}

static mla_status add_document(mla_packing *p, int64_t document) {
    const mla_token_stream *s = p->stream; /* from no documents: one */
    const int64_t begin = s->offsets ? s->offsets[document] : 0, end = s->offsets ? s->offsets[document + 1] : s->count;
    p->document = document;
    p->report.documents++;
    if (s->labels.form) return add_labelled(p, begin, end - begin - 1);
    return s->answers ? add_example(p, begin, end - begin - 1) : add_text(p, begin, end - begin - 1);
}

static mla_status pack(mla_context *context, mla_packing **out, const mla_token_stream *stream, int64_t length,
                       const uint64_t *seed) {
    *out = NULL;
    if (length < 1)
        return mla_fail(context, MLA_ERROR_ARGUMENT, "documents cannot be packed into sequences of %" PRId64 " tokens",
                        length);
    mla_packing *p = mla_alloc(context, 1, sizeof *p, "the packed sequences");
    if (!p) return MLA_ERROR_MEMORY;
    *p = (mla_packing){.context = context, .stream = stream, .length = length};
    const int64_t documents = stream->offsets ? stream->documents : stream->count > 0;
    mla_status status = MLA_OK;
    for (int64_t i = 0; i < documents && !status; i++)
        status = add_document(p, seed ? mla_permute(*seed, SHUFFLE, documents, i) : i);
    if (status) mla_packing_destroy(p);
    else *out = p;
    return status;
}

mla_status mla_packing_create(mla_context *context, mla_packing **out, const mla_token_stream *stream, int64_t length) {
    return pack(context, out, stream, length, NULL);
}

mla_status mla_packing_create_shuffled(mla_context *context, mla_packing **out, const mla_token_stream *stream,
                                       int64_t length, uint64_t seed) {
    return pack(context, out, stream, length, &seed);
}

void mla_packing_destroy(mla_packing *p) {
    if (!p) return;
    free(p->pieces);
    free(p->sequences);
    free(p);
}

mla_packing_report mla_packing_report_of(const mla_packing *p) { return p->report; }

static void copy_targets(const mla_packing *p, const piece_t *piece, int32_t *targets) {
    const mla_stream_labels *labels = &p->stream->labels;
    if (!labels->form) mla_tokens_copy_targets(p->stream, piece->first + 1, piece->count, targets);
    for (int64_t k = 0; k < piece->count && labels->form == MLA_TAGS; k++)
        targets[k] = labels->index[piece->first + k] < 0 ? -1 : (int32_t)(piece->first + k);
    for (int64_t k = 0; k < piece->count && labels->form && labels->form != MLA_TAGS; k++)
        targets[k] = k == piece->count - 1 ? (int32_t)piece->document : -1;
}

void mla_packing_get(const mla_packing *p, int64_t index, int32_t *inputs, int32_t *targets, int32_t *starts) {
    int64_t at = 0;
    for (int64_t i = p->sequences[index].head; i >= 0; i = p->pieces[i].next) {
        const piece_t *piece = &p->pieces[i];
        mla_tokens_copy(p->stream, piece->first, piece->count, inputs + at);
        copy_targets(p, piece, targets + at);
        for (int64_t k = 0; k < piece->count; k++) starts[at + k] = (int32_t)at;
        at += piece->count;
    }
    for (; at < p->length; at++) inputs[at] = 0, targets[at] = -1, starts[at] = (int32_t)at;
}
