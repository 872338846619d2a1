// Reading errors: characters that look alike in print are taken for each other, as by optical character recognition.
//
// The table is our own, by what the glyphs of roman typefaces share: a digit with the outline of a letter (0 O, 1 l I,
// 5 S ...), two letters that touch and close to one (rn m, cl d, vv w), and letters that differ by one faint stroke
// (c e, h b). It has no frequencies: those depend on the typeface and the reader.
#include "data/noise/draft.h"

namespace swy::data {
namespace {

constexpr std::string_view kAlike[][2] = {{"0", "O"},  {"0", "o"},  {"1", "l"},  {"1", "I"}, {"l", "I"}, {"2", "Z"},
                                          {"5", "S"},  {"6", "b"},  {"8", "B"},  {"9", "g"}, {"c", "e"}, {"h", "b"},
                                          {"rn", "m"}, {"cl", "d"}, {"vv", "w"}, {"li", "h"}};

}  // namespace

// Sites are found from left to right, two characters before one, whatever the rate.
void confuse_glyphs(NoiseDraft& draft) {
  const std::string_view text = draft.clean();
  std::array<std::vector<std::string_view>, 128> of_one;  // by character: what it can be taken for
  std::vector<std::array<std::string_view, 2>> of_two;    // two characters, and the one they can be taken for
  for (const auto& [a, b] : kAlike) {
    for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
      if (!draft.allowed(to)) continue;
      if (from.size() == 1) of_one[static_cast<size_t>(from[0])].push_back(to);
      if (from.size() == 2) of_two.push_back({from, to});
    }
  }
  for (size_t at = 0; at < text.size();) {
    std::string_view from = text.substr(at, 1), to;
    const auto byte = static_cast<uint8_t>(text[at]);
    for (const auto& [two, one] : of_two) {
      if (text.substr(at, 2) == two) from = two, to = one;
    }
    const bool site = !to.empty() || (byte < of_one.size() && !of_one[byte].empty());
    if (site && draft.hit(at)) {
      if (to.empty()) to = of_one[byte][draft.random(at).below(static_cast<uint32_t>(of_one[byte].size()))];
      draft.replace(at, at + from.size(), to);
    }
    at += from.size();
  }
}

}  // namespace swy::data
