#include "train/compare/student.h"

#include <math.h>

/* P(|T| <= t) as a finite sum (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4), with theta = atan(t / sqrt(n)):
 *
 *     odd n:   2/pi (theta + sin theta (cos theta + 2/3 cos^3 theta + ... + 2 4 ... (n-3) / (3 5 ... (n-2)) cos^(n-2)))
 *     even n:  sin theta (1 + 1/2 cos^2 theta + 1 3 / (2 4) cos^4 theta + ... + 1 3 ... (n-3) / (2 4 ... (n-2))
 * cos^(n-2))
 */
static double within(double t, int64_t degrees) {
    const double theta = atan(t / sqrt((double)degrees)), cosine = cos(theta);
    const int64_t first = degrees % 2;
    double term = first ? cosine : 1, sum = 0;
    for (int64_t power = first; power <= degrees - 2; power += 2) {
        sum += term;
        term *= cosine * cosine * (double)(power + 1) / (double)(power + 2);
    }
    return first ? M_2_PI * (theta + sin(theta) * sum) : sin(theta) * sum;
}

double mla_student_cdf(double t, int64_t degrees) { return 0.5 + (t < 0 ? -0.5 : 0.5) * within(fabs(t), degrees); }

double mla_student_quantile(double p, int64_t degrees) {
    if (p < 0.5) return -mla_student_quantile(1 - p, degrees);
    double low = 0, high = 1;
    while (mla_student_cdf(high, degrees) < p && high < 1e300) high *= 2;
    for (int i = 0; i < 200 && low < high; i++) {
        const double middle = low + (high - low) / 2;
        if (middle <= low || middle >= high) break;
        if (mla_student_cdf(middle, degrees) < p) low = middle;
        else high = middle;
    }
    return high;
}

mla_interval mla_interval_of(const double *values, int64_t count) {
    mla_interval out = {.count = count, .deviation = NAN, .half_width = NAN};
    double squares = 0;
    for (int64_t i = 0; i < count; i++) out.mean += values[i] / (double)count;
    for (int64_t i = 0; i < count; i++) squares += (values[i] - out.mean) * (values[i] - out.mean);
    if (count < 2) return out;
    out.deviation = sqrt(squares / (double)(count - 1));
    out.half_width = mla_student_quantile(0.975, count - 1) * out.deviation / sqrt((double)count);
    return out;
}
