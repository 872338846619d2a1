#include "data/npy.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "data/readers.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

// The header's text: a Python dict literal with three known keys, e.g.
// {'descr': '|u1', 'fortran_order': False, 'shape': (50000, 32, 32, 3), }
class DictReader {
 public:
  DictReader(const std::string& text, const std::string& where) : text_(text), where_(where) {}

  NpyHeader read() {
    NpyHeader header;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !descr) {
        header.descr = quoted();
        descr = true;
      } else if (key == "fortran_order" && !order) {
        if (boolean()) bad("is in Fortran order; save it with numpy.ascontiguousarray");
        order = true;
      } else if (key == "shape" && !shape) {
        header.shape = tuple();
        shape = true;
      } else {
        bad(cat("has the unknown or repeated header key '", key, "'"));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) bad("has text after its header");
    if (!descr || !order || !shape) bad("lacks one of the header keys descr, fortran_order and shape");
    return header;
  }

  [[noreturn]] void bad(const std::string& what) const {
    environment_error("array '", where_, "' ", what, "; it is damaged or of another kind: get it again");
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) && text_[at_] != 0) ++at_;
  }
  bool accept(char wanted) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) bad(cat("has a malformed header: '", wanted, "' expected at character ", at_));
  }
  std::string quoted() {
    const char quote = accept('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    const size_t end = text_.find(quote, at_);
    if (end == std::string::npos) bad("has a malformed header: a string without end");
    const std::string value = text_.substr(at_, end - at_);
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    skip_space();
    for (const std::string word : {"True", "False"}) {
      if (text_.compare(at_, word.size(), word) != 0) continue;
      at_ += word.size();
      return word == "True";
    }
    bad("has a malformed header: fortran_order is neither True nor False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t value = 0;
      const size_t first = at_;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        value = value * 10 + (text_[at_] - '0');
        if (value > int64_t{1} << 40) bad("has an axis longer than 2^40");
      }
      if (at_ == first) bad(cat("has a malformed header: a number expected at character ", at_));
      values.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  const std::string& text_;
  const std::string& where_;
  size_t at_ = 0;
};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += cat(i ? ", " : "", shape[i]);
  return text + ")";
}

// Value i of an integer array; little-endian on disk and in memory.
int64_t integer(const std::vector<uint8_t>& bytes, int item_bytes, int64_t i) {
  const uint8_t* at = bytes.data() + i * item_bytes;
  if (item_bytes == 1) return *at;
  if (item_bytes == 4) {
    int32_t value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  int64_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

NpyHeader parse_npy_header(const std::vector<uint8_t>& begin, int64_t file_bytes, const std::string& where) {
  const DictReader report("", where);
  if (begin.size() < 10 || std::memcmp(begin.data(), "\x93NUMPY", 6) != 0) {
    report.bad("is no .npy file: it does not begin with \\x93NUMPY and a header");
  }
  const int version = begin[6];
  if (version < 1 || version > 3) report.bad(cat("has format version ", version, ", and 1 to 3 are known"));
  const size_t prefix = version == 1 ? 10 : 12;  // the length has 2 bytes, later 4
  if (begin.size() < prefix) report.bad("ends inside its header");
  uint64_t length = 0;
  for (size_t i = prefix; i-- > 8;) length = length << 8 | begin[i];
  if (length > static_cast<uint64_t>(kNpyHeaderLimit) - prefix) report.bad(cat("has a header of ", length, " bytes"));
  if (begin.size() < prefix + length) report.bad("ends inside its header");

  const std::string text(begin.begin() + static_cast<int64_t>(prefix),
                         begin.begin() + static_cast<int64_t>(prefix + length));
  NpyHeader header = DictReader(text, where).read();
  header.data_at = static_cast<int64_t>(prefix + length);
  if (header.descr == "|u1" || header.descr == "<u1") header.item_bytes = 1;
  if (header.descr == "<i4") header.item_bytes = 4;
  if (header.descr == "<i8") header.item_bytes = 8;
  if (header.item_bytes == 0) report.bad(cat("holds values of type '", header.descr, "', and |u1, <i4, <i8 are known"));
  if (header.shape.empty()) report.bad("holds one value and no axis");
  header.values = 1;
  for (int64_t axis : header.shape) {
    if (axis > 0 && header.values > (int64_t{1} << 44) / axis) {
      report.bad(cat("has the shape ", shape_text(header.shape), ", more than 2^44 values"));
    }
    header.values *= axis;
  }
  const int64_t expected = header.data_at + header.values * header.item_bytes;
  if (file_bytes != expected) {
    report.bad(cat("has ", file_bytes, " bytes where its shape ", shape_text(header.shape), " needs ", expected));
  }
  return header;
}

NpyFile::NpyFile(const fs::path& path) : path_(path), file_(path, std::ios::binary) {
  if (!fs::is_regular_file(path) || !file_) {
    environment_error("cannot open array '", path.string(), "'; check the path and its permissions");
  }
  std::vector<uint8_t> begin(static_cast<size_t>(kNpyHeaderLimit));
  file_.read(reinterpret_cast<char*>(begin.data()), kNpyHeaderLimit);
  begin.resize(static_cast<size_t>(file_.gcount()));
  header_ = parse_npy_header(begin, static_cast<int64_t>(fs::file_size(path)), path.string());
}

std::vector<uint8_t> NpyFile::read_rows(int64_t begin, int64_t end) {
  const int64_t row = rows() > 0 ? header_.values / rows() * header_.item_bytes : 0;
  std::vector<uint8_t> bytes(static_cast<size_t>((end - begin) * row));
  file_.clear();
  file_.seekg(header_.data_at + begin * row);
  file_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (file_.gcount() != static_cast<std::streamsize>(bytes.size())) {
    environment_error("cannot read rows ", begin, " to ", end, " of array '", path_.string(),
                      "'; the file was cut or the disk fails");
  }
  return bytes;
}

ImageSplit read_npy_images(const fs::path& images_path, const fs::path& labels_path, const ImageDataset& like,
                           int64_t first, int64_t count) {
  NpyFile images(images_path), labels(labels_path);
  const int64_t n = images.rows(), channels = like.channels, area = int64_t{like.height} * like.width;
  const std::vector<int64_t> wanted = {n, like.height, like.width, channels};
  if (images.header().item_bytes != 1 || images.header().shape != wanted) {
    environment_error("array '", images_path.string(), "' is ", images.header().descr, " ",
                      shape_text(images.header().shape), " where images of '", like.id, "' are |u1 (N, ", like.height,
                      ", ", like.width, ", ", channels, "); choose the arrays made for this data set");
  }
  if (labels.header().shape != std::vector<int64_t>{n}) {
    environment_error("labels '", labels_path.string(), "' have the shape ", shape_text(labels.header().shape),
                      " and the images of '", images_path.string(), "' need (", n, "); the two do not belong together");
  }
  if (count < 0) count = n - first;
  if (first < 0 || count < 0 || first > n - count) {
    environment_error("array '", images_path.string(), "' has ", n, " images where ", first, " to ", first + count,
                      " are needed");
  }
  ImageSplit split;
  split.count = count;
  const std::vector<uint8_t> stored = images.read_rows(first, first + count);
  split.pixels.resize(stored.size());
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* from = stored.data() + i * area * channels;
    uint8_t* to = split.pixels.data() + i * area * channels;
    for (int64_t p = 0; p < area; ++p) {
      for (int64_t c = 0; c < channels; ++c) to[c * area + p] = from[p * channels + c];
    }
  }
  const std::vector<uint8_t> values = labels.read_rows(first, first + count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t label = integer(values, labels.header().item_bytes, i);
    if (label < 0 || label >= like.classes) {
      environment_error("label ", label, " of record ", first + i, " in '", labels_path.string(),
                        "' is out of range [0, ", like.classes, "); the file is corrupt or of another data set");
    }
    split.labels.push_back(static_cast<int32_t>(label));
  }
  return split;
}

ImageDataset load_shifted(const ImageDataset& base, const std::string& id, const fs::path& images,
                          const fs::path& labels, int64_t limit) {
  if (limit < 0) usage_error("limit ", limit, " of the images of '", id, "' must not be negative (0 is no limit)");
  ImageDataset set;
  set.id = id;
  set.title = id + ", for models of " + base.id;
  set.channels = base.channels;
  set.height = base.height;
  set.width = base.width;
  set.classes = base.classes;
  set.class_names = base.class_names;
  set.mean = base.mean;
  set.std = base.std;
  set.test = read_npy_images(images, labels, base, 0, limit > 0 ? limit : -1);
  finish_dataset(set);
  return set;
}

const std::vector<std::string>& shifted_ids() {
  static const std::vector<std::string> ids = {"cifar10.1"};
  return ids;
}

ImageDataset load_shifted(const ImageDataset& base, const std::string& id, const fs::path& data_dir, int64_t limit) {
  const Manifest manifest = read_manifest(id);
  if (manifest.class_names != base.class_names)
    usage_error("data set '", id, "' has ", manifest.class_names.size(), " classes that are not those of '", base.id,
                "'; it is for models of sets with the same classes");
  const auto file = [&](size_t index) { return require_file(data_dir, manifest, manifest.files.at(index).name); };
  const fs::path images = file(0), labels = file(1);
  return load_shifted(base, id, images, labels, limit);
}

}  // namespace swy::data
