// Noises of single characters: typing errors, case and spaces. Typing errors happen in words, which are made of letters
// and numbers here (markup and punctuation stay as they are).
#include "data/noise/draft.h"
#include "data/noise/keyboard.h"

namespace swy::data {
namespace {

template <class Visit>
void for_word_characters(std::string_view text, Visit visit) {
  for_characters(text, [&](size_t at, const CodePoint& c) {
    if (is_word_character(c)) visit(at, c);
  });
}

}  // namespace

// The pairs that may be swapped are laid out beforehand and do not overlap: the first and second character of a word,
// the third and fourth ..., or (a coin a word) the second and third ... Else a pair that is hit at a higher rate only
// could undo a neighbour's swap. As a pair is two characters, the rate is also the share of paired characters touched.
void swap_characters(NoiseDraft& draft) {
  const std::string_view text = draft.clean();
  size_t previous = 0, previous_end = 0;  // bytes of the character before; empty at the start
  bool second = false;                    // the next character ends a pair
  for_word_characters(text, [&](size_t at, const CodePoint& c) {
    const size_t end = at + static_cast<size_t>(c.bytes);
    const bool first_of_word = at != previous_end || at == 0;
    const std::string_view before = text.substr(previous, previous_end - previous), here = text.substr(at, end - at);
    if (first_of_word) {
      second = draft.random(at).word() & 1;
    } else {
      if (second && before != here && draft.hit(previous)) {
        std::string swapped(here);
        draft.replace(previous, end, swapped.append(before));
      }
      second = !second;
    }
    previous = at;
    previous_end = end;
  });
}

void delete_characters(NoiseDraft& draft) {
  for_word_characters(draft.clean(), [&](size_t at, const CodePoint& c) {
    if (draft.hit(at)) draft.replace(at, at + static_cast<size_t>(c.bytes), {});
  });
}

// What is inserted comes from the text itself, so it fits every script and every vocabulary.
void insert_characters(NoiseDraft& draft) {
  const std::string_view text = draft.clean();
  for_word_characters(text, [&](size_t at, const CodePoint& c) {
    if (!draft.hit(at)) return;
    // Bytes are drawn until one begins a character of a word: each of these is as likely. A text with hardly any gets
    // the character itself once more instead of a long search.
    Random random = draft.random(at);
    size_t from = at;
    for (int attempt = 0; attempt < 256; ++attempt) {
      const size_t candidate = random.below(static_cast<uint32_t>(text.size()));
      if (!is_word_character(code_point(text, candidate))) continue;
      from = candidate;
      break;
    }
    const size_t end = at + static_cast<size_t>(c.bytes);
    draft.replace(end, end, text.substr(from, static_cast<size_t>(code_point(text, from).bytes)));
  });
}

void strike_neighbours(NoiseDraft& draft) {
  for_word_characters(draft.clean(), [&](size_t at, const CodePoint& c) {
    std::string possible;
    for (char key : key_neighbours(c.value)) {
      if (draft.allowed(static_cast<uint32_t>(key))) possible += key;
    }
    if (possible.empty() || !draft.hit(at)) return;
    const uint32_t choice = draft.random(at).below(static_cast<uint32_t>(possible.size()));
    draft.replace(at, at + 1, std::string_view(possible).substr(choice, 1));
  });
}

void flip_case(NoiseDraft& draft) {
  for_word_characters(draft.clean(), [&](size_t at, const CodePoint& c) {
    const uint32_t other = other_case(c.value);
    if (other == c.value || !draft.allowed(other) || !draft.hit(at)) return;
    draft.replace(at, at + static_cast<size_t>(c.bytes), utf8(other));
  });
}

// Sites are the single spaces (U+0020) between characters that are none.
void change_spaces(NoiseDraft& draft) {
  const std::string_view text = draft.clean();
  bool after_space = true;
  for_characters(text, [&](size_t at, const CodePoint& c) {
    const bool space = is_space(c), between = !after_space;
    after_space = space;
    const size_t end = at + 1;
    if (c.value != ' ' || !between || end == text.size() || is_space(code_point(text, end)) || !draft.hit(at)) return;
    if (draft.random(at).word() & 1) {
      draft.replace(at, end, {});
    } else {
      draft.replace(end, end, " ");
    }
  });
}

}  // namespace swy::data
