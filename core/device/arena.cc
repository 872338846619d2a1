#include "core/device/arena.h"

#include <cstdlib>
#include <cstring>

#include "core/base/error.h"

namespace swy {
namespace {
constexpr int64_t kRedZone = 256;  // bytes after every span: one alignment unit, so offsets stay aligned
constexpr uint8_t kRedByte = 0xA5;

int64_t aligned(int64_t bytes) { return (bytes + Arena::kAlign - 1) / Arena::kAlign * Arena::kAlign; }
int64_t zone_bytes(int64_t bytes) { return aligned(bytes) - bytes + kRedZone; }  // from a span's end to the next one
}  // namespace

void Arena::Free::operator()(uint8_t* p) const { std::free(p); }

int Arena::reserve(std::string name, int64_t bytes) {
  spans_.push_back({std::move(name), total_, bytes});
  total_ += aligned(bytes) + kRedZone;
  return static_cast<int>(spans_.size()) - 1;
}

void Arena::commit() {
  if (on_device()) return commit_on(device_);
  if (total_ == 0) total_ = kAlign;
  auto* p = static_cast<uint8_t*>(std::aligned_alloc(kAlign, total_));
  if (!p) environment_error("cannot allocate ", total_ >> 20, " MiB; lower the batch size, width or number of experts");
  on_host_.reset(p);
  std::memset(p, 0, total_);
  for (const Span& s : spans_) std::memset(p + s.offset + s.bytes, kRedByte, zone_bytes(s.bytes));
}

void Arena::commit_on(int device) {
  device_ = device;
  if (total_ == 0) total_ = kAlign;
  on_device_ = DeviceMemory(device, total_);
  device_set(base(), 0, total_);
  for (const Span& s : spans_) device_set(base() + s.offset + s.bytes, kRedByte, zone_bytes(s.bytes));
}

std::string Arena::overrun() const {
  uint8_t copy[kAlign + kRedZone];
  for (const Span& s : spans_) {
    const uint8_t* zone = base() + s.offset + s.bytes;
    if (on_device()) {
      device_copy(copy, zone, zone_bytes(s.bytes));
      zone = copy;
    }
    for (int64_t i = 0; i < zone_bytes(s.bytes); ++i)
      if (zone[i] != kRedByte) return s.name;
  }
  return {};
}

}  // namespace swy
