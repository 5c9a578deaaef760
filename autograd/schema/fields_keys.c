/* Keys of a table: found by name or alias, and what was meant by one that is in none. */
#include "autograd/schema/fields.h"
#include "autograd/schema/nearest.h"

#include <stdio.h>
#include <string.h>

enum { MAX_KEY = 128 };

static const mla_field *at(const mla_field_table *table, int i) { return &table->fields[i]; }

static bool is_key(const mla_field *field, const char *key, size_t length) {
    return (strlen(field->key) == length && !strncmp(field->key, key, length)) ||
           (field->alias && strlen(field->alias) == length && !strncmp(field->alias, key, length));
}

const mla_field *mla_fields_find(const mla_field_table *table, void *object, const char *key, void **member) {
    const size_t length = strcspn(key, ".");
    for (int i = 0; i < table->count; i++) {
        const mla_field *field = at(table, i);
        if (!is_key(field, key, length)) continue;
        *member = (char *)object + field->offset;
        if (!key[length]) return field;
        return field->type == MLA_FIELD_GROUP ? mla_fields_find(field->group, *member, key + length + 1, member) : NULL;
    }
    return NULL;
}

/* The last part of a dotted key; *prefix is the length of what stands before it, dot included. */
static const char *last_part(const char *key, size_t *prefix) {
    const char *dot = strrchr(key, '.');
    *prefix = dot ? (size_t)(dot + 1 - key) : 0;
    return key + *prefix;
}

typedef struct {
    const char *word; /* the dotted key that nobody knows */
    char best[MAX_KEY];
    int distance;
} search;

/* A key of the same group is nearer by one than the same key elsewhere. */
static void offer(search *s, const char *candidate) {
    size_t prefix, word_prefix;
    const char *last = last_part(candidate, &prefix), *word = last_part(s->word, &word_prefix);
    int distance = mla_word_slip(word, last);
    if (distance < 0) return;
    distance += prefix != word_prefix || strncmp(candidate, s->word, prefix);
    if (s->best[0] && s->distance <= distance) return;
    snprintf(s->best, sizeof s->best, "%s", candidate);
    s->distance = distance;
}

static void offer_all(search *s, const char *prefix, const mla_field_table *table) {
    for (int i = 0; i < table->count; i++) {
        char key[MAX_KEY];
        snprintf(key, sizeof key, "%s%s", prefix, at(table, i)->key);
        offer(s, key);
        if (at(table, i)->type != MLA_FIELD_GROUP) continue;
        snprintf(key, sizeof key, "%s%s.", prefix, at(table, i)->key);
        offer_all(s, key, at(table, i)->group);
    }
}

/* The table that holds the key's siblings: that of its group, or the whole where the group is unknown too. */
static const mla_field_table *siblings(const mla_field_table *table, const char *key) {
    const char *dot = strchr(key, '.');
    for (int i = 0; dot && i < table->count; i++)
        if (at(table, i)->group && is_key(at(table, i), key, (size_t)(dot - key)))
            return siblings(at(table, i)->group, dot + 1);
    return table;
}

static void join_keys(const mla_field_table *table, size_t size, char *out) {
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < table->count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", at(table, i)->key);
}

mla_status mla_fields_unknown(mla_context *context, const char *where, const mla_field_table *table, const char *key) {
    search s = {.word = key};
    offer_all(&s, "", table);
    if (s.best[0])
        return mla_fail(context, MLA_ERROR_ARGUMENT, "%sunknown key \"%s\"; did you mean \"%s\"?", where, key, s.best);
    char keys[1024];
    join_keys(siblings(table, key), sizeof keys, keys);
    return mla_fail(context, MLA_ERROR_ARGUMENT, "%sunknown key \"%s\"; known here are: %s", where, key, keys);
}
