#include "core/plugin/shadow.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"

namespace swy {
namespace {

constexpr int64_t kZone = 4096;  // bytes before and behind: an index that is off by one row of D = 1024 still shows
constexpr uint8_t kZoneByte = 0xA5;
constexpr uint32_t kNaN = 0x7fc0dead;  // a quiet NaN, and as an integer far outside every range
constexpr int64_t kAlign = 256;        // what the ABI promises for scratch

// The first aligned byte behind the front zone.
uint8_t* content(const std::vector<uint64_t>& memory) {
  auto address = reinterpret_cast<uintptr_t>(memory.data()) + kZone;
  address = (address + kAlign - 1) / kAlign * kAlign;
  return reinterpret_cast<uint8_t*>(address);
}
bool intact(const uint8_t* begin, const uint8_t* end) {
  return std::all_of(begin, end, [](uint8_t b) { return b == kZoneByte; });
}
void fill_words(uint8_t* to, int64_t bytes, uint32_t word) {
  for (int64_t i = 0; i + 4 <= bytes; i += 4) std::memcpy(to + i, &word, 4);
}

}  // namespace

void* Shadow::add(std::string name, void* original, int64_t bytes, Use use) {
  if (!original) return nullptr;
  regions_.push_back({std::move(name), original, bytes, use, {}});
  Region& r = regions_.back();
  r.memory.resize(static_cast<size_t>(bytes + 2 * kZone + kAlign + 8) / 8);
  std::memset(r.memory.data(), kZoneByte, r.memory.size() * 8);
  uint8_t* copy = content(r.memory);
  switch (use) {
    case Use::kRead:
    case Use::kAdd: std::memcpy(copy, original, static_cast<size_t>(bytes)); break;
    case Use::kWrite: fill_words(copy, bytes, kNaN); break;
    case Use::kScratch: fill_words(copy, bytes, fill_); break;
  }
  return copy;
}

std::string Shadow::damage() const {
  for (const Region& r : regions_) {
    const auto* begin = reinterpret_cast<const uint8_t*>(r.memory.data());
    const uint8_t *copy = content(r.memory), *end = begin + r.memory.size() * 8;
    if (!intact(begin, copy)) return cat("wrote before the beginning of ", r.name);
    if (!intact(copy + r.bytes, end)) return cat("wrote behind the end of ", r.name, " (", r.bytes, " bytes)");
    if (r.use == Use::kRead && std::memcmp(copy, r.original, static_cast<size_t>(r.bytes)) != 0)
      return cat("wrote to ", r.name, ", which it may only read");
  }
  return {};
}

void Shadow::give_back() const {
  for (const Region& r : regions_)
    if (r.use == Use::kAdd || r.use == Use::kWrite)
      std::memcpy(r.original, content(r.memory), static_cast<size_t>(r.bytes));
}

}  // namespace swy
