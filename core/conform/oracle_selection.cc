// Who is chosen, and what a choice weighs.
#include <algorithm>
#include <cmath>

#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

constexpr double kMargin = 1e-5;  // logits closer than this may be ranked either way in single precision

// What choosing k of these logits weighs, by expert; the choice itself is made of `chosen`.
double weight_of(const Promise& p, const std::string& form, const Row& logits, const std::vector<int>& chosen, int e) {
  const auto at = static_cast<size_t>(e);
  if (form == "sigmoid") return sigmoid(logits[at]);
  if (form == "uniform") return 1 / static_cast<double>(chosen.size());
  if (form == "all") return softmax(logits)[at];
  if (form == "chosen" || form == "sigmoid_renormalised") {
    double sum = 0;
    auto score = [&](int i) {
      const double z = logits[static_cast<size_t>(i)];
      return form == "chosen" ? std::exp(z - logits[at]) : sigmoid(z);
    };
    for (const int i : chosen) sum += score(i);
    return score(e) / sum;
  }
  p.fail("router.json: 'weights' is all, chosen, sigmoid, sigmoid_renormalised or uniform, not '", form, "'");
}

// Logits x gate + bias; "expert_rows": the gate is [E, D].
Row logits_of(const Promise& p, Trial& t, int32_t token) {
  const auto gate = to_row(t.tensor(p.value_or<std::string>("gate", "gate")).value);
  const Row x = t.row(token), bias = p.has("bias") ? to_row(t.tensor(p.as<std::string>("bias")).value) : Row{};
  if (!p.value_or("expert_rows", false)) return linear(x, gate, bias);
  Row z;
  for (size_t e = 0; e < gate.size() / x.size(); ++e) {
    const auto from = gate.begin() + static_cast<std::ptrdiff_t>(e * x.size());
    z.push_back(dot(x, Row(from, from + static_cast<std::ptrdiff_t>(x.size()))));
  }
  return z;
}

void expect_choice(const Promise& p, const std::vector<int>& experts, const std::vector<float>& weights,
                   const Row& logits, int k, int32_t token, int& flips) {
  const std::vector<int> best = largest(logits, static_cast<int>(logits.size()));
  std::vector<int> want(best.begin(), best.begin() + std::min<std::ptrdiff_t>(k, std::ssize(best))), got = experts;
  std::sort(want.begin(), want.end()), std::sort(got.begin(), got.end());
  if (got != want) {
    const auto last = static_cast<size_t>(k);
    const bool near = last < best.size() &&
                      logits[static_cast<size_t>(best[last - 1])] - logits[static_cast<size_t>(best[last])] < kMargin;
    p.expect(near && got.size() == want.size(), "token ", token, " goes to experts ", Json(got).dump(),
             ", its largest logits are those of ", Json(want).dump());
    ++flips;
  }
  const auto form = p.value_or<std::string>("weights", "chosen");
  for (size_t i = 0; i < experts.size(); ++i)
    p.near(weights[i], weight_of(p, form, logits, experts, experts[i]), 1e-5, "token ", token, "'s weight of expert ",
           experts[i]);
}

// gate, expert_rows, bias: tensors of the logits. k: experts per token. weights: softmax over "all" experts or the
// "chosen" ones, "sigmoid", "sigmoid_renormalised", "uniform". phase.
void top_k(const Promise& p) {
  const int k = p.value_or("k", 1);
  int flips = 0;
  for (const int32_t phase : p.phases()) {
    Trial t = Trial::drawn(p, {5, 6, {20, 12}});
    t.run(phase);
    for (int32_t i = 0; i < t.tokens(); ++i)
      expect_choice(p, t.experts()[static_cast<size_t>(i)], t.weights()[static_cast<size_t>(i)], logits_of(p, t, i), k,
                    i, flips);
    if (p.has("bias")) continue;
    std::fill(t.x.begin(), t.x.end(), 0.f);
    t.run(phase);
    std::vector<int> lowest = largest(Row(6), k);
    for (std::vector<int> chosen : t.experts()) {
      std::sort(chosen.begin(), chosen.end());
      p.equal(chosen, lowest, "among equal logits the choice");
    }
  }
  p.context.note("flips within the margin", flips);
}

// scores: logits by token. experts, tokens: the list that is to come of them. weights: likewise, if given. gate. phase.
void worked_assignment(const Promise& p) {
  const auto scores = p.as<Matrix>("scores");
  const auto n = static_cast<int32_t>(scores.at(0).size());
  for (const int32_t phase : p.phases()) {
    Trial t(p, {n, n, {static_cast<int32_t>(scores.size())}});
    t.identity(p.value_or<std::string>("gate", "gate")), t.set(scores);
    const Plan& plan = t.run(phase);
    p.equal(plan.expert, p.as<std::vector<int>>("experts"), "the list of experts");
    p.equal(plan.row, p.as<std::vector<int>>("tokens"), "the list of tokens");
    const Row weights = p.value_or("weights", to_row(plan.weight));
    p.equal(plan.weight.size(), weights.size(), "the number of weights");
    for (size_t i = 0; i < weights.size(); ++i) p.near(plan.weight[i], weights[i], 1e-5, "weight ", i);
  }
}

// varying: some tokens have fewer experts than others. phase.
void weights_sum(const Promise& p) {
  for (const int32_t phase : p.phases()) {
    Trial t = Trial::drawn(p, {6, 4, {100, 60}});
    t.run(phase);
    size_t most = 0, least = 1000;
    for (const auto& weights : t.weights()) {
      double sum = 0;
      for (const float w : weights) sum += w;
      p.near(sum, 1, 1e-5, "a sum of weights");
      most = std::max(most, weights.size()), least = std::min(least, weights.size());
    }
    if (p.value_or("varying", false)) p.expect(least < most, "every token has ", most, " experts: nothing is shown");
  }
}

// of: "x", or a tensor whose rows are lengthened. weights: false where weights, not choices, must depend on the scale.
// phase.
void scale_invariant(const Promise& p) {
  const auto of = p.as<std::string>("of");
  const bool weights_too = p.value_or("weights", true);
  for (const int32_t phase : p.phases()) {
    Trial t = Trial::drawn(p, {6, 8, {12, 5}});
    t.run(phase);
    const auto experts = t.experts();
    const Matrix weights = t.weights();
    std::vector<float>& scaled = of == "x" ? t.x : t.tensor(of).value;
    const size_t rows = of == "x" ? static_cast<size_t>(t.tokens()) : 8, width = scaled.size() / rows;
    for (size_t i = 0; i < scaled.size(); ++i) scaled[i] *= 2 + static_cast<float>(i / width % 5);
    t.run(phase);
    p.equal(t.experts(), experts, "the choice after scaling ", of);
    double moved = 0;
    for (size_t i = 0; i < weights.size(); ++i)
      for (size_t j = 0; j < weights[i].size(); ++j)
        moved = std::max(moved, std::fabs(double{t.weights()[i][j]} - double{weights[i][j]}));
    p.expect((moved <= 1e-5) == weights_too, "scaling ", of, " moved a weight by ", moved);
  }
}

// of: "scores", the logits of a token by one number, or a tensor by one number. gate. steps: updates that are made
// between looks. state: a tensor that has to move alike.
void shift_invariant(const Promise& p) {
  const auto of = p.as<std::string>("of");
  const auto steps = p.value_or("steps", 0);
  Matrix scores = drawn_rows(16, 4, p.context.seed);
  Trial plain(p, {4, 4, {16}}), shifted(p, {4, 4, {16}});
  plain.set(scores);
  if (of == "scores") {
    for (size_t i = 0; i < scores.size(); ++i)
      for (float& v : scores[i]) v += static_cast<float>(i % 3);
  } else {
    plain.draw(of, 3, 0.5f), shifted.tensor(of).value = plain.tensor(of).value;
    for (float& v : shifted.tensor(of).value) v += 0.5f;
  }
  shifted.set(scores);
  for (Trial* t : {&plain, &shifted}) t->identity(p.value_or<std::string>("gate", "gate"));
  for (int step = 0; step <= steps; ++step) {
    const std::string text =
        (plain.run(), shifted.run(),
         plain.weights() == shifted.weights() ? std::string() : plain.last().difference(shifted.last(), 1e-5));
    const bool plan_differs = plain.experts() != shifted.experts() || text.rfind("weight", 0) == 0;
    p.expect(!plan_differs, "after ", step, " updates a shift of ", of, " changes the plan: ", text);
    if (step == steps) break;
    plain.after_step(), shifted.after_step();
    if (!p.has("state")) continue;
    const auto& a = plain.tensor(p.as<std::string>("state")).value;
    const auto& b = shifted.tensor(p.as<std::string>("state")).value;
    for (size_t i = 0; i < a.size(); ++i) p.near(b[i], a[i], 1e-5, "after ", step + 1, " updates state ", i);
  }
}

// tensor: the bias. sign: what it is multiplied by before it is added to the scores (1). weights: as in top_k. k.
void selection_bias(const Promise& p) {
  const auto name = p.as<std::string>("tensor"), form = p.value_or<std::string>("weights", "sigmoid_renormalised");
  const double sign = p.value_or("sign", 1.0);
  const int k = p.value_or("k", 2);
  Trial t = Trial::drawn(p, {5, 4, {40}});
  std::fill(t.tensor(name).value.begin(), t.tensor(name).value.end(), 0.f);
  t.run(SWY_SCORE);
  const auto plain = t.experts();
  t.tensor(name).value = {0.3f, -0.2f, 0.1f, 0};
  t.run(SWY_SCORE);
  p.expect(t.experts() != plain, "a bias of 0.3 changes no choice");
  for (int32_t i = 0; i < t.tokens(); ++i) {
    const Row logits = logits_of(p, t, i);
    Row ranked;
    for (size_t e = 0; e < 4; ++e)
      ranked.push_back((form == "chosen" ? logits[e] : sigmoid(logits[e])) + sign * double{t.tensor(name).value[e]});
    const std::vector<int> chosen = t.experts()[static_cast<size_t>(i)];
    std::vector<int> want = largest(ranked, k), got = chosen;
    std::sort(want.begin(), want.end()), std::sort(got.begin(), got.end());
    p.equal(got, want, "token ", i, "'s choice by score and bias");
    for (size_t j = 0; j < chosen.size(); ++j)
      p.near(t.weights()[static_cast<size_t>(i)][j], weight_of(p, form, logits, chosen, chosen[j]), 1e-5, "token ", i,
             "'s weight, which the bias has no part in,");
  }
  p.expect(!t.tensor(name).is_param, "the bias '", name, "' is a parameter that the optimiser moves");
}

// phase.
void ignores_content(const Promise& p) {
  for (const int32_t phase : p.phases()) {
    Trial t = Trial::drawn(p, {6, 4, {16, 10}});
    const Plan before = t.run(phase);
    t.draw(p.context.seed + 1, 9), std::reverse(t.residual.begin(), t.residual.end());
    const std::string text = before.difference(t.run(phase), 0);
    p.expect(text.empty(), "other contents of the same tokens change the plan: ", text);
  }
}

// options: those that go together ill. A refusal has a reason.
void refuses(const Promise& p) {
  try {
    Trial(p, {4, 4, {8}});
  } catch (const Error& e) {
    p.expect(e.kind == Kind::kUsage, "the refusal is no usage error: ", e.what());
    return;
  }
  p.fail("these options are accepted");
}

// temperature: what cosines are divided by. tensors: those that make scores of x, which are drawn.
void cosine_scores(const Promise& p) {
  const double bound = std::exp(2 / p.value_or("temperature", 1.0)) + 1e-4;
  Trial t(p, {6, 4, {50}});
  uint64_t seed = p.context.seed;
  for (const auto& name : p.as<std::vector<std::string>>("tensors")) t.draw(name, ++seed);
  t.draw(4, 30), t.run();
  double most = 0;
  for (const auto& w : t.weights()) {
    p.equal(w.size(), size_t{4}, "the number of weights of a token");
    const auto [low, high] = std::minmax_element(w.begin(), w.end());
    most = std::max(most, double{*high / *low});
  }
  p.expect(most <= bound, "two gates of a token are in a ratio of ", most, "; cosines allow ", bound);
  p.expect(most > 1.01, "the gates of a token are equal: nothing is shown");
}

// phase.
void one_expert(const Promise& p) {
  for (const int32_t phase : p.phases()) {
    Trial t = Trial::drawn(p, {4, 1, {8, 5}});
    const Plan& plan = t.run(phase);
    p.expect(plan.mix.size() + plan.weight.size() > 0, "the plan is empty");
    if (plan.mix.empty()) p.equal(plan.weight.size(), size_t{13}, "the number of entries for 13 tokens");
    for (const auto* numbers : {&plan.mix, &plan.weight})
      for (const float w : *numbers) p.near(w, 1, 1e-6, "the weight of the only expert");
  }
}

// tensors: name -> the axis that counts experts, 0 or 1. phase.
void expert_permutation(const Promise& p) {
  constexpr size_t kOrder[] = {2, 0, 4, 1, 3};  // expert e becomes kOrder[e]
  const Json axes = p.value("tensors");
  for (const int32_t phase : p.phases()) {
    Trial plain = Trial::drawn(p, {6, 5, {14, 9}}), permuted = Trial::drawn(p, {6, 5, {14, 9}});
    for (const auto& [name, axis] : axes.items()) {
      const auto& from = plain.tensor(name).value;
      auto& to = permuted.tensor(name).value;
      const size_t other = from.size() / 5;
      for (size_t e = 0; e < 5; ++e)
        for (size_t i = 0; i < other; ++i)
          axis == 1 ? to[i * 5 + kOrder[e]] = from[i * 5 + e] : to[kOrder[e] * other + i] = from[e * other + i];
    }
    plain.run(phase), permuted.run(phase);
    for (size_t t = 0; t < static_cast<size_t>(plain.tokens()); ++t) {
      std::vector<std::pair<int, float>> want, got;
      for (size_t j = 0; j < plain.experts()[t].size(); ++j)
        want.emplace_back(kOrder[plain.experts()[t][j]], plain.weights()[t][j]);
      for (size_t j = 0; j < permuted.experts()[t].size(); ++j)
        got.emplace_back(permuted.experts()[t][j], permuted.weights()[t][j]);
      std::sort(want.begin(), want.end()), std::sort(got.begin(), got.end());
      p.equal(got.size(), want.size(), "token ", t, "'s number of experts");
      for (size_t j = 0; j < want.size(); ++j) {
        p.equal(got[j].first, want[j].first, "token ", t, "'s expert in another order of experts");
        p.near(got[j].second, want[j].second, 1e-5, "token ", t, "'s weight in another order of experts");
      }
    }
    for (size_t i = 0; i < plain.last().aux.size(); ++i)
      p.near(permuted.last().aux[i], plain.last().aux[i], 1e-5, "the loss '", plain.needs().aux[i].name, "'");
  }
}

}  // namespace

std::vector<Property> selection_oracles() {
  return {
      {"top_k", "The k largest logits are chosen, ties to the lower expert, and weigh what the gate says.", top_k},
      {"worked_assignment", "Scores worked by hand give the list worked by hand.", worked_assignment},
      {"weights_sum", "The weights of a token sum to 1.", weights_sum},
      {"scale_invariant", "The length of a token, or of an expert's vector, changes no choice and no weight.",
       scale_invariant},
      {"shift_invariant", "One number added to all scores changes nothing.", shift_invariant},
      {"selection_bias", "The bias decides who is chosen and has no part in what a choice weighs.", selection_bias},
      {"ignores_content", "What a token holds changes nothing in the plan.", ignores_content},
      {"refuses", "Options that contradict each other are refused with a reason.", refuses},
      {"cosine_scores", "Scores lie in [-1, 1], so gates are at most e^(2 / temperature) apart.", cosine_scores},
      {"one_expert", "A single expert has weight 1: the block is a dense one.", one_expert},
      {"expert_permutation", "Another order of the experts gives the same plan in that order.", expert_permutation}};
}

}  // namespace swy::conform
