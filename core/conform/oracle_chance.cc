// What is drawn: how often, and what its gradient is on average. Bounds are four standard errors of a count.
#include <algorithm>
#include <cmath>

#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

constexpr int kTokens = 20000;

double four_errors(double p, double n) { return 4 * std::sqrt(p * (1 - p) / n) + 1e-9; }

// scores: the logits of every token. rank: 1, the first choice is drawn from the softmax; 2, the second is, from what
// the first (the largest) leaves. weights: "all", each entry weighs its softmax gate.
void sampled_choice(const Promise& p) {
  const auto row = p.as<std::vector<float>>("scores");
  const auto n = static_cast<int32_t>(row.size());
  const int rank = p.value_or("rank", 1);
  Trial t(p, {n, n, {kTokens}});
  t.identity("gate"), t.set(Matrix(kTokens, row)), t.run();
  const Row gate = softmax(to_row(row));
  const int best = largest(gate, 1)[0];
  Row share(row.size());
  for (const auto& chosen : t.experts()) {
    p.equal(chosen.size(), static_cast<size_t>(rank), "the number of experts of a token");
    if (rank == 2) p.equal(chosen[0], best, "the first choice");
    share[static_cast<size_t>(chosen.back())] += 1.0 / kTokens;
  }
  for (size_t e = 0; e < row.size(); ++e) {
    const double want = rank == 1 ? gate[e] : static_cast<int>(e) == best ? 0 : gate[e] / (1 - gate[best]);
    p.near(share[e], want, four_errors(want, kTokens), "the share of draws of expert ", e);
  }
  if (p.value_or<std::string>("weights", "") == "all")
    for (size_t i = 0; i < t.last().weight.size(); ++i)
      p.near(t.last().weight[i], gate[static_cast<size_t>(t.last().expert[i])], 1e-6, "a weight");
}

// The second choice, of gate g2, is used with probability min(1, g2 / threshold), and the first one's weight does not
// depend on it; in evaluation it is always used.
void chance_of_second(const Promise& p) {
  const double threshold = p.as<double>("threshold");
  for (const float g2 : {0.05f, 0.15f, 0.3f}) {
    Trial t(p, {3, 3, {kTokens}}, {{"threshold", Json(threshold).dump()}});
    t.identity("gate"), t.set(Matrix(kTokens, {std::log(1 - g2), std::log(g2), -40})), t.run();
    const double want = std::min(1.0, g2 / threshold);
    p.near(static_cast<double>(t.last().row.size()) / kTokens - 1, want, four_errors(want, kTokens),
           "the share of second choices used at a gate of ", g2);
    for (size_t i = 0; i < t.last().weight.size(); ++i)
      p.near(t.last().weight[i], t.last().expert[i] == 0 ? 1 - g2 : g2, 1e-6, "a weight");
    p.equal(t.run(SWY_SCORE).row.size(), size_t{2 * kTokens}, "the number of entries in evaluation");
  }
}

// Noise that multiplies the input moves logits (0, 5) apart by no more than jitter * 5, one that is added to them by no
// more than 2 * jitter; both get near that. jitter. form: "multiply" or "add".
void jitter_form(const Promise& p) {
  const double jitter = p.as<double>("jitter");
  const auto form = p.as<std::string>("form");
  Trial t(p, {2, 2, {400}}, {{"jitter", Json(jitter).dump()}});
  t.identity("gate"), t.set(Matrix(400, {0.f, 5.f})), t.run();
  double least = 1, most = -1;
  for (const float w : t.last().weight) {
    const double moved = std::log(w / (1 - double{w})) - 5;
    least = std::min(least, moved), most = std::max(most, moved);
  }
  const double reach = jitter * (form == "multiply" ? 5 : 2);
  p.expect(least > -reach - 1e-2 && most < reach + 1e-2, "noise moves the logits apart by ", least, " to ", most,
           ", beyond ", reach);
  p.expect(most - least > reach, "noise moves the logits apart by ", least, " to ", most, " only, of ", reach);
}

// Two experts with outputs f_e, many copies of one token, each with its own draw, and the loss |w f_e - target|^2 / 2:
// the mean gradient of the logits is that of sum_e p_e g(p_e f_e), to first order in f. With "held" weights w = p stand
// still in the exact one (Heun's rule). rule: "midpoint" or "heun".
void sampled_gradient(const Promise& p) {
  const bool held = p.as<std::string>("rule") == "heun";
  constexpr size_t kCopies = 2 * kTokens;
  Trial t = Trial::drawn(p, {3, 2, {kCopies}});
  const std::vector<Row> f = {{0.04, -0.02, 0.03}, {-0.03, 0.05, 0.01}};
  const Row target = {1, -0.5, 0.25};
  for (size_t i = 0; i < t.x.size(); ++i) t.x[i] = i % 3 == 0;  // the logits are the first row of the gate
  const std::vector<float>& gate = t.tensor("gate").value;
  const Row z = {gate[0], gate[1]};
  const Plan& plan = t.run();
  p.equal(plan.row.size(), kCopies, "the number of entries");
  PlanGrad d;
  for (size_t i = 0; i < plan.row.size(); ++i) {
    const Row& out = f[static_cast<size_t>(plan.expert[i])];
    d.weight.push_back(static_cast<float>((plan.weight[i] * dot(out, out) - dot(out, target)) / kCopies));
  }
  t.zero_grads(), t.backward(d);
  auto expected = [&](const Row& logits) {
    const Row now = softmax(logits), fixed = softmax(z);
    double sum = 0;
    for (size_t e = 0; e < 2; ++e) {
      Row off(3);
      add(held ? fixed[e] : now[e], f[e], off), add(-1, target, off);
      sum += now[e] * dot(off, off) / 2;
    }
    return sum;
  };
  for (size_t e = 0; e < 2; ++e) {
    constexpr double kStep = 1e-5;
    Row up = z, down = z;
    up[e] += kStep, down[e] -= kStep;
    const double exact = (expected(up) - expected(down)) / (2 * kStep);
    p.expect(std::fabs(exact) > 1e-3, "the exact gradient is ", exact, ": nothing is shown");
    p.near(t.tensor("gate").grad[e], exact, 0.05 * std::fabs(exact), "the mean gradient of logit ", e);
  }
}

}  // namespace

std::vector<Property> chance_oracles() {
  return {
      {"sampled_choice", "A drawn choice comes as often as its gate says.", sampled_choice},
      {"chance_of_second", "The second choice is used with probability min(1, gate / threshold).", chance_of_second},
      {"jitter_form", "Jitter moves logits as far as its form allows, and no further.", jitter_form},
      {"sampled_gradient", "The expected gradient of a drawn expert is the exact one to first order.",
       sampled_gradient}};
}

}  // namespace swy::conform
