#include "data/manifest.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "core/base/resources.h"

namespace swy::data {
namespace fs = std::filesystem;

const ManifestFile& Manifest::file(const std::string& name) const {
  for (const ManifestFile& f : files) {
    if (f.name == name) return f;
  }
  environment_error("the manifest of '", id, "' has no file '", name, "'; restore data/manifests/", id, ".json");
}

Manifest parse_manifest(const std::string& json, const std::string& where) {
  try {
    const auto j = nlohmann::json::parse(json);
    Manifest m;
    m.id = j.at("id");
    m.title = j.at("title");
    m.format = j.at("format");
    m.homepage = j.at("homepage");
    m.licence = j.at("licence");
    m.citation = j.at("citation");
    m.folder = j.at("folder");
    m.train = j.at("train");
    m.test = j.at("test");
    if (j.contains("tokenizer")) {
      m.tokenizer = j["tokenizer"];
      m.split = j.at("split");
      m.valid = j.at("valid");
    } else {
      m.channels = j.at("channels");
      m.height = j.at("height");
      m.width = j.at("width");
      m.mean = j.at("mean").get<std::vector<float>>();
      m.std = j.at("std").get<std::vector<float>>();
      m.class_names = j.at("class_names").get<std::vector<std::string>>();
    }
    if (j.contains("coarse_class_names")) {
      m.coarse_class_names = j["coarse_class_names"].get<std::vector<std::string>>();
    }
    for (const auto& f : j.at("files")) {
      m.files.push_back({f.at("name"), f.at("bytes"), f.at("sha256"), f.value("also", std::vector<std::string>{})});
    }
    for (const auto& d : j.at("downloads")) {
      m.downloads.push_back({d.at("url"), d.at("bytes"), d.at("sha256"), d.at("provides")});
      for (const std::string& name : m.downloads.back().provides) m.file(name);
    }
    return m;
  } catch (const nlohmann::json::exception& e) {
    environment_error("broken manifest '", where, "': ", e.what(), "; restore the file from the source tree");
  }
}

std::vector<std::string> manifest_ids() {
  std::vector<std::string> ids;
  for (const auto& entry : fs::directory_iterator(resource("data/manifests"))) {
    if (entry.path().extension() == ".json") ids.push_back(entry.path().stem().string());
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

Manifest read_manifest(const std::string& id) {
  const std::vector<std::string> ids = manifest_ids();
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
    std::string known;
    for (const std::string& other : ids) known += " " + other;
    usage_error("unknown data set '", id, "'; known are:", known);
  }
  const fs::path path = resource("data/manifests/" + id + ".json");
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return parse_manifest(text.str(), path.string());
}

}  // namespace swy::data
