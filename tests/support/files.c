#include "tests/support/files.h"

#include "tests/support/check.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

char *folder_create(void) {
    char *folder = strdup("/tmp/mla-test-XXXXXX");
    assert_non_null(folder);
    assert_non_null(mkdtemp(folder));
    return folder;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)type, (void)at;
    return remove(path);
}

void folder_remove(char *folder) {
    assert_int_equal(nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(folder);
}

char *path_in(const char *folder, const char *name) {
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

void file_write(const char *path, const void *data, int64_t bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(bytes ? fwrite(data, 1, (size_t)bytes, file) : 0, bytes);
    assert_int_equal(fclose(file), 0);
}

char *file_read(const char *path, int64_t *bytes) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = ftell(file);
    rewind(file);
    char *data = calloc(1, (size_t)*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)*bytes, file), *bytes);
    fclose(file);
    return data;
}

bool file_exists(const char *path) { return !access(path, F_OK); }

char *disk_create(const char *folder, int kilobytes) {
    char *disk = path_in(folder, "disk"), options[32];
    assert_int_equal(mkdir(disk, 0700), 0);
    snprintf(options, sizeof options, "size=%dk", kilobytes);
    if (!mount("tmpfs", disk, "tmpfs", 0, options)) return disk;
    print_message("skipped: no right to mount a small disk (%s)\n", strerror(errno));
    free(disk);
    return NULL;
}

void disk_remove(char *disk) {
    assert_int_equal(umount(disk), 0);
    free(disk);
}

bool disk_fill(const char *disk, int kilobytes) {
    char *path = path_in(disk, "ballast");
    int descriptor = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    assert_true(descriptor >= 0);
    int failed = kilobytes ? posix_fallocate(descriptor, 0, kilobytes * 1024L) : 0;
    close(descriptor);
    free(path);
    return !failed;
}

char *yaml_folder, *yaml_path;

int create_context_and_yaml(void **state) {
    yaml_folder = folder_create();
    yaml_path = path_in(yaml_folder, "r.yaml");
    return create_context(state);
}

int destroy_context_and_yaml(void **state) {
    folder_remove(yaml_folder);
    free(yaml_path);
    return destroy_context(state);
}
