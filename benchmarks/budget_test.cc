#include "benchmarks/budget.h"

#include <gtest/gtest.h>

#include <cmath>

#include "benchmarks/progress.h"
#include "benchmarks/timing.h"

namespace swy::bench {
namespace {

// Proves that a step is begun only when the last one's cost still fits, up to the exact end.
TEST(Budget, StopsBeforeOverspending) {
  Budget budget(10);
  EXPECT_TRUE(budget.allows_next());
  budget.spend_to(4);
  EXPECT_TRUE(budget.allows_next());  // 4 + 4 <= 10
  EXPECT_DOUBLE_EQ(budget.progress(), 0.4);
  budget.spend_to(8);
  EXPECT_FALSE(budget.allows_next());  // 8 + 4 > 10
  Budget exact(8);
  exact.spend_to(4);
  EXPECT_TRUE(exact.allows_next());  // 4 + 4 = 8
  exact.spend_to(8);
  EXPECT_FALSE(exact.allows_next());
  EXPECT_DOUBLE_EQ(exact.progress(), 1);
}

// Proves that thinning keeps evenly spaced samples from the start on, never more than the limit, and the exact sum.
TEST(ThinnedSamples, EvenlySpaced) {
  ThinnedSamples samples;
  for (int i = 0; i < 1000; ++i) samples.add(i);
  EXPECT_LE(samples.kept().size(), ThinnedSamples::kMost);
  EXPECT_GE(samples.kept().size(), ThinnedSamples::kMost / 2);
  for (size_t i = 0; i < samples.kept().size(); ++i)
    EXPECT_EQ(samples.kept()[i], static_cast<double>(i) * static_cast<double>(samples.stride()));
  EXPECT_EQ(samples.count(), 1000);
  EXPECT_EQ(samples.sum(), 999.0 * 1000 / 2);
}

// Proves that a progress line comes back as it was sent, and that anything else a plugin prints is told apart.
TEST(Progress, Lines) {
  const std::optional<Progress> p = progress_from_line(to_json(Progress{0.25, 7, 1.5, 100, 3, "token"}).dump());
  ASSERT_TRUE(p.has_value());
  EXPECT_EQ(p->share, 0.25);
  EXPECT_EQ(p->step, 7);
  EXPECT_EQ(p->unit, "token");
  for (const char* line :
       {"", "hello", "{\"share\": nonsense", "{\"share\": 1}", "[1]",
        "{\"share\":\"a\",\"step\":1,\"loss\":1,\"units_per_s\":1,\"left_s\":1,\"unit\":\"image\"}"}) {
    EXPECT_FALSE(progress_from_line(line).has_value()) << line;
  }
}

// Proves the format of durations at its borders.
TEST(Progress, Durations) {
  EXPECT_EQ(duration_text(0), "0:00");
  EXPECT_EQ(duration_text(59.6), "1:00");
  EXPECT_EQ(duration_text(3599), "59:59");
  EXPECT_EQ(duration_text(3600 + 65), "1:01:05");
}

}  // namespace
}  // namespace swy::bench
