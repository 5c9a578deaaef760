/* The learning rate of each step: a linear warm-up, then one of five courses. */
#ifndef MLA_OPTIM_SCHEDULE_H
#define MLA_OPTIM_SCHEDULE_H

#include <stdint.h>

typedef enum {
    MLA_SCHEDULE_CONSTANT,
    MLA_SCHEDULE_COSINE,  /* half a cosine down to min_ratio at step total_steps */
    MLA_SCHEDULE_LINEAR,  /* a line down to min_ratio at step total_steps */
    MLA_SCHEDULE_WSD,     /* warm-up, stable, decay: constant, then a line over the last decay_steps (Hu et al. 2024) */
    MLA_SCHEDULE_DEEPSEEK /* constant, dropping twice (DeepSeek-AI 2024, "DeepSeek-V2", section 3.1.2) */
} mla_schedule_kind;

typedef struct {
    mla_schedule_kind kind;
    int64_t warmup_steps; /* the rate grows from 0 at step 0 to its full value at step warmup_steps */
    int64_t total_steps;
    int64_t decay_steps; /* of WSD */
    /* of DEEPSEEK: the shares of the steps after which the rate drops, and what it is multiplied by each time */
    double drop_at, drop_again_at, drop_factor;
    double min_ratio; /* the lowest rate over the full one; not for CONSTANT and DEEPSEEK */
} mla_schedule;

/* The factor on the learning rate for a step, which counts from 0. As torch's LambdaLR with transformers'
 * schedules: the first update, step 0, has rate 0 where there is a warm-up. */
double mla_schedule_factor(const mla_schedule *schedule, int64_t step);

#endif
