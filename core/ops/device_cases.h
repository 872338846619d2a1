// Lists of calls to ops with the sizes that matter (usual, odd, ragged segments, padding, nothing at all): each entry
// of "swy.ops/1" through the public table, and the ops outside it that models use. The lists are run on the CPU and on
// a device.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/abi/ops.h"
#include "core/ops/check.h"

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
  size_t entry;      // offset in swy_ops; 0: not in the table
  std::string name;  // the op's
  std::string what;  // sizes and kind
  std::vector<Array> arrays;
  std::function<swy_status(const swy_ops&, const swy_exec*, const Pointers&)> call;
};

using Cases = std::vector<DeviceCase>;

// A case of an op that takes an Exec: body(const Exec&, const Pointers&).
template <class Body>
DeviceCase layer(std::string name, std::string what, std::vector<Array> arrays, Body body) {
  return {0, std::move(name), std::move(what), std::move(arrays),
          [=](const swy_ops&, const swy_exec* e, const Pointers& p) {
            Exec ex = *static_cast<const Exec*>(e->ctx);
            ex.dry = ex.dry || e->flags & SWY_EXEC_DRY;
            body(ex, p);
            return SWY_OK;
          }};
}

Cases table_cases();
Cases layer_cases();

// ---- what cases are made of ----------------------------------------------------------------------------------------

using Ints = std::vector<int32_t>;
using Bytes = std::vector<uint8_t>;

inline constexpr double kSame = 0;         // the same bits: integers, copies, single operations
inline constexpr double kElement = 1e-6;   // a few fp32 operations, which devices may fuse differently
inline constexpr double kSum = 2e-5;       // sums in another order
inline constexpr double kProduct = 1e-4;   // sums of hundreds of products
inline constexpr double kIterated = 2e-4;  // rounds that feed on each other

template <class T>
Array array(Role role, const std::vector<T>& values, double tolerance = kSame) {
  Array a{role, Bytes(values.size() * sizeof(T)), std::is_same_v<T, float>, tolerance};
  if (!values.empty()) std::memcpy(a.bytes.data(), values.data(), a.bytes.size());
  return a;
}
template <class T>
Array in(const std::vector<T>& values) {
  return array(Role::kInput, values);
}
inline Array out(int64_t n, double tolerance) {
  return {Role::kOutput, Bytes(static_cast<size_t>(n) * 4), true, tolerance};
}
inline Array out_ints(int64_t n) { return {Role::kOutput, Bytes(static_cast<size_t>(n) * 4), false, 0}; }
inline Array add(int64_t n, double tolerance) { return array(Role::kInOut, draw(n, 77), tolerance); }
inline Array work(int64_t n) { return {Role::kWork, Bytes(static_cast<size_t>(n) * 4), true, 0}; }

inline Ints integers(int64_t n, uint64_t seed, int32_t low, int32_t end) {  // in [low, end)
  Random random(seed);
  Ints x(static_cast<size_t>(n));
  for (int32_t& v : x) v = low + static_cast<int32_t>(random.below(static_cast<uint32_t>(end - low)));
  return x;
}
inline Bytes padding(int64_t n, uint64_t seed) {  // about a quarter is padding
  Bytes mask;
  for (const int32_t v : integers(n, seed, 0, 4)) mask.push_back(v != 0);
  return mask;
}
}  // namespace swy::ops
