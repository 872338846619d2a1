#include "core/device/arena.h"

#include <algorithm>
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

int Arena::reserve(std::string name, int64_t bytes) { return reserve(std::move(name), bytes, false); }
int Arena::reserve_reported(std::string name, int64_t bytes) { return reserve(std::move(name), bytes, true); }
int Arena::reserve(std::string name, int64_t bytes, bool reported) {
  int64_t& end = reported ? reported_ : total_;
  spans_.push_back({std::move(name), end, bytes, reported});
  end += aligned(bytes) + kRedZone;
  return static_cast<int>(spans_.size()) - 1;
}

void Arena::place_reported() {
  for (Span& s : spans_)
    if (s.reported) s.offset += total_;
}

void Arena::commit() {
  if (on_device()) return commit_on(device_);
  place_reported();
  const int64_t size = std::max(bytes(), kAlign);
  auto* p = static_cast<uint8_t*>(std::aligned_alloc(kAlign, size));
  if (!p) environment_error("cannot allocate ", size >> 20, " MiB; lower the batch size, width or number of experts");
  on_host_.reset(p);
  std::memset(p, 0, size);
  for (const Span& s : spans_) std::memset(p + s.offset + s.bytes, kRedByte, zone_bytes(s.bytes));
}

void Arena::commit_on(int device) {
  device_ = device;
  place_reported();
  const int64_t size = std::max(bytes(), kAlign);
  on_device_ = DeviceMemory(device, size);
  device_set(base(), 0, size);
  if (reported_ > 0) {
    fetched_ = HostMemory(reported_);
    std::memset(fetched_.data(), 0, reported_);
  }
  for (const Span& s : spans_) device_set(base() + s.offset + s.bytes, kRedByte, zone_bytes(s.bytes));
}

void Arena::fetch(Stream& stream) {
  if (!fetched_.data()) return;
  stream.copy(fetched_.data(), base() + total_, reported_);
  stream.wait();
}

const void* Arena::reported_at(int handle) const {
  return fetched_.data() ? static_cast<const uint8_t*>(fetched_.data()) + spans_[handle].offset - total_ : at(handle);
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
