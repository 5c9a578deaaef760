/* Conversations in the forms that they are written in, templates of models, and where the answers are. */
#include "data/text/chat_encoder.h"
#include "data/tokenizer/bpe.h"
#include "tests/support/chats.h"
#include "tests/support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mla_tokenizer *bytes;
static char warning[512];

static void take_warning(void *user, const char *message) {
    (void)user;
    snprintf(warning, sizeof warning, "%s", message);
}

static const struct {
    const char *line, *words;
} bad_lines[] = {
    {"{", "a.jsonl:3: not valid JSON"},
    {"[]", "is no conversation"},
    {"{\"text\": \"a\", \"id\": 3}", "or \"instruction\" and \"output\"; found \"text\", \"id\""},
    {"{\"messages\": 3}", "\"messages\" is no list"},
    {"{\"messages\": [1]}", "message 1: has no \"role\""},
    {"{\"messages\": [{\"role\": \"user\"}]}", "no \"content\" that is text"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": null}]}", "no \"content\" that is text"},
    {"{\"messages\": [{\"role\": \"Tool\", \"content\": \"a\"}]}",
     "message 1: \"Tool\" is no role: expected system, user, assistant, tool, developer, function or ipython"},
    {"{\"prompt\": \"a\", \"response\": \"b\"}", "\"instruction\" and \"output\"; found \"prompt\", \"response\""},
    {"{\"prompt\": \"a\", \"messages\": []}", "has both"},
    {"{\"prompt\": \"a\", \"completion\": [{\"role\": \"assistant\", \"content\": \"b\"}]}", "both lists of messages"},
    {"{\"chosen\": [1], \"messages\": []}", "has \"chosen\", but preferences are not learned"},
    {"{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}", "as in prompt=prompt,completion=chosen"},
    {"{\"prompt\": \"a\", \"completion\": \"b\", \"label\": false}", "has \"label\", but preferences are not learned"},
    {"{\"functions\": [1], \"messages\": []}", "has \"functions\", which is not read here"},
    {"{\"messages\": [], \"tools\": 3}", "\"tools\" is no list"},
    {"{\"messages\": [], \"tools\": \"[\"}", "a.jsonl:3: tools: not valid JSON"},
    {"{\"messages\": [], \"chat_template_kwargs\": []}", "\"chat_template_kwargs\" is no object"},
    {"{\"messages\": [], \"chat_template_kwargs\": {\"tools\": 1}}", "belongs into the line itself"},
    {"{\"system\": \"a\", \"messages\": [{\"role\": \"system\", \"content\": \"b\"}]}", "a system message besides"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]}",
     "message 1: its \"content\" has a part of type \"image\": only text is read here"},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\", \"weight\": 0.5}]}",
     "message 1: \"weight\" is neither yes nor no"},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\", \"train\": \"no\"}]}",
     "\"train\" is neither yes nor no"},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\", \"loss_mask\": 0}]}",
     "the key \"loss_mask\" is not read here: what is not to be learned has \"weight\": 0"},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\", \"compute_loss\": false}]}",
     "the key \"compute_loss\""},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\", \"isTrained\": false}]}", "the key \"isTrained\""},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\"}], \"weight\": 0.5}",
     "a \"weight\" other than 0 and 1"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"b\", \"train\": true}]}", "asks to learn what is no answer"},
    {"{\"conversations\": [{\"from\": \"bard\", \"value\": \"a\"}]}", "message 1: \"bard\" is no \"from\""},
    {"{\"conversations\": [{\"from\": \"gpt\"}]}", "has no \"value\" that is text"},
    {"{\"conversations\": [{\"from\": \"function_call\", \"value\": \"{}\"}]}", "a function_call is JSON"},
    {"{\"instruction\": \"a\", \"output\": 3}", "must be text"},
};

static void bad_lines_are_named(void **state) {
    mla_chat chat = {0};
    for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++)
        check_error(
            *state,
            mla_chat_parse(*state, "a.jsonl:3", bad_lines[i].line, (int64_t)strlen(bad_lines[i].line), NULL, &chat),
            MLA_ERROR_FORMAT, bad_lines[i].words);
    mla_chat_free(&chat);
}

/* ---- forms of conversations ---- */

/* Any template of a model's: what the line becomes. */
static void check_own(mla_context *context, const mla_tokenizer *tokenizer, const char *own, const char *line,
                      const char *expected) {
    char *text = chat_text(context, tokenizer, MLA_CHAT_AUTO, own, line);
    assert_string_equal(text, expected);
    free(text);
}

static void refused(mla_context *context, const mla_tokenizer *tokenizer, const char *own, const char *line,
                    const char *words) {
    mla_chat_encoder *encoder;
    mla_chat chat = {0};
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), NULL, &chat));
    check_ok(context, mla_chat_encoder_create(context, &encoder, tokenizer, &(mla_chat_options){.own = own}));
    check_error(context, mla_chat_encode(context, encoder, "a:1", &chat, &ids, &answers), MLA_ERROR_ARGUMENT, words);
    mla_chat_encoder_destroy(encoder);
    mla_chat_free(&chat);
    free(ids.ids);
    free(answers.bytes);
}

#define U(text) "<|im_start|>user\n" text "<|im_end|>\n"
#define A(text) "<|im_start|>assistant\n" text "\n"

static const struct {
    const char *line, *expected;
} forms[] = {
    {"{\"conversations\": [{\"from\": \"system\", \"value\": \"s\"}, {\"from\": \"human\", \"value\": \"a\"},"
     " {\"from\": \"gpt\", \"value\": \"b\"}, {\"from\": \"observation\", \"value\": \"c\"},"
     " {\"from\": \"gpt\", \"value\": \"d\", \"weight\": 0}]}",
     "<|im_start|>system\ns<|im_end|>\n" U("a")
         A("[b<|im_end|>]") "<|im_start|>tool\nc<|im_end|>\n" A("d<|im_end|>") "|"},
    {"{\"instruction\": \"Add.\", \"input\": \"1 2\", \"output\": \"3\"}",
     U("Below is an instruction that describes a task, paired with an input that provides further context. Write a "
       "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n"
       "### Response:") A("[3<|im_end|>]") "|"},
    {"{\"instruction\": \"Sing.\", \"input\": \"\", \"output\": \"La\"}",
     U("Below is an instruction that describes a task. Write a response that appropriately completes the request."
       "\n\n### Instruction:\nSing.\n\n### Response:") A("[La<|im_end|>]") "|"},
    {"{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"},"
     " {\"role\": \"user\", \"content\": \"c\"}], \"completion\": [{\"role\": \"assistant\", \"content\": \"d\"}]}",
     U("a") A("b<|im_end|>") U("c") A("[d<|im_end|>]") "|"},
    {"{\"system\": \"s\", \"prompt\": \"a\", \"completion\": \"b\"}",
     "<|im_start|>system\ns<|im_end|>\n" U("a") A("[b<|im_end|>]") "|"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\\u0000\"}, {\"type\": \"text\","
     " \"text\": \"b\"}]}, {\"role\": \"assistant\", \"content\": \"c\", \"train\": true, \"name\": null}]}",
     U("a") A("[c<|im_end|>]") "|"},
};

static void forms_become_messages(void **state) {
    mla_context *context = *state;
    mla_tokenizer *t = chat_tokenizer(context, chatml_tokens);
    for (size_t i = 0; i + 1 < sizeof forms / sizeof *forms; i++)
        check_render(context, t, MLA_CHAT_CHATML, forms[i].line, forms[i].expected);
    mla_chat chat = {0};
    int64_t length;
    const char *line = forms[5].line;
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), NULL, &chat));
    assert_memory_equal(mla_chat_content(&chat, 0, &length), "a\0b", 3);
    assert_int_equal(length, 3);
    mla_chat_free(&chat);
    mla_tokenizer_destroy(t);
}

static void fields_are_named(void **state) {
    mla_context *context = *state;
    char first[] = "prompt=question", second[] = "completion=answer", third[] = "system=rules";
    char prompt[] = "prompt=prompt", better[] = "completion=chosen";
    char *const items[] = {first, second, third}, *const chosen[] = {prompt, better};
    const char pair[] = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}";
    const char unused[] = "{\"messages\": [], \"chosen\": \"\", \"rejected\": []}";
    mla_chat_fields fields;
    mla_chat chat = {0};
    int64_t length;
    const char line[] = "{\"question\": \"q\", \"answer\": \"a\", \"rules\": \"r\", \"messages\": 3}";
    check_ok(context, mla_chat_fields_read(context, items, 3, &fields));
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), &fields, &chat));
    assert_int_equal(chat.count, 3);
    assert_memory_equal(mla_chat_content(&chat, 0, &length), "r", 2);
    assert_memory_equal(mla_chat_content(&chat, 2, &length), "a", 2);
    assert_true(!chat.learned[0] && !chat.learned[1] && chat.learned[2]);
    check_error(context, mla_chat_parse(context, "a:1", "{\"question\": \"q\"}", 17, &fields, &chat), MLA_ERROR_FORMAT,
                "a:1: \"question\" and \"answer\" must both be text");
    check_error(context, mla_chat_fields_read(context, items, 1, &fields), MLA_ERROR_ARGUMENT, "name both");
    check_ok(context, mla_chat_fields_read(context, chosen, 2, &fields));
    check_ok(context, mla_chat_parse(context, "a:1", pair, (int64_t)strlen(pair), &fields, &chat));
    assert_memory_equal(mla_chat_content(&chat, 1, &length), "b", 2);
    check_ok(context, mla_chat_parse(context, "a:1", unused, (int64_t)strlen(unused), NULL, &chat));
    first[0] = 'x';
    check_error(context, mla_chat_fields_read(context, items, 3, &fields), MLA_ERROR_ARGUMENT, "\"xrompt=question\"");
    mla_chat_free(&chat);
}

static void answers_may_be_kept_from_learning(void **state) {
    mla_context *context = *state;
    mla_tokenizer *t = chat_tokenizer(context, chatml_tokens);
    static const char *const keys[] = {"\"weight\": 0", "\"train\": false", "\"loss\": false", "\"masked\": true"};
    for (int i = 0; i < 4; i++) {
        char line[256];
        snprintf(
            line, sizeof line,
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\", %s},"
            " {\"role\": \"assistant\", \"content\": \"c\", \"weight\": 1}]}",
            keys[i]);
        check_render(context, t, MLA_CHAT_CHATML, line, U("a") A("b<|im_end|>") A("[c<|im_end|>]") "|");
        snprintf(line, sizeof line, "{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\"}], %s}", keys[i]);
        check_render(context, t, MLA_CHAT_CHATML, line, A("b<|im_end|>") "|");
        snprintf(
            line, sizeof line,
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\", "
            "%s}, {\"role\": \"assistant\", \"content\": \"c\"}], \"train\": \"split\", \"loss\": 1.5}",
            keys[i]);
        check_own(context, t,
                  "{% for m in messages %}{{ m.role }}:{% generation %}{{ m.content }}.{% endgeneration %}{% endfor %}",
                  line, "user:[a.]assistant:b.assistant:[c.]|");
    }
    mla_tokenizer_destroy(t);
}

/* ---- templates of models ---- */

static const char tools_template[] =
    "{% if tools %}<|im_start|>system\n{{ tools|tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
    "{% endif %}{{ m.content }}{% for c in m.tool_calls %}<call>{{ c.function.name }}</call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

static void reasoning_calls_and_tools_are_rendered(void **state) {
    mla_tokenizer *t = chat_tokenizer(*state, chatml_tokens);
    check_own(
        *state, t, tools_template,
        "{\"tools\": \"[{\\\"name\\\": \\\"f\\\"}]\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"},"
        " {\"role\": \"assistant\", \"content\": null, \"thinking\": \"t\", \"tool_calls\":"
        " [{\"function\": {\"name\": \"f\"}}]}, {\"role\": \"tool\", \"content\": \"r\"},"
        " {\"role\": \"assistant\", \"content\": \"b\"}]}",
        "<|im_start|>system\n[{\"name\": \"f\"}]<|im_end|>\n" U("a")
            A("[<think>t</think><call>f</call><|im_end|>]") "<|im_start|>tool\nr<|im_end|>\n" A("[b<|im_end|>]") "|");
    check_own(*state, t, tools_template,
              "{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"function_call\", \"value\":"
              " \"{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": {}}\"}]}",
              U("a") A("[<call>f</call><|im_end|>]") "|");
    mla_tokenizer_destroy(t);
}

static void what_a_template_leaves_out_is_named(void **state) {
    mla_context *context = *state;
    mla_tokenizer *t = chat_tokenizer(context, chatml_tokens);
    const char *own = "{% for m in messages %}{% if m.role != 'tool' %}{% if m.tool_calls %}{{ m.tool_calls|tojson }}"
                      "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endif %}{% endfor %}";
    refused(context, t, own, "{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}",
            "a:1: message 1 (tool): it is left out by the template (the model's own)");
    refused(context, t, own,
            "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"tool_calls\": [{\"x\": \"f\"}]}]}",
            "message 1 (assistant): its content is left out");
    refused(context, t, "{% for m in messages %}{{ m.content }}{% endfor %}",
            "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"tool_calls\": [{\"x\": \"f\"}]}]}",
            "message 1 (assistant): its tool_calls are left out");
    refused(context, t, own,
            "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"reasoning_content\": \"b\"}]}",
            "message 1 (assistant): its reasoning_content is left out");
    refused(context, t, own, "{\"messages\": [], \"tools\": [{\"name\": \"f\"}]}",
            "has \"tools\", which the template (the model's own) does not read");
    refused(context, t, own, "{\"messages\": [], \"chat_template_kwargs\": {\"enable_thinking\": true}}",
            "has \"enable_thinking\"");
    refused(context, t, "{% if tools == 3 %}{{ tools }}{% endif %}",
            "{\"messages\": [], \"tools\": [{\"name\": \"f\"}]}", "its tools are left out by the template");
    refused(context, t, "{{ raise_exception('no ' ~ messages[0].role) }}", "{\"prompt\": \"a\", \"completion\": \"b\"}",
            "a:1: the model's chat_template, line 1: the template refuses it: no user");
    refused(context, t, NULL,
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"documents\": [{\"text\": \"b\"}]}",
            "has \"documents\"");
    refused(context, bytes, NULL, "{\"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}",
            "plain, line 5: the template refuses it: it has no place for a message of role tool");
    mla_tokenizer_destroy(t);
}

/* Without a prompt for answers; one where the question ends with it; one without an end; one that mixes. */
static void answers_are_found_in_templates_of_all_kinds(void **state) {
    mla_context *context = *state;
    mla_tokenizer *t = chat_tokenizer(context, chatml_tokens);
    const char *two =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"},"
        " {\"role\": \"user\", \"content\": \"c\"}, {\"role\": \"assistant\", \"content\": \"d\"}]}";
    check_own(context, t, "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>\n{% endfor %}", two,
              "<user>a<|im_end|>\n<assistant>[b<|im_end|>]\n<user>c<|im_end|>\n<assistant>[d<|im_end|>]\n|");
    check_own(
        context, t,
        "{% for m in messages %}{% if m.role == 'user' %}<Q>{{ m.content }}<A>{% else %}{{ m.content }}<|im_end|>{% endif %}"
        "{% endfor %}",
        two, "<Q>a<A>[b<|im_end|>]<Q>c<A>[d<|im_end|>]|");
    check_own(context, t, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", two,
              "user: a\nassistant: [b]\nuser: c\nassistant: [d]\n[|]");
    check_own(context, t, "{% for m in messages %}{{ bos_token }}{{ m.content }}{{ eos_token }}{% endfor %}", two,
              "a<|endoftext|>[b<|endoftext|>]c<|endoftext|>[d|]");
    refused(
        context, t, "{% for m in messages %}{{ m.content }}{% endfor %}{{ messages[1].content }}", two,
        "a:1: where the answer (message 2) begins and ends cannot be told from the template (the model's own): another "
        "message stands within it");
    refused(
        context, t,
        "{% if messages|length == 4 %}!{{ messages[0].content }}{% endif %}{% for m in messages %}{{ m.content.upper() "
        "if messages|length < 4 else m.content }}{% endfor %}",
        two, "what is before it is rendered otherwise where it is missing");
    mla_tokenizer_destroy(t);
}

/* A system message that goes with the last question, and reasoning of earlier turns that goes: Mistral's and Qwen3's.
 */
static void what_moves_does_not_move_answers(void **state) {
    mla_tokenizer *t = chat_tokenizer(*state, chatml_tokens);
    check_own(
        *state, t,
        "{% for m in messages[1:] %}{% if m.role == 'user' %}[Q]{% if loop.last or loop.index0 == messages|length - 3 %}"
        "{{ messages[0].content }};{% endif %}{{ m.content }}[/Q]{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}",
        chat_two_turns, "[Q] Hi [/Q][ Hello <|im_end|>][Q]Be brief.;Bye[/Q][Go!<|im_end|>]|");
    check_own(*state, t,
              "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content and loop.index0 + 2 >= messages|length %}"
              "{{ m.reasoning_content }};{% endif %}{{ m.content }}<|im_end|>{% endfor %}",
              "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\","
              " \"reasoning_content\": \"r\"}, {\"role\": \"user\", \"content\": \"c\"}, {\"role\": \"assistant\","
              " \"content\": \"d\", \"reasoning_content\": \"s\"}]}",
              "<user>a<|im_end|><assistant>[b<|im_end|>]<user>c<|im_end|><assistant>[s;d<|im_end|>]|");
    mla_tokenizer_destroy(t);
}

static void keys_that_are_not_read_are_counted(void **state) {
    mla_context *context = *state;
    mla_chat_encoder *encoder;
    mla_chat chat = {0};
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    const char line[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\", \"mood\": \"odd\"}]}";
    check_ok(context, mla_chat_encoder_create(context, &encoder, bytes, &(mla_chat_options){0}));
    check_ok(context, mla_chat_parse(context, "a:1", line, (int64_t)strlen(line), NULL, &chat));
    for (int i = 0; i < 2; i++) check_ok(context, mla_chat_encode(context, encoder, "a:1", &chat, &ids, &answers));
    warning[0] = '\0';
    mla_chat_encoder_report(context, encoder);
    assert_string_equal(warning, "2 messages have a key \"mood\", which the template (plain) does not read");
    mla_chat_encoder_destroy(encoder);
    mla_chat_free(&chat);
    free(ids.ids);
    free(answers.bytes);
}

static int set_up(void **state) {
    if (mla_context_create((mla_context **)state, &(mla_context_options){.warn = take_warning})) return 1;
    return mla_tokenizer_bytes(*state, &bytes) != MLA_OK;
}

static int tear_down(void **state) {
    mla_tokenizer_destroy(bytes);
    return destroy_context(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_become_messages),
        cmocka_unit_test(fields_are_named),
        cmocka_unit_test(answers_may_be_kept_from_learning),
        cmocka_unit_test(reasoning_calls_and_tools_are_rendered),
        cmocka_unit_test(what_a_template_leaves_out_is_named),
        cmocka_unit_test(answers_are_found_in_templates_of_all_kinds),
        cmocka_unit_test(what_moves_does_not_move_answers),
        cmocka_unit_test(keys_that_are_not_read_are_counted),
        cmocka_unit_test(bad_lines_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
