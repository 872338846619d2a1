#include "data/grammar.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/base/seed.h"

namespace swy::data {
namespace {

constexpr int kMaxVocabulary = 1 << 16;

enum Stream : uint64_t { kTables, kTrain, kValid, kTest };

void shuffle(std::vector<int32_t>& values, Random& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(static_cast<uint32_t>(i))]);
}

std::vector<int32_t> shuffled(int count, Random& random) {
  std::vector<int32_t> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  shuffle(values, random);
  return values;
}

void check(const GrammarOptions& o) {
  if (o.symbols < 2 || o.clusters < 2) {
    usage_error("planted_grammar: clusters ", o.clusters, " and symbols ", o.symbols, " must be at least 2");
  }
  if (int64_t{2} * o.clusters * o.symbols > kMaxVocabulary) {
    usage_error("planted_grammar: 2 x clusters ", o.clusters, " x symbols ", o.symbols, " is more than ",
                kMaxVocabulary, " ids");
  }
  if (o.fixed_percent < 0 || o.fixed_percent > 100) {
    usage_error("planted_grammar: fixed_percent ", o.fixed_percent, " must be in [0, 100]");
  }
  if (o.noise_percent < 0 || o.noise_percent > 99) {
    usage_error("planted_grammar: noise_percent ", o.noise_percent, " must be in [0, 99]");
  }
  if (o.train < 2 || o.valid < 2 || o.test < 2) {
    usage_error("planted_grammar: train, valid and test need at least 2 tokens each");
  }
}

double nats(double p) { return p > 0 ? -p * std::log(p) : 0.0; }

// Of kind and mark, which nothing before them tells anything about.
double bearer_entropy(const GrammarOptions& o) {
  const double fixed = o.fixed_percent / 100.0;
  return std::log(o.clusters) + nats(fixed) + nats(1 - fixed);
}

TextSplit make_split(const GrammarOptions& o, const GrammarTables& tables, Stream stream, int64_t tokens) {
  Random random(purpose_seed(o.seed, Purpose::kDataSet), stream);
  const uint32_t clusters = static_cast<uint32_t>(o.clusters), symbols = static_cast<uint32_t>(o.symbols);
  TextSplit split;
  split.token.resize(static_cast<size_t>(tokens));
  split.cluster.resize(split.token.size());
  split.units = static_cast<double>(tokens);
  int32_t previous = 0, symbol = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    if (t < 2 || random.below(100) < static_cast<uint32_t>(o.noise_percent)) {
      symbol = static_cast<int32_t>(random.below(symbols));
    }
    const int32_t fixed = random.below(100) < static_cast<uint32_t>(o.fixed_percent);
    const int32_t mark = static_cast<int32_t>(random.below(clusters));
    const int32_t token = tables.id[(fixed * o.clusters + mark) * o.symbols + symbol];
    if (t == 0) previous = token;
    const int32_t z = grammar_cluster(tables, previous, token);
    split.token[t] = token;
    split.cluster[t] = z;
    symbol = tables.map[z * o.symbols + tables.symbol[tables.fixed[token] ? previous : token]];
    previous = token;
  }
  return split;
}

}  // namespace

GrammarTables grammar_tables(const GrammarOptions& o) {
  check(o);
  Random random(purpose_seed(o.seed, Purpose::kDataSet), kTables);
  GrammarTables tables;
  const int bearers = o.clusters * o.symbols;
  tables.id = shuffled(2 * bearers, random);
  tables.mark.resize(tables.id.size());
  tables.symbol.resize(tables.id.size());
  tables.fixed.resize(tables.id.size());
  for (int i = 0; i < 2 * bearers; ++i) {
    const int32_t id = tables.id[i];
    tables.fixed[id] = i >= bearers;
    tables.mark[id] = i % bearers / o.symbols;
    tables.symbol[id] = i % o.symbols;
  }
  for (int z = 0; z < o.clusters; ++z) {
    const std::vector<int32_t> row = shuffled(o.symbols, random);
    tables.map.insert(tables.map.end(), row.begin(), row.end());
  }
  return tables;
}

double grammar_entropy(const GrammarOptions& o) {
  check(o);
  const double noise = o.noise_percent / 100.0, q = noise / o.symbols;
  return bearer_entropy(o) + nats(1 - noise + q) + (o.symbols - 1) * nats(q);
}

// With C = the mean of the rows of map as matrices (and noise), and f the share of the fixed kind: an open token's next
// symbol is distributed as C[b(x_t)]; a fixed one's as a mapped b(x_{t-1}) given b(x_t), whose distribution obeys
//   P(b_t | b_{t-1} = u) = (1 - f) C[u] + f sum_s P(b_{t-2} = s | b_{t-1} = u) C[s],
// because an open x_{t-1} maps its own symbol by a mark before it, a fixed one that of x_{t-2} by its own mark. Symbols
// are uniform, so Bayes turns the left side into the transposed matrix; the iteration contracts by f.
double grammar_first_entropy(const GrammarOptions& o) {
  const GrammarTables tables = grammar_tables(o);
  const int n = o.symbols;
  const double noise = o.noise_percent / 100.0, fixed = o.fixed_percent / 100.0;
  std::vector<double> mean(static_cast<size_t>(n) * n, noise / n), next(mean.size(), 1.0 / n), turned = mean;
  for (int z = 0; z < o.clusters; ++z) {
    for (int u = 0; u < n; ++u) mean[u * n + tables.map[z * n + u]] += (1 - noise) / o.clusters;
  }
  // A lag of one more token at a time; 200 of them are far below the last bit unless nearly all tokens are fixed.
  for (int step = 0; step < 200; ++step) {
    for (int u = 0; u < n; ++u) {
      for (int v = 0; v < n; ++v) turned[u * n + v] = next[v * n + u];  // P(b_{t-2} = v | b_{t-1} = u)
    }
    for (int u = 0; u < n; ++u) {
      for (int v = 0; v < n; ++v) {
        double through = 0;
        for (int s = 0; s < n; ++s) through += turned[u * n + s] * mean[s * n + v];
        next[u * n + v] = (1 - fixed) * mean[u * n + v] + fixed * through;
      }
    }
  }
  double open_nats = 0, fixed_nats = 0;
  for (int w = 0; w < n; ++w) {
    for (int v = 0; v < n; ++v) open_nats += nats(mean[w * n + v]) / n;
    // A fixed token has a mark of its own: its next symbol is map[mark] of the symbol before, mixed with noise.
    for (int u = 0; u < n; ++u) fixed_nats += nats((1 - noise) * next[u * n + w] + noise / n) / n;
  }
  return bearer_entropy(o) + (1 - fixed) * open_nats + fixed * fixed_nats;
}

TextDataset make_grammar(const GrammarOptions& o) {
  const GrammarTables tables = grammar_tables(o);
  TextDataset set;
  set.id = "planted_grammar";
  set.title = cat("planted grammar: ", o.clusters, " clusters x ", o.symbols, " symbols, ", o.noise_percent,
                  " % noise, seed ", o.seed);
  set.tokenizer = "word";
  set.unit = "word";
  set.split = "generated, independent";
  set.vocabulary = 2 * o.clusters * o.symbols;
  set.planted_clusters = o.clusters;
  set.planted_entropy = grammar_entropy(o);
  set.planted_first_entropy = grammar_first_entropy(o);
  for (int32_t id = 0; id < set.vocabulary; ++id) {
    const char* kind = tables.fixed[id] ? "fixed" : "open";
    set.token_texts.push_back(cat("<", kind, " mark ", tables.mark[id], " symbol ", tables.symbol[id], ">"));
  }
  set.train = make_split(o, tables, kTrain, o.train);
  set.valid = make_split(o, tables, kValid, o.valid);
  set.test = make_split(o, tables, kTest, o.test);
  return set;
}

}  // namespace swy::data
