// Sentence shuffle. A sentence ends at . ! ? or ... (and quotes or brackets that close it) before white space, at their
// full-width forms, or at the end of a line; an abbreviation may so end one too early. The white space between stays.
//
// Eight sentences in a row are a block. The sentences of a block are paired at random, whatever the rate, and a pair
// that is hit changes places: as many sentences move as the rate says, and those of a lower rate among them. Within a
// block, a text keeps its topics and a window of a model much of what it had.
#include <algorithm>
#include <numeric>

#include "data/noise/draft.h"

namespace swy::data {
namespace {

constexpr size_t kBlock = 8;

struct Sentence {
  size_t begin, end;
};

std::vector<Sentence> sentences_of(std::string_view text) {
  enum class State { kGap, kInside, kEnding } state = State::kGap;
  std::vector<Sentence> sentences;
  for_characters(text, [&](size_t at, const CodePoint& c) {
    const bool space = is_space(c);
    const bool stop = c.value == '.' || c.value == '!' || c.value == '?' || c.value == 0x2026;
    const bool wide_stop = c.value == 0x3002 || c.value == 0xFF01 || c.value == 0xFF1F;
    const bool closing = c.value == '"' || c.value == '\'' || c.value == ')' || c.value == ']' || c.value == 0x201D ||
                         c.value == 0x2019 || c.value == 0xBB || c.value == 0x300D || c.value == 0xFF09;
    const bool after_wide_stop = state == State::kGap && !sentences.empty() && sentences.back().end == at;
    if (state == State::kGap && (space || (after_wide_stop && (closing || wide_stop)))) {
      if (!space) sentences.back().end = at + static_cast<size_t>(c.bytes);
      return;
    }
    if (space && (state == State::kEnding || c.value == '\n')) {
      state = State::kGap;
      return;
    }
    if (space) return;  // inside a sentence; its end moves on with the next character
    if (state == State::kGap) sentences.push_back({at, at});
    sentences.back().end = at + static_cast<size_t>(c.bytes);
    if (!c.valid) {
      state = State::kInside;
    } else if (wide_stop) {
      state = State::kGap;
    } else if (stop) {
      state = State::kEnding;
    } else if (state != State::kEnding || !closing) {
      state = State::kInside;
    }
  });
  return sentences;
}

}  // namespace

void shuffle_sentences(NoiseDraft& draft) {
  const std::vector<Sentence> sentences = sentences_of(draft.clean());
  for (size_t block = 0; block < sentences.size(); block += kBlock) {
    const size_t count = std::min(kBlock, sentences.size() - block);
    std::array<size_t, kBlock> order, comes;  // a random order; which sentence comes to the place of each
    std::iota(order.begin(), order.end(), block);
    std::iota(comes.begin(), comes.end(), block);
    Random random = draft.random(sentences[block].begin);
    for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
    for (size_t i = 0; i + 1 < count; i += 2) {
      const size_t a = order[i], b = order[i + 1];
      if (draft.hit(sentences[std::min(a, b)].begin)) std::swap(comes[a - block], comes[b - block]);
    }
    for (size_t i = 0; i < count; ++i) {
      const Sentence &place = sentences[block + i], &moved = sentences[comes[i]];
      if (comes[i] != block + i) draft.move(place.begin, place.end, moved.begin, moved.end);
    }
  }
}

}  // namespace swy::data
