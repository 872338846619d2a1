#include "core/device/arena.h"

#include <cstdlib>
#include <cstring>

#include "core/base/error.h"

namespace swy {
namespace {
constexpr int64_t kRedZone = 256;  // bytes after every span: one alignment unit, so offsets stay aligned
constexpr uint8_t kRedByte = 0xA5;

int64_t aligned(int64_t bytes) { return (bytes + Arena::kAlign - 1) / Arena::kAlign * Arena::kAlign; }
}  // namespace

void Arena::Free::operator()(uint8_t* p) const { std::free(p); }

int Arena::reserve(std::string name, int64_t bytes) {
  spans_.push_back({std::move(name), total_, bytes});
  total_ += aligned(bytes) + kRedZone;
  return static_cast<int>(spans_.size()) - 1;
}

void Arena::commit() {
  if (total_ == 0) total_ = kAlign;
  auto* p = static_cast<uint8_t*>(std::aligned_alloc(kAlign, total_));
  if (!p) environment_error("cannot allocate ", total_ >> 20, " MiB; lower the batch size, width or number of experts");
  base_.reset(p);
  std::memset(p, 0, total_);
  for (const Span& s : spans_) std::memset(p + s.offset + s.bytes, kRedByte, aligned(s.bytes) - s.bytes + kRedZone);
}

std::string Arena::overrun() const {
  for (const Span& s : spans_) {
    const uint8_t* zone = base_.get() + s.offset + s.bytes;
    for (int64_t i = 0; i < aligned(s.bytes) - s.bytes + kRedZone; ++i)
      if (zone[i] != kRedByte) return s.name;
  }
  return {};
}

}  // namespace swy
