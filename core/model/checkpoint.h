// Checkpoints in the safetensors format: 8-byte little-endian header length, a JSON header (name -> dtype, shape,
// data_offsets; "__metadata__": strings), then the raw tensors. Any safetensors reader opens them.
//
// A training checkpoint holds every parameter and buffer under its own name, its moments as "adam_m/<name>" and
// "adam_v/<name>", its average as "ema/<name>", and in the metadata the optimiser step, the tally and whatever the
// caller adds. Loading it into fresh objects continues bit for bit.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/device/exec.h"
#include "core/device/params.h"
#include "core/model/optimizer.h"

namespace swy::model {

using Metadata = std::map<std::string, std::string>;

struct TensorView {
  std::string name;
  std::vector<int64_t> shape;
  const float* data;
};

// Writes beside `path`, syncs and renames, so a reader sees the old file or the new one. Throws Error (environment).
void write_safetensors(const std::filesystem::path&, const std::vector<TensorView>&, const Metadata&);

// A whole file in memory, checked: lengths, JSON, dtype F32, offsets that tile the data exactly. Not copyable: the
// views point into it.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path&);  // throws Error (environment) naming file and fault
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;
  const std::vector<TensorView>& tensors() const { return tensors_; }
  const TensorView* find(const std::string& name) const;
  const Metadata& metadata() const { return metadata_; }
  // Copies tensor `name` into out; throws Error when it is missing or has another shape.
  void read(const std::string& name, const std::vector<int64_t>& shape, float* out) const;

 private:
  std::filesystem::path path_;
  std::vector<float> data_;
  std::vector<TensorView> tensors_;
  Metadata metadata_;
};

// optimizer may be null (weights only). `metadata` may not use the keys written here (they start with "swy.").
void save_checkpoint(const std::filesystem::path&, const Params&, Optimizer* optimizer, const Tally&,
                     const Metadata& metadata);
// Where params lie on a device, the caller has waited for it.
// Fills params, optimizer and tally; every tensor of the file must have its place and the reverse, else an Error and
// nothing is changed. Without an optimizer its tensors in the file are passed over. Returns the caller's metadata.
Metadata load_checkpoint(const std::filesystem::path&, Params&, Optimizer* optimizer, Tally&);

}  // namespace swy::model
