/* Synthetic text: its entropy is what it is said to be, and what is generated has it. */
#include "data/text/synthetic.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 1000000 };

/* -sum p ln p of the pair or triple that ends at each place, less that of the place before: estimated from
 * counts alone, knowing nothing of the chain. Its bias is about states * vocabulary / (2 COUNT). */
static double counted_entropy(int64_t vocabulary, int order, const int32_t *tokens) {
    int64_t states = order == 1 ? vocabulary : vocabulary * vocabulary, state = 0;
    double *counts = calloc((size_t)(states * vocabulary), sizeof *counts), sum = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        if (i >= order) counts[state * vocabulary + tokens[i]]++;
        state = (state * vocabulary + tokens[i]) % states;
    }
    for (state = 0; state < states; state++) {
        double all = 0;
        for (int64_t x = 0; x < vocabulary; x++) all += counts[state * vocabulary + x];
        for (int64_t x = 0; x < vocabulary; x++) {
            double n = counts[state * vocabulary + x];
            if (n > 0) sum -= n * log(n / all);
        }
    }
    free(counts);
    return sum / (COUNT - order);
}

static void check_entropy(mla_context *context, mla_synthetic_options options) {
    mla_synthetic *source;
    int32_t *tokens = malloc(COUNT * sizeof *tokens), *again = malloc(COUNT * sizeof *tokens);
    check_ok(context, mla_synthetic_create(context, &source, &options));
    double entropy = mla_synthetic_entropy(source);
    int64_t vocabulary = mla_synthetic_vocabulary(source);
    assert_true(entropy > 0.2 && entropy < log((double)vocabulary));
    mla_synthetic_generate(source, 0, COUNT, tokens);
    for (int i = 0; i < COUNT; i++) assert_in_range(tokens[i], 0, vocabulary - 1);
    check_close(mla_synthetic_loss(source, COUNT, tokens), entropy, 0.005); /* sampling error about 0.001 */
    check_close(counted_entropy(vocabulary, options.order == 2 ? 2 : 1, tokens), entropy, 0.006);
    mla_synthetic_generate(source, 0, COUNT, again);
    assert_memory_equal(tokens, again, COUNT * sizeof *tokens);
    mla_synthetic_generate(source, 1, COUNT, again);
    int equal = 0;
    for (int i = 0; i < COUNT; i++) equal += tokens[i] == again[i];
    assert_true(equal < COUNT / 2);
    check_close(mla_synthetic_loss(source, COUNT, again), entropy, 0.005);
    mla_synthetic_destroy(source);
    free(tokens);
    free(again);
}

static void text_has_the_entropy_it_is_said_to_have(void **state) {
    check_entropy(*state, (mla_synthetic_options){0});
    check_entropy(*state, (mla_synthetic_options){.vocabulary = 8, .order = 2, .seed = 5});
    check_entropy(*state, (mla_synthetic_options){.vocabulary = 5, .order = 1, .sharpness = 1, .seed = 6});
}

/* With almost no sharpness all tokens are as likely as others. */
static void flat_text_has_the_entropy_of_dice(void **state) {
    mla_synthetic *source;
    mla_synthetic_options options = {.vocabulary = 6, .sharpness = 1e-6};
    check_ok(*state, mla_synthetic_create(*state, &source, &options));
    check_close(mla_synthetic_entropy(source), log(6), 1e-9);
    mla_synthetic_destroy(source);
}

static void check_refused(mla_context *context, mla_synthetic_options options, const char *words) {
    mla_synthetic *source;
    check_error(context, mla_synthetic_create(context, &source, &options), MLA_ERROR_ARGUMENT, words);
    assert_null(source);
}

static void refuses_impossible_options(void **state) {
    check_refused(*state, (mla_synthetic_options){.order = 3}, "of order 3");
    check_refused(*state, (mla_synthetic_options){.vocabulary = 1}, "vocabulary of 1: it can be from 2 to 8192");
    check_refused(*state, (mla_synthetic_options){.vocabulary = -4}, "vocabulary of -4");
    check_refused(*state, (mla_synthetic_options){.vocabulary = 407, .order = 2}, "from 2 to 406");
    check_refused(*state, (mla_synthetic_options){.sharpness = -1}, "sharpness -1");
    check_refused(*state, (mla_synthetic_options){.sharpness = (double)NAN}, "sharpness");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(text_has_the_entropy_it_is_said_to_have),
                                       cmocka_unit_test(flat_text_has_the_entropy_of_dice),
                                       cmocka_unit_test(refuses_impossible_options)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
