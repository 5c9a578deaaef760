#include "data/text/unpack.h"
#include "autograd/base/file.h"

#include <bzlib.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { ROOM = 1 << 18, MOST_INPUT = 1 << 30 }; /* of a step: out, in */

static const uint64_t MOST_MEMORY = 128 << 20;

/* What a step came to. */
typedef enum { MORE, MEMBER_ENDS, FAILED } outcome;

typedef struct {
    mla_context *context;
    const mla_codec *codec;
    const char *path;
    char *in; /* what is left of the input */
    int64_t left;
    char *out; /* ROOM bytes, of which the last step has made some */
    size_t made;
    int to; /* a descriptor */
    union {
        z_stream gzip;
        bz_stream bzip2;
        lzma_stream xz;
        ZSTD_DCtx *zstd;
    } state;
} unpacking;

struct mla_codec {
    const char *name, *ending, *magic;
    int64_t magic_length;
    bool (*begin)(unpacking *u); /* of each member; false without memory */
    outcome (*step)(unpacking *u);
    void (*end)(unpacking *u); /* of each member that has begun */
    bool takes_all;            /* members behind the first as well */
};

static outcome damaged(const unpacking *u, const char *how) {
    mla_fail(u->context, MLA_ERROR_FORMAT, "%s: its %s data is damaged%s%s: bring the file again from where it came",
             u->path, u->codec->name, how ? ": " : "", how ? how : "");
    return FAILED;
}

static outcome refused(const unpacking *u, const char *why, const char *remedy) {
    mla_fail(u->context, MLA_ERROR_FORMAT, "%s: %s: decompress it first, by %s", u->path, why, remedy);
    return FAILED;
}

static void consume(unpacking *u, int64_t count, size_t made) {
    u->in += count;
    u->left -= count;
    u->made = made;
}

static unsigned input_of(const unpacking *u) { return u->left < MOST_INPUT ? (unsigned)u->left : MOST_INPUT; }

/* ---- gzip */

static bool begin_gzip(unpacking *u) {
    u->state.gzip = (z_stream){0};
    return inflateInit2(&u->state.gzip, 16 + MAX_WBITS) == Z_OK;
}

static void end_gzip(unpacking *u) { inflateEnd(&u->state.gzip); }

static outcome step_gzip(unpacking *u) {
    z_stream *z = &u->state.gzip;
    const unsigned given = input_of(u);
    z->next_in = (unsigned char *)u->in;
    z->avail_in = given;
    z->next_out = (unsigned char *)u->out;
    z->avail_out = ROOM;
    const int code = inflate(z, Z_NO_FLUSH);
    consume(u, given - z->avail_in, ROOM - z->avail_out);
    if (code == Z_STREAM_END) return MEMBER_ENDS;
    return code == Z_OK || code == Z_BUF_ERROR ? MORE : damaged(u, z->msg);
}

/* ---- bzip2 */

static bool begin_bzip2(unpacking *u) {
    u->state.bzip2 = (bz_stream){0};
    return BZ2_bzDecompressInit(&u->state.bzip2, 0, 0) == BZ_OK;
}

static void end_bzip2(unpacking *u) { BZ2_bzDecompressEnd(&u->state.bzip2); }

static outcome step_bzip2(unpacking *u) {
    bz_stream *z = &u->state.bzip2;
    const unsigned given = input_of(u);
    z->next_in = u->in;
    z->avail_in = given;
    z->next_out = u->out;
    z->avail_out = ROOM;
    const int code = BZ2_bzDecompress(z);
    consume(u, given - z->avail_in, ROOM - z->avail_out);
    return code == BZ_STREAM_END ? MEMBER_ENDS : code == BZ_OK ? MORE : damaged(u, NULL);
}

/* ---- xz */

static bool begin_xz(unpacking *u) {
    u->state.xz = (lzma_stream)LZMA_STREAM_INIT;
    return lzma_stream_decoder(&u->state.xz, MOST_MEMORY, LZMA_CONCATENATED) == LZMA_OK;
}

static void end_xz(unpacking *u) { lzma_end(&u->state.xz); }

static outcome step_xz(unpacking *u) {
    lzma_stream *z = &u->state.xz;
    const int64_t given = u->left;
    z->next_in = (uint8_t *)u->in;
    z->avail_in = (size_t)given;
    z->next_out = (uint8_t *)u->out;
    z->avail_out = ROOM;
    const lzma_ret code = lzma_code(z, LZMA_FINISH);
    consume(u, given - (int64_t)z->avail_in, ROOM - z->avail_out);
    if (code == LZMA_MEMLIMIT_ERROR) return refused(u, "needs more than 128 MiB of memory", "xz -d");
    if (code == LZMA_STREAM_END) return MEMBER_ENDS;
    return code == LZMA_OK || code == LZMA_BUF_ERROR ? MORE : damaged(u, NULL);
}

/* ---- zstd */

static bool begin_zstd(unpacking *u) {
    u->state.zstd = ZSTD_createDCtx();
    return u->state.zstd != NULL;
}

static void end_zstd(unpacking *u) { ZSTD_freeDCtx(u->state.zstd); }

/* Its own limit for a window is 128 MiB, too. */
static outcome step_zstd(unpacking *u) {
    ZSTD_inBuffer in = {u->in, (size_t)u->left, 0};
    ZSTD_outBuffer out = {u->out, ROOM, 0};
    const size_t code = ZSTD_decompressStream(u->state.zstd, &out, &in);
    const ZSTD_ErrorCode error = ZSTD_getErrorCode(code);
    consume(u, (int64_t)in.pos, out.pos);
    if (error == ZSTD_error_dictionary_wrong)
        return refused(u, "was compressed with a dictionary, which it does not hold", "zstd -d -D DICTIONARY");
    if (error == ZSTD_error_frameParameter_windowTooLarge)
        return refused(u, "needs more than 128 MiB of memory", "zstd -d --long=31");
    if (ZSTD_isError(code)) return damaged(u, ZSTD_getErrorName(code));
    return code ? MORE : MEMBER_ENDS;
}

/* ---- all of them */

static const mla_codec codecs[] = {
    {"gzip", ".gz", "\x1f\x8b\x08", 3, begin_gzip, step_gzip, end_gzip, false},
    {"zstd", ".zst", "\x28\xb5\x2f\xfd", 4, begin_zstd, step_zstd, end_zstd, true},
    {"zstd", ".zst", "?*M\x18", 4, begin_zstd, step_zstd, end_zstd, true}, /* a frame to skip, as pzstd writes */
    {"xz", ".xz", "\xfd\x37zXZ\0", 6, begin_xz, step_xz, end_xz, true},
    {"bzip2", ".bz2", "BZh?1AY&SY", 10, begin_bzip2, step_bzip2, end_bzip2, false},
    {"bzip2", ".bz2", "BZh?\x17rE8P\x90", 10, begin_bzip2, step_bzip2, end_bzip2, false}, /* of nothing */
};
enum { CODECS = sizeof codecs / sizeof *codecs };

static bool begins_with(const mla_codec *codec, const char *bytes, int64_t count) {
    if (count < codec->magic_length) return false;
    for (int64_t i = 0; i < codec->magic_length; i++)
        if (bytes[i] != codec->magic[i] && codec->magic[i] != '?') return false;
    return true;
}

const mla_codec *mla_codec_find(const char *bytes, int64_t count) {
    for (int i = 0; i < CODECS; i++)
        if (begins_with(&codecs[i], bytes, count)) return &codecs[i];
    return NULL;
}

int64_t mla_codec_stem(const char *name) {
    const char *dot = strrchr(name, '.');
    for (int i = 0; i < CODECS && dot; i++)
        if (!strcasecmp(dot, codecs[i].ending)) return dot - name;
    return (int64_t)strlen(name);
}

/* What stands behind the end of a member: nothing, zeros as tapes have them, or another member. */
static bool another_member(unpacking *u) {
    int64_t zeros = 0;
    while (zeros < u->left && !u->in[zeros]) zeros++;
    if (zeros == u->left) u->left = 0;
    return u->left > 0;
}

static outcome next_member(unpacking *u) {
    const mla_codec *next = mla_codec_find(u->in, u->left);
    if (u->codec->takes_all) return MORE;
    if (!next || next->step != u->codec->step) return damaged(u, "something else stands behind its end");
    u->codec->end(u);
    if (u->codec->begin(u)) return MORE;
    mla_fail(u->context, MLA_ERROR_MEMORY, "no memory to decompress %s", u->path);
    return FAILED;
}

/* From the beginning of the first member to the end of the last. */
static mla_status unpack_all(unpacking *u) {
    for (outcome result = MORE; result != FAILED;) {
        const int64_t left = u->left;
        result = u->codec->step(u);
        if (result == FAILED || mla_file_append(u->context, u->to, u->out, (int64_t)u->made)) break;
        if (result == MEMBER_ENDS && !another_member(u)) break;
        if (result == MEMBER_ENDS) result = next_member(u);
        else if (left == u->left && !u->made)
            return mla_fail(u->context, MLA_ERROR_FORMAT,
                            "%s: its %s data is cut off: bring the file again from where it came", u->path,
                            u->codec->name);
    }
    return mla_error_status(u->context);
}

mla_status mla_codec_unpack(mla_context *context, const mla_codec *codec, const char *path, const char *bytes,
                            int64_t count, int to) {
    unpacking u = {.context = context,
                   .codec = codec,
                   .path = path,
                   .in = (char *)(uintptr_t)bytes,
                   .left = count,
                   .to = to,
                   .out = mla_alloc(context, ROOM, 1, "decompressed text")};
    mla_status status = u.out ? MLA_OK : MLA_ERROR_MEMORY;
    if (!status && !codec->begin(&u)) status = mla_fail(context, MLA_ERROR_MEMORY, "no memory to decompress %s", path);
    if (!status) {
        status = unpack_all(&u);
        codec->end(&u);
    }
    free(u.out);
    return status;
}
