/* How weights begin. */
#include "tests/support/check.h"
#include "tests/support/small_model.h"

#include <math.h>
#include <string.h>

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

/* What is added to the residual stream begins smaller by sqrt(2 layers), all else as it was. */
static void scaled_residuals_begin_smaller(void **state) {
    static const char *const kinds[] = {"num_hidden_layers=3", "num_hidden_layers=3 attention=multi_head"};
    static const char *const scaled[] = {"num_hidden_layers=3 scaled_residual_init=true",
                                         "num_hidden_layers=3 attention=multi_head scaled_residual_init=true"};
    for (int k = 0; k < 2; k++) {
        mla_decoder *a = small_decoder(*state, kinds[k]), *b = small_decoder(*state, scaled[k]);
        int smaller = 0;
        mla_params_initialise(a->params, 5);
        mla_params_initialise(b->params, 5);
        assert_int_equal(mla_params_count(a->params), mla_params_count(b->params));
        for (int64_t i = 0; i < mla_params_count(a->params); i++) {
            const mla_param *p = mla_params_at(a->params, i), *q = mla_params_at(b->params, i);
            const float *x = p->tensor.data, *y = q->tensor.data;
            const bool residual = ends_with(p->tensor.name, "o_proj.weight") ||
                                  ends_with(p->tensor.name, "down_proj.weight");
            const double share = residual ? 1 / sqrt(6) : 1;
            for (int64_t j = 0; j < mla_count(&p->tensor); j++)
                assert_true(fabs((double)y[j] - share * (double)x[j]) <= 1e-6 * fabs((double)x[j]));
            smaller += residual;
        }
        assert_int_equal(smaller, 6);
        mla_decoder_destroy(a);
        mla_decoder_destroy(b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(scaled_residuals_begin_smaller)};
    return cmocka_run_group_tests(tests, create_context, destroy_context);
}
