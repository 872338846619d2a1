// The small kernels around the experts: batch tables, the book of the load, DENSE and MERGE layouts.
#include "core/moe/cuda.h"
#include "core/ops/cuda.h"
#include "core/ops/launch.cuh"

namespace swy::moe::cuda {

using namespace ops::cuda;  // NOLINT: how kernels are launched

void write_tables(Stream& s, const BatchTables& tables, bool one_row, const int32_t* first_position,
                  const TableMemory& to) {
  const int64_t n = int64_t{tables.tokens()} + 1;  // no table is longer
  each(s, n, [=] __device__(int64_t place) {
    const auto i = static_cast<int32_t>(place);
    const int32_t tokens = tables.tokens(), groups = tables.groups(), rows = tables.rows();
    if (i < tokens)
      to.position[i] = (first_position ? first_position[i / tables.sequence_tokens] : 0) + tables.position(i);
    if (i <= tables.sequences) to.sequence_begin[i] = tables.sequence_begin(i);
    if (i < tables.sequences) to.sequence_id[i] = i;
    if (i <= groups) to.group_begin[i] = tables.group_begin(i);
    if (i < groups) to.group_capacity[i] = tables.group_capacity(i);
    if (one_row && i == 0) to.row_begin[0] = 0, to.row_begin[1] = tokens;
    if (i < rows) to.row_begin[i] = tables.row_begin(i), to.row_previous[i] = tables.row_previous(i);
    if (tables.row_tokens && i == rows) to.row_begin[i] = tokens;
  });
}

// ---- load ----------------------------------------------------------------------------------------------------------

void clear_load(Stream& s, const LoadOnDevice& load) {
  SWY_CUDA_CHECK(cudaMemsetAsync(load.base, 0, LoadOnDevice::size(load.experts) * sizeof(int64_t), queue(s)));
}

void book_load(Stream& s, const LoadOnDevice& recent, const LoadSums& total, int32_t* untold) {
  blocks(s, 1, 256, [=] __device__(int64_t) {
    const int32_t experts = recent.experts;
    int64_t sum = 0, most = 0;
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += 256) {
      const int64_t kept = recent.kept()[e], dropped = recent.dropped()[e];
      sum += kept, most = most > kept ? most : kept;
      total.kept()[e] += static_cast<double>(kept), total.dropped()[e] += static_cast<double>(dropped);
      if (untold) untold[e] += static_cast<int32_t>(kept), untold[experts + e] += static_cast<int32_t>(dropped);
    }
    sum = over_block(sum, Plus()), most = over_block(most, Larger());
    if (threadIdx.x > 0) return;
    *total.tokens() += static_cast<double>(*recent.tokens());
    *total.unrouted() += static_cast<double>(*recent.unrouted());
    *total.capacity() += static_cast<double>(*recent.capacity());
    if (sum == 0) return;
    *total.forwards() += 1;
    *total.violations() += static_cast<double>(most) * experts / static_cast<double>(sum) - 1;
  });
}

void clear_padding(Stream& s, const swy_batch& b, int64_t width, float* x) {
  if (b.mask) ops::cuda::mask_rows(s, b.x.shape[0], width, b.mask, 0, x, x);
}

// Tokens of [first, end) that are not padding, by all threads of a block.
__device__ int32_t real_by_block(const uint8_t* mask, int64_t first, int64_t end) {
  if (!mask) return static_cast<int32_t>(end - first);
  int32_t n = 0;
  for (int64_t t = first + threadIdx.x; t < end; t += blockDim.x) n += mask[t] != 0;
  return over_block(n, Plus());
}

// ---- DENSE ---------------------------------------------------------------------------------------------------------

void dense_pack(Stream& s, const swy_batch& b, int32_t experts, int64_t slots, int64_t* begin,
                const LoadOnDevice& load) {
  const int64_t per_expert = b.n_groups * slots, tokens = b.x.shape[0];
  const uint8_t* mask = b.mask;
  blocks(s, 1, 256, [=] __device__(int64_t) {
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e <= experts; e += 256) {
      begin[e] = e * per_expert;
      if (e < experts) load.kept()[e] += per_expert;
    }
    const int32_t real = real_by_block(mask, 0, tokens);
    if (threadIdx.x == 0) *load.tokens() += real, *load.capacity() += per_expert * experts;
  });
}

void dense_move(Stream& s, bool gather, int32_t experts, int64_t groups, int64_t group, int64_t run, float* packed,
                float* block) {
  each(s, experts * run, [=] __device__(int64_t i) {
    float* far = packed + (i / run * groups + group) * run + i % run;
    if (gather)
      block[i] = *far;
    else
      *far = block[i];
  });
}

// ---- MERGE ---------------------------------------------------------------------------------------------------------

void merge_pack(Stream& s, const swy_batch& b, const swy_plan& plan, int32_t experts, int64_t* begin, float* mass,
                const LoadOnDevice& load) {
  const int32_t rows = b.n_rows;
  const int32_t* row_begin = b.row_begin;
  const uint8_t* mask = b.mask;
  const float* mix = plan.mix;
  const int64_t tokens = b.x.shape[0];
  float* real = mass + rows;
  blocks(s, rows, 128, [=] __device__(int64_t r) {
    const int32_t n = real_by_block(mask, row_begin[r], row_begin[r + 1]);
    if (threadIdx.x > 0) return;
    float sum = 0;
    for (int32_t e = 0; e < experts; ++e) sum += fabsf(mix[r * experts + e]);  // in the host's order
    begin[r] = row_begin[r], mass[r] = sum, real[r] = static_cast<float>(n);
  });
  blocks(s, 1, 256, [=] __device__(int64_t) {
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < experts; e += 256)
      for (int32_t r = 0; r < rows; ++r)
        if (mass[r] > 0) load.kept()[e] += lroundf(real[r] * fabsf(mix[int64_t{r} * experts + e]) / mass[r]);
    const int32_t all = real_by_block(mask, 0, tokens);
    if (threadIdx.x == 0) begin[rows] = row_begin[rows], *load.tokens() += all, *load.capacity() += all;
  });
}

}  // namespace swy::moe::cuda
