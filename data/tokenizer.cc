#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

#include "core/base/error.h"
#include "data/bpe.h"
#include "data/utf8.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

constexpr int kMaxBpe = 1 << 20;

// A byte string in a message: printable ASCII as it is, else its hexadecimal bytes.
std::string shown(std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (plain) return cat("'", text, "'");
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex = "bytes";
  for (char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    hex += {' ', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return hex;
}

size_t capped(size_t count, int64_t limit) { return static_cast<size_t>(std::min(limit, static_cast<int64_t>(count))); }

// Tokens of one byte each: a table from byte to id, -1 where there is none.
class BytesTokenizer : public Tokenizer {
 public:
  BytesTokenizer(std::string name, std::string unit, std::string_view alphabet)
      : Tokenizer(std::move(name), std::move(unit)) {
    id_.fill(-1);
    for (char c : alphabet) {
      id_[static_cast<uint8_t>(c)] = static_cast<int32_t>(texts_.size());
      texts_.emplace_back(1, c);
    }
  }

  std::vector<int32_t> encode(std::string_view text, const std::string& where, int64_t limit) const override {
    std::vector<int32_t> ids(capped(text.size(), limit));
    for (size_t i = 0; i < ids.size(); ++i) {
      ids[i] = id_[static_cast<uint8_t>(text[i])];
      if (ids[i] < 0) {
        usage_error("tokenizer '", name(), "' has only the ", vocabulary(), " characters space and a to z, not ",
                    shown(text.substr(i, 1)), " (byte ", i, " of ", where, "); use tokenizer byte or character");
      }
    }
    return ids;
  }
  bool covers(uint32_t c) const override { return vocabulary() == 256 || (c < id_.size() && id_[c] >= 0); }

 private:
  std::array<int32_t, 256> id_{};
};

class CharacterTokenizer : public Tokenizer {
 public:
  explicit CharacterTokenizer(std::string_view train) : Tokenizer("character", "character") {
    std::vector<uint8_t> seen(0x110000);
    for (size_t at = 0; at < train.size();) {
      const CodePoint c = read(train, at, "the train split");
      seen[c.value] = 1;
      at += static_cast<size_t>(c.bytes);
    }
    id_.assign(seen.size(), -1);
    for (uint32_t c = 0; c < seen.size(); ++c) {
      if (!seen[c]) continue;
      id_[c] = static_cast<int32_t>(texts_.size());
      texts_.push_back(utf8(c));
    }
  }

  std::vector<int32_t> encode(std::string_view text, const std::string& where, int64_t limit) const override {
    std::vector<int32_t> ids;
    ids.reserve(capped(text.size(), limit));
    for (size_t at = 0; at < text.size() && static_cast<int64_t>(ids.size()) < limit;) {
      const CodePoint c = read(text, at, where);
      if (id_[c.value] < 0) {
        usage_error("character ", shown(text.substr(at, static_cast<size_t>(c.bytes))), " (byte ", at, " of ", where,
                    ") is not in the train split, so tokenizer 'character' has no id for it; use tokenizer byte");
      }
      ids.push_back(id_[c.value]);
      at += static_cast<size_t>(c.bytes);
    }
    return ids;
  }
  bool covers(uint32_t c) const override { return c < id_.size() && id_[c] >= 0; }

 private:
  static CodePoint read(std::string_view text, size_t at, const std::string& where) {
    const CodePoint c = code_point(text, at);
    if (!c.valid) {
      usage_error(shown(text.substr(at, 1)), " at byte ", at, " of ", where,
                  " is not UTF-8, so tokenizer 'character' cannot read it; use tokenizer byte");
    }
    return c;
  }

  std::vector<int32_t> id_;  // [0x110000]
};

class WordTokenizer : public Tokenizer {
 public:
  explicit WordTokenizer(std::string_view train) : Tokenizer("word", "word") {
    for_words(train, [&](std::string_view word, size_t) {
      if (id_.find(std::string(word)) == id_.end()) {
        id_.emplace(word, static_cast<int32_t>(texts_.size()));
        texts_.emplace_back(word);
      }
      return true;
    });
    const auto unknown = id_.find("<unk>");
    if (unknown != id_.end()) unknown_ = unknown->second;
  }

  std::vector<int32_t> encode(std::string_view text, const std::string& where, int64_t limit) const override {
    std::vector<int32_t> ids;
    std::string key;
    for_words(text, [&](std::string_view word, size_t at) {
      if (static_cast<int64_t>(ids.size()) >= limit) return false;
      key.assign(word);
      const auto found = id_.find(key);
      if (found == id_.end() && unknown_ < 0) {
        usage_error(
            "word ", shown(word), " (byte ", at, " of ", where,
            ") is not in the train split, and the set has no word <unk> of its own; use tokenizer byte or bpe-N");
      }
      ids.push_back(found == id_.end() ? unknown_ : found->second);
      return true;
    });
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (int32_t id : ids) {
      if (text_of(id) == kEnd) {
        text += '\n';
      } else {
        if (!text.empty() && text.back() != '\n') text += ' ';
        text += text_of(id);
      }
    }
    return text;
  }
  std::vector<TokenSpan> spans(std::string_view text, const std::vector<int32_t>& ids) const override {
    std::vector<TokenSpan> spans;
    spans.reserve(ids.size());
    for_words(text, [&](std::string_view word, size_t at) {
      if (spans.size() == ids.size()) return false;
      const size_t end = word.data() == kEnd.data() ? std::min(at + 1, text.size()) : at + word.size();
      spans.push_back({static_cast<int64_t>(at), static_cast<int64_t>(end)});
      return true;
    });
    return spans;
  }
  bool covers(uint32_t) const override { return unknown_ >= 0; }

 private:
  // visit(word, byte it starts at) until it returns false; "<eos>" for every newline, and for an end without one.
  template <class Visit>
  static void for_words(std::string_view text, Visit visit) {
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
      const CodePoint c = code_point(text, at);
      const size_t next = at + static_cast<size_t>(c.bytes);
      if (c.valid && white_space(c.value)) {
        if (at > begin && !visit(text.substr(begin, at - begin), begin)) return;
        if (c.value == '\n' && !visit(kEnd, at)) return;
        begin = next;
      }
      at = next;
    }
    if (text.size() > begin && !visit(text.substr(begin), begin)) return;
    if (!text.empty() && text.back() != '\n') visit(kEnd, text.size());
  }

  static constexpr std::string_view kEnd = "<eos>";
  std::unordered_map<std::string, int32_t> id_;
  int32_t unknown_ = -1;
};

}  // namespace

const std::string& Tokenizer::text_of(int32_t id) const {
  if (id < 0 || id >= vocabulary()) usage_error("token ", id, " is outside the vocabulary [0, ", vocabulary(), ")");
  return texts_[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  for (int32_t id : ids) text += text_of(id);
  return text;
}

std::vector<TokenSpan> Tokenizer::spans(std::string_view, const std::vector<int32_t>& ids) const {
  std::vector<TokenSpan> spans;
  spans.reserve(ids.size());
  int64_t at = 0;
  for (int32_t id : ids) {
    const int64_t begin = at;
    at += static_cast<int64_t>(text_of(id).size());
    spans.push_back({begin, at});
  }
  return spans;
}

std::unique_ptr<Tokenizer> byte_tokenizer() {
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  return std::make_unique<BytesTokenizer>("byte", "byte", all);
}

std::unique_ptr<Tokenizer> text8_tokenizer() {
  return std::make_unique<BytesTokenizer>("text8", "character", " abcdefghijklmnopqrstuvwxyz");
}

std::unique_ptr<Tokenizer> character_tokenizer(std::string_view train) {
  return std::make_unique<CharacterTokenizer>(train);
}

std::unique_ptr<Tokenizer> word_tokenizer(std::string_view train) { return std::make_unique<WordTokenizer>(train); }

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name, std::string_view train, const fs::path& data_dir) {
  if (name == "byte") return byte_tokenizer();
  if (name == "text8") return text8_tokenizer();
  if (name == "character") return character_tokenizer(train);
  if (name == "word") return word_tokenizer(train);
  if (name == "gpt2") {
    return Bpe::read(data_dir / "tokenizer" / "gpt2", name);
  }
  const std::string size_prefix = "bpe-", directory_prefix = "bpe:";
  if (name.rfind(directory_prefix, 0) == 0) {
    const fs::path path = name.substr(directory_prefix.size());
    return Bpe::read(path.is_absolute() ? path : data_dir / path, name);
  }
  if (name.rfind(size_prefix, 0) == 0) {
    int size = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + size_prefix.size(), end, size);
    if (error != std::errc() || stop != end || size <= 256 || size > kMaxBpe) {
      usage_error("tokenizer '", name, "': bpe-N takes N from 257 (256 bytes and a merge) to ", kMaxBpe);
    }
    return Bpe::train(train, size - 256);
  }
  usage_error("unknown tokenizer '", name, "'; known are: byte text8 character word bpe-N gpt2 bpe:DIR");
}

}  // namespace swy::data
