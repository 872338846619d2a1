#include "benchmarks/preview_text.h"

#include <algorithm>
#include <ostream>
#include <vector>

#include "core/base/error.h"
#include "data/noise/noise.h"
#include "data/text.h"
#include "data/tokenizer.h"

namespace swy::bench {
namespace {

using data::Piece;
using data::PieceKind;

constexpr int64_t kTokens = 1 << 16;            // of the test split, to find places in
constexpr int kPlaces = 3;                      // shown of a noise
constexpr int64_t kBefore = 24, kLength = 100;  // bytes shown before an edit, and in all

// One line of the terminal: ends of lines become a sign.
std::string one_line(std::string_view text) {
  std::string line;
  for (char c : text) {
    if (c == '\n') {
      line += "\xE2\x8F\x8E";  // U+23CE
    } else {
      line += static_cast<uint8_t>(c) < ' ' ? ' ' : c;
    }
  }
  return line;
}

// The first byte at or after `at` that does not continue a character.
int64_t character_start(std::string_view text, int64_t at) {
  const auto size = static_cast<int64_t>(text.size());
  at = std::clamp<int64_t>(at, 0, size);
  while (at < size && (static_cast<uint8_t>(text[static_cast<size_t>(at)]) & 0xC0) == 0x80) ++at;
  return at;
}

// Bytes [begin, end) of the noisy text with marks, and the clean bytes they stand for. As many clean bytes come before
// a piece as the pieces before it stand for, moved ones included: sentences change places within what is shown.
void show(std::ostream& out, std::string_view clean, const data::NoisyText& noisy, int64_t begin, int64_t end) {
  int64_t clean_begin = -1, clean_end = 0, passed = 0;
  std::string marked;
  for (const Piece& p : noisy.pieces) {
    const int64_t source = p.source_end - p.source_begin;
    if (p.begin < end && (p.end > begin || p.begin == begin)) {
      const bool copied = p.kind != PieceKind::kNew;  // what is new is shown whole
      const int64_t first = copied ? std::max(begin, p.begin) : p.begin, last = copied ? std::min(end, p.end) : p.end;
      if (clean_begin < 0) clean_begin = passed + (copied ? first - p.begin : 0);
      clean_end = passed + (copied ? last - p.begin : source);
      const std::string text =
          one_line(std::string_view(noisy.text).substr(static_cast<size_t>(first), static_cast<size_t>(last - first)));
      marked += p.kind == PieceKind::kKept ? text : "[" + text + "]";
    }
    passed += source;
  }
  if (clean_begin < 0) return;
  const std::string_view before =
      clean.substr(static_cast<size_t>(clean_begin), static_cast<size_t>(clean_end - clean_begin));
  out << "  - " << one_line(before) << "\n  + " << marked << "\n";
}

void preview(std::ostream& out, const data::Noise& noise, double rate, const std::string& clean,
             const data::Tokenizer& tokenizer) {
  const data::NoisyText noisy =
      data::apply(noise, rate, clean, 0, [&tokenizer](uint32_t c) { return tokenizer.covers(c); });
  out << noise.name << ": " << noise.doc << "\n  severities";
  for (double severity : noise.rates) out << " " << severity;
  out << "; at " << rate << " here " << noisy.edited << " of " << noisy.sites << " sites are edited\n";
  if (noisy.sites == 0) out << "  nothing in this text, or no character of its vocabulary, for this noise to act on\n";
  int64_t from = 0;
  int shown = 0;
  for (const Piece& p : noisy.pieces) {
    if (p.kind == PieceKind::kKept || p.begin < from || shown == kPlaces) continue;
    const int64_t begin = character_start(noisy.text, p.begin - kBefore);
    from = character_start(noisy.text, begin + kLength);
    show(out, clean, noisy, begin, from);
    ++shown;
  }
}

}  // namespace

void preview_text(std::ostream& out, const std::string& set, const std::filesystem::path& data_dir,
                  const std::string& noise, std::optional<double> rate) {
  std::vector<data::Noise> chosen = data::noises();
  if (noise != "all") chosen = {data::find_noise(noise)};
  data::TextOptions options;
  options.train_limit = 2;  // of the ids; what a tokenizer learns, it learns from all
  options.valid_limit = 2;
  options.test_limit = kTokens;
  const data::TextDataset text = data::load_text(set, data_dir, options);
  if (!text.encoder) usage_error("'", set, "' is generated as tokens; there is no text to preview");
  const std::string clean = text.encoder->decode(text.test.token);
  for (const data::Noise& one : chosen) preview(out, one, rate.value_or(one.rates.back()), clean, *text.encoder);
}

}  // namespace swy::bench
