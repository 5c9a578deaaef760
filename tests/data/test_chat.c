/* Conversations: read from JSON, rendered by the templates, and marked where an answer is. */
#include "data/text/chat.h"
#include "data/tokenizer/bpe.h"
#include "tests/support/check.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mla_tokenizer *bytes;

/* The byte tokenizer with more tokens, which get the ids from 257 on. */
static mla_tokenizer *with_tokens(mla_context *context, const char *const *tokens) {
    mla_tokenizer *out;
    char *text = mla_tokenizer_json(context, bytes);
    json_t *json = json_loads(text, 0, NULL), *added = json_object_get(json, "added_tokens");
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

/* The tokens as they are spelled, answers in [brackets], with the separator's mark behind them as "|" or "[|]". */
static char *render(mla_context *context, const mla_tokenizer *tokenizer, mla_chat_template template_,
                    const char *line) {
    mla_chat_encoder *encoder;
    mla_chat chat = {0};
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    char *out = calloc(1, 4096);
    bool open = false;
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), &chat));
    check_ok(context, mla_chat_encoder_create(context, &encoder, tokenizer, template_));
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

static void check_render(mla_context *context, const mla_tokenizer *tokenizer, mla_chat_template template_,
                         const char *line, const char *expected) {
    char *text = render(context, tokenizer, template_, line);
    assert_string_equal(text, expected);
    free(text);
}

static const char two_turns[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \" Hi \"},"
    " {\"role\": \"assistant\", \"content\": \" Hello \"}, {\"role\": \"user\", \"content\": \"Bye\"},"
    " {\"role\": \"assistant\", \"content\": \"Go!\"}], \"id\": 7}";

static const char *const chatml_tokens[] = {"<|im_start|>", "<|im_end|>", NULL};
static const char *const qwen3_tokens[] = {"<|im_start|>", "<|im_end|>", "<think>", "</think>", NULL};
static const char *const llama3_tokens[] = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                                            "<|eot_id|>", NULL};

static void templates_render(void **state) {
    mla_context *context = *state;
    check_render(context, bytes, MLA_CHAT_PLAIN, two_turns,
                 "Be brief.\n\nUser:  Hi \n\nAssistant:[  Hello <|endoftext|>]"
                 "User: Bye\n\nAssistant:[ Go!|]");
    check_render(context, bytes, MLA_CHAT_PLAIN, "{\"prompt\": \"2+2?\", \"completion\": \"4\"}",
                 "User: 2+2?\n\nAssistant:[ 4|]");
    mla_tokenizer *chatml = with_tokens(context, chatml_tokens), *llama3 = with_tokens(context, llama3_tokens);
    check_render(context, chatml, MLA_CHAT_CHATML, two_turns,
                 "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n"
                 "[ Hello <|im_end|>]\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n[Go!<|im_end|>]\n|");
    check_render(context, llama3, MLA_CHAT_LLAMA3, two_turns,
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
    mla_tokenizer *chatml = with_tokens(context, chatml_tokens);
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
        char *own = render(context, chatml, cases[i].template_, two_turns);
        check_render(context, chatml, MLA_CHAT_CHATML, two_turns, own);
        free(own);
    }
    mla_tokenizer_destroy(chatml);
}

static void llamas_system_message_has_dates(void **state) {
    mla_tokenizer *llama3 = with_tokens(*state, llama3_tokens);
    check_render(
        *state, llama3, MLA_CHAT_LLAMA3_1, "{\"prompt\": \"Hi\", \"completion\": \"Ho\"}",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[Ho<|eot_id|>]|");
    mla_tokenizer_destroy(llama3);
}

static void reasoning_is_kept_behind_the_last_question(void **state) {
    mla_context *context = *state;
    mla_tokenizer *qwen3 = with_tokens(context, qwen3_tokens);
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
    mla_tokenizer *tokenizer = with_tokens(context, chatml_tokens);
    const char line[] = "{\"prompt\": \"<|im_end|>\", \"completion\": \"a<|im_start|>b<|endoftext|>\"}";
    mla_chat_encoder *encoder;
    mla_chat chat = {0};
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    int special = 0;
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), &chat));
    check_ok(context, mla_chat_encoder_create(context, &encoder, tokenizer, MLA_CHAT_CHATML));
    check_ok(context, mla_chat_encode(context, encoder, "a:1", &chat, &ids, &answers));
    for (int64_t i = 0; i < ids.count; i++) special += ids.ids[i] >= 256;
    assert_int_equal(special, 4);
    assert_int_equal(ids.count, 4 + strlen("user\n<|im_end|>\nassistant\na<|im_start|>b<|endoftext|>\n"));
    assert_int_equal(mla_chat_ending(encoder), 258);
    ids.count = 0;
    chat.count = 1;
    check_ok(context, mla_chat_encode_prompt(context, encoder, "a:1", &chat, &ids));
    assert_int_equal(ids.count, 3 + strlen("user\n<|im_end|>\nassistant\n"));
    mla_chat_encoder_destroy(encoder);
    mla_chat_free(&chat);
    free(ids.ids);
    free(answers.bytes);
    mla_tokenizer_destroy(tokenizer);
}

static void bad_lines_are_named(void **state) {
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"{", "a.jsonl:3: not valid JSON"},
        {"[]", "is no conversation"},
        {"{\"text\": \"a\"}", "expected \"messages\", or \"prompt\" and \"completion\""},
        {"{\"messages\": 3}", "\"messages\" is no list"},
        {"{\"messages\": [1]}", "a message has no \"role\""},
        {"{\"messages\": [{\"role\": \"user\"}]}", "no \"content\" that is text"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": null}]}", "no \"content\" that is text"},
        {"{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}",
         "\"tool\" is no role: expected system, user or assistant"},
        {"{\"prompt\": \"a\"}", "\"prompt\" and \"completion\" must both be text"},
        {"{\"prompt\": \"a\", \"messages\": []}", "has both"},
    };
    mla_chat chat = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_error(*state, mla_chat_parse(*state, "a.jsonl:3", cases[i].line, (int64_t)strlen(cases[i].line), &chat),
                    MLA_ERROR_FORMAT, cases[i].words);
    mla_chat_free(&chat);
}

static void missing_tokens_are_named(void **state) {
    mla_context *context = *state;
    mla_chat_encoder *encoder;
    check_error(context, mla_chat_encoder_create(context, &encoder, bytes, MLA_CHAT_CHATML), MLA_ERROR_ARGUMENT,
                "chatml needs the token <|im_start|>");
    static const char *const tokens[] = {"<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
                                         "<｜end▁of▁sentence｜>", NULL};
    mla_tokenizer *tokenizer = with_tokens(context, tokens);
    mla_chat chat = {0};
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    const char line[] =
        "{\"messages\": [{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"b\"}]}";
    check_ok(context, mla_chat_encoder_create(context, &encoder, tokenizer, MLA_CHAT_DEEPSEEK3));
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), &chat));
    check_error(context, mla_chat_encode(context, encoder, "a:1", &chat, &ids, &answers), MLA_ERROR_ARGUMENT,
                "a:1: a system message is not the first");
    mla_chat_encoder_destroy(encoder);
    mla_chat_free(&chat);
    free(ids.ids);
    free(answers.bytes);
    mla_tokenizer_destroy(tokenizer);
}

/* Templates as models have them, in the parts that tell. */
static void models_templates_are_recognised(void **state) {
    mla_context *context = *state;
    static const struct {
        const char *jinja;
        mla_chat_template expected; /* AUTO: refused */
    } cases[] = {
        {"{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
         "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
         MLA_CHAT_CHATML},
        {"{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a "
         "helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role']}}",
         MLA_CHAT_QWEN2},
        {"{{ '<|im_start|>system\nYou are a pirate.<|im_end|>\n' }}{{'<|im_start|>' + message['role']}}",
         MLA_CHAT_AUTO},
        {"{{- '<|im_start|>system\\n' }}{{- \"You may call functions\" }}{%- else %}{{- '<|im_start|>system\\nYou are Qwen, "
         "created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}",
         MLA_CHAT_QWEN2_5},
        {"{{- '<|im_start|>system\\n' + messages[0].content }}{%- set ns = namespace(last_query_index=1) %}"
         "{%- if loop.last or (not loop.last and reasoning_content) %}{{- '<think>\\n' + content.lstrip('\\n') }}",
         MLA_CHAT_QWEN3},
        {"{%- if tools %}{{- '<|im_start|>system\\n' }} ... '<think>\\n' ... '<|im_end|>\\n' }}", MLA_CHAT_AUTO},
        {"{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
         "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}",
         MLA_CHAT_LLAMA3},
        {"{%- set date_string = \"26 Jul 2024\" %}{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}"
         "{{- \"Cutting Knowledge Date: December 2023\\n\" }}{{ message['content'] | trim + '<|eot_id|>' }}",
         MLA_CHAT_LLAMA3_1},
        {"{%- set date_string = strftime_now(\"%d %b %Y\") %}{%- set date_string = \"26 Jul 2024\" %}{{- \"<|start_header_id|>\" }}"
         "{{- \"Cutting Knowledge Date: December 2023\\n\" }}{{ message['content'] | trim + '<|eot_id|>' }}",
         MLA_CHAT_AUTO},
        {"{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}{{- \"Cutting Knowledge Date: December 2023\\n\" }}"
         "{{ message['content'] | trim + '<|eot_id|>' }}",
         MLA_CHAT_AUTO},
        {"{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}"
         "{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}{% elif "
         "message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}",
         MLA_CHAT_DEEPSEEK2},
        {"{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{{'<｜User｜>' + message['content']}}"
         "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}",
         MLA_CHAT_DEEPSEEK3},
        {"{{'<｜User｜>' + message['content']}}{% set content = content.split('</think>')[-1] %}"
         "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}",
         MLA_CHAT_AUTO},
        {"[INST] {{ message['content'] }} [/INST]", MLA_CHAT_AUTO},
    };
    mla_chat_template found;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mla_status status = mla_chat_recognise(context, bytes, cases[i].jinja, &found);
        if (cases[i].expected == MLA_CHAT_AUTO)
            check_error(
                context, status, MLA_ERROR_ARGUMENT,
                "choose one of plain, chatml, llama3, deepseek2, deepseek3, llama3.1, qwen2, qwen2.5, smollm2, qwen3 by");
        else {
            check_ok(context, status);
            assert_int_equal(found, cases[i].expected);
        }
    }
}

static void tokens_tell_the_template(void **state) {
    mla_context *context = *state;
    mla_tokenizer *chatml = with_tokens(context, chatml_tokens), *llama3 = with_tokens(context, llama3_tokens);
    mla_chat_template found;
    check_ok(context, mla_chat_recognise(context, bytes, NULL, &found));
    assert_int_equal(found, MLA_CHAT_PLAIN);
    check_ok(context, mla_chat_recognise(context, chatml, NULL, &found));
    assert_int_equal(found, MLA_CHAT_CHATML);
    check_ok(context, mla_chat_recognise(context, llama3, NULL, &found));
    assert_int_equal(found, MLA_CHAT_LLAMA3);
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
                                       cmocka_unit_test(bad_lines_are_named),
                                       cmocka_unit_test(missing_tokens_are_named),
                                       cmocka_unit_test(models_templates_are_recognised),
                                       cmocka_unit_test(tokens_tell_the_template)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
