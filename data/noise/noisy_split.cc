#include "data/noise/noisy_split.h"

#include <algorithm>
#include <charconv>

#include "core/base/error.h"
#include "core/base/seed.h"
#include "data/tokenizer.h"

namespace swy::data {
namespace {

// Planted sets have no text: their ids, written as decimal words, stand in for one.
class IdWords : public Tokenizer {
 public:
  IdWords() : Tokenizer("ids", "token") {}
  std::vector<int32_t> encode(std::string_view text, const std::string&, int64_t) const override {
    std::vector<int32_t> ids;
    for (const char *at = text.data(), *end = at + text.size(); at < end; ++at) {
      at = std::from_chars(at, end, ids.emplace_back()).ptr;
    }
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (int32_t id : ids) text += (text.empty() ? "" : " ") + std::to_string(id);
    return text;
  }
  std::vector<TokenSpan> spans(std::string_view, const std::vector<int32_t>& ids) const override {
    std::vector<TokenSpan> spans;
    int64_t at = 0;
    for (int32_t id : ids) {
      const auto length = static_cast<int64_t>(std::to_string(id).size());
      spans.push_back({at, at + length});
      at += length + 1;
    }
    return spans;
  }
  bool covers(uint32_t) const override { return false; }
};

const Tokenizer& tokenizer_of(const TextDataset& set) {
  static const IdWords ids;
  return set.encoder ? *set.encoder : ids;
}

// Walks the pieces of a noisy text along its tokens, which come in order.
class Alignment {
 public:
  Alignment(const std::vector<Piece>& pieces, const std::vector<TokenSpan>& clean) : pieces_(pieces), clean_(clean) {}

  // The clean token of these noisy bytes. `whole`: it is exactly them, copied.
  size_t token_at(const TokenSpan& noisy, bool& whole) {
    while (at_ < pieces_.size() && pieces_[at_].end <= noisy.begin) ++at_;
    if (at_ == pieces_.size()) {  // an empty span at the end
      whole = false;
      return clean_.size() - 1;
    }
    const Piece& first = pieces_[at_];
    const int64_t begin = first.source_begin + (first.kind == PieceKind::kNew ? 0 : noisy.begin - first.begin);
    const size_t token = find(begin);
    const TokenSpan& source = clean_[token];
    whole = source.begin == begin && source.end - source.begin == noisy.end - noisy.begin && copied(noisy);
    return token;
  }

 private:
  // Whether the bytes are copied from one run of the clean text. Two copied pieces that follow each other never do, as
  // an edit is between them; a token of several pieces is thus a changed one.
  bool copied(const TokenSpan& noisy) const {
    return pieces_[at_].kind != PieceKind::kNew && pieces_[at_].end >= noisy.end;
  }
  // The last clean token that begins at or before this byte, or the first. Mostly that of the last call, or the next.
  size_t find(int64_t byte) {
    const auto holds = [&](size_t i) {
      return clean_[i].begin <= byte && (i + 1 == clean_.size() || clean_[i + 1].begin > byte);
    };
    for (size_t i : {last_, last_ + 1}) {
      if (i < clean_.size() && holds(i)) return last_ = i;
    }
    const auto after = std::upper_bound(clean_.begin(), clean_.end(), byte,
                                        [](int64_t value, const TokenSpan& span) { return value < span.begin; });
    return last_ = static_cast<size_t>(std::max<std::ptrdiff_t>(after - clean_.begin() - 1, 0));
  }

  const std::vector<Piece>& pieces_;
  const std::vector<TokenSpan>& clean_;
  size_t at_ = 0, last_ = 0;
};

}  // namespace

bool applies(const Noise& noise, const TextDataset& set) {
  // Word tokenizers cover all characters or none.
  return !noise.new_words || (set.encoder && (set.unit != "word" || set.encoder->covers('a')));
}

NoisySplit add_noise(const TextDataset& set, const TextSplit& clean, const Noise& noise, double rate, uint64_t seed) {
  if (!applies(noise, set)) {
    usage_error("noise '", noise.name, "' makes words that '", set.id, "' with tokenizer '", set.tokenizer,
                "' has no id for (no <unk>); take word_swap_sample or another tokenizer");
  }
  const Tokenizer& tokenizer = tokenizer_of(set);
  const std::string text = tokenizer.decode(clean.token);
  const std::vector<TokenSpan> clean_spans = tokenizer.spans(text, clean.token);
  const std::string id = set.id.substr(0, set.id.find(':'));  // a path differs between machines
  const uint64_t key = child_seed(purpose_seed(seed, Purpose::kEvaluate), id);
  const NoisyText noisy = apply(noise, rate, text, key, [&tokenizer](uint32_t c) { return tokenizer.covers(c); });

  NoisySplit out;
  out.sites = noisy.sites;
  out.edited = noisy.edited;
  out.split.token = tokenizer.encode(noisy.text, cat("'", set.id, "' with noise '", noise.name, "'"));
  std::vector<TokenSpan> spans = tokenizer.spans(noisy.text, out.split.token);
  // A split that a limit cut inside a line ends without <eos>: the tokenizer's own is none of the clean tokens.
  if (spans.size() > 0 && spans.back().begin == spans.back().end) {
    spans.pop_back();
    out.split.token.pop_back();
  }
  if (clean.token.empty()) return out;
  out.source.reserve(spans.size());
  out.unchanged.reserve(spans.size());
  Alignment alignment(noisy.pieces, clean_spans);
  for (size_t i = 0; i < spans.size(); ++i) {
    bool whole = false;
    const size_t source = alignment.token_at(spans[i], whole);
    out.source.push_back(static_cast<int64_t>(source));
    out.unchanged.push_back(whole && out.split.token[i] == clean.token[source]);
    out.split.units += tokenizer.units_of(out.split.token[i]);
    if (!clean.cluster.empty()) out.split.cluster.push_back(clean.cluster[source]);
  }
  return out;
}

std::vector<int64_t> window_starts(const NoisySplit& noisy, int64_t clean_tokens, int64_t stride) {
  if (stride < 1) usage_error("stride ", stride, " of windows must be at least 1 token");
  std::vector<int64_t> starts;
  const auto count = static_cast<int64_t>(noisy.source.size());
  int64_t at = 0;
  for (int64_t start = 0; start < clean_tokens; start += stride) {
    while (at < count && noisy.source[static_cast<size_t>(at)] < start) ++at;
    starts.push_back(at);
  }
  return starts;
}

}  // namespace swy::data
