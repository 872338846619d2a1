#include "core/ops/loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/philox.h"

namespace swy::ops {
namespace {

double row_loss(const double* x, int64_t n, int32_t label, double smoothing) {
  double sum = 0, loss = 0;
  for (int64_t c = 0; c < n; ++c) sum += std::exp(x[c]);
  for (int64_t c = 0; c < n; ++c)
    loss -= ((1 - smoothing) * (c == label) + smoothing / static_cast<double>(n)) * (x[c] - std::log(sum));
  return loss;
}

// Loss, gradient (central differences of a double reference) and correct count for ragged class counts.
TEST(CrossEntropy, IsTheFormulaAndItsGradient) {
  for (const int64_t classes : {2, 10, 37, 1000}) {
    for (const float smoothing : {0.f, 0.1f}) {
      const int64_t rows = 7;
      Random random(classes);
      std::vector<float> x(rows * classes), loss(rows, NAN), d(rows * classes, NAN);
      for (float& v : x) v = 3 * random.normal();
      std::vector<int32_t> label(rows);
      for (int32_t& l : label) l = static_cast<int32_t>(random.below(static_cast<uint32_t>(classes)));
      Tally tally;
      int64_t correct = 5;  // what is there already
      cross_entropy(Exec{&tally}, rows, classes, smoothing, x.data(), label.data(), 0.5f, loss.data(), d.data(),
                    &correct);
      int64_t want_correct = 0;
      std::vector<double> wide(x.begin(), x.end());
      for (int64_t r = 0; r < rows; ++r) {
        double* row = wide.data() + r * classes;
        want_correct += std::max_element(row, row + classes) - row == label[r];
        EXPECT_NEAR(loss[r], row_loss(row, classes, label[r], smoothing), 2e-5);
        for (int64_t c = 0; c < classes; c += 1 + classes / 11) {
          const double keep = row[c], h = 1e-5;
          row[c] = keep + h;
          const double up = row_loss(row, classes, label[r], smoothing);
          row[c] = keep - h;
          const double down = row_loss(row, classes, label[r], smoothing);
          row[c] = keep;
          EXPECT_NEAR(d[r * classes + c], 0.5 * (up - down) / (2 * h), 1e-6);
        }
      }
      EXPECT_EQ(correct, 5 + want_correct);
      std::vector<float> loss_only(rows);
      cross_entropy(Exec{&tally}, rows, classes, smoothing, x.data(), label.data(), 1, loss_only.data(), nullptr);
      EXPECT_EQ(loss_only, loss);
    }
  }
}

// Logits of +-10000 give the exact limit, and a tie counts as correct only at the lowest index.
TEST(CrossEntropy, ExtremesAndTies) {
  const std::vector<float> x = {10000, -10000, 5, 5};
  const std::vector<int32_t> label = {1, 1};
  std::vector<float> loss(2), d(4);
  Tally tally;
  int64_t right = 0;
  cross_entropy(Exec{&tally}, 2, 2, 0, x.data(), label.data(), 1, loss.data(), d.data(), &right);
  EXPECT_EQ(right, 0);
  EXPECT_EQ(loss[0], 20000);
  EXPECT_EQ(d[0], 1);
  EXPECT_EQ(d[1], -1);
  EXPECT_FLOAT_EQ(loss[1], std::log(2.f));
}

// No rows: nothing is touched; a dry run counts 8 per element and touches nothing.
TEST(CrossEntropy, EmptyAndDry) {
  Tally tally;
  int64_t right = 0;
  cross_entropy(Exec{&tally}, 0, 10, 0, nullptr, nullptr, 1, nullptr, nullptr, &right);
  float sink;
  cross_entropy(Exec{&tally, true}, 3, 10, 0, nullptr, nullptr, 1, nullptr, &sink, &right);
  EXPECT_EQ(right, 0);
  EXPECT_EQ(tally.total().flops, 8 * 30);
}

// A language model's loss: the formula and its gradient where there is a target, zeros where there is none, the most
// likely token and its probability everywhere; the same with the gradient written over the logits.
TEST(TokenCrossEntropy, IsTheFormulaWithRowsLeftOut) {
  for (const int64_t classes : {2, 27, 256, 1000}) {
    const int64_t rows = 9;
    Random random(classes);
    std::vector<float> x(rows * classes), loss(rows, NAN), d(rows * classes, NAN), confidence(rows, NAN);
    for (float& v : x) v = 3 * random.normal();
    std::vector<int32_t> target(rows), predicted(rows, -7);
    for (int64_t r = 0; r < rows; ++r)
      target[r] = r % 3 == 1 ? -1 : static_cast<int32_t>(random.below(static_cast<uint32_t>(classes)));
    x[3 * classes + target[3]] = 30;  // one certain hit
    Tally tally;
    TokenScore score;
    token_cross_entropy(Exec{&tally}, rows, classes, x.data(), target.data(), 0.5f, loss.data(), predicted.data(),
                        confidence.data(), d.data(), &score);
    int64_t right = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const std::vector<double> row(x.begin() + r * classes, x.begin() + (r + 1) * classes);
      const auto best = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
      EXPECT_EQ(predicted[r], best);
      EXPECT_NEAR(confidence[r], std::exp(-row_loss(row.data(), classes, best, 0)), 2e-6);
      right += target[r] == best;
      EXPECT_NEAR(loss[r], target[r] < 0 ? 0 : row_loss(row.data(), classes, target[r], 0), 2e-5);
      for (int64_t c = 0; c < classes; ++c) {
        const double p = std::exp(-row_loss(row.data(), classes, static_cast<int32_t>(c), 0));
        ASSERT_NEAR(d[r * classes + c], target[r] < 0 ? 0 : 0.5 * (p - (c == target[r])), 1e-6);
      }
    }
    EXPECT_EQ(score.scored, 6);
    EXPECT_EQ(score.right, right);
    EXPECT_GE(right, 1);
    std::vector<float> loss_only(rows), in_place = x;
    token_cross_entropy(Exec{&tally}, rows, classes, x.data(), target.data(), 0, loss_only.data(), nullptr, nullptr,
                        nullptr);
    EXPECT_EQ(loss_only, loss);
    token_cross_entropy(Exec{&tally}, rows, classes, in_place.data(), target.data(), 0.5f, loss_only.data(), nullptr,
                        nullptr, in_place.data());
    EXPECT_EQ(in_place, d);
  }
}

// Logits of +-10000 give the exact limit: loss 0 or 20000, gradient 0 or 1.
TEST(TokenCrossEntropy, ExtremeLogits) {
  const std::vector<float> x = {10000, -10000, 10000, -10000};
  const std::vector<int32_t> target = {0, 1};
  std::vector<float> loss(2), d(4);
  Tally tally;
  token_cross_entropy(Exec{&tally}, 2, 2, x.data(), target.data(), 1, loss.data(), nullptr, nullptr, d.data());
  EXPECT_NEAR(loss[0], 0, 1e-6);
  EXPECT_FLOAT_EQ(loss[1], 20000);
  EXPECT_NEAR(d[0], 0, 1e-6);
  EXPECT_NEAR(d[2], 1, 1e-6);
  EXPECT_NEAR(d[3], -1, 1e-6);
}

}  // namespace
}  // namespace swy::ops
