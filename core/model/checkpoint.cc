#include "core/model/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <tuple>
#include <utility>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/json.h"

namespace swy::model {
namespace {

constexpr const char* kStep = "swy.step";
constexpr const char* kTally = "swy.tally";
constexpr int64_t kMaxHeader = 100'000'000;  // the reference reader's limit

static_assert(sizeof(float) == 4);

template <class... Args>
[[noreturn]] void broken(const std::filesystem::path& path, const Args&... args) {
  environment_error("checkpoint ", path.string(), ": ", args..., "; use another file or train again");
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// Every tensor a training checkpoint holds, with where it lives.
struct Slot {
  std::string name;
  const std::vector<int64_t>* shape;
  float* data;
  int64_t size;
};
std::vector<Slot> slots_of(const Params& params, Optimizer* optimizer) {
  std::vector<Slot> slots;
  for (size_t i = 0; i < params.all().size(); ++i) {
    const Param& p = params.all()[i];
    slots.push_back({p.spec.name, &p.spec.shape, p.value, p.size});
    if (!optimizer || !p.grad) continue;
    slots.push_back({"adam_m/" + p.spec.name, &p.spec.shape, p.m, p.size});
    slots.push_back({"adam_v/" + p.spec.name, &p.spec.shape, p.v, p.size});
    if (float* average = optimizer->ema(i)) slots.push_back({"ema/" + p.spec.name, &p.spec.shape, average, p.size});
  }
  return slots;
}

bool belongs_to_optimizer(const std::string& name) {
  return name.rfind("adam_m/", 0) == 0 || name.rfind("adam_v/", 0) == 0 || name.rfind("ema/", 0) == 0;
}

// 17 significant digits bring every double back exactly.
std::string tally_text(const Tally& tally) {
  std::string text;
  char number[64];
  for (const Part part : {Part::kModel, Part::kExperts, Part::kRouter})
    for (const Pass pass : {Pass::kForward, Pass::kBackward, Pass::kUpdate}) {
      const Work& w = tally.of(part, pass);
      std::snprintf(number, sizeof number, "%.17g %.17g ", w.flops, w.bytes);
      text += number;
    }
  return text;
}
bool parse_tally(const std::string& text, Tally* tally) {
  std::istringstream in(text);
  for (const Part part : {Part::kModel, Part::kExperts, Part::kRouter})
    for (const Pass pass : {Pass::kForward, Pass::kBackward, Pass::kUpdate}) {
      Work& w = tally->of(part, pass);
      if (!(in >> w.flops >> w.bytes)) return false;
    }
  return true;
}

// One header entry -> shape and byte range, or a message.
void parse_entry(const std::filesystem::path& path, const std::string& name, const Json& entry, uint64_t data_bytes,
                 std::vector<int64_t>* shape, uint64_t* begin, uint64_t* end) {
  const auto whole = [](const Json& j) { return j.is_number_unsigned(); };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets"))
    broken(path, "tensor '", name, "' lacks dtype, shape or data_offsets");
  if (entry["dtype"] != "F32") broken(path, "tensor '", name, "' has dtype ", entry["dtype"].dump(), ", not \"F32\"");
  const Json &extents = entry["shape"], &range = entry["data_offsets"];
  if (!extents.is_array() || !std::all_of(extents.begin(), extents.end(), whole))
    broken(path, "tensor '", name, "' has shape ", extents.dump(), ", not a list of whole numbers");
  if (!range.is_array() || range.size() != 2 || !whole(range[0]) || !whole(range[1]))
    broken(path, "tensor '", name, "' has data_offsets ", range.dump(), ", not [begin, end]");
  *begin = range[0], *end = range[1];
  if (*begin > *end || *end > data_bytes)
    broken(path, "tensor '", name, "' lies at bytes ", *begin, " to ", *end, " of ", data_bytes, " (file cut short?)");
  uint64_t bytes = sizeof(float);
  for (const Json& extent : extents) {
    const auto n = extent.get<uint64_t>();
    if (n && bytes > data_bytes / n)
      bytes = data_bytes + 1;  // too large for the file, and no overflow
    else
      bytes *= n;
    shape->push_back(static_cast<int64_t>(n));
  }
  if (bytes != *end - *begin)
    broken(path, "tensor '", name, "' of shape ", extents.dump(), " has ", *end - *begin, " bytes of data");
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorView>& tensors,
                       const Metadata& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t at = 0;
  std::vector<uint64_t> sizes;
  for (const TensorView& t : tensors) {
    uint64_t bytes = sizeof(float);
    for (int64_t n : t.shape) bytes *= static_cast<uint64_t>(n);
    if (t.name == "__metadata__" || header.contains(t.name))
      usage_error("checkpoint: tensor name '", t.name, "' is taken");
    header[t.name] = {{"dtype", "F32"}, {"shape", t.shape}, {"data_offsets", {at, at + bytes}}};
    at += bytes;
    sizes.push_back(bytes);
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data starts aligned, as the format advises
  std::string content;
  content.reserve(8 + text.size() + at);
  for (int i = 0; i < 8; ++i) content.push_back(static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i)));
  content += text;
  for (size_t i = 0; i < tensors.size(); ++i) content.append(reinterpret_cast<const char*>(tensors[i].data), sizes[i]);
  write_atomically(path, content);
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path) {
  const std::string content = read_text(path);
  if (content.size() < 8) broken(path, "has ", content.size(), " bytes, less than a header");
  uint64_t length = 0;
  for (int i = 0; i < 8; ++i) length |= static_cast<uint64_t>(static_cast<unsigned char>(content[i])) << (8 * i);
  if (length > kMaxHeader || length > content.size() - 8)
    broken(path, "its header claims ", length, " bytes, the file has ", content.size() - 8,
           " (cut short, or not safetensors)");
  const Json header =
      Json::parse(content.begin() + 8, content.begin() + 8 + static_cast<int64_t>(length), nullptr, false);
  if (!header.is_object()) broken(path, "its header is not a JSON object");
  const uint64_t data_bytes = content.size() - 8 - length;

  struct Range {
    uint64_t begin, end;
    std::string name;
  };
  std::vector<Range> ranges;
  std::vector<std::pair<TensorView, uint64_t>> found;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      for (const auto& [key, text] : entry.items()) {
        if (!text.is_string()) broken(path, "metadata '", key, "' is not a string");
        metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    TensorView t{name, {}, nullptr};
    uint64_t begin = 0, end = 0;
    parse_entry(path, name, entry, data_bytes, &t.shape, &begin, &end);
    ranges.push_back({begin, end, name});
    found.emplace_back(std::move(t), begin);
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
  uint64_t at = 0;
  for (const Range& r : ranges) {
    if (r.begin != at)
      broken(path, "tensor '", r.name, "' starts at byte ", r.begin, " where ", at, " is expected (overlap or gap)");
    at = r.end;
  }
  if (at != data_bytes) broken(path, "has ", data_bytes, " bytes of data, its tensors need ", at);
  data_.resize(data_bytes / sizeof(float));
  if (data_bytes) std::memcpy(data_.data(), content.data() + 8 + length, data_bytes);
  for (auto& [view, begin] : found) {
    view.data = data_.data() + begin / sizeof(float);
    tensors_.push_back(std::move(view));
  }
}

const TensorView* SafetensorsFile::find(const std::string& name) const {
  for (const TensorView& t : tensors_)
    if (t.name == name) return &t;
  return nullptr;
}

void SafetensorsFile::read(const std::string& name, const std::vector<int64_t>& shape, float* out) const {
  const TensorView* t = find(name);
  if (!t) broken(path_, "tensor '", name, "' is missing");
  if (t->shape != shape)
    broken(path_, "tensor '", name, "' has shape ", shape_text(t->shape), ", the model wants ", shape_text(shape));
  int64_t size = 1;
  for (int64_t n : shape) size *= n;
  if (size && out) std::memcpy(out, t->data, size * sizeof(float));
}

void save_checkpoint(const std::filesystem::path& path, const Params& params, Optimizer* optimizer, const Tally& tally,
                     const Metadata& metadata) {
  std::vector<TensorView> tensors;
  std::vector<std::vector<float>> copies;
  for (const Slot& s : slots_of(params, optimizer)) {
    const float* data = s.data;
    if (params.device() != Arena::kHost) {
      std::vector<float>& copied = copies.emplace_back(static_cast<size_t>(s.size));
      params.copy(s.size, s.data, copied.data());
      data = copied.data();
    }
    tensors.push_back({s.name, *s.shape, data});
  }
  Metadata all = metadata;
  for (const auto& entry : metadata)
    if (entry.first.rfind("swy.", 0) == 0) usage_error("checkpoint: metadata key '", entry.first, "' is reserved");
  all[kStep] = std::to_string(optimizer ? optimizer->steps() : 0);
  all[kTally] = tally_text(tally);
  write_safetensors(path, tensors, all);
}

Metadata load_checkpoint(const std::filesystem::path& path, Params& params, Optimizer* optimizer, Tally& tally) {
  const SafetensorsFile file(path);
  const std::vector<Slot> slots = slots_of(params, optimizer);
  for (const Slot& s : slots) file.read(s.name, *s.shape, nullptr);  // checks alone: a fault must change nothing
  for (const TensorView& t : file.tensors()) {
    if (!optimizer && belongs_to_optimizer(t.name)) continue;
    if (std::none_of(slots.begin(), slots.end(), [&](const Slot& s) { return s.name == t.name; }))
      broken(path, "tensor '", t.name, "' has no place in this model");
  }
  Metadata metadata = file.metadata();
  Tally saved;
  int64_t steps = -1;
  if (metadata.count(kStep)) std::istringstream(metadata[kStep]) >> steps;
  if (steps < 0 || !metadata.count(kTally) || !parse_tally(metadata[kTally], &saved))
    broken(path, "metadata '", kStep, "' or '", kTally, "' is missing or not a number");
  std::vector<float> read;
  for (const Slot& s : slots) {
    read.resize(static_cast<size_t>(s.size));
    file.read(s.name, *s.shape, read.data());
    params.copy(s.size, read.data(), s.data);
  }
  if (optimizer) optimizer->set_steps(steps);
  tally = saved;
  metadata.erase(kStep);
  metadata.erase(kTally);
  return metadata;
}

}  // namespace swy::model
