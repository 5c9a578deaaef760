/* A struct described by a field table (autograd/schema/fields.h) from and to YAML. The only file that includes
 * cyaml.h. */
#ifndef MLA_AUTOGRAD_SCHEMA_YAML_H
#define MLA_AUTOGRAD_SCHEMA_YAML_H

#include "autograd/schema/fields.h"

/* Sets the members that the file names; the others stay as they are. Values pass through mla_fields_set.
 * Errors name the file and the key, for unknown ones the nearest, and the line where it is known.
 * MLA_ERROR_IO if the file cannot be read, MLA_ERROR_FORMAT if it is no YAML, MLA_ERROR_ARGUMENT for the
 * rest. */
mla_status mla_yaml_load(mla_context *context, const char *path, const mla_field_table *table, void *object);

/* Writes all members but strings that are NULL and empty lists; wholly or, after an error, not at all. */
mla_status mla_yaml_save(mla_context *context, const char *path, const mla_field_table *table,
                         const void *object);

#endif
