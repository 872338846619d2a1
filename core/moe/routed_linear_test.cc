// Linear sites against plain loops over tokens and experts in double precision, which follow the formulas of
// routed_linear.h word by word: outputs, and every element of every gradient against central differences of the plain
// loss. Then what must hold between the aggregations, what work is charged, and what is refused.
#include "core/moe/routed_linear.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "core/base/error.h"
#include "core/moe/linear_cases.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder

using Numbers = std::vector<double>;
Numbers doubles(const std::vector<float>& v) { return {v.begin(), v.end()}; }
Numbers doubles(const Param& p) { return {p.value, p.value + p.size}; }

const Param& param(LinearBlock& b, const std::string& name) { return *b.params.find("block0.q." + name); }

// ---- the plain site ------------------------------------------------------------------------------------------------

struct Plain {
  const LinearCase c;
  std::vector<uint8_t> mask;
  std::vector<int32_t> task;                   // [B]
  Numbers embedding, coefficient;              // [tasks, d_task], [T, O]
  std::set<std::pair<int64_t, int64_t>> kept;  // (token, expert) of an ASSIGN plan
  Numbers x, a, b, gate, gain;                 // what it is differentiated by

  int64_t row_of(int64_t t) const {
    const int64_t sequence = t / c.tokens, pieces = (c.tokens + 2) / 3;
    return c.rows == "token"      ? t
           : c.rows == "prefix"   ? sequence * pieces + t % c.tokens / 3
           : c.rows == "sequence" ? sequence
           : c.rows == "task"     ? task[sequence]
                                  : 0;
  }
  // weights[row][e]
  std::map<int64_t, Numbers> weights() const {
    const int64_t tokens = int64_t{c.sequences} * c.tokens, d = c.width, experts = c.experts;
    std::map<int64_t, Numbers> in, all;
    std::map<int64_t, double> count;
    for (int64_t t = 0; t < tokens; ++t) {
      if (!mask[t]) continue;
      Numbers& sum = in[row_of(t)];
      sum.resize(d);
      for (int64_t i = 0; i < d; ++i) sum[i] += x[t * d + i];
      ++count[row_of(t)];
    }
    for (auto& [row, mean] : in) {
      for (double& v : mean) v /= count[row];
      if (c.rows == "task") mean.assign(embedding.begin() + row * 4, embedding.begin() + row * 4 + 4);
      Numbers& w = all[row];
      w.resize(experts);
      double sum = 0;
      for (int64_t e = 0; e < experts; ++e) {
        for (size_t i = 0; i < mean.size(); ++i) w[e] += mean[i] * gate[i * experts + e];
        sum += std::exp(w[e]);
      }
      for (double& v : w) v = c.gate == "softmax" ? std::exp(v) / sum : v;
    }
    return all;
  }
  Numbers output() const {
    const int64_t tokens = int64_t{c.sequences} * c.tokens, d = c.width, o = c.out, r = c.rank;
    const auto all = weights();
    Numbers y(tokens * o), read = x;  // what experts read
    for (size_t i = 0; i < read.size() && c.rewrites; ++i) read[i] *= gain[i % d];
    for (int64_t t = 0; t < tokens; ++t) {
      if (!mask[t]) continue;
      Numbers delta(d * o), sum_a(d * r), sum_b(r * o);
      for (int64_t e = 0; e < c.experts; ++e) {
        if (c.plan == "assign" && !kept.contains({t, e})) continue;
        const double w = all.at(row_of(t))[e];
        const double *of_a = &a[e * d * r], *of_b = &b[e * r * o];
        for (int64_t j = 0; j < r && c.mixes == "out"; ++j) {  // expert by expert
          double u = 0;
          for (int64_t i = 0; i < d; ++i) u += read[t * d + i] * of_a[i * r + j];
          for (int64_t k = 0; k < o; ++k) y[t * o + k] += w * 1.5 * u * of_b[j * o + k];
        }
        for (int64_t i = 0; i < d && c.mixes == "delta"; ++i)
          for (int64_t j = 0; j < r; ++j)
            for (int64_t k = 0; k < o; ++k) delta[i * o + k] += w * 1.5 * of_a[i * r + j] * of_b[j * o + k];
        for (int64_t i = 0; i < d * r; ++i) sum_a[i] += w * of_a[i];
        for (int64_t i = 0; i < r * o; ++i) sum_b[i] += w * of_b[i];
      }
      for (int64_t i = 0; i < d && c.mixes == "delta"; ++i)
        for (int64_t k = 0; k < o; ++k) y[t * o + k] += read[t * d + i] * delta[i * o + k];
      for (int64_t j = 0; j < r && c.mixes == "ab"; ++j) {
        double u = 0;
        for (int64_t i = 0; i < d; ++i) u += read[t * d + i] * sum_a[i * r + j];
        for (int64_t k = 0; k < o; ++k) y[t * o + k] += 1.5 * u * sum_b[j * o + k];
      }
    }
    return y;
  }
  double loss() const {
    const Numbers y = output();
    return std::inner_product(y.begin(), y.end(), coefficient.begin(), 0.0);
  }
};

struct Trial {
  LinearCase c;
  std::vector<uint8_t> mask;
  LinearBlock b;
  explicit Trial(const LinearCase& of)
      : c(of), mask(of.mask()), b(for_linear(), of.options(), of.site(), of.sequences) {
    if (c.padding) b.sequences.mask = mask.data();
  }
  Plain plain() {
    Plain p{c, mask, b.task, doubles(b.task_embedding), doubles(b.coefficient), {}, doubles(b.x), {}, {}, {}, {}};
    p.a = doubles(param(b, "lora.a")), p.b = doubles(param(b, "lora.b")), p.gate = doubles(param(b, "router.gate"));
    if (c.rewrites) p.gain = doubles(param(b, "router.gain"));
    const Site::Kept kept = b.site.kept();
    for (int64_t i = 0; i < kept.count; ++i) p.kept.insert({kept.token[i], kept.expert[i]});
    return p;
  }
};

class RoutedLinearTest : public ::testing::TestWithParam<LinearCase> {};
INSTANTIATE_TEST_SUITE_P(Plans, RoutedLinearTest, ::testing::ValuesIn(small_linear_cases()),
                         [](const auto& i) { return i.param.name; });

TEST_P(RoutedLinearTest, EqualsThePlainLoopsAndTheirDifferences) {
  Trial t(GetParam());
  t.b.gradient();
  Plain plain = t.plain();
  const Numbers want = plain.output();
  ASSERT_EQ(want.size(), t.b.y.size());
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(t.b.y[i], want[i], 1e-5 * (1 + std::fabs(want[i]))) << "y " << i;

  const auto compare = [&](Numbers& at, const float* got, const char* name) {
    double largest = 0;
    for (size_t i = 0; i < at.size(); ++i) {
      const double start = at[i], h = 1e-4;
      const auto shifted = [&](double by) {
        at[i] = start + by;
        const double loss = plain.loss();
        at[i] = start;
        return loss;
      };
      // Exact up to the fourth power of the step: about 1e-12 here.
      const double slope = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
      ASSERT_NEAR(got[i], slope, 3e-5 * (1 + std::fabs(slope))) << name << " " << i;
      largest = std::max(largest, std::fabs(slope));
    }
    EXPECT_GT(largest, 1e-3) << name << " has no gradient to compare";
  };
  compare(plain.x, t.b.dx.data(), "x");
  compare(plain.a, param(t.b, "lora.a").grad, "a");
  compare(plain.b, param(t.b, "lora.b").grad, "b");
  compare(plain.gate, param(t.b, "router.gate").grad, "gate");
  if (t.c.rewrites) compare(plain.gain, param(t.b, "router.gain").grad, "gain");
}

TEST_P(RoutedLinearTest, SameBitsTwiceInsideItsMemory) {
  Trial s(GetParam()), t(GetParam());
  s.b.gradient();
  t.b.gradient();
  t.b.gradient();
  EXPECT_EQ(t.b.arena.overrun(), "");
  EXPECT_EQ(s.b.y, t.b.y);
  EXPECT_EQ(s.b.dx, t.b.dx);
  for (size_t i = 0; i < s.b.params.all().size(); ++i) {
    const Param &p = s.b.params.all()[i], &q = t.b.params.all()[i];
    for (int64_t j = 0; j < p.size; ++j) ASSERT_EQ(p.grad[j], q.grad[j]) << p.spec.name << " " << j;
  }
}

// Capacity, and loads that follow from what was kept.
TEST_P(RoutedLinearTest, LoadAddsUp) {
  Trial t(GetParam());
  t.b.loss();
  const Load& load = t.b.site.load();
  const auto sum = [](const std::vector<int64_t>& v) { return std::accumulate(v.begin(), v.end(), int64_t{0}); };
  EXPECT_EQ(load.tokens, std::count(t.mask.begin(), t.mask.end(), 1));
  if (t.c.plan == "merge") return;
  const Plain plain = t.plain();
  std::vector<int64_t> kept(t.c.experts);
  for (const auto& [token, expert] : plain.kept) {
    EXPECT_TRUE(t.mask[token]);
    ++kept[expert];
  }
  EXPECT_EQ(load.kept, kept);
  if (t.c.name.find("drops") != std::string::npos) {
    EXPECT_GT(sum(load.dropped), 0) << "this case is there for drops";
  }
}

std::vector<LinearCase> padded_cases() {
  std::vector<LinearCase> all = small_linear_cases();
  std::erase_if(all, [](const LinearCase& c) { return !c.padding; });
  return all;
}
class PaddedLinearTest : public RoutedLinearTest {};
INSTANTIATE_TEST_SUITE_P(Plans, PaddedLinearTest, ::testing::ValuesIn(padded_cases()),
                         [](const auto& i) { return i.param.name; });

// Whatever stands in padded tokens, neither the output of the others nor a gradient changes by a bit.
TEST_P(PaddedLinearTest, PaddingIsNotRouted) {
  Trial t(GetParam());
  t.b.gradient();
  const std::vector<float> y = t.b.y, dx = t.b.dx;
  std::vector<std::vector<float>> grads;
  for (const Param& p : t.b.params.all()) grads.emplace_back(p.grad, p.grad + p.size);
  const int64_t d = t.c.width, o = t.c.out;
  for (int64_t token = 0; token < t.b.tokens; ++token) {
    if (t.mask[token]) continue;
    for (int64_t i = 0; i < o; ++i) EXPECT_EQ(y[token * o + i], 0);
    for (int64_t i = 0; i < d; ++i) EXPECT_EQ(dx[token * d + i], 0), t.b.x[token * d + i] = 7.f - token;
    for (int64_t i = 0; i < o; ++i) t.b.coefficient[token * o + i] = 3.f + token;
  }
  t.b.gradient();
  EXPECT_EQ(t.b.y, y);
  EXPECT_EQ(t.b.dx, dx);
  for (size_t i = 0; i < grads.size(); ++i) {
    const Param& p = t.b.params.all()[i];
    EXPECT_EQ(std::vector<float>(p.grad, p.grad + p.size), grads[i]) << p.spec.name;
  }
}

// ---- what must hold between aggregations ---------------------------------------------------------------------------

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
