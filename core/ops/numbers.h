// An array that an op reads or writes as fp32 or, on a device, as bf16: half the bytes to move, and what tensor cores
// multiply at their full rate. Numbers are rounded when they are stored; sums and all maths are fp32 in either. On the
// CPU every array is fp32. A plain pointer converts, so an op that takes these is called as any other.
//
// Arrays of bf16 begin at multiples of 16 bytes, and their rows are multiples of 8 numbers.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/device/exec.h"
#include "core/ops/bf16.h"

namespace swy::ops {

template <class Float, class Half>  // both const or neither
class NumbersOf {
 public:
  NumbersOf(std::nullptr_t = nullptr) {}   // NOLINT: nothing
  NumbersOf(Float* fp32) : fp32_(fp32) {}  // NOLINT: a plain pointer is an array of its type
  NumbersOf(Half* bf16) : bf16_(bf16) {}   // NOLINT
  template <class F, class H>
  NumbersOf(const NumbersOf<F, H>& other) : fp32_(other.fp32()), bf16_(other.bf16()) {}  // NOLINT: to const

  bool is_bf16() const { return bf16_ != nullptr; }
  Float* fp32() const { return fp32_; }  // null where the numbers are bf16, or there are none
  Half* bf16() const { return bf16_; }
  explicit operator bool() const { return fp32_ || bf16_; }
  double bytes() const { return bf16_ ? sizeof(Half) : sizeof(Float); }  // of one number
  NumbersOf from(int64_t element) const { return bf16_ ? NumbersOf(bf16_ + element) : NumbersOf(fp32_ + element); }

 private:
  Float* fp32_ = nullptr;
  Half* bf16_ = nullptr;
};

using Numbers = NumbersOf<float, Bf16>;
using ConstNumbers = NumbersOf<const float, const Bf16>;

// y = x, rounded, on a device; nothing on the CPU, which has no bf16. x and y of any length.
void to_bf16(const Exec&, int64_t n, const float* x, Bf16* y);

}  // namespace swy::ops
