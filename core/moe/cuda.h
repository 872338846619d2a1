// The parts of this folder that run on a CUDA device. Each does what the host's loop of the same class does, in the
// same order where order matters, and enqueues only: sizes that depend on a plan stay on the device, grids are as large
// as any plan could ask for. T tokens, E experts, N packed rows, D width, H hidden.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/device/device.h"
#include "core/moe/batch_tables.h"
#include "core/ops/bf16.h"
#include "core/ops/ffn.h"

namespace swy::moe {

struct ExpertWeights;
struct ExpertGrads;

// Where the tables of a call lie (call_memory.h).
struct TableMemory {
  int32_t *position, *sequence_begin, *group_begin, *group_capacity;
  int64_t* sequence_id;
  int32_t *row_begin, *row_previous;
};

// A Load as one array.
template <class Number>
struct LoadArray {
  Number* base = nullptr;
  int32_t experts = 0;
  SWY_HOST_DEVICE Number* kept() const { return base; }                  // [E]
  SWY_HOST_DEVICE Number* dropped() const { return base + experts; }     // [E]
  SWY_HOST_DEVICE Number* tokens() const { return base + 2 * experts; }  // and so on, one each
  SWY_HOST_DEVICE Number* unrouted() const { return tokens() + 1; }
  SWY_HOST_DEVICE Number* capacity() const { return tokens() + 2; }
  SWY_HOST_DEVICE Number* forwards() const { return tokens() + 3; }
  SWY_HOST_DEVICE Number* violations() const { return tokens() + 4; }
  static int64_t size(int32_t experts) { return 2 * int64_t{experts} + 5; }  // elements
};
using LoadOnDevice = LoadArray<int64_t>;  // of one forward, without the last two
using LoadSums = LoadArray<double>;       // of all of them; counts stay whole, being below 2^53

// The memory of DispatchAssign. n = *(begin + E) is known on the device alone.
struct AssignMemory {
  int32_t experts, row_kind, pieces;  // pieces: of one plan entry
  int64_t max_assign, max_rows, chunks;
  int64_t* begin;                               // [E + 1]
  int32_t *token, *expert, *entry, *slot;       // [N] each; [max_assign * pieces] place among the expert's rows, or -1
  int32_t *used, *group;                        // [groups, E]; [T]
  int32_t *token_begin, *token_rows, *cursor;   // [T + 1]; [N]; [T]
  int32_t *histogram, *order, *claims, *taken;  // [E, chunks]; [max_assign] entries by expert; [E + 1]; [E]
  int32_t* real;                                // [B] tokens of a sequence that are not padding (coarse rows)
  float* dot;                                   // [N] (coarse rows)
  int32_t* moved;                               // [N] room, where rows go in token order; null: in list order
  int64_t* done;  // [6] rows gathered, combined, and gone through in backward, as fp32 and then as bf16
};

// A plan's list is counted in chunks of 1024 entries.
inline int64_t assign_chunks(int64_t max_assign) { return (max_assign + 1023) / 1024; }

namespace cuda {

void write_tables(Stream&, const BatchTables&, bool one_row, const int32_t* first_position, const TableMemory&);

// ---- load ----
void clear_load(Stream&, const LoadOnDevice&);
// total.book(recent), and what update() will be told: untold [2 E], kept and dropped, when not null.
void book_load(Stream&, const LoadOnDevice& recent, const LoadSums& total, int32_t* untold);
// Sets the rows of x[T, width] whose mask is 0 to zero; nothing where mask is null.
void clear_padding(Stream&, const swy_batch&, int64_t width, float* x);

// ---- ASSIGN ----
void assign_pack(Stream&, const AssignMemory&, const swy_batch&, const swy_plan&, const LoadOnDevice&);
// Packed rows are fp32 or, unless they are gathered, bf16; bf16 ones ask for a width that is a multiple of 8, and sums
// are fp32. Where `done` is null nobody counts them.
void assign_gather(Stream&, const AssignMemory&, int64_t width, const float* x, float* packed);
template <class Number>
void assign_combine(Stream&, const AssignMemory&, const swy_plan&, int64_t tokens, int64_t width, const Number* out,
                    float* y_add);
template <class Number>
void assign_combine_backward(Stream&, const AssignMemory&, const swy_plan&, int64_t width, const float* dy, Number* out,
                             float* dweight_add);
template <class Number>
void assign_gather_backward(Stream&, const AssignMemory&, int64_t tokens, int64_t width, const Number* dpacked,
                            float* dx_add);

// ---- experts lent to a router: n rows of its choice, index [n] in [0, E) or -1 ----
// Of AssignMemory: experts, max_assign = n, chunks, histogram, order, claims, taken. begin [E + 1] = from + the packed
// rows before.
void lent_pack(Stream&, const AssignMemory&, int64_t from, const int32_t* index, int64_t* begin, const LoadOnDevice&);
// packed[j] = x[order[j]]; y[order[j]] += packed[j]. *done += rows.
void lent_gather(Stream&, const AssignMemory&, int64_t width, const float* x, float* packed, int64_t* done);
void lent_scatter_add(Stream&, const AssignMemory&, int64_t width, const float* packed, float* y_add, int64_t* done);

// ---- DENSE ----
void dense_pack(Stream&, const swy_batch&, int32_t experts, int64_t slots, int64_t* begin, const LoadOnDevice&);
// One group's [E, run] block of packed rows [E, groups, run], gathered or put back.
void dense_move(Stream&, bool gather, int32_t experts, int64_t groups, int64_t group, int64_t run, float* packed,
                float* block);

// ---- MERGE ----
// mass [2 R]: room. Loads are the shares of the mixing weights, in whole tokens.
void merge_pack(Stream&, const swy_batch&, const swy_plan&, int32_t experts, int64_t* begin, float* mass,
                const LoadOnDevice&);

// ---- experts ----
struct ExpertSizes {
  int32_t experts, width, hidden;
  int64_t max_rows;
  ops::ActivationKind activation;
  int32_t pre_columns() const { return static_cast<int32_t>(ops::pre_columns(activation, hidden)); }
};
// begin [E + 1] on the device. pre [N, H or 2 H] and act [N, H] are kept for backward.
void experts_forward(Stream&, const ExpertSizes&, const int64_t* begin, const ExpertWeights&, const float* x,
                     float* pre, float* act, float* y);
// dpre [N, H or 2 H]: room. dy becomes dx in place; weight gradients are added.
void experts_backward(Stream&, const ExpertSizes&, const int64_t* begin, const ExpertWeights&, const ExpertGrads&,
                      const float* x, const float* pre, const float* act, float* dpre, float* dy);

// The same on operands that are bf16 in memory. REQUIRES: D and H are multiples of 8, everything begins at a multiple
// of 16 bytes and has room for max_rows, of which those behind the last may be read.
struct Bf16Rows {
  const ops::Bf16* base;
  const int32_t* index;  // [N] which row of base, of any number, each packed row is; null: they lie in order, [N, D]
};
struct Bf16Weights {
  const ops::Bf16 *w1, *w2;
  const float *b1, *b2;  // null: no biases
};
// Of the rows that begin [E + 1] speaks of, [., D] at their places.
void rows_to_bf16(Stream&, const ExpertSizes&, const int64_t* begin, const float* from, ops::Bf16* to);
// y: fp32 or bf16
template <class Number>
void experts_forward_bf16(Stream&, const ExpertSizes&, const int64_t* begin, const Bf16Weights&, Bf16Rows x,
                          ops::Bf16* pre, ops::Bf16* act, Number* y);
// dx: fp32 or bf16, and may be dy
template <class Number>
void experts_backward_bf16(Stream&, const ExpertSizes&, const int64_t* begin, const Bf16Weights&, const ExpertGrads&,
                           Bf16Rows x, const ops::Bf16* pre, const ops::Bf16* act, const ops::Bf16* dy, ops::Bf16* dpre,
                           Number* dx);

// ---- one matrix per expert, and LoRA's stacked ones (linear_experts.h, lora_stack.h) ----
struct LinearSizes {
  int32_t experts, in, out;
  int64_t max_rows;
  float scale;
};
void linear_forward(Stream&, const LinearSizes&, const int64_t* begin, const float* w, const float* x, float* y);
// dx may be x.
void linear_backward(Stream&, const LinearSizes&, const int64_t* begin, const float* w, float* dw_add, const float* x,
                     const float* dy, float* dx);

struct StackSizes {
  int32_t experts, width, rank;
};
// stacked [D, E r] from a [E, D, r]; a += stacked.
void stack_columns(Stream&, const StackSizes&, const float* a, float* stacked);
void unstack_columns_add(Stream&, const StackSizes&, const float* stacked, float* a_add);
// The tokens of row r are [begin_r, begin_{r+1}); mix [R, E], u and v [T, E r].
struct MixedRows {
  int32_t rows;
  int64_t tokens;
  const int64_t* begin;
  const uint8_t* mask;  // [T], null: no padding
};
// v[t, e r + j] = mix[row of t, e] u[t, e r + j], 0 for padding; v may be u.
void mix_columns(Stream&, const StackSizes&, const MixedRows&, const float* mix, const float* u, float* v);
// dmix[r, e] = sum over the row's tokens that are not padding, and over j, of u dv.
void mix_columns_backward(Stream&, const StackSizes&, const MixedRows&, const float* u, const float* dv, float* dmix);

// done[0] += rows, done[1] += chunks of `chunk` rows: what the experts are charged for.
void count_rows(Stream&, int32_t experts, const int64_t* begin, int64_t chunk, int64_t* done);

}  // namespace cuda
}  // namespace swy::moe
