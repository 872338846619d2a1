// A split of a text set with noise, as tokens, and which clean token each of them is: what an evaluation needs to score
// uncorrupted positions apart and to compare the routing of the same token in clean and in noisy company.
//
// A loss belongs to the token it predicts: it counts as uncorrupted where that token is unchanged. The expert set of a
// noisy token i with unchanged[i] is to be compared with that of clean token source[i].
#pragma once
#include "data/noise/noise.h"
#include "data/text.h"

namespace swy::data {

struct NoisySplit {
  TextSplit split;                 // `cluster`, of planted sets: that of the clean token of `source`
  std::vector<int64_t> source;     // [tokens] index of the clean token; for a changed one, where its text came to be
  std::vector<uint8_t> unchanged;  // [tokens] 1: the clean token itself, bytes and id; moved sentences too
  int64_t sites = 0, edited = 0;   // as in NoisyText
};

// Whether the noise can be written with the tokenizer of `set`. Noises that make new words need a tokenizer that has
// ids for them: not those of planted sets, and of word-level ones only those with an <unk>.
bool applies(const Noise& noise, const TextDataset& set);

// `clean`, a split of `set`, with this noise. The draws are a child of (seed, the set's id without a path, the noise).
// A token whose bytes are all there but which the tokenizer now cuts otherwise (BPE beside an edit) counts as changed.
// The last tokens of a BPE split that a limit cut inside a word may be too. Throws Error (usage) where the noise does
// not apply.
NoisySplit add_noise(const TextDataset& set, const TextSplit& clean, const Noise& noise, double rate, uint64_t seed);

// Where in the noisy split the windows begin whose clean ones begin at 0, stride, 2 * stride ... below `clean_tokens`:
// the first noisy token whose source is at or after it. Cut so, the k-th windows of both texts have the same start, and
// a change of routing is not one of position or of the length of context, which after some inserted or lost tokens
// would else differ everywhere. Throws Error (usage) for a stride below 1.
std::vector<int64_t> window_starts(const NoisySplit& noisy, int64_t clean_tokens, int64_t stride);

}  // namespace swy::data
