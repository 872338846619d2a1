#include "benchmarks/place.h"

#include "core/base/error.h"
#include "core/device/arena.h"
#include "core/ops/gemm.h"

namespace swy::bench {

void Place::check(const std::string& device, const std::string& precision) {
  if (device == "cpu" && precision != "fp32")
    usage_error("precision ", precision, " is one of CUDA devices; the CPU multiplies in fp32: give --device cuda");
  if (device == "cpu") return;
  if (const std::string why = why_no_cuda(); !why.empty()) environment_error(why, "; use --device cpu");
}

Place::Place(const std::string& device, const std::string& precision) : precision_(precision) {
  check(device, precision);
  if (device == "cpu") return;
  stream_ = std::make_unique<Stream>();
  stream_->tf32 = precision == "tf32", stream_->bf16 = precision == "bf16";
}

int Place::device() const { return stream_ ? stream_->device() : Arena::kHost; }

Json Place::describe() const {
  if (!stream_) return {{"device", "cpu"}};
  const DeviceInfo info = cuda_devices().at(static_cast<size_t>(device()));
  return {{"device", "cuda"},
          {"precision", precision_},
          {"gpu",
           {{"name", info.name},
            {"compute_capability", cat(info.major, ".", info.minor)},
            {"multiprocessors", info.multiprocessors},
            {"memory_bytes", info.memory_bytes},
            {"gemm", ops::cuda_gemm_library()}}}};
}

}  // namespace swy::bench
