// The golden vectors of the vision routers that need the routed block or less than a router (letters as in the
// project's router specification), and the oracles of the papers' formulas. The numbers live in
// plugins/<id>/golden.json; vectors for a whole router (B, F) are run by plugins/plugins_test.cc.
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/json.h"
#include "core/moe/block_fixture.h"
#include "core/moe/test_routers.h"
#include "core/ops/sinkhorn.h"
#include "core/ops/transport.h"
#include "core/sdk/losses.h"
#include "core/sdk/testing.h"

namespace swy::moe {
namespace {

using swy::testing::Shape;
using swy::testing::Trial;
using testing::GivenGates;
using testing::local_router;

const swy_router& plugin(const std::string& id) {
  return *find_router(SWITCHYARD_BUILD_DIR "/plugins/" + id + ".so").router;
}
std::vector<swy_value> options(const swy_router& r, const OptionText& text) { return parse_options(r, text); }

Tally tally;
Exec exec{&tally};

// The cases of one kind in a router's golden.json.
std::vector<Json> golden(const std::string& id, const std::string& kind) {
  std::vector<Json> cases;
  const Json file = read_json(SWITCHYARD_SOURCE_DIR "/plugins/" + id + "/golden.json");
  for (const Json& given : file.at("cases"))
    if (given.at("kind") == kind) cases.push_back(given);
  return cases;
}
std::vector<float> flat(const Json& rows) {
  std::vector<float> values;
  for (const Json& row : rows) values.insert(values.end(), row.begin(), row.end());
  return values;
}

// Which pairs are kept when the gates are given, expert by expert in slot order, and that their weight is the gate.
void expect_kept(const Json& given) {
  SCOPED_TRACE(given["name"].get<std::string>());
  const auto tokens = static_cast<int32_t>(given["gates"].size());
  const auto experts = static_cast<int32_t>(given["gates"][0].size());
  SiteSpec s = testing::small_site();
  s.width = s.experts = experts;
  s.sequence_tokens = tokens;
  s.train_capacity.factor = given["capacity"].get<double>() * experts / tokens;
  testing::Block b(local_router<GivenGates>("given_gates"), {{"kind", given["use"]}, {"k", given["k"].dump()}}, s, 1);
  b.x = flat(given["gates"]);
  b.loss();
  const RoutedFfn::Kept kept = b.ffn.kept();
  Json found = Json::array();  // [token, expert, slot]
  std::vector<int> used(static_cast<size_t>(experts));
  for (int64_t i = 0; i < kept.count; ++i) {
    EXPECT_EQ(kept.weight[kept.entry[i]], b.x[kept.token[i] * experts + kept.expert[i]]);
    found.push_back({kept.token[i], kept.expert[i], used[static_cast<size_t>(kept.expert[i])]++});
  }
  EXPECT_EQ(found, given["kept"]);
}

// A: token choice in token order and by priority, expert choice.
TEST(Golden, AKeptPairs) {
  size_t compared = 0;
  for (const char* id : {"softmax_token_choice", "softmax_expert_choice"})
    for (const Json& given : golden(id, "given_gates")) expect_kept(given), ++compared;
  EXPECT_EQ(compared, 3u);
}

// The load loss on given logits and noise: x = [L | noise].
struct LoadOfGiven : Router {
  void route(Graph& g) override {
    Tensor logits = matmul(g.x, g.param("left", 6, 3, zeros_start()));
    Tensor noisy = logits + matmul(g.x, g.param("right", 6, 3, zeros_start()));
    g.aux("load", load_loss(logits, noisy, 2, 0.1f), 1, "");
    assign(top_k(noisy, 2));
  }
};
// C: the load loss. The router's std and k are those of the vector.
TEST(Golden, CLoadLoss) {
  const std::vector<Json> cases = golden("softmax_token_choice", "given_noise");
  ASSERT_EQ(cases.size(), 1u);
  const Json& given = cases[0];
  ASSERT_EQ(given["std"], 0.1);
  ASSERT_EQ(given["k"], 2);
  Trial t(local_router<LoadOfGiven>("load_of_given"), plugin_host(), &exec, Shape{6, 3, 3, {3}});
  const std::vector<float> logits = flat(given["logits"]), noise = flat(given["noise"]);
  for (size_t i = 0; i < 9; ++i) t.x[i / 3 * 6 + i % 3] = logits[i], t.x[i / 3 * 6 + 3 + i % 3] = noise[i];
  for (int i = 0; i < 3; ++i) t.tensor("left")[i * 3 + i] = t.tensor("right")[(i + 3) * 3 + i] = 1;
  t.forward();
  EXPECT_NEAR(t.aux[0], given["load"].get<double>(), given["tolerance"].get<double>());
}

// G: capacities of the reference formula, and its rounding: halves go to the even number, as in Python.
TEST(Golden, GCapacity) {
  auto capacity = [](double factor, bool ceil, int multiple, int m, int n) {
    CapacityRule rule;
    rule.factor = factor, rule.ceil = ceil, rule.multiple_of = multiple;
    return rule.of(m, n);
  };
  size_t compared = 0;
  for (const char* id : {"softmax_token_choice", "softmax_expert_choice"})
    for (const Json& g : golden(id, "capacity")) {
      const int c = capacity(g["factor"], g["rounding"] == "ceil", g["multiple_of"], g["tokens"], g["experts"]);
      EXPECT_EQ(c, g["capacity"]) << g["name"];
      ++compared;
    }
  EXPECT_EQ(compared, 3u);
  EXPECT_EQ(capacity(1, false, 1, 20, 8), 2);  // 2.5
  EXPECT_EQ(capacity(1, false, 1, 28, 8), 4);  // 3.5
}

// Each plan of `cases` against plan(scores, rows, cols) of its case.
template <class Plan>
void expect_plans(const std::vector<Json>& cases, const char* scores, size_t count, Plan plan) {
  EXPECT_EQ(cases.size(), count);
  for (const Json& given : cases) {
    SCOPED_TRACE(given["name"].get<std::string>());
    const std::vector<float> want = flat(given["plan"]);
    const auto rows = static_cast<int32_t>(given[scores].size()), cols = static_cast<int32_t>(given[scores][0].size());
    const std::vector<float> found = plan(given, flat(given[scores]), rows, cols);
    ASSERT_EQ(found.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(found[i], want[i], given["tolerance"].get<double>()) << i;
  }
}

// D, and the two other transport plans as their own reference computed them: every entry, not only the choice that a
// router makes of it.
TEST(Golden, DTransportPlans) {
  expect_plans(golden("sinkhorn_token_choice", "sinkhorn"), "logits", 2,
               [](const Json& g, const std::vector<float>& x, int32_t rows, int32_t cols) {
                 const int32_t segment[] = {0, rows};
                 std::vector<float> plan(x.size()), u(static_cast<size_t>(rows)), v(static_cast<size_t>(cols));
                 ops::sinkhorn(exec, 1, segment, rows, cols, g["iterations"], x.data(), plan.data(), u.data(),
                               v.data());
                 return plan;
               });
  expect_plans(golden("sparsity_constrained_expert_choice", "sparse_transport"), "scores", 1,
               [](const Json& g, const std::vector<float>& x, int32_t rows, int32_t cols) {
                 const int32_t segment[] = {0, rows}, k = g["k"];
                 std::vector<double> work(3 * static_cast<size_t>(rows));  // 6 floats a row, aligned
                 std::vector<float> plan(x.size());
                 ops::sparse_transport(exec, 1, segment, &k, rows, cols, g["gamma"], g["iterations"], g["lr"], nullptr,
                                       x.data(), plan.data(), reinterpret_cast<float*>(work.data()));
                 return plan;
               });
  expect_plans(golden("capped_expert_choice", "capped_transport"), "scores", 1,
               [](const Json& g, const std::vector<float>& x, int32_t rows, int32_t cols) {
                 const int32_t segment[] = {0, rows}, k = g["capacity"];
                 std::vector<float> plan(x.size()), work(x.size() + static_cast<size_t>(rows));
                 ops::capped_transport(exec, 1, segment, &k, rows, cols, g["cap"], g["entropy"], g["iterations"],
                                       nullptr, x.data(), plan.data(), work.data());
                 for (float& p : plan) p = std::exp(p);
                 return plan;
               });
}

// E: the projection to the simplex with at most k non-zeros. It is the plan of one expert before any price has moved:
// P = m * project(x / (gamma m)), here with gamma = 1 / m.
TEST(Golden, ESparseSimplex) {
  const std::vector<Json> cases = golden("sparsity_constrained_expert_choice", "sparse_simplex");
  EXPECT_EQ(cases.size(), 3u);
  for (const Json& given : cases) {
    SCOPED_TRACE(given["name"].get<std::string>());
    const auto values = given["values"].get<std::vector<float>>(), want = given["projection"].get<std::vector<float>>();
    const auto m = static_cast<int32_t>(values.size());
    const int32_t segment[] = {0, m}, k = given["k"];
    std::vector<double> work(3 * values.size());
    std::vector<float> plan(values.size());
    const auto tokens = static_cast<float>(m);
    ops::sparse_transport(exec, 1, segment, &k, m, 1, 1 / tokens, 0, 0.01f, nullptr, values.data(), plan.data(),
                          reinterpret_cast<float*>(work.data()));
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(plan[i] / tokens, want[i], given["tolerance"].get<double>()) << i;
  }
}

// Oracles of the specification's section 6 for Soft MoE: columns of D and rows of C sum to one; phi = 0 mixes evenly;
// a positive factor on one token's logits changes nothing but rounding.
TEST(Golden, SoftMoeInvariants) {
  const swy_router& r = plugin("soft_moe");
  Trial t(r, plugin_host(), &exec, Shape{4, 3, 2, {5, 3}});
  testing::fill(t.x.data(), static_cast<int64_t>(t.x.size()), 1);
  testing::fill(t.tensor("phi").data(), 24, 2);
  t.forward();
  const int slots = 6, begin[] = {0, 5, 8};
  for (int g = 0; g < 2; ++g)
    for (int j = 0; j < slots; ++j) {
      double sum = 0;
      for (int s = begin[g]; s < begin[g + 1]; ++s) sum += t.dispatch[s * slots + j];
      EXPECT_NEAR(sum, 1, 1e-6);
    }
  for (int s = 0; s < 8; ++s) {
    double sum = 0;
    for (int j = 0; j < slots; ++j) sum += t.combine[s * slots + j];
    EXPECT_NEAR(sum, 1, 1e-6);
  }
  const std::vector<float> combine = t.combine;
  for (int c = 0; c < 4; ++c) t.x[c] *= 7;
  t.forward();
  for (int j = 0; j < slots; ++j) EXPECT_NEAR(t.combine[j], combine[j], 1e-5);
  std::fill(t.tensor("phi").begin(), t.tensor("phi").end(), 0.f);
  t.forward();
  EXPECT_NEAR(t.dispatch[0], 1.0 / 5, 1e-7);
  EXPECT_NEAR(t.dispatch[5 * slots], 1.0 / 3, 1e-7);
  EXPECT_NEAR(t.combine[0], 1.0 / 6, 1e-7);
}

// Expert choice: each expert takes exactly C distinct tokens, and no token left out beats one that was taken.
TEST(Golden, ExpertChoiceInvariants) {
  const swy_router& r = plugin("softmax_expert_choice");
  Trial t(r, plugin_host(), &exec, Shape{5, 4, 3, {9}}, options(r, {{"noise", "0"}}));
  testing::fill(t.x.data(), 45, 1);
  testing::fill(t.tensor("gate").data(), 20, 2, 2);
  t.forward();
  ASSERT_EQ(t.count, 12);
  for (int e = 0; e < 4; ++e) {
    std::vector<int> taken(9);
    float least = 1;
    for (int i = 0; i < 12; ++i)
      if (t.expert[i] == e) ++taken[t.row[i]], least = std::min(least, t.weight[i]);
    for (int s = 0; s < 9; ++s) {
      ASSERT_LE(taken[s], 1);
      double sum = 0, at = 0;
      for (int k = 0; k < 4; ++k) {
        double logit = 0;
        for (int c = 0; c < 5; ++c) logit += double{t.x[s * 5 + c]} * double{t.tensor("gate")[c * 4 + k]};
        sum += std::exp(logit);
        if (k == e) at = std::exp(logit);
      }
      if (!taken[s]) {
        EXPECT_LE(at / sum, least + 1e-6);
      }
    }
    EXPECT_EQ(std::count(taken.begin(), taken.end(), 1), 3);
  }
}

// Batch priority does not care about the order of the tokens, even when capacity binds; vanilla order does.
TEST(Golden, PriorityIsPermutationEquivariant) {
  auto kept_tokens = [](const std::string& order, bool reversed) {
    SiteSpec s = testing::small_site();
    s.train_capacity.factor = 0.5;
    testing::Block b(plugin("softmax_token_choice"), {{"order", order}, {"noise", "0"}}, s, 1);
    if (reversed)
      for (int t = 0; t < 4; ++t) std::swap_ranges(&b.x[t * 6], &b.x[t * 6] + 6, &b.x[(7 - t) * 6]);
    b.loss();
    std::vector<int> tokens;
    for (int64_t i = 0; i < b.ffn.kept().count; ++i)
      tokens.push_back(reversed ? 7 - b.ffn.kept().token[i] : b.ffn.kept().token[i]);
    std::sort(tokens.begin(), tokens.end());
    return tokens;
  };
  EXPECT_EQ(kept_tokens("priority", false), kept_tokens("priority", true));
  EXPECT_NE(kept_tokens("vanilla", false), kept_tokens("vanilla", true));
}

}  // namespace
}  // namespace swy::moe
