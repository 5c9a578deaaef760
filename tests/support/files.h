/* A folder of a test's own, and files in it as plain bytes. All of these end the test on a failure. */
#ifndef MLA_TESTS_SUPPORT_FILES_H
#define MLA_TESTS_SUPPORT_FILES_H

#include <stdbool.h>
#include <stdint.h>

/* A new empty folder; the name is the caller's to free. */
char *folder_create(void);
/* Removes it with all that is in it, and frees the name. */
void folder_remove(char *folder);
/* "folder/name", the caller's to free. */
char *path_in(const char *folder, const char *name);

/* For cmocka_run_group_tests: the state of the tests is a context (tests/support/check.h), and beside it stands such a
 * folder with the path of a file r.yaml in it. */
extern char *yaml_folder, *yaml_path;
int create_context_and_yaml(void **state);
int destroy_context_and_yaml(void **state);

void file_write(const char *path, const void *data, int64_t bytes);
/* The whole file, with a zero byte after it; the caller's to free. */
char *file_read(const char *path, int64_t *bytes);
bool file_exists(const char *path);

/* A new disk of `kilobytes` at folder/disk; the name is the caller's to hand to disk_remove. NULL, and a
 * message, where there is no right to mount one: skip the test then. */
char *disk_create(const char *folder, int kilobytes);
void disk_remove(char *disk);
/* Takes `kilobytes` of a disk away; false if it has less. */
bool disk_fill(const char *disk, int kilobytes);

#endif
