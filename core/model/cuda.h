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

}  // namespace swy::model::cuda
