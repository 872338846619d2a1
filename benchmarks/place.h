// Where the model of a cell lies and runs: the CPU, or a CUDA device with the one stream of all its work.
#pragma once
#include <memory>
#include <string>

#include "core/base/json.h"
#include "core/device/device.h"
#include "core/device/exec.h"

namespace swy::bench {

inline constexpr const char* kPrecisions[] = {"fp32", "tf32", "bf16"};  // of matrix products; sums are fp32 always

class Place {
 public:
  // device: "cpu" or "cuda"; precision: of kPrecisions. Throws Error (environment) when there is no such device, and
  // (usage) when it has no such precision.
  Place(const std::string& device, const std::string& precision);
  static void check(const std::string& device, const std::string& precision);  // throws as the constructor would

  bool on_device() const { return stream_ != nullptr; }
  int device() const;                          // for those who allocate
  Stream& stream() const { return *stream_; }  // REQUIRES on_device()
  Exec exec(Tally& tally) const {
    Exec ex{&tally};
    ex.stream = stream_.get();
    return ex;
  }
  void wait() const {
    if (stream_) stream_->wait();
  }
  const std::string& precision() const { return precision_; }
  Json describe() const;  // for the record's environment

 private:
  std::string precision_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace swy::bench
