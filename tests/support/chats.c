#include "tests/support/chats.h"
#include "data/text/chat_encoder.h"
#include "data/tokenizer/bpe.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The byte tokenizer with more tokens, which get the ids from 257 on. */
mla_tokenizer *chat_tokenizer(mla_context *context, const char *const *tokens) {
    mla_tokenizer *bytes;
    mla_tokenizer *out;
    check_ok(context, mla_tokenizer_bytes(context, &bytes));
    char *text = mla_tokenizer_json(context, bytes);
    json_t *json = json_loads(text, 0, NULL), *added = json_object_get(json, "added_tokens");
    mla_tokenizer_destroy(bytes);
    free(text);
    assert_non_null(added);
    for (int id = 257; *tokens; id++, tokens++)
        json_array_append_new(added,
                              json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", id, "content", *tokens, "single_word", 0,
                                        "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
    text = json_dumps(json, 0);
    check_ok(context, mla_tokenizer_parse(context, &out, text, (int64_t)strlen(text)));
    free(text);
    json_decref(json);
    return out;
}

char *chat_text(mla_context *context, const mla_tokenizer *tokenizer, mla_chat_template template_, const char *own,
                const char *line) {
    mla_chat_encoder *encoder;
    mla_chat chat = {0};
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    char *out = calloc(1, 4096);
    bool open = false;
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), NULL, &chat));
    check_ok(context, mla_chat_encoder_create(context, &encoder, tokenizer,
                                              &(mla_chat_options){.template_ = template_, .own = own}));
    check_ok(context, mla_chat_encode(context, encoder, "a:1", &chat, &ids, &answers));
    assert_int_equal(answers.count, ids.count + 1);
    for (int64_t i = 0; i <= ids.count; i++) {
        const char *token = "|";
        int64_t length = 1;
        if (i < ids.count) check_ok(context, mla_tokenizer_token(context, tokenizer, ids.ids[i], &token, &length));
        if (answers.bytes[i] != open) strcat(out, open ? "]" : "[");
        open = answers.bytes[i];
        strncat(out, token, (size_t)length);
    }
    if (open) strcat(out, "]");
    mla_chat_encoder_destroy(encoder);
    mla_chat_free(&chat);
    free(ids.ids);
    free(answers.bytes);
    return out;
}

void check_render(mla_context *context, const mla_tokenizer *tokenizer, mla_chat_template template_, const char *line,
                  const char *expected) {
    char *text = chat_text(context, tokenizer, template_, NULL, line);
    assert_string_equal(text, expected);
    free(text);
}

const char chat_two_turns[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \" Hi \"},"
    " {\"role\": \"assistant\", \"content\": \" Hello \"}, {\"role\": \"user\", \"content\": \"Bye\"},"
    " {\"role\": \"assistant\", \"content\": \"Go!\"}], \"id\": 7}";

const char *const chatml_tokens[] = {"<|im_start|>", "<|im_end|>", NULL};
