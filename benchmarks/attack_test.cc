#include "benchmarks/attack.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/error.h"

namespace swy::bench {
namespace {

// One image of two channels and four pixels; pixel values in [0, 1], normalised by mean 0.5 and std 0.25 or 0.5.
struct AttackTest : testing::Test {
  data::ImageDataset set;
  std::vector<float> pixel{0.5f, 0.01f, 0.99f, 0.3f, 0.5f, 0.01f, 0.99f, 0.3f}, images;
  AttackTest() {
    set.channels = 2, set.height = 2, set.width = 2;
    set.mean = {0.5f, 0.5f}, set.std = {0.25f, 0.5f};
    images = normalised(pixel);
  }
  float std_of(size_t i) const { return set.std[i / 4]; }
  std::vector<float> normalised(std::vector<float> p) const {
    for (size_t i = 0; i < p.size(); ++i) p[i] = (p[i] - 0.5f) / std_of(i);
    return p;
  }
  float brightness(size_t i) const { return images[i] * std_of(i) + 0.5f; }
  static Stress stress(const char* name, double radius, int steps = 0) {
    return {Stress::Kind::kAttack, name, 0, radius, steps};
  }
};

// Every pixel moves by the radius along the sign of its gradient, stops at black and white, and stays where the
// gradient is 0.
TEST_F(AttackTest, Fgsm) {
  const double r = 8.0 / 255;
  Attack(stress("fgsm", 8), set, 1).run(0, 1, images.data(), [](const float*, float* d) {
    for (int i = 0; i < 8; ++i) d[i] = i % 4 == 3 ? 0.f : i % 4 == 1 ? -0.001f : 5.f;
  });
  for (size_t c = 0; c < 2; ++c) {
    EXPECT_NEAR(brightness(4 * c), 0.5 + r, 1e-6);
    EXPECT_NEAR(brightness(4 * c + 1), 0, 1e-6);  // 0.01 - r is no brightness
    EXPECT_NEAR(brightness(4 * c + 2), 1, 1e-6);
    EXPECT_NEAR(brightness(4 * c + 3), 0.3, 1e-6);
  }
}

// On a concave quadratic, whose top lies in the ball for one pixel and outside for the others, PGD comes to within its
// last step of the best point of the ball; the random start is inside the ball and depends on the image's number alone.
TEST_F(AttackTest, Pgd) {
  const double r = 16.0 / 255;
  const std::vector<float> clean = images;
  std::vector<float> start;
  Attack attack(stress("pgd", 16, 20), set, 3);
  attack.run(7, 1, images.data(), [&](const float* x, float* d) {
    if (start.empty()) start.assign(x, x + 8);
    for (size_t i = 0; i < 8; ++i) d[i] = (i % 4 == 0 ? clean[i] + 0.01f : 9.f) - x[i];
  });
  const double last = 2.5 * r / 20;
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_LE(std::fabs(start[i] - clean[i]) * std_of(i), r + 1e-6);
    const double best = i % 4 == 0 ? 0.5 + 0.01 * double{std_of(i)} : std::min(1.0, double{pixel[i]} + r);
    EXPECT_NEAR(brightness(i), best, i % 4 == 0 ? last + 1e-6 : 1e-6);
  }
  std::vector<float> two(clean);
  two.insert(two.end(), clean.begin(), clean.end());
  bool looked = false;
  attack.run(6, 2, two.data(), [&](const float* x, float* d) {
    if (!looked) {
      EXPECT_EQ(std::vector<float>(x + 8, x + 16), start);
    }
    looked = true;
    std::fill_n(d, 16, 0.f);
  });
}

TEST_F(AttackTest, BadInput) {
  EXPECT_THROW(Attack(stress("pgd", 8), set, 1), Error);
  EXPECT_THROW(Attack(stress("pdg", 8, 3), set, 1), Error);
  EXPECT_THROW(Attack(stress("fgsm", 0), set, 1), Error);
  EXPECT_THROW(Attack(stress("fgsm", NAN), set, 1), Error);
  EXPECT_THROW(Attack(stress("fgsm", 300), set, 1), Error);
}

}  // namespace
}  // namespace swy::bench
