/* Conversations rendered by the templates that have a name, and marked where an answer is. */
#include "data/text/chat_encoder.h"
#include "data/tokenizer/bpe.h"
#include "tests/support/chats.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mla_tokenizer *bytes;

static const char *const qwen3_tokens[] = {"<|im_start|>", "<|im_end|>", "<think>", "</think>", NULL};
static const char *const llama3_tokens[] = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                                            "<|eot_id|>", NULL};

static void templates_render(void **state) {
    mla_context *context = *state;
    check_render(context, bytes, MLA_CHAT_PLAIN, chat_two_turns,
                 "Be brief.\n\nUser:  Hi \n\nAssistant:[  Hello <|endoftext|>]"
                 "User: Bye\n\nAssistant:[ Go!|]");
    check_render(context, bytes, MLA_CHAT_PLAIN, "{\"prompt\": \"2+2?\", \"completion\": \"4\"}",
                 "User: 2+2?\n\nAssistant:[ 4|]");
    mla_tokenizer *chatml = chat_tokenizer(context, chatml_tokens), *llama3 = chat_tokenizer(context, llama3_tokens);
    check_render(context, chatml, MLA_CHAT_CHATML, chat_two_turns,
                 "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n"
                 "[ Hello <|im_end|>]\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n[Go!<|im_end|>]\n|");
    check_render(context, llama3, MLA_CHAT_LLAMA3, chat_two_turns,
                 "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
                 "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                 "<|start_header_id|>assistant<|end_header_id|>\n\n[Hello<|eot_id|>]"
                 "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
                 "<|start_header_id|>assistant<|end_header_id|>\n\n[Go!<|eot_id|>]|");
    mla_tokenizer_destroy(chatml);
    mla_tokenizer_destroy(llama3);
}

static void conversations_may_begin_with_the_templates_own_message(void **state) {
    mla_context *context = *state;
    mla_tokenizer *chatml = chat_tokenizer(context, chatml_tokens);
    const char line[] = "{\"prompt\": \"Hi\", \"completion\": \"Ho\"}";
    const char after[] = "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[Ho<|im_end|>]\n|";
    static const struct {
        mla_chat_template template_;
        const char *system;
    } cases[] = {{MLA_CHAT_QWEN2, "You are a helpful assistant."},
                 {MLA_CHAT_QWEN2_5, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
                 {MLA_CHAT_SMOLLM2, "You are a helpful AI assistant named SmolLM, trained by Hugging Face"}};
    for (int i = 0; i < 3; i++) {
        char expected[512];
        snprintf(expected, sizeof expected, "<|im_start|>system\n%s%s", cases[i].system, after);
        check_render(context, chatml, cases[i].template_, line, expected);
        char *own = chat_text(context, chatml, cases[i].template_, NULL, chat_two_turns);
        check_render(context, chatml, MLA_CHAT_CHATML, chat_two_turns, own);
        free(own);
    }
    mla_tokenizer_destroy(chatml);
}

static void llamas_system_message_has_dates(void **state) {
    mla_tokenizer *llama3 = chat_tokenizer(*state, llama3_tokens);
    check_render(
        *state, llama3, MLA_CHAT_LLAMA3_1, "{\"prompt\": \"Hi\", \"completion\": \"Ho\"}",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[Ho<|eot_id|>]|");
    mla_tokenizer_destroy(llama3);
}

static void reasoning_is_kept_behind_the_last_question(void **state) {
    mla_context *context = *state;
    mla_tokenizer *qwen3 = chat_tokenizer(context, qwen3_tokens);
    check_render(context, qwen3, MLA_CHAT_QWEN3,
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"A\"},"
                 " {\"role\": \"assistant\", \"content\": \"<think>\\nwell\\n</think>\\n\\nB\"},"
                 " {\"role\": \"user\", \"content\": \"C\"},"
                 " {\"role\": \"assistant\", \"content\": \"<think>\\n\\nso\\n</think>D\"}]}",
                 "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[B<|im_end|>]\n<|im_start|>user\nC<|im_end|>\n"
                 "<|im_start|>assistant\n[<think>\nso\n</think>\n\nD<|im_end|>]\n|");
    check_render(context, qwen3, MLA_CHAT_QWEN3, "{\"prompt\": \"A\", \"completion\": \"B\"}",
                 "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[<think>\n\n</think>\n\nB<|im_end|>]\n|");
    /* without a question, none is kept */
    check_render(context, qwen3, MLA_CHAT_QWEN3,
                 "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a</think>B\"}]}",
                 "<|im_start|>assistant\n[B<|im_end|>]\n|");
    mla_tokenizer_destroy(qwen3);
}

static void an_answer_may_be_missing(void **state) {
    check_render(*state, bytes, MLA_CHAT_PLAIN, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}",
                 "User: Hi\n\n|");
    check_render(*state, bytes, MLA_CHAT_PLAIN, "{\"prompt\": \"Hi\", \"completion\": \"\"}",
                 "User: Hi\n\nAssistant: |");
    check_render(*state, bytes, MLA_CHAT_PLAIN, "{\"messages\": []}", "|");
}

/* One id where the template has it, the ids of its letters where a message does. */
static void messages_are_never_tokens(void **state) {
    mla_context *context = *state;
    mla_tokenizer *tokenizer = chat_tokenizer(context, chatml_tokens);
    const char line[] = "{\"prompt\": \"<|im_end|>\", \"completion\": \"a<|im_start|>b<|endoftext|>\"}";
    mla_chat_encoder *encoder;
    mla_chat chat = {0};
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    int special = 0;
    int32_t ending;
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), NULL, &chat));
    check_ok(context,
             mla_chat_encoder_create(context, &encoder, tokenizer, &(mla_chat_options){.template_ = MLA_CHAT_CHATML}));
    check_ok(context, mla_chat_encode(context, encoder, "a:1", &chat, &ids, &answers));
    for (int64_t i = 0; i < ids.count; i++) special += ids.ids[i] >= 256;
    assert_int_equal(special, 4);
    assert_int_equal(ids.count, 4 + strlen("user\n<|im_end|>\nassistant\na<|im_start|>b<|endoftext|>\n"));
    check_ok(context, mla_chat_ending(context, encoder, &ending));
    assert_int_equal(ending, 258);
    ids.count = 0;
    check_ok(context, mla_chat_ask(context, "<|im_end|>", 10, &chat));
    check_ok(context, mla_chat_encode_prompt(context, encoder, "a:1", &chat, &ids));
    assert_int_equal(ids.count, 3 + strlen("user\n<|im_end|>\nassistant\n"));
    mla_chat_encoder_destroy(encoder);
    mla_chat_free(&chat);
    free(ids.ids);
    free(answers.bytes);
    mla_tokenizer_destroy(tokenizer);
}

static void missing_tokens_are_named(void **state) {
    mla_context *context = *state;
    mla_chat_encoder *encoder;
    check_error(context,
                mla_chat_encoder_create(context, &encoder, bytes, &(mla_chat_options){.template_ = MLA_CHAT_CHATML}),
                MLA_ERROR_ARGUMENT, "chatml needs the token <|im_start|>");
    static const char *const tokens[] = {"<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
                                         "<｜end▁of▁sentence｜>", NULL};
    mla_tokenizer *tokenizer = chat_tokenizer(context, tokens);
    mla_chat chat = {0};
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    const char line[] =
        "{\"messages\": [{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"b\"}]}";
    check_ok(context, mla_chat_encoder_create(context, &encoder, tokenizer,
                                              &(mla_chat_options){.template_ = MLA_CHAT_DEEPSEEK3}));
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), NULL, &chat));
    check_error(context, mla_chat_encode(context, encoder, "a:1", &chat, &ids, &answers), MLA_ERROR_ARGUMENT,
                "a:1: deepseek3, line 1: the template refuses it: a system message is not the first");
    mla_chat_encoder_destroy(encoder);
    mla_chat_free(&chat);
    free(ids.ids);
    free(answers.bytes);
    mla_tokenizer_destroy(tokenizer);
}

static void tokens_tell_the_template(void **state) {
    mla_context *context = *state;
    mla_tokenizer *chatml = chat_tokenizer(context, chatml_tokens), *llama3 = chat_tokenizer(context, llama3_tokens);
    assert_int_equal(mla_chat_template_of(bytes), MLA_CHAT_PLAIN);
    assert_int_equal(mla_chat_template_of(chatml), MLA_CHAT_CHATML);
    assert_int_equal(mla_chat_template_of(llama3), MLA_CHAT_LLAMA3);
    mla_tokenizer_destroy(chatml);
    mla_tokenizer_destroy(llama3);
}

static int set_up(void **state) { return create_context(state) || mla_tokenizer_bytes(*state, &bytes) != MLA_OK; }

static int tear_down(void **state) {
    mla_tokenizer_destroy(bytes);
    return destroy_context(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(templates_render),
                                       cmocka_unit_test(conversations_may_begin_with_the_templates_own_message),
                                       cmocka_unit_test(llamas_system_message_has_dates),
                                       cmocka_unit_test(reasoning_is_kept_behind_the_last_question),
                                       cmocka_unit_test(an_answer_may_be_missing),
                                       cmocka_unit_test(messages_are_never_tokens),
                                       cmocka_unit_test(missing_tokens_are_named),
                                       cmocka_unit_test(tokens_tell_the_template)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
