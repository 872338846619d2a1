#include "benchmarks/analysis/routing_information.h"

#include <gtest/gtest.h>

#include <cmath>

#include "benchmarks/analysis/routing_fixture.h"
#include "benchmarks/analysis/specialisation.h"

namespace swy::bench {
namespace {

// Proves the information on cases done by hand: one expert per cluster gives log 4, one expert for pairs of clusters
// log 2, independence 0; and shuffling destroys it.
TEST(RoutingInformation, KnownCases) {
  RoutingInformation perfect(4, 4), pairs(4, 4), none(4, 4);
  for (int i = 0; i < 4000; ++i) {
    perfect.add(i % 4, 3 - i % 4);
    pairs.add(i % 4, i % 4 / 2);
    none.add(i % 4, i / 4 % 4);
  }
  EXPECT_NEAR(perfect.nats(), std::log(4), 1e-12);
  EXPECT_NEAR(pairs.nats(), std::log(2), 1e-12);
  EXPECT_NEAR(none.nats(), 0, 1e-12);
  EXPECT_NEAR(perfect.label_entropy(), std::log(4), 1e-12);
  EXPECT_NEAR(perfect.expert_entropy(), std::log(4), 1e-12);
  EXPECT_NEAR(pairs.expert_entropy(), std::log(2), 1e-12);
  EXPECT_LT(perfect.shuffled_nats(1), 0.01);  // expected (4-1)(4-1) / (2 * 4000) = 0.0011
  EXPECT_GT(perfect.shuffled_nats(1), 0);
}

// Random routing of random labels: what is left above the shuffled figure is noise around 0, although the plain figure
// is far from 0, and the shuffled figure is the bias of theory, (E - 1)(V - 1) / (2 N).
TEST(RoutingInformation, ShuffleTakesTheBiasOff) {
  const int64_t tokens = 20000;
  const RoutingInformation info = information(drawn_labels("token", 100, tokens, 1), drawn_routing(8, 1, tokens, 2));
  const double bias = 7.0 * 99 / (2 * tokens);  // 0.017; its spread is bias * sqrt(2 / (7 * 99)) = 5 %
  EXPECT_NEAR(info.nats(), bias, 0.2 * bias);
  EXPECT_NEAR(info.shuffled_nats(3), bias, 0.2 * bias);
  EXPECT_NEAR(info.nats() - info.shuffled_nats(3), 0, 0.3 * bias);
}

// The experts of one token stay together in the shuffle. When every token takes all experts nothing can be known and
// the shuffled figure is exactly 0; torn apart, the same pairs would show a bias.
TEST(RoutingInformation, ShufflesTokensNotPairs) {
  RoutingInformation together(5, 4), apart(5, 4);
  Random random(4);
  for (int t = 0; t < 300; ++t) {
    const int label = static_cast<int>(random.below(5));
    for (int e = 0; e < 4; ++e) together.add(label, e, t), apart.add(label, e);
  }
  EXPECT_NEAR(together.nats(), 0, 1e-12);
  EXPECT_NEAR(together.shuffled_nats(1), 0, 1e-12);
  EXPECT_GT(apart.shuffled_nats(1), 1e-3);
}

// Nothing added: zeros.
TEST(RoutingInformation, Empty) {
  const RoutingInformation none(3, 2);
  EXPECT_EQ(none.nats(), 0);
  EXPECT_EQ(none.shuffled_nats(1), 0);
  EXPECT_EQ(none.expert_entropy(), 0);
}

}  // namespace
}  // namespace swy::bench
