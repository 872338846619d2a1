#include "data/corrupt/corruption.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/seed.h"
#include "core/base/suggest.h"
#include "data/corrupt/effect.h"

namespace swy::data {

const std::vector<Corruption>& corruptions() {
  static const std::vector<Corruption> all = {
      {"gaussian_noise", "normal noise, as of a sensor in low light", false, gaussian_noise},
      {"shot_noise", "Poisson noise of single photons", false, shot_noise},
      {"impulse_noise", "salt and pepper, each channel on its own", false, impulse_noise},
      {"defocus_blur", "a disk, as of a lens out of focus", false, defocus_blur},
      {"glass_blur", "pixels displaced at random between two Gaussian blurs, as behind frosted glass", false,
       glass_blur},
      {"motion_blur", "one-sided Gaussian along a random direction", false, motion_blur},
      {"zoom_blur", "mean of enlarged copies, as of a camera that moves forward", false, zoom_blur},
      {"snow", "moving flakes on a washed-out image", false, snow},
      {"frost", "ice crystals on the lens; procedural here, photographs in the published arrays", false, frost},
      {"fog", "a plasma fractal laid over the image", false, fog},
      {"brightness", "HSV value raised", false, brightness},
      {"contrast", "values drawn towards the mean of their channel", false, contrast},
      {"elastic_transform", "a random affine map, then local displacements", false, elastic_transform},
      {"pixelate", "shrunk and enlarged by boxes", false, pixelate},
      {"jpeg_compression", "encoded as JPEG and decoded", false, jpeg_compression},
      {"speckle_noise", "normal noise in proportion to the value", true, speckle_noise},
      {"gaussian_blur", "Gaussian filter", true, gaussian_blur},
      {"spatter", "drops of water or mud on the lens", true, spatter},
      {"saturate", "HSV saturation lowered or raised", true, saturate},
  };
  return all;
}

const Corruption& find_corruption(const std::string& name) {
  std::vector<std::string> names;
  for (const Corruption& corruption : corruptions()) {
    if (corruption.name == name) return corruption;
    names.push_back(corruption.name);
  }
  usage_error("unknown corruption '", name, "'", suggestion(name, names));
}

Scale scale_of(int height, int width) {
  const int side = std::min(height, width);
  return side <= 48 ? Scale::kCifar : side <= 144 ? Scale::kTinyImageNet : Scale::kImageNet;
}

void check_corruptible(int severity, int channels, int height, int width) {
  if (severity < 1 || severity > kSeverities) {
    usage_error("severity ", severity, " of a corruption must be in 1..", kSeverities);
  }
  if (channels != 3) {
    usage_error("corruptions are defined for RGB images, and these have ", channels, " channel",
                channels == 1 ? "" : "s", "; choose a colour data set");
  }
  if (std::min(height, width) < kMinSide || std::max(height, width) > kMaxSide) {
    usage_error("cannot corrupt images of ", height, "x", width, " pixels; both sides must be in ", kMinSide, "..",
                kMaxSide);
  }
}

uint64_t corruption_key(const std::string& dataset_id, int64_t image, const Corruption& corruption, int severity) {
  // Names, not positions in a list, so that a new set or corruption leaves the others' draws alone.
  uint64_t seed = purpose_seed(0, Purpose::kCorruption);
  for (const std::string& name : {dataset_id.substr(0, dataset_id.find(':')), corruption.name}) {
    for (char letter : name) seed = child_seed(seed, static_cast<unsigned char>(letter));
    seed = child_seed(seed, name.size() + 256);
  }
  return child_seed(child_seed(seed, static_cast<uint64_t>(severity)), static_cast<uint64_t>(image));
}

void corrupt(const Corruption& corruption, int severity, int height, int width, const uint8_t* in, uint64_t key,
             uint8_t* out) {
  corruption.apply({height, width, in, out, static_cast<int>(scale_of(height, width)), severity - 1, key});
}

}  // namespace swy::data
