// What a routed block does on CUDA beside its layers: where each sequence's kept rows are, and rows that nobody keeps.
#include "core/model/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::model::cuda {

using namespace ops::cuda;  // NOLINT: how kernels are launched

void find_sequences(Stream& s, int32_t sequences, const int32_t* sequence_begin, const int32_t* token_begin,
                    int32_t* first) {
  each(s, int64_t{sequences} + 1, [=] __device__(int64_t b) { first[b] = token_begin[sequence_begin[b]]; });
}

void find_positions(Stream& s, const int32_t* kept, int64_t rows, const int32_t* position, const int32_t* token,
                    int32_t* to) {
  each(s, rows, [=] __device__(int64_t r) { to[r] = r < *kept ? position[token[r]] : 0; });
}

void clear_rows_from(Stream& s, const int32_t* kept, int64_t rows, int64_t width, float* x) {
  warps(s, rows, [=] __device__(int64_t r, int lane) {
    if (r < *kept) return;
    for (int64_t c = lane; c < width; c += kWarp) x[r * width + c] = 0;
  });
}

void count_kept(Stream& s, int32_t sequences, const int32_t* first, bool causal, int64_t* done) {
  blocks(s, 1, 256, [=] __device__(int64_t) {
    int64_t pairs = 0;
    for (int32_t b = static_cast<int32_t>(threadIdx.x); b < sequences; b += 256) {
      const int64_t n = first[b + 1] - first[b];
      pairs += causal ? n * (n + 1) / 2 : n * n;
    }
    pairs = over_block(pairs, Plus());
    if (threadIdx.x > 0) return;
    const int32_t rows = first[sequences];
    done[0] += rows, done[1] += pairs, done[2] += rows > 0;
  });
}

}  // namespace swy::model::cuda
