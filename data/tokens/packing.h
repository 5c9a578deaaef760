/* Documents whole in sequences: which of a stream's stand together in one, for attention that keeps them apart.
 *
 * A document of n tokens, its separator among them, takes n - 1 positions: all but its last token are inputs, all but
 * its first are targets, and where answers are marked (data/tokens/token_file.h) only those. One that is longer than a
 * sequence continues in further pieces; but an example with answers is cut there, and left out where no answer remains.
 *
 * Where documents are labelled, positions hold all but the separator, and the last one's target is the number of the
 * document: the row of its label. A document that is too long is cut, refused, or taken in overlapping pieces, half a
 * sequence further on each time, each with that target. Where tokens are labelled, a position's target is the number of
 * its token in the stream, and such pieces do not overlap.
 *
 * Pieces go in their order into the first sequence that has room among the 64 begun last; where none has, another is
 * begun. What remains of a sequence is padding: id 0, no target, and each position sees itself alone. All of it is a
 * function of the stream, the length and, where it is shuffled, the seed: the same on all ranks, and in a run that is
 * resumed. */
#ifndef MLA_DATA_TOKENS_PACKING_H
#define MLA_DATA_TOKENS_PACKING_H

#include "autograd/base/context.h"
#include "data/tokens/token_file.h"

typedef struct mla_packing mla_packing;

typedef struct {
    int64_t documents, sequences;
    int64_t positions, targets; /* that are filled; that count */
    int64_t cut, left_out;      /* examples of which a part is missing; that have no answer, or none before the cut */
    int64_t strided;            /* labelled documents in several pieces */
} mla_packing_report;

/* The stream must outlive it. MLA_ERROR_ARGUMENT for a length below 1, and for a labelled document that is too long
 * where such are refused, MLA_ERROR_MEMORY. A stream without a target gives no sequences. */
mla_status mla_packing_create(mla_context *context, mla_packing **out, const mla_token_stream *stream, int64_t length);
/* The same for training: documents are taken in an order of the seed's, so that what a file has side by side, such as
 * all texts of one label, does not stand together in sequences and batches. */
mla_status mla_packing_create_shuffled(mla_context *context, mla_packing **out, const mla_token_stream *stream,
                                       int64_t length, uint64_t seed);
void mla_packing_destroy(mla_packing *packing);

mla_packing_report mla_packing_report_of(const mla_packing *packing);

/* Sequence `index`: room for `length` of each. starts: where the document of each position begins, see mla_step. */
void mla_packing_get(const mla_packing *packing, int64_t index, int32_t *inputs, int32_t *targets, int32_t *starts);

#endif
