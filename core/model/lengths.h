// What incremental decoding does with the lengths of its sequences, where they lie. Like copies (core/device/move.h)
// these are no ops: nothing is counted. B sequences, S places for the tokens of each, D width.
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::model {

// One token more: before[b] = length[b], then ++length[b].
void grow(const Exec&, int32_t sequences, int32_t* length, int32_t* before);
// mask [B, S] = 1 for the first length[b] places of each sequence, 0 for the others.
void mask_ends(const Exec&, int32_t sequences, int32_t tokens, const int32_t* length, uint8_t* mask);
// last [B, D] = x [B, S, D] at place length[b] - 1. Nothing in a dry run.
void last_tokens(const Exec&, int32_t sequences, int32_t tokens, int32_t width, const int32_t* length, const float* x,
                 float* last);

}  // namespace swy::model
