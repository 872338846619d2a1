// Images to tokens, and tokens back to one vector per image. Shapes: B images, S tokens each (p x p patches in row
// order), D width. Sums run in one order whatever the thread count.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::model {

// images [B, channels, side, side] -> patches [B * S, channels * p * p]: channel, then row, then column inside a patch.
void patchify(const Exec&, int32_t batch, int32_t channels, int32_t side, int32_t patch, const float* images,
              float* patches);
// The inverse: every pixel lies in one patch.
void unpatchify(const Exec&, int32_t batch, int32_t channels, int32_t side, int32_t patch, const float* patches,
                float* images);

// x[b, s, :] = position[s, :] + bias; the patch projection is added to it.
void start_tokens(const Exec&, int32_t batch, int32_t tokens, int32_t width, const float* position, const float* bias,
                  float* x);
// dposition[s, :] += sum over b of dx[b, s, :]
void position_backward(const Exec&, int32_t batch, int32_t tokens, int32_t width, const float* dx,
                       float* dposition_add);

// pooled[b, :] = mean over s of x[b, s, :]; backward writes dx[b, s, :] = dpooled[b, :] / S.
void mean_tokens(const Exec&, int32_t batch, int32_t tokens, int32_t width, const float* x, float* pooled);
void mean_tokens_backward(const Exec&, int32_t batch, int32_t tokens, int32_t width, const float* dpooled, float* dx);

}  // namespace swy::model
