// Experts that take their rows by index from x [T, D], some more than once and some never: by Hopper's own
// instructions, by those of sm_80, and packed on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/moe/device_twins.h"
#include "core/moe/experts.h"
#include "core/ops/rounding_check.h"

namespace swy::moe {
namespace {

using namespace testing;  // NOLINT: the fixture of this folder
using ops::Bf16;
using ops::testing::expect_rounded;

constexpr int kRoundings = 8;  // on the way from an input to a gradient: two of each of three products, and two stored
constexpr Bf16 kNoNumber = 0xFFFF;

std::vector<Bf16> halves(const std::vector<float>& v) {
  std::vector<Bf16> to;
  for (const float f : v) to.push_back(ops::bf16_of(f));
  return to;
}

struct ByIndex {
  int32_t width, hidden, experts;
  int64_t tokens, rows = 0, most;  // rows N, of `most` that there may be
  ops::ActivationKind kind;
  std::vector<int64_t> begin{0};
  std::vector<float> w1, b1, w2, b2, x, dy;
  std::vector<int32_t> token;
  Tally tally;

  ByIndex(int32_t d, int32_t h, const std::vector<int64_t>& of_experts, int64_t t, bool swiglu)
      : width(d), hidden(h), experts(static_cast<int32_t>(of_experts.size())), tokens(t) {
    kind = swiglu ? ops::ActivationKind::kSwiglu : ops::ActivationKind::kGelu;
    for (const int64_t n : of_experts) begin.push_back(rows += n);
    most = rows + 77;
    uint64_t seed = 1;
    const auto random = [&](int64_t size, float scale) {
      std::vector<float> v(static_cast<size_t>(size));
      fill(v.data(), size, seed++, scale);
      return v;
    };
    const int64_t e = experts, p = ops::pre_columns(kind, h);
    w1 = random(e * d * p, 1 / std::sqrt(static_cast<float>(d))), b1 = random(e * p, 1);
    w2 = random(e * h * d, 1 / std::sqrt(static_cast<float>(h))), b2 = random(e * d, 1);
    x = random(tokens * d, 1), dy = random(rows * d, 1);
    for (int64_t r = 0; r < rows; ++r) token.push_back(static_cast<int32_t>(r * r * 7 % tokens));
  }

  Results on_host() {
    std::vector<float> packed;
    for (const int32_t t : token) packed.insert(packed.end(), &x[t * int64_t{width}], &x[t * int64_t{width}] + width);
    Arena arena;
    Experts of(arena, width, hidden, kind, most, experts);
    arena.commit();
    std::vector<float> y(packed.size()), dx = dy, dw1(w1.size()), db1(b1.size()), dw2(w2.size()), db2(b2.size());
    const ExpertWeights w{w1.data(), b1.data(), w2.data(), b2.data()};
    const Exec cpu{&tally};
    of.forward(cpu, experts, begin.data(), w, packed.data(), y.data());
    of.backward(cpu, experts, begin.data(), w, {dw1.data(), db1.data(), dw2.data(), db2.data()}, packed.data(),
                dx.data());
    return {{"y", y}, {"dx", dx}, {"dw1", dw1}, {"db1", db1}, {"dw2", dw2}, {"db2", db2}};
  }

  // Whatever is not this step's is no number: rows of x that nobody asks for, what stands behind rows and index, and
  // what a step of more rows has left in the experts' own memory.
  Results on_device(bool hopper) {
    Arena arena(0);
    Experts of(arena, width, hidden, kind, most, experts, Around::kBf16);
    arena.commit();
    std::vector<Bf16> table = halves(x), gradient = halves(dy);
    for (int64_t t = 0; t < tokens; ++t)
      if (std::find(token.begin(), token.end(), t) == token.end()) std::fill_n(&table[t * width], width, kNoNumber);
    gradient.resize(static_cast<size_t>(most * width), kNoNumber);
    std::vector<int32_t> index = token;
    index.resize(token.size() + 256, std::numeric_limits<int32_t>::max());
    const DeviceMemory at_x = upload(table);
    const DeviceMemory at[] = {upload(w1), upload(b1), upload(w2), upload(b2)};
    std::vector<int64_t> all_at_first(begin.size(), most);
    all_at_first[0] = 0;
    step(of, hopper, all_at_first, at, at_x, std::vector<int32_t>(static_cast<size_t>(most)),
         std::vector<Bf16>(gradient.size(), kNoNumber));
    const Results all = step(of, hopper, begin, at, at_x, index, gradient);
    EXPECT_EQ(arena.overrun(), "");
    return all;
  }

 private:
  Results step(Experts& of, bool hopper, const std::vector<int64_t>& first, const DeviceMemory (&at)[4],
               const DeviceMemory& at_x, const std::vector<int32_t>& index, const std::vector<Bf16>& gradient) {
    const DeviceMemory at_first = upload(first), at_index = upload(index), y = upload(gradient),
                       dy_dx = upload(gradient);
    const auto zeros = [](const std::vector<float>& like) { return upload(std::vector<float>(like.size())); };
    const DeviceMemory grad[] = {zeros(w1), zeros(b1), zeros(w2), zeros(b2)};
    const auto floats = [](const DeviceMemory& m) { return static_cast<float*>(m.data()); };
    const auto half = [](const DeviceMemory& m) { return static_cast<Bf16*>(m.data()); };
    const auto* rows_of = static_cast<const int64_t*>(at_first.data());
    const auto* row = static_cast<const int32_t*>(at_index.data());
    Stream stream;
    stream.bf16 = true, stream.hopper = hopper;
    Exec gpu{&tally};
    gpu.stream = &stream;
    of.forward_bf16(gpu, experts, rows_of, {floats(at[0]), floats(at[1]), floats(at[2]), floats(at[3])}, half(at_x),
                    row, half(y));
    of.backward_bf16(gpu, experts, rows_of, {floats(grad[0]), floats(grad[1]), floats(grad[2]), floats(grad[3])},
                     half(at_x), row, half(dy_dx));
    stream.wait();
    const auto widened = [&](const DeviceMemory& m) {
      std::vector<float> to;
      for (const Bf16 v : download(half(m), rows * width)) to.push_back(ops::fp32_of(v));
      return to;
    };
    const auto read = [&](const DeviceMemory& m) {
      return download(floats(m), m.bytes() / static_cast<int64_t>(sizeof(float)));
    };
    return {{"y", widened(y)},      {"dx", widened(dy_dx)}, {"dw1", read(grad[0])},
            {"db1", read(grad[1])}, {"dw2", read(grad[2])}, {"db2", read(grad[3])}};
  }
};

void expect_agreement(ByIndex c) {
  SCOPED_TRACE(cat(c.width, " x ", c.hidden, c.kind == ops::ActivationKind::kSwiglu ? " SwiGLU" : " GELU"));
  const Results want = c.on_host(), got = c.on_device(true), plain = c.on_device(false);
  for (size_t i = 0; i < want.size(); ++i) {
    expect_rounded(got[i].second, want[i].second.data(), nullptr, kRoundings, got[i].first);
    expect_rounded(got[i].second, plain[i].second.data(), nullptr, 1, got[i].first + " beside sm_80's");
  }
}

TEST_F(OnHopper, RowsByIndexAgreeWithTheCpuAndWithSm80) {
  for (const bool swiglu : {false, true}) {
    expect_agreement({136, 72, {0, 129, 1, 0, 70, 64, 0}, 50, swiglu});
    expect_agreement({264, 8, {40, 17, 0}, 300, swiglu});
    expect_agreement({8, 136, {3, 0, 1, 200}, 7, swiglu});
    expect_agreement({16, 24, {0, 0}, 4, swiglu});
  }
}

}  // namespace
}  // namespace swy::moe
