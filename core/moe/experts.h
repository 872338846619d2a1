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
// How many rows there are is known there alone, so a device counts rows and chunks, and charge_done() charges what the
// host's loop over as many would have.
//
// Where the stream allows bf16 and D and H are multiples of 8, operands lie on the device as bf16
// (grouped_gemm_bf16.cuh) in half of the same room: rows, activations and a copy of the weights that every forward
// makes anew, so that nobody who changes weights has to know of it. Parameters and their gradients stay fp32. The work
// is charged as it is done: 6 bytes per weight for the copy, 2 per number of an operand, weights and their gradients
// once for each expert with rows.
#pragma once
#include <cstdint>

#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/device/sums.h"
#include "core/moe/cuda.h"
#include "core/ops/bf16.h"
#include "core/ops/ffn.h"

namespace swy::moe {

// Expert e at e * its own size: w1 [E, D, H or 2 H], b1 [E, H or 2 H], w2 [E, H, D], b2 [E, D]; b1, b2 null: no biases.
struct ExpertWeights {
  const float *w1, *b1, *w2, *b2;
};
struct ExpertGrads {
  float *w1, *b1, *w2, *b2;
};

// What stands before and behind the experts where their operands are bf16.
enum class Around {
  kFp32,  // rows given, taken back and gone through backward as fp32: forward and backward convert them
  kBf16   // rows that are bf16 already: forward_bf16 and backward_bf16 are called where uses_bf16
};

class Experts {
 public:
  // max_experts: the most that a call names
  Experts(Arena& arena, int32_t width, int32_t hidden, ops::ActivationKind activation, int64_t max_rows,
          int32_t max_experts, Around around = Around::kFp32);

  // begin [E + 1], on the device of the call: first packed row of each expert. Reads x [N, D], writes y [N, D], keeps
  // what backward needs.
  void forward(const Exec&, int32_t experts, const int64_t* begin, const ExpertWeights&, const float* x, float* y);
  // dy [N, D] becomes dL/dx in place; weight gradients are added. x as in forward.
  void backward(const Exec&, int32_t experts, const int64_t* begin, const ExpertWeights&, const ExpertGrads&,
                const float* x, float* dy);
  // Whether operands are bf16 in calls with this Exec.
  bool uses_bf16(const Exec&) const;
  // REQUIRES: kBf16 and uses_bf16. Packed row r is row token[r] of x [., D], which nobody has to pack; y [N, D].
  void forward_bf16(const Exec&, int32_t experts, const int64_t* begin, const ExpertWeights&, const ops::Bf16* x,
                    const int32_t* token, ops::Bf16* y);
  // As backward. The weights as they were in forward. dy has room for max_rows, and what stands behind N may be read.
  void backward_bf16(const Exec&, int32_t experts, const int64_t* begin, const ExpertGrads&, const ops::Bf16* x,
                     const int32_t* token, ops::Bf16* dy);
  // Charges what was done on the stream's device since the last time, as of the arena's last fetch().
  void charge_done(const Exec&);

 private:
  // n rows of the one expert whose parameters these are.
  void forward_chunk(const Exec&, int64_t n, const ExpertWeights&, const float* x, float* pre, float* act,
                     float* y) const;
  void backward_chunk(const Exec&, int64_t n, const ExpertWeights&, const ExpertGrads&, const float* x,
                      const float* pre, float* dact, float* spare, float* dy) const;
  int64_t* done(Pass, bool bf16) const;  // [2] rows, and chunks or experts with rows
  bool bf16_fits() const { return width_ % 8 == 0 && hidden_ % 8 == 0; }
  cuda::ExpertSizes sizes_of(int32_t experts) const { return {experts, width_, hidden_, max_rows_, activation_}; }
  cuda::Bf16Weights weights_as_bf16() const { return {arena_.as<ops::Bf16>(w1_), arena_.as<ops::Bf16>(w2_), b1_, b2_}; }
  template <class Number>
  void run_forward(const Exec&, int32_t experts, const int64_t* begin, const ExpertWeights&, const cuda::Bf16Rows& x,
                   Number* y);
  template <class Number>
  void run_backward(const Exec&, int32_t experts, const int64_t* begin, const ExpertGrads&, const cuda::Bf16Rows& x,
                    const ops::Bf16* dy, Number* dx);
  // Bytes of one row, or of the parameters of one expert.
  double row_bytes(Pass) const;
  double expert_bytes(Pass) const;

  Arena& arena_;
  int32_t width_, hidden_, threads_, max_experts_;
  Around around_;
  ops::ActivationKind activation_;
  int64_t pre_columns_;  // H or 2 H
  int64_t max_rows_;
  // Spans: pre-activations [N, H or 2 H]; per-thread chunks [kChunk, H], [kChunk, H or 2 H], on a device all of [N, H],
  // [N, H or 2 H]; bf16 copies of W1 and W2, and of fp32 rows and their gradients [N, D].
  int pre_, work_, mirror_, w1_, w2_, rows_, drows_;
  DeviceSums<int64_t> done_;                   // [8]
  const float *b1_ = nullptr, *b2_ = nullptr;  // of the last call on a device
};

}  // namespace swy::moe
