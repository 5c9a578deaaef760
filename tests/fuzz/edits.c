#include "tests/fuzz/edits.h"
#include "data/formats/h5_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_NAMES = 256, MOST_EDITS = 8, MOST_ELEMENTS = 4096 };

static char path[] = "/dev/shm/mla-fuzz-XXXXXX";
static char *valid;
static size_t valid_size;
static char names[MOST_NAMES][MLA_H5_MAX_NAME]; /* of its datasets */
static int name_count;

static void remove_file(void) { remove(path); }

const char *fuzz_path(void) {
    static bool made;
    if (!made && (mkstemp(path) < 0 || atexit(remove_file))) abort();
    made = true;
    return path;
}

/* ---- the valid file */

static herr_t keep_name(hid_t group, const char *name, const H5O_info_t *info, void *user) {
    (void)group;
    (void)user;
    if (info->type == H5O_TYPE_DATASET && name_count < MOST_NAMES)
        snprintf(names[name_count++], MLA_H5_MAX_NAME, "/%s", name);
    return 0;
}

void fuzz_keep_valid(void) {
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) || !(valid = malloc((size_t)info.st_size))) abort();
    valid_size = (size_t)info.st_size;
    if (fread(valid, 1, valid_size, file) != valid_size || fclose(file)) abort();
    const hid_t id = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (id < 0 || H5Ovisit(id, H5_INDEX_NAME, H5_ITER_INC, keep_name, NULL) < 0 || H5Fclose(id) < 0) abort();
}

/* ---- edits */

typedef struct {
    const uint8_t *data;
    size_t size;
} input;

static unsigned take(input *in) {
    if (!in->size) return 0;
    in->size--;
    return *in->data++;
}

static uint64_t take_number(input *in) {
    static const uint64_t odd[] = {0,          1,           2,          3,         0xff,       0x7fffffff,
                                   0xffffffff, 0x100000000, 0x10000000, INT64_MAX, 1ull << 63, UINT64_MAX};
    const unsigned which = take(in);
    if (which < 12) return odd[which];
    uint64_t number = 0;
    for (int i = 0; i < 8; i++) number |= (uint64_t)take(in) << 8 * i;
    return which < 128 ? number : number & 0xff;
}

static const char *take_name(input *in) { return names[take(in) % (unsigned)name_count]; }

static void change_element(hid_t file, input *in) {
    const hid_t set = H5Dopen2(file, take_name(in), H5P_DEFAULT);
    if (set < 0) return;
    const hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    const hssize_t count = H5Sget_simple_extent_npoints(space);
    const size_t size = H5Tget_size(type);
    const bool few = count > 0 && count <= MOST_ELEMENTS && size <= MOST_ELEMENTS;
    char *all = few && !H5Tis_variable_str(type) /* pointers */ ? calloc((size_t)count, size) : NULL;
    if (all && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0) {
        for (int i = 0; i < 2; i++) {
            const uint64_t at = take_number(in) % (uint64_t)count, value = take_number(in);
            const size_t within = H5Tget_class(type) == H5T_STRING ? take_number(in) % size : 0;
            memcpy(all + at * size + within, &value, within || size < 8 ? 1 : 8);
        }
        H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all);
    }
    free(all);
    H5Sclose(space);
    H5Tclose(type);
    H5Dclose(set);
}

static hid_t take_type(input *in) {
    const unsigned which = take(in) % 12;
    if (which < MLA_H5_TEXT) return mla_h5_type_id((mla_h5_type)which);
    static const uint64_t sizes[] = {1, 7, 4096, 1u << 30};
    const hid_t type = H5Tcopy(which == 7 ? H5T_STD_I64BE : which == 8 ? H5T_IEEE_F32BE : H5T_C_S1);
    if (which > 8) H5Tset_size(type, which == 9 ? H5T_VARIABLE : sizes[take(in) % 4]);
    return type;
}

static hid_t take_layout(input *in, int ndim) {
    const hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t ones[] = {1, 1, 1, 1, 1, 1};
    const unsigned which = take(in) % 5;
    if (which == 1) H5Pset_layout(plist, H5D_COMPACT);
    if (which == 2 && ndim) H5Pset_chunk(plist, ndim, ones);
    if (which == 3) H5Pset_alloc_time(plist, H5D_ALLOC_TIME_EARLY);
    if (which == 4 && ndim) H5Pset_chunk(plist, ndim, ones), H5Pset_deflate(plist, 1);
    return plist;
}

/* Another dataset of that name, of any shape and type. Its room is only taken where that is little. */
static void replace_dataset(hid_t file, input *in) {
    const char *name = take_name(in);
    hsize_t shape[6];
    const int ndim = (int)(take(in) % 7);
    const hid_t type = take_type(in);
    bool small = H5Tget_size(type) <= MOST_ELEMENTS;
    for (int i = 0; i < ndim; i++) {
        shape[i] = take_number(in) & INT64_MAX;
        small &= shape[i] < 20;
    }
    const hid_t space = ndim ? H5Screate_simple(ndim, shape, NULL) : H5Screate(take(in) & 1 ? H5S_NULL : H5S_SCALAR);
    const hid_t plist = small ? take_layout(in, ndim) : H5Pcreate(H5P_DATASET_CREATE);
    H5Ldelete(file, name, H5P_DEFAULT);
    const hid_t set = space < 0 ? -1 : H5Dcreate2(file, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    if (set >= 0) H5Dclose(set);
    if (space >= 0) H5Sclose(space);
    H5Pclose(plist);
    H5Tclose(type);
}

static void write_text(hid_t file, input *in) {
    const char *name = take_name(in);
    char text[300] = "";
    size_t length = 0;
    for (const unsigned wanted = take(in); length < wanted && in->size;) text[length++] = (char)take(in);
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, length + 1);
    H5Ldelete(file, name, H5P_DEFAULT);
    const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (set >= 0) H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text), H5Dclose(set);
    H5Sclose(space);
    H5Tclose(type);
}

static void change_name(hid_t file, input *in) {
    const char *name = take_name(in), *other = take_name(in);
    const unsigned how = take(in) % 6;
    char longer[MLA_H5_MAX_NAME + 64];
    snprintf(longer, sizeof longer, "%s%.*s", other, (int)take(in),
             "/%n/../x\xff\n%s/yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy");
    const hid_t make = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(make, 1);
    if (how == 0) H5Ldelete(file, name, H5P_DEFAULT);
    if (how == 1) H5Lmove(file, name, file, longer, make, H5P_DEFAULT);
    if (how == 2) H5Lcreate_hard(file, name, file, longer, make, H5P_DEFAULT);
    if (how == 3) H5Lcreate_soft(name, file, longer, make, H5P_DEFAULT);
    if (how == 4) H5Ldelete(file, name, H5P_DEFAULT), H5Gclose(H5Gcreate2(file, name, make, H5P_DEFAULT, H5P_DEFAULT));
    if (how == 5) H5Ldelete(file, other, H5P_DEFAULT), H5Lcreate_hard(file, name, file, other, make, H5P_DEFAULT);
    H5Pclose(make);
}

static void add_attribute(hid_t file, input *in) {
    const hid_t set = H5Oopen(file, take_name(in), H5P_DEFAULT), space = H5Screate(H5S_SCALAR);
    const uint64_t value = take_number(in);
    const hid_t attribute = set < 0 ? -1 : H5Acreate2(set, "CLASS", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) H5Awrite(attribute, H5T_STD_I64LE, &value), H5Aclose(attribute);
    H5Sclose(space);
    if (set >= 0) H5Oclose(set);
}

static void edit_all(input in) {
    static void (*const edits[])(hid_t, input *) = {change_element, change_element, replace_dataset,
                                                    write_text,     change_name,    add_attribute};
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    if (file < 0) abort();
    for (int i = 0; i < MOST_EDITS && in.size; i++) edits[take(&in) % 6](file, &in);
    if (H5Fclose(file) < 0) abort();
}

/* ---- the seal */

/* A plain file is what stands behind the block of the seal. */
static void take_seal_off(void) {
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info)) abort();
    const size_t size = (size_t)info.st_size - MLA_SEAL_BYTES;
    char *all = malloc(size);
    if (!all || fseek(file, MLA_SEAL_BYTES, SEEK_SET) || fread(all, 1, size, file) != size || fclose(file)) abort();
    file = fopen(path, "wb");
    if (!file || fwrite(all, 1, size, file) != size || fclose(file)) abort();
    free(all);
}

void fuzz_edit(mla_context *context, const uint8_t *data, size_t size, bool sealed) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(valid, 1, valid_size, file) != valid_size || fclose(file)) abort();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    edit_all((input){data, size});
    if (!sealed) {
        take_seal_off();
        return;
    }
    const int descriptor = open(path, O_RDWR);
    if (descriptor < 0 || mla_seal_write(context, descriptor, path, (mla_seal_range){.offset = MLA_SEAL_BYTES}))
        abort();
    close(descriptor);
}
