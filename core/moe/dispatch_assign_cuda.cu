// ASSIGN plans on a device. Entries are put by expert in list order by counting, not by sorting:
//
//   histogram  of the experts in each chunk of the list          place   an entry's rank = chunks before + inside
//   capacity   ranks by group inside an expert, in list order    pack    kept entries to rows, rows to tokens
//
// Ranks inside a block: warps take turns, and the lanes of a warp that want the same counter find each other
// (__match_any_sync). So every place is decided by list order alone. Integer counts are added atomically where their
// order cannot show; a token's rows are put in list order afterwards.
#include <type_traits>

#include "core/moe/cuda.h"
#include "core/ops/eights.cuh"
#include "core/ops/launch.cuh"

namespace swy::moe::cuda {

using namespace ops::cuda;  // NOLINT: how kernels are launched
using ops::Bf16;

constexpr int kThreads = 1024;
constexpr int64_t kMostCounters = 12288;  // 48 KiB of shared memory, which every device has

// count null: the list is full.
__device__ int32_t list_length(const int32_t* count, int64_t most) {
  return count && *count < most ? *count : static_cast<int32_t>(most);
}

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

// out[i] = sum of in[0 .. i), i in [0, n]; one block.
template <class Out>
void prefix(Stream& s, int64_t n, const int32_t* in, Out* out) {
  blocks(s, 1, kThreads, [=] __device__(int64_t) {
    const int64_t share = (n + kThreads - 1) / kThreads, first = threadIdx.x * share;
    const int64_t end = first + share < n ? first + share : n;
    int32_t sum = 0, total;
    for (int64_t i = first; i < end; ++i) sum += in[i];
    int32_t before = sum_before(sum, &total);
    for (int64_t i = first; i < end; ++i) {
      out[i] = before;
      before += in[i];
    }
    if (threadIdx.x == 0) out[n] = total;
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

void zero(Stream& s, void* p, int64_t bytes, int byte = 0) {
  if (bytes > 0) SWY_CUDA_CHECK(cudaMemsetAsync(p, byte, static_cast<size_t>(bytes), queue(s)));
}

// ---- token rows ----------------------------------------------------------------------------------------------------

// The expert of entry i, or -1. On a device nobody looks at a plan before it is carried out: what names no row or no
// expert that is there is left out, so that a wrong plan cannot write elsewhere. row null: not looked at.
struct Claim {
  const int32_t *count, *row, *expert;
  int32_t rows, experts;
  int64_t most;
  __device__ int32_t operator()(int64_t i) const {
    if (i >= list_length(count, most)) return -1;
    if (row && (row[i] < 0 || row[i] >= rows)) return -1;
    return expert[i] >= 0 && expert[i] < experts ? expert[i] : -1;
  }
};

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
  blocks(s, 1, kThreads, [=] __device__(int64_t) {
    int32_t real = 0, unrouted = 0;
    int64_t slots = 0;
    for (int64_t t = threadIdx.x; t < tokens; t += kThreads) {
      const bool is = !mask || mask[t];
      real += is, unrouted += is && a.token_begin[t] == a.token_begin[t + 1];
    }
    for (int32_t g = static_cast<int32_t>(threadIdx.x); g < groups; g += kThreads) slots += capacity[g];
    real = over_block(real, Plus()), unrouted = over_block(unrouted, Plus()), slots = over_block(slots, Plus());
    if (threadIdx.x > 0) return;
    *load.tokens() += real, *load.unrouted() += unrouted, *load.capacity() += slots * a.experts;
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

// ---- rows of D numbers ---------------------------------------------------------------------------------------------

bool wide(int64_t width, std::initializer_list<const void*> pointers) {
  bool all = width % 4 == 0;
  for (const void* p : pointers) all &= reinterpret_cast<uintptr_t>(p) % 16 == 0;
  return all;
}
// body(a number of type V: float4 where rows allow 16-byte accesses) is compiled for both.
template <class Body>
void by_width(int64_t width, std::initializer_list<const void*> pointers, Body body) {
  if (wide(width, pointers))
    body(float4{});
  else
    body(0.0f);
}
__device__ inline float4 plus(float4 a, float w, float4 b) {
  return {a.x + w * b.x, a.y + w * b.y, a.z + w * b.z, a.w + w * b.w};
}
__device__ inline float plus(float a, float w, float b) { return a + w * b; }
__device__ inline float4 times(float w, float4 b) { return {w * b.x, w * b.y, w * b.z, w * b.w}; }
__device__ inline float times(float w, float b) { return w * b; }
__device__ inline float product(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
__device__ inline float product(float a, float b) { return a * b; }

__device__ inline Fp32x8 plus(Fp32x8 a, float w, const Bf16x8& b) {
  const Fp32x8 c = fp32(b);
  for (int i = 0; i < 8; ++i) a.v[i] += w * c.v[i];
  return a;
}
__device__ inline Bf16x8 times(float w, Fp32x8 b) {
  for (float& v : b.v) v *= w;
  return bf16(b);
}
__device__ inline float product(const Fp32x8& a, const Bf16x8& b) {
  const Fp32x8 c = fp32(b);
  float sum = 0;
  for (int i = 0; i < 8; ++i) sum += a.v[i] * c.v[i];
  return sum;
}
// body(number of tokens' rows, number of packed rows): which go together in one access.
template <class Body>
void by_number(int64_t width, std::initializer_list<const void*> pointers, const float*, Body body) {
  by_width(width, pointers, [&]<class V>(V v) { body(v, v); });
}
template <class Body>
void by_number(int64_t width, std::initializer_list<const void*> pointers, const Bf16*, Body body) {
  if (width % 8 || !wide(width, pointers))
    throw DeviceError(cat("rows of ", width, " numbers as bf16: not a multiple of 8 at multiples of 16 bytes"));
  body(Fp32x8{}, Bf16x8{});
}

enum Done { kGathered, kCombined, kBackward };
template <class Number>
int64_t* done_in(const AssignMemory& a, Done what) {
  return !a.done ? nullptr : a.done + (std::is_same_v<Number, Bf16> ? 3 : 0) + what;
}

template <class V, class Packed>
struct Gather {
  AssignMemory a;
  int64_t columns;
  const V* x;
  Packed* packed;
  int64_t* done;
  __device__ void operator()(int64_t r, int lane) const {
    if (done && r == 0 && lane == 0) *done += a.begin[a.experts];
    if (r >= a.begin[a.experts]) return;
    const V* from = x + a.token[r] * columns;
    for (int64_t c = lane; c < columns; c += kWarp) packed[r * columns + c] = times(1.0f, from[c]);
  }
};
template <class Number>
void gather(Stream& s, const AssignMemory& a, int64_t width, const float* x, Number* packed) {
  by_number(width, {x, packed}, packed, [&]<class V, class Packed>(V, Packed) {
    const int64_t columns = width * int64_t{sizeof(float)} / int64_t{sizeof(V)};
    warps(s, a.max_rows,
          Gather<V, Packed>{a, columns, reinterpret_cast<const V*>(x), reinterpret_cast<Packed*>(packed),
                            done_in<Number>(a, kGathered)});
  });
}
void assign_gather(Stream& s, const AssignMemory& a, int64_t width, const float* x, float* packed) {
  gather(s, a, width, x, packed);
}
void assign_gather(Stream& s, const AssignMemory& a, int64_t width, const float* x, Bf16* packed) {
  gather(s, a, width, x, packed);
}

// to[t] += weight * from[row] over the token's rows in list order; weight null: 1. *done += rows, unless null.
template <class V, class Packed>
struct Collect {
  AssignMemory a;
  int64_t columns;
  const float* weight;
  const Packed* from;
  V* to;
  int64_t* done;
  __device__ void operator()(int64_t t, int lane) const {
    if (done && t == 0 && lane == 0) *done += a.begin[a.experts];
    const int32_t first = a.token_begin[t], end = a.token_begin[t + 1];
    if (first == end) return;
    for (int64_t c = lane; c < columns; c += kWarp) {
      V sum = to[t * columns + c];
      for (int32_t j = first; j < end; ++j) {
        const int64_t r = a.token_rows[j];
        sum = plus(sum, weight ? weight[a.entry[r]] : 1.0f, from[r * columns + c]);
      }
      to[t * columns + c] = sum;
    }
  }
};
template <class Number>
void collect(Stream& s, const AssignMemory& a, int64_t tokens, int64_t width, const float* weight, const Number* from,
             float* to, int64_t* done) {
  by_number(width, {from, to}, from, [&]<class V, class Packed>(V, Packed) {
    const int64_t columns = width * int64_t{sizeof(float)} / int64_t{sizeof(V)};
    warps(
        s, tokens,
        Collect<V, Packed>{a, columns, weight, reinterpret_cast<const Packed*>(from), reinterpret_cast<V*>(to), done});
  });
}
template <class Number>
void assign_combine(Stream& s, const AssignMemory& a, const swy_plan& plan, int64_t tokens, int64_t width,
                    const Number* out, float* y_add) {
  collect(s, a, tokens, width, plan.weight, out, y_add, done_in<Number>(a, kCombined));
}
template <class Number>
void assign_gather_backward(Stream& s, const AssignMemory& a, int64_t tokens, int64_t width, const Number* dpacked,
                            float* dx_add) {
  collect(s, a, tokens, width, nullptr, dpacked, dx_add, nullptr);
}

// dot[row] = <dy, out>, or dot[entry] += that; out = weight * dy
template <class V, class Packed>
struct Spread {
  AssignMemory a;
  int64_t columns;
  const float* weight;
  const V* dy;
  Packed* out;
  float* dot;
  bool by_entry;
  int64_t* done;
  __device__ void operator()(int64_t r, int lane) const {
    if (done && r == 0 && lane == 0) *done += a.begin[a.experts];
    if (r >= a.begin[a.experts]) return;
    const int32_t i = a.entry[r];
    const float w = weight[i];
    const V* g = dy + a.token[r] * columns;
    Packed* o = out + r * columns;
    float sum = 0;
    for (int64_t c = lane; c < columns; c += kWarp) {
      const V d = g[c];
      sum += product(d, o[c]);
      o[c] = times(w, d);
    }
    sum = over_warp(sum, Plus());
    if (lane == 0) dot[by_entry ? i : r] = by_entry ? dot[i] + sum : sum;
  }
};
template <class Number>
void assign_combine_backward(Stream& s, const AssignMemory& a, const swy_plan& plan, int64_t width, const float* dy,
                             Number* out, float* dweight_add) {
  const bool by_entry = a.row_kind == SWY_ROW_TOKEN;  // then an entry has one row at most
  by_number(width, {dy, out}, out, [&]<class V, class Packed>(V, Packed) {
    const int64_t columns = width * int64_t{sizeof(float)} / int64_t{sizeof(V)};
    warps(s, a.max_rows,
          Spread<V, Packed>{a, columns, plan.weight, reinterpret_cast<const V*>(dy), reinterpret_cast<Packed*>(out),
                            by_entry ? dweight_add : a.dot, by_entry, done_in<Number>(a, kBackward)});
  });
  if (by_entry) return;
  const int32_t* expert = plan.expert;
  const Claim claim{plan.count, nullptr, expert, 0, a.experts, a.max_assign};
  blocks(s, a.max_assign, 256, [=] __device__(int64_t i) {
    if (claim(i) < 0) return;
    float sum = 0;
    for (int64_t r = a.begin[expert[i]] + threadIdx.x; r < a.begin[expert[i] + 1]; r += 256)
      if (a.entry[r] == i) sum += a.dot[r];
    sum = over_block(sum, Plus());
    if (threadIdx.x == 0) dweight_add[i] += sum;
  });
}

#define SWY_FOR(Number)                                                                                                \
  template void assign_combine(Stream&, const AssignMemory&, const swy_plan&, int64_t, int64_t, const Number*,         \
                               float*);                                                                                \
  template void assign_combine_backward(Stream&, const AssignMemory&, const swy_plan&, int64_t, const float*, Number*, \
                                        float*);                                                                       \
  template void assign_gather_backward(Stream&, const AssignMemory&, int64_t, int64_t, const Number*, float*);
SWY_FOR(float)
SWY_FOR(Bf16)
#undef SWY_FOR

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

template <class V>
struct MoveLent {
  AssignMemory a;
  int64_t columns;
  V *packed, *rows;
  bool gather;
  int64_t* done;
  __device__ void operator()(int64_t j, int lane) const {
    const int32_t n = a.claims[a.experts];
    if (j == 0 && lane == 0) *done += n;
    if (j >= n) return;
    V *near = packed + j * columns, *far = rows + a.order[j] * columns;
    for (int64_t c = lane; c < columns; c += kWarp) {
      if (gather)
        near[c] = far[c];
      else
        far[c] = plus(far[c], 1.0f, near[c]);
    }
  }
};
void move_lent(Stream& s, const AssignMemory& a, int64_t width, float* packed, float* rows, bool gather,
               int64_t* done) {
  by_width(width, {packed, rows}, [&]<class V>(V) {
    const int64_t columns = width * int64_t{sizeof(float)} / int64_t{sizeof(V)};
    warps(s, a.max_assign,
          MoveLent<V>{a, columns, reinterpret_cast<V*>(packed), reinterpret_cast<V*>(rows), gather, done});
  });
}
void lent_gather(Stream& s, const AssignMemory& a, int64_t width, const float* x, float* packed, int64_t* done) {
  move_lent(s, a, width, packed, const_cast<float*>(x), true, done);
}
void lent_scatter_add(Stream& s, const AssignMemory& a, int64_t width, const float* packed, float* y_add,
                      int64_t* done) {
  move_lent(s, a, width, const_cast<float*>(packed), y_add, false, done);
}

}  // namespace swy::moe::cuda
