// The experts: E two-layer MLPs over rows that lie packed by expert.
//
//   pre = x W1_e     y = gelu(pre + b1_e) W2_e + b2_e          rows [begin_e, begin_{e+1}) belong to expert e
//
// Each expert is one task that walks its rows in chunks small enough for the L2 cache; weight gradients of an expert
// are added chunk by chunk in order, so they do not depend on the thread count. Charged to Part::kExperts for
// the rows really present. D width, H hidden, N packed rows.
#pragma once
#include <cstdint>

#include "core/device/arena.h"
#include "core/device/exec.h"

namespace swy::moe {

struct ExpertWeights {  // expert e at e * its own size: w1 [E, D, H], b1 [E, H], w2 [E, H, D], b2 [E, D]
  const float *w1, *b1, *w2, *b2;
};
struct ExpertGrads {
  float *w1, *b1, *w2, *b2;
};

class Experts {
 public:
  Experts(Arena& arena, int32_t width, int32_t hidden, int64_t max_rows);

  // begin [E + 1]: first packed row of each expert. Reads x [N, D], writes y [N, D], keeps what backward needs.
  void forward(const Exec&, int32_t experts, const int64_t* begin, const ExpertWeights&, const float* x, float* y);
  // dy [N, D] becomes dL/dx in place; weight gradients are added. x as in forward.
  void backward(const Exec&, int32_t experts, const int64_t* begin, const ExpertWeights&, const ExpertGrads&,
                const float* x, float* dy);

 private:
  Arena& arena_;
  int32_t width_, hidden_, threads_;
  int pre_, work_, mirror_;  // spans: pre-activations [N, H]; per-thread chunks [kChunk, H] twice
};

}  // namespace swy::moe
