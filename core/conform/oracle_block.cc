// What a router makes of whole blocks: how many experts run, which of them compete, and experts that cost nothing.
#include <algorithm>
#include <cmath>

#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

const OracleSite kSite{6, 4, {12, 8}};

std::vector<int32_t> competition_steps(const Promise& p, double progress, int steps) {
  Trial t = Trial::drawn(p, {6, 4, {4}});
  t.progress = progress;
  std::vector<int32_t> won;
  for (t.step = 0; t.step < steps; ++t.step) {
    const int64_t before = t.expert_rows();
    t.run();
    if (t.expert_rows() - before == int64_t{4} * t.tokens()) won.push_back(static_cast<int32_t>(t.step));
  }
  return won;
}

// A competition step runs all experts and takes the k with the largest mean softplus of their outputs, weighed by it;
// nobody is left to run. In evaluation k experts run that the router chose. k.
void competition(const Promise& p) {
  const auto k = static_cast<size_t>(p.as<int>("k"));
  Trial t = Trial::drawn(p, kSite);
  const Plan& plan = t.run();
  p.equal(t.expert_rows(), int64_t{4} * t.tokens(), "the number of rows of a competition");
  p.equal(plan.row.size(), size_t{0}, "the number of entries that are left");
  for (int32_t i = 0; i < t.tokens(); ++i) {
    Row affinity, want(6);
    std::vector<Row> output(4);
    for (int e = 0; e < 4; ++e) {
      double sum = 0;
      for (const double x : t.row(i))
        output[e].push_back(Rig::expert(e, x)), sum += std::log1p(std::exp(output[e].back()));
      affinity.push_back(sum / 6);
    }
    const std::vector<int> won = largest(affinity, static_cast<int>(k));
    double all = 0;
    for (const int e : won) all += affinity[e];
    for (const int e : won) add(affinity[e] / all, output[e], want);
    for (size_t d = 0; d < 6; ++d)
      p.near(plan.output[static_cast<size_t>(i) * 6 + d], want[d], 3e-5 * (1 + std::fabs(want[d])), "token ", i,
             "'s output[", d, "]");
  }
  const int64_t before = t.expert_rows();
  t.run(SWY_SCORE);
  p.equal(t.expert_rows() - before, int64_t{0}, "the number of competing rows in evaluation");
  p.equal(t.last().row.size(), k * static_cast<size_t>(t.tokens()), "the number of entries in evaluation");
}

// The distance of the router from the competition teaches the router alone: it sends no gradient through an expert.
// loss: its name. gate. silent: the losses, in whose absence the gate has no gradient.
void competition_teaches(const Promise& p) {
  Trial t = Trial::drawn(p, kSite);
  t.run(), t.zero_grads(), t.backward(t.only_loss(p.as<std::string>("loss")));
  p.equal(t.expert_gradient(), 0.0, "the gradient that the router's loss sends to the experts");
  auto has_gradient = [](const Held& h) {
    return std::any_of(h.grad.begin(), h.grad.end(), [](float g) { return g != 0; });
  };
  const Held& gate = t.tensor(p.value_or<std::string>("gate", "gate"));
  p.expect(has_gradient(gate), "the router's loss has no gradient at the router");
  Random random(p.context.seed);
  PlanGrad d;
  d.output = drawn(t.x.size(), random);
  t.zero_grads(), t.backward(d);
  p.expect(!has_gradient(gate), "the task has a gradient at the router of a competition");
  p.expect(t.expert_gradient() > 0, "the task has no gradient at the experts");
}

// Output and losses of a competition are differentiated through the experts: central differences along a direction.
void competition_gradient(const Promise& p) {
  Trial t = Trial::drawn(p, kSite);
  Random random(p.context.seed + 3);
  const PlanGrad d = random_grad(t.run(), random);
  t.zero_grads(), t.backward(d);
  const std::vector<float> start = t.x, way = drawn(start.size(), random);
  double exact = 0, best = 1e30;
  for (size_t i = 0; i < way.size(); ++i) exact += double{way[i]} * double{t.dx[i]};
  for (const double h : {2e-3, 5e-4}) {  // a step that flips a winner jumps, a smaller one does not
    auto shifted = [&](double s) {
      for (size_t i = 0; i < way.size(); ++i) t.x[i] = static_cast<float>(start[i] + s * way[i]);
      const Plan& plan = t.run();
      double sum = 0;
      for (size_t i = 0; i < plan.output.size(); ++i) sum += double{d.output[i]} * double{plan.output[i]};
      for (size_t i = 0; i < plan.aux.size(); ++i) sum += double{d.aux[i]} * double{plan.aux[i]};
      return sum;
    };
    const double numeric = (shifted(h) - shifted(-h)) / (2 * h);
    if (std::fabs(numeric - exact) < std::fabs(best - exact)) best = numeric;
  }
  p.near(exact, best, 5e-3 * (1 + std::fabs(exact)), "the derivative along a direction");
}

// About `rate` of the steps after `warm_up` are competitions, none before it, and the same ones when run again.
void competition_rate(const Promise& p) {
  const double rate = p.as<double>("rate"), warm_up = p.as<double>("warm_up");
  constexpr int kSteps = 400;
  p.equal(competition_steps(p, warm_up - 0.01, kSteps), {}, "the list of competitions in the warm-up");
  const std::vector<int32_t> steps = competition_steps(p, warm_up + 0.01, kSteps);
  p.near(static_cast<double>(steps.size()), kSteps * rate, 4 * std::sqrt(kSteps * rate * (1 - rate)),
         "the number of competitions");
  p.equal(competition_steps(p, warm_up + 0.01, kSteps), steps, "the list of competitions when run again");
}

// One bit, two experts, the bit itself a parameter: the second expert's weight is the smooth step. 1/2 at 0, exact 0
// and 1 from the ends of the band on, the cubic between them, a slope of 3 / (2 gamma) in the middle and of 0 at both
// ends: C1. gamma. bits: tensor.
void smooth_step(const Promise& p) {
  const double gamma = p.as<double>("gamma");
  Trial t(p, {6, 2, {3}}, {{"gamma", Json(gamma).dump()}});
  auto step_at = [&](double z) {
    t.tensor(p.as<std::string>("bits")).value.at(0) = static_cast<float>(z);
    t.run();
    for (size_t i = 0; i < t.last().row.size(); ++i)
      if (t.last().row[i] == 0 && t.last().expert[i] == 1) return double{t.last().weight[i]};
    return 0.0;
  };
  const double end = gamma / 2;
  p.near(step_at(0), 0.5, 1e-6, "S(0)");
  for (const double out : {end, 1.5 * end, 30 * end}) {
    p.equal(step_at(out), 1.0, "S(", out, ")"), p.equal(step_at(-out), 0.0, "S(", -out, ")");
  }
  for (const double u : {-0.45, -0.2, 0.15, 0.4}) {
    const double z = u * gamma;
    p.near(step_at(z), -2 * u * u * u + 1.5 * u + 0.5, 1e-6, "S(", z, ")");
    p.near(step_at(z) + step_at(-z), 1, 1e-6, "S(z) + S(-z)");
  }
  auto slope = [&](double z) { return (step_at(z + 0.005 * gamma) - step_at(z - 0.005 * gamma)) / (0.01 * gamma); };
  p.near(slope(0), 1.5 / gamma, 1e-3, "the slope in the middle");
  p.near(slope(end), 0, 0.02 / gamma, "the slope at the upper end");
  p.near(slope(-end), 0, 0.02 / gamma, "the slope at the lower end");
}

// For E a power of two the weights sum to 1; when all bits are out of the band, no token has more than k experts, and
// the bits have no gradient. k. bias: of the bits.
void saturates(const Promise& p) {
  Trial t = Trial::drawn(p, kSite);
  auto sums = [&] {
    t.run();
    for (const auto& weights : t.weights()) {
      double sum = 0;
      for (const float w : weights) sum += w;
      p.near(sum, 1, 1e-5, "a sum of weights");
    }
  };
  sums();
  Held& bias = t.tensor(p.as<std::string>("bias"));
  for (size_t i = 0; i < bias.value.size(); ++i) bias.value[i] = i % 2 ? 40.f : -40.f;
  sums();
  for (const auto& weights : t.weights())
    p.expect(weights.size() <= p.as<size_t>("k"), "a token has ", weights.size(), " experts");
  Random random(p.context.seed);
  PlanGrad d = random_grad(t.last(), random);
  t.zero_grads(), t.backward(d);
  for (const float g : bias.grad) p.expect(g == 0, "a bit out of the band gets a gradient of ", g);
}

// Weights have no jump where a gate passes 0; a gate that is not positive gives its column of the gate matrix no
// gradient, not even from a loss. gate.
void continuous_gates(const Promise& p) {
  Trial t(p, kSite);
  std::fill(t.x.begin(), t.x.end(), 1.f);
  Held& gate = t.tensor(p.value_or<std::string>("gate", "gate"));
  auto with_logit = [&](float at) {  // of expert 0; all others are closed
    for (size_t i = 0; i < gate.value.size(); ++i) gate.value[i] = i % 4 == 0 ? at / 6 : -1.f;
    t.run(), t.zero_grads(), t.backward(constant_grad(t.last(), 1));
    double all = 0;
    for (const float w : t.last().weight) all += std::fabs(double{w});
    return all;
  };
  p.equal(with_logit(-1e-4f), 0.0, "the weight of closed gates");
  for (const float g : gate.grad) p.expect(g == 0, "a closed gate has a gradient of ", g);
  const double open = with_logit(1e-4f);
  p.expect(open > 0 && open < 1e-3 * t.tokens(), "just open, all gates together weigh ", open);
  for (size_t i = 0; i < gate.grad.size(); ++i)
    p.expect((gate.grad[i] != 0) == (i % 4 == 0), "column ", i % 4, " of the gate has a gradient of ", gate.grad[i]);
}

// p = 0 is one expert, p = 1 is every one, and sharper logits never run more. gate. option: the name of p.
void count_follows_mass(const Promise& p) {
  const auto option = p.as<std::string>("option");
  const size_t tokens = 20;
  for (const auto& [mass, per_token] : {std::pair{"0", 1}, {"1", 4}}) {
    Trial t = Trial::drawn(p, kSite, {{option, mass}});
    p.equal(t.run().row.size(), tokens * static_cast<size_t>(per_token), "with a mass of ", mass,
            " the number of entries");
  }
  Trial t = Trial::drawn(p, kSite, {{option, "0.6"}});
  const size_t first = t.run().row.size();
  size_t last = first;
  for (int i = 0; i < 6; ++i) {
    for (float& v : t.tensor(p.value_or<std::string>("gate", "gate")).value) v *= 2;
    const size_t now = t.run().row.size();
    p.expect(now <= last, "logits twice as sharp run ", now, " rows, not ", last, " or fewer"), last = now;
  }
  p.expect(last < first, "the count is ", last, " throughout: nothing is shown");
}

// The columns of a gate are E experts, then constants, copies and zeros, which the router computes itself: the output
// it adds is that of the chosen ones among them, and only experts run. k; constants, copies, zeros: how many there are.
// weights: "raw", "renormalised" or "zero_removed". scale_input: experts read k x.
void free_experts(const Promise& p) {
  const int k = p.as<int>("k"), constants = p.as<int>("constants"), copies = p.as<int>("copies");
  const int zeros = p.as<int>("zeros"), n = 4 + constants + copies + zeros;
  const auto form = p.value_or<std::string>("weights", "raw");
  const double factor = p.value_or("scale_input", false) ? k : 1;
  Trial t = Trial::drawn(p, kSite);
  const Plan& plan = t.run();
  auto value = [&](const std::string& name) { return to_row(t.tensor(name).value); };
  std::set<int> kinds;
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const Row x = t.row(i), gate = softmax(linear(x, value("gate")));
    Row h(6), w(static_cast<size_t>(n)), want(6);
    add(factor, x, h);
    double sum = 0;
    std::vector<int> run;
    for (const int e : largest(gate, k)) {
      sum += w[e] = form == "zero_removed" && e >= n - zeros ? 0 : gate[e];
      if (e < 4) run.push_back(e);
      kinds.insert(e < 4 ? 0 : e < 4 + constants ? 1 : e < n - zeros ? 2 : 3);
    }
    for (double& v : w) v /= form == "raw" || sum == 0 ? 1 : sum;
    for (int c = 0; c < constants; ++c) {
      const Row mix = softmax(linear(h, value(cat("mix_", c))));
      add(w[4 + c] * mix[0], h, want), add(w[4 + c] * mix[1], value(cat("constant_", c)), want);
    }
    for (int c = 0; c < copies; ++c) add(w[4 + constants + c], h, want);
    const auto at = static_cast<size_t>(i);
    p.equal(t.experts()[at], run, "token ", i, "'s experts");
    for (size_t j = 0; j < run.size(); ++j) p.near(t.weights()[at][j], w[run[j]], 1e-5, "token ", i, "'s weight ", j);
    for (size_t d = 0; d < 6; ++d) {
      p.near(plan.output.empty() ? 0 : plan.output[at * 6 + d], want[d], 3e-5 * (1 + std::fabs(want[d])), "token ", i,
             "'s output[", d, "]");
      if (factor != 1) p.near(plan.expert_x[at * 6 + d], h[d], 1e-5 * (1 + std::fabs(h[d])), "what experts read");
    }
  }
  for (int kind = 0; kind < 4; ++kind)
    if (const int many[] = {4, constants, copies, zeros}; many[kind] > 0)
      p.expect(kinds.count(kind), "no token chooses an expert of kind ", kind, ": nothing is shown");
}

// The last `nulls` columns of the gate are nobody: a token's weights are its real gates over their sum, and it has as
// many experts as real choices. k, nulls.
void null_experts(const Promise& p) {
  const int k = p.as<int>("k"), nulls = p.as<int>("nulls");
  Trial t = Trial::drawn(p, kSite);
  const Plan& plan = t.run();
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const Row gate = softmax(linear(t.row(i), to_row(t.tensor("gate").value)));
    std::vector<int> real;
    double sum = 0;
    for (const int e : largest(gate, k))
      if (e < 4) real.push_back(e), sum += gate[e];
    const auto at = static_cast<size_t>(i);
    p.equal(t.experts()[at], real, "token ", i, "'s experts");
    for (size_t j = 0; j < real.size(); ++j)
      p.near(t.weights()[at][j], gate[real[j]] / sum, 1e-5, "token ", i, "'s weight ", j);
  }
  const bool all = std::ssize(plan.row) == int64_t{k} * t.tokens();
  p.expect(all == (nulls == 0), "there are ", plan.row.size(), " entries: nothing is shown");
}

}  // namespace

std::vector<Property> block_oracles() {
  return {{"competition", "The experts that respond most strongly win, and are weighed by it.", competition},
          {"competition_teaches", "A competition teaches the router, and only by its own loss.", competition_teaches},
          {"competition_gradient", "A competition is differentiated through its experts.", competition_gradient},
          {"competition_rate", "Competitions come at their rate, after the warm-up.", competition_rate},
          {"smooth_step", "A bit is the smooth step of its logit.", smooth_step},
          {"saturates", "Bits out of their band leave k experts and no gradient.", saturates},
          {"continuous_gates", "Gates open without a jump, and closed ones are silent.", continuous_gates},
          {"count_follows_mass", "As many experts run as the wanted mass takes.", count_follows_mass},
          {"free_experts", "Constant, copy and zero experts give what they say, and run nothing.", free_experts},
          {"null_experts", "Null experts take choices and run nothing.", null_experts}};
}

}  // namespace swy::conform
