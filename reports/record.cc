#include "reports/record.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/base/files.h"

namespace swy::report {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSchemaFile = "reports/schema/record.schema.json";

bool claims_to_be_a_record(const Json& j) {
  return j.is_object() && j.contains("schema") && j["schema"] == kRecordSchema;
}

void check(const Json& record, const fs::path& path) {
  if (!claims_to_be_a_record(record)) {
    environment_error("'", path.string(), "' is not a record: \"schema\" is not \"", kRecordSchema, "\"");
  }
  const Json version = record.value("version", Json());
  const std::string text = version.is_string() ? version.get<std::string>() : version.dump();
  const std::string major = std::string(kRecordVersion).substr(0, std::string(kRecordVersion).find('.') + 1);
  if (text.rfind(major, 0) != 0) {
    usage_error("'", path.string(), "' has record version ", text, "; this program reads version ", major,
                "x; use the program that wrote it, or a newer one");
  }
  require_valid(record, kSchemaFile, "the record '" + path.string() + "'");
}

// JSON has no NaN or Infinity: the document in memory becomes what will be in the file.
void null_what_is_not_finite(Json& j) {
  if (j.is_number_float() && !std::isfinite(j.get<double>())) j = nullptr;
  if (j.is_structured()) {
    for (Json& child : j) null_what_is_not_finite(child);
  }
}

}  // namespace

void write_record(const fs::path& path, const Json& record) {
  Json clean = record;
  null_what_is_not_finite(clean);
  check(clean, path);
  write_atomically(path, clean.dump(1) + "\n");
}

Json read_record(const fs::path& path) {
  Json record = read_json(path);
  check(record, path);
  return record;
}

std::vector<Json> read_records(const fs::path& path) {
  if (!fs::exists(path)) environment_error("there is no '", path.string(), "'");
  if (!fs::is_directory(path)) return {read_record(path)};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && entry.path().extension() == ".json" && name[0] != '.') files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<Json> records;
  for (const fs::path& file : files) {
    Json j = read_json(file);
    if (!claims_to_be_a_record(j)) continue;
    check(j, file);
    records.push_back(std::move(j));
  }
  return records;
}

double metric(const Json& record, const std::string& name) {
  const Json timing = record.at("timing").value("metrics", Json::array());
  for (const Json* list : {&record.at("metrics"), &timing}) {
    for (const Json& m : *list) {
      if (m.at("name") == name && m.at("value").is_number()) return m["value"];
    }
  }
  return std::numeric_limits<double>::quiet_NaN();
}

Json without_timing(Json record) {
  for (const char* key : {"timing", "environment", "created", "command"}) record.erase(key);
  return record;
}

}  // namespace swy::report
