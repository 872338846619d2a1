// Planted grammar: a synthetic language whose best routing and best loss are known, so that a router can be checked
// without a download. Generated from a seed with integer arithmetic: the same bytes from every compiler.
//
// An id x bears two things, both shuffled over the vocabulary of clusters * symbols ids: a mark a(x) and a symbol b(x).
// A token x_t after x_{t-1} has a cluster z_t and a content u_t, of which the id gives one and the token before the
// other:
//   fixed ids (for each mark the same number of symbols)   z_t = a(x_t),      u_t = b(x_{t-1})
//   the other ids                                          z_t = a(x_{t-1}),  u_t = b(x_t)
// The next token bears the symbol map[z_t][u_t] (with noise_percent % chance a uniform one) and a uniform mark.
//
// Why only an expert that knows the cluster can read the content. map is a shuffled Latin square (with clusters a
// multiple of symbols, copies of one): each of its rows is a permutation, each of its columns has every symbol equally
// often. It follows by induction that any two neighbours are independent and uniform, so
//   - one token says nothing about the next: a table of pairs, which embedding and output layer alone could hold, stays
//     at ln(vocabulary);
//   - z and the next symbol are independent, u and the next symbol too. The best model whose logits are f(z) + g(u) is
//     again the uniform one; so is any that sums up what each token says.
// Attention can only bring the other token in; somebody has to look up a table of clusters x symbols cases. For an
// expert that gets the tokens of one cluster the table is one permutation: a linear map. A shared network must learn
// all the cases, and under random routing every expert must.
//
// A router must look at more than the id. z given the id is known for fixed ids and uniform for the others, hence
// mutual information of id and cluster = fixed_symbols / symbols * ln(clusters), below H(z) = ln(clusters); so hashing
// ids cannot route well however the table is made. One token before is enough.
//
// Entropy, exact: given two tokens the next has ln(clusters) nats of mark, and of the symbol
//   H = -p ln p - (symbols - 1) q ln q,   q = noise / symbols,   p = 1 - noise + q.
// That is the best loss of a token with all of the past. With only one token of context (the first target of a window)
// it is ln(vocabulary): a window of S tokens has a best mean loss of (ln(vocabulary) + (S - 1)(ln(clusters) + H)) / S.
#pragma once
#include <vector>

#include "data/text.h"

namespace swy::data {

struct GrammarTables {
  std::vector<int32_t> mark, symbol;  // [vocabulary] a and b of an id
  std::vector<uint8_t> fixed;         // [vocabulary] 1: the id alone gives the cluster
  std::vector<int32_t> map;           // [clusters, symbols]
  std::vector<int32_t> id;            // [clusters (mark), symbols] the id that bears both
};

// Throws Error (usage) for sizes that do not fit together, as make_grammar does.
GrammarTables grammar_tables(const GrammarOptions& options);

// z of a token. `previous` is the token before it in the split; for the first token of a split, the token itself.
inline int32_t grammar_cluster(const GrammarTables& tables, int32_t previous, int32_t token) {
  return tables.mark[tables.fixed[token] ? token : previous];
}

// Nats of the next token given all of the past.
double grammar_entropy(const GrammarOptions& options);

// sha256 is left to finish_text.
TextDataset make_grammar(const GrammarOptions& options);

}  // namespace swy::data
