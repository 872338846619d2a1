// How many tokens an expert gets.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/conform/oracle.h"

namespace swy::conform {
namespace {

// per_token: experts per token (1), so that a pool of n tokens has n * per_token entries, evenly over the experts, the
// first of which take what is left over ("remainder": "first"), or any ("any"). Where experts choose, each takes its
// share of n * per_token / E, rounded "up" or "down".
// pool: "group" or "batch". gate: the tensor that makes scores of x. phase.
void exact_loads(const Promise& p) {
  const OracleSite site{4, 4, {16, 12, 10, 3}};
  const auto pool = p.value_or<std::string>("pool", "group");
  const auto remainder = p.value_or<std::string>("remainder", "first");
  const int per_token = p.value_or("per_token", 1);
  for (const int32_t phase : p.phases())
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      Trial t(p, site);
      if (p.has("gate")) t.identity(p.as<std::string>("gate"));
      t.draw(seed), t.run(phase);
      std::vector<std::pair<int32_t, int32_t>> pools;
      int32_t from = 0;
      for (const int32_t n : site.groups) pools.emplace_back(from, from + n), from += n;
      if (pool == "batch") pools = {{0, from}};
      for (const auto& [begin, end] : pools) {
        std::vector<int> n = t.loads(begin, end);
        const int want = (end - begin) * per_token;
        std::vector<int> share(4, want / 4);
        for (int e = 0; e < (remainder == "up" && want % 4 ? 4 : remainder == "down" ? 0 : want % 4); ++e)
          ++share[static_cast<size_t>(e)];
        if (remainder == "any") std::sort(n.rbegin(), n.rend());
        p.equal(n, share, "the load of tokens ", begin, " to ", end);
      }
    }
}

// A stationary stream in which expert 0 is everybody's favourite: the load violation max/mean - 1 of fresh batches
// starts above `before` and ends under `after`, the mean of 20 of them in evaluation. same: every step has the same
// tokens. steps, lean (1.5, what expert 0 has more), gate, per_token (1).
void balances(const Promise& p) {
  constexpr int32_t kTokens = 256, kExperts = 4;
  const auto steps = p.value_or("steps", 150);
  const bool same = p.value_or("same", false);
  Trial t(p, {kExperts, kExperts, {kTokens}});
  t.identity(p.value_or<std::string>("gate", "gate"));
  auto batch = [&](int step) {
    t.draw(same ? 1 : static_cast<uint64_t>(step) + 1, 1);
    for (size_t n = 0; n < kTokens; ++n) t.x[n * kExperts] += p.value_or("lean", 1.5f);
  };
  auto violation = [&](const std::vector<int>& load) {
    return *std::max_element(load.begin(), load.end()) / (kTokens * p.value_or("per_token", 1.0) / kExperts) - 1;
  };
  double before = 0, after = 0;
  for (t.step = 0; t.step < steps; ++t.step) {
    batch(static_cast<int>(t.step)), t.run();
    if (t.step == 0) before = violation(t.loads());
    const std::vector<int> load = t.loads();
    t.update({load.begin(), load.end()});
  }
  for (int fresh = 0; fresh < 20; ++fresh)
    batch(same ? 0 : 10000 + fresh), t.run(SWY_SCORE), after += violation(t.loads()) / 20;
  p.context.note("violation before", before), p.context.note("violation after", after);
  p.expect(before > p.value_or("before", 1.0), "the first batch has a load violation of ", before,
           " only: nothing is shown");
  p.expect(std::fabs(after) < p.value_or("after", 0.35), "after ", steps, " steps the load violation is ", after);
}

// The largest sum of score[t][c] with places[c] rows for column c and one column for each row: shortest augmenting
// paths (Jonker and Volgenant's form of the Hungarian method) over rows and single places.
double best_total(const Matrix& score, const std::vector<int>& places) {
  std::vector<int> column;
  for (size_t c = 0; c < places.size(); ++c)
    column.insert(column.end(), static_cast<size_t>(places[c]), static_cast<int>(c));
  const size_t n = score.size();
  auto cost = [&](size_t i, size_t j) { return -double{score[i - 1][static_cast<size_t>(column[j - 1])]}; };
  Row u(n + 1), v(n + 1);
  std::vector<size_t> owner(n + 1), way(n + 1);
  for (size_t i = 1; i <= n; ++i) {
    owner[0] = i;
    size_t at = 0;
    Row least(n + 1, 1e300);
    std::vector<bool> used(n + 1);
    do {
      used[at] = true;
      const size_t from = owner[at];
      double delta = 1e300;
      size_t next = 0;
      for (size_t j = 1; j <= n; ++j) {
        if (used[j]) continue;
        const double reduced = cost(from, j) - u[from] - v[j];
        if (reduced < least[j]) least[j] = reduced, way[j] = at;
        if (least[j] < delta) delta = least[j], next = j;
      }
      for (size_t j = 0; j <= n; ++j) {
        if (used[j])
          u[owner[j]] += delta, v[j] -= delta;
        else
          least[j] -= delta;
      }
      at = next;
    } while (owner[at] != 0);
    for (; at != 0; at = way[at]) owner[at] = owner[way[at]];
  }
  double total = 0;
  for (size_t j = 1; j <= n; ++j) total -= cost(owner[j], j);
  return total;
}

// The total score of a balanced assignment of N <= 64 tokens is within N * epsilon * range of the best there is, and no
// worse than filling experts in token order by the same. epsilon. gate.
void optimal_assignment(const Promise& p) {
  const double epsilon = p.as<double>("epsilon"), range = 4;
  for (const int n : {8, 24, 64})
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      Trial t(p, {4, 4, {n}}, {{"epsilon", Json(epsilon).dump()}});
      t.identity(p.value_or<std::string>("gate", "gate")), t.draw(seed);
      const Plan& plan = t.run();
      double total = 0, greedy = 0;
      Matrix score;
      std::vector<int> left(4, n / 4);
      for (int i = 0; i < n; ++i) {
        Row row = t.row(i);
        score.emplace_back(row.begin(), row.end());
        for (size_t e = 0; e < 4; ++e)
          if (left[e] == 0) row[e] = -1e9;
        const auto e = static_cast<size_t>(largest(row, 1)[0]);
        greedy += row[e], --left[e];
      }
      p.equal(plan.row.size(), score.size(), "the number of entries");
      for (size_t i = 0; i < plan.row.size(); ++i)
        total += score[static_cast<size_t>(plan.row[i])][static_cast<size_t>(plan.expert[i])];
      const double best = best_total(score, std::vector<int>(4, n / 4)), bound = n * epsilon * range;
      p.expect(total >= best - bound && total <= best + 1e-4, n, " tokens score ", total, "; the best is ", best,
               " and the bound ", bound);
      p.expect(total >= greedy - bound, n, " tokens score ", total, "; in token order they have ", greedy);
    }
}

// Sinkhorn's iteration as Megatron-LM writes it, tokens first, in double precision for as many rounds: the choices are
// its rows' largest entries; once every token is scaled to 1/N again, the metric is what the experts' shares are off
// by, which falls to 0 with the rounds. gate.
void transport_plan(const Promise& p) {
  constexpr int n = 24, experts = 4;
  for (const int rounds : {1, 3, 50}) {
    Trial t(p, {experts, experts, {n}}, {{"iterations", std::to_string(rounds)}});
    t.identity(p.value_or<std::string>("gate", "gate")), t.draw(7, 3);
    for (int i = 0; i < n; ++i) t.x[static_cast<size_t>(experts * i)] += 2;  // everybody likes the first expert
    t.run();
    Row u(n), v(experts, 1);
    auto cost = [&](int i, int e) { return std::exp(t.row(i)[static_cast<size_t>(e)]); };
    for (int r = 0; r < rounds; ++r) {
      for (int i = 0; i < n; ++i) {
        double sum = 0;
        for (int e = 0; e < experts; ++e) sum += v[static_cast<size_t>(e)] * cost(i, e);
        u[static_cast<size_t>(i)] = 1. / n / sum;
      }
      for (int e = 0; e < experts; ++e) {
        double sum = 0;
        for (int i = 0; i < n; ++i) sum += u[static_cast<size_t>(i)] * cost(i, e);
        v[static_cast<size_t>(e)] = 1. / experts / sum;
      }
    }
    Row share(experts), columns(experts);  // after the rounds the columns are exact, whatever the rows are
    for (int i = 0; i < n; ++i) {
      Row plan;
      double row = 0;
      for (int e = 0; e < experts; ++e)
        plan.push_back(u[static_cast<size_t>(i)] * v[static_cast<size_t>(e)] * cost(i, e)), row += plan.back();
      add(1, plan, columns), add(1 / row / n, plan, share);
      p.equal(t.experts()[static_cast<size_t>(i)], largest(plan, 1), "token ", i, "'s choice after ", rounds,
              " rounds");
    }
    double off = 0;
    for (const double s : share) off += std::fabs(experts * s - 1) / experts;
    for (const double c : columns) p.near(c, 1. / experts, 1e-9, "an expert's share right after its scaling");
    p.context.note(cat("shares off after ", rounds), off);
    p.near(t.metric("unbalance"), off, 1e-4, "what the experts' shares are off by after ", rounds, " rounds");
    p.expect(rounds > 1 || off > 0.01, "one round gives an even plan: nothing is shown");
    p.expect(rounds < 50 || off < 1e-3, "50 rounds leave the shares off by ", off);
  }
}

// Over many equal tokens the squared variation of the smooth load is that of the counts of the very same draws, and
// where the gates are equal there is none. gate.
void load_estimate(const Promise& p) {
  const std::vector<float> row = {0.6f, 0.1f, -0.2f, -0.9f};
  Trial t(p, {4, 4, {20000}});
  t.identity(p.value_or<std::string>("gate", "gate")), t.set(Matrix(20000, row)), t.run();
  const std::vector<int> count = t.loads();
  const double mean = std::accumulate(count.begin(), count.end(), 0) / 4.0;
  double cv = 0;
  for (const int c : count) cv += (c - mean) * (c - mean) / (4 * mean * mean);
  p.expect(cv > 0.01, "the loads are even: nothing is shown");
  p.near(t.loss("load"), cv, 0.03 * cv, "the squared variation of the expected loads");
}

// Shares counted over steps are those of all steps since the last multiple of `accumulation`; one step is the batch.
void accumulated_shares(const Promise& p) {
  const Matrix logits = drawn_rows(6, 3, 81);
  Trial one(p, {3, 3, {6}}, {{"accumulation", "1"}}), two(p, {3, 3, {6}}, {{"accumulation", "2"}});
  for (Trial* t : {&one, &two}) t->identity("gate"), t->set(logits);
  Row mean(3);
  for (const auto& row : logits) add(1 / 6., softmax(to_row(row)), mean);
  for (const int64_t step : {0, 1, 2}) {
    one.step = two.step = step;
    one.run(), two.run();
    const Row before = step == 1 ? Row{9, 2, 1} : Row(3);
    double batch = 0, counted = 0;
    for (size_t e = 0; e < 3; ++e) {
      batch += 3 * mean[e] * one.loads()[e] / 12;
      counted += 3 * mean[e] * (before[e] + one.loads()[e]) / (step == 1 ? 24 : 12);
    }
    p.near(one.loss("balance"), batch, 1e-6, "the loss of one step, step ", step);
    p.near(two.loss("balance"), counted, 1e-6, "the loss over two steps, step ", step);
    one.update({9, 2, 1}, {0, 0, 0}), two.update({9, 1, 1}, {0, 1, 0});
  }
}

}  // namespace

std::vector<Property> load_oracles() {
  return {{"exact_loads", "Every expert gets exactly its share of a pool.", exact_loads},
          {"balances", "A lopsided stationary stream becomes balanced.", balances},
          {"optimal_assignment", "The total score is within its bound of the best balanced assignment.",
           optimal_assignment},
          {"transport_plan", "The plan and its choices are those of Sinkhorn's iteration.", transport_plan},
          {"load_estimate", "The smooth load is what draws give on average.", load_estimate},
          {"accumulated_shares", "Shares are counted over as many steps as said.", accumulated_shares}};
}

}  // namespace swy::conform
