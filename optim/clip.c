#include "optim/clip.h"
#include "autograd/base/vecmath.h"

enum { PARTS = 256 }; /* partial sums of one parameter, added in order */

MLA_VECTOR static double sum_of_squares(int64_t count, const float *x) {
    double sum = 0;
    MLA_SIMD_SUM(sum)
    for (int64_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

double mla_squared_norm(const mla_context *context, int64_t count, const float *x) {
    double parts[PARTS] = {0}, sum = 0;
    const int64_t size = (count + PARTS - 1) / PARTS;
    const int threads = mla_context_threads(context);
    #pragma omp parallel for num_threads(threads) schedule(static) if (count > 1 << 16)
    for (int64_t i = 0; i < PARTS; i++) {
        const int64_t begin = i * size, end = begin + size < count ? begin + size : count;
        if (begin < end) parts[i] = sum_of_squares(end - begin, x + begin);
    }
    for (int i = 0; i < PARTS; i++) sum += parts[i];
    return sum;
}

double mla_gradient_norm(const mla_params *params) {
    double sum = 0;
    for (int64_t i = 0; i < mla_params_count(params); i++) {
        const mla_param *p = mla_params_at(params, i);
        if (!p->spec.frozen && p->tensor.has_grad)
            sum += mla_squared_norm(mla_params_context(params), p->count, p->tensor.grad);
    }
    return sqrt(sum);
}

float mla_clip_scale(double norm, double largest) {
    const double scale = largest > 0 ? largest / (norm + 1e-6) : 1;
    return scale < 1 ? (float)scale : 1;
}
