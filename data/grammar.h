// Planted grammar: a synthetic language whose best routing and best loss are known, so that a router can be checked
// without a download. Generated from a seed with integer arithmetic: the same bytes from every compiler.
//
// An id x bears three things, all shuffled over the vocabulary of 2 * clusters * symbols ids: a kind, a mark a(x) and a
// symbol b(x). A token x_t after x_{t-1} has a cluster z_t and a content u_t, of which its id gives one and the token
// before it the other:
//   fixed kind  z_t = a(x_t),      u_t = b(x_{t-1})
//   open kind   z_t = a(x_{t-1}),  u_t = b(x_t)
// The next token bears the symbol map[z_t][u_t] (with noise_percent % chance a uniform one), a uniform mark, and the
// fixed kind with fixed_percent % chance. Each row of map is a random permutation of the symbols.
//
// Why only an expert that knows the cluster can read the content. Marks are drawn afresh, so for both kinds z_t is
// uniform and independent of u_t, and as rows are permutations z alone says nothing about the next symbol. u alone says
// what the rows have in common, the mean of `clusters` permutation matrices: in the default set it takes the loss from
// ln 128 = 4.85 nats to 4.54, and z with it to 3.24. All the rest is in the table of clusters x symbols cases, and z
// and u never come from the same token: a table of pairs of neighbours, which embedding and output layer alone could
// be, does not reach even 4.54. Attention can bring the other token in; somebody has to look up the table. For an
// expert that gets the tokens of one cluster it is one permutation: a linear map. A shared network must learn all the
// cases, and under random routing every expert must.
//
// Why not a Latin square, as in planted.h, where u alone would say nothing at all: there is then no gradient of first
// order towards looking at u, and small dense and randomly routed models stayed at the uniform guess for a thousand
// steps; a test that no router can begin to pass tells routers apart no better than one that all pass.
//
// A router must look at more than the id. z given the id is known for the fixed kind and uniform for the open one,
// hence mutual information of id and cluster = fixed_percent % of ln(clusters), below H(z) = ln(clusters): hashing ids
// cannot route well however the table is made. One token before is enough.
//
// Entropy, exact. Given two tokens the next has the entropy of kind and mark, and of the symbol
//   -p ln p - (symbols - 1) q ln q,   q = noise / symbols,   p = 1 - noise + q.
// That is the best loss of a token with all of the past. The first target of a window is predicted from one token only;
// grammar_first_entropy has the best loss there, from the stationary distribution of neighbouring symbols. (A router
// that is told the true cluster of a window's first token learns something of the token before the window, and may so
// be a little better at that one target than any honest model.)
#pragma once
#include <vector>

#include "data/text.h"

namespace swy::data {

struct GrammarTables {
  std::vector<int32_t> mark, symbol;  // [vocabulary] a and b of an id
  std::vector<uint8_t> fixed;         // [vocabulary] 1: of the fixed kind
  std::vector<int32_t> map;           // [clusters, symbols]
  std::vector<int32_t> id;            // [2 (fixed), clusters (mark), symbols]
};

// Throws Error (usage) for sizes that do not fit together, as make_grammar does.
GrammarTables grammar_tables(const GrammarOptions& options);

// z of a token. `previous` is the token before it in the split; for the first token of a split, the token itself.
inline int32_t grammar_cluster(const GrammarTables& tables, int32_t previous, int32_t token) {
  return tables.mark[tables.fixed[token] ? token : previous];
}

// Nats of the next token given all of the past, and given one token.
double grammar_entropy(const GrammarOptions& options);
double grammar_first_entropy(const GrammarOptions& options);

// sha256 is left to finish_text.
TextDataset make_grammar(const GrammarOptions& options);

}  // namespace swy::data
