/* A struct described by a field table (autograd/schema/fields.h) from and to YAML. yaml.c is the only file that
 * includes libyaml's yaml.h. */
#ifndef MLA_AUTOGRAD_SCHEMA_YAML_H
#define MLA_AUTOGRAD_SCHEMA_YAML_H

#include "autograd/schema/fields.h"

/* Sets the members that the file names, in its order: a group is a mapping, a list a sequence or one text, any other
 * value a text that mla_fields_set reads; null, ~ or, where no text is expected, nothing leave a member as it is, and
 * a group may be empty. The other
 * members stay as they are; after an error, some may be set. The file is one document without anchors and aliases, of
 * at most 1 MiB. Errors name the file, the line and the key, for unknown ones the nearest. MLA_ERROR_IO if the file
 * cannot be read, MLA_ERROR_FORMAT if it is no such YAML, MLA_ERROR_ARGUMENT for the rest. */
mla_status mla_yaml_load(mla_context *context, const char *path, const mla_field_table *table, void *object);
/* The same from `length` bytes of text, with `path` for messages. */
mla_status mla_yaml_parse(mla_context *context, const char *path, const char *text, int64_t length,
                          const mla_field_table *table, void *object);

/* Writes all members but strings that are NULL and empty lists, so that mla_yaml_load reads the same; wholly or, after
 * an error, not at all. MLA_ERROR_ARGUMENT for text that is not UTF-8. */
mla_status mla_yaml_save(mla_context *context, const char *path, const mla_field_table *table, const void *object);

#endif
