// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). The i-th number is a pure function of (key, stream, i), so it is the same for
// any thread count and on any device, and nothing has to be saved to resume.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

#include "core/base/host_device.h"

namespace swy {

// Four 32-bit words for one counter value.
SWY_HOST_DEVICE inline std::array<uint32_t, 4> philox(uint64_t key, uint64_t stream, uint64_t counter) {
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
  uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {c0, c1, c2, c3};
}

// [0, 1) with 24 random bits: every value is exact in fp32.
SWY_HOST_DEVICE inline float unit_uniform(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// A stream of numbers for host-side draws (initialisation, shuffling, synthetic data).
class Random {
 public:
  explicit Random(uint64_t key, uint64_t stream = 0) : key_(key), stream_(stream) {}

  uint32_t word() {
    if (at_ == 4) {
      block_ = philox(key_, stream_, counter_++);
      at_ = 0;
    }
    return block_[at_++];
  }
  float uniform() { return unit_uniform(word()); }  // [0, 1)
  // Uniform integer in [0, n), unbiased (Lemire's multiply with rejection). REQUIRES: n > 0.
  uint32_t below(uint32_t n) {
    for (;;) {
      const uint64_t product = uint64_t{word()} * n;
      if (static_cast<uint32_t>(product) >= static_cast<uint32_t>(-n) % n) return static_cast<uint32_t>(product >> 32);
    }
  }
  float normal() {  // Box-Muller, one of the pair
    const double u = (word() + 0.5) * 0x1p-32, v = word() * 0x1p-32;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
  }

 private:
  uint64_t key_, stream_, counter_ = 0;
  std::array<uint32_t, 4> block_{};
  int at_ = 4;
};

}  // namespace swy
