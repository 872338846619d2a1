// What is charged for rows counted on a device equals what the host's loop over chunks of as many rows counts.
#include "core/moe/charge.h"

#include <gtest/gtest.h>

#include "core/ops/ffn.h"
#include "core/ops/gemm.h"
#include "core/ops/rows.h"

namespace swy::moe {
namespace {

// The parts of an expert's pass, in a dry run: with and without bias, both activations, accumulating products.
template <class Each>
void for_each_work(Each each) {
  static float some = 0;
  float* const p = &some;
  each([p](const Exec& ex, int64_t n) { ops::gemm(ex, false, false, n, 7, 5, 1, p, p, 0, p); });
  each([p](const Exec& ex, int64_t n) { ops::gemm(ex, true, false, 7, 5, n, 1, p, p, 1, p); });
  for (float* bias : {p, static_cast<float*>(nullptr)})
    for (const auto kind : {ops::ActivationKind::kGelu, ops::ActivationKind::kSwiglu}) {
      each([=](const Exec& ex, int64_t n) { ops::activate(ex, kind, n, 9, p, bias, p); });
      each([=](const Exec& ex, int64_t n) { ops::activate_backward(ex, kind, n, 9, p, bias, p, p, bias); });
      each([=](const Exec& ex, int64_t n) { ops::add_bias(ex, n, 9, p, bias, p); });
      each([=](const Exec& ex, int64_t n) { ops::bias_backward(ex, n, 9, p, bias); });
    }
}

TEST(ChargeRows, EqualsTheCountOfEveryChunk) {
  int works = 0;
  for_each_work([&](auto work) {
    SCOPED_TRACE(++works);
    Tally looped, charged;
    Exec dry{&looped};
    dry.dry = true;
    int64_t rows = 0, chunks = 0;
    for (const int64_t n : {256, 256, 31, 1, 256, 200}) work(static_cast<const Exec&>(dry), n), rows += n, ++chunks;
    charge_rows(charged, rows, chunks, work);
    EXPECT_EQ(charged.total().flops, looped.total().flops);
    EXPECT_EQ(charged.total().bytes, looped.total().bytes);
  });
  EXPECT_EQ(works, 18);
}

// Rows without chunks: for work that has no constant part.
TEST(ChargeRows, MovesOfRowsHaveNoConstantPart) {
  float some = 0;
  const int32_t index = -1;
  const auto work = [&](const Exec& ex, int64_t n) {
    ops::gather_rows(ex, n, n, 6, &index, &some, &some);
    ops::scatter_add_rows(ex, n, n, 6, &index, &some, &some);
  };
  Tally looped, charged;
  Exec dry{&looped};
  dry.dry = true;
  for (const int64_t n : {3, 0, 40}) work(dry, n);
  charge_rows(charged, 43, 0, work);
  EXPECT_GT(looped.total().bytes, 0);
  EXPECT_EQ(charged.total().flops, looped.total().flops);
  EXPECT_EQ(charged.total().bytes, looped.total().bytes);
}

}  // namespace
}  // namespace swy::moe
