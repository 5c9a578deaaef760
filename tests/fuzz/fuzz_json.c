/* Any bytes as JSON: refused, or events that fit each other and the bytes, the same tree again from what is written of
 * it, and a field that is found or named. */
#include "autograd/json/reader.h"
#include "autograd/json/tree.h"
#include "data/text/json_field.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void check_event(const mla_json *j, int64_t depth) {
    const int64_t change = (j->event == MLA_JSON_OBJECT || j->event == MLA_JSON_ARRAY) -
                           (j->event == MLA_JSON_OBJECT_END || j->event == MLA_JSON_ARRAY_END);
    if (j->depth != depth + change || j->at > j->length) abort();
    if (j->event < MLA_JSON_KEY) return;
    if (j->text < j->bytes || j->size < 0 || j->text + j->size > j->bytes + j->length) abort();
    char *plain = malloc((size_t)j->size + 1);
    if (plain && j->escaped && mla_json_unescape(j->text, j->size, plain) > j->size) abort();
    free(plain);
}

/* Whether it is JSON; *deepest: how deep. */
static bool walk(const char *bytes, int64_t length, int64_t *deepest) {
    mla_json j;
    int64_t line, column;
    mla_json_begin(&j, bytes, length);
    for (int64_t depth = 0; mla_json_next(&j) > MLA_JSON_END; depth = j.depth) {
        check_event(&j, depth);
        if (j.depth > *deepest) *deepest = j.depth;
    }
    mla_json_place(&j, &line, &column);
    if (j.event == MLA_JSON_WRONG && (!j.problem[0] || line < 1 || column < 1)) abort();
    if (j.event == MLA_JSON_END && (j.depth || j.at != length)) abort();
    const bool valid = j.event == MLA_JSON_END;
    mla_json_free(&j);
    return valid;
}

static void check_tree(mla_context *context, const char *bytes, int64_t length, bool valid) {
    json_t *tree, *again;
    const mla_status status = mla_json_read(context, "", bytes, length, MLA_JSON_ZEROS, &tree);
    if ((status == MLA_OK) != valid || status != mla_error_status(context)) abort();
    mla_clear_error(context);
    if (status) return;
    char *text = json_dumps(tree, JSON_ENCODE_ANY);
    if (!text || mla_json_read(context, "", text, (int64_t)strlen(text), MLA_JSON_ZEROS, &again)) abort();
    if (!json_equal(tree, again)) abort();
    json_decref(again);
    json_decref(tree);
    free(text);
}

static void check_field(mla_context *context, const char *bytes, int64_t length, bool valid) {
    mla_json_field field = {0};
    const char *text;
    int64_t size = -1;
    const mla_status status = mla_json_field_text(context, &field, "f:1", "a.b", bytes, length, &text, &size);
    if (status != mla_error_status(context) || (!status && (!valid || size < 0 || size > length))) abort();
    if (!status && size) (void)*(const volatile char *)(text + size - 1);
    mla_clear_error(context);
    mla_json_field_free(&field);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mla_context *context;
    int64_t deepest = 0;
    char *bytes = malloc(size); /* of just this size: the sanitizer sees the first byte too many */
    if ((size && !bytes) || mla_context_create(&context, NULL)) return 0;
    if (size) memcpy(bytes, data, size);
    const bool valid = walk(bytes, (int64_t)size, &deepest);
    check_tree(context, bytes, (int64_t)size, valid && deepest <= MLA_JSON_TREE_DEEPEST);
    check_field(context, bytes, (int64_t)size, valid);
    mla_context_destroy(context);
    free(bytes);
    return 0;
}
