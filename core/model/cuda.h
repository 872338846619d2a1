// The ops of this folder on a CUDA device, as in core/ops/cuda.h: each does what its namesake does on the CPU, with all
// tensors on the stream's device; the namesake has counted the work before it comes here. Enqueues and returns.
#pragma once
#include <cstdint>

#include "core/device/device.h"

namespace swy::model::cuda {

void patchify(Stream&, int32_t batch, int32_t channels, int32_t side, int32_t patch, const float* images,
              float* patches);
void unpatchify(Stream&, int32_t batch, int32_t channels, int32_t side, int32_t patch, const float* patches,
                float* images);
void start_tokens(Stream&, int32_t batch, int32_t tokens, int32_t width, const float* position, const float* bias,
                  float* x);
void position_backward(Stream&, int32_t batch, int32_t tokens, int32_t width, const float* dx, float* dposition_add);
void mean_tokens(Stream&, int32_t batch, int32_t tokens, int32_t width, const float* x, float* pooled);
void mean_tokens_backward(Stream&, int32_t batch, int32_t tokens, int32_t width, const float* dpooled, float* dx);

// ---- incremental decoding (lengths.h) ----
void grow(Stream&, int32_t sequences, int32_t* length, int32_t* before);
void mask_ends(Stream&, int32_t sequences, int32_t tokens, const int32_t* length, uint8_t* mask);
void last_tokens(Stream&, int32_t sequences, int32_t tokens, int32_t width, const int32_t* length, const float* x,
                 float* last);

// ---- routed blocks: kept rows in token order, as many as the device alone knows ----
// first[b] = kept rows before sequence b, b in [0, B]. sequence_begin [B + 1]; token_begin [T + 1] kept rows before
// each token.
void find_sequences(Stream&, int32_t sequences, const int32_t* sequence_begin, const int32_t* token_begin,
                    int32_t* first);
// to[r] = position[token[r]] for the kept rows, 0 for the other of `rows`.
void find_positions(Stream&, const int32_t* kept, int64_t rows, const int32_t* position, const int32_t* token,
                    int32_t* to);
// Sets the rows of x[rows, width] from *kept on to 0.
void clear_rows_from(Stream&, const int32_t* kept, int64_t rows, int64_t width, float* x);
// What a pass over the kept rows is charged for: done[0] += rows, done[1] += pairs of tokens that attend to each other,
// done[2] += 1 if there is a row.
void count_kept(Stream&, int32_t sequences, const int32_t* first, bool causal, int64_t* done);

}  // namespace swy::model::cuda
