/* Any line as a conversation, by templates of three kinds: refused, or ids of which each has a mark, and no special
 * token that the template did not put there. */
#include "data/text/chat_encoder.h"
#include "data/tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

static const char own[] =
    "{{ bos_token }}{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}[{{ m.role }}]"
    "{% if m.reasoning_content and loop.last %}({{ m.reasoning_content | trim }}){% endif %}{{ m.content }}"
    "{% for c in m.tool_calls %}{{ c | tojson(indent=1) }}{% endfor %}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";
static const char marked[] =
    "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}{{ m.content }};"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";

static void encode(mla_context *context, const mla_tokenizer *tokenizer, const char *template_, const mla_chat *chat) {
    mla_chat_encoder *encoder = NULL;
    mla_id_list ids = {0};
    mla_bytes answers = {0};
    if (mla_chat_encoder_create(context, &encoder, tokenizer, &(mla_chat_options){.own = template_})) abort();
    mla_status status = mla_chat_encode(context, encoder, "a line", chat, &ids, &answers);
    if (status != mla_error_status(context)) abort();
    if (!status && answers.count != ids.count + 1) abort();
    for (int64_t i = 0; template_ == marked && !status && i < ids.count; i++)
        if (ids.ids[i] == mla_tokenizer_separator(tokenizer)) abort();
    mla_clear_error(context);
    if (!status && mla_chat_encode_prompt(context, encoder, "a line", chat, &ids)) mla_clear_error(context);
    mla_chat_encoder_destroy(encoder);
    free(ids.ids);
    free(answers.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mla_context *context;
    mla_tokenizer *tokenizer;
    mla_chat chat = {0};
    const mla_chat_fields fields = {"q", "a", NULL};
    if (mla_context_create(&context, NULL)) return 0;
    if (mla_tokenizer_bytes(context, &tokenizer)) abort();
    for (int i = 0; i < 2; i++) {
        const mla_status status = mla_chat_parse(context, "a line", (const char *)data, (int64_t)size,
                                                 i ? &fields : NULL, &chat);
        if (status != mla_error_status(context)) abort();
        mla_clear_error(context);
        if (status) continue;
        encode(context, tokenizer, NULL, &chat);
        encode(context, tokenizer, own, &chat);
        encode(context, tokenizer, marked, &chat);
    }
    mla_chat_free(&chat);
    mla_tokenizer_destroy(tokenizer);
    mla_context_destroy(context);
    return 0;
}
