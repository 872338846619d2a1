#include "data/grammar.h"

#include <cmath>
#include <map>

#include "core/base/hash.h"
#include "data/testing.h"

namespace swy::data {
namespace {

// Nats of the last number given the others, plug-in estimate from counts[others][last].
double conditional_entropy(const std::map<std::vector<int32_t>, std::map<int32_t, int64_t>>& counts) {
  double sum = 0;
  int64_t total = 0;
  for (const auto& [given, row] : counts) {
    int64_t all = 0;
    for (const auto& [value, count] : row) all += count;
    for (const auto& [value, count] : row) {
      sum -= static_cast<double>(count) * std::log(static_cast<double>(count) / static_cast<double>(all));
    }
    total += all;
  }
  return sum / static_cast<double>(total);
}

// Proves that the default set is the same bytes on every machine and compiler, and another with another seed.
TEST(Grammar, DefaultSetIsPinned) {
  const TextDataset set = load_text("planted_grammar", "");
  EXPECT_EQ(set.vocabulary, 128);
  EXPECT_EQ(set.train.token.size(), 1u << 20);
  EXPECT_EQ(set.sha256, "161f1db3d716f9b5e922f4fb78894348b57d7afab2f68f68f9400e18ebcb9a97");
  TextOptions options;
  options.train_limit = 1000;
  const TextDataset front = load_text("planted_grammar", "", options);
  EXPECT_TRUE(std::equal(front.train.token.begin(), front.train.token.end(), set.train.token.begin()));
  options.grammar.seed = 1;
  EXPECT_NE(load_text("planted_grammar", "", options).train.token, front.train.token);
}

// Proves that the tables are what the argument of the header needs: ids bear every (kind, mark, symbol) once, and every
// row of the map is a permutation.
TEST(Grammar, TablesAreWhole) {
  for (const auto& [clusters, symbols] : {std::pair{8, 8}, {3, 5}, {2, 2}}) {
    GrammarOptions o;
    o.clusters = clusters;
    o.symbols = symbols;
    const GrammarTables t = grammar_tables(o);
    std::vector<int> seen(static_cast<size_t>(2) * clusters * symbols);
    for (size_t id = 0; id < t.mark.size(); ++id) {
      const int bearer = (t.fixed[id] * clusters + t.mark[id]) * symbols + t.symbol[id];
      ++seen[bearer];
      EXPECT_EQ(t.id[bearer], static_cast<int32_t>(id));
    }
    EXPECT_EQ(seen, std::vector<int>(seen.size(), 1));
    for (int z = 0; z < clusters; ++z) {
      std::vector<int> row(static_cast<size_t>(symbols));
      for (int u = 0; u < symbols; ++u) ++row[t.map[z * symbols + u]];
      EXPECT_EQ(row, std::vector<int>(row.size(), 1));
    }
  }
}

// Proves that every label is the cluster of the rule, and that without noise so is every next symbol.
TEST(Grammar, LabelsAndTokensFollowTheRule) {
  GrammarOptions o;
  o.noise_percent = 0;
  o.train = 5000;
  const GrammarTables t = grammar_tables(o);
  const TextDataset set = make_grammar(o);
  int open = 0;
  for (size_t i = 1; i < set.train.token.size(); ++i) {
    const int32_t before = set.train.token[i - 1], token = set.train.token[i], z = set.train.cluster[i];
    ASSERT_EQ(z, t.fixed[token] ? t.mark[token] : t.mark[before]);
    open += !t.fixed[token];
    if (i + 1 < set.train.token.size()) {
      const int32_t u = t.symbol[t.fixed[token] ? before : token];
      ASSERT_EQ(t.symbol[set.train.token[i + 1]], t.map[z * o.symbols + u]);
    }
  }
  EXPECT_NEAR(open, 2500, 250);
  EXPECT_NEAR(grammar_entropy(o), std::log(16), 1e-12);  // kind and mark
}

// Proves the entropies the header states on a long text: with all of the past, with one token of it, for shares of the
// fixed kind from none to all; and that z says nothing about the next symbol, u little, both all there is.
TEST(Grammar, EmpiricalEntropyApproachesTheExactOne) {
  for (int fixed : {0, 30, 50, 100}) {
    GrammarOptions o;
    o.clusters = 3;
    o.symbols = 4;
    o.fixed_percent = fixed;
    o.noise_percent = 20;
    const GrammarTables t = grammar_tables(o);
    const TextDataset set = make_grammar(o);
    std::map<std::vector<int32_t>, std::map<int32_t, int64_t>> pair, triple, of_z, of_u;
    for (size_t i = 2; i < set.train.token.size(); ++i) {
      const int32_t a = set.train.token[i - 2], b = set.train.token[i - 1], c = set.train.token[i];
      ++pair[{b}][c];
      ++triple[{a, b}][c];
      ++of_z[{set.train.cluster[i - 1]}][t.symbol[c]];
      ++of_u[{t.symbol[t.fixed[b] ? a : b]}][t.symbol[c]];
    }
    // The plug-in estimate is short of the truth by about (free parameters) / (2 n): 0.006 for pairs before a token.
    EXPECT_NEAR(conditional_entropy(pair), grammar_first_entropy(o), 0.002) << fixed;
    EXPECT_NEAR(conditional_entropy(triple), grammar_entropy(o), 0.009) << fixed;
    EXPECT_NEAR(conditional_entropy(of_z), std::log(4), 0.001) << fixed;
    EXPECT_GT(conditional_entropy(of_u), 0.6 * std::log(4)) << fixed;
    EXPECT_GT(grammar_first_entropy(o), grammar_entropy(o) + 0.2) << fixed;
    EXPECT_NEAR(set.planted_window_entropy(1), grammar_first_entropy(o), 1e-12);
    EXPECT_NEAR(set.planted_window_entropy(4), (grammar_first_entropy(o) + 3 * grammar_entropy(o)) / 4, 1e-12);
  }
}

// Proves that the cluster is not a function of the id: their mutual information is the stated share of H(cluster), and
// clusters are balanced.
TEST(Grammar, IdAloneDoesNotGiveTheCluster) {
  const TextDataset set = load_text("planted_grammar", "");
  std::map<std::vector<int32_t>, std::map<int32_t, int64_t>> alone, given_id;
  for (size_t i = 0; i < set.train.token.size(); ++i) {
    ++alone[{}][set.train.cluster[i]];
    ++given_id[{set.train.token[i]}][set.train.cluster[i]];
  }
  const double entropy = conditional_entropy(alone), information = entropy - conditional_entropy(given_id);
  EXPECT_NEAR(entropy, std::log(8), 0.001);
  EXPECT_NEAR(information, 0.5 * std::log(8), 0.002);
}

// Proves that sizes that break the argument are refused.
TEST(Grammar, BadOptionsAreRefused) {
  const auto with = [](auto change) {
    GrammarOptions o;
    change(o);
    return [o] { make_grammar(o); };
  };
  expect_error(Kind::kUsage, {"at least 2"}, with([](auto& o) { o.symbols = 1; }));
  expect_error(Kind::kUsage, {"fixed_percent 101"}, with([](auto& o) { o.fixed_percent = 101; }));
  expect_error(Kind::kUsage, {"noise_percent 100"}, with([](auto& o) { o.noise_percent = 100; }));
  expect_error(Kind::kUsage, {"65536 ids"}, with([](auto& o) { o.clusters = o.symbols = 512; }));
  expect_error(Kind::kUsage, {"at least 2 tokens"}, with([](auto& o) { o.test = 1; }));
  TextOptions options;
  options.tokenizer = "byte";
  expect_error(Kind::kUsage, {"leave the tokenizer away"}, [&] { load_text("planted_grammar", "", options); });
}

}  // namespace
}  // namespace swy::data
