// ASSIGN plans on a device. Entries are put by expert in list order by counting, not by sorting:
//
//   histogram  of the experts in each chunk of the list          place   an entry's rank = chunks before + inside
//   capacity   ranks by group inside an expert, in list order    pack    kept entries to rows, rows to tokens
//
// Ranks inside a block: warps take turns, and the lanes of a warp that want the same counter find each other
// (__match_any_sync). So every place is decided by list order alone. Integer counts are added atomically where their
// order cannot show; a token's rows are put in list order afterwards.
#include "core/moe/assign_claims.cuh"

namespace swy::moe::cuda {

constexpr int kThreads = 1024;
constexpr int64_t kMostCounters = 12288;  // 48 KiB of shared memory, which every device has

// How many threads of lower number want the same counter, plus the counter's value before; counters move on. key < 0:
// wants none. All threads take part.
__device__ int32_t take_in_order(int32_t key, int32_t* counter) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const unsigned same = __match_any_sync(0xffffffffu, key);
  const int before = __popc(same & ((1u << lane) - 1));
  int32_t rank = 0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) {
    if (warp == w) {
      const int32_t value = key >= 0 ? counter[key] : 0;
      __syncwarp();
      if (key >= 0 && before == 0) counter[key] = value + __popc(same);
      rank = value + before;
    }
    __syncthreads();
  }
  return rank;
}

// out[i] = sum of in[0 .. i), i in [0, n]. A block has kThreads numbers, and adds up the sums of the blocks before it,
// which lie in the stream's scratch.
template <class Out>
void prefix(Stream& s, int64_t n, const int32_t* in, Out* out) {
  const int64_t chunks = n > kThreads ? (n + kThreads - 1) / kThreads : 1;
  const auto value = [=] __device__(int64_t i) { return i < n ? in[i] : 0; };
  int32_t* const sums = chunks > 1 ? s.scratch<int32_t>(chunks) : nullptr;
  if (sums)
    blocks(s, chunks, kThreads, [=] __device__(int64_t c) {
      const int32_t sum = over_block(value(c * kThreads + threadIdx.x), Plus());
      if (threadIdx.x == 0) sums[c] = sum;
    });
  blocks(s, chunks, kThreads, [=] __device__(int64_t c) {
    const int64_t i = c * kThreads + threadIdx.x;
    const int32_t before = sum_of_blocks_before(sums, c);
    int32_t total;
    const int32_t sum = before + sum_before(value(i), &total);
    if (i < n) out[i] = sum;
    if (c == chunks - 1 && threadIdx.x == 0) out[n] = before + total;
  });
}

template <class F>
__global__ void __launch_bounds__(kThreads) counting_kernel(F f) {
  SWY_DYNAMIC_SHARED(int32_t, counter);
  f(static_cast<int64_t>(blockIdx.x), counter);
}
// f(i, counter[n_counters] in shared memory) by a block of kThreads for i in [0, n).
template <class F>
void counting(Stream& s, int64_t n, int64_t n_counters, const char* of, F f) {
  if (n <= 0) return;
  if (n_counters > kMostCounters)
    throw DeviceError(cat("a site has ", n_counters, " ", of, "; at most ", kMostCounters, " can be counted"));
  if (n > kMostBlocks) throw DeviceError(cat("a plan of ", n, " chunks is too large for one launch"));
  SWY_LAUNCH(static_cast<unsigned>(n), kThreads, static_cast<size_t>(n_counters) * sizeof(int32_t), queue(s),
             counting_kernel, f);
  SWY_CUDA_CHECK(cudaGetLastError());
}

// ---- token rows ----------------------------------------------------------------------------------------------------

// claims [E + 1], order: the list's entries by expert, inside an expert in list order; those of expert -1 nowhere.
void list_by_expert(Stream& s, const AssignMemory& a, const Claim& claim) {
  counting(s, a.chunks, a.experts, "experts", [=] __device__(int64_t c, int32_t * counter) {
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < a.experts; e += kThreads) counter[e] = 0;
    __syncthreads();
    const int32_t wanted = claim(c * kThreads + threadIdx.x);
    if (wanted >= 0) atomicAdd(&counter[wanted], 1);
    __syncthreads();
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < a.experts; e += kThreads)
      a.histogram[e * a.chunks + c] = counter[e];
  });
  warps(s, a.experts, [=] __device__(int64_t e, int lane) {  // a chunk's count becomes the sum of the chunks before
    int32_t* of = a.histogram + e * a.chunks;
    int32_t before = 0;
    for (int64_t from = 0; from < a.chunks; from += kWarp) {
      const int64_t c = from + lane;
      const int32_t n = c < a.chunks ? of[c] : 0;
      int32_t upto = n;
      for (int step = 1; step < kWarp; step *= 2) {
        const int32_t other = __shfl_up_sync(0xffffffffu, upto, step);
        if (lane >= step) upto += other;
      }
      if (c < a.chunks) of[c] = before + upto - n;
      before += __shfl_sync(0xffffffffu, upto, kWarp - 1);
    }
    if (lane == 0) a.taken[e] = before;
  });
  prefix(s, a.experts, a.taken, a.claims);
  counting(s, a.chunks, a.experts, "experts", [=] __device__(int64_t c, int32_t * counter) {
    for (int32_t e = static_cast<int32_t>(threadIdx.x); e < a.experts; e += kThreads)
      counter[e] = a.claims[e] + a.histogram[e * a.chunks + c];
    __syncthreads();
    const int64_t i = c * kThreads + threadIdx.x;
    const int32_t e = claim(i);
    const int32_t place = take_in_order(e, counter);
    if (e >= 0) a.order[place] = static_cast<int32_t>(i);
  });
}

// slot[i] = place of entry i among its expert's kept ones, or -1; taken [E] kept ones.
void apply_capacity(Stream& s, const AssignMemory& a, const swy_batch& b, const swy_plan& plan,
                    const LoadOnDevice& load) {
  const int32_t groups = b.n_groups;
  const int32_t *capacity = b.group_capacity, *row = plan.row;
  counting(s, a.experts, groups, "groups", [=] __device__(int64_t e, int32_t * used) {
    for (int32_t g = static_cast<int32_t>(threadIdx.x); g < groups; g += kThreads) used[g] = 0;
    __syncthreads();
    const int32_t end = a.claims[e + 1];
    int32_t kept = 0;
    for (int32_t from = a.claims[e]; from < end; from += kThreads) {
      const int32_t at = from + static_cast<int32_t>(threadIdx.x);
      const int32_t i = at < end ? a.order[at] : -1, g = i < 0 ? -1 : a.group[row[i]];
      const int32_t rank = take_in_order(g, used);
      const bool keep = i >= 0 && rank < capacity[g];
      int32_t added;
      const int32_t slot = kept + sum_before(keep, &added);
      if (i >= 0) a.slot[i] = keep ? slot : -1;
      kept += added;
    }
    if (threadIdx.x > 0) return;
    a.taken[e] = kept;
    load.kept()[e] += kept, load.dropped()[e] += end - a.claims[e] - kept;
  });
}

void pack_tokens(Stream& s, const AssignMemory& a, const swy_batch& b, const swy_plan& plan, const LoadOnDevice& load) {
  const int32_t *row = plan.row, *expert = plan.expert;
  const Claim claim{plan.count, row, expert, b.n_rows, a.experts, a.max_assign};
  list_by_expert(s, a, claim);
  apply_capacity(s, a, b, plan, load);
  prefix(s, a.experts, a.taken, a.begin);
  each(s, a.max_assign, [=] __device__(int64_t i) {
    if (claim(i) < 0 || a.slot[i] < 0) return;
    const int64_t r = a.begin[expert[i]] + a.slot[i];
    a.token[r] = row[i], a.expert[r] = expert[i], a.entry[r] = static_cast<int32_t>(i);
    atomicAdd(&a.cursor[row[i]], 1);
  });
}

// ---- coarse rows ---------------------------------------------------------------------------------------------------
// There are few of them (sequences, times the experts of each), so an expert's claims are one thread's walk through the
// list. Piece j of entry i is slot[i * pieces + j]; j is the sequence, or 0 where a row is one.

void pack_sequences(Stream& s, const AssignMemory& a, const swy_batch& b, const swy_plan& plan,
                    const LoadOnDevice& load) {
  const int32_t *count = plan.count, *row = plan.row, *expert = plan.expert, *task = b.sequence_task;
  const int32_t *begin = b.sequence_begin, *capacity = b.group_capacity;
  const int32_t sequences = b.n_sequences, kind = a.row_kind;
  const Claim claim{count, row, expert, b.n_rows, a.experts, a.max_assign};
  const uint8_t* mask = b.mask;
  zero(s, a.slot, a.max_assign * a.pieces * int64_t{sizeof(int32_t)}, 0xff);
  zero(s, a.used, int64_t{b.n_groups} * a.experts * int64_t{sizeof(int32_t)});
  blocks(s, sequences, 128, [=] __device__(int64_t q) {
    int32_t n = 0;
    for (int32_t t = begin[q] + static_cast<int32_t>(threadIdx.x); t < begin[q + 1]; t += 128) n += !mask || mask[t];
    n = over_block(n, Plus());
    if (threadIdx.x == 0) a.real[q] = n;
  });
  each(s, a.experts, [=] __device__(int64_t e) {
    int32_t kept = 0, dropped = 0;
    const int32_t length = list_length(count, a.max_assign);
    for (int32_t i = 0; i < length; ++i) {
      if (claim(i) != e) continue;
      const int32_t first = kind == SWY_ROW_SEQUENCE ? row[i] : 0;
      const int32_t end = kind == SWY_ROW_SEQUENCE ? row[i] + 1 : sequences;
      for (int32_t q = first; q < end; ++q) {
        if (kind == SWY_ROW_TASK && task[q] != row[i]) continue;
        const int32_t g = a.group[begin[q]], size = a.real[q];
        int32_t& taken = a.used[int64_t{g} * a.experts + e];
        if (taken + size > capacity[g]) {
          dropped += size;
          continue;
        }
        a.slot[int64_t{i} * a.pieces + (a.pieces > 1 ? q : 0)] = kept;
        taken += size, kept += size;
      }
    }
    a.taken[e] = kept;
    load.kept()[e] += kept, load.dropped()[e] += dropped;
  });
  prefix(s, a.experts, a.taken, a.begin);
  blocks(s, a.max_assign * a.pieces, 128, [=] __device__(int64_t piece) {
    const auto i = static_cast<int32_t>(piece / a.pieces);
    if (a.slot[piece] < 0) return;  // the same for all threads
    const int32_t q = kind == SWY_ROW_SEQUENCE ? row[i] : static_cast<int32_t>(piece % a.pieces);
    int64_t next = a.begin[expert[i]] + a.slot[piece];
    for (int32_t from = begin[q]; from < begin[q + 1]; from += 128) {
      const int32_t t = from + static_cast<int32_t>(threadIdx.x);
      const bool real = t < begin[q + 1] && (!mask || mask[t]);
      int32_t added;
      const int64_t r = next + sum_before(real, &added);
      next += added;
      if (!real) continue;
      a.token[r] = t, a.expert[r] = expert[i], a.entry[r] = i;
      atomicAdd(&a.cursor[t], 1);
    }
  });
}

// ---- both ----------------------------------------------------------------------------------------------------------

template <class F>
void each_row(Stream& s, const AssignMemory& a, F f) {
  each(s, a.max_rows, [=] __device__(int64_t r) {
    if (r < a.begin[a.experts]) f(r);
  });
}
// One expert: rows change places so that they ascend by token, those of one token in list order.
void move_to_token_order(Stream& s, const AssignMemory& a, int64_t tokens) {
  each_row(s, a, [=] __device__(int64_t r) { a.moved[r] = a.entry[a.token_rows[r]]; });
  each_row(s, a, [=] __device__(int64_t r) { a.entry[r] = a.moved[r], a.token_rows[r] = static_cast<int32_t>(r); });
  each(s, tokens, [=] __device__(int64_t t) {
    for (int32_t r = a.token_begin[t]; r < a.token_begin[t + 1]; ++r) a.token[r] = static_cast<int32_t>(t);
  });
}

void assign_pack(Stream& s, const AssignMemory& a, const swy_batch& b, const swy_plan& plan, const LoadOnDevice& load) {
  const int64_t tokens = b.x.shape[0];
  const int32_t groups = b.n_groups;
  const int32_t *group_begin = b.group_begin, *capacity = b.group_capacity;
  const uint8_t* mask = b.mask;
  blocks(s, groups, 256, [=] __device__(int64_t g) {
    for (int32_t t = group_begin[g] + static_cast<int32_t>(threadIdx.x); t < group_begin[g + 1]; t += 256)
      a.group[t] = static_cast<int32_t>(g);
  });
  zero(s, a.cursor, tokens * int64_t{sizeof(int32_t)});  // first the number of a token's rows
  if (a.row_kind == SWY_ROW_TOKEN)
    pack_tokens(s, a, b, plan, load);
  else
    pack_sequences(s, a, b, plan, load);
  prefix(s, tokens, a.cursor, a.token_begin);
  blocks(s, (tokens + kThreads - 1) / kThreads, kThreads, [=] __device__(int64_t chunk) {
    const int64_t t = chunk * kThreads + threadIdx.x;
    const bool is = t < tokens && (!mask || mask[t]);
    const int32_t real = over_block(int32_t{is}, Plus());
    const int32_t unrouted = over_block(int32_t{is && a.token_begin[t] == a.token_begin[t + 1]}, Plus());
    int64_t slots = 0;
    for (int64_t g = t; g < groups && chunk == 0; g += kThreads) slots += capacity[g];
    slots = over_block(slots, Plus());
    if (threadIdx.x > 0) return;
    increase(load.tokens(), real), increase(load.unrouted(), unrouted);
    increase(load.capacity(), slots * a.experts);
  });
  each_row(s, a, [=] __device__(int64_t r) {  // in any order
    const int32_t t = a.token[r];
    a.token_rows[a.token_begin[t] + atomicSub(&a.cursor[t], 1) - 1] = static_cast<int32_t>(r);
  });
  each(s, tokens, [=] __device__(int64_t t) {  // then in list order; few rows each
    int32_t* list = a.token_rows + a.token_begin[t];
    const int32_t n = a.token_begin[t + 1] - a.token_begin[t];
    for (int32_t j = 1; j < n; ++j) {
      const int32_t r = list[j], entry = a.entry[r];
      int32_t k = j;
      for (; k > 0 && a.entry[list[k - 1]] > entry; --k) list[k] = list[k - 1];
      list[k] = r;
    }
  });
  if (a.moved) move_to_token_order(s, a, tokens);
}

// ---- lent experts --------------------------------------------------------------------------------------------------

void lent_pack(Stream& s, const AssignMemory& a, int64_t from, const int32_t* index, int64_t* begin,
               const LoadOnDevice& load) {
  if (a.max_assign == 0) {
    zero(s, a.claims, (a.experts + 1) * int64_t{sizeof(int32_t)});
    zero(s, a.taken, a.experts * int64_t{sizeof(int32_t)});
  } else {
    list_by_expert(s, a, {nullptr, nullptr, index, 0, a.experts, a.max_assign});
  }
  each(s, a.experts + 1, [=] __device__(int64_t e) {
    begin[e] = from + a.claims[e];
    if (e < a.experts) load.kept()[e] += a.taken[e];
  });
}

}  // namespace swy::moe::cuda
