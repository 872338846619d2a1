// Auxiliary losses, and where gradients are what an equation says, or exactly 0.
#include <algorithm>
#include <cmath>

#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

// Given logits: x = scores, gate = identity. "times": how often each row stands there. "groups": tokens of each group.
struct Given {
  explicit Given(const Promise& p) : scores(p.as<Matrix>("scores")) {
    const auto times = p.value_or("times", std::vector<int>(scores.size(), 1));
    p.equal(times.size(), scores.size(), "router.json: the length of 'times'");
    Matrix rows;
    for (size_t i = 0; i < scores.size(); ++i) rows.insert(rows.end(), static_cast<size_t>(times[i]), scores[i]);
    scores = rows;
    const auto n = static_cast<int32_t>(scores.at(0).size());
    site = {n, n, p.value_or("groups", std::vector<int32_t>{static_cast<int32_t>(scores.size())})};
  }
  Matrix scores;
  OracleSite site;
};

// loss: its name. scores, times, groups: the logits. value: the loss for them. tolerance (1e-5). gate: the tensor that
// makes logits of x.
void worked_loss(const Promise& p) {
  const Given given(p);
  Trial t(p, given.site);
  t.identity(p.value_or<std::string>("gate", "gate")), t.set(given.scores), t.run();
  const auto name = p.as<std::string>("loss");
  p.near(t.loss(name), p.as<double>("value"), p.value_or("tolerance", 1e-5), "the loss '", name, "'");
}

// dL/dlogits = E / N p_j (f_j - sum_e f_e p_e): the shares f are constants, counted from the plan; in it weigh all
// choices of a token alike. loss: its name.
void balance_gradient(const Promise& p) {
  constexpr size_t kTokens = 9, kExperts = 3;
  const Matrix logits = drawn_rows(kTokens, kExperts, p.context.seed);
  Trial t(p, {kExperts, kExperts, {kTokens}});
  t.identity("gate"), t.set(logits);
  const Plan& plan = t.run();
  t.backward(t.only_loss(p.value_or<std::string>("loss", "balance")));
  Row f(kExperts);
  for (const int32_t e : plan.expert) f[static_cast<size_t>(e)] += 1.0 / static_cast<double>(plan.expert.size());
  for (size_t n = 0; n < kTokens; ++n) {
    const Row gate = softmax(to_row(logits[n]));
    for (size_t e = 0; e < kExperts; ++e)
      p.near(t.dx[n * kExperts + e], double{kExperts} / kTokens * gate[e] * (f[e] - dot(f, gate)), 1e-6,
             "the gradient at logit ", e, " of token ", n);
  }
}

// Mean squared log-sum-exp: value and gradient 2 lse p / N; a shift of all logits changes it and no weight.
void z_loss(const Promise& p) {
  constexpr size_t kTokens = 5, kExperts = 4;
  const Matrix logits = drawn_rows(kTokens, kExperts, p.context.seed);
  for (const float shift : {0.f, 3.f}) {
    Matrix shifted = logits;
    for (auto& row : shifted)
      for (float& v : row) v += shift;
    Trial t(p, {kExperts, kExperts, {kTokens}}), plain(p, {kExperts, kExperts, {kTokens}});
    for (Trial* each : {&t, &plain}) each->identity("gate");
    t.set(shifted), t.run(), plain.set(logits), plain.run();
    p.equal(t.experts(), plain.experts(), "the choice after a shift of all logits");
    for (size_t i = 0; i < t.last().weight.size(); ++i)
      p.near(t.last().weight[i], plain.last().weight[i], 1e-6, "a weight after a shift of all logits");
    double z = 0;
    auto lse = [&](size_t n) { return double{shifted[n][0]} - std::log(softmax(to_row(shifted[n]))[0]); };
    for (size_t n = 0; n < kTokens; ++n) z += lse(n) * lse(n) / kTokens;
    p.near(t.loss("z"), z, 1e-5 * (1 + z), "the loss 'z' after a shift of ", shift);
    t.backward(t.only_loss("z"));
    for (size_t n = 0; n < kTokens; ++n)
      for (size_t e = 0; e < kExperts; ++e)
        p.near(t.dx[n * kExperts + e], 2 * lse(n) * softmax(to_row(shifted[n]))[e] / kTokens, 1e-5,
               "the gradient at logit ", e, " of token ", n);
  }
}

double most(const std::vector<float>& v) {
  double m = 0;
  for (const float f : v) m = std::max(m, std::fabs(double{f}));
  return m;
}

// tensors: those that get no gradient, exactly. moving: those that must get one, so that something is shown.
// from: "task" (weights, output and input, no losses: the default), or the name of a loss, or "all".
// weight_is_one: every weight is the constant 1.
void no_gradient(const Promise& p) {
  Trial t = Trial::drawn(p, {5, 4, {16, 8}});
  const Plan& plan = t.run();
  const auto from = p.value_or<std::string>("from", "task");
  Random random(p.context.seed + 5);
  PlanGrad d = from == "task" || from == "all" ? random_grad(plan, random) : t.only_loss(from);
  if (from == "task") d.aux.clear();
  t.zero_grads(), t.backward(d);
  for (const auto& name : p.as<std::vector<std::string>>("tensors"))
    p.expect(most(t.tensor(name).grad) == 0, "'", name, "' gets a gradient of ", most(t.tensor(name).grad));
  for (const auto& name : p.value_or("moving", std::vector<std::string>{}))
    p.expect(most(t.tensor(name).grad) > 1e-4, "'", name, "' gets no gradient, which it should");
  if (p.value_or("weight_is_one", false))
    for (const float w : plan.weight) p.expect(w == 1, "a weight is ", w, ", not 1");
}

// tensors: those that training leaves as they are, and gives no gradient to move them by.
void frozen(const Promise& p) {
  Trial t = Trial::drawn(p, {5, 4, {16, 8}});
  Random random(p.context.seed + 6);
  const auto names = p.as<std::vector<std::string>>("tensors");
  std::map<std::string, std::vector<float>> start;
  for (const auto& name : names) start[name] = t.tensor(name).value;
  for (t.step = 0; t.step < 3; ++t.step) {
    t.draw(static_cast<uint64_t>(t.step) + 40);
    const Plan& plan = t.run();
    t.zero_grads(), t.backward(random_grad(plan, random)), t.after_step();
    for (const auto& name : names) {
      p.expect(most(t.tensor(name).grad) == 0, "'", name, "' gets a gradient of ", most(t.tensor(name).grad));
      p.expect(t.tensor(name).value == start[name], "step ", t.step, " changes '", name, "'");
    }
    t.run(SWY_SCORE);
    for (const auto& name : names) p.expect(t.tensor(name).value == start[name], "evaluation changes '", name, "'");
  }
}

}  // namespace

std::vector<Property> loss_oracles() {
  return {{"worked_loss", "Logits worked by hand give the loss worked by hand.", worked_loss},
          {"balance_gradient", "The balance loss is differentiated with its shares held fixed.", balance_gradient},
          {"z_loss", "The z-loss is the mean squared log-sum-exp, which sees a shift that no weight sees.", z_loss},
          {"no_gradient", "Where the equations have no gradient there is exactly none.", no_gradient},
          {"frozen", "Training leaves what is frozen bit by bit as it was.", frozen}};
}

}  // namespace swy::conform
