// Word swap: words of the text give way to one fixed word or to words drawn from the text. A word is what white space
// surrounds, as in the word-level sets, punctuation and markup included; text without spaces is one word.
#include "data/noise/draft.h"

namespace swy::data {
namespace {

struct Word {
  size_t begin, end;
};

std::vector<Word> words_of(std::string_view text) {
  std::vector<Word> words;
  size_t begin = 0;
  const auto end_at = [&](size_t at) {
    if (at > begin) words.push_back({begin, at});
  };
  for_characters(text, [&](size_t at, const CodePoint& c) {
    if (!is_space(c)) return;
    end_at(at);
    begin = at + static_cast<size_t>(c.bytes);
  });
  end_at(text.size());
  return words;
}

}  // namespace

void swap_words_for_unk(NoiseDraft& draft) {
  std::string_view unk;
  for (std::string_view candidate : {"unk", "<unk>"}) {
    if (draft.allowed(candidate)) unk = candidate;
  }
  if (unk.empty()) return;
  for (const Word& word : words_of(draft.clean())) {
    if (draft.clean().substr(word.begin, word.end - word.begin) == unk) continue;
    if (draft.hit(word.begin)) draft.replace(word.begin, word.end, unk);
  }
}

void swap_words_for_sample(NoiseDraft& draft) {
  const std::vector<Word> words = words_of(draft.clean());
  const auto text = [&](const Word& word) { return draft.clean().substr(word.begin, word.end - word.begin); };
  bool differ = false;  // else there is no other word
  for (size_t i = 1; i < words.size() && !differ; ++i) differ = text(words[i]) != text(words[0]);
  if (!differ) return;
  for (const Word& word : words) {
    if (!draft.hit(word.begin)) continue;
    Random random = draft.random(word.begin);
    std::string_view other = text(word);
    while (other == text(word)) other = text(words[random.below(static_cast<uint32_t>(words.size()))]);
    draft.replace(word.begin, word.end, other);
  }
}

}  // namespace swy::data
