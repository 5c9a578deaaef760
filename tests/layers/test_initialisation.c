/* How weights begin. */
#include "tests/support/check.h"
#include "tests/support/small_model.h"

#include <math.h>
#include <string.h>

/* What a setting makes of two weights; all others begin as they do without it. */
typedef struct {
    const char *setting;
    double o_proj, down_proj;
} begin;

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

static void compare(const mla_decoder *usual, const mla_decoder *set, const begin *wanted) {
    int seen = 0;
    assert_int_equal(mla_params_count(usual->params), mla_params_count(set->params));
    for (int64_t i = 0; i < mla_params_count(usual->params); i++) {
        const mla_param *p = mla_params_at(usual->params, i), *q = mla_params_at(set->params, i);
        const float *x = p->tensor.data, *y = q->tensor.data;
        const bool output = ends_with(p->tensor.name, "o_proj.weight");
        const bool down = ends_with(p->tensor.name, "down_proj.weight");
        const double share = output ? wanted->o_proj : down ? wanted->down_proj : 1;
        for (int64_t j = 0; j < mla_count(&p->tensor); j++)
            assert_true(fabs((double)y[j] - share * (double)x[j]) <= 1e-6 * fabs((double)x[j]));
        seen += output || down;
    }
    assert_int_equal(seen, 2 * 3);
}

static void what_is_added_to_the_residual_begins_as_set(void **state) {
    static const char *const kinds[] = {"latent", "multi_head"};
    const begin begins[] = {{"scaled_residual_init=true", 1 / sqrt(6), 1 / sqrt(6)},
                            {"zero_attention_output=true", 0, 1},
                            {"scaled_residual_init=true zero_attention_output=true", 0, 1 / sqrt(6)}};
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
            char text[128];
            snprintf(text, sizeof text, "num_hidden_layers=3 attention=%s", kinds[k]);
            mla_decoder *usual = small_decoder(*state, text);
            snprintf(text, sizeof text, "num_hidden_layers=3 attention=%s %s", kinds[k], begins[i].setting);
            mla_decoder *set = small_decoder(*state, text);
            mla_params_initialise(usual->params, 5);
            mla_params_initialise(set->params, 5);
            compare(usual, set, &begins[i]);
            mla_decoder_destroy(usual);
            mla_decoder_destroy(set);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_added_to_the_residual_begins_as_set)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
