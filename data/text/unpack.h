/* Text that was compressed by gzip, zstd, xz or bzip2. What a file holds is told by its first bytes, whatever it is
 * called; several members one behind the other are one text. */
#ifndef MLA_DATA_TEXT_UNPACK_H
#define MLA_DATA_TEXT_UNPACK_H

#include "autograd/base/context.h"

typedef struct mla_codec mla_codec;

/* The one that made these bytes; NULL: none of them. */
const mla_codec *mla_codec_find(const char *bytes, int64_t count);
/* The length of `name` without an ending of theirs (.gz, .zst, .xz, .bz2, in any case): that of the whole if none. */
int64_t mla_codec_stem(const char *name);

/* Writes what `bytes` unpack to into the descriptor `to`. Errors name `path`: MLA_ERROR_FORMAT where the data is cut
 * off, damaged, or needs what is not in it (a dictionary) or more memory than 128 MiB; MLA_ERROR_IO of the writing.
 * Memory: 128 MiB at most, whatever the size. */
mla_status mla_codec_unpack(mla_context *context, const mla_codec *codec, const char *path, const char *bytes,
                            int64_t count, int to);

#endif
