// Codebooks: which code is a token's, what it gives, and how it moves. Codes v [C, D]; the expert of a code is its
// number modulo E. Experts are those of the rig (rig.h).
#include <algorithm>
#include <cmath>
#include <functional>

#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

constexpr int64_t kWidth = 6;
const OracleSite kSite{kWidth, 4, {12, 8}};

// A router with a codebook whose codes are spread far enough that several of them are somebody's nearest.
struct CodeTrial : Trial {
  CodeTrial(const Promise& p, const std::string& codes, const OptionText& more = {})
      : Trial(p, kSite, more, Start::kDrawn), name(codes) {
    draw(name, 77, 1.5f);
  }
  int nearest(const Row& x) const {  // by brute force, ties to the lower
    const auto n = static_cast<int64_t>(const_cast<CodeTrial*>(this)->tensor(name).value.size()) / kWidth;
    Row near;
    for (int64_t c = 0; c < n; ++c) {
      Row apart = row_of(name, c, kWidth);
      add(-1, x, apart), near.push_back(-dot(apart, apart));
    }
    return largest(near, 1)[0];
  }
  Row code(int c) const { return row_of(name, c, kWidth); }
  const std::string name;
};

std::string codebook(const Promise& p) { return p.value_or<std::string>("codebook", "codebook"); }

Row run_expert(int e, const Row& x) {
  Row y;
  for (const double v : x) y.push_back(Rig::expert(e, v));
  return y;
}

Row of_token(const std::vector<float>& matrix, int32_t token) {
  return {matrix.begin() + token * kWidth, matrix.begin() + (token + 1) * kWidth};
}

void near_rows(const Promise& p, const Row& got, const Row& want, double tolerance, const std::string& what) {
  for (size_t i = 0; i < want.size(); ++i)
    p.near(got.at(i), want[i], tolerance * (1 + std::fabs(want[i])), what, "[", i, "]");
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

Row layer_norm(const Row& u, const Row& gain, const Row& bias) {
  double mean = 0, var = 0;
  for (const double v : u) mean += v / static_cast<double>(u.size());
  for (const double v : u) var += (v - mean) * (v - mean) / static_cast<double>(u.size());
  Row y;
  for (size_t i = 0; i < u.size(); ++i) y.push_back((u[i] - mean) / std::sqrt(var + 1e-5) * gain[i] + bias[i]);
  return y;
}

// Both paths of the described form: P sum of k softmax gates, and (1 - P) f(v) as output; the paths sum to 1, and each
// token costs k + 1 expert rows. gate, paths, codebook: tensors. k.
void code_paths(const Promise& p) {
  const int k = p.as<int>("k");
  CodeTrial t(p, codebook(p));
  const Plan& plan = t.run();
  p.equal(t.expert_rows() + std::ssize(plan.row), int64_t{k + 1} * t.tokens(), "the number of expert rows");
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const Row x = t.row(i), gate = softmax(linear(x, to_row(t.tensor("gate").value)));
    const Row paths = softmax(linear(x, to_row(t.tensor("paths").value)));
    const int code = t.nearest(x);
    const auto at = static_cast<size_t>(i);
    p.equal(t.experts()[at], largest(gate, k), "token ", i, "'s experts");
    for (int j = 0; j < k; ++j)
      p.near(t.weights()[at][static_cast<size_t>(j)], paths[0] * gate[static_cast<size_t>(t.experts()[at][j])], 1e-5,
             "token ", i, "'s weight ", j);
    Row want(kWidth);
    add(paths[1], run_expert(code % 4, t.code(code)), want);
    near_rows(p, of_token(plan.output, i), want, 3e-5, cat("token ", i, "'s output of the discrete path"));
  }
}

// The discrete path alone: the nearest code is what its expert reads, at weight 1 and one row per token; the gradient
// goes straight through it to the token (dq/dx = I) and none of it to the codes.
void straight_through_code(const Promise& p) {
  CodeTrial t(p, codebook(p));
  const Plan& plan = t.run();
  p.equal(t.expert_rows() + std::ssize(plan.row), int64_t{t.tokens()}, "the number of expert rows");
  std::set<int> used;
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const int code = t.nearest(t.row(i));
    used.insert(code);
    p.equal(t.experts()[static_cast<size_t>(i)], {code % 4}, "token ", i, "'s expert");
    p.equal(t.weights()[static_cast<size_t>(i)], {1.f}, "token ", i, "'s weight");
    p.equal(of_token(plan.expert_x, i), t.code(code), "what token ", i, "'s expert reads");
  }
  p.expect(used.size() > 1, "all tokens have one code: nothing is shown");
  Random random(p.context.seed);
  PlanGrad d;
  d.expert_x = drawn(t.x.size(), random);
  t.zero_grads(), t.backward(d);
  for (size_t i = 0; i < t.dx.size(); ++i)
    p.near(t.dx[i], d.expert_x[i], 1e-6, "the gradient that passes the code to x[", i, "]");
  for (const float g : t.tensor(t.name).grad) p.expect(g == 0, "the task's gradient reaches the codes");
}

// Codes move by the VQ loss alone: weight * 2 (v - x) / (T D) over a code's tokens, whatever else has a gradient.
void codebook_gradient(const Promise& p) {
  CodeTrial t(p, codebook(p));
  Random random(p.context.seed);
  PlanGrad d = random_grad(t.run(), random);
  const PlanGrad vq = t.only_loss("vq");
  for (size_t i = 0; i < d.aux.size(); ++i)
    if (vq.aux[i] == 1) d.aux[i] = 3;
  t.zero_grads(), t.backward(d);
  Row want(t.tensor(t.name).value.size());
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const int code = t.nearest(t.row(i));
    for (int64_t j = 0; j < kWidth; ++j)
      want[static_cast<size_t>(code * kWidth + j)] +=
          3 * 2 * (t.code(code)[static_cast<size_t>(j)] - t.row(i)[static_cast<size_t>(j)]) /
          static_cast<double>(t.tokens() * kWidth);
  }
  near_rows(p, to_row(t.tensor(t.name).grad), want, 1e-5, "the gradient of the codes");
}

// From `frozen` on the codes stand still, whatever an optimiser's momentum still does to the parameter, and one expert
// row per token is left. learning: a progress before that.
void frozen_codes(const Promise& p) {
  CodeTrial t(p, codebook(p));
  Random random(p.context.seed);
  t.progress = p.as<double>("learning");
  t.run(), t.zero_grads(), t.backward(random_grad(t.last(), random));
  const auto& held = t.tensor(t.name);
  p.expect(std::any_of(held.grad.begin(), held.grad.end(), [](float g) { return g != 0; }),
           "the codes have no gradient while they learn: nothing is shown");
  t.after_step();
  t.progress = p.as<double>("frozen");
  const int64_t before_rows = t.expert_rows();
  const Plan before = t.run();
  p.equal(t.expert_rows() - before_rows + std::ssize(before.row), int64_t{t.tokens()}, "the number of expert rows");
  t.zero_grads(), t.backward(random_grad(before, random));
  for (const float g : held.grad) p.expect(g == 0, "frozen codes get a gradient");
  t.draw(t.name, 5), t.after_step();
  const std::string text = before.difference(t.run(), 0);
  p.expect(text.empty(), "moving the parameter of the frozen codes changes the plan: ", text);
}

// Running means: after an update a code is the mean of what it was and of its tokens, weighed by its usage (1/C at the
// start), and a code used less than reset_below / C becomes a token of the batch. decay, reset_below. codebook, usage:
// tensors.
void code_means(const Promise& p) {
  const double decay = p.as<double>("decay"), least = p.as<double>("reset_below");
  CodeTrial t(p, codebook(p), {{"ema_decay", Json(decay).dump()}, {"reset_below", Json(least).dump()}});
  const auto usage_name = p.as<std::string>("usage");
  auto& codes = t.tensor(t.name).value;
  auto& usage = t.tensor(usage_name).value;
  const size_t n = usage.size();
  std::fill(usage.begin(), usage.end(), 1 / static_cast<float>(n));
  std::fill_n(codes.begin(), kWidth, 50.f);  // code 0 is nobody's
  const Row old = to_row(codes);
  std::vector<Row> sum(n, Row(kWidth));
  Row share(n);
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const auto c = static_cast<size_t>(t.nearest(t.row(i)));
    share[c] += 1.0 / t.tokens(), add(1.0 / t.tokens(), t.row(i), sum[c]);
  }
  t.run(), t.after_step();
  int followed = 0;
  for (size_t c = 1; c < n; ++c) {
    const double even = 1 / static_cast<double>(n), used = decay * even + (1 - decay) * share[c];
    if (used < least * even) continue;
    ++followed;
    p.near(usage[c], used, 1e-6, "the usage of code ", c);
    Row want(kWidth);
    for (size_t j = 0; j < kWidth; ++j) want[j] = (decay * even * old[c * kWidth + j] + (1 - decay) * sum[c][j]) / used;
    near_rows(p, t.code(static_cast<int>(c)), want, 1e-4, cat("code ", c));
  }
  p.expect(followed > 0, "every code was reset: nothing is shown");
  bool is_token = false;
  for (int32_t i = 0; i < t.tokens(); ++i) is_token = is_token || t.code(0) == t.row(i);
  p.expect(is_token, "the dead code is no token of the batch");
  p.near(usage[0], 1 / static_cast<double>(n), 1e-7, "the usage of the code that was reset");
}

// What the released form reads: q = (1 - 2 l) x + l v, then a layer norm, the expert, the same layer norm again.
Row released(const Row& q, int code, const Row& gain, const Row& bias) {
  return layer_norm(run_expert(code % 4, layer_norm(q, gain, bias)), gain, bias);
}

// The released form with both paths: one continuous expert, the largest cosine gate at weight 1 of its path, and the
// layer norms. lambda. gain, bias, paths, paths_bias, gate, codebook: tensors.
void released_paths(const Promise& p) {
  const double l = p.as<double>("lambda");
  CodeTrial t(p, codebook(p), {{"lambda", Json(l).dump()}});
  auto value = [&](const char* name) { return to_row(t.tensor(name).value); };
  const Row gain = value("ln_gain"), bias = value("ln_bias");
  const Plan& plan = t.run();
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const Row x = t.row(i), paths = softmax(linear(x, value("paths"), value("paths_bias")));
    Row logits, q(kWidth), want(kWidth);
    for (int e = 0; e < 4; ++e) {
      const Row r = t.row_of("gate", e, kWidth);
      logits.push_back(dot(x, r) / std::sqrt(dot(r, r) + 1e-6));
    }
    p.equal(t.experts()[static_cast<size_t>(i)], largest(logits, 1), "token ", i, "'s expert");
    p.near(t.weights()[static_cast<size_t>(i)][0], paths[0], 1e-5, "token ", i, "'s weight");
    const int code = t.nearest(x);
    add(1 - 2 * l, x, q), add(l, t.code(code), q);
    add(paths[1], released(q, code, gain, bias), want);
    near_rows(p, of_token(plan.output, i), want, 1e-4, cat("token ", i, "'s output of the discrete path"));
  }
}

// dq/dx = (1 - l) I, although q = (1 - 2 l) x + l v: the discrete path's gradient is that of its function at q, times
// 1 - l. lambda.
void scaled_code_gradient(const Promise& p) {
  const double l = p.as<double>("lambda");
  CodeTrial t(p, codebook(p), {{"lambda", Json(l).dump()}});
  const Row gain = to_row(t.tensor("ln_gain").value), bias = to_row(t.tensor("ln_bias").value);
  Random random(p.context.seed);
  t.run();
  PlanGrad d;
  d.output = drawn(t.x.size(), random);
  t.zero_grads(), t.backward(d);
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const int code = t.nearest(t.row(i));
    Row q(kWidth), want(kWidth);
    add(1 - 2 * l, t.row(i), q), add(l, t.code(code), q);
    add(1 - l, pulled_back([&](const Row& u) { return released(u, code, gain, bias); }, q, of_token(d.output, i)),
        want);
    near_rows(p, of_token(t.dx, i), want, 2e-3, cat("the gradient at token ", i));
  }
}

// Where the code has no share in what is read, it selects the expert and nothing else: moving the codes without
// changing whose is nearest changes nothing.
void code_only_selects(const Promise& p) {
  CodeTrial t(p, codebook(p));
  std::vector<int> before;
  for (int32_t i = 0; i < t.tokens(); ++i) before.push_back(t.nearest(t.row(i)));
  const Plan plan = t.run();
  for (float& v : t.tensor(t.name).value) v += 1e-4f;
  for (int32_t i = 0; i < t.tokens(); ++i)
    if (t.nearest(t.row(i)) != before[static_cast<size_t>(i)]) p.fail("the seed puts a token between two codes");
  const Plan after = t.run();
  p.expect(plan.output == after.output && plan.expert == after.expert && plan.weight == after.weight,
           "moving the codes changes the plan");
}

}  // namespace

std::vector<Property> code_oracles() {
  return {
      {"code_paths", "Tokens go to their experts, and their nearest codes to theirs, by paths that sum to 1.",
       code_paths},
      {"straight_through_code", "The nearest code is what its expert reads, and gradients pass it as they are.",
       straight_through_code},
      {"codebook_gradient", "Codes move by the VQ loss alone.", codebook_gradient},
      {"frozen_codes", "Frozen codes stand still.", frozen_codes},
      {"code_means", "Codes are running means of their tokens, and dead ones start again.", code_means},
      {"released_paths", "The forward pass is the released one.", released_paths},
      {"scaled_code_gradient", "Gradients pass the quantiser times 1 - lambda.", scaled_code_gradient},
      {"code_only_selects", "Without a share in the input a code selects and does nothing else.", code_only_selects}};
}

}  // namespace swy::conform
