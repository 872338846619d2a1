// UTF-8 as far as tokenizers need it: the code points of a byte string, and which of them are white space, letters and
// numbers.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace swy::data {

struct CodePoint {
  uint32_t value = 0;
  int bytes = 1;
  bool valid = false;  // false: the byte is no start of a well-formed sequence; value is the byte
};

// The code point at text[at]. Over-long forms, surrogates and values above U+10FFFF are not well-formed (Unicode
// standard, table 3-7). REQUIRES: at < text.size().
inline CodePoint code_point(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint32_t first = byte(at);
  if (first < 0x80) return {first, 1, true};
  const int bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() - at < static_cast<size_t>(bytes)) return {first, 1, false};
  uint32_t value = first & (0x7Fu >> bytes);
  for (int i = 1; i < bytes; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return {first, 1, false};
    value = value << 6 | (byte(at + i) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value < 0xE000;
  if (value < kSmallest[bytes] || value > 0x10FFFF || surrogate) return {first, 1, false};
  return {value, bytes, true};
}

// The bytes of a code point. REQUIRES: c <= 0x10FFFF.
std::string utf8(uint32_t c);

// The property White_Space.
inline bool white_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

// General categories L* and N* (Unicode 14). Code points that were unassigned then may count as what their neighbours
// are.
bool letter(uint32_t c);
bool number(uint32_t c);

// The small letter of a capital and the capital of a small letter where the two belong to each other alone, in the
// scripts below (simple case mapping of Unicode); else c itself. Latin to U+017F, Greek and Cyrillic as of today.
uint32_t other_case(uint32_t c);

}  // namespace swy::data
