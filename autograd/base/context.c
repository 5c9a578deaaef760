#include "autograd/base/context.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct attachment attachment;
struct attachment {
    void *attached;
    void (*destroy)(void *attached);
    attachment *next;
};

struct mla_context {
    mla_context_options options;
    attachment *attachments;
    mla_status status;
    char message[2048];
};

const char *mla_status_name(mla_status status) {
    static const char *const names[] = {"ok",
                                        "wrong argument",
                                        "shapes do not fit",
                                        "out of memory",
                                        "input/output error",
                                        "wrong file format",
                                        "not a finite number",
                                        "library error",
                                        "stopped"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown error";
}

mla_status mla_context_create(mla_context **out, const mla_context_options *options) {
    *out = calloc(1, sizeof **out);
    if (!*out) return MLA_ERROR_MEMORY;
    if (options) (*out)->options = *options;
    if ((*out)->options.threads <= 0) (*out)->options.threads = omp_get_max_threads();
    return MLA_OK;
}

void mla_context_set_threads(mla_context *context, int threads) {
    if (threads > 0) context->options.threads = threads;
}

void mla_context_destroy(mla_context *context) {
    if (!context) return;
    for (attachment *a = context->attachments, *next; a; a = next) {
        next = a->next;
        a->destroy(a->attached);
        free(a);
    }
    free(context);
}

void *mla_context_attached(const mla_context *context, void (*destroy)(void *attached)) {
    const attachment *a = context->attachments;
    while (a && a->destroy != destroy) a = a->next;
    return a ? a->attached : NULL;
}

mla_status mla_context_attach(mla_context *context, void *attached, void (*destroy)(void *attached)) {
    attachment *a = mla_alloc(context, 1, sizeof *a, "what is kept with the context");
    if (!a) return MLA_ERROR_MEMORY;
    *a = (attachment){attached, destroy, context->attachments};
    context->attachments = a;
    return MLA_OK;
}

int mla_context_threads(const mla_context *context) { return context->options.threads; }
bool mla_context_packs_weights(const mla_context *context) { return context->options.pack_weights; }

mla_status mla_fail(mla_context *context, mla_status status, const char *format, ...) {
    #pragma omp critical(mla_context_fail)
    if (context->status == MLA_OK) {
        va_list args;
        va_start(args, format);
        vsnprintf(context->message, sizeof context->message, format, args);
        va_end(args);
        context->status = status;
    }
    return status;
}

void mla_warn(mla_context *context, const char *format, ...) {
    if (!context->options.warn) return;
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    context->options.warn(context->options.user, message);
}

mla_status mla_error_status(const mla_context *context) { return context->status; }
const char *mla_error(const mla_context *context) { return context->message; }

void mla_clear_error(mla_context *context) {
    context->status = MLA_OK;
    context->message[0] = '\0';
}

void *mla_alloc(mla_context *context, int64_t count, size_t size, const char *what) {
    void *memory = count < 0 ? NULL : calloc(count ? (size_t)count : 1, size);
    if (!memory)
        mla_fail(context, MLA_ERROR_MEMORY, "no memory for %s (%lld x %zu bytes)", what, (long long)count, size);
    return memory;
}

mla_status mla_grow(mla_context *context, void *array, int64_t *capacity, int64_t needed, size_t size,
                    const char *what) {
    if (needed <= *capacity) return MLA_OK;
    int64_t larger = *capacity > INT64_MAX / 2 || 2 * *capacity < needed ? needed : 2 * *capacity;
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    size_t bytes;
    if (__builtin_mul_overflow((size_t)larger, size, &bytes) || !(grown = realloc(old, bytes)))
        return mla_fail(context, MLA_ERROR_MEMORY, "no memory for %s (%lld x %zu bytes)", what, (long long)larger,
                        size);
    memcpy(array, &grown, sizeof grown);
    *capacity = larger;
    return MLA_OK;
}
