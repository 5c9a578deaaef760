#include "tests/support/op_fixture.h"
#include "autograd/base/random.h"

#include <stdlib.h>

void fill(const char *name, int64_t count, float *x) {
    mla_random_normal(mla_random_stream(4, name, 0, 0, 0), 0, count, x);
}

int create_op_fixture(void **state) {
    op_fixture *f = *state = calloc(1, sizeof *f);
    if (!f || mla_context_create(&f->context, NULL) || mla_tape_create(f->context, &f->tape, NULL)) return -1;
    fill("a", COUNT, f->a);
    fill("b", COUNT, f->b);
    fill("c", COUNT, f->c);
    fill("row", WIDTH, f->row);
    fill("row2", WIDTH, f->row2);
    return 0;
}

int destroy_op_fixture(void **state) {
    op_fixture *f = *state;
    mla_tape_destroy(f->tape);
    mla_context_destroy(f->context);
    free(f);
    return 0;
}

void begin(op_fixture *f) { mla_tape_begin(f->tape, &(mla_step){.seed = 1, .step = 2, .training = true}); }
