// What must hold between the aggregations of linear sites, what work they are charged for, how they start, and what is
// refused.
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/moe/linear_fixture.h"
#include "core/moe/routed_linear.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::fabs(double{a[i]} - double{b[i]}));
  return most;
}
std::vector<float> output(Trial& t) {
  t.b.loss();
  return t.b.y;
}
void scale(LinearBlock& b, const std::string& name, float by, int64_t first = 0, int64_t n = -1) {
  const Param& p = param(b, name);
  for (int64_t i = first; i < (n < 0 ? p.size : first + n); ++i) p.value[i] *= by;
}
constexpr float kOneHot = 1e5;  // on the gate: softmax is exactly one-hot unless two scores are within 1e-3

// A token that no expert takes keeps what stood there.
TEST(LinearEdges, NobodyIsRouted) {
  for (const char* mixes : {"out", "ab"}) {
    LinearCase c{.mixes = mixes, .gate = "nobody"};
    Trial t(c);
    t.b.gradient();
    std::fill(t.b.y.begin(), t.b.y.end(), 3.f);
    t.b.site.forward(t.b.exec, t.b.info, t.b.sequences, t.b.x.data(), nullptr, t.b.y.data());
    for (const float v : t.b.y) EXPECT_EQ(v, 3);
    for (const float v : t.b.dx) EXPECT_EQ(v, 0);
    for (const Param& p : t.b.params.all())
      for (int64_t i = 0; i < p.size; ++i) ASSERT_EQ(p.grad[i], 0) << p.spec.name;
    EXPECT_EQ(t.b.site.load().unrouted, 2 * t.b.tokens);
  }
}

LinearCase tokens(const char* mixes, int k) {
  return {.plan = "assign", .rows = "token", .mixes = mixes, .k = k, .factor = 8};
}
LinearCase sequences(const char* plan, const char* mixes) {
  return {.plan = plan, .rows = "sequence", .mixes = mixes, .k = 1, .factor = 8};
}

// OUT is DELTA to the last bit, and AB is neither, for both plans.
TEST(LinearAggregations, OutIsDeltaAndAbIsNot) {
  for (const char* plan : {"assign", "merge"}) {
    std::vector<std::vector<float>> y;
    for (const char* mixes : {"out", "delta", "ab"}) {
      LinearCase c = sequences(plan, mixes);
      c.k = 2;
      Trial t(c);
      y.push_back(output(t));
    }
    EXPECT_EQ(y[0], y[1]);
    EXPECT_GT(largest_difference(y[0], y[2]), 0.01);
  }
}

// A weight of one on one expert: every plan and aggregation is that expert.
TEST(LinearAggregations, OneExpertAloneIsItself) {
  Trial first(sequences("assign", "out"));
  scale(first.b, "router.gate", kOneHot);
  const std::vector<float> want = output(first);
  std::set<int32_t> used;
  const Site::Kept kept = first.b.site.kept();
  for (int64_t i = 0; i < kept.count; ++i) used.insert(kept.expert[i]);
  EXPECT_GT(used.size(), 1u) << "the sequences agree on their expert";
  for (const char* plan : {"assign", "merge"})
    for (const char* mixes : {"out", "delta", "ab"}) {
      Trial t(sequences(plan, mixes));
      scale(t.b, "router.gate", kOneHot);
      EXPECT_LT(largest_difference(output(t), want), 2e-6) << plan << " " << mixes;
    }
}

// (A, B) -> (s A, B / s) leaves expert 0 the map it was. OUT does not see it, alone or mixed; AB sees it when mixed.
TEST(LinearAggregations, OnlyMixedFactorsSeeTheGauge) {
  for (const char* mixes : {"out", "ab"})
    for (const bool alone : {false, true})
      for (const char* plan : {"assign", "merge"}) {
        LinearCase c = sequences(plan, mixes);
        c.k = 4;
        Trial t(c);
        if (alone) scale(t.b, "router.gate", kOneHot);
        const std::vector<float> before = output(t);
        scale(t.b, "lora.a", 4, 0, c.width * c.rank), scale(t.b, "lora.b", 0.25f, 0, c.rank * c.out);
        const double change = largest_difference(output(t), before);
        if (std::string(mixes) == "ab" && !alone) {
          EXPECT_GT(change, 0.05) << plan;
        } else {
          EXPECT_LT(change, 2e-6) << plan << " " << mixes << (alone ? " alone" : " mixed");
        }
      }
}

// With the same A in all experts and weights that sum to one, AB is OUT.
TEST(LinearAggregations, SharedDownFactorsMakeAbOut) {
  std::vector<std::vector<float>> y;
  for (const char* mixes : {"out", "ab"})
    for (const char* plan : {"assign", "merge"}) {
      LinearCase c = sequences(plan, mixes);
      c.k = 4;
      Trial t(c);
      const Param& a = param(t.b, "lora.a");
      for (int64_t i = 0; i < a.size; ++i) a.value[i] = a.value[i % (c.width * c.rank)];
      y.push_back(output(t));
    }
  for (const auto& other : y) EXPECT_LT(largest_difference(other, y[0]), 2e-6);
}

// AB is of second degree in the weights: both signs give the same, where OUT changes sign.
TEST(LinearAggregations, AbDoesNotSeeTheSignOfAllWeights) {
  for (const char* plan : {"assign", "merge"})
    for (const char* mixes : {"out", "ab"}) {
      LinearCase c = sequences(plan, mixes);
      c.k = 4, c.gate = "plain";
      Trial t(c);
      std::vector<float> before = output(t);
      scale(t.b, "router.gate", -1);
      if (std::string(mixes) == "out")
        for (float& v : before) v = -v;
      EXPECT_LT(largest_difference(output(t), before), 2e-6) << plan << " " << mixes;
    }
}

// An expert beside its own (-A, -B): equal weights cancel under AB and make the expert itself under OUT.
TEST(LinearAggregations, AnExpertAndItsNegativeFactorsCancelUnderAb) {
  for (const char* mixes : {"out", "ab"}) {
    LinearCase c = tokens(mixes, 2);
    c.experts = 2;
    Trial t(c);
    scale(t.b, "router.gate", 0);  // weights of a half each
    for (const char* name : {"lora.a", "lora.b"}) {
      const Param& p = param(t.b, name);
      for (int64_t i = 0; i < p.size / 2; ++i) p.value[p.size / 2 + i] = -p.value[i];
    }
    const std::vector<float> y = output(t);
    const double most = largest_difference(y, std::vector<float>(y.size()));
    if (std::string(mixes) == "ab") {
      EXPECT_LT(most, 1e-6);
    } else {
      EXPECT_GT(most, 0.1);
    }
  }
}

// ---- work, start, refusals -----------------------------------------------------------------------------------------

// By hand: forward is 2 r (D + O) FLOPs per expert's row, backward twice that. Of MERGE every token is a row: of one
// expert for AB, of one of rank E r for OUT.
TEST(LinearWork, ExpertFlopsFollowTheKeptRows) {
  for (const char* mixes : {"out", "ab"})
    for (const char* plan : {"assign", "merge"}) {
      Trial t(sequences(plan, mixes));
      t.b.gradient();
      const double d = 6, o = 5, r = 3, experts = 4;
      const double rows = std::string(plan) == "assign" ? static_cast<double>(t.b.site.kept().count)
                          : std::string(mixes) == "out" ? experts * static_cast<double>(t.b.tokens)
                                                        : static_cast<double>(t.b.tokens);
      EXPECT_EQ(t.b.tally.of(Part::kExperts, Pass::kForward).flops, 2 * rows * r * (d + o)) << plan << mixes;
      EXPECT_EQ(t.b.tally.of(Part::kExperts, Pass::kBackward).flops, 4 * rows * r * (d + o)) << plan << mixes;
      EXPECT_EQ(t.b.tally.of(Part::kModel, Pass::kForward).flops, 0);
    }
}

// A site starts as the model without it: B is zero; A is not, the same for all experts or each its own.
TEST(LinearStart, NothingIsAddedBeforeTraining) {
  for (const bool identical : {true, false}) {
    LinearCase c = tokens("ab", 2);
    c.width = 200, c.rank = 8;
    SiteSpec spec = c.site();
    spec.identical_experts = identical;
    Instance router(for_linear(), c.options(), 1);
    Params params;
    Arena arena;
    RoutedLinear site(spec, router, params, arena);
    params.commit(3);
    const Param &a = *params.find("block0.q.lora.a"), &b = *params.find("block0.q.lora.b");
    EXPECT_EQ(a.spec.shape, (std::vector<int64_t>{4, 200, 8}));
    EXPECT_EQ(b.spec.shape, (std::vector<int64_t>{4, 8, 5}));
    for (int64_t i = 0; i < b.size; ++i) ASSERT_EQ(b.value[i], 0);
    double squares = 0;
    for (int64_t i = 0; i < 1600; ++i) squares += double{a.value[i]} * double{a.value[i]};
    EXPECT_NEAR(std::sqrt(squares / 1600), 1 / std::sqrt(600.0), 0.003);  // 3 standard errors of 1600 draws
    EXPECT_EQ(std::equal(a.value, a.value + 1600, a.value + 1600), identical);
  }
}

std::string refusal(const LinearCase& c, SiteSpec spec) {
  try {
    LinearBlock b(for_linear(), c.options(), std::move(spec), 1);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    return e.what();
  }
  return "no refusal";
}
std::string refusal(const LinearCase& c) { return refusal(c, c.site()); }

TEST(LinearRefusals, SayWhatIsNotOffered) {
  EXPECT_EQ(refusal(sequences("assign", "prob")),
            "router 'for_linear' at block0.q asks for the aggregation PROB (mixing what whole models predict), which "
            "linear sites do not offer; use a router for linear sites");
  LinearCase c = tokens("out", 1);
  c.plan = "dense";
  EXPECT_EQ(refusal(c),
            "router 'for_linear' at block0.q asks for a DENSE plan, which linear sites do not offer; use a router for "
            "linear sites");
  c.plan = "merge";
  EXPECT_NE(refusal(c).find("merged experts for each token"), std::string::npos);
  SiteSpec spec = tokens("out", 1).site();
  spec.rank = 0;
  EXPECT_EQ(refusal(tokens("out", 1), spec),
            "block0.q: a linear site has LoRA experts of rank 1 or more and an output; got rank = 0, out_width = 5");
}

// Other sites name what they do not mix.
TEST(LinearRefusals, OtherSitesMixOutputsAlone) {
  for (const char* mixes : {"delta", "ab", "prob"}) {
    std::string what;
    try {
      Block b(for_linear(), tokens(mixes, 1).options(), small_site(), 1);
    } catch (const Error& e) {
      what = e.what();
    }
    EXPECT_NE(what.find("an aggregation other than OUT, which FFN sites do not offer"), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace swy::moe
