// What a noise writes to: it reads the clean text, reports its sites from left to right and says what becomes of those
// that are hit; everything between them is copied. Internal to this folder.
#pragma once
#include <array>

#include "core/base/philox.h"
#include "data/noise/noise.h"
#include "data/utf8.h"

namespace swy::data {

class NoiseDraft {
 public:
  NoiseDraft(std::string_view clean, double rate, uint64_t key, const Alphabet& allowed);

  std::string_view clean() const { return clean_; }
  bool allowed(uint32_t code_point) const { return !allowed_ || allowed_(code_point); }
  bool allowed(std::string_view text) const;  // every character of it

  // Counts the site at byte `at`. True: it is to be edited, and then exactly once. `at` must differ between sites.
  bool hit(size_t at);
  // Numbers for what happens at a site, apart from those that decide whether it does.
  Random random(size_t at) const;

  // The next clean bytes up to `begin` are copied, [begin, end) becomes `with`.
  void replace(size_t begin, size_t end, std::string_view with);
  // The next clean bytes up to `begin` are copied, [begin, end) becomes the clean bytes [from, to). Over all calls,
  // what is moved in must be what was moved out.
  void move(size_t begin, size_t end, size_t from, size_t to);

  NoisyText finish();

 private:
  void piece(size_t from, size_t to, std::string_view with, PieceKind kind);

  std::string_view clean_;
  double rate_;
  uint64_t key_;
  const Alphabet& allowed_;
  size_t at_ = 0;  // clean bytes before it are dealt with
  NoisyText noisy_;
};

// visit(byte offset, code point) for every character, and every byte that is part of none.
template <class Visit>
void for_characters(std::string_view text, Visit visit) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text, at);
    visit(at, c);
    at += static_cast<size_t>(c.bytes);
  }
}

inline bool is_space(const CodePoint& c) { return c.valid && white_space(c.value); }
// What words of a language are made of, and what typos are made in.
inline bool is_word_character(const CodePoint& c) { return c.valid && (letter(c.value) || number(c.value)); }

// The noises, one function each: words.cc, characters.cc, ocr.cc, sentences.cc.
void swap_words_for_unk(NoiseDraft&);
void swap_words_for_sample(NoiseDraft&);
void swap_characters(NoiseDraft&);
void delete_characters(NoiseDraft&);
void insert_characters(NoiseDraft&);
void strike_neighbours(NoiseDraft&);
void flip_case(NoiseDraft&);
void change_spaces(NoiseDraft&);
void confuse_glyphs(NoiseDraft&);
void shuffle_sentences(NoiseDraft&);

}  // namespace swy::data
