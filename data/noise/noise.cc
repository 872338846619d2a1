#include "data/noise/noise.h"

#include "core/base/error.h"
#include "core/base/seed.h"
#include "core/base/suggest.h"
#include "data/noise/draft.h"

namespace swy::data {
namespace {

// Purposes of the random numbers of a noise.
enum : uint64_t { kHit, kChoice };

}  // namespace

const std::vector<Noise>& noises() {
  // Rates of words: 2.5 % is what published word-swap tables use (MomentumSMoE, AC router), with one step below and two
  // above it.
  const std::vector<double> words = {0.01, 0.025, 0.05, 0.1}, characters = {0.01, 0.02, 0.05};
  static const std::vector<Noise> all = {
      {"word_swap_unk", "a word becomes <unk> (unk where the alphabet has no < and >)", words, true,
       swap_words_for_unk},
      {"word_swap_sample", "a word becomes another word of the text, drawn by frequency", words, false,
       swap_words_for_sample},
      {"typo_swap", "two neighbouring characters of a word change places", characters, true, swap_characters},
      {"typo_delete", "a character of a word is left out", characters, true, delete_characters},
      {"typo_insert", "a character of the text, drawn by frequency, comes after one of a word", characters, true,
       insert_characters},
      {"typo_keyboard", "a letter or digit becomes that of a key beside it (QWERTY)", characters, true,
       strike_neighbours},
      {"ocr", "a character or two become what looks alike in print", characters, true, confuse_glyphs},
      {"case", "a letter changes between capital and small", words, true, flip_case},
      {"whitespace", "a space between words is lost or doubled", characters, true, change_spaces},
      {"sentence_shuffle", "a sentence changes places with another nearby", {0.25, 0.5, 1}, false, shuffle_sentences},
  };
  return all;
}

const Noise& find_noise(const std::string& name) {
  std::vector<std::string> known;
  for (const Noise& noise : noises()) {
    if (noise.name == name) return noise;
    known.push_back(noise.name);
  }
  usage_error("unknown noise '", name, "' of text", suggestion(name, known));
}

NoisyText apply(const Noise& noise, double rate, std::string_view text, uint64_t seed, const Alphabet& allowed) {
  if (!(rate >= 0 && rate <= 1)) {
    std::string usual;
    for (double r : noise.rates) usual += cat(usual.empty() ? "" : ", ", r);
    usage_error("rate ", rate, " of noise '", noise.name, "' is outside [0, 1]; its severities are ", usual);
  }
  if (text.size() > UINT32_MAX) usage_error("a text of ", text.size(), " bytes is too long for noise; at most 4 GiB");
  NoiseDraft draft(text, rate, child_seed(seed, noise.name), allowed);
  noise.edit(draft);
  return draft.finish();
}

NoiseDraft::NoiseDraft(std::string_view clean, double rate, uint64_t key, const Alphabet& allowed)
    : clean_(clean), rate_(rate), key_(key), allowed_(allowed) {
  noisy_.text.reserve(clean.size() + clean.size() / 16);
}

bool NoiseDraft::allowed(std::string_view text) const {
  bool all = true;
  for_characters(text, [&](size_t, const CodePoint& c) { all = all && c.valid && allowed(c.value); });
  return all;
}

bool NoiseDraft::hit(size_t at) {
  const bool edit = philox(key_, kHit, at)[0] * 0x1p-32 < rate_;
  ++noisy_.sites;
  noisy_.edited += edit;
  return edit;
}

Random NoiseDraft::random(size_t at) const { return Random(child_seed(key_, kChoice), at); }

void NoiseDraft::piece(size_t from, size_t to, std::string_view with, PieceKind kind) {
  if (from == to && with.empty()) return;
  const auto begin = static_cast<int64_t>(noisy_.text.size());
  noisy_.text += with;
  noisy_.pieces.push_back(
      {begin, static_cast<int64_t>(noisy_.text.size()), static_cast<int64_t>(from), static_cast<int64_t>(to), kind});
}

void NoiseDraft::replace(size_t begin, size_t end, std::string_view with) {
  piece(at_, begin, clean_.substr(at_, begin - at_), PieceKind::kKept);
  piece(begin, end, with, PieceKind::kNew);
  at_ = end;
}

void NoiseDraft::move(size_t begin, size_t end, size_t from, size_t to) {
  piece(at_, begin, clean_.substr(at_, begin - at_), PieceKind::kKept);
  piece(from, to, clean_.substr(from, to - from), PieceKind::kMoved);
  at_ = end;
}

NoisyText NoiseDraft::finish() {
  piece(at_, clean_.size(), clean_.substr(at_), PieceKind::kKept);
  at_ = clean_.size();
  return std::move(noisy_);
}

}  // namespace swy::data
