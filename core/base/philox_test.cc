// The generator against Random123's published known answers, and what the rest of the project relies on.
#include "core/base/philox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/base/seed.h"

namespace swy {
namespace {

using Words = std::array<uint32_t, 4>;

// philox4x32-10 of kat_vectors in Random123 (Salmon et al. 2011): all zero, all one, and the digits of pi.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox(0, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint64_t ones = ~uint64_t{0};
  EXPECT_EQ(philox(ones, ones, ones), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// below(n) reaches every value about equally often, also for n that does not divide 2^32.
TEST(Philox, BelowIsUniform) {
  Random random(1);
  std::vector<int> seen(6);
  for (int i = 0; i < 60000; ++i) ++seen[random.below(6)];
  for (const int n : seen) EXPECT_NEAR(n, 10000, 400);  // more than four standard deviations (91)
}

// uniform() is in [0, 1); normal() has mean 0 and variance 1.
TEST(Philox, Moments) {
  Random random(2);
  double sum = 0, squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const float u = random.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    const double z = random.normal();
    sum += z, squares += z * z;
  }
  EXPECT_NEAR(sum / 100000, 0, 0.015);
  EXPECT_NEAR(squares / 100000, 1, 0.02);
}

// Neighbouring seeds, purposes, steps and sites all give different seeds; the same path gives the same.
TEST(Seed, EveryPathItsOwn) {
  std::vector<uint64_t> seeds;
  for (uint64_t run : {0, 1})
    for (const Purpose p : {Purpose::kModelInit, Purpose::kRouterNoise})
      for (int64_t step : {0, 1})
        for (int32_t site : {0, 1}) seeds.push_back(site_seed(run, p, step, site));
  EXPECT_EQ(site_seed(1, Purpose::kModelInit, 0, 1), site_seed(1, Purpose::kModelInit, 0, 1));
  std::sort(seeds.begin(), seeds.end());
  EXPECT_EQ(std::unique(seeds.begin(), seeds.end()), seeds.end());
}

}  // namespace
}  // namespace swy
