// One (sequence, head) at a time: K^T and V are packed so that the inner loops run along contiguous keys or channels,
// and query rows go through in blocks whose S-wide scores stay in the L1/L2 cache. The products are register-blocked
// here rather than sent to gemm: they are too small for a library call, and sit between row operations on the same
// data.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/parallel.h"
#include "core/ops/attention.h"
#include "core/ops/cuda.h"
#include "core/ops/flops.h"
#include "core/ops/vector_math.h"

namespace swy::ops {
namespace {

constexpr int kLanes = 8;                 // floats of one vector register (AVX2; other targets split it)
constexpr int kQueryRows = 48;            // query rows per block: 48 x 256 scores are 48 KiB
constexpr int64_t kThreadWork = 200'000;  // multiply-adds (about 20 us) below which another thread does not pay
typedef float Vec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

int64_t padded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// c[R, 8 N] (+)= a[R, k] b[k, 8 N] in registers; a is read as a^T [k, R] when Trans.
template <int R, int N, bool Trans>
inline void tile(int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  Vec sum[R][N] = {};
  for (int64_t p = 0; p < k; ++p) {
    Vec row[N];
    for (int j = 0; j < N; ++j) row[j] = *reinterpret_cast<const Vec*>(b + p * ldb + j * kLanes);
    for (int i = 0; i < R; ++i) {
      const float x = Trans ? a[p * lda + i] : a[i * lda + p];
      for (int j = 0; j < N; ++j) sum[i][j] += row[j] * x;
    }
  }
  for (int i = 0; i < R; ++i)
    for (int j = 0; j < N; ++j) {
      Vec* out = reinterpret_cast<Vec*>(c + i * ldc + j * kLanes);
      *out = add ? *out + sum[i][j] : sum[i][j];
    }
}

// c[m, n] (+)= op(a)[m, k] b[k, n]; n is a multiple of kLanes.
template <bool Trans>
void multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
              int64_t ldc, bool add) {
  const auto columns = [&](auto width, int64_t j) {
    constexpr int N = decltype(width)::value;
    const auto at = [&](int64_t i) { return Trans ? a + i : a + i * lda; };
    int64_t i = 0;
    for (; i + 6 <= m; i += 6) tile<6, N, Trans>(k, at(i), lda, b + j, ldb, c + i * ldc + j, ldc, add);
    for (; i + 2 <= m; i += 2) tile<2, N, Trans>(k, at(i), lda, b + j, ldb, c + i * ldc + j, ldc, add);
    for (; i < m; ++i) tile<1, N, Trans>(k, at(i), lda, b + j, ldb, c + i * ldc + j, ldc, add);
  };
  int64_t j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes) columns(std::integral_constant<int, 2>{}, j);
  for (; j < n; j += kLanes) columns(std::integral_constant<int, 1>{}, j);
}

// out[rows, pad] = x[rows, cols] with row distance ld; the padding is 0.
void pack(int64_t rows, int64_t cols, const float* x, int64_t ld, int64_t pad, float* out) {
  for (int64_t r = 0; r < rows; ++r) {
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) out[r * pad + c] = x[r * ld + c];
    std::fill(out + r * pad + cols, out + (r + 1) * pad, 0.f);
  }
}

// out[cols, pad] = scale * x[rows, cols]^T; columns from `rows` on are 0. Eight rows at a time, because rows lie a
// power of two apart often enough to fall into few cache sets.
void pack_transposed(int64_t rows, int64_t cols, const float* x, int64_t ld, float scale, int64_t pad, float* out) {
  int64_t r = 0;
  for (; r + kLanes <= rows; r += kLanes) {
    const float* from = x + r * ld;
    for (int64_t c = 0; c < cols; ++c) {
      const Vec column = {from[c],          from[ld + c],     from[2 * ld + c], from[3 * ld + c],
                          from[4 * ld + c], from[5 * ld + c], from[6 * ld + c], from[7 * ld + c]};
      *reinterpret_cast<Vec*>(out + c * pad + r) = column * scale;
    }
  }
  for (int64_t c = 0; c < cols; ++c)
    for (int64_t i = r; i < pad; ++i) out[c * pad + i] = i < rows ? scale * x[i * ld + c] : 0;
}

// The spans of one thread's workspace. sp, hp: tokens and head_dim padded to whole vectors.
struct Workspace {
  int64_t sp, hp, floats = 0;
  float *key_t, *value_t, *key, *value, *dkey, *dvalue, *score, *dscore, *query, *dout;

  Workspace(const AttentionShape& shape, float* base) : sp(padded(shape.tokens)), hp(padded(shape.head_dim)) {
    const auto take = [&](int64_t n) {
      float* at = base ? base + floats : nullptr;
      floats += padded(n) + 8 * kLanes;
      return at;
    };
    key_t = take(hp * sp), value_t = take(hp * sp);
    key = take(sp * hp), value = take(sp * hp), dkey = take(sp * hp), dvalue = take(sp * hp);
    score = take(kQueryRows * sp), dscore = take(kQueryRows * sp);
    query = take(kQueryRows * hp), dout = take(kQueryRows * hp);
  }
};

// Where a sequence is: its own shape, and its first row.
struct Sequence {
  AttentionShape shape;
  int64_t row;
  Sequence(const AttentionShape& s, int64_t b) : shape(s), row(s.first ? s.first[b] - s.first[0] : b * s.tokens) {
    shape.sequences = 1, shape.first = nullptr;
    if (s.first) shape.tokens = s.first[b + 1] - s.first[b];
  }
};

// Counts the work of one call; false when there is nothing else to do.
bool count_sequences(const Exec& ex, const AttentionShape& s, double number_bytes,
                     Work (*work)(const AttentionShape&, double, double)) {
  if (s.first && ex.stream) return !ex.dry;
  double rows = 0, pairs = 0;
  for (int32_t b = 0; b < s.sequences; ++b) {
    const double n = Sequence(s, b).shape.tokens;
    rows += n, pairs += s.causal ? n * (n + 1) / 2 : n * n;
  }
  const Work w = work(s, rows, pairs);
  return count(ex, w.flops, w.bytes * number_bytes / sizeof(float));
}

// Runs body(sequence, head, workspace) for all heads of all sequences that have a token.
template <class Body>
void for_each_head(const AttentionShape& shape, void* workspace, Body&& body) {
  const int64_t floats = Workspace(shape, nullptr).floats;
  const int64_t head_work = int64_t{shape.tokens} * shape.tokens * shape.head_dim;
  parallel_for(int64_t{shape.sequences} * shape.heads, kThreadWork / std::max<int64_t>(head_work, 1) + 1,
               [&](int64_t begin, int64_t end) {
                 float* const room = static_cast<float*>(workspace) + omp_get_thread_num() * floats;
                 for (int64_t i = begin; i < end; ++i) {
                   const Sequence own(shape, i / shape.heads);
                   if (own.shape.tokens > 0) body(own, i % shape.heads, Workspace(own.shape, room));
                 }
               });
}

// Largest of x[0..n), n > 0; lane by lane, because a single running maximum does not become vector code everywhere.
float row_max(const float* x, int64_t n) {
  float lane[kLanes];
  std::fill(lane, lane + kLanes, x[0]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
  for (; i < n; ++i) lane[0] = std::max(lane[0], x[i]);
  return *std::max_element(lane, lane + kLanes);
}

// How many keys a query row sees.
int64_t keys_of_row(const AttentionShape& s, int64_t row) { return s.causal ? row + 1 : s.tokens; }

void forward_head(const AttentionShape& s, const float* q, int64_t ld, float* out, int64_t ld_out, float* lse,
                  const Workspace& w) {
  const int64_t hd = s.head_dim, width = ld / 3;
  const float scale = 1.0f / std::sqrt(static_cast<float>(hd));
  pack_transposed(s.tokens, hd, q + width, ld, scale, w.sp, w.key_t);
  pack(s.tokens, hd, q + 2 * width, ld, w.hp, w.value);
  for (int64_t row = 0; row < s.tokens; row += kQueryRows) {
    const int64_t rows = std::min<int64_t>(kQueryRows, s.tokens - row), keys = keys_of_row(s, row + rows - 1);
    multiply<false>(rows, padded(keys), hd, q + row * ld, ld, w.key_t, w.sp, w.score, w.sp, false);
    float inverse[kQueryRows];
    for (int64_t i = 0; i < rows; ++i) {
      float* p = w.score + i * w.sp;
      const int64_t n = keys_of_row(s, row + i);
      const float top = row_max(p, n);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < n; ++j) {
        p[j] = exp_below(p[j] - top);
        sum += p[j];
      }
      std::fill(p + n, p + keys, 0.f);
      inverse[i] = 1.0f / sum;
      lse[row + i] = top + std::log(sum);
    }
    multiply<false>(rows, w.hp, keys, w.score, w.sp, w.value, w.hp, w.dout, w.hp, false);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t c = 0; c < hd; ++c) out[(row + i) * ld_out + c] = w.dout[i * w.hp + c] * inverse[i];
  }
}

void backward_head(const AttentionShape& s, const float* q, const float* out, const float* lse, const float* dout,
                   float* dq, int64_t width, const Workspace& w) {
  const int64_t hd = s.head_dim, ld = 3 * width;
  const float scale = 1.0f / std::sqrt(static_cast<float>(hd));
  pack_transposed(s.tokens, hd, q + width, ld, scale, w.sp, w.key_t);
  pack_transposed(s.tokens, hd, q + 2 * width, ld, 1, w.sp, w.value_t);
  pack(s.tokens, hd, q + width, ld, w.hp, w.key);
  std::fill(w.dkey, w.dkey + s.tokens * w.hp, 0.f);
  std::fill(w.dvalue, w.dvalue + s.tokens * w.hp, 0.f);
  for (int64_t row = 0; row < s.tokens; row += kQueryRows) {
    const int64_t rows = std::min<int64_t>(kQueryRows, s.tokens - row), keys = keys_of_row(s, row + rows - 1);
    pack(rows, hd, q + row * ld, ld, w.hp, w.query);
    pack(rows, hd, dout + row * width, width, w.hp, w.dout);
    multiply<false>(rows, padded(keys), hd, w.query, w.hp, w.key_t, w.sp, w.score, w.sp, false);
    multiply<false>(rows, padded(keys), hd, w.dout, w.hp, w.value_t, w.sp, w.dscore, w.sp, false);
    for (int64_t i = 0; i < rows; ++i) {
      float *p = w.score + i * w.sp, *dp = w.dscore + i * w.sp;
      const float *o = out + (row + i) * width, *d = dout + (row + i) * width;
      const int64_t n = keys_of_row(s, row + i);
      const float log_sum = lse[row + i];
      float delta = 0;
#pragma omp simd reduction(+ : delta)
      for (int64_t c = 0; c < hd; ++c) delta += o[c] * d[c];
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) {
        p[j] = exp_below(p[j] - log_sum);
        dp[j] = p[j] * (dp[j] - delta) * scale;
      }
      std::fill(p + n, p + keys, 0.f);
      std::fill(dp + n, dp + keys, 0.f);
    }
    multiply<true>(keys, w.hp, rows, w.score, w.sp, w.dout, w.hp, w.dvalue, w.hp, true);
    multiply<true>(keys, w.hp, rows, w.dscore, w.sp, w.query, w.hp, w.dkey, w.hp, true);
    multiply<false>(rows, w.hp, keys, w.dscore, w.sp, w.key, w.hp, w.query, w.hp, false);  // query block is used up
    for (int64_t i = 0; i < rows; ++i) std::memcpy(dq + (row + i) * ld, w.query + i * w.hp, hd * sizeof(float));
  }
  for (int64_t r = 0; r < s.tokens; ++r) {
    std::memcpy(dq + r * ld + width, w.dkey + r * w.hp, hd * sizeof(float));
    std::memcpy(dq + r * ld + 2 * width, w.dvalue + r * w.hp, hd * sizeof(float));
  }
}

}  // namespace

int64_t attention_workspace_bytes(const AttentionShape& shape, int threads) {
  return Workspace(shape, nullptr).floats * threads * static_cast<int64_t>(sizeof(float));
}

Work attention_work(const AttentionShape& s, double rows, double pairs) {
  return {pairs * s.heads * (4 * s.head_dim + 5), 4 * 4 * rows * extent(s.heads, s.head_dim)};
}
Work attention_backward_work(const AttentionShape& s, double rows, double pairs) {
  return {pairs * s.heads * (10 * s.head_dim + 5), 4 * 8 * rows * extent(s.heads, s.head_dim)};
}

void attention(const Exec& ex, const AttentionShape& s, ConstNumbers of, Numbers to, float* lse, void* workspace) {
  const int64_t width = int64_t{s.heads} * s.head_dim;
  if (!count_sequences(ex, s, of.bytes(), attention_work)) return;
  const float* qkv = of.fp32();
  float* out = to.fp32();
  if constexpr (kWithCuda) {
    if (of.is_bf16()) return cuda::attention_bf16(*ex.stream, s, of.bf16(), to.bf16(), lse);
    if (ex.stream) return cuda::attention(*ex.stream, s, qkv, out, lse);
  }
  for_each_head(s, workspace, [&](const Sequence& own, int64_t h, const Workspace& w) {
    const int64_t at = own.row * width + h * s.head_dim, statistics = own.row * s.heads + h * own.shape.tokens;
    forward_head(own.shape, qkv + own.row * 3 * width + h * s.head_dim, 3 * width, out + at, width, lse + statistics,
                 w);
  });
}

void attention_backward(const Exec& ex, const AttentionShape& s, ConstNumbers of, ConstNumbers made, const float* lse,
                        ConstNumbers slopes, Numbers to, void* workspace) {
  const int64_t width = int64_t{s.heads} * s.head_dim;
  if (!count_sequences(ex, s, of.bytes(), attention_backward_work)) return;
  const float *qkv = of.fp32(), *out = made.fp32(), *dout = slopes.fp32();
  float* dqkv = to.fp32();
  if constexpr (kWithCuda) {
    if (of.is_bf16())
      return cuda::attention_backward(*ex.stream, s, of.bf16(), made.bf16(), lse, slopes.bf16(), to.bf16());
    if (ex.stream) return cuda::attention_backward(*ex.stream, s, qkv, out, lse, dout, dqkv);
  }
  for_each_head(s, workspace, [&](const Sequence& own, int64_t h, const Workspace& w) {
    const int64_t at = own.row * width + h * s.head_dim, packed = own.row * 3 * width + h * s.head_dim;
    backward_head(own.shape, qkv + packed, out + at, lse + own.row * s.heads + h * own.shape.tokens, dout + at,
                  dqkv + packed, width, w);
  });
}

}  // namespace swy::ops
