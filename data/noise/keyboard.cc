#include "data/noise/keyboard.h"

#include <array>
#include <cctype>
#include <cmath>
#include <string_view>
#include <vector>

namespace swy::data {
namespace {

// Keys are squares of one pitch. A row begins where the wider key to its left ends (Tab 1.5, Caps Lock 1.75, Shift 2.25
// pitches). Two keys touch when their rows are at most one apart and their centres less than a pitch across, or in one
// row exactly a pitch.
struct Row {
  double left;
  std::string_view keys;
};
constexpr Row kRows[] = {{0, "`1234567890-="}, {1.5, "qwertyuiop[]"}, {1.75, "asdfghjkl;'"}, {2.25, "zxcvbnm,./"}};

struct Key {
  char character;
  double x;
  int row;
};

bool touch(const Key& a, const Key& b) {
  const double across = std::abs(a.x - b.x);
  return a.row == b.row ? across == 1 : std::abs(a.row - b.row) == 1 && across < 1;
}

std::array<std::string, 128> make_table() {
  std::vector<Key> keys;
  for (int row = 0; row < 4; ++row) {
    for (size_t i = 0; i < kRows[row].keys.size(); ++i) {
      keys.push_back({kRows[row].keys[i], kRows[row].left + static_cast<double>(i), row});
    }
  }
  std::array<std::string, 128> table;
  for (const Key& key : keys) {
    if (!std::isalnum(static_cast<unsigned char>(key.character))) continue;
    for (const Key& other : keys) {
      if (!touch(key, other)) continue;
      table[static_cast<size_t>(key.character)] += other.character;
      const auto shifted = [](char c) { return static_cast<char>(c - 'a' + 'A'); };
      if (std::isalpha(static_cast<unsigned char>(key.character)) &&
          std::isalpha(static_cast<unsigned char>(other.character))) {
        table[static_cast<size_t>(shifted(key.character))] += shifted(other.character);
      }
    }
  }
  return table;
}

}  // namespace

const std::string& key_neighbours(uint32_t code_point) {
  static const std::array<std::string, 128> table = make_table();
  static const std::string none;
  return code_point < table.size() ? table[code_point] : none;
}

}  // namespace swy::data
