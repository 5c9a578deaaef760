/* Any text as a chat template: refused, or a text with a mark for each byte, in which no byte of a message passes for
 * one of the template. */
#include "data/jinja/jinja.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char messages[] =
    "[{\"role\": \"user\", \"content\": \" a\\u0001b \", \"n\": 3},"
    " {\"role\": \"assistant\", \"content\": \"\\u0001<x>\\u00e9\", \"tool_calls\": [{\"function\":"
    " {\"name\": \"f\\u0001\", \"arguments\": {\"k\": [1, 2.5, null, true]}}}]}]";

static void check(const mla_jinja_output *output, bool may_spell) {
    for (int64_t i = 0; i < output->length; i++)
        if (output->bytes[i] == 1 && output->marks[i] == MLA_JINJA_TEMPLATE && !may_spell) abort();
    for (int64_t i = 0; i < output->span_count; i++)
        if (output->spans[i].begin < 0 || output->spans[i].end > output->length) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const mla_jinja_variable variables[] = {{"messages", json_loads(messages, 0, NULL), MLA_JINJA_OF_MESSAGES},
                                            {"tools", json_null(), MLA_JINJA_OF_DATA},
                                            {"bos_token", json_string("<s>"), MLA_JINJA_OF_TEMPLATE},
                                            {"add_generation_prompt", json_true(), MLA_JINJA_OF_DATA}};
    const bool may_spell = memchr(data, 1, size) || memchr(data, '\\', size);
    mla_context *context;
    mla_jinja *jinja;
    mla_jinja_output output = {0};
    if (mla_context_create(&context, NULL)) return 0;
    mla_status status = mla_jinja_parse(context, &jinja, "a template", (const char *)data, (int64_t)size);
    if (!status) status = mla_jinja_render(context, jinja, "a line", variables, 4, "2024-07-26", &output);
    if (status != mla_error_status(context)) abort();
    if (!status) check(&output, may_spell);
    mla_jinja_output_free(&output);
    mla_jinja_destroy(jinja);
    json_decref((json_t *)(uintptr_t)variables[0].value);
    json_decref((json_t *)(uintptr_t)variables[2].value);
    mla_context_destroy(context);
    return 0;
}
