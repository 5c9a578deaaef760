#include "data/formats/seal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct {
    char magic[8];
    uint64_t version;
    int64_t file_bytes;
    uint64_t body_hash; /* of everything after the seal */
    mla_seal_range table;
    uint8_t zero[448];
    uint64_t own_hash; /* of all fields above */
} seal_t;

_Static_assert(sizeof(seal_t) == MLA_SEAL_BYTES, "the seal fills its block");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the seal is stored as it lies in memory");

static const char magic[8] = "mla-seal";
static const char hdf5_magic[8] = "\x89HDF\r\n\x1a\n";
enum { CHUNK = 1 << 16 };

typedef struct {
    mla_context *context;
    int descriptor;
    const char *path;
} source_t;

static mla_status read_at(source_t source, void *out, int64_t bytes, int64_t offset) {
    for (uint8_t *at = out; bytes > 0;) {
        ssize_t got = pread(source.descriptor, at, (size_t)bytes, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return mla_fail(source.context, MLA_ERROR_IO, "cannot read %s at byte %" PRId64 ": %s", source.path, offset,
                            got < 0 ? strerror(errno) : "it ends there");
        at += got, offset += got, bytes -= got;
    }
    return MLA_OK;
}

static mla_status file_size(source_t source, int64_t *out) {
    struct stat info;
    if (fstat(source.descriptor, &info))
        return mla_fail(source.context, MLA_ERROR_IO, "cannot read %s: %s", source.path, strerror(errno));
    *out = info.st_size;
    return MLA_OK;
}

static mla_status hash_range(source_t source, int64_t offset, int64_t bytes, uint64_t *out) {
    mla_status status = MLA_OK;
    uint8_t *chunk = mla_alloc(source.context, CHUNK, 1, "a read buffer");
    XXH3_state_t *state = XXH3_createState();
    if (!chunk || !state || XXH3_64bits_reset(state)) {
        status = mla_fail(source.context, MLA_ERROR_MEMORY, "no memory to check %s", source.path);
        goto done;
    }
    while (bytes > 0) {
        int64_t count = bytes < CHUNK ? bytes : CHUNK;
        if ((status = read_at(source, chunk, count, offset))) goto done;
        XXH3_64bits_update(state, chunk, (size_t)count);
        offset += count, bytes -= count;
    }
    *out = XXH3_64bits_digest(state);
done:
    XXH3_freeState(state);
    free(chunk);
    return status;
}

mla_status mla_seal_write(mla_context *context, int descriptor, const char *path, mla_seal_range table) {
    source_t source = {context, descriptor, path};
    seal_t seal = {.version = 1, .table = table};
    memcpy(seal.magic, magic, sizeof magic);
    mla_status status = file_size(source, &seal.file_bytes);
    if (!status) status = hash_range(source, sizeof seal, seal.file_bytes - (int64_t)sizeof seal, &seal.body_hash);
    if (status) return status;
    seal.own_hash = XXH3_64bits(&seal, offsetof(seal_t, own_hash));
    if (pwrite(descriptor, &seal, sizeof seal, 0) != (ssize_t)sizeof seal)
        return mla_fail(context, MLA_ERROR_IO, "cannot write %s: %s", path, strerror(errno));
    return MLA_OK;
}

mla_status mla_seal_find(mla_context *context, int descriptor, const char *path, bool *sealed) {
    source_t source = {context, descriptor, path};
    int64_t bytes = 0;
    char start[sizeof magic] = {0};
    mla_status status = file_size(source, &bytes);
    if (!status && bytes >= (int64_t)sizeof start) status = read_at(source, start, sizeof start, 0);
    if (status) return status;
    *sealed = !memcmp(start, magic, sizeof magic);
    if (*sealed || !memcmp(start, hdf5_magic, sizeof hdf5_magic)) return MLA_OK;
    return mla_fail(context, MLA_ERROR_FORMAT, "%s is %s", path,
                    bytes < MLA_SEAL_BYTES ? "cut or empty: too short for an HDF5 file"
                                           : "not an HDF5 file, or the seal at its start is damaged");
}

static mla_status damaged(source_t source, const char *what) {
    return mla_fail(source.context, MLA_ERROR_FORMAT, "%s is damaged: %s changed after the file was written",
                    source.path, what);
}

static bool inside(mla_seal_range range, int64_t file_bytes) {
    return range.bytes >= 0 && range.offset >= MLA_SEAL_BYTES && range.offset <= file_bytes &&
           range.bytes <= file_bytes - range.offset;
}

/* One line of the table; returns the start of the next. */
static char *parse_line(char *line, mla_seal_range *range, char **name) {
    char *end = strchr(line, '\n');
    if (!end) return NULL;
    *end = '\0';
    range->hash = strtoull(line, &line, 16);
    range->offset = strtoll(line, &line, 10);
    range->bytes = strtoll(line, &line, 10);
    *name = line + (*line == ' ');
    return end + 1;
}

static mla_status check_range(source_t source, mla_seal_range range, int64_t file_bytes, const char *what) {
    if (!inside(range, file_bytes)) return damaged(source, what);
    uint64_t hash = 0;
    mla_status status = hash_range(source, range.offset, range.bytes, &hash);
    return status || hash == range.hash ? status : damaged(source, what);
}

static mla_status check_datasets(source_t source, const seal_t *seal) {
    mla_status status = check_range(source, seal->table, seal->file_bytes, "the table of datasets");
    if (status) return status;
    char *table = mla_alloc(source.context, seal->table.bytes + 1, 1, "the table of datasets"), *name = NULL;
    status = table ? read_at(source, table, seal->table.bytes, seal->table.offset) : MLA_ERROR_MEMORY;
    mla_seal_range range;
    for (char *line = table; !status && *line;) {
        if (!(line = parse_line(line, &range, &name))) status = damaged(source, "the table of datasets");
        else {
            char what[300];
            snprintf(what, sizeof what, "dataset %s", name);
            status = check_range(source, range, seal->file_bytes, what);
        }
    }
    free(table);
    return status;
}

static mla_status check_seal(source_t source, seal_t *seal) {
    int64_t bytes = 0;
    mla_status status = file_size(source, &bytes);
    if (status) return status;
    if (bytes < MLA_SEAL_BYTES)
        return mla_fail(source.context, MLA_ERROR_FORMAT, "%s is cut or empty: too short for an HDF5 file",
                        source.path);
    if ((status = read_at(source, seal, sizeof *seal, 0))) return status;
    if (memcmp(seal->magic, magic, sizeof magic) || seal->own_hash != XXH3_64bits(seal, offsetof(seal_t, own_hash)))
        return damaged(source, "the seal at its start");
    if (seal->version != 1)
        return mla_fail(source.context, MLA_ERROR_FORMAT, "%s has a seal of version %" PRIu64 ", this is 1",
                        source.path, seal->version);
    if (bytes != seal->file_bytes)
        return mla_fail(source.context, MLA_ERROR_FORMAT, "%s is cut or was added to: %" PRId64 " bytes of %" PRId64,
                        source.path, bytes, seal->file_bytes);
    return MLA_OK;
}

mla_status mla_seal_check(mla_context *context, int descriptor, const char *path, mla_seal_depth depth) {
    source_t source = {context, descriptor, path};
    seal_t seal;
    mla_status status = check_seal(source, &seal);
    if (status) return status;
    uint64_t body = 0;
    status = hash_range(source, sizeof seal, seal.file_bytes - (int64_t)sizeof seal, &body);
    bool intact = body == seal.body_hash;
    if (!status && (!intact || depth == MLA_SEAL_FULL)) status = check_datasets(source, &seal);
    if (status || intact) return status;
    return damaged(source, "HDF5's own records, between the datasets,");
}
