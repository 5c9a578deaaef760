/* The context is handed to everything that can fail. It keeps the first error, in words, and passes on
 * warnings; the library itself never prints and never exits.
 *
 * Any thread may use a context, one at a time, beside others that use theirs. What works for it takes as many threads
 * as the context has; the number that OpenMP has for the caller stays as it is. From inside a parallel region of its
 * own work it may be used only to report errors. */
#ifndef MLA_AUTOGRAD_BASE_CONTEXT_H
#define MLA_AUTOGRAD_BASE_CONTEXT_H

#include "autograd/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mla_context mla_context;

typedef struct {
    int threads; /* that work for the context; 0: as many as OMP_NUM_THREADS or the processor says */
    void (*warn)(void *user, const char *message); /* NULL: warnings are dropped */
    void *user;                                    /* handed to warn */
    bool pack_weights; /* as with AMX also where the processor gains little by it: autograd/packed_weight.h */
} mla_context_options;

/* Makes a context; options may be NULL. The caller owns it. Only error: MLA_ERROR_MEMORY.
 * A process that handles signals must keep them off the threads that compute: train/commands/training/stop_signals.c
 * says why.
 */
mla_status mla_context_create(mla_context **out, const mla_context_options *options);
void mla_context_destroy(mla_context *context);

int mla_context_threads(const mla_context *context);
/* Changes the number of threads; 0: leaves it. Before the first matrix product only: plans are made for it. */
void mla_context_set_threads(mla_context *context, int threads);

bool mla_context_packs_weights(const mla_context *context); /* that option */

/* Records an error unless one is recorded already, and returns its status: `return mla_fail(ctx, ...)`.
 * The message says what was wrong, where, and what would be right; no newline at its end. */
mla_status mla_fail(mla_context *context, mla_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Passes a warning on; training continues. */
void mla_warn(mla_context *context, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first error since the last mla_clear_error: its status (MLA_OK if none) and its words ("" if none). */
mla_status mla_error_status(const mla_context *context);
const char *mla_error(const mla_context *context);
void mla_clear_error(mla_context *context);

/* What a file keeps with a context, one thing each, as gemm.c keeps its plans: found again by the function that
 * destroys it, which the context calls at its end. NULL where nothing is attached yet. */
void *mla_context_attached(const mla_context *context, void (*destroy)(void *attached));
/* Attaches it. MLA_ERROR_MEMORY: then it stays the caller's. */
mla_status mla_context_attach(mla_context *context, void *attached, void (*destroy)(void *attached));

/* Zeroed memory that reports its failure: bytes = count * size, checked for overflow. NULL after an error
 * that names `what`. Free with free(). A count of 0 gives a pointer that may be freed. */
void *mla_alloc(mla_context *context, int64_t count, size_t size, const char *what);

/* Grows *array to hold at least `needed` elements of `size` bytes (doubling); *capacity is in elements. */
mla_status mla_grow(mla_context *context, void *array, int64_t *capacity, int64_t needed, size_t size,
                    const char *what);

#endif
