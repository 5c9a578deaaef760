/* What a pass through a model has beside its input, the same for all layers: which positions see which, what was seen
 * before, and where layers leave what they have to say. */
#ifndef MLA_LAYERS_PARTS_PASS_H
#define MLA_LAYERS_PARTS_PASS_H

#include "autograd/ops.h"

/* Sums that layers leave by name, such as an auxiliary loss or how evenly experts are used. */
enum { MLA_MOST_STATISTICS = 16 };
typedef struct {
    int count;
    struct {
        const char *name; /* a constant */
        double sum;
        int64_t parts; /* how many values were added: sum / parts is their mean */
    } of[MLA_MOST_STATISTICS];
} mla_statistics;

/* The steps of attention by its definition, for those who look into a model. */
typedef enum {
    MLA_STEP_INPUT,   /* x (B,T,D) */
    MLA_STEP_QUERIES, /* (B,T,H,K), turned */
    MLA_STEP_LATENT,  /* of latent attention, as they are cached: c (B,T,C), and the rotary key (B,T,R), turned, or NULL
                       */
    MLA_STEP_KEYS,    /* (B,T,G,K), turned, and the values (B,T,G,V) */
    MLA_STEP_ATTENTION, /* (B,T,H*V) */
    MLA_STEP_OUTPUT,    /* (B,T,D) */
    MLA_ATTENTION_STEPS
} mla_attention_step;

/* What a step gave; the tensors are there during the call only. */
typedef struct {
    int64_t layer;
    mla_attention_step step;
    const mla_tensor *first, *second; /* second: NULL unless said above */
    float scale;                      /* of the scores, with QUERIES; otherwise 0 */
} mla_attention_sight;

typedef struct {
    void (*see)(void *user, mla_tape *tape, const mla_attention_sight *sight);
    void *user;
} mla_onlooker;

/* The zero value is an ordinary pass over a batch of single documents. */
typedef struct {
    const int32_t *starts;      /* documents in one sequence: see mla_attention_mask; NULL: one in each */
    struct mla_kv_cache *cache; /* layers/attention/kv_cache.h; NULL: none, as in training */
    bool recompute;             /* activation checkpointing: blocks keep their input and are computed again */
    float loss_share;           /* of auxiliary losses: this batch's share of the step; 0: they are left out */
    mla_statistics *statistics; /* NULL: nobody asks */
    struct mla_lesson *lesson;  /* layers/parts/lesson.h: what attentions give is learned; NULL: it is not */
    /* Attention goes step by step and shows each to it; with the cache it is refused. NULL: nobody looks. */
    const mla_onlooker *onlooker;
} mla_pass;

/* For attentions that go step by step: shows a step to the pass's onlooker. */
void mla_pass_show(mla_tape *tape, const mla_pass *pass, const mla_attention_sight *sight);

/* x, with which `loss` (one element) becomes part of what is minimised, times the pass's loss_share: for a layer with a
 * loss of its own. The value is noted under `name`. The same inside of recomputed blocks, where it is noted once. */
mla_tensor *mla_pass_add_loss(mla_tape *tape, const mla_pass *pass, mla_tensor *x, const char *name, mla_tensor *loss);

/* Adds the value of a tensor of one element to the statistics; not again when a block is recomputed, nor in a run on
 * shapes alone. Names beyond MLA_MOST_STATISTICS: MLA_ERROR_ARGUMENT in the tape's context. */
void mla_pass_note(mla_tape *tape, const mla_pass *pass, const char *name, const mla_tensor *value);

#endif
