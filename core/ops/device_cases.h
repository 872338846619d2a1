// One list of calls to "swy.ops/1": each entry of the table with the sizes that matter (usual, odd, ragged segments,
// padding, nothing at all). The list is run on the CPU and on a device through the public table; a later measurement
// can time the same calls.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/abi/ops.h"

namespace swy::ops {

enum class Role {
  kInput,   // must not change
  kOutput,  // filled with 0xA5 before the call, compared after it
  kInOut,   // starts from the given values, compared
  kWork,    // scratch: not compared
  kHost     // stays in host memory (constant)
};

// One array of a call. `tolerance`: |got - want| <= tolerance * (1 + |want|) for floats, 0 = the same bits.
struct Array {
  Role role;
  std::vector<uint8_t> bytes;
  bool is_float = false;
  double tolerance = 0;
};

// The arrays of one call where it runs: p.f(i) is array i as floats.
struct Pointers {
  std::vector<void*> at;
  float* f(size_t i) const { return static_cast<float*>(at[i]); }
  int32_t* i(size_t i) const { return static_cast<int32_t*>(at[i]); }
  uint8_t* b(size_t i) const { return static_cast<uint8_t*>(at[i]); }
};

struct DeviceCase {
  size_t entry;      // offset in swy_ops
  std::string name;  // the entry's
  std::string what;  // sizes and kind
  std::vector<Array> arrays;
  std::function<swy_status(const swy_ops&, const swy_exec*, const Pointers&)> call;
};

std::vector<DeviceCase> device_cases();

}  // namespace swy::ops
