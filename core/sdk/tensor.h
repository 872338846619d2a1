// What a traced program is made of: symbolic tensors and their rows, starts of parameters, and the kernels of a node.
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>

#include "core/abi/router.h"

namespace swy {

class Graph;
class Call;

// A number of rows: a constant, or a multiple of what the batch brings.
struct Rows {
  enum Unit { kOne, kTokens, kGroups, kSequences, kRows } unit = kOne;
  int64_t scale = 1;
  Rows(int64_t n) : scale(n) {}  // NOLINT: a plain number is a number of rows
  Rows(Unit u, int64_t s) : unit(u), scale(s) {}
  bool operator==(const Rows&) const = default;
};

// A symbolic tensor: a handle, cheap to copy.
struct Tensor {
  Graph* graph = nullptr;
  int id = -1;
  explicit operator bool() const { return id >= 0; }
  Rows rows() const;
  int64_t cols() const;
};

struct Start {  // initial value of a parameter
  int32_t init;
  float scale;
};
inline Start zeros_start() { return {SWY_INIT_ZERO, 0}; }
inline Start constant(float value) { return {SWY_INIT_CONST, value}; }
inline Start normal(float std) { return {SWY_INIT_NORMAL, std}; }
inline Start uniform(float half_width) { return {SWY_INIT_UNIFORM, half_width}; }
inline Start orthogonal(float gain) { return {SWY_INIT_ORTHOGONAL, gain}; }
inline Start lecun_normal(int64_t fan_in) {  // truncated normal of std 1/sqrt(fan_in), Flax's default
  return {SWY_INIT_TRUNC_NORMAL, 1.f / std::sqrt(static_cast<float>(fan_in))};
}

// Where a step stands: what schedules depend on.
struct Moment {
  double progress;  // share of the training budget spent before this step, in [0, 1]
  int64_t step;     // optimiser steps done
  int32_t site, n_sites;
  uint64_t seed;  // of the run, step and site: the same in forward, backward and update
};

using Kernel = std::function<void(Call&)>;
struct Cost {  // of one call
  double flops, bytes;
};
using CostOf = std::function<Cost(const Call&)>;
// A custom op's kernels on a CUDA device: they enqueue work on c.exec->stream, a cudaStream_t, and return; pointers are
// the device's. Sources: the plugin's own router.cu, or calls of the CUDA runtime.
struct CudaKernels {
  Kernel forward, backward;
};

}  // namespace swy
