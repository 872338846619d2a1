// Embeddings on CUDA. Backward keeps the order of rows without atomics: every destination belongs to one block, which
// goes through all indices and takes its own (launch.cuh, in_order). A thread adds a run of equal indices in a
// register, because one token is often a good part of all.
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::ops::cuda {

constexpr int64_t kOwners = 512;  // blocks that share the indices

__device__ int64_t place_of_row(const EmbeddingShape& s, const int32_t* position, int64_t row) {
  return position ? position[row] : row % s.tokens;
}

void embed(Stream& s, const EmbeddingShape& shape, const int32_t* token, const int32_t* position, const float* table,
           const float* place, float* x) {
  const int64_t d = shape.width;
  cells(s, shape.rows, d, [=] __device__(int64_t r, int64_t c) {
    const float from = table[token[r] * d + c];
    x[r * d + c] = place ? from + place[place_of_row(shape, position, r) * d + c] : from;
  });
}

// add[index[r], :] += dx[r, :] in the order of r
void add_by_index(Stream& s, int64_t rows, int64_t d, const int32_t* index, const float* dx, float* add) {
  if (rows <= 0 || d <= 0) return;
  blocks(s, kOwners, kRun, [=] __device__(int64_t owner) {
    const auto mine = [=](int64_t r) { return index[r] % kOwners == owner; };
    in_order(rows, mine, [=](const int32_t* list, int32_t length) {
      for (int64_t c = threadIdx.x; c < d; c += kRun) {
        int64_t at = index[list[0]];
        float sum = add[at * d + c];
#pragma unroll 4
        for (int32_t a = 0; a < length; ++a) {
          const int64_t next = index[list[a]];
          if (next != at) {
            add[at * d + c] = sum;
            at = next, sum = add[at * d + c];
          }
          sum += __ldg(dx + list[a] * d + c);  // nothing here writes dx: the load need not wait for stores
        }
        add[at * d + c] = sum;
      }
    });
  });
}

void embed_backward(Stream& s, const EmbeddingShape& shape, const int32_t* token, const int32_t* position,
                    const float* dx, float* dtable_add, float* dplace_add) {
  const int64_t rows = shape.rows, d = shape.width, tokens = shape.tokens;
  add_by_index(s, rows, d, token, dx, dtable_add);
  if (!dplace_add) return;
  if (position) return add_by_index(s, rows, d, position, dx, dplace_add);
  cells(s, tokens < rows ? tokens : rows, d, [=] __device__(int64_t p, int64_t c) {
    float sum = dplace_add[p * d + c];
    for (int64_t r = p; r < rows; r += tokens) sum += dx[r * d + c];
    dplace_add[p * d + c] = sum;
  });
}

}  // namespace swy::ops::cuda
