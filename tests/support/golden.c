#include "tests/support/golden.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t fnv1a(const char *name) {
    uint64_t hash = 0xcbf29ce484222325;
    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
    return hash;
}

/* Value number `index` of the splitmix64 stream that starts at `start`. */
static uint64_t splitmix64(uint64_t start, uint64_t index) {
    uint64_t z = start + (index + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* In double and rounded once: the product is exact there, so a fused multiply-add gives the same. */
static void fill(float *out, int64_t count, const char *name, float offset, float scale) {
    const uint64_t start = fnv1a(name);
    for (int64_t i = 0; i < count; i++) {
        double u = (double)(splitmix64(start, (uint64_t)i) >> 40) / 8388608.0 - 1.0;
        out[i] = (float)((double)offset + (double)scale * u);
    }
}

void golden_fill(float *out, int64_t count, const char *name, float scale) { fill(out, count, name, 0, scale); }

hid_t golden_open(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/%s.h5", MLA_SOURCE_DIR, name);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) fail_msg("%s cannot be opened; tests/golden/make_golden.py makes it", path);
    return file;
}

void golden_close(hid_t file) { assert_true(H5Fclose(file) >= 0); }

static hid_t open_dataset(hid_t file, const char *path) {
    hid_t set = H5Dopen2(file, path, H5P_DEFAULT);
    if (set < 0) fail_msg("the fixture has no dataset %s", path);
    return set;
}

static int64_t points(hid_t set) {
    hid_t space = H5Dget_space(set);
    int64_t count = H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    return count;
}

/* Reads the whole dataset; its length in *count. */
static void *read_all(hid_t file, const char *path, hid_t type, int64_t *count) {
    hid_t set = open_dataset(file, path);
    *count = points(set);
    void *out = calloc((size_t)*count + 1, H5Tget_size(type));
    assert_non_null(out);
    if (H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0) fail_msg("%s cannot be read", path);
    H5Dclose(set);
    return out;
}

static void read_exactly(hid_t file, const char *path, hid_t type, int64_t count, void *out) {
    int64_t found;
    void *data = read_all(file, path, type, &found);
    if (found != count) fail_msg("%s holds %lld numbers, not %lld", path, (long long)found, (long long)count);
    memcpy(out, data, (size_t)count * H5Tget_size(type));
    free(data);
}

void golden_read_ints(hid_t file, const char *path, int64_t count, int32_t *out) {
    read_exactly(file, path, H5T_NATIVE_INT32, count, out);
}

void golden_read_doubles(hid_t file, const char *path, int64_t count, double *out) {
    read_exactly(file, path, H5T_NATIVE_DOUBLE, count, out);
}

char *golden_text(hid_t file, const char *path) {
    int64_t length;
    return read_all(file, path, H5T_NATIVE_CHAR, &length);
}

void golden_fill_parameter(hid_t file, const char *name, int64_t count, float *out) {
    char path[512];
    double rule[2];
    snprintf(path, sizeof path, "fill/%s", name);
    golden_read_doubles(file, path, 2, rule);
    fill(out, count, name, (float)rule[0], (float)rule[1]);
}

static double attribute(hid_t file, const char *path, const char *name) {
    double value = NAN;
    hid_t at = H5Aopen_by_name(file, path, name, H5P_DEFAULT, H5P_DEFAULT);
    if (at < 0 || H5Aread(at, H5T_NATIVE_DOUBLE, &value) < 0) fail_msg("%s has no attribute %s", path, name);
    H5Aclose(at);
    return value;
}

int64_t golden_count(hid_t file, const char *path) {
    int64_t shape[8], count = 1;
    hid_t at = H5Aopen_by_name(file, path, "shape", H5P_DEFAULT, H5P_DEFAULT);
    if (at < 0) fail_msg("%s has no attribute shape", path);
    hid_t space = H5Aget_space(at);
    int64_t rank = H5Sget_simple_extent_npoints(space);
    assert_in_range(rank, 1, 8);
    assert_true(H5Aread(at, H5T_NATIVE_INT64, shape) >= 0);
    for (int64_t i = 0; i < rank; i++) count *= shape[i];
    H5Sclose(space);
    H5Aclose(at);
    return count;
}

/* Where the stored entries lie in the whole result; NULL where all of it is stored. */
static int64_t *positions(hid_t file, int64_t stored, int64_t count) {
    char path[64];
    int64_t found;
    if (stored == count) return NULL;
    snprintf(path, sizeof path, "positions/%lld", (long long)count);
    int64_t *at = read_all(file, path, H5T_NATIVE_INT64, &found);
    assert_int_equal(found, stored);
    for (int64_t i = 0; i < found; i++) assert_in_range(at[i], 0, count - 1);
    return at;
}

static double norm(int64_t count, const float *x) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

/* Euclidean distance over the stored entries. */
static double distance(int64_t stored, const float *want, const float *got, const int64_t *at) {
    double sum = 0;
    for (int64_t i = 0; i < stored; i++) {
        double d = (double)got[at ? at[i] : i] - (double)want[i];
        sum += d * d;
    }
    return sqrt(sum);
}

double golden_error(hid_t file, const char *path, int64_t count, const float *got) {
    int64_t stored;
    if (golden_count(file, path) != count)
        fail_msg("%s holds %lld numbers, not %lld", path, (long long)golden_count(file, path), (long long)count);
    float *want = read_all(file, path, H5T_NATIVE_FLOAT, &stored);
    int64_t *at = positions(file, stored, count);
    double whole = attribute(file, path, "norm"), scale = attribute(file, path, "scale");
    /* Samples are measured against their own norm, unless the result is zero but for rounding. */
    double sampled = at && scale <= whole ? norm(stored, want) : scale;
    double apart = distance(stored, want, got, at) / sampled, longer = fabs(norm(count, got) - whole) / scale;
    free(want);
    free(at);
    return isfinite(apart) && isfinite(longer) ? fmax(apart, longer) : INFINITY;
}

void golden_check_at(hid_t file, const char *path, int64_t count, const float *got, double tolerance,
                     const char *source, int line) {
    double error = golden_error(file, path, count, got);
    if (error <= tolerance) return;
    print_error("%s: relative error %.3g is above %g (PyTorch's own float32: %.3g)\n", path, error, tolerance,
                attribute(file, path, "float32_error"));
    _fail(source, line);
}
