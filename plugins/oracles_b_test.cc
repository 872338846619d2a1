// Oracles of the routers that assign, keep tables or keep state: what their equations promise beyond golden vectors.
// The gate, or the centroids, are the identity wherever a test wants to say the scores: x [T, E] are then the scores.
//
// What every router must keep (causality, gradients, repeatability, loads) is tested by `switchyard conform`.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "core/base/philox.h"
#include "core/device/exec.h"
#include "core/plugin/instance.h"
#include "core/sdk/testing.h"

namespace swy {
namespace {

using testing::Shape;
using Matrix = std::vector<std::vector<float>>;

Tally tally;
Exec host_exec{&tally};

struct Trial : testing::Trial {
  Trial(const std::string& id, const Shape& s, const OptionText& given = {})
      : testing::Trial(plugin(id), plugin_host(), &host_exec, s, parse_options(plugin(id), given)), shape(s) {}

  static const swy_router& plugin(const std::string& id) {
    return *find_router(SWITCHYARD_BUILD_DIR "/plugins/" + id + ".so").router;
  }
  void identity(const std::string& name) {
    for (int32_t e = 0; e < shape.experts; ++e) tensor(name)[static_cast<size_t>(e * shape.width + e)] = 1;
  }
  void set(const Matrix& rows) {
    for (size_t t = 0; t < rows.size(); ++t) std::copy(rows[t].begin(), rows[t].end(), x.begin() + t * rows[t].size());
  }
  void draw(uint64_t seed, float size = 2) {
    Random random(seed);
    for (float& v : x) v = size * (2 * random.uniform() - 1);
  }
  void update() {
    testing::Trial::update(std::vector<int32_t>(shape.experts), std::vector<int32_t>(shape.experts), tokens);
  }
  // Experts of each token in list order, tokens of each expert.
  std::vector<std::vector<int>> experts() const {
    std::vector<std::vector<int>> of(static_cast<size_t>(tokens));
    for (int i = 0; i < count; ++i) of[static_cast<size_t>(row[i])].push_back(expert[i]);
    return of;
  }
  std::vector<int> loads() const {
    std::vector<int> n(static_cast<size_t>(shape.experts));
    for (int i = 0; i < count; ++i) ++n[static_cast<size_t>(expert[i])];
    return n;
  }
  std::vector<float> row_of(int t) const { return {x.begin() + t * shape.width, x.begin() + (t + 1) * shape.width}; }
  float aux_of(const std::string& name) const {
    for (uint32_t i = 0; i < needs.n_aux; ++i)
      if (name == needs.aux[i].name) return aux[i];
    throw std::runtime_error("no loss " + name);
  }
  const Shape shape;
};

int largest(const std::vector<float>& v) { return static_cast<int>(std::max_element(v.begin(), v.end()) - v.begin()); }

// The largest sum of score[t][c] with places[c] rows for column c and one column for each row: shortest augmenting
// paths (Jonker and Volgenant's form of the Hungarian method) over rows and single places.
double best_total(const Matrix& score, const std::vector<int>& places) {
  std::vector<int> column;
  for (size_t c = 0; c < places.size(); ++c)
    column.insert(column.end(), static_cast<size_t>(places[c]), static_cast<int>(c));
  const size_t n = score.size();
  EXPECT_EQ(column.size(), n);
  auto cost = [&](size_t i, size_t j) { return -double{score[i - 1][static_cast<size_t>(column[j - 1])]}; };
  std::vector<double> u(n + 1), v(n + 1);
  std::vector<size_t> owner(n + 1), way(n + 1);
  for (size_t i = 1; i <= n; ++i) {
    owner[0] = i;
    size_t at = 0;
    std::vector<double> least(n + 1, 1e300);
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

// ---- BASE ----

// Training gives every expert exactly its share of each group, the first n mod E one more, whatever the scores.
TEST(Base, LoadsAreExactInEveryGroup) {
  Trial t("base", {4, 4, 64, {16, 10, 3}});
  t.identity("centroid");
  for (const uint64_t seed : {1, 2, 3}) {
    t.draw(seed), t.forward();
    std::vector<std::vector<int>> n(3, std::vector<int>(4));
    for (int i = 0; i < t.count; ++i) ++n[t.row[i] < 16 ? 0 : t.row[i] < 26 ? 1 : 2][static_cast<size_t>(t.expert[i])];
    EXPECT_EQ(n[0], (std::vector<int>{4, 4, 4, 4}));
    EXPECT_EQ(n[1], (std::vector<int>{3, 3, 2, 2}));
    EXPECT_EQ(n[2], (std::vector<int>{1, 1, 1, 0}));
  }
}

// The total score is within n * epsilon * range of the best there is, and no worse than filling experts in token order.
TEST(Base, TotalScoreIsWithinItsBoundOfTheBest) {
  for (const int n : {8, 24, 64})
    for (const uint64_t seed : {1, 2, 3, 4}) {
      Trial t("base", {4, 4, 64, {n}}, {{"epsilon", "0.001"}});
      t.identity("centroid"), t.draw(seed), t.forward();
      Matrix score;
      for (int i = 0; i < n; ++i) score.push_back(t.row_of(i));
      double total = 0, greedy = 0;
      for (int i = 0; i < t.count; ++i) total += score[static_cast<size_t>(t.row[i])][static_cast<size_t>(t.expert[i])];
      std::vector<int> left(4, n / 4);
      for (auto row : score) {
        for (size_t e = 0; e < 4; ++e)
          if (left[e] == 0) row[e] = -1e9f;
        const int e = largest(row);
        greedy += row[static_cast<size_t>(e)], --left[static_cast<size_t>(e)];
      }
      const double best = best_total(score, std::vector<int>(4, n / 4)), range = 4;
      EXPECT_GE(total, best - n * 0.001 * range);
      EXPECT_LE(total, best + 1e-4);
      EXPECT_GE(total, greedy - n * 0.001 * range);
    }
}

// Evaluation is the largest score of each token, and the weight is its sigmoid in both phases.
TEST(Base, EvaluationIsArgmaxAndWeightsAreSigmoids) {
  Trial t("base", {4, 4, 64, {12}});
  t.identity("centroid"), t.draw(5);
  for (const int phase : {SWY_TRAIN, SWY_SCORE}) {
    t.forward(phase);
    ASSERT_EQ(t.count, 12);
    for (int i = 0; i < t.count; ++i) {
      const auto score = t.row_of(t.row[i]);
      if (phase == SWY_SCORE) {
        EXPECT_EQ(t.expert[i], largest(score));
      }
      EXPECT_NEAR(t.weight[i], 1 / (1 + std::exp(-score[static_cast<size_t>(t.expert[i])])), 1e-6);
    }
  }
  EXPECT_NE(t.needs.acausal_train, nullptr);
  EXPECT_EQ(t.needs.acausal_score, nullptr);
}

// ---- Sinkhorn of Megatron-LM ----

// The choice is that of Megatron-LM's own iteration (tokens first), run here in double precision for as many rounds.
TEST(SinkhornLm, ChoosesAsTheSourceIterates) {
  for (const int rounds : {1, 3, 50}) {
    constexpr int n = 24, experts = 4;
    Trial t("sinkhorn_lm", {experts, experts, n, {n}}, {{"iterations", std::to_string(rounds)}});
    t.identity("gate"), t.draw(7, 3), t.forward();
    std::vector<double> d0(n), d1(experts, 1);
    auto cost = [&](int i, int e) { return std::exp(double{t.x[static_cast<size_t>(i * experts + e)]}); };
    for (int r = 0; r < rounds; ++r) {
      for (int i = 0; i < n; ++i) {
        double sum = 0;
        for (int e = 0; e < experts; ++e) sum += d1[e] * cost(i, e);
        d0[i] = 1. / n / sum;
      }
      for (int e = 0; e < experts; ++e) {
        double sum = 0;
        for (int i = 0; i < n; ++i) sum += d0[i] * cost(i, e);
        d1[e] = 1. / experts / sum;
      }
    }
    const auto chosen = t.experts();
    for (int i = 0; i < n; ++i) {
      std::vector<float> plan;
      for (int e = 0; e < experts; ++e) plan.push_back(static_cast<float>(d0[i] * d1[e] * cost(i, e) * n));
      EXPECT_EQ(chosen[i], std::vector<int>{largest(plan)}) << "token " << i << " after " << rounds << " rounds";
    }
  }
}

// With enough rounds the plan gives every expert the same share; with one round it does not, so the number means
// something.
TEST(SinkhornLm, PlanSharesTokensEvenly) {
  auto unbalance = [](const std::string& rounds) {
    Trial t("sinkhorn_lm", {4, 4, 64, {64}}, {{"iterations", rounds}});
    t.identity("gate"), t.draw(3, 3);
    for (int i = 0; i < 64; ++i) t.x[static_cast<size_t>(4 * i)] += 2;  // everybody likes the first expert
    t.forward();
    return t.metric.at(0);
  };
  EXPECT_GT(unbalance("1"), 0.01f);
  EXPECT_LT(unbalance("100"), 1e-4f);
}

// Evaluation ignores the plan: sigmoid and argmax for one expert, unnormalised softmax over all experts for two.
TEST(SinkhornLm, EvaluationIsByLogits) {
  Trial one("sinkhorn_lm", {3, 3, 8, {8}}), two("sinkhorn_lm", {3, 3, 8, {8}}, {{"k", "2"}});
  for (Trial* t : {&one, &two}) t->identity("gate"), t->draw(11), t->forward(SWY_SCORE);
  for (int i = 0; i < one.count; ++i) {
    const auto z = one.row_of(one.row[i]);
    EXPECT_EQ(one.expert[i], largest(z));
    EXPECT_NEAR(one.weight[i], 1 / (1 + std::exp(-z[static_cast<size_t>(one.expert[i])])), 1e-6);
  }
  for (int i = 0; i < two.count; ++i) {
    const auto z = two.row_of(two.row[i]);
    double sum = 0;
    for (const float v : z) sum += std::exp(double{v});
    EXPECT_NEAR(two.weight[i], std::exp(double{z[static_cast<size_t>(two.expert[i])]}) / sum, 1e-6);
  }
}

// ---- StableMoE ----

struct Stable : Trial {
  explicit Stable(int n, int vocabulary = 5)
      : Trial("stable_moe", {3, 3, n, {n}, SWY_SITE_FFN, {}, 0, vocabulary}, {{"student_width", "4"}}) {
    identity("centroid");
    Random random(17);
    for (const char* name : {"student_embedding", "student_centroid"})
      for (float& v : tensor(name)) v = 2 * random.uniform() - 1;
    for (int t = 0; t < n; ++t) token_id[static_cast<size_t>(t)] = (t * 7 + 3) % vocabulary;
  }
};

// Stage 2: the same id goes to the same expert whatever its context, in training and evaluation, and neither updates
// nor changed parameters move it: the routing fluctuation is 0.
TEST(StableMoe, StageTwoIsATableOfIds) {
  Stable t(20);
  t.draw(1), t.set_progress(0.05), t.forward(), t.update();
  std::map<int, int> expert_of;
  t.set_progress(0.1), t.forward();
  for (int i = 0; i < t.count; ++i) expert_of[t.token_id[static_cast<size_t>(t.row[i])]] = t.expert[i];
  EXPECT_EQ(expert_of.size(), 5u);
  for (const uint64_t seed : {2, 3}) {
    t.draw(seed), t.forward(), t.update();
    for (const char* name : {"student_embedding", "student_centroid", "centroid"})
      for (float& v : t.tensor(name)) v = -v;
    for (const int phase : {SWY_TRAIN, SWY_SCORE}) {
      t.forward(phase);
      ASSERT_EQ(t.count, 20);
      for (int i = 0; i < t.count; ++i) EXPECT_EQ(t.expert[i], expert_of[t.token_id[static_cast<size_t>(t.row[i])]]);
    }
  }
}

// Stage 1 trains by scores and evaluates by the student, and the table that it leaves is the student's.
TEST(StableMoe, StageOneTrainsByScoresAndEvaluatesByTheStudent) {
  Stable t(20);
  t.draw(4), t.set_progress(0), t.forward();
  for (int i = 0; i < t.count; ++i) EXPECT_EQ(t.expert[i], largest(t.row_of(t.row[i])));
  t.forward(SWY_SCORE);
  const auto by_student = t.experts();
  t.forward(), t.update(), t.set_progress(0.5), t.forward();
  EXPECT_EQ(t.experts(), by_student);
}

// The balance loss by hand: tokens go 3 : 1 : 0, each counts its gate times its expert's excess over the mean.
TEST(StableMoe, BalanceLossCountsExcess) {
  Stable t(4);
  t.set({{2, 0, 0}, {3, 0, 0}, {1, 0, 0}, {0, 1, 0}}), t.set_progress(0), t.forward();
  auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  const double mean = 4. / 3, up = (3 - mean) / mean, down = (1 - mean) / mean;
  EXPECT_NEAR(t.aux_of("balance"), (up * (sigmoid(2) + sigmoid(3) + sigmoid(1)) + down * sigmoid(1)) / 4, 1e-6);
}

// A student that sees the id alone learns down to the entropy of the teacher given the id, and no further.
TEST(StableMoe, StudentReachesTheEntropyOfTheTeacherGivenTheId) {
  Stable t(8, 2);
  Matrix rows;
  const std::vector<int> teacher = {0, 0, 0, 1, 1, 2, 2, 2}, id = {0, 0, 0, 0, 1, 1, 1, 1};
  for (size_t i = 0; i < 8; ++i) {
    rows.push_back({0, 0, 0}), rows[i][static_cast<size_t>(teacher[i])] = 2;
    t.token_id[i] = id[i];
  }
  t.set(rows), t.set_progress(0);
  for (int step = 0; step < 400; ++step) {
    t.forward();
    std::vector<float> daux(t.needs.n_aux);
    for (uint32_t i = 0; i < t.needs.n_aux; ++i) daux[i] = std::string(t.needs.aux[i].name) == "distill";
    for (const char* name : {"student_embedding", "student_centroid"})
      std::fill(t.grad(name).begin(), t.grad(name).end(), 0.f);
    t.backward({}, {}, {}, {}, daux);
    for (const float d : t.dx) ASSERT_EQ(d, 0) << "the student's loss reached the teacher";
    for (const char* name : {"student_embedding", "student_centroid"})
      for (size_t i = 0; i < t.tensor(name).size(); ++i) t.tensor(name)[i] -= t.grad(name)[i];
  }
  t.forward();
  const double entropy =
      -(0.75 * std::log(0.75) + 0.25 * std::log(0.25));  // of each id: three of one expert, one of another
  EXPECT_GE(t.aux_of("distill"), entropy - 1e-5);
  EXPECT_LE(t.aux_of("distill"), entropy + 0.02);
}

// ---- Quantile Balancing ----

struct Quantile : Trial {
  Quantile(const Matrix& s, int k)
      : Trial("quantile_balancing",
              {static_cast<int>(s[0].size()),
               static_cast<int>(s[0].size()),
               static_cast<int>(s.size()),
               {static_cast<int>(s.size())}},
              {{"score", "logits"}, {"k", std::to_string(k)}}) {
    identity("gate"), set(s);
  }
};

// The specification's worked case: beta starts at 0, alpha are the second scores, beta becomes (.15, 0), and the loads
// go from (4, 0) to (2, 2) with a total of 2.75 once the token at the quantile counts as out.
TEST(QuantileBalancing, WorkedCase) {
  const Matrix s = {{.9f, .5f}, {.8f, .7f}, {.7f, .2f}, {.6f, .45f}};
  Quantile t(s, 1);
  t.forward();
  EXPECT_EQ(t.loads(), (std::vector<int>{4, 0}));
  t.update();
  EXPECT_NEAR(t.tensor("beta")[0], 0.15, 1e-6);
  EXPECT_NEAR(t.tensor("beta")[1], 0, 1e-6);
  t.tensor("beta")[0] += 1e-5f;  // the strict rule
  t.forward();
  EXPECT_EQ(t.loads(), (std::vector<int>{2, 2}));
  double total = 0;
  for (int i = 0; i < t.count; ++i) total += s[static_cast<size_t>(t.row[i])][static_cast<size_t>(t.expert[i])];
  EXPECT_NEAR(total, 2.75, 1e-6);
}

// Adding the same number to all scores of a token moves neither beta nor a choice.
TEST(QuantileBalancing, IsShiftInvariant) {
  Matrix s(16, std::vector<float>(4));
  Random random(3);
  for (auto& row : s)
    for (float& v : row) v = random.uniform();
  Quantile a(s, 2);
  for (size_t i = 0; i < s.size(); ++i)
    for (float& v : s[i]) v += static_cast<float>(i % 3);
  Quantile b(s, 2);
  for (int step = 0; step < 3; ++step) {
    a.forward(), b.forward();
    EXPECT_EQ(a.loads(), b.loads());
    a.update(), b.update();
    for (size_t e = 0; e < 4; ++e) EXPECT_NEAR(a.tensor("beta")[e], b.tensor("beta")[e], 1e-5);
  }
}

// Updates on the same lopsided batch balance it: coordinate descent on the dual.
TEST(QuantileBalancing, BalancesALopsidedBatch) {
  Matrix s(64, std::vector<float>(4));
  Random random(5);
  for (auto& row : s)
    for (size_t e = 0; e < 4; ++e) row[e] = random.uniform() + (e == 0 ? 0.8f : 0.f);
  Quantile t(s, 1);
  t.forward();
  const auto before = t.loads();
  EXPECT_GE(*std::max_element(before.begin(), before.end()), 40);
  for (int step = 0; step < 30; ++step) t.update(), t.forward();
  const auto after = t.loads();
  EXPECT_LE(*std::max_element(after.begin(), after.end()),
            18);  // 16 is even; the tokens at the quantiles may go either way
}

// ---- Expert Threshold ----

// With its cutoffs frozen, what a token gets depends on itself alone: alone, in a batch, in training and in evaluation.
TEST(ExpertThreshold, FrozenCutoffsLookAtNobodyElse) {
  Trial batch("expert_threshold", {4, 4, 32, {32}}), alone("expert_threshold", {4, 4, 1, {1}});
  for (Trial* t : {&batch, &alone}) t->identity("gate"), t->tensor("cutoff") = {.4f, .5f, .6f, .7f};
  batch.draw(1), batch.forward();
  const auto all = batch.experts();
  batch.forward(SWY_SCORE);
  EXPECT_EQ(batch.experts(), all);
  for (int i = 0; i < 32; ++i) {
    const auto row = batch.row_of(i);
    std::copy(row.begin(), row.end(), alone.x.begin());
    alone.forward(SWY_SCORE);
    EXPECT_EQ(alone.experts()[0], all[static_cast<size_t>(i)]);
    for (int e = 0; e < 4; ++e) {
      const bool over =
          1 / (1 + std::exp(-row[static_cast<size_t>(e)])) > batch.tensor("cutoff")[static_cast<size_t>(e)];
      EXPECT_EQ(std::count(all[static_cast<size_t>(i)].begin(), all[static_cast<size_t>(i)].end(), e), over);
    }
  }
  EXPECT_TRUE(std::any_of(all.begin(), all.end(), [](const auto& e) { return e.empty(); }));
  EXPECT_EQ(batch.needs.acausal_train, nullptr);
  EXPECT_EQ(batch.needs.acausal_score, nullptr);
}

// On a steady stream of tokens every expert ends with the wanted share of fresh ones.
TEST(ExpertThreshold, LoadsGoToTheTarget) {
  Trial t("expert_threshold", {4, 4, 256, {256}}, {{"target", "1"}, {"decay", "0.9"}});
  t.identity("gate");
  for (uint64_t step = 0; step < 60; ++step) t.draw(100 + step), t.forward(), t.update();
  std::vector<int> sum(4);
  for (uint64_t step = 0; step < 40; ++step) {
    t.draw(1000 + step), t.forward(SWY_SCORE);
    for (size_t e = 0; e < 4; ++e) sum[e] += t.loads()[e];
  }
  for (const int n : sum) EXPECT_NEAR(n / (40 * 256.), 0.25, 0.02);
}

// The first update sets the cutoffs to the batch's, later ones move them by 1 - decay.
TEST(ExpertThreshold, CutoffsAreARunningMean) {
  Trial t("expert_threshold", {2, 2, 8, {8}}, {{"decay", "0.75"}});
  t.identity("gate");
  auto own = [&] {  // the floor(8 / 2) = 4th largest
    std::vector<float> r;
    for (int i = 0; i < 8; ++i) r.push_back(1 / (1 + std::exp(-t.x[static_cast<size_t>(2 * i)])));
    std::sort(r.begin(), r.end(), std::greater<>());
    return r[3];
  };
  t.draw(1), t.forward(), t.update();
  const float first = own();
  EXPECT_NEAR(t.tensor("cutoff")[0], first, 1e-6);
  t.draw(2), t.forward(), t.update();
  EXPECT_NEAR(t.tensor("cutoff")[0], 0.75f * first + 0.25f * own(), 1e-6);
}

// Warm-up is expert choice over the batch: exact loads, and flagged as not causal.
TEST(ExpertThreshold, WarmUpIsExpertChoiceOverTheBatch) {
  Trial t("expert_threshold", {4, 4, 32, {32}}, {{"warmup", "0.1"}});
  t.identity("gate"), t.draw(1), t.set_progress(0.05), t.forward();
  EXPECT_EQ(t.loads(), (std::vector<int>{8, 8, 8, 8}));
  EXPECT_NE(t.needs.acausal_train, nullptr);
  EXPECT_EQ(t.needs.acausal_score, nullptr);
  t.set_progress(0.1), t.tensor("cutoff") = {2, 2, 2, 2}, t.forward();
  EXPECT_EQ(t.count, 0);
}

// ---- Online K-means ----

// With the plain mean, an expert is the mean of all tokens it was ever given; one that got none keeps its start.
TEST(OnlineKmeans, MeansAreRunningMeansOfTheirTokens) {
  Trial t("online_kmeans", {3, 4, 16, {16}});
  t.tensor("mean") = {1, 0, 0, 0, 1, 0, 0, 0, 1, -1, -1, -1};
  std::vector<std::vector<double>> sum(4, std::vector<double>(3));
  std::vector<int> n(4);
  for (uint64_t step = 0; step < 4; ++step) {
    t.draw(step);
    for (float& v : t.x) v = std::fabs(v);  // nobody is near the last expert
    t.forward();
    for (int i = 0; i < t.count; ++i) {
      ++n[static_cast<size_t>(t.expert[i])];
      for (size_t j = 0; j < 3; ++j) sum[static_cast<size_t>(t.expert[i])][j] += t.row_of(t.row[i])[j];
    }
    t.update();
  }
  ASSERT_GT(n[0] * n[1] * n[2], 0);
  for (size_t e = 0; e < 3; ++e)
    for (size_t j = 0; j < 3; ++j) EXPECT_NEAR(t.tensor("mean")[e * 3 + j], sum[e][j] / n[e], 1e-5);
  EXPECT_EQ(n[3], 0);
  for (size_t j = 0; j < 3; ++j) EXPECT_EQ(t.tensor("mean")[9 + j], -1);
}

// Scaling a token changes no choice, and with uniform weights nothing at all.
TEST(OnlineKmeans, ScaleOfATokenDoesNotMatter) {
  Trial t("online_kmeans", {3, 4, 16, {16}});
  Random random(2);
  for (float& v : t.tensor("mean")) v = 2 * random.uniform() - 1;
  t.draw(9), t.forward();
  const auto before = t.experts();
  for (size_t i = 0; i < t.x.size(); ++i) t.x[i] *= 3 + static_cast<float>(i / 3);
  t.forward();
  EXPECT_EQ(t.experts(), before);
}

// ---- Expert choice ----

// Every expert takes exactly its share of every group, and the positive control of causality: it leaks, and says so.
TEST(ExpertChoiceLm, SequencePoolHasExactLoadsAndLeaks) {
  Trial t("expert_choice_lm", {4, 4, 64, {16, 6}});
  t.identity("gate"), t.draw(1);
  for (const int phase : {SWY_TRAIN, SWY_SCORE}) {
    t.forward(phase);
    std::vector<std::vector<int>> n(2, std::vector<int>(4));
    for (int i = 0; i < t.count; ++i) ++n[t.row[i] >= 16][static_cast<size_t>(t.expert[i])];
    EXPECT_EQ(n[0], std::vector<int>(4, 8));
    EXPECT_EQ(n[1], std::vector<int>(4, 3));
  }
  auto early = t.experts();
  t.x[15 * 4] += 50, t.x[14 * 4 + 1] += 50, t.x[13 * 4 + 2] += 50, t.x[12 * 4 + 3] += 50;  // late tokens push in
  t.forward(SWY_SCORE);
  auto now = t.experts();
  early.resize(12), now.resize(12);
  EXPECT_NE(early, now);
  EXPECT_NE(t.needs.acausal_train, nullptr);
  EXPECT_NE(t.needs.acausal_score, nullptr);
}

// A position is a pool of its own: exact loads there, and no other position matters.
TEST(ExpertChoiceLm, BatchPositionPoolLooksAtNoOtherPosition) {
  Trial t("expert_choice_lm", {4, 4, 64, {5, 5, 5, 5, 5, 5, 5, 5}}, {{"pool", "batch_position"}, {"factor", "1"}});
  t.identity("gate"), t.draw(1), t.forward();
  std::map<std::pair<int, int>, int> n;
  for (int i = 0; i < t.count; ++i) ++n[{t.row[i] % 5, t.expert[i]}];
  EXPECT_EQ(n.size(), 20u);
  for (const auto& [pool, tokens] : n) EXPECT_EQ(tokens, 2);
  const auto before = t.experts();
  for (int s = 0; s < 8; ++s)
    for (int j = 0; j < 8; ++j) t.x[static_cast<size_t>((s * 5 + 3) * 4 + j)] += static_cast<float>(10 * ((s + j) % 3));
  t.forward();
  const auto after = t.experts();
  int moved = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    if (i % 5 < 3) {
      EXPECT_EQ(before[i], after[i]);
    }
    moved += before[i] != after[i];
  }
  EXPECT_GT(moved, 0);
  EXPECT_EQ(t.needs.acausal_train, nullptr);
  EXPECT_EQ(t.needs.acausal_score, nullptr);
}

// Thresholds: training is expert choice and moves the cutoffs, evaluation compares each token with them alone.
TEST(ExpertChoiceLm, ThresholdPoolScoresByCutoffs) {
  Trial t("expert_choice_lm", {4, 4, 64, {16}}, {{"pool", "threshold"}, {"factor", "1"}});
  t.identity("gate"), t.draw(1), t.forward();
  EXPECT_EQ(t.loads(), std::vector<int>(4, 4));
  t.update();
  t.forward(SWY_SCORE);
  for (const int n : t.loads()) EXPECT_EQ(n, 3);  // above, not at, the fourth largest of the same batch
  const auto before = t.experts();
  for (size_t i = 8 * 4; i < 16 * 4; ++i) t.x[i] = -t.x[i];
  t.forward(SWY_SCORE);
  const auto after = t.experts();
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(before[i], after[i]);
  EXPECT_NE(t.needs.acausal_train, nullptr);
  EXPECT_EQ(t.needs.acausal_score, nullptr);
}

// Mesh TensorFlow's rule: softmax over tokens, divided by how many experts took the token; its loss is 1 when tokens
// are alike.
TEST(ExpertChoiceLm, MeshRuleDividesByTheNumberOfExperts) {
  Trial t("expert_choice_lm", {2, 2, 8, {4}}, {{"rule", "mesh"}, {"factor", "1"}});
  t.identity("gate"), t.set({{3, 3}, {1, 0}, {0, 1}, {0, 0}}), t.forward();
  const double sum = std::exp(3) + std::exp(1) + 2, first = std::exp(3) / sum / 2, second = std::exp(1) / sum;
  std::map<std::pair<int, int>, double> want = {{{0, 0}, first}, {{1, 0}, second}, {{0, 1}, first}, {{2, 1}, second}};
  ASSERT_EQ(t.count, 4);
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(want.count({t.row[i], t.expert[i]}));
    EXPECT_NEAR(t.weight[i], (want[{t.row[i], t.expert[i]}]), 1e-6);
  }
  EXPECT_GT(t.aux_of("load"), 1.1f);
  t.set({{1, 2}, {1, 2}, {1, 2}, {1, 2}}), t.forward();
  EXPECT_NEAR(t.aux_of("load"), 1, 1e-5);
  EXPECT_THROW(Trial("expert_choice_lm", {2, 2, 8, {4}}, {{"rule", "mesh"}, {"pool", "threshold"}}),
               std::runtime_error);
}

// ---- Lory ----

struct LoryTrial : Trial {
  explicit LoryTrial(const std::string& first)
      : Trial("lory", {3, 4, 11, {11, 7}},
              {{"segment", "4"}, {"first", first}}) {  // rows: 3 of the first sequence, then 2
    Random random(1);
    for (float& v : tensor("gate")) v = 2 * random.uniform() - 1;
    draw(2), forward();
  }
  // Which segments' mixes change when token t does.
  std::set<int> reached(int t) {
    const auto before = mix;
    const auto kept = x;
    x[static_cast<size_t>(t * 3)] += 1, forward();
    std::set<int> rows;
    for (size_t i = 0; i < mix.size(); ++i)
      if (mix[i] != before[i]) rows.insert(static_cast<int>(i / 4));
    x = kept, forward();
    return rows;
  }
};

// A segment's mix depends on the segment before it in its sequence and on nothing else; the first on no token at all.
TEST(Lory, ASegmentDependsOnTheOneBeforeAlone) {
  LoryTrial t("start");
  ASSERT_EQ(t.mix.size(), 5u * 4);
  EXPECT_EQ(t.reached(0), std::set<int>{1});
  EXPECT_EQ(t.reached(3), std::set<int>{1});
  EXPECT_EQ(t.reached(6), std::set<int>{2});
  EXPECT_EQ(t.reached(10), std::set<int>{});  // last segment of the first sequence
  EXPECT_EQ(t.reached(11), std::set<int>{4});
  for (int e = 0; e < 4; ++e) EXPECT_EQ(t.mix[static_cast<size_t>(e)], t.mix[static_cast<size_t>(3 * 4 + e)]);
  EXPECT_EQ(t.needs.acausal_train, nullptr);
  EXPECT_EQ(t.needs.acausal_score, nullptr);
}

// The paper's rule for the first segment leaks: its last token changes the mix that its first one runs through.
TEST(Lory, OwnMeanOfTheFirstSegmentLeaks) {
  LoryTrial t("own_mean");
  EXPECT_EQ(t.reached(3), (std::set<int>{0, 1}));
  EXPECT_EQ(t.reached(6), std::set<int>{2});
  EXPECT_NE(t.needs.acausal_train, nullptr);
  EXPECT_NE(t.needs.acausal_score, nullptr);
}

// One expert is merged with weight 1: a dense model.
TEST(Lory, OneExpertIsDense) {
  Trial t("lory", {3, 1, 8, {8}}, {{"segment", "4"}});
  t.draw(1), t.forward();
  for (const float m : t.mix) EXPECT_EQ(m, 1);
}

// ---- hash tables ----

struct HashTrial : Trial {
  explicit HashTrial(const std::string& table)
      : Trial("hash", {2, 3, 60, {60}, SWY_SITE_FFN, {}, 0, 8}, {{"table", table}, {"collect", "0.1"}}) {
    for (int t = 0; t < 60; ++t)
      token_id[static_cast<size_t>(t)] = t < 24 ? 0 : t < 36 ? 1 : t < 42 ? 2 : 3 + t % 4;  // 7: never
    for (int t = 0; t < 60; ++t) {  // ids 0, 3 and 6 look alike, as do 1 and 4, and 2 and 5
      const int kind = token_id[static_cast<size_t>(t)] % 3;
      x[static_cast<size_t>(2 * t)] = kind == 1 ? 10.f : 0.f,
                                x[static_cast<size_t>(2 * t + 1)] = kind == 2 ? 10.f : 0.f;
      x[static_cast<size_t>(2 * t)] += 0.01f * static_cast<float>(t % 5);
    }
  }
  void build() { set_progress(0), forward(), update(), set_progress(0.1), forward(), update(), forward(); }
};

// The greedy table: no expert has more than the mean and the most frequent token; loads are the table's own counts; a
// token's content does not matter; the table never changes again.
TEST(HashTables, BalancedByFrequency) {
  HashTrial t("balanced"), random("random");
  t.set_progress(0), t.forward(), random.forward();
  EXPECT_EQ(t.experts(), random.experts()) << "until the table is built the random one holds";
  t.build();
  EXPECT_EQ(t.tensor("count")[0], 24);
  const auto loads = t.loads();
  EXPECT_LE(*std::max_element(loads.begin(), loads.end()), 20 + 24);
  EXPECT_EQ(loads, (std::vector<int>{24, 12 + 4 + 4, 6 + 5 + 5}));  // by hand, from counts 24 12 6 4 4 5 5 0
  std::vector<int> by_table(3);
  for (size_t v = 0; v < 8; ++v)
    by_table[static_cast<size_t>(t.tensor("table")[v])] += static_cast<int>(t.tensor("count")[v]);
  EXPECT_EQ(by_table, loads);
  const auto table = t.tensor("table");
  const auto before = t.experts();
  t.draw(1), t.set_progress(0.7), t.forward(), t.update(), t.forward(SWY_SCORE);
  EXPECT_EQ(t.experts(), before);
  EXPECT_EQ(t.tensor("table"), table);
}

// Ids whose inputs look alike share an expert; an id that was never seen keeps its random one.
TEST(HashTables, ClusteredByMeanInput) {
  HashTrial t("clustered");
  t.build();
  const auto& table = t.tensor("table");
  for (const auto& [one, other] : {std::pair{0, 3}, {0, 6}, {1, 4}, {2, 5}})
    EXPECT_EQ(table[static_cast<size_t>(one)], table[static_cast<size_t>(other)]) << one << " and " << other;
  EXPECT_EQ((std::set<float>{table[0], table[1], table[2]}.size()), 3u);
  EXPECT_EQ(table[7], -1);
}

// ---- oracle ----

// The expert is the cluster modulo E; data without planted clusters are refused with a reason.
TEST(Oracle, FollowsThePlantedClusters) {
  Trial t("oracle", {2, 3, 8, {8}, SWY_SITE_FFN, {}, 0, 0, 7});
  for (int i = 0; i < 8; ++i) t.cluster[static_cast<size_t>(i)] = (i * 5) % 7;
  t.forward();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(t.experts()[static_cast<size_t>(i)], std::vector<int>{(i * 5) % 7 % 3});
  EXPECT_THROW(Trial("oracle", {2, 3, 8, {8}}), std::runtime_error);
}

}  // namespace
}  // namespace swy
