#include "layers/parts/pass.h"

#include <string.h>

static void pass_add(mla_context *context, mla_statistics *s, const char *name, double value) {
    int i = 0;
    while (i < s->count && strcmp(s->of[i].name, name)) i++;
    if (i == MLA_MOST_STATISTICS) {
        mla_fail(context, MLA_ERROR_ARGUMENT, "statistics of more than %d names; \"%s\" is one too many",
                 MLA_MOST_STATISTICS, name);
        return;
    }
    if (i == s->count) {
        s->of[i].name = name;
        s->of[i].sum = 0;
        s->of[i].parts = 0;
        s->count++;
    }
    s->of[i].sum += value;
    s->of[i].parts++;
}

void mla_pass_note(mla_tape *tape, const mla_pass *pass, const char *name, const mla_tensor *value) {
    mla_context *context = mla_tape_context(tape);
    if (!pass->statistics || mla_error_status(context) || !value->data || mla_tape_is_recomputing(tape)) return;
    pass_add(context, pass->statistics, name, (double)*(const float *)value->data);
}

mla_tensor *mla_pass_add_loss(mla_tape *tape, const mla_pass *pass, mla_tensor *x, const char *name, mla_tensor *loss) {
    mla_pass_note(tape, pass, name, loss);
    return pass->loss_share > 0 ? mla_join_loss(tape, x, mla_scale(tape, loss, pass->loss_share)) : x;
}

void mla_pass_show(mla_tape *tape, const mla_pass *pass, const mla_attention_sight *sight) {
    if (!mla_error_status(mla_tape_context(tape))) pass->onlooker->see(pass->onlooker->user, tape, sight);
}
