// Noise. Element i of an image draws word i of its own stream, four words to a Philox block.
// Constants: hendrycks/robustness, ImageNet-C/create_c/make_{cifar,tinyimagenet,imagenet}_c.py at 8190fe32.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>

#include "data/corrupt/effect.h"
#include "data/corrupt/planes.h"

namespace swy::data {
namespace {

constexpr Table<double> kGaussianStd = {
    {{.04, .06, .08, .09, .10}, {.04, .08, .12, .15, .18}, {.08, .12, .18, .26, .38}}};
constexpr Table<double> kShotPhotons = {{{500, 250, 100, 75, 50}, {250, 100, 50, 30, 15}, {60, 25, 12, 5, 3}}};
constexpr Table<double> kImpulseAmount = {
    {{.01, .02, .03, .05, .07}, {.01, .02, .05, .08, .14}, {.03, .06, .09, .17, .27}}};
constexpr Table<double> kSpeckleStd = {{{.06, .1, .12, .16, .2}, {.15, .2, .25, .3, .35}, {.15, .2, .35, .45, .6}}};

// out[i] = value(in[i], word i), clipped to [0, 1] and cut off to a byte.
template <class Value>
void per_element(const Job& job, Value value) {
  const int64_t count = int64_t{3} * job.area();
  for (int64_t i = 0; i < count; i += 4) {
    const std::array<uint32_t, 4> words = philox(job.key, 0, static_cast<uint64_t>(i / 4));
    const int64_t lanes = std::min<int64_t>(4, count - i);
    for (int64_t k = 0; k < lanes; ++k) {
      const double v = value(job.in[i + k], words[static_cast<size_t>(k)]);
      job.out[i + k] = static_cast<uint8_t>(std::clamp(v, 0.0, 1.0) * 255);
    }
  }
}

// Poisson draws by inversion. A byte has 256 values, so their distribution functions fit in tables that are made once
// per photon count, from the mode outwards with + * / alone; what lies beyond probability 2^-32 is cut.
class PoissonTables {
 public:
  explicit PoissonTables(double photons) {
    for (int byte = 0; byte < 256; ++byte) add(byte, byte / 255.0 * photons);
  }

  int draw(uint8_t byte, uint32_t word) const {
    const Entry& entry = entries_[byte];
    size_t at = entry.begin + guide_[byte][word >> 24];
    while (word >= limits_[at]) ++at;  // the last limit is never reached
    return entry.first + static_cast<int>(at - entry.begin);
  }

 private:
  struct Entry {
    int first;     // the smallest number of photons in the table
    size_t begin;  // of its limits
  };

  void add(int byte, double mean) {
    const int mode = static_cast<int>(mean);
    Values up{1.0}, down;  // probability relative to the mode's
    for (int k = mode + 1; up.back() > 0x1p-40; ++k) up.push_back(up.back() * mean / k);
    for (int k = mode; k > 0 && (down.empty() || down.back() > 0x1p-40); --k) {
      down.push_back((down.empty() ? 1.0 : down.back()) * k / mean);
    }
    double total = 0;
    for (double p : up) total += p;
    for (double p : down) total += p;
    entries_[byte] = {mode - static_cast<int>(down.size()), limits_.size()};
    double sum = 0;
    const auto push = [&](double p) {
      sum += p;
      limits_.push_back(static_cast<uint64_t>(std::min(sum / total, 1.0) * 0x1p32));
    };
    for (auto p = down.rbegin(); p != down.rend(); ++p) push(*p);
    for (double p : up) push(p);
    limits_.back() = uint64_t{1} << 32;
    size_t at = 0;  // guide: where the search for a word with these upper 8 bits starts
    for (uint64_t upper = 0; upper < 256; ++upper) {
      while (upper << 24 >= limits_[entries_[byte].begin + at]) ++at;
      guide_[byte][upper] = static_cast<uint16_t>(at);
    }
  }

  std::array<Entry, 256> entries_{};
  std::vector<uint64_t> limits_;  // P(N <= first + i) * 2^32
  std::array<std::array<uint16_t, 256>, 256> guide_{};
};

// Made at the first use and never changed.
const PoissonTables& poisson_tables(double photons) {
  static std::mutex mutex;
  static std::map<double, std::unique_ptr<const PoissonTables>> tables;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<const PoissonTables>& table = tables[photons];
  if (!table) table = std::make_unique<const PoissonTables>(photons);
  return *table;
}

}  // namespace

void gaussian_noise(const Job& job) {
  const double std = at(kGaussianStd, job);
  per_element(job, [std](uint8_t byte, uint32_t word) { return byte / 255.0 + std * normal(word); });
}

void shot_noise(const Job& job) {
  const double photons = at(kShotPhotons, job);
  const PoissonTables& tables = poisson_tables(photons);
  per_element(job, [&](uint8_t byte, uint32_t word) { return tables.draw(byte, word) / photons; });
}

void impulse_noise(const Job& job) {
  // The lowest bit, which hardly takes part in the comparison, tells salt from pepper.
  const uint32_t limit = static_cast<uint32_t>(at(kImpulseAmount, job) * 0x1p32);
  per_element(job, [limit](uint8_t byte, uint32_t word) { return word < limit ? word & 1u : byte / 255.0; });
}

void speckle_noise(const Job& job) {
  const double std = at(kSpeckleStd, job);
  per_element(job, [std](uint8_t byte, uint32_t word) { return byte / 255.0 * (1 + std * normal(word)); });
}

}  // namespace swy::data
