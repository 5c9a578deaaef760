/* Any bytes as a file of a corpus, of any name, compressed or not: refused, or the same documents in each pass, not
 * empty, as many as were counted. The first byte chooses the name, the second the way it is read. */
#include "data/text/chat.h"
#include "data/text/text_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

static char folder[] = "/dev/shm/mla-fuzz-XXXXXX";

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command)) abort();
}

static void make_folder(void) {
    static bool made;
    if (!made && (!mkdtemp(folder) || atexit(remove_folder) || setenv("TMPDIR", folder, 1))) abort();
    made = true;
}

static void write_file(const char *path, const uint8_t *data, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file)) abort();
}

/* One pass: a hash of all documents and their names. */
static uint64_t read_documents(mla_context *context, mla_text_source *source, int64_t *bytes, int64_t *count) {
    const mla_document *d;
    uint64_t hash = 0;
    *bytes = *count = 0;
    for (;; ++*count) {
        if (mla_text_next(source, &d)) abort();
        if (!d) return hash;
        if (d->length <= 0) abort();
        hash = XXH3_64bits_withSeed(d->bytes, (size_t)d->length, hash + d->held_out);
        hash = XXH3_64bits_withSeed(d->name, strlen(d->name), hash);
        *bytes += d->length;
        mla_chat chat = {0};
        mla_chat_parse(context, d->name, d->bytes, d->length, NULL, &chat);
        mla_clear_error(context);
        mla_chat_free(&chat);
    }
}

static void read_all(mla_context *context, mla_text_source *source) {
    int64_t bytes, count, more, again;
    const uint64_t first = read_documents(context, source, &bytes, &count);
    mla_text_rewind(source);
    if (read_documents(context, source, &more, &again) != first || more != bytes || again != count) abort();
    if (bytes != mla_text_bytes(source)) abort();
    if (count != mla_text_documents(source) && !(count == 2 && mla_text_documents(source) == 1)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"a.txt", "a.jsonl",   "a.json", "a.NDJSON.gz",
                                        "a.zst", "a.json.xz", "a.bz2",  ".a"};
    mla_context *context;
    mla_text_source *source;
    char path[64];
    if (size < 2 || mla_context_create(&context, NULL)) return 0;
    make_folder();
    snprintf(path, sizeof path, "%s/%s", folder, names[data[0] % 8]);
    write_file(path, data + 2, size - 2);
    const char *const paths[] = {data[1] & 8 ? path : folder};
    const mla_text_options options = {.paths = paths,
                                      .count = 1,
                                      .jsonl_field = data[1] & 1 ? NULL : "text",
                                      .jsonl = (data[1] & 6) == 2,
                                      .lines = (data[1] & 6) == 4,
                                      .held_out = data[1] & 16 ? 0.3 : 0};
    const mla_status status = options.jsonl && !options.jsonl_field ? MLA_ERROR_ARGUMENT
                                                                    : mla_text_open(context, &source, &options);
    if (!status) {
        read_all(context, source);
        mla_text_close(source);
    }
    unlink(path);
    mla_context_destroy(context);
    return 0;
}
