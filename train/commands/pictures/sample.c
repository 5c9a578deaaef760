#include "train/commands/pictures/sample.h"
#include "train/commands/inference/prompt.h"
#include "train/inference/generation.h"
#include "train/report/html.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    mla_context *context;
    const mla_tokenizer *tokenizer;
    mla_bytes text;
} writer;

static mla_status take(void *user, int32_t id, const float *logits) {
    writer *w = user;
    (void)logits;
    return mla_tokenizer_decode_on(w->context, w->tokenizer, &id, 1, &w->text);
}

static mla_status write_text(mla_context *context, FILE *page, const char *prompt, const mla_bytes *text) {
    char *copy = mla_alloc(context, text->count + 1, 1, "a sample");
    if (!copy) return MLA_ERROR_MEMORY;
    for (int64_t i = 0; i < text->count; i++) copy[i] = text->bytes[i] ? text->bytes[i] : ' ';
    mla_html_sample(page, prompt, copy);
    free(copy);
    return MLA_OK;
}

static mla_status write_sample(mla_prompter *prompter, FILE *page, const char *text, int64_t tokens) {
    const mla_loaded *l = prompter->loaded;
    writer w = {.context = prompter->context, .tokenizer = l->tokenizer};
    mla_prompt prompt = {0};
    mla_generation result;
    mla_status status = mla_prompt_of_text(prompter, "--sample", text, (int64_t)strlen(text), &prompt);
    const mla_generation_options options = {.prompt = prompt.ids.ids,
                                            .prompt_count = prompt.ids.count,
                                            .tokens = tokens,
                                            .vocabulary = mla_tokenizer_vocab_size(l->tokenizer),
                                            .ending = &prompt.ending,
                                            .sampling = {.top_p = 1},
                                            .token = take,
                                            .user = &w};
    if (!status) status = mla_generate(w.context, l->model, &options, &result);
    if (!status) status = write_text(w.context, page, text, &w.text);
    mla_prompt_free(&prompt);
    free(w.text.bytes);
    return status;
}

/* The model of a run that trains adapters is its base with them. */
static mla_status load(mla_context *context, const char *folder, mla_loaded *out) {
    char path[PATH_MAX], *run = (char *)(uintptr_t)folder;
    mla_recipe recipe;
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    *out = (mla_loaded){0};
    mla_status status = access(path, F_OK) ? mla_recipe_default(context, &recipe)
                                           : mla_recipe_load(context, &recipe, path, NULL, 0);
    if (status) return status;
    const bool adapts = recipe.lora.targets.count && recipe.finetune.base;
    status = mla_load_model(context, out,
                            &(mla_load_options){.checkpoint = adapts ? recipe.finetune.base : run,
                                                .adapter = {.items = &run, .count = adapts}});
    mla_recipe_free(&recipe);
    return status;
}

mla_status mla_report_samples(mla_context *context, FILE *page, const char *folder, const mla_list *prompts,
                              int64_t tokens) {
    mla_loaded loaded;
    mla_prompter prompter = {.context = context, .loaded = &loaded};
    mla_status status = load(context, folder, &loaded);
    if (!status) status = mla_loaded_expect_tokenizer(context, &loaded);
    if (!status) mla_html_element(page, "h3", folder);
    for (int64_t i = 0; i < prompts->count && !status; i++)
        status = write_sample(&prompter, page, prompts->items[i], tokens);
    mla_prompter_free(&prompter);
    mla_loaded_close(&loaded);
    return status;
}
