// Byte-level byte-pair encoding as in GPT-2 (Radford et al., "Language models are unsupervised multitask learners",
// 2019; merges after Sennrich, Haddow and Birch, ACL 2016). The text is cut into words, each word begins as its bytes,
// and the pair of neighbours whose merge was learnt first is joined until none is left. Every byte string has an
// encoding.
//
// Files are GPT-2's: vocab.json maps tokens to ids, merges.txt has one pair a line, first learnt first; both write
// bytes as printable characters (a byte that is printable in Latin-1 as itself, the others from U+0100 on).
//
// Words are those of GPT-2's pattern, matched by hand:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// It differs where Unicode does: letters and numbers are those of version 14 (utf8.h). Bytes that are no UTF-8, which
// GPT-2 never sees, count as neither letter nor number nor space.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizer.h"

namespace swy::data {

// Calls visit(word) for the words of `text` in order, until it returns false; together they are the text.
void for_bpe_words(std::string_view text, const std::function<bool(std::string_view)>& visit);

struct BpePair {
  int32_t left = 0, right = 0;  // ids
};

class Bpe : public Tokenizer {
 public:
  // Learns `merges` pairs: always the most frequent one, of equals the one with the smaller (left, right) ids. Ids are
  // the 256 bytes, then the merges in order. Throws Error (usage) where the text has fewer.
  static std::unique_ptr<Bpe> train(std::string_view text, int merges);
  // Reads vocab.json and merges.txt (plain, .gz or .xz) of a directory. Throws Error (environment) for missing or
  // damaged files, naming the line. Tokens of the vocabulary that no merge makes (GPT-2's <|endoftext|>) have their id
  // but are never encoded.
  static std::unique_ptr<Bpe> read(const std::filesystem::path& directory, const std::string& name);
  // Writes both files.
  void write(const std::filesystem::path& directory) const;

  std::vector<int32_t> encode(std::string_view text, const std::string& where = {},
                              int64_t limit = kAllTokens) const override;
  double units_of(int32_t token) const override { return static_cast<double>(texts_.at(token).size()); }

  const std::vector<BpePair>& merges() const { return merges_; }

 private:
  explicit Bpe(const std::string& name) : Tokenizer(name, "byte") {}
  void add_merge(BpePair pair, int32_t merged);
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

  std::vector<int32_t> byte_id_;                   // [256]
  std::vector<BpePair> merges_;                    // in the order learnt
  std::vector<int32_t> merged_;                    // [merges] id of the result
  std::unordered_map<uint64_t, int32_t> rank_of_;  // left << 32 | right -> index into merges_
};

}  // namespace swy::data
