// White-box attacks on images in the L-infinity ball of radius r around each, through the real gradients:
//
//   fgsm  x + r sign(dL/dx)                                                        Goodfellow et al., ICLR 2015
//   pgd   from a random point of the ball, n steps x <- P(x + a sign(dL/dx)), a = 2.5 r / n; P puts every pixel back
//         into the ball and into what an image can hold                            Madry et al., ICLR 2018
//
// Radii are in 1/255 of full brightness; images are normalised, so a channel's radius is r / 255 / std. B images.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "benchmarks/stress.h"
#include "data/dataset.h"

namespace swy::bench {

// Throws Error (usage): a name other than fgsm and pgd, a radius outside (0, 255], pgd without steps.
void check_attack(const Stress&);

// dL/dimages [B, C, H, W] of the images as they are now, L the loss that is to grow.
using ImageGradient = std::function<void(const float* images, float* dimages)>;

class Attack {
 public:
  // Throws as check_attack. The set outlives the attack. `seed` is of the random start.
  Attack(const Stress&, const data::ImageDataset& set, uint64_t seed);
  // Changes images [B, C, H, W], normalised, in place. `first` is the number of the first image, so that its random
  // start does not depend on the batch.
  void run(int64_t first, int64_t count, float* images, const ImageGradient&);

 private:
  void project(int64_t i, int64_t channel, float& value) const;
  const data::ImageDataset& set_;
  const bool random_start_;
  const int steps_;
  const double radius_, step_;  // of full brightness
  const uint64_t seed_;
  std::vector<float> clean_, gradient_;
};

}  // namespace swy::bench
