// MERGE plans over LoRA experts whose outputs or weight deltas are mixed, which for linear experts is the same:
//
//   y = c sum_e mix[r, e] (x A_e) B_e = x (c sum_e mix[r, e] A_e B_e)          r: the row of the token
//
// The D x O matrix on the right is never built: all experts lie side by side as one of rank E r, and the mixing scales
// its columns. Two products over all tokens, whatever the number of rows.
//
//   u = x [A_1 .. A_E]     v[t, (e, j)] = mix[r, e] u[t, (e, j)]     y += c v [B_1; ..; B_E]
//   dv = c dy B^T          dmix[r, e] = sum over t in r, j of u dv   du = mix dv     dx += du A^T
//
// The products are charged to Part::kExperts, the mixing to who calls. T tokens, R rows, D width, O output width, E
// experts, r rank.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/moe/cuda.h"
#include "core/moe/site.h"

namespace swy::moe {

class LoraStack {
 public:
  LoraStack(Arena&, const SiteSpec&, int64_t max_tokens);

  // begin [R + 1]: first token of each row; mix [R, E]; a [E, D, r], b [E, r, O]; x [T, D], y_add [T, O]. Padding gets
  // nothing. All on the device of the call.
  void forward(const Exec&, const swy_batch&, const int64_t* begin, const float* mix, const float* a, const float* b,
               const float* x, float* y_add);
  // Of the last forward, with its arguments. dmix [R, E] is overwritten, the others are added to.
  void backward(const Exec&, const swy_batch&, const int64_t* begin, const float* mix, const float* b, const float* x,
                const float* dy, float* da_add, float* db_add, float* dx_add, float* dmix);

 private:
  void stack(const Exec&, const float* a, float* stacked) const;
  void unstack_add(const Exec&, const float* stacked, float* a_add) const;
  void mix_columns(const Exec&, const cuda::MixedRows&, const float* mix, const float* u, float* v) const;
  void mix_columns_backward(const Exec&, const cuda::MixedRows&, const float* u, const float* dv, float* dmix) const;
  float* at(int span) const { return arena_.as<float>(span); }

  Arena& arena_;
  cuda::StackSizes sizes_;
  int64_t out_, columns_;  // O, E r
  float scale_;            // c
  int a_, da_;             // spans [D, E r]
  int u_, v_, dv_;         // [T, E r]
};

}  // namespace swy::moe
