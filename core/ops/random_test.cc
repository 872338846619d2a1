#include "core/ops/random.h"

#include <algorithm>

#include "core/base/parallel.h"
#include "core/base/philox.h"
#include "core/ops/check.h"

namespace swy::ops {
namespace {

Floats generate(int32_t kind, uint64_t seed, uint64_t stream, int64_t n, float mean = 0, float scale = 1) {
  Bench bench;
  Floats y(n);
  random(bench.ex, kind, seed, stream, n, mean, scale, y.data());
  return y;
}

// The first words of the uniform stream are Philox's own, four to a block.
TEST(Random, UniformWords) {
  const Floats y = generate(SWY_RANDOM_UNIFORM, 7, 3, 6);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(y[i], unit_uniform(philox(7, 3, i / 4)[i % 4]));
}

// Element i does not depend on how many are drawn nor on the thread count; seed and stream matter.
TEST(Random, ElementDependsOnSeedStreamAndIndexOnly) {
  const int threads = thread_count();
  for (int32_t kind : {SWY_RANDOM_UNIFORM, SWY_RANDOM_NORMAL, SWY_RANDOM_GUMBEL}) {
    const Floats all = generate(kind, 1, 2, 40001), few = generate(kind, 1, 2, 13);
    EXPECT_TRUE(std::equal(few.begin(), few.end(), all.begin()));
    set_thread_count(threads == 1 ? 3 : 1);
    EXPECT_EQ(all, generate(kind, 1, 2, 40001));
    set_thread_count(threads);
    EXPECT_NE(few, generate(kind, 2, 2, 13));
    EXPECT_NE(few, generate(kind, 1, 3, 13));
  }
}

// Mean and standard deviation within 5 standard errors of the theory, for 2^20 numbers, and the range of the uniform.
TEST(Random, Moments) {
  struct {
    int32_t kind;
    double mean, deviation;
  } const laws[] = {{SWY_RANDOM_UNIFORM, 3 + 2 * 0.5, 2 / std::sqrt(12.0)},
                    {SWY_RANDOM_NORMAL, 3, 2},
                    {SWY_RANDOM_GUMBEL, 3 + 2 * 0.5772156649, 2 * M_PI / std::sqrt(6.0)}};
  for (const auto& law : laws) {
    constexpr int64_t kCount = 1 << 20;
    const Floats y = generate(law.kind, 11, 0, kCount, 3, 2);
    double mean = 0, square = 0;
    for (float v : y) mean += v / kCount;
    for (float v : y) square += (v - mean) * (v - mean) / kCount;
    EXPECT_NEAR(mean, law.mean, 5 * law.deviation / 1024);
    EXPECT_NEAR(std::sqrt(square), law.deviation, 0.02);
    for (float v : y) ASSERT_TRUE(std::isfinite(v));
  }
  const Floats u = generate(SWY_RANDOM_UNIFORM, 11, 0, 1 << 20, 3, 2);
  EXPECT_GE(*std::min_element(u.begin(), u.end()), 3);
  EXPECT_LT(*std::max_element(u.begin(), u.end()), 5);
}

// Neighbouring normals, which share a radius, are uncorrelated.
TEST(Random, NormalPairsAreUncorrelated) {
  const Floats y = generate(SWY_RANDOM_NORMAL, 5, 0, 1 << 20);
  double product = 0;
  for (size_t i = 0; i < y.size(); i += 2) product += y[i] * y[i + 1];
  EXPECT_NEAR(product / (1 << 19), 0, 5.0 / std::sqrt(1 << 19));
}

// Golden integers: the same on every device and in every version.
TEST(Random, HashGolden) {
  Bench bench;
  const std::vector<int32_t> id = {0, 1, 2, -1, 50256};
  std::vector<int32_t> out(5);
  hash(bench.ex, 5, id.data(), 17, 8, out.data());
  EXPECT_EQ(out, (std::vector<int32_t>{3, 1, 4, 0, 2}));
  hash(bench.ex, 5, id.data(), 18, 1000003, out.data());
  EXPECT_EQ(out, (std::vector<int32_t>{808023, 114397, 687414, 996708, 594489}));
}

// Consecutive ids spread evenly: 8 bins of 80000 are within 5 standard deviations of 10000.
TEST(Random, HashIsUniform) {
  Bench bench;
  std::vector<int32_t> id(80000), out(80000), bins(8);
  for (size_t i = 0; i < id.size(); ++i) id[i] = static_cast<int32_t>(i);
  hash(bench.ex, 80000, id.data(), 0, 8, out.data());
  for (int32_t b : out) ++bins[b];
  for (int32_t b : bins) EXPECT_NEAR(b, 10000, 5 * std::sqrt(80000 * 0.125 * 0.875));
}

}  // namespace
}  // namespace swy::ops
