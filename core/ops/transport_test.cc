#include "core/ops/transport.h"

#include <algorithm>
#include <numeric>

#include "core/ops/check.h"

namespace swy::ops {
namespace {

using Ints = std::vector<int32_t>;

// ---- plain double-precision versions of one segment, straight from the definitions ----

// Onto the simplex with at most k nonzeros, by trying every support of the k largest entries.
Values sparse_simplex(const Values& z, int64_t k) {
  std::vector<size_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return z[a] > z[b]; });
  Values best(z.size());
  double best_distance = 1e300;
  for (int64_t n = 1; n <= std::min<int64_t>(k, static_cast<int64_t>(z.size())); ++n) {
    Values p(z.size());
    double sum = 0, distance = 0;
    for (int64_t i = 0; i < n; ++i) sum += z[order[i]];
    bool inside = true;
    for (int64_t i = 0; i < n; ++i) {
      p[order[i]] = z[order[i]] - (sum - 1) / static_cast<double>(n);
      inside = inside && p[order[i]] >= 0;
    }
    for (size_t i = 0; i < z.size(); ++i) distance += (p[i] - z[i]) * (p[i] - z[i]);
    if (inside && distance < best_distance) best = p, best_distance = distance;
  }
  return best;
}

Values sparse_reference(const Values& x, int64_t rows, int64_t cols, int64_t k, double gamma, int iterations,
                        double rate) {
  const double mass = static_cast<double>(rows) / static_cast<double>(cols);
  Values alpha(rows), mean(rows), square(rows), plan(rows * cols);
  auto solve = [&] {
    for (int64_t c = 0; c < cols; ++c) {
      Values z(rows);
      for (int64_t r = 0; r < rows; ++r) z[r] = (alpha[r] + x[r * cols + c]) / (gamma * mass);
      const Values p = sparse_simplex(z, k);
      for (int64_t r = 0; r < rows; ++r) plan[r * cols + c] = mass * p[r];
    }
  };
  solve();
  for (int i = 1; i <= iterations; ++i) {
    Values g(rows, -1);
    double norm = 0;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) g[r] += plan[r * cols + c];
      norm += g[r] * g[r];
    }
    if (std::sqrt(norm) <= 1e-3) break;
    for (int64_t r = 0; r < rows; ++r) {
      mean[r] = 0.9 * mean[r] + 0.1 * g[r];
      square[r] = 0.999 * square[r] + 0.001 * g[r] * g[r];
      alpha[r] -= rate * mean[r] / (1 - std::pow(0.9, i)) / (std::sqrt(square[r] / (1 - std::pow(0.999, i))) + 1e-8);
    }
    solve();
  }
  return plan;
}

// Dykstra in the plain domain: multiplicative corrections.
Values capped_reference(const Values& x, int64_t rows, int64_t cols, double k, double cap, double entropy, int rounds) {
  Values a(rows * cols), over_cap(rows, 1), over_box(rows * cols, 1);
  for (size_t i = 0; i < a.size(); ++i) a[i] = std::exp(x[i] / entropy);
  for (int round = 0; round < rounds; ++round) {
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) sum += a[r * cols + c];
      for (int64_t r = 0; r < rows; ++r) a[r * cols + c] *= k / sum;
    }
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < cols; ++c) sum += a[r * cols + c] *= over_cap[r];
      over_cap[r] = std::max(1.0, sum / cap);
      for (int64_t c = 0; c < cols; ++c) a[r * cols + c] /= over_cap[r];
    }
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] *= over_box[i];
      over_box[i] = std::max(1.0, a[i]);
      a[i] = std::min(1.0, a[i]);
    }
  }
  return a;
}

Floats scores(int64_t n, uint64_t seed) { return draw(n, seed, 0, 1); }

Floats solve_sparse(const Ints& seg, const Ints& k, int64_t cols, float gamma, int iterations, const Floats& x,
                    const uint8_t* mask = nullptr) {
  Bench bench;
  const auto rows = static_cast<int64_t>(x.size()) / cols;
  Floats plan(x.size(), -1), work(6 * rows + 2);
  sparse_transport(bench.ex, static_cast<int64_t>(k.size()), seg.data(), k.data(), rows, cols, gamma, iterations, 0.01f,
                   mask, x.data(), plan.data(), work.data());
  return plan;
}
Floats solve_capped(const Ints& seg, const Ints& k, int64_t cols, float cap, float entropy, int rounds, const Floats& x,
                    const uint8_t* mask = nullptr) {
  Bench bench;
  const auto rows = static_cast<int64_t>(x.size()) / cols;
  Floats plan(x.size(), -1), work(rows * cols + rows);
  capped_transport(bench.ex, static_cast<int64_t>(k.size()), seg.data(), k.data(), rows, cols, cap, entropy, rounds,
                   mask, x.data(), plan.data(), work.data());
  return plan;
}

// Without a round and with gamma b = 1 a column is the k-sparse projection itself: golden vectors E of the spec.
TEST(SparseTransport, ProjectsOntoTheSparseSimplex) {
  const struct {
    Floats z, p;
    int32_t k;
  } cases[] = {{{.9f, .5f, .1f, -.2f}, {.7f, .3f, 0, 0}, 2},
               {{3, .5f, .1f}, {1, 0, 0}, 2},
               {{.2f, .2f, .2f, .2f}, {1 / 3.f, 1 / 3.f, 1 / 3.f, 0}, 3}};
  for (const auto& c : cases) {
    const auto rows = static_cast<int32_t>(c.z.size());
    const Floats plan = solve_sparse({0, rows}, {c.k}, 1, 1 / static_cast<float>(rows), 0, c.z);
    for (size_t i = 0; i < plan.size(); ++i) EXPECT_NEAR(plan[i] / static_cast<float>(rows), c.p[i], 1e-6) << i;
  }
}

// Prices, projection and stopping as in fp64, over ragged groups of which one is empty and one is a single token.
TEST(SparseTransport, AgreesWithDoublePrecision) {
  const Ints seg = {0, 9, 9, 10, 26}, k = {3, 2, 1, 4};
  for (int64_t cols : {1, 4, 7})
    for (const auto& [gamma, iterations] : {std::pair<float, int>{1, 20}, {0.1f, 3}, {5, 0}}) {
      const Floats x = scores(26 * cols, static_cast<uint64_t>(cols));
      const Floats plan = solve_sparse(seg, k, cols, gamma, iterations, x);
      for (size_t s = 0; s < k.size(); ++s) {
        const Values part(x.begin() + seg[s] * cols, x.begin() + seg[s + 1] * cols);
        const int64_t rows = seg[s + 1] - seg[s];
        if (rows == 0) continue;
        const Values want = sparse_reference(part, rows, cols, k[s], gamma, iterations, 0.01);
        for (size_t i = 0; i < want.size(); ++i)
          EXPECT_NEAR(plan[seg[s] * cols + i], want[i], 2e-4) << "segment " << s << ", " << i;
      }
    }
}

// By construction: every column has its mass on at most k rows, nothing is negative. With k = m the rows come close to
// 1 after many rounds (the row constraint is only met through the prices).
TEST(SparseTransport, Invariants) {
  const int64_t rows = 24, cols = 4;
  for (int32_t k : {1, 6, 24}) {
    const Floats plan = solve_sparse({0, 24}, {k}, cols, 1, k == 24 ? 500 : 20, scores(rows * cols, 3));
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      int nonzero = 0;
      for (int64_t r = 0; r < rows; ++r) {
        EXPECT_GE(plan[r * cols + c], 0);
        sum += plan[r * cols + c], nonzero += plan[r * cols + c] > 0;
      }
      EXPECT_NEAR(sum, 6, 1e-5);
      EXPECT_LE(nonzero, k);
    }
    if (k < 24) continue;
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < cols; ++c) sum += plan[r * cols + c];
      EXPECT_NEAR(sum, 1, 1e-2);
    }
  }
}

// As in fp64 without logs, over ragged groups; and with an entropy at which only logs survive, the order is kept.
TEST(CappedTransport, AgreesWithDoublePrecision) {
  const Ints seg = {0, 8, 8, 9, 25}, k = {3, 2, 1, 8};
  for (int64_t cols : {1, 4, 40})
    for (float entropy : {0.1f, 0.02f}) {
      const Floats x = scores(25 * cols, static_cast<uint64_t>(cols));
      const Floats plan = solve_capped(seg, k, cols, 2, entropy, 30, x);
      for (size_t s = 0; s < k.size(); ++s) {
        const Values part(x.begin() + seg[s] * cols, x.begin() + seg[s + 1] * cols);
        const int64_t rows = seg[s + 1] - seg[s];
        if (rows == 0) continue;
        const Values want =
            capped_reference(part, rows, cols, static_cast<double>(std::min<int64_t>(k[s], rows)), 2, entropy, 30);
        for (size_t i = 0; i < want.size(); ++i)
          EXPECT_NEAR(std::exp(plan[seg[s] * cols + i]), want[i], 2e-4) << "segment " << s << ", " << i;
      }
    }
  const Floats x = {0.9f, 0.2f, 0.1f, 0.5f};
  const Floats sharp = solve_capped({0, 4}, {1}, 1, 1, 0.001f, 100, x);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(sharp[i], (x[i] - 0.9f) / 0.001f, 0.1);
}

// After enough rounds: columns sum to k, no row exceeds the cap, no entry exceeds 1.
TEST(CappedTransport, Invariants) {
  const int64_t rows = 16, cols = 4;
  Floats x = scores(rows * cols, 5);
  for (int64_t c = 0; c < cols; ++c) x[c] = 1;  // every expert wants the first token
  const Floats plan = solve_capped({0, 16}, {6}, cols, 2, 0.05f, 2000, x);
  for (int64_t c = 0; c < cols; ++c) {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += std::exp(plan[r * cols + c]);
    EXPECT_NEAR(sum, 6, 1e-2);
  }
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) {
      sum += std::exp(plan[r * cols + c]);
      EXPECT_LE(plan[r * cols + c], 0);
    }
    EXPECT_LE(sum, 2 + 1e-2);
  }
}

// Padding has no part in either plan: the other rows get what they get without it, bit for bit.
TEST(Transport, PaddingIsNothing) {
  const int64_t cols = 3;
  const uint8_t mask[] = {1, 0, 1, 1, 0, 1, 1};
  const Floats whole = scores(7 * cols, 9);
  Floats real;
  for (int64_t r = 0; r < 7; ++r)
    if (mask[r]) real.insert(real.end(), whole.begin() + r * cols, whole.begin() + (r + 1) * cols);
  auto compare = [&](const Floats& padded, const Floats& plain, float in_padding) {
    for (int64_t r = 0, at = 0; r < 7; ++r) {
      for (int64_t c = 0; c < cols; ++c)
        EXPECT_EQ(padded[r * cols + c], mask[r] ? plain[at * cols + c] : in_padding) << r << ", " << c;
      at += mask[r];
    }
  };
  compare(solve_sparse({0, 7}, {2}, cols, 1, 10, whole, mask), solve_sparse({0, 5}, {2}, cols, 1, 10, real), 0);
  compare(solve_capped({0, 7}, {2}, cols, 2, 0.1f, 10, whole, mask), solve_capped({0, 5}, {2}, cols, 2, 0.1f, 10, real),
          -std::numeric_limits<float>::infinity());
}

}  // namespace
}  // namespace swy::ops
