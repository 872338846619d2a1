// Token embeddings, with learned positions where there are any:
//
//   x[r] = table[token[r]] + place[p(r)]        p(r) = position[r], or r % S where that is null
//
// Backward adds rows back in their order, threads split the columns: the same bits for any thread count.
// Shapes: token [rows] in [0, V); table [V, D]; place [positions, D]; x [rows, D].
#pragma once
#include <cstdint>

#include "core/device/exec.h"

namespace swy::ops {

struct EmbeddingShape {
  int64_t rows;
  int32_t tokens;  // S
  int32_t width;   // D
};

// place may be null: no positions.
void embed(const Exec&, const EmbeddingShape&, const int32_t* token, const int32_t* position, const float* table,
           const float* place, float* x);
// dplace_add may be null.
void embed_backward(const Exec&, const EmbeddingShape&, const int32_t* token, const int32_t* position, const float* dx,
                    float* dtable_add, float* dplace_add);

}  // namespace swy::ops
