// The seed tree: run -> purpose -> step -> site. Every seed in the project is made here, so two
// routers with the same run seed see the same data order, augmentation and initial model.
#pragma once
#include <cstdint>
#include <string_view>

#include "core/base/host_device.h"

namespace swy {

// A well-mixed child of `seed` (SplitMix64 finaliser, Steele et al., OOPSLA 2014).
SWY_HOST_DEVICE inline uint64_t child_seed(uint64_t seed, uint64_t index) {
  uint64_t z = seed + 0x9E3779B97F4A7C15ull * (index + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// The child of that name, so that a seed stays as it is when others join (64-bit FNV-1a of the name).
inline uint64_t child_seed(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3ull;
  return child_seed(seed, hash);
}

enum class Purpose : uint64_t {
  kModelInit = 1,
  kRouterInit,
  kDataOrder,
  kAugment,
  kRouterNoise,
  kDataSet,
  kEvaluate,
  kCorruption
};

inline uint64_t purpose_seed(uint64_t run_seed, Purpose purpose) {
  return child_seed(run_seed, static_cast<uint64_t>(purpose));
}
inline uint64_t site_seed(uint64_t run_seed, Purpose purpose, int64_t step, int32_t site) {
  return child_seed(child_seed(purpose_seed(run_seed, purpose), static_cast<uint64_t>(step)),
                    static_cast<uint64_t>(site));
}

}  // namespace swy
