// DENSE plans: slots read weighted sums of tokens, tokens read weighted sums of slots, group by group.
//
//   in_g = D_g^T x_g      y_g += C_g out_g          D_g, C_g [m, E*P], x_g [m, D], in_g, out_g [E*P, D]
//
// Packed rows lie by expert, then group, then slot, so every expert is one block: row (e * G + g) * P + p.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/moe/cuda.h"
#include "core/moe/load.h"

namespace swy::moe {

class DispatchDense {
 public:
  DispatchDense(Arena& arena, int32_t width, int32_t experts, int32_t slots, int32_t group_sequences);

  // Lays out the packed rows of this batch; every slot counts as a kept token.
  void pack(const swy_batch&, Load& load);
  void pack(Stream&, const swy_batch&, const LoadOnDevice& load);
  const int64_t* begin() const { return arena_.as<int64_t>(begin_); }  // [E + 1]

  void dispatch(const Exec&, const swy_batch&, const swy_plan&, const float* x, float* packed) const;
  void combine(const Exec&, const swy_batch&, const swy_plan&, const float* out, float* y_add) const;
  // dcombine = dy out^T; then out becomes C^T dy.
  void combine_backward(const Exec&, const swy_batch&, const swy_plan&, const float* dy, float* out,
                        float* dcombine) const;
  // ddispatch = x dpacked^T; dx += D dpacked.
  void dispatch_backward(const Exec&, const swy_batch&, const swy_plan&, const float* x, const float* dpacked,
                         float* ddispatch, float* dx_add) const;

 private:
  struct Extent {
    int64_t first, tokens;
  };
  // Where group g lies. Not read from the batch's table, which may be on a device: all sequences are equally long.
  Extent group(const swy_batch&, int64_t g) const;
  enum class Move { kGather, kScatter };
  // Copies one group's [E*P, D] block between the packed rows and a contiguous one.
  template <Move>
  void move(const Exec&, int32_t groups, int64_t g, float* packed, float* block) const;

  Arena& arena_;
  int32_t width_, experts_, slots_, group_sequences_;
  int begin_, block_;  // block_: per-thread [E*P, D]
};

}  // namespace swy::moe
