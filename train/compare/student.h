/* How sure a mean of a few differences is: Student's t (Student 1908, "The probable error of a mean"). */
#ifndef MLA_TRAIN_COMPARE_STUDENT_H
#define MLA_TRAIN_COMPARE_STUDENT_H

#include <stdint.h>

/* P(T <= t) for a whole number of degrees of freedom, at least 1, and its inverse for 0 < p < 1. */
double mla_student_cdf(double t, int64_t degrees);
double mla_student_quantile(double p, int64_t degrees);

/* Mean of some values, their standard deviation (n - 1; NaN for one) and half the width of the mean's 95 % interval
 * (NaN for one). */
typedef struct {
    int64_t count;
    double mean, deviation, half_width;
} mla_interval;
mla_interval mla_interval_of(const double *values, int64_t count);

#endif
