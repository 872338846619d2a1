#include "benchmarks/analysis/collapse.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/philox.h"

namespace swy::bench {
namespace {

std::vector<float> normals(int64_t n, uint64_t seed, float scale = 1) {
  Random random(seed);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = scale * random.normal();
  return x;
}

// Two experts in the plane by hand. Expert 0: (-1, -1), (-1, 1), (-1, 0); expert 1: (3, 0). Centres (-1, 0) and (3, 0),
// mean (0, 0): Sigma_B is 3/4 * 1 + 1/4 * 9 = 3 along x, Sigma_W only along y, so RC = 0. With expert 0 twice as often,
// far apart along y, and the other one at (2, 0) and (4, 0), Sigma_B is the same and Sigma_W along x is 2/8: RC = 1/12.
TEST(RepresentationCollapse, ByHand) {
  const std::vector<float> points{-1, -1, -1, 1, -1, 0, 3, 0};
  const std::vector<int32_t> expert{0, 0, 0, 1};
  EXPECT_NEAR(representation_collapse(points.data(), expert.data(), 4, 2, 2), 0, 1e-12);
  const std::vector<float> spread{-1, -1, -1, 1, -1, 0, -1, 0, -1, 5, -1, -5, 2, 0, 4, 0, 100, 100};
  const std::vector<int32_t> more{0, 0, 0, 0, 0, 0, 2, 2, -1};  // expert 1 unused, the last token unrouted
  EXPECT_NEAR(representation_collapse(spread.data(), more.data(), 9, 2, 3), 1.0 / 12, 1e-12);
  EXPECT_TRUE(std::isnan(representation_collapse(points.data(), expert.data(), 3, 2, 2)));
}

// Against the definition: for E - 1 >= D the pseudo-inverse is the inverse, here of a 2 x 2 matrix written out. States
// that shrink onto the centres by half fall by a quarter.
TEST(RepresentationCollapse, EqualsTheDefinition) {
  const int64_t n = 200;
  const int32_t experts = 4;
  std::vector<float> x = normals(2 * n, 1);
  std::vector<int32_t> expert;
  const float centre[4][2] = {{0, 0}, {5, 1}, {-3, 2}, {1, -4}};
  std::vector<float> near = x;
  for (int64_t i = 0; i < n; ++i) {
    expert.push_back(static_cast<int32_t>(i % experts));
    for (int j = 0; j < 2; ++j) x[static_cast<size_t>(2 * i + j)] += centre[i % experts][j];
  }
  double mu[4][2] = {}, whole[2] = {}, w[2][2] = {}, b[2][2] = {};
  for (int64_t i = 0; i < n; ++i)
    for (int j = 0; j < 2; ++j) {
      mu[i % 4][j] += static_cast<double>(x[static_cast<size_t>(2 * i + j)]) / 50;
      whole[j] += static_cast<double>(x[static_cast<size_t>(2 * i + j)]) / 200;
    }
  for (int64_t i = 0; i < n; ++i)
    for (int j = 0; j < 2; ++j)
      for (int k = 0; k < 2; ++k) {
        w[j][k] += (static_cast<double>(x[static_cast<size_t>(2 * i + j)]) - mu[i % 4][j]) *
                   (static_cast<double>(x[static_cast<size_t>(2 * i + k)]) - mu[i % 4][k]) / 200;
        b[j][k] += (mu[i % 4][j] - whole[j]) * (mu[i % 4][k] - whole[k]) / 200;
      }
  const double det = b[0][0] * b[1][1] - b[0][1] * b[1][0];
  const double expected = (w[0][0] * b[1][1] - w[0][1] * b[1][0] - w[1][0] * b[0][1] + w[1][1] * b[0][0]) / det;
  const double found = representation_collapse(x.data(), expert.data(), n, 2, experts);
  EXPECT_NEAR(found, expected, 1e-9 * expected);
  for (int64_t i = 0; i < n; ++i)
    for (int j = 0; j < 2; ++j) {
      const auto at = static_cast<size_t>(2 * i + j);
      near[at] = static_cast<float>((static_cast<double>(x[at]) + mu[i % 4][j]) / 2);
    }
  EXPECT_NEAR(representation_collapse(near.data(), expert.data(), n, 2, experts), found / 4, 1e-5 * found);
}

// Singular values (2, 2, 0) give rank 2; (3, 1) exp of the entropy of (3/4, 1/4), upright and lying; one repeated row
// gives 1; many normal rows nearly fill the space.
TEST(EffectiveRank, KnownCases) {
  const std::vector<float> two{2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}, uneven{3, 0, 0, 0, 1, 0}, tall{3, 0, 0, 1, 0, 0},
      repeated{1, 2, 3, 1, 2, 3};
  EXPECT_NEAR(effective_rank(two.data(), 4, 3), 2, 1e-9);
  const double h = std::exp(-0.75 * std::log(0.75) - 0.25 * std::log(0.25));
  EXPECT_NEAR(effective_rank(uneven.data(), 2, 3), h, 1e-9);
  EXPECT_NEAR(effective_rank(tall.data(), 3, 2), h, 1e-9);
  EXPECT_NEAR(effective_rank(repeated.data(), 2, 3), 1, 1e-6);
  const std::vector<float> x = normals(2000 * 16, 3), zero(6);
  EXPECT_GT(effective_rank(x.data(), 2000, 16), 15.9);
  EXPECT_TRUE(std::isnan(effective_rank(zero.data(), 2, 3)));
}

double cka(const std::vector<float>& a, const std::vector<float>& b, int64_t n, Kernel kernel, Centring centring) {
  return similarity(centred_gram(a.data(), n, static_cast<int64_t>(a.size()) / n, kernel, centring),
                    centred_gram(b.data(), n, static_cast<int64_t>(b.size()) / n, kernel, centring));
}

// ||Yc^T Xc||_F^2 / (||Xc^T Xc||_F ||Yc^T Yc||_F) of Kornblith et al., by feature products instead of Gram matrices.
TEST(Cka, EqualsTheFeatureForm) {
  const int64_t n = 40, p = 3, q = 5;
  const std::vector<float> a = normals(n * p, 1), noise = normals(n * q, 2);
  std::vector<float> b(static_cast<size_t>(n * q));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < q; ++j)
      b[static_cast<size_t>(i * q + j)] =
          a[static_cast<size_t>(i * p + j % p)] + noise[static_cast<size_t>(i * q + j)] + 3;
  const auto centred = [&](const std::vector<float>& x, int64_t d) {
    std::vector<double> c(x.begin(), x.end());
    for (int64_t j = 0; j < d; ++j) {
      double mean = 0;
      for (int64_t i = 0; i < n; ++i) mean += c[static_cast<size_t>(i * d + j)] / static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i) c[static_cast<size_t>(i * d + j)] -= mean;
    }
    return c;
  };
  const auto product = [&](const std::vector<double>& x, int64_t dx, const std::vector<double>& y, int64_t dy) {
    double squares = 0;
    for (int64_t j = 0; j < dx; ++j)
      for (int64_t k = 0; k < dy; ++k) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i) sum += x[static_cast<size_t>(i * dx + j)] * y[static_cast<size_t>(i * dy + k)];
        squares += sum * sum;
      }
    return squares;
  };
  const std::vector<double> x = centred(a, p), y = centred(b, q);
  const double expected = product(x, p, y, q) / std::sqrt(product(x, p, x, p) * product(y, q, y, q));
  EXPECT_NEAR(cka(a, b, n, Kernel::kLinear, Centring::kPlain), expected, 1e-12);
  EXPECT_GT(expected, 0.2);
  EXPECT_LT(expected, 0.9);
}

// The unbiased HSIC of Song et al. (2012), with Gram matrices whose diagonal is 0,
//   tr(K L) + (1 K 1)(1 L 1) / ((n-1)(n-2)) - 2 / (n-2) 1 K L 1,
// written out: the debiased CKA is HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)). Small n, where n and n - 2 differ.
TEST(Cka, DebiasedIsTheUnbiasedHsic) {
  const int64_t n = 9, d = 3;
  std::vector<float> a = normals(n * d, 1), b = normals(n * d, 2);
  for (size_t i = 0; i < b.size(); ++i) b[i] += a[i];
  const auto gram = [&](const std::vector<float>& x) {
    std::vector<double> k(static_cast<size_t>(n * n));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        for (int64_t f = 0; f < d; ++f)
          if (i != j)
            k[static_cast<size_t>(i * n + j)] += static_cast<double>(x[static_cast<size_t>(i * d + f)]) *
                                                 static_cast<double>(x[static_cast<size_t>(j * d + f)]);
    return k;
  };
  const auto hsic = [&](const std::vector<double>& k, const std::vector<double>& l) {
    double trace = 0, all_k = 0, all_l = 0, both = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const double kij = k[static_cast<size_t>(i * n + j)];
        trace += kij * l[static_cast<size_t>(j * n + i)];
        all_k += kij, all_l += l[static_cast<size_t>(i * n + j)];
        for (int64_t m = 0; m < n; ++m) both += kij * l[static_cast<size_t>(j * n + m)];
      }
    const auto size = static_cast<double>(n);
    return trace + all_k * all_l / ((size - 1) * (size - 2)) - 2 / (size - 2) * both;
  };
  const std::vector<double> k = gram(a), l = gram(b);
  EXPECT_NEAR(cka(a, b, n, Kernel::kLinear, Centring::kDebiased), hsic(k, l) / std::sqrt(hsic(k, k) * hsic(l, l)),
              1e-10);
}

// 1 for equal representations, also turned and scaled; independent ones reach d / (n + d) plainly, 0 debiased.
TEST(Cka, Ends) {
  const int64_t n = 128, d = 64;
  const std::vector<float> a = normals(n * d, 1), b = normals(n * d, 2);
  std::vector<float> turned(a.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < d; j += 2) {
      const float u = a[static_cast<size_t>(i * d + j)], v = a[static_cast<size_t>(i * d + j + 1)];
      turned[static_cast<size_t>(i * d + j)] = 3 * (0.6f * u + 0.8f * v) + 1;
      turned[static_cast<size_t>(i * d + j + 1)] = 3 * (0.8f * u - 0.6f * v);
    }
  for (const Centring c : {Centring::kPlain, Centring::kDebiased}) {
    for (const Kernel k : {Kernel::kLinear, Kernel::kRbf}) {
      EXPECT_NEAR(cka(a, a, n, k, c), 1, 1e-12);
      EXPECT_NEAR(cka(a, turned, n, k, c), 1, 1e-5);
      if (c == Centring::kDebiased) {
        EXPECT_NEAR(cka(a, b, n, k, c), 0, 0.05);
      }
    }
  }
  EXPECT_NEAR(cka(a, b, n, Kernel::kLinear, Centring::kPlain), 64.0 / (128 + 64), 0.03);
  const std::vector<float> constant(a.size(), 0.1f);
  EXPECT_TRUE(std::isnan(cka(a, constant, n, Kernel::kLinear, Centring::kPlain)));
}

// Experts y = x A_e: equal ones are alike in every figure, independent ones in none, and each has the rank of its
// matrix.
TEST(ExpertLikeness, EqualAndIndependent) {
  const int64_t n = 300;
  const int32_t d = 8, experts = 3;
  const std::vector<float> x = normals(n * d, 5);
  const auto probe = [&](const std::vector<float>& a) {  // [E, D, D]
    ExpertProbe p;
    p.weights.push_back({a.data(), d * d});
    p.run = [&a, d](int32_t e, int64_t rows, const float* in, float* out) {
      for (int64_t i = 0; i < rows; ++i)
        for (int32_t j = 0; j < d; ++j) {
          out[i * d + j] = 0;
          for (int32_t k = 0; k < d; ++k) out[i * d + j] += in[i * d + k] * a[static_cast<size_t>((e * d + k) * d + j)];
        }
    };
    return p;
  };
  std::vector<float> equal = normals(d * d, 6);
  for (int copy = 0; copy < 2; ++copy) equal.insert(equal.end(), equal.begin(), equal.begin() + d * d);
  const ExpertLikeness same = expert_likeness(probe(equal), experts, x.data(), n, d);
  EXPECT_NEAR(same.cka, 1, 1e-12);
  EXPECT_NEAR(same.cka_debiased, 1, 1e-12);
  EXPECT_NEAR(same.cosine, 1, 1e-12);

  std::vector<float> parts(static_cast<size_t>(experts * d * d));  // expert e passes features 2e and 2e + 1 only
  for (int32_t e = 0; e < experts; ++e)
    for (int32_t k = 2 * e; k < 2 * e + 2; ++k) parts[static_cast<size_t>((e * d + k) * d + k)] = 1;
  const ExpertLikeness other = expert_likeness(probe(parts), experts, x.data(), n, d);
  EXPECT_LT(other.cka, 0.03);
  EXPECT_NEAR(other.cka_debiased, 0, 0.02);
  EXPECT_EQ(other.cosine, 0);
  EXPECT_NEAR(other.effective_rank, 2, 0.01);
  EXPECT_TRUE(std::isnan(expert_likeness(ExpertProbe{}, experts, x.data(), n, d).cosine));
}

}  // namespace
}  // namespace swy::bench
