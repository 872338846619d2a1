// Rows of an ASSIGN plan on a device: gathered from tokens, combined to them, and back, as fp32 or bf16. A warp has a
// row, or a token with its rows in list order, so sums repeat bit for bit.
#include <type_traits>

#include "core/moe/assign_claims.cuh"
#include "core/ops/eights.cuh"

namespace swy::moe::cuda {

using ops::Bf16;

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

template <class V>
struct Gather {
  AssignMemory a;
  int64_t columns;
  const V* x;
  V* packed;
  int64_t* done;
  __device__ void operator()(int64_t r, int lane) const {
    if (done && r == 0 && lane == 0) *done += a.begin[a.experts];
    if (r >= a.begin[a.experts]) return;
    const V* from = x + a.token[r] * columns;
    for (int64_t c = lane; c < columns; c += kWarp) packed[r * columns + c] = from[c];
  }
};
void assign_gather(Stream& s, const AssignMemory& a, int64_t width, const float* x, float* packed) {
  by_width(width, {x, packed}, [&]<class V>(V) {
    const int64_t columns = width * int64_t{sizeof(float)} / int64_t{sizeof(V)};
    warps(s, a.max_rows,
          Gather<V>{a, columns, reinterpret_cast<const V*>(x), reinterpret_cast<V*>(packed),
                    done_in<float>(a, kGathered)});
  });
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
