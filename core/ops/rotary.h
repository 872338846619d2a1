// Rotary positions (Su et al., "RoFormer", 2021), in place on the q and k columns of a packed projection:
//
//   (a, b) -> (a cos - b sin, a sin + b cos)      angle of pair i at position p: p * base^(-2 i / head_dim)
//
// Pairs are half-split: channel i of a head goes with channel i + head_dim / 2 (GPT-NeoX's order; the interleaved order
// is the same model with the channels of each head permuted). The turn is linear, so backward turns the other way.
// Shapes: qkv [rows, 3 * heads * head_dim] with columns q|k|v; table [positions, head_dim]: cosines, then sines.
// As bf16 (numbers.h) head_dim is a multiple of 16. Counted: 3 per turned element, 1 per bias added.
#pragma once
#include <cstdint>

#include "core/device/exec.h"
#include "core/ops/numbers.h"

namespace swy::ops {

constexpr double kRotaryBase = 10000;

// head_dim is even.
void rotary_table(int32_t positions, int32_t head_dim, float* table);

struct RotaryShape {
  int64_t rows;
  int32_t tokens;  // S: row r stands at position r % S, where `position` is null
  int32_t heads, head_dim;
};
// qkv += bias (null: none), then q and k are turned. position [rows] or null.
void bias_rotary(const Exec&, const RotaryShape&, const int32_t* position, const float* table, const float* bias,
                 Numbers qkv);
// dqkv: gradient behind the turn becomes the gradient before it, which is also that of the biased projection.
void rotary_backward(const Exec&, const RotaryShape&, const int32_t* position, const float* table, Numbers dqkv);

}  // namespace swy::ops
