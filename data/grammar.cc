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
  if (o.clusters % o.symbols != 0) {
    usage_error("planted_grammar: clusters ", o.clusters, " must be a multiple of symbols ", o.symbols,
                " (otherwise a model could guess the next symbol without telling clusters apart)");
  }
  if (int64_t{o.clusters} * o.symbols > kMaxVocabulary) {
    usage_error("planted_grammar: clusters ", o.clusters, " x symbols ", o.symbols, " is more than ", kMaxVocabulary,
                " ids");
  }
  if (o.fixed_symbols < 0 || o.fixed_symbols > o.symbols) {
    usage_error("planted_grammar: fixed_symbols ", o.fixed_symbols, " must be in [0, ", o.symbols, "]");
  }
  if (o.noise_percent < 0 || o.noise_percent > 99) {
    usage_error("planted_grammar: noise_percent ", o.noise_percent, " must be in [0, 99]");
  }
  if (o.train < 2 || o.valid < 2 || o.test < 2) {
    usage_error("planted_grammar: train, valid and test need at least 2 tokens each");
  }
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
    // The first two tokens are drawn uniformly: that is the stationary distribution of a pair.
    if (t < 2 || random.below(100) < static_cast<uint32_t>(o.noise_percent)) {
      symbol = static_cast<int32_t>(random.below(symbols));
    }
    const int32_t token = tables.id[static_cast<int32_t>(random.below(clusters)) * o.symbols + symbol];
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
  const size_t vocabulary = static_cast<size_t>(o.clusters) * o.symbols;
  tables.id = shuffled(static_cast<int>(vocabulary), random);
  tables.mark.resize(vocabulary);
  tables.symbol.resize(vocabulary);
  tables.fixed.resize(vocabulary);
  for (int a = 0; a < o.clusters; ++a) {
    const std::vector<int32_t> order = shuffled(o.symbols, random);
    for (int b = 0; b < o.symbols; ++b) {
      const int32_t id = tables.id[a * o.symbols + b];
      tables.mark[id] = a;
      tables.symbol[id] = b;
      tables.fixed[id] = order[b] < o.fixed_symbols;
    }
  }
  // A cyclic Latin square, one copy after the other, with rows, columns and symbols shuffled.
  const std::vector<int32_t> rows = shuffled(o.clusters, random), columns = shuffled(o.symbols, random);
  const std::vector<int32_t> names = shuffled(o.symbols, random);
  for (int z : rows) {
    for (int s : columns) tables.map.push_back(names[(z + s) % o.symbols]);
  }
  return tables;
}

double grammar_entropy(const GrammarOptions& o) {
  check(o);
  const double noise = o.noise_percent / 100.0, q = noise / o.symbols, p = 1 - noise + q;
  return std::log(o.clusters) - p * std::log(p) - (q > 0 ? (o.symbols - 1) * q * std::log(q) : 0.0);
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
  set.vocabulary = o.clusters * o.symbols;
  set.planted_clusters = o.clusters;
  set.planted_entropy = grammar_entropy(o);
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
