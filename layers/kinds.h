/* The kinds of attention, feed-forward and head that a model can be made of, and the one place that lists them. */
#ifndef MLA_LAYERS_KINDS_H
#define MLA_LAYERS_KINDS_H

#include "layers/attention/attention.h"
#include "layers/feed_forward/feed_forward.h"
#include "layers/head/head.h"

/* Each ends with NULL; the first is the default. */
extern const mla_attention_kind *const mla_attention_kinds[];
extern const mla_feed_forward_kind *const mla_feed_forward_kinds[];
extern const mla_head_kind *const mla_head_kinds[];

#endif
