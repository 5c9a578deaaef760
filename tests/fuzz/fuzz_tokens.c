/* A token file, changed and sealed again: refused, or every sequence of it holds ids of its vocabulary. */
#include "data/tokenizer/bpe.h"
#include "data/tokens/sampler.h"
#include "data/tokens/token_file.h"
#include "tests/fuzz/edits.h"

#include <stdlib.h>

enum { LENGTH = 4 };

static void make_valid(mla_context *context, bool answers) {
    mla_tokenizer *tokenizer;
    mla_token_writer *writer;
    if (mla_tokenizer_bytes(context, &tokenizer)) abort();
    char *json = mla_tokenizer_json(context, tokenizer);
    const mla_token_options options = {.vocabulary_size = mla_tokenizer_vocab_size(tokenizer),
                                       .separator = mla_tokenizer_separator(tokenizer),
                                       .tokenizer = json,
                                       .answers = answers};
    if (mla_token_writer_create(context, &writer, fuzz_path(), &options)) abort();
    for (int i = 0; i < 6; i++)
        if (mla_token_writer_append(writer, i % 2 ? MLA_HELD_OUT : MLA_TRAIN, 5, (int32_t[]){1, 2, 3, 4, 5},
                                    answers ? (uint8_t[]){0, 0, 1, 1, 0, 1} : NULL, answers ? 0 : 5))
            abort();
    if (mla_token_writer_commit(writer)) abort();
    mla_token_writer_close(writer);
    mla_tokenizer_destroy(tokenizer);
    free(json);
    fuzz_keep_valid();
}

static void check_sequence(int64_t vocabulary, const int32_t *ids, const int32_t *targets, const int32_t *starts) {
    for (int32_t i = 0; i < LENGTH; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary || targets[i] < -1 || targets[i] >= vocabulary || starts[i] < 0 ||
            starts[i] > i)
            abort();
}

static void read_stream(mla_context *context, const mla_token_stream *stream, int64_t vocabulary, bool packs) {
    mla_packing *packing = NULL;
    mla_sampler sampler;
    int32_t ids[LENGTH], targets[LENGTH], starts[LENGTH] = {0};
    if (packs && mla_packing_create_shuffled(context, &packing, stream, LENGTH, 1)) abort();
    const int64_t windows = mla_window_count(stream, packing, LENGTH);
    for (int64_t i = 0; i < windows; i++) {
        mla_window_get(stream, packing, LENGTH, i, ids, targets, starts);
        check_sequence(vocabulary, ids, targets, starts);
    }
    if (!mla_sampler_init(context, &sampler, stream, packing, LENGTH, 1))
        for (int64_t i = 0; i < 2 * sampler.samples; i++) {
            mla_sampler_get(&sampler, i, ids, targets, starts);
            check_sequence(vocabulary, ids, targets, starts);
        }
    mla_clear_error(context);
    mla_packing_destroy(packing);
}

/* What is there is read, its tokenizer too. */
static void read_all(mla_context *context, const mla_token_file *file) {
    const int64_t vocabulary = mla_token_file_vocabulary_size(file);
    const char *json = mla_token_file_tokenizer(file);
    mla_tokenizer *tokenizer = NULL;
    for (int split = MLA_TRAIN; split <= MLA_HELD_OUT; split++)
        for (int packs = 0; packs < 2; packs++)
            read_stream(context, mla_token_file_stream(file, (mla_token_split)split), vocabulary, packs);
    if (mla_token_file_separator(file) < 0 || mla_token_file_separator(file) >= vocabulary) abort();
    if (!mla_tokenizer_parse(context, &tokenizer, json, (int64_t)__builtin_strlen(json)))
        mla_tokenizer_destroy(tokenizer);
    mla_clear_error(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool made;
    mla_context *context;
    mla_token_file *file;
    if (mla_context_create(&context, &(mla_context_options){.threads = 1})) return 0;
    if (!made) make_valid(context, getenv("ANSWERS") != NULL);
    made = true;
    fuzz_edit(context, data, size, true);
    const mla_status status = mla_token_file_open(context, &file, fuzz_path());
    if (status != mla_error_status(context) || (status != MLA_OK) != (file == NULL)) abort();
    if (file) read_all(context, file);
    mla_token_file_close(file);
    mla_context_destroy(context);
    return 0;
}
