// Memory with red zones, named tensors and their starts, and the FLOP account.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/device/arena.h"
#include "core/device/exec.h"
#include "core/device/params.h"

namespace swy {
namespace {

// Spans are aligned, zeroed and apart; a write one byte past a span is found and the span named.
TEST(Arena, FindsAnOverrun) {
  Arena arena;
  const int a = arena.reserve("first", 10), b = arena.reserve("second", 256), empty = arena.reserve("empty", 0);
  arena.commit();
  for (const int span : {a, b, empty}) EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.at(span)) % Arena::kAlign, 0u);
  std::memset(arena.at(a), 1, 10);
  std::memset(arena.at(b), 1, 256);
  EXPECT_EQ(arena.overrun(), "");
  arena.as<uint8_t>(b)[256] = 0;
  EXPECT_EQ(arena.overrun(), "second");
  arena.as<uint8_t>(a)[10] = 0;
  EXPECT_EQ(arena.overrun(), "first");
}

TensorSpec spec(const std::string& name, Init init, float scale, std::vector<int64_t> shape) {
  TensorSpec s;
  s.name = name, s.init = init, s.init_scale = scale, s.shape = std::move(shape);
  return s;
}

// Each rule gives the spread it promises; orthogonal rows, or columns where there are fewer, are orthonormal times the
// gain.
TEST(Params, InitialValues) {
  Params params;
  const int normal = params.add(spec("n", Init::kNormal, 0.5f, {100, 100}));
  const int cut = params.add(spec("t", Init::kTruncNormal, 0.5f, {100, 100}));
  const int uniform = params.add(spec("u", Init::kUniform, 0.5f, {100, 100}));
  const int constant = params.add(spec("c", Init::kConst, 0.5f, {3}));
  const int orthogonal = params.add(spec("o", Init::kOrthogonal, 0.5f, {4, 9}));
  const int tall = params.add(spec("tall", Init::kOrthogonal, 0.5f, {9, 4}));
  params.commit(7);
  auto deviation = [&](int h) {
    double sum = 0;
    for (int64_t i = 0; i < params[h].size; ++i) sum += double{params[h].value[i]} * double{params[h].value[i]};
    return std::sqrt(sum / static_cast<double>(params[h].size));
  };
  EXPECT_NEAR(deviation(normal), 0.5, 0.01);
  EXPECT_NEAR(deviation(cut), 0.5, 0.01);
  EXPECT_NEAR(deviation(uniform), 0.5 / std::sqrt(3.0), 0.01);
  EXPECT_EQ(params[constant].value[2], 0.5f);
  for (int64_t i = 0; i < params[cut].size; ++i) ASSERT_LE(std::fabs(params[cut].value[i]), 2 * 0.5 / 0.8796 + 1e-4);
  const float* o = params[orthogonal].value;
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      double dot = 0;
      for (int c = 0; c < 9; ++c) dot += double{o[i * 9 + c]} * double{o[j * 9 + c]};
      EXPECT_NEAR(dot, i == j ? 0.25 : 0, 1e-6);
      double across = 0;
      for (int r = 0; r < 9; ++r)
        across += double{params[tall].value[r * 4 + i]} * double{params[tall].value[r * 4 + j]};
      EXPECT_NEAR(across, i == j ? 0.25 : 0, 1e-6);
    }
}

// A tensor's start depends on seed and name only, not on its neighbours; copies are equal; a name is taken once.
TEST(Params, StartsDependOnTheName) {
  Params one, two;
  const int a = one.add(spec("x", Init::kNormal, 1, {5}));
  two.add(spec("before", Init::kNormal, 1, {3}));
  TensorSpec twice = spec("experts", Init::kNormal, 1, {2, 4});
  twice.copies = 2;
  const int experts = two.add(twice), b = two.add(spec("x", Init::kNormal, 1, {5}));
  one.commit(3);
  two.commit(3);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(one[a].value[i], two[b].value[i]);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(two[experts].value[i], two[experts].value[4 + i]);
  EXPECT_NE(two[experts].value[0], two[experts].value[1]);
  EXPECT_EQ(two.trainable_count(), 3 + 8 + 5);
  EXPECT_THROW(two.add(spec("x", Init::kZero, 0, {1})), Error);
}

// Where there is no device, asking for one is an error that says why, and nothing else is different.
TEST(Device, AbsenceIsAnErrorWithAReason) {
  const std::string why = why_no_cuda();
  EXPECT_EQ(why.empty(), !cuda_devices().empty());
  if (why.empty()) GTEST_SKIP() << "there is a CUDA device";
  EXPECT_NE(why.find("no CUDA device"), std::string::npos) << why;
  EXPECT_THROW(Stream(), DeviceError);
  Arena arena;
  arena.reserve("span", 10);
  EXPECT_THROW(arena.commit_on(0), DeviceError);
  EXPECT_FALSE(arena.committed());
}

// Work lands in the account that is open; closing one opens the one before again.
TEST(Tally, ChargesTheOpenAccount) {
  Tally tally;
  tally.add(1, 10);
  {
    const Charge outer(tally, Part::kRouter, Pass::kBackward);
    tally.add(2, 20);
    const Charge inner(tally, Part::kExperts);
    tally.add(4, 40);
  }
  tally.add(8, 80);
  EXPECT_EQ(tally.of(Part::kModel, Pass::kForward).flops, 9);
  EXPECT_EQ(tally.of(Part::kRouter, Pass::kBackward).flops, 2);
  EXPECT_EQ(tally.of(Part::kExperts, Pass::kBackward).bytes, 40);
  EXPECT_EQ(tally.total().flops, 15);
}

}  // namespace
}  // namespace swy
