/* What data/formats/h5.c (opening, reading) and data/formats/h5_write.c share; not for others. The only file that
 * includes hdf5.h. */
#ifndef MLA_DATA_FORMATS_H5_INTERNAL_H
#define MLA_DATA_FORMATS_H5_INTERNAL_H

#define H5_USE_18_API /* one interface from HDF5 1.10 to 2.0 */
#include "data/formats/h5.h"
#include "data/formats/seal.h"

#include <hdf5.h>
#include <xxhash.h>

typedef struct {
    char name[MLA_H5_MAX_NAME];
    mla_seal_range range;
} mla_h5_entry;

struct mla_h5_file {
    mla_context *context;
    char *path;
    int descriptor;
    hid_t id;
    bool sealed; /* of a reader's file */
    /* A reader's whole file, once mla_h5_map was called. */
    void *map;
    int64_t bytes;
    /* A writer's: the name until the commit (NULL in a reader), the first failure, the datasets so far, ...
     */
    char *temporary;
    mla_step_hook hook;
    mla_status status;
    mla_h5_entry *entries;
    int64_t count, capacity;
    int64_t reserved; /* bytes of the file that have their place on the disk */
    /* ... and the dataset being written (negative: none), its type, and how much of it is there. */
    hid_t dataset, type;
    mla_h5_info info;
    int64_t rows;
    XXH3_state_t *hash;
};

/* HDF5 knows of threads only where it was built so (Debian's was, others were not): of all calls to it in the process,
 * one works at a time. A declaration of MLA_H5_ALONE waits for its turn, which lasts to the end of the block; such
 * blocks may be nested. */
int mla_h5_take_turn(void);
void mla_h5_end_turn(const int *turn);
#define MLA_H5_ALONE const int turn __attribute__((cleanup(mla_h5_end_turn))) = mla_h5_take_turn()

/* *out may be a file even after an error: close it. */
mla_status mla_h5_start(mla_context *context, mla_h5_file **out, const char *path);
/* File access properties, to be closed. */
hid_t mla_h5_access(void);
mla_status mla_h5_open_id(mla_h5_file *file, const char *path);
/* Fails with the innermost words of HDF5's error stack. */
mla_status mla_h5_failed(mla_h5_file *file, const char *action, const char *name);
mla_status mla_h5_system_failed(mla_h5_file *file, const char *action, const char *path);

/* A new HDF5 type for all but text and others, to be closed. */
hid_t mla_h5_type_id(mla_h5_type type);
/* Bytes of a dataset, or -1 if it is none or its bytes do not fit an int64_t. */
int64_t mla_h5_bytes(mla_h5_type type, int ndim, const int64_t *shape);
hid_t mla_h5_space(int ndim, const int64_t *shape);
/* The space of a piece of `rows` rows, and those rows in the space of the whole dataset. */
hid_t mla_h5_rows_space(const mla_h5_info *info, int64_t rows);
hid_t mla_h5_rows_select(const mla_h5_info *info, int64_t first, int64_t rows);
/* Where a dataset's bytes are in the file, or -1 if they are in no one place. */
int64_t mla_h5_offset(hid_t dataset);

#endif
