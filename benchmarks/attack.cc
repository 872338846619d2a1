#include "benchmarks/attack.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/base/seed.h"

namespace swy::bench {

void check_attack(const Stress& s) {
  if (s.name != "fgsm" && s.name != "pgd") usage_error("unknown attack '", s.name, "'; known: fgsm, pgd");
  if (!(s.value > 0 && s.value <= 255))
    usage_error("attack ", s.name, ": radius ", s.value, "/255; it must be above 0 and at most 255");
  if (s.name == "pgd" && s.steps < 1) usage_error("attack pgd: ", s.steps, " steps; it needs at least 1");
}

namespace {

int steps_of(const Stress& s) {
  check_attack(s);
  return s.name == "pgd" ? s.steps : 1;
}

}  // namespace

Attack::Attack(const Stress& s, const data::ImageDataset& set, uint64_t seed)
    : set_(set),
      random_start_(s.name == "pgd"),
      steps_(steps_of(s)),
      radius_(s.value / 255),
      step_(random_start_ ? 2.5 * radius_ / steps_ : radius_),
      seed_(seed) {}

void Attack::project(int64_t i, int64_t channel, float& value) const {
  const auto c = static_cast<size_t>(channel);
  const float radius = static_cast<float>(radius_) / set_.std[c], clean = clean_[static_cast<size_t>(i)];
  const float low = -set_.mean[c] / set_.std[c], high = (1 - set_.mean[c]) / set_.std[c];
  value = std::clamp(value, std::max(low, clean - radius), std::min(high, clean + radius));
}

void Attack::run(int64_t first, int64_t count, float* images, const ImageGradient& gradient) {
  const int64_t size = set_.image_size(), plane = int64_t{set_.height} * set_.width;
  clean_.assign(images, images + count * size);
  gradient_.resize(static_cast<size_t>(count * size));
  const auto channel_of = [&](int64_t i) { return i % size / plane; };
  if (random_start_)
    for (int64_t b = 0; b < count; ++b) {
      Random random(child_seed(seed_, static_cast<uint64_t>(first + b)));
      for (int64_t i = b * size; i < (b + 1) * size; ++i) {
        const double at = radius_ * (2 * double{random.uniform()} - 1);
        images[i] += static_cast<float>(at) / set_.std[static_cast<size_t>(channel_of(i))];
        project(i, channel_of(i), images[i]);
      }
    }
  for (int s = 0; s < steps_; ++s) {
    gradient(images, gradient_.data());
    for (int64_t i = 0; i < count * size; ++i) {
      const float g = gradient_[static_cast<size_t>(i)];
      const auto sign = static_cast<float>((g > 0) - (g < 0));
      images[i] += sign * static_cast<float>(step_) / set_.std[static_cast<size_t>(channel_of(i))];
      project(i, channel_of(i), images[i]);
    }
  }
}

}  // namespace swy::bench
