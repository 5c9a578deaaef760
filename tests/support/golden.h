/* Reads the reference results of tests/golden, and computes the weights and inputs they were made from.
 * tests/golden/README.md says what the files hold. Everything here fails the running test rather than return
 * an error; memory that is returned is the caller's, to free(). */
#ifndef MLA_TESTS_SUPPORT_GOLDEN_H
#define MLA_TESTS_SUPPORT_GOLDEN_H

#include <stdint.h>

#include <hdf5.h>

/* out[i] = scale * u(name, i), u in [-1, 1): the values that tests/golden/fill.py computes, bit by bit. */
void golden_fill(float *out, int64_t count, const char *name, float scale);

/* Opens tests/golden/NAME.h5; close it with golden_close. */
hid_t golden_open(const char *name);
void golden_close(hid_t file);

/* Fills a parameter as the fixture's dataset /fill/NAME says: out[i] = offset + scale * u(name, i). */
void golden_fill_parameter(hid_t file, const char *name, int64_t count, float *out);

/* A text dataset such as "config/model" (JSON), ending in 0. */
char *golden_text(hid_t file, const char *path);

/* Reads exactly `count` numbers, converted by HDF5. */
void golden_read_ints(hid_t file, const char *path, int64_t count, int32_t *out);
void golden_read_doubles(hid_t file, const char *path, int64_t count, double *out);

/* How many numbers the whole result has, of which the fixture may hold only samples. */
int64_t golden_count(hid_t file, const char *path);

/* Fails the test unless `got` agrees with the result at `path`, in its norm and in the entries the fixture
 * holds (all, or 512 sampled ones): Euclidean error <= tolerance * scale. NaN fails. */
#define golden_check(file, path, count, got, tolerance) \
    golden_check_at((file), (path), (count), (got), (tolerance), __FILE__, __LINE__)
void golden_check_at(hid_t file, const char *path, int64_t count, const float *got, double tolerance,
                     const char *source, int line);

/* What golden_check compares: the larger of the two relative errors, infinity where there is a NaN. */
double golden_error(hid_t file, const char *path, int64_t count, const float *got);

#endif
