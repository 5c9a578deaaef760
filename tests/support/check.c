#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int create_context(void **state) { return mla_context_create((mla_context **)state, NULL) != MLA_OK; }

int create_one_thread(void **state) {
    return mla_context_create((mla_context **)state, &(mla_context_options){.threads = 1}) != MLA_OK;
}

int destroy_context(void **state) {
    mla_context_destroy(*state);
    return 0;
}

int create_tape(void **state) {
    tape_fixture *f = *state = calloc(1, sizeof *f);
    return !f || mla_context_create(&f->context, NULL) || mla_tape_create(f->context, &f->tape, NULL);
}

int destroy_tape(void **state) {
    tape_fixture *f = *state;
    mla_tape_destroy(f->tape);
    mla_context_destroy(f->context);
    free(f);
    return 0;
}

void check_close_at(double a, double b, double tolerance, const char *what, const char *file, int line) {
    double scale = fmax(1, fmax(fabs(a), fabs(b)));
    if (isfinite(a) && isfinite(b) && fabs(a - b) <= tolerance * scale) return;
    print_error("%s: %.9g is not %.9g within %g\n", what, a, b, tolerance);
    _fail(file, line);
}

double relative_error(int64_t count, const float *a, const float *b) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];
        difference += d * d;
        norm += (double)b[i] * (double)b[i];
    }
    if (!isfinite(difference) || !isfinite(norm)) return INFINITY;
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

void check_ok_at(const mla_context *context, mla_status status, const char *what, const char *file, int line) {
    if (status == MLA_OK && mla_error_status(context) == MLA_OK) return;
    print_error("%s: %s: %s\n", what, mla_status_name(status), mla_error(context));
    _fail(file, line);
}

void check_error_at(mla_context *context, mla_status status, mla_status expected, const char *words, const char *what,
                    const char *file, int line) {
    if (status != expected || !strstr(mla_error(context), words)) {
        print_error("%s: got \"%s\" (%s), expected \"%s\" (%s)\n", what, mla_error(context), mla_status_name(status),
                    words, mla_status_name(expected));
        _fail(file, line);
    }
    mla_clear_error(context);
}
