// ASSIGN plans: from a list of (row, expert, weight) to packed expert rows, and back.
//
// Capacity holds per (group, expert) and is applied in list order. A token row is kept while its expert has room.
// (V-MoE also counts the claims it refuses, and keeps the same set.) A coarser row (sequence, task, batch) is carried
// out sequence by sequence: each of its sequences fits whole into (its group, expert) or is dropped whole. Padding
// takes no room and reaches no expert. Kept tokens are packed by expert, inside an expert in list order. A token's
// outputs are added in list order. T tokens, E experts, N kept pairs, D width.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/device/sums.h"
#include "core/moe/cuda.h"
#include "core/moe/load.h"

namespace swy::moe {

enum class PackOrder { kList, kToken };  // inside an expert

class DispatchAssign {
 public:
  // REQUIRES: kToken has one expert.
  DispatchAssign(Arena&, const swy_site&, const swy_needs&, PackOrder order = PackOrder::kList);
  int64_t max_rows() const { return max_rows_; }  // most N of any plan
  // Charges to the router what was done on the stream's device since the last time, as of the arena's last fetch().
  void charge_done(const Exec&);

  // Applies capacity; adds to `load`. Everything below refers to this plan until the next call.
  void pack(const swy_batch&, const swy_plan&, Load& load);
  void pack(Stream&, const swy_batch&, const swy_plan&, const LoadOnDevice& load);
  // After pack on a device what these point to lies there, and rows() must not be called.
  int64_t rows() const { return begin()[experts_]; }                     // N
  const int64_t* begin() const { return arena_.as<int64_t>(begin_); }    // [E + 1]
  const int32_t* token() const { return arena_.as<int32_t>(token_); }    // [N]
  const int32_t* expert() const { return arena_.as<int32_t>(expert_); }  // [N]
  const int32_t* entry() const { return arena_.as<int32_t>(entry_); }    // [N] index into the list
  // [T + 1] kept pairs of the tokens before this one
  const int32_t* token_begin() const { return arena_.as<int32_t>(token_begin_); }

  // Moving rows of any width: as below. A device counts none of them, as charge_done() takes all rows for D wide:
  // whoever moves them counts rows and charges the Work here for them. Charged at once is what depends on tokens alone.
  void gather(const Exec&, int64_t width, const float* x, float* packed) const;
  void combine(const Exec&, int64_t width, const swy_plan&, int64_t tokens, const float* out, float* y_add) const;
  void combine_backward(const Exec&, int64_t width, const swy_plan&, const float* dy, float* out,
                        float* dweight_add) const;
  void gather_backward(const Exec&, int64_t width, int64_t tokens, const float* dpacked, float* dx_add) const;
  // Of n packed rows whose numbers are `size` bytes each (gathered ones are fp32), and of t tokens; linear in both.
  static Work gather_work(double n, double width);
  static Work combine_work(double n, double t, double width, double size = sizeof(float));
  static Work combine_backward_work(double n, double width, double size = sizeof(float));
  static Work gather_backward_work(double n, double t, double width, double size = sizeof(float));

  // On a device packed rows may be bf16. Nobody gathers those: the experts take rows of a tensor [T, D] by token(), and
  // making that bf16 moves 6 bytes per number of a token, where a packed copy is 6 per number of a row, k times as
  // many.
  void gather(const Exec&, const float* x, float* packed) const;  // packed [N, D]
  // y[token] += weight * out[row]
  void combine(const Exec&, const swy_plan&, int64_t tokens, const float* out, float* y_add) const;
  void combine(const Exec&, const swy_plan&, int64_t tokens, const ops::Bf16* out, float* y_add) const;
  // dweight[entry] = sum over the entry's tokens of <dy[token], out[row]> (0 where dropped); then out[row] becomes
  // weight * dy[token], the gradient at the expert's output.
  void combine_backward(const Exec&, const swy_plan&, const float* dy, float* out, float* dweight) const;
  void combine_backward(const Exec&, const swy_plan&, const float* dy, ops::Bf16* out, float* dweight) const;
  void gather_backward(const Exec&, int64_t tokens, const float* dpacked, float* dx_add) const;
  void gather_backward(const Exec&, int64_t tokens, const ops::Bf16* dpacked, float* dx_add) const;

 private:
  AssignMemory memory() const;
  AssignMemory uncounted() const;  // the same, for kernels that shall not count their rows
  double known_rows(const Exec& ex) const { return ex.stream ? 0 : static_cast<double>(rows()); }
  template <bool kTokenRows, class Body>
  void for_each_piece(const swy_batch&, const swy_plan&, Body&& body) const;
  template <bool kTokenRows>
  void pack_pieces(const swy_batch&, const swy_plan&, Load& load);
  void list_sequences(const swy_batch&);

  Arena& arena_;
  int32_t width_, experts_, row_kind_;
  PackOrder order_;
  int64_t max_rows_;
  int begin_, token_, expert_, entry_, keep_, used_, cursor_, token_begin_, token_rows_, group_;
  int row_first_, row_sequences_;  // coarse rows: the sequences of each, row by row
  int64_t max_assign_;
  int32_t pieces_;                                                             // most of one entry
  int histogram_, list_, claims_, taken_, token_cursor_, real_, dot_, moved_;  // on a device (cuda.h, AssignMemory)
  DeviceSums<int64_t> done_;
};

}  // namespace swy::moe
