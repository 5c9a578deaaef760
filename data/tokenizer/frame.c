/* The post-processor of a tokenizer.json: which tokens stand before a text and behind it. */
#include "data/tokenizer/tokenizer_internal.h"

#include <jansson.h>
#include <string.h>

typedef struct {
    mla_context *context;
    const char *name; /* of the file */
    mla_tokenizer *tokenizer;
} frame_t;

static mla_status put(const frame_t *f, mla_id_list *list, const json_t *id) {
    const json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || value >= f->tokenizer->size || !f->tokenizer->tokens[value].bytes)
        return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: post_processor: an id is not that of a token", f->name);
    const mla_status status = mla_grow(f->context, &list->ids, &list->capacity, list->count + 1, sizeof *list->ids,
                                       "the tokens around a text");
    if (!status) list->ids[list->count++] = (int32_t)value;
    return status;
}

/* BertProcessing and RobertaProcessing: {"cls": ["<s>", 0], "sep": ["</s>", 2]}. */
static mla_status read_pair_of_tokens(const frame_t *f, const json_t *step) {
    const mla_status status = put(f, &f->tokenizer->before, json_array_get(json_object_get(step, "cls"), 1));
    return status ? status : put(f, &f->tokenizer->behind, json_array_get(json_object_get(step, "sep"), 1));
}

/* A special token of a template stands for some ids, most often one. */
static mla_status put_special(const frame_t *f, const json_t *step, const char *token, mla_id_list *list) {
    const json_t *entry = json_object_get(json_object_get(step, "special_tokens"), token);
    const json_t *ids = json_object_get(entry, "ids");
    mla_status status = MLA_OK;
    if (!json_is_array(ids))
        return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: post_processor: \"%.80s\" is not among its special_tokens",
                        f->name, token);
    for (size_t i = 0; i < json_array_size(ids) && !status; i++) status = put(f, list, json_array_get(ids, i));
    return status;
}

/* "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, ...] */
static mla_status read_template(const frame_t *f, const json_t *step) {
    const json_t *single = json_object_get(step, "single"), *part;
    mla_tokenizer *t = f->tokenizer;
    size_t i, texts = 0;
    json_array_foreach(single, i, part) {
        const char *token = json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        const mla_status status = token ? put_special(f, step, token, texts ? &t->behind : &t->before) : MLA_OK;
        if (status) return status;
        texts += !token;
    }
    if (texts == 1) return MLA_OK;
    return mla_fail(f->context, MLA_ERROR_FORMAT,
                    "%s: post_processor: a template with the text once is needed, not %zu times", f->name, texts);
}

static mla_status read_step(const frame_t *f, const json_t *step) {
    const char *type = json_string_value(json_object_get(step, "type"));
    if (!type) type = "";
    if (!strcmp(type, "ByteLevel")) return MLA_OK;                /* it trims offsets */
    if (f->tokenizer->before.count || f->tokenizer->behind.count) /* `tokenizers` reads what there is as a pair then */
        return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: post_processor: two steps that put tokens are not supported",
                        f->name);
    if (!strcmp(type, "TemplateProcessing")) return read_template(f, step);
    if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing")) return read_pair_of_tokens(f, step);
    return mla_fail(f->context, MLA_ERROR_FORMAT, "%s: post_processor \"%.40s\" is not supported", f->name, type);
}

mla_status mla_tokenizer_read_frame(mla_context *context, mla_tokenizer *tokenizer, const json_t *post_processor,
                                    const char *name) {
    const frame_t f = {context, name, tokenizer};
    const char *type = json_string_value(json_object_get(post_processor, "type"));
    const json_t *steps = json_object_get(post_processor, "processors"), *step;
    mla_status status = MLA_OK;
    size_t i;
    if (!post_processor || json_is_null(post_processor)) return MLA_OK;
    if (!type || strcmp(type, "Sequence")) return read_step(&f, post_processor);
    json_array_foreach(steps, i, step) if (!status) status = read_step(&f, step);
    return status;
}

mla_frame mla_tokenizer_frame(const mla_tokenizer *t) {
    return (mla_frame){t->before.ids, t->behind.ids, t->before.count, t->behind.count};
}
