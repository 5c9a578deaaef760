/* What is made equal between the arms of a comparison, so that what differs is their attention. */
#ifndef MLA_TRAIN_COMPARE_MATCH_H
#define MLA_TRAIN_COMPARE_MATCH_H

#include "train/compare/arms.h"

/* PARAMETERS, FLOPS: the feed-forward's width is adjusted until an arm has as many as the first arm, FLOPs as the ops
 * of a training step state them. CACHE: the latent rank is adjusted until an arm caches as many bytes a token, and then
 * the feed-forward's width for equal parameters. Heads stay as they are. NONE: all do. */
typedef enum { MLA_MATCH_PARAMETERS, MLA_MATCH_FLOPS, MLA_MATCH_CACHE, MLA_MATCH_NONE } mla_match;
extern const char *const mla_match_names[]; /* ends with NULL */

/* As far as what is matched may be apart. */
#define MLA_MATCH_TOLERANCE 0.005

/* Adjusts all arms but the first, to widths that 8 divides where they are near enough, and fills in what they have.
 * `vocabulary` is that of the data, for arms that leave it open. MLA_ERROR_ARGUMENT names the arm that is out of reach,
 * and why. */
mla_status mla_arms_match(mla_context *context, mla_arms *arms, mla_match how, int64_t vocabulary);

#endif
