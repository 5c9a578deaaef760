/* The C twin of tests/golden/fill.py, and whether a comparison with a fixture can fail. */
#include "tests/support/check.h"
#include "tests/support/golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void fill_equals_pythons_bit_by_bit(void **state) {
    (void)state;
    hid_t file = golden_open("fill");
    float mine[64];
    double theirs[64];
    golden_fill(mine, 64, "plain", 1);
    golden_read_doubles(file, "plain", 64, theirs);
    for (int i = 0; i < 64; i++) assert_true((double)mine[i] == theirs[i]);
    golden_fill_parameter(file, "model.norm.weight", 64, mine);
    golden_read_doubles(file, "model.norm.weight", 64, theirs);
    for (int i = 0; i < 64; i++) assert_true((double)mine[i] == theirs[i]);
    golden_close(file);
}

/* The logits are stored whole, the embedding's gradient as samples. */
static void comparison_tells_right_from_wrong(void **state) {
    (void)state;
    hid_t file = golden_open("v3");
    int64_t count = golden_count(file, "logits");
    assert_int_equal(count, 2 * 48 * 128);
    double *exact = calloc((size_t)count, sizeof *exact);
    float *logits = calloc((size_t)count, sizeof *logits);
    golden_read_doubles(file, "logits", count, exact);
    for (int64_t i = 0; i < count; i++) logits[i] = (float)exact[i];
    golden_check(file, "logits", count, logits, 1e-7);

    logits[77] += 1;
    assert_true(golden_error(file, "logits", count, logits) > 1e-3);
    logits[77] = NAN;
    assert_true(isinf(golden_error(file, "logits", count, logits)));
    free(exact);
    free(logits);

    const char *gradient = "grad/model.embed_tokens.weight";
    count = golden_count(file, gradient);
    float *zeros = calloc((size_t)count, sizeof *zeros);
    assert_true(golden_error(file, gradient, count, zeros) > 0.99);
    free(zeros);
    golden_close(file);
}

static void config_is_text(void **state) {
    (void)state;
    hid_t file = golden_open("v3");
    char *config = golden_text(file, "config/model");
    assert_non_null(strstr(config, "\"kv_lora_rank\": 24"));
    free(config);
    golden_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fill_equals_pythons_bit_by_bit),
        cmocka_unit_test(comparison_tells_right_from_wrong),
        cmocka_unit_test(config_is_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
