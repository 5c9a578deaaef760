/* safetensors: round trips in all types, every way in which a header, an index or a shard can be wrong, and
 * f16. */
#include "autograd/base/bfloat16.h"
#include "autograd/base/float16.h"
#include "data/formats/safetensors.h"
#include "tests/support/check.h"
#include "tests/support/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    mla_context *context;
    char *folder, *path; /* path: a file in it */
} fixture;

static int create(void **state) {
    fixture *f = *state = calloc(1, sizeof *f);
    f->folder = folder_create();
    f->path = path_in(f->folder, "a.safetensors");
    return (int)mla_context_create(&f->context, NULL);
}

static int destroy(void **state) {
    fixture *f = *state;
    mla_context_destroy(f->context);
    free(f->path);
    folder_remove(f->folder);
    free(f);
    return 0;
}

/* ---- half precision ---- */

static void halves_go_there_and_back(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float value = mla_f16_to_float((uint16_t)h);
        const uint16_t again = mla_f16_from_float(value);
        if (isnan(value)) assert_true((again & 0x7c00) == 0x7c00 && (again & 1023));
        else assert_int_equal(again, h);
    }
}

/* By definition: (-1)^s 2^(e-15) (1 + f/1024), and 2^-14 f/1024 for e = 0. */
static void halves_are_what_the_standard_says(void **state) {
    (void)state;
    for (int h = 0; h < 0x7c00; h++) {
        const int e = h >> 10, f = h & 1023;
        const double value = e ? ldexp(1 + f / 1024.0, e - 15) : ldexp(f / 1024.0, -14);
        assert_true((double)mla_f16_to_float((uint16_t)h) == value);
        assert_true((double)mla_f16_to_float((uint16_t)(h | 0x8000)) == -value);
    }
    assert_true(signbit(mla_f16_to_float(0x8000)));
    assert_true(isinf(mla_f16_to_float(0x7c00)) && mla_f16_to_float(0xfc00) < 0 && isnan(mla_f16_to_float(0x7c01)));
}

/* Between neighbours, to the nearer; half-way, to the even one. */
static void halves_round_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const float low = mla_f16_to_float((uint16_t)h), high = mla_f16_to_float((uint16_t)(h + 1));
        const float middle = low + (high - low) / 2;
        assert_int_equal(mla_f16_from_float(middle), h & 1 ? h + 1 : h);
        assert_int_equal(mla_f16_from_float(nextafterf(middle, 0)), h);
        assert_int_equal(mla_f16_from_float(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(mla_f16_from_float(-nextafterf(middle, INFINITY)), (h + 1) | 0x8000);
    }
    assert_int_equal(mla_f16_from_float(65519), 0x7bff);
    assert_int_equal(mla_f16_from_float(65520), 0x7c00);
    assert_int_equal(mla_f16_from_float(-INFINITY), 0xfc00);
    assert_int_equal(mla_f16_from_float(1e-30f), 0);
    assert_int_equal(mla_f16_from_float(-1e-42f), 0x8000);
    assert_true(isnan(mla_f16_to_float(mla_f16_from_float(NAN))));
}

/* ---- round trips ---- */

enum { LARGE = 40000 }; /* more than a piece of the writer */

static float values[LARGE];

static void fill(void) {
    for (int i = 0; i < LARGE; i++) values[i] = sinf((float)i) * expf((float)(i % 30) - 20);
}

static float rounded(mla_safetensors_type type, float x) {
    if (type == MLA_SAFETENSORS_BF16) return mla_bf16_to_float(mla_bf16_from_float(x));
    return type == MLA_SAFETENSORS_F16 ? mla_f16_to_float(mla_f16_from_float(x)) : x;
}

static void check_tensor(mla_context *context, const mla_safetensors *file, const char *name, mla_safetensors_type type,
                         const float *expected) {
    const mla_safetensors_info *t = mla_safetensors_find(file, name);
    assert_non_null(t);
    assert_int_equal(t->type, type);
    assert_string_equal(t->type_name, mla_safetensors_type_name(type));
    float *read = malloc((size_t)t->count * sizeof *read + 1);
    check_ok(context, mla_safetensors_read(file, t, read));
    for (int64_t i = 0; i < t->count; i++) assert_true(read[i] == rounded(type, expected[i]));
    free(read);
}

static const mla_safetensors_item items[] = {{"odd", 1, {3}, values},
                                             {"model.large", 2, {LARGE / 100, 100}, values},
                                             {"scalar", 0, {0}, values + 7},
                                             {"a \"quoted\" n\u00e4me", 4, {1, 2, 3, 1}, values + 9},
                                             {"empty", 2, {0, 5}, values}};
enum { ITEMS = sizeof items / sizeof *items };

static void written_files_read_back(void **state) {
    fixture *f = *state;
    mla_safetensors *file;
    fill();
    for (mla_safetensors_type type = MLA_SAFETENSORS_F32; type <= MLA_SAFETENSORS_F16; type++) {
        check_ok(f->context, mla_safetensors_write(f->context, f->path, type, items, ITEMS));
        check_ok(f->context, mla_safetensors_open(f->context, &file, f->path));
        assert_int_equal(mla_safetensors_count(file), ITEMS);
        for (int i = 0; i < ITEMS; i++) check_tensor(f->context, file, items[i].name, type, items[i].values);
        for (int i = 1; i < ITEMS; i++)
            assert_true(strcmp(mla_safetensors_at(file, i - 1)->name, mla_safetensors_at(file, i)->name) < 0);
        assert_int_equal(mla_safetensors_find(file, "model.large")->shape[0], LARGE / 100);
        assert_null(mla_safetensors_find(file, "no"));
        mla_safetensors_close(file);
    }
}

/* What the format asks of a writer: numbers from a multiple of 8 on, the metadata, nothing behind. */
static void headers_are_aligned(void **state) {
    fixture *f = *state;
    int64_t size;
    for (int i = 1; i < 12; i++) {
        char name[16] = "aaaaaaaaaaaaaaa";
        name[i] = 0;
        check_ok(f->context, mla_safetensors_write(f->context, f->path, MLA_SAFETENSORS_F32,
                                                   &(mla_safetensors_item){name, 1, {3}, values}, 1));
        char *bytes = file_read(f->path, &size);
        assert_int_equal((uint8_t)bytes[0] % 8, 0);
        assert_int_equal(size, 8 + (uint8_t)bytes[0] + 12);
        assert_int_equal(bytes[8], '{');
        assert_non_null(strstr(bytes + 8, "\"__metadata__\":{\"format\":\"pt\"}"));
        free(bytes);
    }
}

static void refuses_to_write(void **state) {
    fixture *f = *state;
    const float large[] = {1, 70000, -3.4e38f}, infinite[] = {1, INFINITY, NAN};
    const mla_safetensors_item item = {"w", 1, {3}, large};
    check_error(f->context, mla_safetensors_write(f->context, f->path, MLA_SAFETENSORS_F16, &item, 1),
                MLA_ERROR_NUMERIC, "tensor w: element 1, 70000, is too large for F16");
    assert_false(file_exists(f->path));
    check_error(f->context,
                mla_safetensors_write(f->context, f->path, MLA_SAFETENSORS_BF16,
                                      &(mla_safetensors_item){"w", 1, {1}, (float[]){3.4028235e38f}}, 1),
                MLA_ERROR_NUMERIC, "is too large for BF16");
    check_ok(f->context, mla_safetensors_write(f->context, f->path, MLA_SAFETENSORS_F16,
                                               &(mla_safetensors_item){"w", 1, {3}, infinite}, 1));
    check_error(f->context, mla_safetensors_write(f->context, "/nowhere/a", MLA_SAFETENSORS_F32, &item, 1),
                MLA_ERROR_IO, "/nowhere/a.tmp");
    check_error(f->context,
                mla_safetensors_write(f->context, f->path, MLA_SAFETENSORS_F32,
                                      &(mla_safetensors_item){"\xff", 1, {3}, large}, 1),
                MLA_ERROR_MEMORY, "not UTF-8");
    char *disk = disk_create(f->folder, 64);
    if (!disk) return;
    char *path = path_in(disk, "full.safetensors"), *temporary = path_in(disk, "full.safetensors.tmp");
    check_error(f->context, mla_safetensors_write(f->context, path, MLA_SAFETENSORS_F32, items, ITEMS), MLA_ERROR_IO,
                "No space left");
    assert_false(file_exists(path) || file_exists(temporary));
    free(path);
    free(temporary);
    disk_remove(disk);
}

/* ---- headers that are wrong ---- */

/* A file of this header, and of `data` zero bytes behind it. */
static void write_file(const char *path, const char *header, int64_t data) {
    const int64_t length = (int64_t)strlen(header);
    unsigned char *bytes = calloc(1, (size_t)(8 + length + data));
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, (size_t)length);
    file_write(path, bytes, 8 + length + data);
    free(bytes);
}

#define W(dtype, shape, offsets) "\"w\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define V(offsets)               "\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" offsets "}"

static void wrong_headers_are_refused(void **state) {
    fixture *f = *state;
    static const struct {
        const char *header, *words; /* with 16 bytes of data */
    } cases[] = {
        {"", "its header: not valid JSON"},
        {"[]", "its header is not a JSON object"},
        {"{", "not valid JSON"},
        {"{} x", "not valid JSON"},
        {"{}", "16 bytes after the last tensor belong to none"},
        {"{\"w\":3}", "tensor w: its entry is not a JSON object"},
        {"{" W("\"F32\"", "[4]", "[0,16]") "," W("\"F32\"", "[4]", "[0,16]") "}",
         "the key \"w\" is given twice in one object"},
        {"{\"__metadata__\":{\"format\":1}," W("\"F32\"", "[4]", "[0,16]") "}",
         "__metadata__ is not an object of strings"},
        {"{\"__metadata__\":[]}", "__metadata__ is not an object of strings"},
        {"{" W("\"F33\"", "[4]", "[0,16]") "}", "tensor w: dtype F33 is not known"},
        {"{" W("32", "[4]", "[0,16]") "}", "tensor w: dtype (none) is not known"},
        {"{\"w\":{\"shape\":[4],\"data_offsets\":[0,16]}}", "tensor w: dtype (none)"},
        {"{" W("\"F32\"", "4", "[0,16]") "}", "tensor w: its shape is not a list of whole numbers"},
        {"{" W("\"F32\"", "[4.0]", "[0,16]") "}", "tensor w: its shape is not a list of whole numbers"},
        {"{" W("\"F32\"", "[-4]", "[0,16]") "}", "tensor w: its shape is not a list of whole numbers"},
        {"{" W("\"F32\"", "[1,1,1,1,1,1,1,1,4]", "[0,16]") "}", "tensor w: it has more than 8 dimensions"},
        {"{" W("\"F32\"", "[4294967296,4294967296,4]", "[0,16]") "}", "tensor w: its shape is too large"},
        {"{" W("\"F32\"", "[4611686018427387908]", "[0,16]") "}",
         "it has 16 bytes, but its shape has 4611686018427387908"},
        {"{" W("\"F32\"", "[99999999999999999999]", "[0,16]") "}",
         "tensor w: its shape is not a list of whole numbers"},
        {"{" W("\"F32\"", "[4]", "[0]") "}", "tensor w: its data_offsets are not two whole numbers"},
        {"{" W("\"F32\"", "[4]", "[0,16,0]") "}", "its data_offsets are not two whole numbers"},
        {"{" W("\"F32\"", "[4]", "[-16,0]") "}", "its data_offsets are not two whole numbers"},
        {"{" W("\"F32\"", "[4]", "[16,0]") "}", "its data_offsets are not two whole numbers"},
        {"{" W("\"F32\"", "[4]", "{}") "}", "its data_offsets are not two whole numbers"},
        {"{" W("\"F32\"", "[5]", "[0,20]") "}", "tensor w: its bytes 0 to 20 are not in the file, which has 16"},
        {"{" W("\"F32\"", "[4]", "[9223372036854775791,9223372036854775807]") "}", "are not in the file"},
        {"{" W("\"F32\"", "[3]", "[0,16]") "}", "it has 16 bytes, but its shape has 3 elements of F32 (4 bytes each)"},
        {"{" W("\"BF16\"", "[4]", "[0,16]") "}", "its shape has 4 elements of BF16 (2 bytes each)"},
        {"{" W("\"F32\"", "[2]", "[8,16]") "}", "bytes 0 to 8 before tensor w belong to none"},
        {"{" W("\"F32\"", "[2]", "[0,8]") "}", "8 bytes after the last tensor belong to none"},
        {"{" W("\"F32\"", "[3]", "[4,16]") "," V("[0,8]") "}",
         "tensors v and w overlap: one ends at byte 8, the other begins at 4"},
        {"{" W("\"F32\"", "[2]", "[0,8]") "," V("[0,8]") "}", "overlap"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mla_safetensors *file;
        write_file(f->path, cases[i].header, 16);
        check_error(f->context, mla_safetensors_open(f->context, &file, f->path), MLA_ERROR_FORMAT, cases[i].words);
        assert_null(file);
    }
    mla_safetensors *file;
    write_file(f->path, "{" W("\"F32\"", "[2]", "[8,16]") "," V("[0,8]") "}  ", 16);
    check_ok(f->context, mla_safetensors_open(f->context, &file, f->path));
    mla_safetensors_close(file);
}

static void other_types_are_listed_but_not_read(void **state) {
    fixture *f = *state;
    mla_safetensors *file;
    float out[2];
    write_file(f->path, "{" W("\"I64\"", "[2]", "[0,16]") "}", 16);
    check_ok(f->context, mla_safetensors_open(f->context, &file, f->path));
    assert_int_equal(mla_safetensors_at(file, 0)->type, MLA_SAFETENSORS_OTHER);
    check_error(f->context, mla_safetensors_read(file, mla_safetensors_at(file, 0), out), MLA_ERROR_FORMAT,
                "tensor w: numbers of type I64 are not supported");
    mla_safetensors_close(file);
}

static void lengths_are_checked(void **state) {
    fixture *f = *state;
    mla_safetensors *file;
    static const uint64_t lengths[] = {UINT64_MAX, 1ull << 63, INT64_MAX, INT64_MAX - 8, 100000001, 9, 8};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char bytes[16] = {0};
        memcpy(bytes, &lengths[i], 8);
        file_write(f->path, bytes, sizeof bytes);
        check_error(f->context, mla_safetensors_open(f->context, &file, f->path), MLA_ERROR_FORMAT,
                    lengths[i] > 8 ? "its header should have" : "not valid JSON");
    }
    file_write(f->path, "1234567", 7);
    check_error(f->context, mla_safetensors_open(f->context, &file, f->path), MLA_ERROR_FORMAT, "has 7 bytes, too few");
    file_write(f->path, "", 0);
    check_error(f->context, mla_safetensors_open(f->context, &file, f->path), MLA_ERROR_FORMAT, "has 0 bytes, too few");
    check_error(f->context, mla_safetensors_open(f->context, &file, "/nowhere"), MLA_ERROR_IO, "/nowhere");
    check_error(f->context, mla_safetensors_open(f->context, &file, "/dev/null"), MLA_ERROR_FORMAT,
                "not a regular file");
}

/* A file cut at any byte is refused. */
static void cuts_are_found(void **state) {
    fixture *f = *state;
    int64_t size;
    mla_safetensors *file;
    check_ok(f->context, mla_safetensors_write(f->context, f->path, MLA_SAFETENSORS_BF16, items, 1));
    char *bytes = file_read(f->path, &size);
    for (int64_t i = 0; i < size; i++) {
        file_write(f->path, bytes, i);
        check_error(f->context, mla_safetensors_open(f->context, &file, f->path), MLA_ERROR_FORMAT, f->path);
    }
    free(bytes);
}

/* ---- shards ---- */

static void models_are_cut_into_shards(void **state) {
    fixture *f = *state;
    mla_safetensors *file;
    fill();
    char *model = path_in(f->folder, "model.safetensors"),
         *third = path_in(f->folder, "model-00003-of-00003.safetensors"),
         *fourth = path_in(f->folder, "model-00004-of-00004.safetensors"),
         *index = path_in(f->folder, "model.safetensors.index.json");
    check_ok(f->context, mla_safetensors_write_model(f->context, f->folder, MLA_SAFETENSORS_F32, items, ITEMS, 1000));
    assert_true(file_exists(third) && file_exists(index) && !file_exists(fourth) && !file_exists(model));
    for (int i = 0; i < 2; i++) {
        check_ok(f->context, mla_safetensors_open(f->context, &file, i ? index : f->folder));
        assert_int_equal(mla_safetensors_count(file), ITEMS);
        for (int k = 0; k < ITEMS; k++)
            check_tensor(f->context, file, items[k].name, MLA_SAFETENSORS_F32, items[k].values);
        mla_safetensors_close(file);
    }
    check_ok(f->context,
             mla_safetensors_write_model(f->context, f->folder, MLA_SAFETENSORS_F16, items, ITEMS, 1000000));
    check_ok(f->context, mla_safetensors_open(f->context, &file, f->folder));
    check_tensor(f->context, file, "odd", MLA_SAFETENSORS_F16, values);
    mla_safetensors_close(file);
    free(model);
    free(third);
    free(fourth);
    free(index);
}

/* The index of a folder with the shards one (v and w) and two (x). */
static void wrong_indices_are_refused(void **state) {
    fixture *f = *state;
    static const struct {
        const char *index, *words;
        mla_status status;
    } cases[] = {
        {"{", "not valid JSON: line 1", MLA_ERROR_FORMAT},
        {"{}", "has no weight_map", MLA_ERROR_FORMAT},
        {"{\"weight_map\":[]}", "has no weight_map", MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":1}}", "tensor v: \"\" is not the name of a file beside it", MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":\"../one\"}}", "tensor v: \"../one\" is not the name", MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":\"..\"}}", "tensor v: \"..\" is not the name", MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":\"three\"}}", "shard ", MLA_ERROR_IO},
        {"{\"weight_map\":{\"v\":\"three\"}}", "three is missing; v is in it", MLA_ERROR_IO},
        {"{\"weight_map\":{\"v\":\"one\",\"v\":\"two\"}}", "tensor v is not in shard two", MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":\"one\",\"w\":\"one\",\"x\":\"two\",\"y\":\"two\"}}", "tensor y is not in shard two",
         MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":\"one\",\"w\":\"two\",\"x\":\"two\"}}",
         "tensor w should be in shard two, but is in one", MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":\"one\",\"x\":\"two\"}}", "does not list tensor w, which is in shard one",
         MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":\"one\",\"w\":\"one\",\"x\":\"twice\"}}", "tensor v is in two shards",
         MLA_ERROR_FORMAT},
        {"{\"weight_map\":{\"v\":\"one\",\"w\":\"one\",\"x\":\"cut\"}}",
         "cut: tensor x: its bytes 0 to 4 are not in the file", MLA_ERROR_FORMAT},
    };
    mla_safetensors *file;
    check_error(f->context, mla_safetensors_open(f->context, &file, f->folder), MLA_ERROR_IO,
                "has neither model.safetensors");
    char *index = path_in(f->folder, "model.safetensors.index.json");
    const mla_safetensors_item tensors[] = {{"w", 1, {1}, values}, {"v", 1, {1}, values}, {"x", 1, {1}, values}};
    const char *const names[] = {"one", "two", "twice", "cut"};
    char *paths[4];
    for (int i = 0; i < 4; i++) paths[i] = path_in(f->folder, names[i]);
    check_ok(f->context, mla_safetensors_write(f->context, paths[0], MLA_SAFETENSORS_F32, tensors, 2));
    check_ok(f->context, mla_safetensors_write(f->context, paths[1], MLA_SAFETENSORS_F32, tensors + 2, 1));
    check_ok(f->context, mla_safetensors_write(f->context, paths[2], MLA_SAFETENSORS_F32, tensors + 1, 2));
    int64_t size;
    char *bytes = file_read(paths[1], &size);
    file_write(paths[3], bytes, size - 1);
    free(bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file_write(index, cases[i].index, (int64_t)strlen(cases[i].index));
        check_error(f->context, mla_safetensors_open(f->context, &file, f->folder), cases[i].status, cases[i].words);
    }
    for (int i = 0; i < 4; i++) free(paths[i]);
    free(index);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void) {
    const struct CMUnitTest tests[] = {CASE(halves_go_there_and_back),     CASE(halves_are_what_the_standard_says),
                                       CASE(halves_round_to_nearest_even), CASE(written_files_read_back),
                                       CASE(headers_are_aligned),          CASE(refuses_to_write),
                                       CASE(wrong_headers_are_refused),    CASE(other_types_are_listed_but_not_read),
                                       CASE(lengths_are_checked),          CASE(cuts_are_found),
                                       CASE(models_are_cut_into_shards),   CASE(wrong_indices_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
