#include "optim/schedule.h"

#include <math.h>

/* How far the step is from `begin` to `end`, between 0 and 1. */
static double progress(int64_t step, int64_t begin, int64_t end) {
    if (step <= begin) return 0;
    return step >= end ? 1 : (double)(step - begin) / (double)(end - begin);
}

static double deepseek_factor(const mla_schedule *s, int64_t step) {
    const double share = progress(step, 0, s->total_steps);
    return (share < s->drop_at ? 1 : s->drop_factor) * (share < s->drop_again_at ? 1 : s->drop_factor);
}

double mla_schedule_factor(const mla_schedule *s, int64_t step) {
    if (step < s->warmup_steps) return (double)step / (double)s->warmup_steps;
    const double low = s->min_ratio, after_warmup = progress(step, s->warmup_steps, s->total_steps);
    switch (s->kind) {
    case MLA_SCHEDULE_COSINE: return low + (1 - low) * 0.5 * (1 + cos(M_PI * after_warmup));
    case MLA_SCHEDULE_LINEAR: return low + (1 - low) * (1 - after_warmup);
    case MLA_SCHEDULE_WSD:
        return low + (1 - low) * (1 - progress(step, s->total_steps - s->decay_steps, s->total_steps));
    case MLA_SCHEDULE_DEEPSEEK: return deepseek_factor(s, step);
    case MLA_SCHEDULE_CONSTANT: break;
    }
    return 1;
}
