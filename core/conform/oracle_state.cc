// What moves by other rules than the gradient: biases, prices, means, penalties, and k itself.
#include <algorithm>
#include <cmath>

#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

std::vector<float>& buffer(const Promise& p, Trial& t) { return t.tensor(p.as<std::string>("tensor")).value; }

// One step of a bias is exactly `rate`, up below the mean load, down above it, 0 at the mean; entries that were refused
// count as load. tensor. until: the progress from which it stays, if any.
void bias_step(const Promise& p) {
  const auto u = p.as<float>("rate");
  Trial t(p, {4, 4, {5}});
  t.run();
  const std::vector<float> start = buffer(p, t);
  t.update({1, 4, 2, 0}, {0, 0, 0, 1});  // loads 1, 4, 2, 1; the mean is 2
  std::vector<float> want = start;
  want[0] += u, want[1] -= u, want[3] += u;
  p.equal(buffer(p, t), want, "the bias after loads of 1, 4, 2 and 1");
  t.run(SWY_SCORE);
  p.equal(buffer(p, t), want, "the bias after an evaluation");
  if (!p.has("until")) return;
  t.progress = p.as<double>("until");
  t.run(), t.update({8, 0, 0, 0});
  p.equal(buffer(p, t), want, "the bias after its share of training");
}

// The penalty's weight is multiplied by exactly `factor` where more than k entries per token were offered, else
// divided. tensor, factor, gate.
void multiplier_step(const Promise& p) {
  const auto factor = p.as<float>("factor");
  Trial t(p, {6, 4, {12}});
  std::fill(t.x.begin(), t.x.end(), 1.f);
  std::vector<float>& gate = t.tensor(p.value_or<std::string>("gate", "gate")).value;
  auto step = [&](bool dense) {
    for (size_t i = 0; i < gate.size(); ++i) gate[i] = dense || i % 4 == 0 ? 1.f : -1.f;  // all experts, or one
    t.run();
    const std::vector<int> load = t.loads();
    t.update({load.begin(), load.end()});
    return buffer(p, t).at(0);
  };
  const float start = buffer(p, t).at(0);
  p.near(step(true), start * factor, 1e-6 * start, "lambda after a step with all experts");
  p.near(step(false), start, 1e-6 * start, "lambda after one that is sparse enough");
  p.near(step(false), start / factor, 1e-6 * start, "lambda after a second one");
  const float now = buffer(p, t).at(0);
  t.run(SWY_SCORE);
  p.equal(buffer(p, t).at(0), now, "lambda after an evaluation");
}

// The worked case of Quantile Balancing: s = (.9,.5), (.8,.7), (.7,.2), (.6,.45) with k = 1. beta starts at 0, alpha
// are the second scores, beta becomes (.15, 0), and the loads go from (4, 0) to (2, 2) with a total of 2.75 once the
// token at the quantile counts as out. tensor, gate.
void quantile_step(const Promise& p) {
  const Matrix s = {{.9f, .5f}, {.8f, .7f}, {.7f, .2f}, {.6f, .45f}};
  Trial t(p, {2, 2, {4}});
  t.identity(p.value_or<std::string>("gate", "gate")), t.set(s), t.run();
  p.equal(t.loads(), {4, 0}, "the load at beta = 0");
  t.after_step();
  p.near(buffer(p, t)[0], 0.15, 1e-6, "beta of the first expert"),
      p.near(buffer(p, t)[1], 0, 1e-6, "beta of the second");
  buffer(p, t)[0] += 1e-5f;  // the strict rule
  t.run();
  p.equal(t.loads(), {2, 2}, "the load at the quantile");
  double total = 0;
  for (size_t i = 0; i < t.last().row.size(); ++i)
    total += s[static_cast<size_t>(t.last().row[i])][static_cast<size_t>(t.last().expert[i])];
  p.near(total, 2.75, 1e-6, "the total score");
}

// With the plain mean, an expert is the mean of all tokens it was ever given; one that got none keeps its start.
// tensor.
void running_mean(const Promise& p) {
  Trial t(p, {3, 4, {16}});
  buffer(p, t) = {1, 0, 0, 0, 1, 0, 0, 0, 1, -1, -1, -1};
  std::vector<Row> sum(4, Row(3));
  std::vector<int> n(4);
  for (uint64_t step = 0; step < 4; ++step) {
    t.draw(step);
    for (float& v : t.x) v = std::fabs(v);  // nobody is near the last expert
    t.run();
    for (size_t i = 0; i < t.last().row.size(); ++i) {
      const auto e = static_cast<size_t>(t.last().expert[i]);
      ++n[e], add(1, t.row(t.last().row[i]), sum[e]);
    }
    t.after_step();
  }
  p.expect(n[0] * n[1] * n[2] > 0 && n[3] == 0, "the loads are ", Json(n).dump(), ": nothing is shown");
  for (size_t e = 0; e < 4; ++e)
    for (size_t j = 0; j < 3; ++j)
      p.near(buffer(p, t)[e * 3 + j], n[e] ? sum[e][j] / n[e] : -1, 1e-5, "mean ", e, "[", j, "]");
}

// Cutoffs are, at the first update, the batch's own (the n/E-th largest sigmoid score), and then a running mean of them
// that keeps `decay`. tensor, decay, gate.
void running_cutoff(const Promise& p) {
  const double decay = p.as<double>("decay");
  Trial t(p, {2, 2, {8}}, {{"decay", Json(decay).dump()}});
  t.identity(p.value_or<std::string>("gate", "gate"));
  auto own = [&] {
    Row r;
    for (int i = 0; i < 8; ++i) r.push_back(sigmoid(t.row(i)[0]));
    std::sort(r.begin(), r.end(), std::greater<>());
    return r[3];
  };
  t.draw(1), t.run(), t.after_step();
  const double first = own();
  p.near(buffer(p, t)[0], first, 1e-6, "the first cutoff");
  t.draw(2), t.run(), t.after_step();
  p.near(buffer(p, t)[0], decay * first + (1 - decay) * own(), 1e-6, "the second cutoff");
}

// k(s) = first + round((last - first) s) of E = 4 experts, s the share of training: never falling. first, last; score:
// k in evaluation, set by the option k_eval.
void growing_k(const Promise& p) {
  const int first = p.as<int>("first"), last = p.as<int>("last");
  Trial t = Trial::drawn(p, {6, 4, {12, 5}});
  size_t before = 0;
  for (const double progress : {0.0, 0.24, 0.26, 0.5, 0.74, 0.76, 1.0}) {
    t.progress = progress;
    const size_t entries = t.run().row.size();
    p.equal(entries, 17 * static_cast<size_t>(first + std::lround((last - first) * progress)),
            "at a share of training of ", progress, " the number of entries of 17 tokens");
    p.expect(entries >= before, "k falls"), before = entries;
    for (const auto& weights : t.weights()) {
      double sum = 0;
      for (const float w : weights) sum += w;
      p.near(sum, 1, 1e-5, "a sum of weights");
    }
  }
  Trial slim = Trial::drawn(p, {6, 4, {12, 5}}, {{"k_eval", "1"}});
  slim.progress = 1;
  p.equal(slim.run(SWY_SCORE).row.size(), size_t{17}, "with k_eval = 1 the number of entries");
}

// The gate is a function of the one trained vector v: U = relu(v A + a) Z + z, cut into rows of D weights and a bias.
// embedding v, inner A and a, outer Z and z: tensors. k.
void hyper_gate(const Promise& p) {
  const int k = p.as<int>("k");
  Trial t = Trial::drawn(p, {6, 4, {12}});
  auto value = [&](const char* key) { return to_row(t.tensor(p.as<std::string>(key)).value); };
  Row inner = linear(value("embedding"), value("inner"), value("inner_bias"));
  for (double& v : inner) v = std::max(v, 0.0);
  const Row u = linear(inner, value("outer"), value("outer_bias"));
  t.run();
  for (int32_t i = 0; i < t.tokens(); ++i) {
    Row logits, chosen;
    for (std::ptrdiff_t e = 0; e < 4; ++e) {
      const auto of = u.begin() + e * 7;
      logits.push_back(dot(t.row(i), Row(of, of + 6)) + of[6]);
    }
    const std::vector<int> best = largest(logits, k);
    for (const int e : best) chosen.push_back(logits[static_cast<size_t>(e)]);
    const Row weights = softmax(chosen);
    const auto at = static_cast<size_t>(i);
    p.equal(t.experts()[at], best, "token ", i, "'s choice");
    for (size_t j = 0; j < best.size(); ++j) p.near(t.weights()[at][j], weights[j], 1e-4, "token ", i, "'s weight ", j);
  }
}

}  // namespace

std::vector<Property> state_oracles() {
  return {{"bias_step", "A step of the bias is exactly its rate.", bias_step},
          {"multiplier_step", "Lambda moves by exactly its factor.", multiplier_step},
          {"quantile_step", "The worked case of quantile balancing comes out as worked.", quantile_step},
          {"running_mean", "An expert is the mean of the tokens it was given.", running_mean},
          {"running_cutoff", "Cutoffs are a running mean of the batches' own.", running_cutoff},
          {"growing_k", "k grows from its first to its last value and never falls.", growing_k},
          {"hyper_gate", "The gate is a function of one vector and of a fixed network.", hyper_gate}};
}

}  // namespace swy::conform
