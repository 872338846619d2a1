// What the project knows about a public data set before having it: data/manifests/<id>.json. The readers take names,
// sizes, splits and normalisation from it, fetch and verify take URLs and hashes.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace swy::data {

struct ManifestFile {
  std::string name;                    // without .gz or .xz
  int64_t bytes = 0;                   // unpacked; 0 where it is not known for certain: not checked
  std::string sha256;                  // of the unpacked content; empty where it is not known: not checked
  std::vector<std::string> also = {};  // other names the file goes by
};

struct ManifestDownload {
  std::string url;
  int64_t bytes = 0;
  std::string sha256;                 // of the download as it comes from the server
  std::vector<std::string> provides;  // names of ManifestFile

  std::string name() const { return url.substr(url.find_last_of('/') + 1); }
};

struct Manifest {
  std::string id, title, format /* cifar, idx, npy, text or generated */, homepage, licence, citation;
  std::string folder;                       // official folder name, under the data directory
  int channels = 0, height = 0, width = 0;  // images
  std::string tokenizer, split;             // text: the default tokenizer, and how the splits came about, for people
  // Records of a split (images), bytes (text), tokens (generated text). A text of one file is cut by position: train
  // from its front, valid after that, test from its end.
  int64_t train = 0, valid = 0, test = 0;
  std::vector<float> mean, std;  // published, per channel of pixels / 255; empty: those of the set it shifts (npy)
  std::vector<std::string> class_names, coarse_class_names;
  std::vector<ManifestFile> files;
  std::vector<ManifestDownload> downloads;

  const ManifestFile& file(const std::string& name) const;
};

// Throws Error: usage for an id without manifest (lists the known ids), environment for a broken manifest.
Manifest read_manifest(const std::string& id);
Manifest parse_manifest(const std::string& json, const std::string& where);
// All ids with a manifest, sorted.
std::vector<std::string> manifest_ids();

}  // namespace swy::data
