#include "layers/kinds.h"
#include "layers/attention/latent_attention.h"
#include "layers/attention/multi_head_attention.h"
#include "layers/feed_forward/dense.h"
#include "layers/head/classification.h"
#include "layers/head/language.h"

const mla_attention_kind *const mla_attention_kinds[] = {&mla_latent_kind, &mla_multi_head_kind, NULL};
const mla_feed_forward_kind *const mla_feed_forward_kinds[] = {&mla_dense_kind, NULL};
const mla_head_kind *const mla_head_kinds[] = {&mla_language_kind, &mla_sequence_kind, &mla_token_kind, NULL};
