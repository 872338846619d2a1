// Lengths on CUDA: one thread per element of the result.
#include "core/model/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::model::cuda {

using namespace ops::cuda;  // NOLINT: how kernels are launched

void grow(Stream& s, int32_t sequences, int32_t* length, int32_t* before) {
  each(s, sequences, [=] __device__(int64_t b) { before[b] = length[b]++; });
}

void mask_ends(Stream& s, int32_t sequences, int32_t tokens, const int32_t* length, uint8_t* mask) {
  const int64_t n = tokens;
  cells(s, sequences, n, [=] __device__(int64_t b, int64_t t) { mask[b * n + t] = t < length[b]; });
}

void last_tokens(Stream& s, int32_t sequences, int32_t tokens, int32_t width, const int32_t* length, const float* x,
                 float* last) {
  const int64_t d = width, n = tokens;
  cells(s, sequences, d,
        [=] __device__(int64_t b, int64_t c) { last[b * d + c] = x[(b * n + length[b] - 1) * d + c]; });
}

}  // namespace swy::model::cuda
