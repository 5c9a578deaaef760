/* tokenizer.json, written: from what training found to the text that tokenizer_json.c and Hugging Face's
 * `tokenizers` read. */
#include "autograd/json/tree.h"
#include "data/tokenizer/byte_alphabet.h"
#include "data/tokenizer/tokenizer_internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Everything but the pattern, the vocabulary and the merges. */
static const char frame[] =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null,"
    " \"added_tokens\": [{\"id\": 256, \"content\": \"<|endoftext|>\", \"single_word\": false, \"lstrip\": "
    "false,"
    "                     \"rstrip\": false, \"normalized\": false, \"special\": true}],"
    " \"normalizer\": null,"
    " \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
    "     {\"type\": \"Split\", \"pattern\": {}, \"behavior\": \"Isolated\", \"invert\": false},"
    "     {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": "
    "false}]},"
    " \"post_processor\": null,"
    " \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true,"
    "               \"use_regex\": false},"
    " \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": "
    "null,"
    "             \"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false,"
    "             \"ignore_merges\": false, \"vocab\": {}, \"merges\": []}}";

typedef struct {
    const mla_tokenizer_plan *plan;
    mla_byte_alphabet alphabet;
    char *left, *right; /* room for the written form of any token, twice */
} writer_t;

static const char *write_token(const writer_t *w, char *out, uint64_t id) {
    mla_byte_alphabet_write(&w->alphabet, out, w->plan->tokens[id].bytes, w->plan->tokens[id].length);
    return out;
}

/* jansson reports a lack of memory as -1, also for an argument that is NULL. */
static int fill_in(const writer_t *w, json_t *root) {
    json_t *model = json_object_get(root, "model");
    json_t *vocabulary = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    json_t *steps = json_object_get(json_object_get(root, "pre_tokenizer"), "pretokenizers");
    json_t *pattern = json_object_get(json_array_get(steps, 0), "pattern");
    int failed = json_object_set_new(pattern, "Regex", json_string(w->plan->pattern));
    for (int32_t id = 0; id < w->plan->size && !failed; id++)
        failed = json_object_set_new(vocabulary, write_token(w, w->left, (uint64_t)id), json_integer(id));
    for (int64_t i = 0; i < w->plan->merge_count && !failed; i++)
        failed = json_array_append_new(merges, json_pack("s++", write_token(w, w->left, w->plan->merges[i] >> 32), " ",
                                                         write_token(w, w->right, (uint32_t)w->plan->merges[i])));
    return failed;
}

static int64_t longest_token(const mla_tokenizer_plan *plan) {
    int64_t longest = 0;
    for (int32_t id = 0; id < plan->size; id++)
        if (plan->tokens[id].length > longest) longest = plan->tokens[id].length;
    return longest;
}

mla_status mla_tokenizer_from_plan(mla_context *context, mla_tokenizer **out, const mla_tokenizer_plan *plan) {
    const int64_t room = 2 * longest_token(plan) + 1;
    writer_t w = {.plan = plan, .left = mla_alloc(context, 2 * room, 1, "writing tokens")};
    mla_status status = MLA_ERROR_MEMORY;
    json_t *root = NULL;
    char *json = NULL;
    *out = NULL;
    if (!w.left) goto done;
    w.right = w.left + room;
    mla_byte_alphabet_make(&w.alphabet);
    status = mla_json_parse(context, "", frame, &root);
    if (root && !fill_in(&w, root)) json = json_dumps(root, JSON_COMPACT);
    status = json ? mla_tokenizer_parse(context, out, json, (int64_t)strlen(json))
                  : mla_fail(context, MLA_ERROR_MEMORY, "no memory for the tokenizer's JSON");
done:
    json_decref(root);
    free(json);
    free(w.left);
    return status;
}
