// Does a model know how sure it may be? Expected calibration error (Naeini et al. 2015; Guo et al. 2017): predictions
// are sorted into 15 bins of equal width by the probability of the most likely class,
//   ECE = sum_bins n_bin / n |accuracy_bin - mean confidence_bin|
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace swy::bench {

class Calibration {
 public:
  static constexpr int kBins = 15;

  // confidence in [0, 1]; a bin holds its upper end, as in the papers' (low, high].
  void add(double confidence, bool right) {
    const int at = std::clamp(static_cast<int>(std::ceil(confidence * kBins)) - 1, 0, kBins - 1);
    Bin& bin = bins_[static_cast<size_t>(at)];
    ++bin.count;
    bin.right += right;
    bin.confidence += confidence;
  }
  double error() const {  // NaN without predictions
    double gaps = 0, count = 0;
    for (const Bin& b : bins_) {
      gaps += std::fabs(static_cast<double>(b.right) - b.confidence);
      count += static_cast<double>(b.count);
    }
    return gaps / count;
  }

 private:
  struct Bin {
    int64_t count = 0, right = 0;
    double confidence = 0;
  };
  std::array<Bin, kBins> bins_{};
};

}  // namespace swy::bench
