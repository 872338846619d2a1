#include "core/ops/multi_tensor.h"

#include <algorithm>

#include "core/ops/adamw.h"
#include "core/ops/cuda.h"

namespace swy::ops {

MultiTensor::MultiTensor(int device, const std::vector<AdamTensor>& tensors) : tensors_(tensors), turn_(device, 1) {
  std::vector<AdamChunk> chunks;
  for (size_t t = 0; t < tensors.size(); ++t)
    for (int64_t first = 0; first < tensors[t].n; first += kChunk)
      chunks.push_back(
          {first, static_cast<int32_t>(t), static_cast<int32_t>(std::min<int64_t>(kChunk, tensors[t].n - first))});
  n_chunks_ = static_cast<int64_t>(chunks.size());
  const auto upload = [&](const auto& all, DeviceMemory& to) {
    const auto bytes = static_cast<int64_t>(all.size() * sizeof all[0]);
    to = DeviceMemory(device, bytes);
    if (bytes > 0) device_copy(to.data(), all.data(), bytes);
  };
  upload(tensors_, there_), upload(chunks, chunks_);
  parts_ = DeviceMemory(device, n_chunks_ * static_cast<int64_t>(sizeof(double)));
}

void MultiTensor::turn(const Exec& ex, const AdamWTurn& t) {
  *turn_.host() = t;
  turn_.send(ex, 1);
}

void MultiTensor::apply(const Exec& ex, const AdamRule& rule, double* norm, float* scale) {
  Exec dry = ex;
  dry.dry = true;
  for (const AdamTensor& t : tensors_) {
    sum_of_squares(dry, t.n, t.g, norm);
    adamw(dry, {0, 0, 0, 0, 0, 1}, t.n, t.g, t.p, t.m, t.v);
    if (t.average) ema(dry, t.n, 0, t.p, t.average);
  }
  clip_scale(dry, static_cast<int64_t>(tensors_.size()), norm, 0, norm, scale);
  if (ex.dry) return;
  if constexpr (kWithCuda) {
    const auto* chunks = static_cast<const AdamChunk*>(chunks_.data());
    const auto* tensors = static_cast<const AdamTensor*>(there_.data());
    auto* parts = static_cast<double*>(parts_.data());
    cuda::chunk_squares(*ex.stream, n_chunks_, chunks, tensors, parts);
    cuda::clip_scale(*ex.stream, n_chunks_, parts, rule.clip_norm, norm, scale);
    cuda::adamw_chunks(*ex.stream, n_chunks_, chunks, tensors, rule, turn_.there(), scale);
  }
}

void MultiTensor::swap_averages(const Exec& ex) {
  if constexpr (kWithCuda)
    cuda::swap_averages(*ex.stream, n_chunks_, static_cast<const AdamChunk*>(chunks_.data()),
                        static_cast<const AdamTensor*>(there_.data()));
}

}  // namespace swy::ops
