// ASSIGN plans: from a list of (row, expert, weight) to packed expert rows, and back.
//
// Capacity holds per (group, expert) and is applied in list order: an entry is kept while its expert has room for all
// of its tokens. (Counting refused claims too, as V-MoE does, keeps the same set when a row is one token.)
// Kept tokens are packed by expert, inside an expert in list order. A token's outputs are added in list order.
// T tokens, E experts, N kept tokens, D width.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/moe/load.h"

namespace swy::moe {

class DispatchAssign {
 public:
  DispatchAssign(Arena& arena, int32_t width, int32_t experts, int64_t max_tokens, int64_t max_groups, int64_t max_rows,
                 int64_t max_assign);

  // Applies capacity; adds to `load`. Everything below refers to this plan until the next call.
  void pack(const swy_batch&, const swy_plan&, Load& load);
  int64_t rows() const { return begin()[experts_]; }                     // N
  const int64_t* begin() const { return arena_.as<int64_t>(begin_); }    // [E + 1]
  const int32_t* token() const { return arena_.as<int32_t>(token_); }    // [N]
  const int32_t* expert() const { return arena_.as<int32_t>(expert_); }  // [N]
  const int32_t* entry() const { return arena_.as<int32_t>(entry_); }    // [N] index into the list

  void gather(const Exec&, const float* x, float* packed) const;  // packed [N, D]
  // y[token] += weight * out[row]
  void combine(const Exec&, const swy_plan&, int64_t tokens, const float* out, float* y_add) const;
  // dweight[entry] = sum over the entry's tokens of <dy[token], out[row]> (0 where dropped); then out[row] becomes
  // weight * dy[token], the gradient at the expert's output.
  void combine_backward(const Exec&, const swy_plan&, const float* dy, float* out, float* dweight) const;
  void gather_backward(const Exec&, int64_t tokens, const float* dpacked, float* dx_add) const;

 private:
  Arena& arena_;
  int32_t width_, experts_;
  bool row_is_token_ = true;  // of the plan packed last
  int begin_, token_, expert_, entry_, keep_, used_, cursor_, token_begin_, token_rows_, group_;
};

}  // namespace swy::moe
