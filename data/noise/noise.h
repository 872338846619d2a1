// Noise on text, to ask how a trained model and its routing bear it: word swaps, typing and reading errors, case, white
// space and the order of sentences.
//
// A noise acts at disjoint sites of the clean text. Where they are, and what happens at one, follows from the clean
// text, the seed and the site's byte offset alone; a site is edited where its number u in [0, 1) is below the rate. So
//   - the noisy text is the same for every router, on every machine and for any number of threads;
//   - the edits of a lower rate are all among those of a higher one: a severity curve shows the rate, not the draw;
//   - the share of sites edited is binomial around the rate. NoisyText counts both: what share of the *text* that is
//     depends on how much of it are sites (letters for typos, capital or small letters for case ...).
//
// The alignment is kept while the text is written, not found afterwards: a NoisyText says of every piece which clean
// bytes it stands for. A piece that was copied is "uncorrupted" although what surrounds it may have changed.
//
// Text is UTF-8 and edits are of whole characters (code points). A byte that is not part of a well-formed sequence is
// left as it is by the noises of characters (byte-level splits are cut at byte positions, so any text may have some at
// its ends). Noises write only characters that the tokenizer covers.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace swy::data {

class NoiseDraft;

struct Noise {
  std::string name, doc;
  std::vector<double> rates;  // severities, ascending, each in (0, 1]: the chance that a site is edited
  bool new_words;             // may write words that the text does not have
  void (*edit)(NoiseDraft&);  // see draft.h
};

// word_swap_unk word_swap_sample typo_swap typo_delete typo_insert typo_keyboard ocr case whitespace sentence_shuffle
const std::vector<Noise>& noises();
// Throws Error (usage) for an unknown name, with the nearest known one.
const Noise& find_noise(const std::string& name);

// Whether a character may be written; empty: all may.
using Alphabet = std::function<bool(uint32_t code_point)>;

enum class PieceKind : uint8_t {
  kKept,   // copied
  kMoved,  // copied to another place (sentences); as uncorrupted as a kept one
  kNew,    // written by the noise in place of its source
};

// Bytes [begin, end) of the noisy text stand for bytes [source_begin, source_end) of the clean one. Empty on the noisy
// side: deleted; empty on the clean side: inserted.
struct Piece {
  int64_t begin, end, source_begin, source_end;
  PieceKind kind;
};

struct NoisyText {
  std::string text;
  std::vector<Piece> pieces;  // they tile `text` in order, and their sources tile the clean text in some order
  // A site is a word, character, space or place of confusion; for typo_swap and sentence_shuffle a pair. 0 sites: the
  // noise has nothing to act on in such a text.
  int64_t sites = 0, edited = 0;
};

// `text` with this noise at this rate. Throws Error (usage) for a rate outside [0, 1] and for a text of
// 4 GiB or more.
NoisyText apply(const Noise& noise, double rate, std::string_view text, uint64_t seed, const Alphabet& allowed = {});

}  // namespace swy::data
