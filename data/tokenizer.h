// Text to token ids and back: one interface, and the tokenizers that need no merges (byte, text8, character, word).
// Byte-level BPE is in bpe.h; make_tokenizer knows all of them by name.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace swy::data {

inline constexpr int64_t kAllTokens = INT64_MAX;

// Bytes [begin, end) of a text.
struct TokenSpan {
  int64_t begin = 0, end = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // The first `limit` tokens of `text`. Throws Error (usage) for text that the tokenizer does not cover, saying what
  // and at which byte of `where` (a file or split, for the message).
  virtual std::vector<int32_t> encode(std::string_view text, const std::string& where,
                                      int64_t limit = kAllTokens) const = 0;
  // A text whose encoding is `ids`, if they are the encoding of any: the bytes of the tokens one after the other, for
  // words with one space between and a newline for each <eos>. Throws Error (usage) outside the vocabulary.
  virtual std::string decode(const std::vector<int32_t>& ids) const;
  // Where each token of `ids`, which encode(text) gave, lies in the text: [tokens], ascending, none overlapping. White
  // space between words is in none, and the <eos> of an end without newline is empty.
  virtual std::vector<TokenSpan> spans(std::string_view text, const std::vector<int32_t>& ids) const;
  // Whether this character may stand anywhere in a text to encode. No character may where words are the tokens and a
  // new one has no <unk> to become.
  virtual bool covers(uint32_t) const { return true; }
  // Bytes, characters or words a token stands for.
  virtual double units_of(int32_t) const { return 1; }

  int vocabulary() const { return static_cast<int>(texts_.size()); }
  const std::vector<std::string>& texts() const { return texts_; }  // [vocabulary] the bytes of each token
  const std::string& name() const { return name_; }
  const std::string& unit() const { return unit_; }  // "byte", "character" or "word"

 protected:
  Tokenizer(std::string name, std::string unit) : name_(std::move(name)), unit_(std::move(unit)) {}
  const std::string& text_of(int32_t id) const;  // throws as decode
  std::vector<std::string> texts_;

 private:
  std::string name_, unit_;
};

// Every byte is a token: id = byte.
std::unique_ptr<Tokenizer> byte_tokenizer();
// Space is 0, a to z are 1 to 26 (text8 has nothing else).
std::unique_ptr<Tokenizer> text8_tokenizer();
// The characters (Unicode code points) of `train`, sorted. Any other in a later text is an error: an <unk> would make
// bits per character incomparable.
std::unique_ptr<Tokenizer> character_tokenizer(std::string_view train);
// Words between white space, a newline is the word <eos>; the vocabulary is that of `train`, in the order of first
// appearance. A later word that is not in it becomes <unk>, if the set itself has that word, else an error. White space
// is that of Unicode, as the readers behind the published numbers have it.
std::unique_ptr<Tokenizer> word_tokenizer(std::string_view train);

// `name` as in TextOptions::tokenizer. Vocabulary and merges are learnt from `train` where they are learnt; gpt2 and
// relative bpe: directories are looked for in data_dir. Throws Error (usage) for an unknown name, listing the known.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name, std::string_view train,
                                          const std::filesystem::path& data_dir);

}  // namespace swy::data
