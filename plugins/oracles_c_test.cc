// What can be said of single routers beyond the rules that hold for all: the language routers with schedules,
// surrogate gradients, codebooks and experts that cost nothing. Each is held against its own equations in double
// precision, over the whole block with its experts (core/moe/block_fixture.h).
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/moe/block_fixture.h"

namespace swy::moe {
namespace {

using testing::Block;
using Row = std::vector<double>;

Row softmax(Row z) {
  const double most = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (double& v : z) sum += v = std::exp(v - most);
  for (double& v : z) v /= sum;
  return z;
}
double dot(const Row& a, const Row& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }
void add(double factor, const Row& x, Row& y) {
  for (size_t i = 0; i < y.size(); ++i) y[i] += factor * x[i];
}
// The columns of the k largest numbers, ties to the lower.
std::vector<int> largest(const Row& z, int k) {
  std::vector<int> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return z[a] > z[b]; });
  order.resize(k);
  return order;
}
// J^T v of f at x by central differences.
Row pulled_back(const std::function<Row(const Row&)>& f, Row x, const Row& v) {
  Row result;
  constexpr double kStep = 1e-5;
  for (double& at : x) {
    const double here = at;
    at = here + kStep;
    const double up = dot(f(x), v);
    at = here - kStep;
    result.push_back((up - dot(f(x), v)) / (2 * kStep));
    at = here;
  }
  return result;
}

SiteSpec roomy() {  // nothing is ever dropped
  SiteSpec s = testing::small_site();
  s.train_capacity.factor = s.eval_capacity.factor = s.experts;
  return s;
}

class Trial : public Block {
 public:
  explicit Trial(const std::string& id, const OptionText& options = {}, const SiteSpec& spec = roomy(),
                 int32_t n_sequences = 3)
      : Block(*find_router(SWITCHYARD_BUILD_DIR "/plugins/" + id + ".so").router, options, spec, n_sequences) {}

  int64_t width() const { return ffn.spec().width; }
  Row in(int64_t t) const { return {&x[t * width()], &x[t * width()] + width()}; }
  Row out(int64_t t) const { return {&y[t * width()], &y[t * width()] + width()}; }
  Row gradient_in(int64_t t) const { return {&dx[t * width()], &dx[t * width()] + width()}; }
  Row gradient_out(int64_t t) const { return {&coefficient[t * width()], &coefficient[t * width()] + width()}; }
  Param& tensor(const std::string& name) {
    for (Param& p : params.all())
      if (p.spec.name == ffn.spec().name + "." + name) return p;
    throw std::logic_error("no tensor " + name);
  }
  float* at(const std::string& name) { return tensor("router." + name).value; }
  Row row(const std::string& name, int64_t r, int64_t cols) const {
    const Row all = value("router." + name);
    return {all.begin() + r * cols, all.begin() + (r + 1) * cols};
  }
  // in M + bias, M [D, n]
  Row linear(const Row& from, const std::string& matrix, const std::string& bias = "") const {
    const Row m = value("router." + matrix);
    const size_t n = m.size() / from.size();
    Row result = bias.empty() ? Row(n) : value("router." + bias);
    for (size_t i = 0; i < from.size(); ++i)
      for (size_t j = 0; j < n; ++j) result[j] += from[i] * m[i * n + j];
    return result;
  }
  Row f(int64_t e, const Row& from) const {
    const int64_t d = width(), h = ffn.spec().hidden;
    const Row w1 = value("experts.w1"), b1 = value("experts.b1"), w2 = value("experts.w2"), b2 = value("experts.b2");
    return expert(&w1[e * d * h], &b1[e * h], &w2[e * h * d], &b2[e * d], from.data());
  }
  int nearest(const Row& from, const std::string& codebook) const {
    const Row all = value("router." + codebook);
    Row near;
    for (size_t c = 0; c < all.size() / from.size(); ++c) {
      double distance = 0;
      for (size_t i = 0; i < from.size(); ++i) distance += std::pow(from[i] - all[c * from.size() + i], 2);
      near.push_back(-distance);
    }
    return largest(near, 1)[0];
  }
  void expect_outputs(const std::function<Row(int64_t)>& want, double tolerance = 3e-5) {
    loss();
    for (int64_t t = 0; t < tokens; ++t) {
      const Row expected = want(t), got = out(t);
      for (size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(got[i], expected[i], tolerance * (1 + std::fabs(expected[i]))) << "token " << t;
    }
  }
  int64_t rows_run() { return std::accumulate(ffn.load().kept.begin(), ffn.load().kept.end(), int64_t{0}); }
  int64_t rows_of_this_forward() {
    const int64_t before = rows_run();
    loss();
    return rows_run() - before;
  }
};

// Softmax over the k largest logits, as a sum of experts.
Row softmax_of_the_best(const Trial& b, const Row& logits, int k, const Row& from) {
  Row values, y(from.size());
  const std::vector<int> best = largest(logits, k);
  for (const int e : best) values.push_back(logits[e]);
  values = softmax(values);
  for (int i = 0; i < k; ++i) add(values[i], b.f(best[i], from), y);
  return y;
}

// Large codes, so that every one of them is somebody's nearest.
void spread_codes(Trial& b, const std::string& name) {
  Param& p = b.tensor("router." + name);
  testing::fill(p.value, p.size, 77, 0.8f);
}

// ---- VQMoE --------------------------------------------------------------------------------------------------------

// Both paths: y = a sum P f(x) + b f(v), v the nearest code by brute force and its expert the code modulo E; each token
// costs k + 1 expert rows.
TEST(VqMoePaper, OutputIsBothPathsOfTheNearestCode) {
  Trial b("vqmoe_paper", {{"codes_per_expert", "3"}, {"k", "2"}});
  spread_codes(b, "codebook");
  b.expect_outputs([&](int64_t t) {
    const Row x = b.in(t), gate = softmax(b.linear(x, "gate")), paths = softmax(b.linear(x, "paths"));
    const int code = b.nearest(x, "codebook");
    Row y(x.size());
    for (const int e : largest(gate, 2)) add(paths[0] * gate[e], b.f(e, x), y);
    add(paths[1], b.f(code % 4, b.row("codebook", code, b.width())), y);
    return y;
  });
  EXPECT_EQ(b.rows_of_this_forward(), 3 * b.tokens);
}

// The discrete path alone: y = f(v), one expert row for each token; the gradient goes straight through to x (dq/dx =
// I), and without the VQ loss none reaches the codes.
TEST(VqMoePaper, DiscretePathIsOneExpertAndStraightThrough) {
  Trial b("vqmoe_paper", {{"discrete_from", "0"}, {"freeze", "false"}, {"vq_weight", "0"}});
  spread_codes(b, "codebook");
  auto code_of = [&](int64_t t) { return b.nearest(b.in(t), "codebook"); };
  auto vector_of = [&](int64_t t) { return b.row("codebook", code_of(t), b.width()); };
  b.expect_outputs([&](int64_t t) { return b.f(code_of(t) % 4, vector_of(t)); });
  EXPECT_EQ(b.rows_of_this_forward(), b.tokens);
  b.gradient();
  for (int64_t t = 0; t < b.tokens; ++t) {
    const Row want = pulled_back([&](const Row& q) { return b.f(code_of(t) % 4, q); }, vector_of(t), b.gradient_out(t));
    for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(b.gradient_in(t)[i], want[i], 1e-4) << t;
  }
  const Param& codes = b.tensor("router.codebook");
  for (int64_t i = 0; i < codes.size; ++i) ASSERT_EQ(codes.grad[i], 0.f);
}

// Codes move by the VQ loss alone: weight * 2 (v - x) / (T D), summed over the tokens of a code, with both paths on.
TEST(VqMoePaper, CodesMoveByTheVqLossAlone) {
  for (const std::string id : {"vqmoe_paper", "vqmoe_released"}) {
    Trial b(id, {{"vq_weight", "3"}});
    spread_codes(b, "codebook");
    b.gradient();
    const Param& codes = b.tensor("router.codebook");
    Row want(codes.size);
    for (int64_t t = 0; t < b.tokens; ++t) {
      const int code = b.nearest(b.in(t), "codebook");
      for (int64_t i = 0; i < b.width(); ++i)
        want[code * b.width() + i] += 3 * 2 * (double{codes.value[code * b.width() + i]} - b.in(t)[i]) /
                                      static_cast<double>(b.tokens * b.width());
    }
    for (int64_t i = 0; i < codes.size; ++i) ASSERT_NEAR(codes.grad[i], want[i], 1e-5) << id << " " << i;
  }
}

// From `discrete_from` on the codes stand still, whatever an optimiser's momentum still does to the parameter.
TEST(VqMoePaper, FrozenCodesStandStill) {
  for (const std::string id : {"vqmoe_paper", "vqmoe_released"}) {
    Trial b(id, {{"discrete_from", "0.5"}});
    spread_codes(b, "codebook");
    b.info.progress = 0.49;
    b.gradient();
    b.ffn.update(b.exec, b.info);
    b.info.progress = 0.5;
    b.gradient();
    const std::vector<float> before = b.y;
    Param& codes = b.tensor("router.codebook");
    for (int64_t i = 0; i < codes.size; ++i) EXPECT_EQ(codes.grad[i], 0.f) << id;
    EXPECT_EQ(b.rows_of_this_forward(), b.tokens) << id;
    testing::fill(codes.value, codes.size, 5);
    b.ffn.update(b.exec, b.info);
    b.loss();
    EXPECT_EQ(b.y, before) << id;
  }
}

// Running means: after one update a code is the mean of what it was and of its tokens, weighed by its usage, and a code
// that nobody uses becomes a token of the batch.
TEST(VqMoePaper, RunningMeansFollowTheTokens) {
  Trial b("vqmoe_paper", {{"codebook", "ema"}, {"ema_decay", "0.75"}, {"reset_below", "0.9"}});
  spread_codes(b, "codes");
  std::fill_n(b.at("codes"), b.width(), 50.f);  // code 0 is nobody's
  const Row old = b.value("router.codes");
  b.loss();
  b.ffn.update(b.exec, b.info);
  const Row now = b.value("router.codes"), usage = b.value("router.usage");
  for (int c = 1; c < 4; ++c) {
    double share = 0;
    Row sum(b.width());
    for (int64_t t = 0; t < b.tokens; ++t) {
      double best = 1e9;
      int code = 0;
      for (int j = 0; j < 4; ++j) {
        Row apart = b.in(t);
        add(-1, Row(old.begin() + j * b.width(), old.begin() + (j + 1) * b.width()), apart);
        if (dot(apart, apart) < best) best = dot(apart, apart), code = j;
      }
      if (code == c)
        share += 1.0 / static_cast<double>(b.tokens), add(1.0 / static_cast<double>(b.tokens), b.in(t), sum);
    }
    const double used = 0.75 * 0.25 + 0.25 * share;
    if (used < 0.9 / 4) continue;
    EXPECT_NEAR(usage[c], used, 1e-6);
    for (int64_t i = 0; i < b.width(); ++i)
      EXPECT_NEAR(now[c * b.width() + i], (0.75 * 0.25 * old[c * b.width() + i] + 0.25 * sum[i]) / used, 1e-4);
  }
  bool is_token = false;
  for (int64_t t = 0; t < b.tokens; ++t) is_token = is_token || std::equal(&now[0], &now[b.width()], b.in(t).begin());
  EXPECT_TRUE(is_token) << "the dead code is no token of the batch";
  EXPECT_EQ(usage[0], 0.25);
}

Row layer_norm(const Row& u, const Row& gain, const Row& bias) {
  const double mean = std::accumulate(u.begin(), u.end(), 0.0) / static_cast<double>(u.size());
  double var = 0;
  for (const double v : u) var += (v - mean) * (v - mean) / static_cast<double>(u.size());
  Row y;
  for (size_t i = 0; i < u.size(); ++i) y.push_back((u[i] - mean) / std::sqrt(var + 1e-5) * gain[i] + bias[i]);
  return y;
}

// The released forward pass: q = (1 - 2 l) x + l v, the shared layer norm before and after the expert, and a router
// whose only weight is 1: its gradient is exactly 0.
TEST(VqMoeReleased, OutputIsTheReleasedOne) {
  Trial b("vqmoe_released", {{"lambda", "0.3"}});
  spread_codes(b, "codebook");
  b.expect_outputs([&](int64_t t) {
    const Row x = b.in(t), gain = b.value("router.ln_gain"), bias = b.value("router.ln_bias");
    const Row paths = softmax(b.linear(x, "paths", "paths_bias"));
    const int code = b.nearest(x, "codebook");
    Row q(x.size()), y(x.size()), logits;
    add(1 - 2 * 0.3, x, q), add(0.3, b.row("codebook", code, b.width()), q);
    for (int e = 0; e < 4; ++e) {
      const Row r = b.row("gate", e, b.width());
      logits.push_back(dot(x, r) / std::sqrt(dot(r, r) + 1e-6));
    }
    add(paths[0], b.f(largest(logits, 1)[0], x), y);
    add(paths[1], layer_norm(b.f(code % 4, layer_norm(q, gain, bias)), gain, bias), y);
    return y;
  });
  b.gradient();
  const Param& gate = b.tensor("router.gate");
  for (int64_t i = 0; i < gate.size; ++i) ASSERT_EQ(gate.grad[i], 0.f);
}

// dq/dx = (1 - l) I: the gradient of the discrete path is that of its function at q, times 1 - l.
TEST(VqMoeReleased, GradientPassesTheQuantiserScaled) {
  Trial b("vqmoe_released", {{"lambda", "0.3"}, {"discrete_from", "0"}, {"freeze", "false"}, {"vq_weight", "0"}});
  spread_codes(b, "codebook");
  const Row gain = b.value("router.ln_gain"), bias = b.value("router.ln_bias");
  b.gradient();
  for (int64_t t = 0; t < b.tokens; ++t) {
    const int code = b.nearest(b.in(t), "codebook");
    Row q(b.width());
    add(1 - 2 * 0.3, b.in(t), q), add(0.3, b.row("codebook", code, b.width()), q);
    const Row want =
        pulled_back([&](const Row& u) { return layer_norm(b.f(code % 4, layer_norm(u, gain, bias)), gain, bias); }, q,
                    b.gradient_out(t));
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_NEAR(b.gradient_in(t)[i], 0.7 * want[i], 2e-3 * (1 + std::fabs(want[i]))) << t;
  }
}

// With l = 0 the code's value has no part in the output: it selects the expert and nothing else.
TEST(VqMoeReleased, WithoutContributionTheCodeOnlySelects) {
  Trial b("vqmoe_released", {{"lambda", "0"}});
  spread_codes(b, "codebook");
  b.loss();
  const std::vector<float> before = b.y;
  float* codes = b.at("codebook");
  for (int64_t t = 0, nudged = 0; t < b.tokens && !nudged; ++t) {  // moves a code towards its token: still the nearest
    const int code = b.nearest(b.in(t), "codebook");
    for (int64_t i = 0; i < b.width(); ++i) codes[code * b.width() + i] += 1e-4f, nudged = 1;
  }
  b.loss();
  EXPECT_EQ(b.y, before);
}

// ---- schedules ----------------------------------------------------------------------------------------------------

// k(0) = half, k(1) = all, never falling; with all experts the output is the softmax ensemble; the router has no
// gradient to be moved by.
TEST(SmoeDropout, GrowsFromHalfToAllWithAFrozenRouter) {
  Trial b("smoe_dropout");
  int64_t last = 0;
  for (const double progress : {0.0, 0.24, 0.26, 0.5, 0.74, 0.76, 1.0}) {
    b.info.progress = progress;
    const int64_t k = 2 + std::lround(2 * progress);
    EXPECT_EQ(b.rows_of_this_forward(), k * b.tokens) << progress;
    EXPECT_GE(k, last), last = k;
    b.expect_outputs([&](int64_t t) {
      return softmax_of_the_best(b, b.linear(b.in(t), "gate", "gate_bias"), static_cast<int>(k), b.in(t));
    });
  }
  b.gradient();
  EXPECT_EQ(b.tensor("router.gate").grad, nullptr);
  EXPECT_EQ(b.tensor("router.gate_bias").grad, nullptr);
  Trial slim("smoe_dropout", {{"k_eval", "1"}});
  slim.info.phase = SWY_SCORE, slim.info.progress = 1;
  EXPECT_EQ(slim.rows_of_this_forward(), slim.tokens);
}

// The gate is a function of the one trained vector: U = relu(v A + a) Z + z cut into rows; nothing else has a gradient.
TEST(HyperRouter, GateIsAFunctionOfTheEmbedding) {
  Trial b("hyper_router", {{"hidden", "5"}});
  Row inner = b.linear(b.value("router.embedding"), "hyper_in", "hyper_in_bias");
  for (double& v : inner) v = std::max(v, 0.0);
  const Row u = b.linear(inner, "hyper_out", "hyper_out_bias");
  b.expect_outputs([&](int64_t t) {
    const Row x = b.in(t);
    Row logits;
    for (int64_t e = 0; e < 4; ++e) {
      const auto* of = &u[e * (b.width() + 1)];
      logits.push_back(dot(x, Row(of, of + b.width())) + of[b.width()]);
    }
    return softmax_of_the_best(b, logits, 2, x);
  });
  b.gradient();
  for (const std::string name : {"hyper_in", "hyper_in_bias", "hyper_out", "hyper_out_bias"})
    EXPECT_EQ(b.tensor("router." + name).grad, nullptr) << name;
  const Param& v = b.tensor("router.embedding");
  EXPECT_TRUE(std::any_of(v.grad, v.grad + v.size, [](float g) { return g != 0; }));
}

// ---- CompeteSMoE --------------------------------------------------------------------------------------------------

const OptionText kCompetition = {{"rate", "1"}, {"warm_up", "0"}};
OptionText with(OptionText base, const OptionText& more) {
  for (const auto& [name, value] : more) base[name] = value;
  return base;
}
const OptionText kNoLosses = {
    {"router_weight", "0"}, {"diversity_weight", "0"}, {"competition_balance_weight", "0"}, {"balance_weight", "0"}};

// A competition step takes the k experts with the largest mean softplus of their outputs, weighed by it, and runs all
// E; other steps, and evaluation, run k that the router chose.
TEST(CompeteSmoe, WinnersHaveTheLargestAffinities) {
  Trial b("competesmoe", kCompetition);
  b.expect_outputs([&](int64_t t) {
    Row affinity, y(b.width());
    std::vector<Row> output;
    for (int e = 0; e < 4; ++e) {
      output.push_back(b.f(e, b.in(t)));
      double sum = 0;
      for (const double v : output[e]) sum += std::log1p(std::exp(v));
      affinity.push_back(sum / static_cast<double>(b.width()));
    }
    const std::vector<int> won = largest(affinity, 2);
    for (const int e : won) add(affinity[e] / (affinity[won[0]] + affinity[won[1]]), output[e], y);
    return y;
  });
  EXPECT_EQ(b.rows_of_this_forward(), 4 * b.tokens);
  b.info.phase = SWY_SCORE;
  EXPECT_EQ(b.rows_of_this_forward(), 2 * b.tokens);
  b.expect_outputs([&](int64_t t) { return softmax_of_the_best(b, b.linear(b.in(t), "gate"), 2, b.in(t)); });
}

// The router's loss teaches the router alone: no gradient to experts or input; with the loss off the router has none.
TEST(CompeteSmoe, RouterLossReachesTheRouterAlone) {
  Trial b("competesmoe", with(with(kCompetition, kNoLosses), {{"router_weight", "1"}, {"theta", "0.5"}}));
  std::fill(b.coefficient.begin(), b.coefficient.end(), 0.f);
  b.gradient();
  for (const std::string name : {"experts.w1", "experts.b1", "experts.w2", "experts.b2"}) {
    const Param& p = b.tensor(name);
    for (int64_t i = 0; i < p.size; ++i) ASSERT_EQ(p.grad[i], 0.f) << name;
  }
  const Param& gate = b.tensor("router.gate");
  EXPECT_TRUE(std::any_of(gate.grad, gate.grad + gate.size, [](float g) { return g != 0; }));
  Trial silent("competesmoe", with(kCompetition, kNoLosses));
  silent.gradient();
  const Param& still = silent.tensor("router.gate");
  EXPECT_TRUE(std::all_of(still.grad, still.grad + still.size, [](float g) { return g == 0; }));
}

// Weights, diversity and balance of a competition are differentiated through the experts: central differences agree.
TEST(CompeteSmoe, CompetitionGradientsMatchDifferences) {
  Trial b("competesmoe",
          with(with(kCompetition, kNoLosses), {{"diversity_weight", "0.7"}, {"competition_balance_weight", "0.4"}}));
  b.gradient();
  for (const std::string name : {"experts.w1", "experts.b2"}) {
    Param& p = b.tensor(name);
    std::vector<float> way(p.size), start(p.value, p.value + p.size);
    testing::fill(way.data(), p.size, 31);
    double exact = 0, best = 1e30;
    for (int64_t i = 0; i < p.size; ++i) exact += double{way[i]} * double{p.grad[i]};
    for (const double h : {2e-3, 5e-4}) {  // a step that flips a winner jumps, a smaller one does not
      auto shifted = [&](double s) {
        for (int64_t i = 0; i < p.size; ++i) p.value[i] = static_cast<float>(start[i] + s * way[i]);
        return b.loss();
      };
      const double numeric = (shifted(h) - shifted(-h)) / (2 * h);
      if (std::fabs(numeric - exact) < std::fabs(best - exact)) best = numeric;
    }
    std::copy(start.begin(), start.end(), p.value);
    EXPECT_NEAR(exact, best, 5e-3 * (1 + std::fabs(exact))) << name;
  }
}

// About `rate` of the steps after the warm-up are competitions, none before it, and the same ones when run again.
TEST(CompeteSmoe, CompetesAtItsRateAfterTheWarmUp) {
  auto competitions = [](double progress) {
    Trial b("competesmoe", {{"rate", "0.3"}, {"warm_up", "0.1"}}, roomy(), 1);
    b.info.progress = progress;
    std::vector<int64_t> steps;
    for (b.info.step = 0; b.info.step < 400; ++b.info.step)
      if (b.rows_of_this_forward() == 4 * b.tokens) steps.push_back(b.info.step);
    return steps;
  };
  EXPECT_TRUE(competitions(0.09).empty());
  const std::vector<int64_t> steps = competitions(0.11);
  EXPECT_NEAR(static_cast<double>(steps.size()), 120, 4 * std::sqrt(400 * 0.3 * 0.7));
  EXPECT_EQ(steps, competitions(0.11));
}

// ---- DSelect-k ----------------------------------------------------------------------------------------------------

// One bit, two experts: the second expert's weight is the smooth step itself. Its values at 0 and at the ends of the
// band, exact 0 and 1 beyond, a slope of 3 / (2 gamma) in the middle, and one of 0 at both ends: C1.
TEST(DSelectK, BitsAreTheSmoothStep) {
  SiteSpec two = roomy();
  two.experts = 2, two.train_capacity.factor = 2;
  Trial b("dselect_k", {{"conditioning", "static"}, {"k", "1"}, {"gamma", "2"}}, two, 1);
  auto step_at = [&](float z) {
    b.at("bits")[0] = z;
    b.loss();
    const RoutedFfn::Kept kept = b.ffn.kept();
    for (int64_t i = 0; i < kept.count; ++i)
      if (kept.expert[i] == 1) return double{kept.weight[kept.entry[i]]};
    return 0.0;
  };
  EXPECT_NEAR(step_at(0), 0.5, 1e-6);
  for (const float out : {1.f, 1.5f, 30.f}) {
    EXPECT_EQ(step_at(out), 1.0);
    EXPECT_EQ(step_at(-out), 0.0);
  }
  for (const float z : {-0.9f, -0.4f, 0.3f, 0.8f}) {
    EXPECT_NEAR(step_at(z), -2 * std::pow(z, 3) / 8 + 3 * z / 4 + 0.5, 1e-6) << z;
    EXPECT_NEAR(step_at(z) + step_at(-z), 1, 1e-6) << z;
  }
  EXPECT_NEAR((step_at(0.01f) - step_at(-0.01f)) / 0.02, 0.75, 1e-3);
  for (const float end : {-1.f, 1.f})
    EXPECT_NEAR((step_at(end + 0.01f) - step_at(end - 0.01f)) / 0.02, 0, 0.01) << "a kink at " << end;
}

// For E a power of two the selectors' masses sum to 1, so do the weights; when all bits are out of the band no token
// has more than k experts, and their bits have no gradient.
TEST(DSelectK, WeightsSumToOneAndSaturateToK) {
  Trial b("dselect_k", {{"entropy_weight", "0"}});
  auto sums = [&] {
    b.loss();
    Row sum(b.tokens);
    const RoutedFfn::Kept kept = b.ffn.kept();
    for (int64_t i = 0; i < kept.count; ++i) sum[kept.token[i]] += kept.weight[kept.entry[i]];
    return sum;
  };
  for (const double sum : sums()) EXPECT_NEAR(sum, 1, 1e-5);
  Param& bias = b.tensor("router.bits_bias");
  for (int64_t i = 0; i < bias.size; ++i) bias.value[i] = i % 2 ? 40.f : -40.f;
  for (const double sum : sums()) EXPECT_NEAR(sum, 1, 1e-5);
  EXPECT_LE(b.rows_of_this_forward(), 2 * b.tokens);
  b.gradient();
  for (int64_t i = 0; i < bias.size; ++i) EXPECT_EQ(bias.grad[i], 0.f);
}

// ---- ReMoE --------------------------------------------------------------------------------------------------------

// Lambda moves by exactly the multiplier: up when more than k experts per token were offered rows, else down; an
// evaluation leaves it alone.
TEST(ReMoe, LambdaMovesByTheMultiplier) {
  Trial b("remoe", {{"lambda", "0.25"}});
  float* gate = b.at("gate");
  const int64_t n = b.tensor("router.gate").size;
  std::fill(b.x.begin(), b.x.end(), 1.f);
  std::fill_n(gate, n, 1.f);  // every gate is positive
  b.loss();
  b.ffn.update(b.exec, b.info);
  EXPECT_FLOAT_EQ(*b.at("lambda"), 0.25f * 1.2f);
  for (int64_t i = 0; i < n; ++i) gate[i] = i % 4 == 0 ? 1.f : -1.f;  // exactly one expert per token: sparse enough
  b.loss();
  b.ffn.update(b.exec, b.info);
  EXPECT_FLOAT_EQ(*b.at("lambda"), 0.25f * 1.2f / 1.2f);
  b.info.phase = SWY_SCORE;
  b.loss();
  EXPECT_FLOAT_EQ(*b.at("lambda"), 0.25f);
}

// y has no jump where a gate passes 0, and a gate that is not positive gives its column no gradient, not even from the
// penalty.
TEST(ReMoe, OutputIsContinuousAndClosedGatesAreSilent) {
  Trial b("remoe", {{"lambda", "1"}});
  std::fill(b.x.begin(), b.x.end(), 1.f);
  float* gate = b.at("gate");
  const int64_t n = b.tensor("router.gate").size;
  auto with_gate = [&](float at) {
    std::fill_n(gate, n, -1.f);
    for (int64_t i = 0; i < n; i += 4) gate[i] = at / static_cast<float>(b.width());  // expert 0's logit is `at`
    b.gradient();
    return b.y;
  };
  const std::vector<float> closed = with_gate(-1e-4f);
  for (int64_t i = 0; i < n; ++i) EXPECT_EQ(b.tensor("router.gate").grad[i], 0.f);
  const std::vector<float> open = with_gate(1e-4f);
  for (size_t i = 0; i < open.size(); ++i) EXPECT_NEAR(open[i], closed[i], 1e-3);
  EXPECT_NE(open, closed);
  for (int64_t i = 0; i < n; ++i) EXPECT_TRUE(i % 4 == 0 || b.tensor("router.gate").grad[i] == 0) << i;
}

// ---- top-p --------------------------------------------------------------------------------------------------------

// p = 0 is top-1, p = 1 is everything, and sharper logits never run more experts.
TEST(TopP, CountFollowsTheGates) {
  EXPECT_EQ(Trial("top_p", {{"p", "0"}}).rows_of_this_forward(), 24);
  EXPECT_EQ(Trial("top_p", {{"p", "1"}}).rows_of_this_forward(), 4 * 24);
  Trial b("top_p", {{"p", "0.6"}});
  int64_t last = 4 * b.tokens;
  for (int i = 0; i < 6; ++i) {
    const int64_t rows = b.rows_of_this_forward();
    EXPECT_LE(rows, last);
    last = rows;
    Param& gate = b.tensor("router.gate");
    for (int64_t j = 0; j < gate.size; ++j) gate.value[j] *= 2;
  }
  EXPECT_LT(last, 2 * b.tokens);
}

// ---- SparseMixer --------------------------------------------------------------------------------------------------

// Two experts, many copies of one token, each with its own draw, and a quadratic loss: the mean gradient of the logits
// is that of the expectation, to first order in the experts' outputs, for both rules.
TEST(SparseMixer, ExpectedGradientIsTheExactOne) {
  SiteSpec two = roomy();
  two.experts = 2, two.width = 3, two.sequence_tokens = 40000, two.train_capacity.factor = 2;
  for (const std::string rule : {"midpoint", "heun"}) {
    Trial b("sparsemixer", {{"rule", rule}, {"balance_weight", "0"}, {"jitter", "50"}}, two, 1);
    for (int64_t t = 0; t < b.tokens; ++t)
      for (int64_t i = 0; i < 3; ++i) b.x[t * 3 + i] = i == 0;  // the logits are the first row of the gate
    for (const std::string name : {"experts.w2", "experts.b2"}) {
      Param& p = b.tensor(name);
      for (int64_t i = 0; i < p.size; ++i) p.value[i] *= 0.05f;
    }
    const Row target = {1, -0.5, 0.25}, z = {b.at("gate")[0], b.at("gate")[1]};
    b.loss();
    for (int64_t t = 0; t < b.tokens; ++t)  // g(y) = |y - target|^2 / 2
      for (int64_t i = 0; i < 3; ++i)
        b.coefficient[t * 3 + i] = static_cast<float>((b.y[t * 3 + i] - target[i]) / static_cast<double>(b.tokens));
    b.gradient();
    auto g = [&](double p, int e) {
      Row y(3);
      add(p, b.f(e, b.in(0)), y), add(-1, target, y);
      return dot(y, y) / 2;
    };
    auto expected = [&](const Row& logits) {
      const Row p = softmax(logits), fixed = softmax(z);
      double sum = 0;
      for (int e = 0; e < 2; ++e) sum += p[e] * g(rule == "heun" ? fixed[e] : p[e], e);
      return Row{sum};
    };
    const Row exact = pulled_back(expected, z, {1});
    for (int e = 0; e < 2; ++e)
      EXPECT_NEAR(b.tensor("router.gate").grad[e], exact[e], 0.05 * std::fabs(exact[e])) << rule << " " << e;
    EXPECT_GT(std::fabs(exact[0]), 1e-3);
  }
}

// In evaluation nothing is drawn: the best expert with its full gate.
TEST(SparseMixer, EvaluationTakesTheBest) {
  Trial b("sparsemixer", {{"jitter", "50"}});
  b.info.phase = SWY_SCORE;
  b.expect_outputs([&](int64_t t) {
    const Row gate = softmax(b.linear(b.in(t), "gate"));
    const int best = largest(gate, 1)[0];
    Row y(b.width());
    add(gate[best], b.f(best, b.in(t)), y);
    return y;
  });
}

// ---- experts that cost nothing ------------------------------------------------------------------------------------

// A zero expert gives 0 and a copy gives x, each times its weight, and neither runs a row.
TEST(MoePlusPlus, ZeroGivesNothingAndCopyTheInput) {
  for (const bool copy : {false, true}) {
    Trial b("moe_plus_plus",
            {{"k", "1"}, {"constants", "0"}, {"copies", copy ? "1" : "0"}, {"zeros", copy ? "0" : "1"}});
    std::fill(b.x.begin(), b.x.end(), 0.5f);
    float* gate = b.at("gate");
    for (int64_t i = 0; i < b.tensor("router.gate").size; ++i) gate[i] = i % 5 == 4 ? 9.f : 0.f;  // all choose column 4
    b.expect_outputs([&](int64_t t) {
      const Row p = softmax(b.linear(b.in(t), "gate"));
      Row y(b.width());
      add(copy ? p[4] : 0, b.in(t), y);
      return y;
    });
    EXPECT_EQ(b.rows_of_this_forward(), 0);
  }
}

// The whole output against the equations: FFN, constant, copy and zero columns, weights with and without zero experts.
TEST(MoePlusPlus, OutputIsTheSumOfAllKinds) {
  for (const std::string weights : {"raw", "renormalised", "zero_removed"}) {
    Trial b("moe_plus_plus", {{"k", "3"}, {"weights", weights}, {"scale_input", "true"}});
    b.expect_outputs([&](int64_t t) {
      const Row p = softmax(b.linear(b.in(t), "gate"));
      Row h(b.width()), w(8), y(b.width());
      add(3, b.in(t), h);
      double sum = 0;
      for (const int e : largest(p, 3)) sum += w[e] = weights == "zero_removed" && e == 7 ? 0 : p[e];
      for (double& v : w) v /= weights == "raw" ? 1 : sum;
      for (int e = 0; e < 4; ++e) add(w[e], b.f(e, h), y);
      for (int c = 0; c < 2; ++c) {
        const Row mix = softmax(b.linear(h, "mix_" + std::to_string(c)));
        add(w[4 + c] * mix[0], h, y), add(w[4 + c] * mix[1], b.value("router.constant_" + std::to_string(c)), y);
      }
      add(w[6], h, y);
      return y;
    });
  }
}

// Without null experts it is top-k with renormalised gates; with them the mean number of experts is k less the nulls,
// and a token of nulls alone gets 0.
TEST(NullExperts, AreTopKWithoutNullsAndFewerRowsWithThem) {
  for (const int nulls : {0, 3}) {
    Trial b("null_experts", {{"nulls", std::to_string(nulls)}});
    int64_t rows = 0;
    b.expect_outputs([&](int64_t t) {
      const Row p = softmax(b.linear(b.in(t), "gate"));
      Row y(b.width());
      double sum = 0;
      for (const int e : largest(p, 2)) sum += e < 4 ? p[e] : 0;
      for (const int e : largest(p, 2))
        if (e < 4) add(p[e] / sum, b.f(e, b.in(t)), y), ++rows;
      return y;
    });
    EXPECT_EQ(b.rows_of_this_forward(), rows);
    EXPECT_EQ(rows == 2 * b.tokens, nulls == 0);
  }
}

}  // namespace
}  // namespace swy::moe
