#include "train/compare/comparison.h"
#include "autograd/base/file.h"
#include "data/tokenizer/tokenizer.h"
#include "train/compare/same_recipe.h"
#include "train/run/machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- names and locks ---- */

mla_status mla_comparison_path(const mla_comparison *c, const char *name, char out[PATH_MAX]) {
    if (snprintf(out, PATH_MAX, "%s/%s", c->o->folder, name) < PATH_MAX) return MLA_OK;
    return mla_fail(c->context, MLA_ERROR_ARGUMENT, "%s: the name of the folder is too long", c->o->folder);
}

mla_status mla_comparison_lock(const mla_comparison *c, mla_folder_lock *lock) {
    mla_status status = mla_folder_lock_take(c->context, lock, c->o->folder);
    if (status == MLA_ERROR_ARGUMENT && c->o->progress)
        fprintf(c->o->progress, "%s: waiting for another process, which prepares text or measures\n", c->o->folder);
    while (status == MLA_ERROR_ARGUMENT && !(c->o->stop && *c->o->stop)) {
        mla_clear_error(c->context);
        usleep(200000);
        status = mla_folder_lock_take(c->context, lock, c->o->folder);
    }
    if (status != MLA_ERROR_ARGUMENT) return status;
    mla_clear_error(c->context);
    return mla_fail(c->context, MLA_ERROR_STOPPED, "stopped while waiting for another process in %s", c->o->folder);
}

/* ---- what is to be done ---- */

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static mla_status take_rates(mla_comparison *c) {
    const mla_floats *given = &c->o->rates;
    const double usual = c->base.optim.lr;
    if (given->count > MLA_MOST_RATES)
        return mla_fail(c->context, MLA_ERROR_ARGUMENT, "--lr: %lld learning rates, at most %d are swept",
                        (long long)given->count, MLA_MOST_RATES);
    for (int64_t i = 0; i < given->count; i++) c->rates[c->rate_count++] = given->items[i];
    for (int i = -1; i <= 1 && !given->count; i++) c->rates[c->rate_count++] = ldexp(usual, i);
    qsort(c->rates, (size_t)c->rate_count, sizeof *c->rates, ascending);
    for (int i = 1; i < c->rate_count; i++)
        if (c->rates[i] <= c->rates[i - 1])
            return mla_fail(c->context, MLA_ERROR_ARGUMENT, "--lr: %g is there twice", c->rates[i]);
    return MLA_OK;
}

static mla_status copy_base(mla_comparison *c, const mla_recipe *base) {
    char *text = mla_recipe_json(c->context, base);
    const mla_status status = text ? mla_recipe_parse_json(c->context, "", text, &c->base) : MLA_ERROR_MEMORY;
    free(text);
    if (status) return status;
    free(c->base.checkpoint.out); /* --out says where */
    c->base.checkpoint.out = NULL;
    c->first_seed = c->base.train.seed ? c->base.train.seed : 1;
    return take_rates(c);
}

/* ---- the same comparison as before ---- */

/* What was chosen when it began stays, on whatever machine it goes on. */
static mla_status choose_precision(mla_comparison *c, const char *begun) {
    mla_recipe stored;
    mla_recipe_precision *precision = &c->base.train.precision;
    if (*precision != MLA_PRECISION_AUTO) return MLA_OK;
    if (!c->o->folder || access(begun, F_OK)) {
        *precision = mla_precision_choose(c->context, *precision) == MLA_BF16 ? MLA_PRECISION_BF16 : MLA_PRECISION_F32;
        return MLA_OK;
    }
    const mla_status status = mla_recipe_load(c->context, &stored, begun, NULL, 0);
    if (status) return status;
    *precision = stored.train.precision;
    mla_recipe_free(&stored);
    return MLA_OK;
}

/* base.yaml is written when all that it asks for has been found to be possible: until then, nothing has begun. */
static mla_status expect_same_base(mla_comparison *c, bool *begun) {
    char path[PATH_MAX] = "";
    mla_status status = c->o->folder ? mla_comparison_path(c, "base.yaml", path) : MLA_OK;
    if (!status) status = choose_precision(c, path);
    *begun = !status && c->o->folder && !access(path, F_OK);
    return *begun ? mla_same_recipe(c->context, &c->base, path, "a comparison") : status;
}

static mla_status write_base(mla_comparison *c) {
    char path[PATH_MAX];
    const mla_status status = mla_comparison_path(c, "base.yaml", path);
    return status ? status : mla_same_recipe(c->context, &c->base, path, "a comparison");
}

/* ---- the data ---- */

static int64_t greatest_vocabulary(mla_comparison *c) {
    const mla_recipe_data *d = &c->base.data;
    mla_tokenizer *tokenizer = NULL;
    if (c->base.model.vocab_size) return c->base.model.vocab_size;
    if (!strcmp(d->tokenizer, "bpe")) return d->vocab_size;
    if (!strcmp(d->tokenizer, "bytes")) return 257;
    const mla_status status = mla_tokenizer_load(c->context, &tokenizer, d->tokenizer);
    const int64_t size = status ? 0 : mla_tokenizer_vocab_size(tokenizer);
    mla_tokenizer_destroy(tokenizer);
    return size;
}

static mla_status open_data(mla_comparison *c, bool plan, bool begun) {
    const mla_recipe_data *d = &c->base.data;
    if (plan && !begun && (d->source.count || d->mix.count)) { /* it may be text, and that is not prepared */
        c->vocabulary = greatest_vocabulary(c);
        return mla_error_status(c->context);
    }
    mla_status status = mla_mix_open(c->context, &c->mix, &c->base, c->o->folder ? c->o->folder : ".",
                                     begun ? MLA_TEXT_PREPARE_MISSING : MLA_TEXT_PREPARE);
    if (!status) status = mla_mix_begin(c->context, &c->mix, &c->base);
    if (status) return status;
    c->vocabulary = c->mix.parts[0].data.vocabulary_size;
    if (mla_mix_tokens(&c->mix, MLA_HELD_OUT) > 1) return MLA_OK;
    return mla_fail(c->context, MLA_ERROR_ARGUMENT,
                    "there is no held-out text to compare by: set data.held_out above 0, or give more documents");
}

int64_t mla_comparison_steps(const mla_comparison *c) {
    const mla_recipe_train *r = &c->base.train;
    if (r->steps > 0) return r->steps;
    if (r->epochs > 0)
        return c->mix.count ? (int64_t)ceil(r->epochs * (double)mla_mix_samples(&c->mix) / (double)r->batch) : 0;
    return (r->tokens + r->batch * r->sequence - 1) / (r->batch * r->sequence);
}

/* ---- the recipes of the arms, which their runs read in the comparison's folder ---- */

static mla_status set_text(mla_context *context, char **member, const char *text) {
    free(*member);
    *member = text ? strdup(text) : NULL;
    return *member ? MLA_OK : mla_fail(context, MLA_ERROR_MEMORY, "no memory for a path");
}

/* From wherever it is read. */
static mla_status set_absolute(mla_context *context, char **member, const char *path) {
    char absolute[PATH_MAX];
    return set_text(context, member, realpath(path, absolute) ? absolute : path);
}

static mla_status use_prepared_mix(mla_context *context, mla_list *mix) {
    mla_status status = MLA_OK;
    for (int64_t k = 0; k < mix->count && !status; k++) {
        char text[PATH_MAX + 64], absolute[PATH_MAX], *path;
        double weight;
        status = mla_recipe_mix_entry(context, "", mix->items[k], &path, &weight);
        if (status) return status;
        const char *colon = strrchr(mix->items[k], ':');
        if (!mla_ends_with(path, ".h5")) snprintf(text, sizeof text, "part-%lld/tokens.h5%s", (long long)k + 1, colon);
        else snprintf(text, sizeof text, "%s%s", realpath(path, absolute) ? absolute : path, colon);
        free(path);
        status = set_text(context, &mix->items[k], text);
    }
    return status;
}

static mla_status use_prepared(mla_context *context, mla_recipe *recipe) {
    mla_recipe_data *d = &recipe->data;
    recipe->data.seed = (int64_t)mla_recipe_data_seed(recipe);
    if (!recipe->data.seed) recipe->data.seed = 1; /* 0 would be each run's own */
    if (d->synthetic.tokens) return MLA_OK;
    if (d->mix.count) return use_prepared_mix(context, &d->mix);
    if (d->tokens) return set_absolute(context, &d->tokens, d->tokens);
    mla_list_free(&d->source);
    return set_text(context, &d->tokens, "tokens.h5");
}

/* "data.tokens=/where/the/comparison/is/tokens.h5", or the same of a mix; none where nothing was prepared. */
static mla_status locate_data(mla_comparison *c) {
    const mla_recipe_data *d = &c->arms.of[0].recipe.data;
    char folder[PATH_MAX];
    size_t size;
    if (d->synthetic.tokens || !realpath(c->o->folder, folder)) return MLA_OK;
    if (d->mix.count && strpbrk(folder, ", \t\n")) return MLA_OK; /* no word of a list; relative to the comparison */
    FILE *out = open_memstream(&c->data, &size);
    if (!out) return mla_fail(c->context, MLA_ERROR_MEMORY, "no memory for a path");
    fprintf(out, d->tokens ? "data.tokens=" : "data.mix=");
    if (d->tokens) fprintf(out, "%s%s%s", d->tokens[0] == '/' ? "" : folder, d->tokens[0] == '/' ? "" : "/", d->tokens);
    for (int64_t k = 0; k < d->mix.count; k++) {
        const char *path = d->mix.items[k];
        fprintf(out, "%s%s%s%s", k ? "," : "", path[0] == '/' ? "" : folder, path[0] == '/' ? "" : "/", path);
    }
    return fclose(out) ? mla_fail(c->context, MLA_ERROR_MEMORY, "no memory for a path") : MLA_OK;
}

static mla_status write_arm(mla_comparison *c, mla_arm *arm) {
    char path[PATH_MAX], name[MLA_ARM_NAME + 32];
    bool made;
    mla_status status = mla_comparison_path(c, arm->name, path);
    if (!status) status = mla_folder_make(c->context, path, &made);
    snprintf(name, sizeof name, "%s/recipe.yaml", arm->name);
    if (!status) status = mla_comparison_path(c, name, path);
    return status ? status : mla_same_recipe(c->context, &arm->recipe, path, "an arm");
}

static mla_status make_arms(mla_comparison *c, bool plan) {
    mla_status status = mla_arms_match(c->context, &c->arms, c->o->match, c->vocabulary);
    if (!status && !plan) status = write_base(c);
    for (int i = 0; i < c->arms.count && !status; i++) {
        status = use_prepared(c->context, &c->arms.of[i].recipe);
        if (!status && !plan) status = write_arm(c, &c->arms.of[i]);
    }
    return status;
}

/* ---- opening ---- */

/* All that several processes may begin at once, one after the other. */
static mla_status open_folder(mla_comparison *c) {
    mla_folder_lock lock = {.handle = -1};
    bool made, begun;
    mla_status status = mla_folder_make(c->context, c->o->folder, &made);
    if (!status) status = mla_comparison_lock(c, &lock);
    if (!status) status = expect_same_base(c, &begun);
    if (!status) status = mla_arms_create(c->context, &c->arms, &c->base, c->o->arms, c->o->own);
    if (!status) status = open_data(c, false, begun);
    if (!status) status = make_arms(c, false);
    if (!status) status = locate_data(c);
    mla_folder_lock_release(&lock);
    return status;
}

static mla_status open_plan(mla_comparison *c) {
    bool begun;
    mla_status status = expect_same_base(c, &begun);
    if (!status) status = mla_arms_create(c->context, &c->arms, &c->base, c->o->arms, c->o->own);
    if (!status) status = open_data(c, true, begun);
    return status ? status : make_arms(c, true);
}

/* Arms that cannot be made leave no folder behind. */
static mla_status try_arms(mla_comparison *c) {
    mla_arms arms;
    const mla_status status = mla_arms_create(c->context, &arms, &c->base, c->o->arms, c->o->own);
    mla_arms_free(&arms);
    return status;
}

static mla_status read_results(mla_comparison *c) {
    mla_status status = MLA_OK;
    for (int i = 0; i < c->arms.count * c->rate_count && !status; i++) {
        const mla_trial trial = mla_comparison_trial(c, i);
        status = mla_trial_read(c->context, &trial, mla_comparison_result(c, i));
    }
    return status;
}

mla_status mla_comparison_open(mla_context *context, mla_comparison **out, const mla_recipe *base,
                               const mla_compare_options *options, bool plan) {
    mla_comparison *c = *out = mla_alloc(context, 1, sizeof *c, "the comparison");
    if (!c) return MLA_ERROR_MEMORY;
    c->context = context;
    c->o = options;
    for (int i = 0; i < MLA_MOST_ARMS; i++) c->best[i] = -1;
    mla_status status = copy_base(c, base);
    if (!status) status = try_arms(c);
    if (!status) status = plan ? open_plan(c) : open_folder(c);
    return status || plan ? status : read_results(c);
}

void mla_comparison_close(mla_comparison *c) {
    if (!c) return;
    mla_mix_close(&c->mix);
    mla_arms_free(&c->arms);
    mla_recipe_free(&c->base);
    free(c->data);
    c->data = NULL;
}

/* ---- runs ---- */

static int sweep_count(const mla_comparison *c) { return c->arms.count * c->rate_count; }

int mla_comparison_count(const mla_comparison *c) { return sweep_count(c) + c->arms.count * (int)(c->o->seeds - 1); }

int mla_comparison_arm(const mla_comparison *c, int i) { return i % c->arms.count; }

bool mla_comparison_is_ready(const mla_comparison *c, int i) {
    return i < sweep_count(c) || c->best[mla_comparison_arm(c, i)] >= 0;
}

mla_trial mla_comparison_trial(const mla_comparison *c, int i) {
    const int arm = mla_comparison_arm(c, i), row = i / c->arms.count, best = c->best[arm];
    const bool sweeps = row < c->rate_count;
    return (mla_trial){.folder = c->o->folder,
                       .data = c->data,
                       .arm = &c->arms.of[arm],
                       .lr = c->rates[sweeps     ? row
                                      : best < 0 ? 0
                                                 : best],
                       .seed = c->first_seed + (sweeps ? 0 : row - c->rate_count + 1)};
}

mla_trial_result *mla_comparison_result(mla_comparison *c, int i) {
    const int arm = mla_comparison_arm(c, i), row = i / c->arms.count;
    return row < c->rate_count ? &c->sweep[arm][row] : &c->others[arm][row - c->rate_count + 1];
}

const mla_trial_result *mla_comparison_at_best(const mla_comparison *c, int arm, int64_t k) {
    if (c->best[arm] < 0) return NULL;
    const mla_trial_result *r = k ? &c->others[arm][k] : &c->sweep[arm][c->best[arm]];
    return r->done ? r : NULL;
}
