// Oracles of the token-choice language routers: what their equations promise beyond golden vectors. The gate is the
// identity wherever a test wants to say the logits: x [T, E] is then L.
//
// What every router must keep (causality, gradients, repeatability, loads) is tested by `switchyard conform`.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "core/base/philox.h"
#include "core/device/exec.h"
#include "core/plugin/instance.h"
#include "core/sdk/testing.h"

namespace swy {
namespace {

using testing::Shape;
using Rows = std::vector<std::vector<float>>;

Tally tally;
Exec host_exec{&tally};

struct Trial : testing::Trial {
  Trial(const std::string& id, Shape shape, const OptionText& given = {})
      : testing::Trial(plugin(id), plugin_host(), &host_exec, std::move(shape), parse_options(plugin(id), given)) {}

  static const swy_router& plugin(const std::string& id) {
    return *find_router(SWITCHYARD_BUILD_DIR "/plugins/" + id + ".so").router;
  }
  float aux_of(const std::string& name) const { return aux.at(aux_index(name)); }
  // dL/daux with 1 for this loss and 0 for the others.
  std::vector<float> only(const std::string& name) const {
    std::vector<float> d(needs.n_aux);
    d.at(aux_index(name)) = 1;
    return d;
  }

 private:
  size_t aux_index(const std::string& name) const {
    for (uint32_t i = 0; i < needs.n_aux; ++i)
      if (name == needs.aux[i].name) return i;
    throw std::runtime_error("no loss '" + name + "'");
  }
};

// A router whose logits are given: x = L, gate = identity, one group that holds all tokens.
struct OnLogits : Trial {
  OnLogits(const std::string& id, const Rows& logits, const OptionText& given = {})
      : Trial(id, shape_of(logits), given), experts(logits[0].size()) {
    for (size_t e = 0; e < experts; ++e) tensor("gate")[e * experts + e] = 1;
    for (size_t t = 0; t < logits.size(); ++t)
      for (size_t e = 0; e < experts; ++e) x[t * experts + e] = logits[t][e];
  }
  static Shape shape_of(const Rows& logits) {
    const auto experts = static_cast<int32_t>(logits[0].size()), tokens = static_cast<int32_t>(logits.size());
    return {experts, experts, tokens, {tokens}};
  }
  const size_t experts;
};

Rows drawn(size_t tokens, size_t experts, uint64_t seed, float size = 2) {
  Random random(seed);
  Rows rows(tokens, std::vector<float>(experts));
  for (auto& row : rows)
    for (float& v : row) v = size * (2 * random.uniform() - 1);
  return rows;
}
void fill(std::vector<float>& values, uint64_t seed, float size = 1) {
  Random random(seed);
  for (float& v : values) v = size * (2 * random.uniform() - 1);
}

std::vector<double> softmax(const std::vector<float>& logits) {
  std::vector<double> p;
  for (const float v : logits) p.push_back(std::exp(double{v}));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= sum;
  return p;
}
size_t largest(const std::vector<float>& v) {
  return static_cast<size_t>(std::max_element(v.begin(), v.end()) - v.begin());
}

// The list of a plan by token: weights of its entries, in list order.
Rows weights_by_token(const Trial& t) {
  Rows rows(static_cast<size_t>(t.tokens));
  for (int i = 0; i < t.count; ++i) rows[static_cast<size_t>(t.row[i])].push_back(t.weight[i]);
  return rows;
}
// expert, weight of each entry
using Pairs = std::vector<std::tuple<int, int, float>>;
Pairs pairs(const Trial& t) {
  Pairs list;
  for (int i = 0; i < t.count; ++i) list.emplace_back(t.row[i], t.expert[i], t.weight[i]);
  return list;
}
void expect_same(const Pairs& a, const Pairs& b, float tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(std::get<0>(a[i]), std::get<0>(b[i])) << i;
    EXPECT_EQ(std::get<1>(a[i]), std::get<1>(b[i])) << i;
    EXPECT_NEAR(std::get<2>(a[i]), std::get<2>(b[i]), tolerance) << i;
  }
}

// The loss is 1 where all gates are equal, although every token then goes to one expert; and it has no lower bound of
// 1: shares (.9, .1) with mean gates (.459, .541) give .934.
TEST(Switch, BalanceLossIsOneAtUniformGatesAndCanBeLess) {
  OnLogits uniform("switch_top1", Rows(6, std::vector<float>(4, 0.f)), {{"jitter", "0"}});
  uniform.forward();
  EXPECT_NEAR(uniform.aux_of("balance"), 1, 1e-6);
  Rows logits(9, {std::log(0.51f), std::log(0.49f)});
  logits.push_back({-40, 0});
  OnLogits low("switch_top1", logits, {{"jitter", "0"}});
  low.forward();
  EXPECT_NEAR(low.aux_of("balance"), 2 * (0.9 * 0.459 + 0.1 * 0.541), 1e-6);
  EXPECT_LT(low.aux_of("balance"), 0.94f);
}

// The gradient of the balance loss at the logits is E/N p_j (f_j - sum_e f_e p_e): f is a constant in it.
TEST(Switch, BalanceGradientTreatsSharesAsConstants) {
  const size_t tokens = 7, experts = 3;
  const Rows logits = drawn(tokens, experts, 5);
  OnLogits t("switch_top1", logits, {{"jitter", "0"}});
  t.forward();
  t.backward({}, {}, {}, {}, t.only("balance"));
  std::vector<double> f(experts);
  for (const auto& row : logits) f[largest(row)] += 1.0 / tokens;
  for (size_t n = 0; n < tokens; ++n) {
    const auto p = softmax(logits[n]);
    const double mean = std::inner_product(f.begin(), f.end(), p.begin(), 0.0);
    for (size_t e = 0; e < experts; ++e)
      EXPECT_NEAR(t.dx[n * experts + e], double{experts} / tokens * p[e] * (f[e] - mean), 1e-6);
  }
}

// Noise that multiplies the input scales logits by no more than the jitter; noise that is added to them, the released
// defect, moves a logit of 0 as well.
TEST(Switch, JitterMultipliesTheInput) {
  Rows logits(200, {0.f, 5.f});
  for (const char* form : {"multiply_input", "add_to_logits"}) {
    OnLogits t("switch_top1", logits, {{"jitter", "0.1"}, {"jitter_form", form}});
    t.forward();
    double least = 1, most = 0;
    for (int i = 0; i < t.count; ++i) {
      const double difference = std::log(t.weight[i] / (1 - t.weight[i]));
      least = std::min(least, difference - 5), most = std::max(most, difference - 5);
    }
    const double reach = std::string(form) == "multiply_input" ? 0.5 : 0.2;
    EXPECT_GT(least, -reach - 1e-2) << form;
    EXPECT_LT(most, reach + 1e-2) << form;
    EXPECT_GT(most - least, reach) << form;
  }
}

// A draw takes each expert as often as its gate says, and still weighs it by that gate.
TEST(Switch, SamplesFromTheGates) {
  const std::vector<float> row = {0, 1, -1};
  OnLogits t("switch_top1", Rows(20000, row), {{"jitter", "0"}, {"policy", "sample"}});
  t.forward();
  const auto p = softmax(row);
  std::vector<double> share(3);
  for (int i = 0; i < t.count; ++i) {
    share[static_cast<size_t>(t.expert[i])] += 1.0 / t.count;
    EXPECT_NEAR(t.weight[i], p[static_cast<size_t>(t.expert[i])], 1e-6);
  }
  for (size_t e = 0; e < 3; ++e) EXPECT_NEAR(share[e], p[e], 0.015);
}

// With k = 1, softmax over the chosen logits is the constant 1: no task gradient reaches the gate, exactly. Softmax
// before the choice gives one.
TEST(TopK, SoftmaxAfterTopOneLearnsNothing) {
  for (const char* order : {"after_top_k", "before_top_k"}) {
    OnLogits t("top_k", drawn(6, 4, 3), {{"k", "1"}, {"softmax", order}, {"balance_weight", "0"}});
    t.forward();
    std::vector<float> dweight(t.weight.size());
    fill(dweight, 9);
    t.backward(dweight, {}, {}, {}, {});
    double most = 0;
    for (const float d : t.grad("gate")) most = std::max(most, std::fabs(double{d}));
    if (std::string(order) == "after_top_k") {
      for (int i = 0; i < t.count; ++i) EXPECT_EQ(t.weight[i], 1.f);
      EXPECT_EQ(most, 0);
    } else {
      EXPECT_GT(most, 1e-3);
    }
  }
}

// Softmax over the chosen logits is softmax over all, renormalised: one function in two forms.
TEST(TopK, RenormalisedIsSoftmaxOfTheChosen) {
  const Rows logits = drawn(9, 5, 11);
  OnLogits after("top_k", logits, {{"k", "3"}});
  OnLogits before("top_k", logits, {{"k", "3"}, {"softmax", "before_top_k"}, {"renormalise", "true"}});
  after.forward(), before.forward();
  expect_same(pairs(after), pairs(before), 1e-6f);
}

// At uniform gates the balance loss is what `aux_scale` says, and counting first choices or all makes no difference.
TEST(TopK, BalanceLossAtBalance) {
  for (const auto& [scale, value] : std::map<std::string, double>{{"one", 1}, {"k", 2}, {"inverse_k", 0.5}})
    for (const char* counted : {"all", "first"}) {
      OnLogits t("top_k", Rows(5, std::vector<float>(4, 0.3f)), {{"aux_scale", scale}, {"aux_choices", counted}});
      t.forward();
      EXPECT_NEAR(t.aux_of("balance"), value, 1e-6) << scale << " " << counted;
    }
}

// Two groups that each use one expert are balanced together and not alone.
TEST(TopK, PoolsOverBatchOrGroups) {
  for (const auto& [pool, value] : std::map<std::string, double>{{"batch", 1}, {"group", 2}}) {
    Trial t("top_k", {2, 2, 3, {3, 3}}, {{"k", "1"}, {"pool", pool}});
    t.tensor("gate") = {1, 0, 0, 1};
    for (int n = 0; n < 6; ++n) t.x[2 * n + (n < 3 ? 0 : 1)] = 40;
    t.forward();
    EXPECT_NEAR(t.aux_of("balance"), value, 1e-5) << pool;
  }
}

// A second softmax squeezes probabilities towards uniform: the loss of a collapsed router falls from E to nearly 1.
TEST(TopK, DoubleSoftmaxMakesTheLossToothless) {
  const Rows collapsed(8, {30, 0, 0, 0, 0, 0, 0, 0});
  for (const auto& [times, value] :
       std::map<std::string, double>{{"once", 8}, {"twice", 8 * std::exp(1.0) / (std::exp(1.0) + 7)}}) {
    OnLogits t("top_k", collapsed, {{"k", "1"}, {"aux_softmax", times}});
    t.forward();
    EXPECT_NEAR(t.aux_of("balance"), value, 1e-4) << times;
  }
}

// The z-loss sees a shift of all logits, which changes no weight; its gradient is 2 LSE p / N.
TEST(TopK, ZLossSeesAShift) {
  const Rows logits = drawn(5, 4, 21);
  Rows shifted = logits;
  for (auto& row : shifted)
    for (float& v : row) v += 3;
  const OptionText options = {{"z_weight", "1"}, {"balance_weight", "0"}};
  OnLogits a("top_k", logits, options), b("top_k", shifted, options);
  a.forward(), b.forward();
  expect_same(pairs(a), pairs(b), 1e-6f);
  double z[2] = {};
  for (size_t n = 0; n < 5; ++n) {
    double lse = 0;
    for (const float v : logits[n]) lse += std::exp(double{v});
    lse = std::log(lse);
    z[0] += lse * lse / 5, z[1] += (lse + 3) * (lse + 3) / 5;
  }
  EXPECT_NEAR(a.aux_of("z"), z[0], 1e-5);
  EXPECT_NEAR(b.aux_of("z"), z[1], 1e-4);
  a.backward({}, {}, {}, {}, a.only("z"));
  for (size_t n = 0; n < 5; ++n) {
    const auto p = softmax(logits[n]);
    const double lse = double{logits[n][0]} - std::log(p[0]);
    for (size_t e = 0; e < 4; ++e) EXPECT_NEAR(a.dx[n * 4 + e], 2 * lse * p[e] / 5, 1e-6);
  }
}

// Serving token by token lists a token's choices together, largest first; by choice all first ones come first.
TEST(TopK, ListsInTheOrderAsked) {
  const Rows logits = {{3, 2, 1}, {1, 2, 3}};
  OnLogits token("top_k", logits), choice("top_k", logits, {{"order", "choice"}});
  token.forward(), choice.forward();
  EXPECT_EQ(std::vector<int>(token.row.begin(), token.row.begin() + 4), (std::vector<int>{0, 0, 1, 1}));
  EXPECT_EQ(std::vector<int>(token.expert.begin(), token.expert.begin() + 4), (std::vector<int>{0, 1, 2, 1}));
  EXPECT_EQ(std::vector<int>(choice.row.begin(), choice.row.begin() + 4), (std::vector<int>{0, 1, 0, 1}));
}

// Both weights sum to 1; with every second choice used it is renormalised top-2, whatever the chance is in training.
TEST(Gshard, AllIsRenormalisedTopTwo) {
  const Rows logits = drawn(30, 5, 31);
  OnLogits t("gshard_top2", logits, {{"second", "all"}, {"order", "token"}});
  OnLogits reference("top_k", logits, {{"softmax", "before_top_k"}, {"renormalise", "true"}});
  t.forward(), reference.forward();
  expect_same(pairs(t), pairs(reference), 1e-6f);
  for (const auto& w : weights_by_token(t)) EXPECT_NEAR(w[0] + w[1], 1, 1e-6);
}

// The second choice is used with probability min(1, g2 / threshold). Four standard errors of a binomial count.
TEST(Gshard, SecondChoiceByChance) {
  const int tokens = 20000;
  for (const float g2 : {0.05f, 0.15f, 0.3f}) {
    OnLogits t("gshard_top2", Rows(tokens, {std::log(1 - g2), std::log(g2), -40}), {{"threshold", "0.2"}});
    t.forward();
    const double p = std::min(1.0, g2 / 0.2), used = (t.count - tokens) / double{tokens};
    EXPECT_NEAR(used, p, 4 * std::sqrt(p * (1 - p) / tokens) + 1e-9) << g2;
    for (int i = 0; i < t.count; ++i)
      ASSERT_NEAR(t.weight[i], t.expert[i] == 0 ? 1 - g2 : g2, 1e-6);  // g1 stays g1 when the second is not used
    t.forward(SWY_SCORE);
    EXPECT_EQ(t.count, 2 * tokens);
  }
}

// Divided by what is kept, a first choice that is alone weighs 1.
TEST(Gshard, KeptWeightsSumToOne) {
  OnLogits t("gshard_top2", drawn(200, 4, 41), {{"weights", "kept"}});
  t.forward();
  EXPECT_LT(t.count, 400);
  for (const auto& w : weights_by_token(t)) EXPECT_NEAR(std::accumulate(w.begin(), w.end(), 0.f), 1, 1e-6);
}

// The drawn second expert is never the first, and the others come in proportion to their gates.
TEST(Gshard, SamplesTheSecondChoice) {
  const std::vector<float> row = {3, 1, 0, -1};
  OnLogits t("gshard_top2", Rows(20000, row), {{"second", "sampling"}});
  t.forward();
  std::vector<double> share(4);
  for (int i = t.count / 2; i < t.count; ++i) share[static_cast<size_t>(t.expert[i])] += 2.0 / t.count;
  const auto p = softmax(row);
  EXPECT_EQ(share[0], 0);
  for (size_t e = 1; e < 4; ++e) EXPECT_NEAR(share[e], p[e] / (1 - p[0]), 0.015);
}

// Without noise it is top-k with the softmax over the chosen.
TEST(NoisyTopK, WithoutNoiseIsTopK) {
  const Rows logits = drawn(12, 5, 51);
  OnLogits t("noisy_top_k", logits), reference("top_k", logits);
  t.forward(SWY_SCORE), reference.forward(SWY_SCORE);
  expect_same(pairs(t), pairs(reference), 1e-6f);
}

// The smooth load estimates how often each expert is among the k: over many equal tokens its squared variation is that
// of the counts of the very same draws.
TEST(NoisyTopK, LoadMatchesTheCounts) {
  const std::vector<float> row = {0.6f, 0.1f, -0.2f, -0.9f};
  OnLogits t("noisy_top_k", Rows(20000, row));
  t.forward();
  std::vector<double> count(4);
  for (int i = 0; i < t.count; ++i) count[static_cast<size_t>(t.expert[i])] += 1;
  const double mean = t.count / 4.0;
  double cv = 0;
  for (const double c : count) cv += (c - mean) * (c - mean) / (4 * mean * mean);
  EXPECT_GT(cv, 0.01);
  EXPECT_NEAR(t.aux_of("load"), cv, 0.03 * cv);
}

// Equal sums have no variation: with all experts chosen at equal logits importance is exactly 0, and there is no load
// to balance.
TEST(NoisyTopK, UniformImportanceIsFree) {
  OnLogits t("noisy_top_k", Rows(5, std::vector<float>(4, 0.f)), {{"k", "4"}, {"noise", "none"}});
  t.forward();
  EXPECT_EQ(t.needs.n_aux, 1u);
  EXPECT_NEAR(t.aux_of("importance"), 0, 1e-12);
}

// One expert each from one device's half: with shares (1/2, 1/2, 0, 0) and mean gates P, the expert loss is
// 2 (P_0 + P_1) and the device loss of two halves the same; of one device it is 1.
TEST(DeepSeekMoe, DeviceLossGroupsExperts) {
  const Rows logits = {{2, 1, 0, -1}, {1, 2, -1, 0}};
  double half = 0;
  for (const auto& row : logits) half += (softmax(row)[0] + softmax(row)[1]) / 2;
  for (const auto& [devices, value] : std::map<std::string, double>{{"1", 1}, {"2", 2 * half}}) {
    OnLogits t("deepseek_moe", logits, {{"devices", devices}, {"device_weight", "1"}});
    t.forward();
    EXPECT_NEAR(t.aux_of("expert"), 2 * half, 1e-5);
    EXPECT_NEAR(t.aux_of("device"), value, 1e-5) << devices;
  }
}

// Without shared experts it is softmax top-k without renormalisation.
TEST(DeepSeekMoe, IsTopKWithRawGates) {
  const Rows logits = drawn(10, 6, 61);
  OnLogits t("deepseek_moe", logits, {{"k", "3"}});
  OnLogits reference("top_k", logits, {{"k", "3"}, {"softmax", "before_top_k"}});
  t.forward(), reference.forward();
  expect_same(pairs(t), pairs(reference), 1e-6f);
}

// The bias decides who is chosen and never what a choice weighs, and adding one number to all of it does nothing.
TEST(BiasBalancing, BiasOnlySelects) {
  const Rows logits = drawn(20, 4, 71, 1);
  OnLogits t("deepseek_v3_bias", logits);
  t.tensor("expert_bias") = {0.3f, -0.2f, 0.1f, 0};
  t.forward(SWY_SCORE);
  const Pairs biased = pairs(t);
  for (int i = 0; i < t.count; i += 2) {
    double s[2];
    for (int j = 0; j < 2; ++j) s[j] = 1 / (1 + std::exp(-double{logits[t.row[i]][t.expert[i + j]]}));
    for (int j = 0; j < 2; ++j) EXPECT_NEAR(t.weight[i + j], s[j] / (s[0] + s[1]), 1e-6);
  }
  for (float& b : t.tensor("expert_bias")) b += 0.5f;
  t.forward(SWY_SCORE);
  expect_same(pairs(t), biased, 0);
  t.tensor("expert_bias").assign(4, 0.f);
  t.forward(SWY_SCORE);
  EXPECT_NE(pairs(t), biased);
}

// Only the groups with the largest sums of two are seen: the best single expert can be out.
TEST(BiasBalancing, GroupsLimitTheChoice) {
  // group 0 holds the best expert and a bad one, group 1 two good ones
  OnLogits t("deepseek_v3_bias", {{4, -4, 2, 1.5f}}, {{"groups", "2"}, {"kept_groups", "1"}});
  t.forward(SWY_SCORE);
  ASSERT_EQ(t.count, 2);
  EXPECT_EQ(t.expert[0], 2);
  EXPECT_EQ(t.expert[1], 3);
  OnLogits best("deepseek_v3_bias", {{4, -4, 2, 1.5f}}, {{"groups", "2"}, {"kept_groups", "1"}, {"group_best", "1"}});
  best.forward(SWY_SCORE);
  EXPECT_EQ(best.expert[0], 0);
}

// One step of the bias is exactly u, up for experts below the mean load, down above, and nothing at the mean; after the
// share of the budget that it may use, it stays.
TEST(BiasBalancing, MovesByExactlyTheRate) {
  Trial t("deepseek_v3_bias", {4, 4, 5, {5}}, {{"rate", "0.25"}, {"rate_until", "0.5"}});
  t.forward();
  t.update({1, 4, 2, 0}, {0, 0, 0, 1}, 5);  // the refused entry counts as load: 1, 4, 2, 1, mean 2
  EXPECT_EQ(t.tensor("expert_bias"), (std::vector<float>{0.25f, -0.25f, 0, 0.25f}));
  t.set_progress(0.5);
  t.forward();
  t.update({8, 0, 0, 0}, {0, 0, 0, 0}, 5);
  EXPECT_EQ(t.tensor("expert_bias"), (std::vector<float>{0.25f, -0.25f, 0, 0.25f}));
}

// On a stationary stream the bias evens out loads that the gate alone would leave at several times the mean. The floor
// of 256 tokens' chance is about sqrt(2 E ln E / (N k)) = 0.15; the step of the bias adds its own.
TEST(BiasBalancing, StationaryStreamBecomesBalanced) {
  const int tokens = 256, experts = 4;
  Trial t("deepseek_v3_bias", {experts, experts, tokens, {tokens}}, {{"k", "1"}, {"rate", "0.01"}});
  for (int e = 0; e < experts; ++e) t.tensor("gate")[static_cast<size_t>(e * experts + e)] = 1;
  auto violation = [&](uint64_t seed) {
    fill(t.x, seed);
    for (int n = 0; n < tokens; ++n)
      t.x[static_cast<size_t>(n * experts)] += 1.5f;  // expert 0 is everybody's favourite
    t.forward();
    std::vector<int32_t> load(experts);
    for (int i = 0; i < t.count; ++i) ++load[static_cast<size_t>(t.expert[i])];
    t.update(load, std::vector<int32_t>(experts), tokens);
    return *std::max_element(load.begin(), load.end()) / (tokens / double{experts}) - 1;
  };
  EXPECT_GT(violation(1), 2);
  for (uint64_t step = 2; step < 150; ++step) violation(step);
  double late = 0;
  for (uint64_t step = 150; step < 170; ++step) late += violation(step) / 20;
  EXPECT_LT(late, 0.35);
}

// Counting one step is counting the batch. Counted over steps, the shares are those of all steps since the last
// multiple of `accumulation`.
TEST(GlobalBatch, CountsOverSteps) {
  const Rows logits = drawn(6, 3, 81);
  OnLogits one("global_batch_lbl", logits, {{"accumulation", "1"}}),
      batch("global_batch_lbl", logits, {{"pool", "batch"}});
  OnLogits t("global_batch_lbl", logits, {{"accumulation", "2"}});
  batch.forward();
  std::vector<double> load(3), p(3);
  for (int i = 0; i < batch.count; ++i) ++load[static_cast<size_t>(batch.expert[i])];
  for (const auto& row : logits)
    for (size_t e = 0; e < 3; ++e) p[e] += softmax(row)[e] / 6;
  for (const int64_t step : {0, 1, 2}) {
    one.set_step(step), t.set_step(step);
    one.forward(), t.forward();
    EXPECT_NEAR(one.aux_of("balance"), batch.aux_of("balance"), 1e-6);
    const std::vector<double> before = step == 1 ? std::vector<double>{9, 2, 1} : std::vector<double>(3);
    double expected = 0;
    for (size_t e = 0; e < 3; ++e) expected += 3 * p[e] * (before[e] + load[e]) / (step == 1 ? 24 : 12);
    EXPECT_NEAR(t.aux_of("balance"), expected, 1e-6) << step;
    one.update({9, 2, 1}, {0, 0, 0}, 6), t.update({9, 1, 1}, {0, 1, 0}, 6);
  }
}

// With shares held fixed, the gradients of two groups alone add up to that of both: what a micro-batch adds is linear.
TEST(GlobalBatch, GradientIsThatOfFixedShares) {
  const Rows logits = drawn(8, 3, 91);
  OnLogits t("global_batch_lbl", logits, {{"pool", "batch"}});
  t.forward();
  t.backward({}, {}, {}, {}, t.only("balance"));
  std::vector<double> f(3);
  for (int i = 0; i < t.count; ++i) f[static_cast<size_t>(t.expert[i])] += 1.0 / t.count;
  for (size_t n = 0; n < 8; ++n) {
    const auto p = softmax(logits[n]);
    const double mean = std::inner_product(f.begin(), f.end(), p.begin(), 0.0);
    for (size_t e = 0; e < 3; ++e) EXPECT_NEAR(t.dx[n * 3 + e], 3.0 / 8 * p[e] * (f[e] - mean), 1e-6);
  }
}

// Both sides normalised: neither the length of a token nor that of an expert vector changes a choice or a weight. With
// the experts alone normalised, as released, the length of a token changes weights.
TEST(XMoe, DirectionsDecide) {
  const std::map<std::string, bool> invariant = {{"both", true}, {"experts", false}};
  for (const auto& [normalise, same] : invariant) {
    Trial t("x_moe", {6, 8, 5, {5}}, {{"k", "2"}, {"normalise", normalise}});
    fill(t.x, 1, 5), fill(t.tensor("proj"), 2), fill(t.tensor("experts"), 3);
    t.forward();
    const Pairs before = pairs(t);
    for (int c = 0; c < 6; ++c) t.x[c] *= 7;
    t.forward();
    const Pairs longer = pairs(t);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(std::get<1>(longer[i]), std::get<1>(before[i]));
      const double moved = std::fabs(std::get<2>(longer[i]) - std::get<2>(before[i]));
      EXPECT_EQ(moved < 1e-5, same) << normalise << " " << moved;
    }
    for (size_t c = 0; c < 4; ++c) t.tensor("experts")[c] *= 9;  // the first expert's vector, E / 2 wide
    t.forward();
    expect_same(pairs(t), longer, 1e-5f);
  }
}

// Cosines lie in [-1, 1]: at temperature 1 no gate is more than e^2 times another.
TEST(XMoe, ScoresAreCosines) {
  Trial t("x_moe", {6, 4, 50, {50}}, {{"k", "4"}, {"temperature", "1"}});
  fill(t.x, 4, 30), fill(t.tensor("proj"), 5), fill(t.tensor("experts"), 6);
  t.forward();
  for (const auto& w : weights_by_token(t)) EXPECT_LE(w[0] / w[3], std::exp(2.0) + 1e-4);
}

// The gate's temperature learns, that of the balance loss does not: the loss has no gradient at it.
TEST(XMoe, BalanceHasAFixedTemperature) {
  Trial t("x_moe", {6, 4, 20, {20}});
  fill(t.x, 7, 3), fill(t.tensor("proj"), 8), fill(t.tensor("experts"), 9);
  t.forward();
  t.backward({}, {}, {}, {}, t.only("balance"));
  EXPECT_EQ(t.grad("temperature")[0], 0);
  t.backward(std::vector<float>(t.weight.size(), 1.f), {}, {}, {}, {});
  EXPECT_GT(std::fabs(t.grad("temperature")[0]), 1e-4);
}

// Every window of E positions meets every expert k times.
TEST(RoundRobin, LoadsAreExact) {
  Trial t("round_robin", {2, 4, 12, {12, 8}}, {{"k", "3"}});
  t.forward();
  ASSERT_EQ(t.count, 60);
  std::vector<int> load(4);
  for (int i = 0; i < t.count; ++i) {
    ++load[static_cast<size_t>(t.expert[i])];
    EXPECT_FLOAT_EQ(t.weight[i], 1 / 3.f);
  }
  EXPECT_EQ(load, std::vector<int>(4, 15));
}

}  // namespace
}  // namespace swy
