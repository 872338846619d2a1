// GPT-2's pattern as a hand-written matcher; see bpe.h.
#include "data/bpe.h"
#include "data/utf8.h"

namespace swy::data {
namespace {

enum class Class : uint8_t { kSpace, kLetter, kNumber, kOther };

Class class_of(const CodePoint& c) {
  if (!c.valid) return Class::kOther;
  if (letter(c.value)) return Class::kLetter;
  if (number(c.value)) return Class::kNumber;
  return white_space(c.value) ? Class::kSpace : Class::kOther;
}

// Bytes of the contraction at the start of `text`, 0 where there is none.
size_t contraction(std::string_view text) {
  if (text[0] != '\'') return 0;
  for (std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.substr(0, ending.size()) == ending) return ending.size();
  }
  return 0;
}

}  // namespace

void for_bpe_words(std::string_view text, const std::function<bool(std::string_view)>& visit) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + contraction(text.substr(begin));
    if (end == begin) {
      // One blank may stand before a run of letters, of numbers or of anything else that is not white space.
      size_t at = begin + (text[begin] == ' ' && begin + 1 < text.size() ? 1 : 0);
      const Class kind = class_of(code_point(text, at));
      if (kind == Class::kSpace) at = begin;  // a blank before white space is part of that run
      size_t last = at;                       // where the last character of the run begins
      for (end = at; end < text.size();) {
        const CodePoint c = code_point(text, end);
        if (class_of(c) != kind) break;
        last = end;
        end += static_cast<size_t>(c.bytes);
      }
      // The last of several white-space characters before a word is left to the word.
      if (kind == Class::kSpace && end < text.size() && last > begin) end = last;
    }
    if (!visit(text.substr(begin, end - begin))) return;
    begin = end;
  }
}

}  // namespace swy::data
