// The corruptions of CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C (Hendrycks and Dietterich, "Benchmarking Neural Network
// Robustness to Common Corruptions and Perturbations", ICLR 2019): 15 main ones, over which a score is averaged, and 4
// extra ones, kept for tuning; five severities each. They run on the fly, so any RGB set has its corrupted twin.
//
// Each is a pure function of (pixels, severity, key): the same bytes for any number of threads and in any order. Random
// draws come from Philox, not from numpy's global generator, so single images differ from the published arrays (which
// nobody can make again either: they were drawn without a seed) while their distribution is the same. `frost` is the
// exception: it blends in a procedural texture instead of six photographs.
// Between machines: arithmetic is fp64 without contraction; what is left of libm is exp, sin and cos for kernel taps.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace swy::data {

struct Job;  // effect.h

struct Corruption {
  std::string name, doc;
  bool extra;                 // not one of the 15 main corruptions
  void (*apply)(const Job&);  // use corrupt()
};

inline constexpr int kSeverities = 5;  // 1 .. 5

// The 15 main corruptions in the order of the paper, then the 4 extra ones.
const std::vector<Corruption>& corruptions();
// Throws Error (usage) with the nearest name and all names.
const Corruption& find_corruption(const std::string& name);

// Whose published constants an image of this size gets: that of the nearest published side, 32, 64 or 224 pixels.
enum class Scale { kCifar, kTinyImageNet, kImageNet };
Scale scale_of(int height, int width);

// Throws Error (usage): severity outside 1..5, channels other than 3, a side outside [kMinSide, kMaxSide].
inline constexpr int kMinSide = 8, kMaxSide = 1024;  // pixels
void check_corruptible(int severity, int channels, int height, int width);

// The seed of one corrupted image. Every router sees the same pixels, whatever its run seed. Of an id like
// "image_folder:PATH" only the part before the colon counts: where a set lies is not a property of its pixels.
uint64_t corruption_key(const std::string& dataset_id, int64_t image, const Corruption& corruption, int severity);

// out = corrupted in, both [3, height, width] RGB bytes, not overlapping. Thread-safe.
// REQUIRES: check_corruptible passes.
void corrupt(const Corruption& corruption, int severity, int height, int width, const uint8_t* in, uint64_t key,
             uint8_t* out);

}  // namespace swy::data
