/* The logits of given ids, in files, so that another implementation can be held against this one. */
#ifndef MLA_TRAIN_INFERENCE_LOGITS_H
#define MLA_TRAIN_INFERENCE_LOGITS_H

#include "layers/decoder.h"

/* Reads /ids, i32 (N,T), of any HDF5 file and writes /logits, f32 (N,T,V), to a new one, sequence by
 * sequence; shape gets N, T, V. MLA_ERROR_FORMAT for a file without such ids, MLA_ERROR_ARGUMENT for an id
 * that is not in the vocabulary (its place is named) or sequences that are too long for the model. */
mla_status mla_logits_write(mla_context *context, const mla_decoder *model, const char *ids_path, const char *out_path,
                            int64_t shape[3]);

#endif
