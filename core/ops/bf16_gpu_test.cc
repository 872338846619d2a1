// Ops on arrays of bf16 on a device against the same ops on the CPU in fp32, from inputs that are numbers of bf16: what
// is stored as fp32 agrees as in any op, what is stored as bf16 up to one rounding.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/device/device.h"
#include "core/ops/attention.h"
#include "core/ops/ffn.h"
#include "core/ops/gemm.h"
#include "core/ops/rms_norm.h"
#include "core/ops/rotary.h"
#include "core/ops/rows.h"

namespace swy::ops {
namespace {

// One array of a call: its numbers on the CPU as fp32, on the device as one or the other.
struct Array {
  bool bf16;
  std::vector<float> value;  // of the CPU
  DeviceMemory there;

  Array(bool as_bf16, int64_t n, uint64_t seed) : bf16(as_bf16), value(static_cast<size_t>(n)) {
    Random random(seed);
    for (float& v : value) {
      v = 2 * random.uniform() - 1;
      if (bf16) v = fp32_of(bf16_of(v));
    }
    std::vector<Bf16> half;
    for (const float v : value) half.push_back(bf16_of(v));
    there = DeviceMemory(0, std::max<int64_t>(n, 1) * (bf16 ? 2 : 4));
    if (n > 0)
      device_copy(there.data(), bf16 ? static_cast<const void*>(half.data()) : value.data(), n * (bf16 ? 2 : 4));
  }
  std::vector<float> read() const {
    std::vector<float> got(value.size());
    std::vector<Bf16> half(value.size());
    if (got.empty()) return got;
    device_copy(bf16 ? static_cast<void*>(half.data()) : got.data(), there.data(),
                static_cast<int64_t>(value.size()) * (bf16 ? 2 : 4));
    for (size_t i = 0; bf16 && i < got.size(); ++i) got[i] = fp32_of(half[i]);
    return got;
  }
};

// A call takes its arrays here.
class Taken {
 public:
  Taken(std::vector<Array>& arrays, bool device) : arrays_(arrays), device_(device) {}
  Numbers operator[](size_t i) const {
    Array& a = arrays_[i];
    if (!device_) return a.value.data();
    if (a.bf16) return static_cast<Bf16*>(a.there.data());
    return static_cast<float*>(a.there.data());
  }
  float* fp32(size_t i) const { return (*this)[i].fp32(); }

 private:
  std::vector<Array>& arrays_;
  bool device_;
};

struct Bf16Ops : ::testing::Test {
  void SetUp() override {
    if (const std::string why = why_no_cuda(); !why.empty()) GTEST_SKIP() << why;
  }
  // Makes the arrays, runs the call on both and compares all of them. FLOPs are counted alike.
  void expect_agreement(const std::string& what, const std::vector<std::pair<bool, int64_t>>& arrays,
                        const std::function<void(const Exec&, const Taken&)>& call) {
    SCOPED_TRACE(what);
    std::vector<Array> all;
    for (const auto& [bf16, n] : arrays) all.emplace_back(bf16, n, all.size() + 1);
    Tally host, device;
    Stream stream;
    stream.bf16 = true;
    call({&device, false, &stream}, Taken(all, true));
    stream.wait();
    call({&host}, Taken(all, false));
    EXPECT_EQ(device.total().flops, host.total().flops);
    bool any = false;  // numbers that are half as large
    for (const Array& a : all) any = any || (a.bf16 && !a.value.empty());
    if (any && host.total().bytes > 0) {
      EXPECT_LT(device.total().bytes, host.total().bytes);
    }
    for (size_t a = 0; a < all.size(); ++a) {
      const std::vector<float> got = all[a].read();
      double largest = 0;
      for (const float v : all[a].value) largest = std::max(largest, std::fabs(double{v}));
      for (size_t i = 0; i < got.size(); ++i) {
        const double want = double{all[a].value[i]};
        const double bound = 2e-6 * (1 + largest) + (all[a].bf16 ? std::ldexp(std::fabs(want), -8) : 0);
        ASSERT_NEAR(double{got[i]}, want, bound) << "array " << a << " element " << i;
      }
    }
  }
};
constexpr bool kBf16 = true, kFp32 = false;
struct Size {
  int64_t rows, cols;
};
constexpr Size kSizes[] = {{1, 8}, {5, 24}, {37, 64}, {300, 264}, {70, 1032}, {0, 16}};
std::string name(const char* op, const Size& s) { return cat(op, " ", s.rows, "x", s.cols); }

TEST_F(Bf16Ops, Norms) {
  for (const Size& s : kSizes) {
    const auto [r, c] = s;
    expect_agreement(name("layer_norm", s),
                     {{kFp32, r * c}, {kFp32, c}, {kFp32, c}, {kBf16, r * c}, {kFp32, r}, {kFp32, r}},
                     [r = r, c = c](const Exec& ex, const Taken& a) {
                       layer_norm(ex, r, c, 1e-3f, a.fp32(0), a.fp32(1), a.fp32(2), a[3], a.fp32(4), a.fp32(5));
                     });
    expect_agreement(name("layer_norm without gain and bias", s),
                     {{kFp32, r * c}, {kBf16, r * c}, {kFp32, r}, {kFp32, r}},
                     [r = r, c = c](const Exec& ex, const Taken& a) {
                       layer_norm(ex, r, c, 1e-3f, a.fp32(0), nullptr, nullptr, a[1], a.fp32(2), a.fp32(3));
                     });
    expect_agreement(
        name("layer_norm_backward", s),
        {{kFp32, r * c}, {kFp32, c}, {kFp32, r}, {kFp32, r}, {kBf16, r * c}, {kFp32, r * c}, {kFp32, c}, {kFp32, c}},
        [r = r, c = c](const Exec& ex, const Taken& a) {
          layer_norm_backward(ex, r, c, a.fp32(0), a.fp32(1), a.fp32(2), a.fp32(3), a[4], a.fp32(5), a.fp32(6),
                              a.fp32(7));
        });
    expect_agreement(name("rms_norm", s), {{kFp32, r * c}, {kFp32, c}, {kBf16, r * c}, {kFp32, r}},
                     [r = r, c = c](const Exec& ex, const Taken& a) {
                       rms_norm(ex, r, c, 1e-3f, a.fp32(0), a.fp32(1), a[2], a.fp32(3));
                     });
    expect_agreement(name("rms_norm_backward", s),
                     {{kFp32, r * c}, {kFp32, c}, {kFp32, r}, {kBf16, r * c}, {kFp32, r * c}, {kFp32, c}},
                     [r = r, c = c](const Exec& ex, const Taken& a) {
                       rms_norm_backward(ex, r, c, a.fp32(0), a.fp32(1), a.fp32(2), a[3], a.fp32(4), a.fp32(5));
                     });
  }
}

TEST_F(Bf16Ops, BiasesAndActivations) {
  for (const Size& s : kSizes)
    for (const bool biased : {true, false}) {
      const auto [r, c] = s;
      const auto bias = [biased](const Taken& a, size_t i) { return biased ? a.fp32(i) : nullptr; };
      expect_agreement(
          name("add_bias", s), {{kBf16, r * c}, {kFp32, c}, {kBf16, r * c}},
          [=, r = r, c = c](const Exec& ex, const Taken& a) { add_bias(ex, r, c, a[0], bias(a, 1), a[2]); });
      expect_agreement(
          name("bias_backward", s), {{kBf16, r * c}, {kFp32, c}},
          [=, r = r, c = c](const Exec& ex, const Taken& a) { bias_backward(ex, r, c, a[0], bias(a, 1)); });
      for (const ActivationKind kind : {ActivationKind::kGelu, ActivationKind::kSwiglu}) {
        const int64_t p = pre_columns(kind, c);
        expect_agreement(
            name("activate", s), {{kBf16, r * p}, {kFp32, p}, {kBf16, r * c}},
            [=, r = r, c = c](const Exec& ex, const Taken& a) { activate(ex, kind, r, c, a[0], bias(a, 1), a[2]); });
        expect_agreement(name("activate_backward", s),
                         {{kBf16, r * p}, {kFp32, p}, {kBf16, r * c}, {kBf16, r * p}, {kFp32, p}},
                         [=, r = r, c = c](const Exec& ex, const Taken& a) {
                           activate_backward(ex, kind, r, c, a[0], bias(a, 1), a[2], a[3], bias(a, 4));
                         });
      }
      expect_agreement(name("bias_gelu_backward without act", s),
                       {{kBf16, r * c}, {kFp32, c}, {kBf16, r * c}, {kFp32, c}},
                       [=, r = r, c = c](const Exec& ex, const Taken& a) {
                         bias_gelu_backward(ex, r, c, a[0], bias(a, 1), a[2], nullptr, bias(a, 3));
                       });
    }
}

TEST_F(Bf16Ops, Rotary) {
  for (const int32_t heads : {1, 3})
    for (const int32_t head_dim : {16, 48})
      for (const bool biased : {true, false}) {
        const int64_t rows = 14, width = 3 * int64_t{heads} * head_dim;
        const RotaryShape s{rows, 7, heads, head_dim};
        expect_agreement(cat("bias_rotary ", heads, "x", head_dim),
                         {{kBf16, rows * width}, {kFp32, 7 * head_dim}, {kFp32, width}},
                         [=](const Exec& ex, const Taken& a) {
                           bias_rotary(ex, s, nullptr, a.fp32(1), biased ? a.fp32(2) : nullptr, a[0]);
                         });
        expect_agreement(cat("rotary_backward ", heads, "x", head_dim), {{kBf16, rows * width}, {kFp32, 7 * head_dim}},
                         [=](const Exec& ex, const Taken& a) { rotary_backward(ex, s, nullptr, a.fp32(1), a[0]); });
      }
}

TEST_F(Bf16Ops, Products) {
  if (Stream s; !(s.bf16 = true, multiplies_bf16({nullptr, false, &s}))) GTEST_SKIP() << cuda_gemm_library();
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const bool out : {kFp32, kBf16})
        for (const float beta : {0.0f, 1.0f}) {
          const int64_t m = 40, n = 24, k = 56;
          expect_agreement(
              cat("gemm ", ta, tb, out), {{kBf16, m * k}, {kBf16, k * n}, {out, m * n}},
              [=](const Exec& ex, const Taken& a) { gemm(ex, ta, tb, m, n, k, 0.5f, a[0], a[1], beta, a[2]); });
        }
  for (const bool biased : {true, false}) {
    const int64_t m = 33, n = 40, k = 16;
    const auto bias = [=](const Taken& a) { return biased ? a.fp32(2) : nullptr; };
    const std::vector<std::pair<bool, int64_t>> arrays = {
        {kBf16, m * k}, {kBf16, k * n}, {kFp32, n}, {kFp32, m * n}, {kFp32, m * n}};
    expect_agreement("gemm_add", arrays, [=](const Exec& ex, const Taken& a) {
      gemm_add(ex, m, n, k, a[0], a[1], bias(a), a.fp32(3), a.fp32(4));
    });
    expect_agreement("gemm_add in place", arrays, [=](const Exec& ex, const Taken& a) {
      gemm_add(ex, m, n, k, a[0], a[1], bias(a), a.fp32(3), a.fp32(3));
    });
  }
}

// Of any length and from any address.
TEST_F(Bf16Ops, Conversion) {
  for (const int64_t n : {0, 1, 7, 8, 9, 1000, 1003})
    for (const int64_t from : {0, 1}) {
      const Array in(kFp32, n + from, 1);
      Array out(kBf16, n, 2);
      Tally tally;
      Stream stream;
      to_bf16({&tally, false, &stream}, n, static_cast<const float*>(in.there.data()) + from,
              static_cast<Bf16*>(out.there.data()));
      stream.wait();
      const std::vector<float> got = out.read();
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(got[static_cast<size_t>(i)], fp32_of(bf16_of(in.value[static_cast<size_t>(i + from)])))
            << n << " " << i;
      EXPECT_EQ(tally.total().bytes, 6.0 * static_cast<double>(n));
    }
}

}  // namespace
}  // namespace swy::ops
