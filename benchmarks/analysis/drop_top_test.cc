#include "benchmarks/analysis/drop_top.h"

#include <gtest/gtest.h>

#include <cmath>

#include "benchmarks/analysis/expert_probe.h"
#include "core/moe/block_fixture.h"
#include "core/plugin/loader.h"

namespace swy::bench {
namespace {

moe::testing::Block block(const char* router, const OptionText& options) {
  moe::SiteSpec spec = moe::testing::small_site();
  spec.train_capacity.factor = spec.eval_capacity.factor = 4;  // room for all
  return {*find_router(std::string(SWITCHYARD_BUILD_DIR "/plugins/") + router + ".so").router, options, spec, 3};
}

// With two experts a token: without the first, its output is the second's weight times the second's answer, asked one
// by one; without both it is nothing; and afterwards everything is as before, to the bit.
TEST(DropTop, LeavesWhatTheOthersGive) {
  auto b = block("top_k", {{"k", "2"}});
  b.info.phase = SWY_SCORE;
  const auto output = [&] {
    b.loss();
    return b.y;
  };
  const std::vector<float> whole = output();
  const int64_t d = b.ffn.spec().width;
  std::vector<double> expected(whole.size());
  const ExpertProbe probe = expert_probe(b.params, b.ffn.spec());
  const moe::Site::Kept kept = b.ffn.kept();
  ASSERT_EQ(kept.count, 2 * b.tokens);
  std::vector<float> y(static_cast<size_t>(d));
  for (int64_t i = 0; i < kept.count; ++i) {
    const int32_t t = kept.token[i];
    const float w = kept.weight[kept.entry[i]];
    bool first = true;
    for (int64_t j = 0; j < kept.count; ++j) first &= kept.token[j] != t || kept.weight[kept.entry[j]] <= w;
    if (first) continue;
    probe.run(kept.expert[i], 1, b.x.data() + t * d, y.data());
    for (int64_t c = 0; c < d; ++c) expected[static_cast<size_t>(t * d + c)] += double{w} * double{y[c]};
  }
  {
    const DropTop without(b.ffn, 1);
    const std::vector<float> rest = output();
    double change = 0;
    for (size_t i = 0; i < rest.size(); ++i) {
      EXPECT_NEAR(rest[i], expected[i], 1e-5) << i;
      change += std::fabs(double{rest[i]} - double{whole[i]});
    }
    EXPECT_GT(change, 0.1);
  }
  {
    const DropTop without(b.ffn, 2);
    for (const float v : output()) EXPECT_EQ(v, 0);
  }
  EXPECT_EQ(output(), whole);
}

// A plan without a list has nothing to drop.
TEST(DropTop, LeavesOtherPlansAlone) {
  auto b = block("soft_moe", {});
  b.info.phase = SWY_SCORE;
  b.loss();
  const std::vector<float> whole = b.y;
  const DropTop without(b.ffn, 1);
  b.loss();
  EXPECT_EQ(b.y, whole);
}

}  // namespace
}  // namespace swy::bench
