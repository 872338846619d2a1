// Learning of merges. Only different words are kept, with how often each occurs; a merge touches the words that have
// the pair and nothing else, and the most frequent pair comes from a heap whose entries may be out of date: an entry is
// believed only if its count is still true (Sennrich et al. 2016 do the same in their released program).
#include <queue>
#include <tuple>

#include "core/base/error.h"
#include "data/bpe.h"

namespace swy::data {
namespace {

struct Word {
  std::vector<int32_t> symbols;
  int64_t count = 0;
};

struct PairUse {
  int64_t count = 0;
  std::vector<int32_t> words;  // that had the pair when it was noted, some perhaps no more
};

using PairUses = std::unordered_map<uint64_t, PairUse>;
using Entry = std::tuple<int64_t, uint64_t>;  // count, ~(left << 32 | right): of equal counts the smaller pair first

uint64_t key_of(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// Adds `sign` times the pairs of a word to the counts.
void count_pairs(const Word& word, int64_t sign, PairUses& uses) {
  for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
    uses[key_of(word.symbols[i], word.symbols[i + 1])].count += sign * word.count;
  }
}

// Joins every (left, right) of the word, from the left; false where it has none.
bool join(Word& word, int32_t left, int32_t right, int32_t merged) {
  size_t out = 0;
  for (size_t i = 0; i < word.symbols.size(); ++i, ++out) {
    const bool here = i + 1 < word.symbols.size() && word.symbols[i] == left && word.symbols[i + 1] == right;
    word.symbols[out] = here ? merged : word.symbols[i];
    i += here;
  }
  const bool joined = out < word.symbols.size();
  word.symbols.resize(out);
  return joined;
}

}  // namespace

std::unique_ptr<Bpe> Bpe::train(std::string_view text, int merges) {
  std::unique_ptr<Bpe> bpe(new Bpe(cat("bpe-", 256 + merges)));
  for (int b = 0; b < 256; ++b) {
    bpe->byte_id_.push_back(b);
    bpe->texts_.emplace_back(1, static_cast<char>(b));
  }
  std::unordered_map<std::string_view, int64_t> counts;
  for_bpe_words(text, [&](std::string_view word) { return ++counts[word] > 0; });
  std::vector<Word> words;
  for (const auto& [word, count] : counts) {
    if (word.size() < 2) continue;
    words.push_back({{}, count});
    for (char c : word) words.back().symbols.push_back(static_cast<uint8_t>(c));
  }
  PairUses uses;
  const auto note = [&uses](uint64_t key, int32_t word) {
    std::vector<int32_t>& list = uses[key].words;
    if (list.empty() || list.back() != word) list.push_back(word);
  };
  for (size_t w = 0; w < words.size(); ++w) {
    count_pairs(words[w], 1, uses);
    for (size_t i = 0; i + 1 < words[w].symbols.size(); ++i) {
      note(key_of(words[w].symbols[i], words[w].symbols[i + 1]), static_cast<int32_t>(w));
    }
  }
  std::priority_queue<Entry> queue;
  for (const auto& [key, use] : uses) queue.emplace(use.count, ~key);

  std::vector<uint64_t> fresh;
  while (static_cast<int>(bpe->merges_.size()) < merges) {
    if (queue.empty()) {
      usage_error("tokenizer bpe-", 256 + merges, ": the train split has only ", bpe->merges_.size(),
                  " merges to learn; at most bpe-", 256 + bpe->merges_.size(), " is possible");
    }
    const auto [count, inverse] = queue.top();
    queue.pop();
    const uint64_t key = ~inverse;
    const auto use = uses.find(key);
    if (use == uses.end() || use->second.count <= 0) continue;
    if (use->second.count != count) {
      queue.emplace(use->second.count, inverse);
      continue;
    }
    const auto left = static_cast<int32_t>(key >> 32), right = static_cast<int32_t>(key & 0xFFFFFFFF);
    const int32_t merged = bpe->vocabulary();
    bpe->texts_.push_back(bpe->texts_[left] + bpe->texts_[right]);
    bpe->add_merge({left, right}, merged);
    const std::vector<int32_t> touched = std::move(use->second.words);
    fresh.clear();
    for (int32_t w : touched) {
      Word& word = words[w];
      const Word before = word;
      if (!join(word, left, right, merged)) continue;
      count_pairs(before, -1, uses);
      count_pairs(word, 1, uses);
      for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
        if (word.symbols[i] != merged && word.symbols[i + 1] != merged) continue;
        const uint64_t made = key_of(word.symbols[i], word.symbols[i + 1]);
        if (uses[made].words.empty()) fresh.push_back(made);
        note(made, w);
      }
    }
    uses.erase(key);
    for (uint64_t made : fresh) queue.emplace(uses[made].count, ~made);
  }
  return bpe;
}

}  // namespace swy::data
