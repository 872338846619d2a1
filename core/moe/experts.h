// The experts: E two-layer MLPs over rows that lie packed by expert.
//
//   pre = x W1_e     y = act(pre + b1_e) W2_e + b2_e          rows [begin_e, begin_{e+1}) belong to expert e
//
// act is GELU, or SwiGLU: then W1 and b1 have 2 H columns, the gate (w1 elsewhere) in the first H, the up projection
// (w3) in the others, so that both are one product. Biases may be missing. Each expert is one task that walks its rows
// in chunks small enough for the L2 cache; weight gradients of an expert are added chunk by chunk in order, so they do
// not depend on the thread count. Charged to Part::kExperts for the rows really present. D width, H hidden, N packed
// rows.
//
// On a device all experts are one product (grouped_gemm.cuh) and the activations are kept beside the pre-activations.
// How many rows there are is known there alone, so a device counts rows and chunks, and drain() charges what the host's
// loop over as many would have.
#pragma once
#include <cstdint>

#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/ops/ffn.h"

namespace swy::moe {

// Expert e at e * its own size: w1 [E, D, H or 2 H], b1 [E, H or 2 H], w2 [E, H, D], b2 [E, D]; b1, b2 null: no biases.
struct ExpertWeights {
  const float *w1, *b1, *w2, *b2;
};
struct ExpertGrads {
  float *w1, *b1, *w2, *b2;
};

class Experts {
 public:
  Experts(Arena& arena, int32_t width, int32_t hidden, ops::ActivationKind activation, int64_t max_rows);

  // begin [E + 1], on the device of the call: first packed row of each expert. Reads x [N, D], writes y [N, D], keeps
  // what backward needs.
  void forward(const Exec&, int32_t experts, const int64_t* begin, const ExpertWeights&, const float* x, float* y);
  // dy [N, D] becomes dL/dx in place; weight gradients are added. x as in forward.
  void backward(const Exec&, int32_t experts, const int64_t* begin, const ExpertWeights&, const ExpertGrads&,
                const float* x, float* dy);
  // Charges what was done on the stream's device since the last time; waits.
  void drain(const Exec&);

 private:
  // n rows of the one expert whose parameters these are.
  void forward_chunk(const Exec&, int64_t n, const ExpertWeights&, const float* x, float* pre, float* act,
                     float* y) const;
  void backward_chunk(const Exec&, int64_t n, const ExpertWeights&, const ExpertGrads&, const float* x,
                      const float* pre, float* dact, float* spare, float* dy) const;
  Arena& arena_;
  int32_t width_, hidden_, threads_;
  ops::ActivationKind activation_;
  int64_t pre_columns_;  // H or 2 H
  int64_t max_rows_;
  // Spans: pre-activations [N, H or 2 H]; per-thread chunks [kChunk, H], [kChunk, H or 2 H], on a device all of [N, H],
  // [N, H or 2 H]; there, rows and chunks done in forward and in backward [4].
  int pre_, work_, mirror_, done_;
  bool bias_ = false;  // of the last call on a device
};

}  // namespace swy::moe
