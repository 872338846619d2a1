#include "benchmarks/analysis/expert_probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace swy::bench {
namespace {

void add(Params& params, const std::string& name, std::vector<int64_t> shape) {
  TensorSpec t;
  t.name = name, t.shape = std::move(shape);
  t.init = Init::kNormal, t.init_scale = 1;
  params.add(std::move(t));
}

double gelu(double x) {  // the tanh form, as in core/ops/ffn.h
  return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

// Only the site's own tensors with one slice per expert count as weights, and each expert answers what its own weights
// say, worked out one number at a time.
TEST(ExpertProbe, RunsTheSitesExperts) {
  const int64_t experts = 3, d = 4, h = 5, rows = 7;
  Params params;
  add(params, "block1.moe.experts.w1", {experts, d, h}), add(params, "block1.moe.experts.b1", {experts, h});
  add(params, "block1.moe.experts.w2", {experts, h, d}), add(params, "block1.moe.experts.b2", {experts, d});
  add(params, "block1.moe.router.w", {experts, d}), add(params, "block11.moe.experts.w1", {experts, d, h});
  params.commit(1);
  moe::SiteSpec spec;
  spec.name = "block1.moe", spec.width = d, spec.hidden = h, spec.experts = experts;
  const ExpertProbe probe = expert_probe(params, spec);
  ASSERT_EQ(probe.weights.size(), 4u);
  EXPECT_EQ(probe.weights[0].size, d * h);
  EXPECT_EQ(probe.weights[0].value, params.find("block1.moe.experts.w1")->value);

  std::vector<float> x, y(static_cast<size_t>(rows * d));
  for (int64_t i = 0; i < rows * d; ++i) x.push_back(std::sin(static_cast<float>(i)));
  const auto value = [&](const char* name, int64_t at) {
    return static_cast<double>(params.find(std::string("block1.moe.experts.") + name)->value[at]);
  };
  ASSERT_TRUE(probe.run);
  for (int32_t e = 0; e < experts; ++e) {
    probe.run(e, rows, x.data(), y.data());
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < d; ++j) {
        double expected = value("b2", e * d + j);
        for (int64_t m = 0; m < h; ++m) {
          double pre = value("b1", e * h + m);
          for (int64_t k = 0; k < d; ++k)
            pre += static_cast<double>(x[static_cast<size_t>(i * d + k)]) * value("w1", (e * d + k) * h + m);
          expected += gelu(pre) * value("w2", (e * h + m) * d + j);
        }
        EXPECT_NEAR(static_cast<double>(y[static_cast<size_t>(i * d + j)]), expected, 1e-4)
            << e << " " << i << " " << j;
      }
    }
  }
}

// Experts of another make have weights to compare, but are not run as if they were these.
TEST(ExpertProbe, OtherExpertsAreNotRun) {
  Params params;
  for (const char* name : {"w1", "b1", "w2", "b2", "gate"}) add(params, std::string("moe.experts.") + name, {2, 3});
  params.commit(1);
  moe::SiteSpec spec;
  spec.name = "moe", spec.width = 3, spec.hidden = 3, spec.experts = 2;
  const ExpertProbe probe = expert_probe(params, spec);
  EXPECT_EQ(probe.weights.size(), 5u);
  EXPECT_FALSE(probe.run);
  spec.name = "block7";
  EXPECT_TRUE(expert_probe(params, spec).weights.empty());
}

}  // namespace
}  // namespace swy::bench
