#include "core/base/suggest.h"

#include <algorithm>

namespace swy {

int edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<int>> d(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = static_cast<int>(i);
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

std::vector<std::string> nearest_first(const std::string& typed, std::vector<std::string> known) {
  std::stable_sort(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
    return edit_distance(typed, a) < edit_distance(typed, b);
  });
  return known;
}

std::string suggestion(const std::string& typed, const std::vector<std::string>& known) {
  const std::vector<std::string> near = nearest_first(typed, known);
  std::string text;
  // Half of the name may differ, and no more: beyond that a proposal is noise.
  if (!near.empty() && edit_distance(typed, near[0]) <= static_cast<int>(std::max(typed.size(), near[0].size()) / 2)) {
    text = "; did you mean '" + near[0] + "'?";
    text += " known: ";
  } else {
    text = "; known: ";
  }
  if (near.empty()) return "; there are none";
  for (size_t i = 0; i < known.size(); ++i) text += (i ? ", " : "") + known[i];
  return text;
}

}  // namespace swy
