// What an evaluation is shown instead of the data as it is. One value names one condition completely, so it can stand
// in a record; what the conditions are is decided in data/corrupt, data/noise and benchmarks/attack.h.
#pragma once
#include <string>

namespace swy::bench {

struct Stress {
  enum class Kind {
    kNone,
    kCorruption,  // images: name of data/corrupt, severity 1 to 5
    kNoise,       // text: name of data/noise, value = rate
    kAttack,      // images: "fgsm" or "pgd" with `steps`, value = radius (L-infinity) in 1/255 of full brightness
    kOrder,       // the same data in another order of images or windows: "reversed" or "shuffled"
    kShift        // another data set of the same form: its id
  };
  Kind kind = Kind::kNone;
  std::string name;
  int severity = 0;
  double value = 0;
  int steps = 0;
};

}  // namespace swy::bench
