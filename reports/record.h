// Records: one JSON file per trained and evaluated cell (schema/record.schema.json). Written whole or not at all.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/json.h"

namespace swy::report {

inline constexpr const char* kRecordSchema = "switchyard.record";
inline constexpr const char* kRecordVersion = "1.2.0";  // major: readers refuse another one; minor: fields added

// Checks against the schema, then writes atomically. NaN and Infinity become null. Throws Error.
void write_record(const std::filesystem::path&, const Json& record);

// Throws Error: environment when the file is missing or is no record, usage when its major version is unknown or it
// does not match the schema.
Json read_record(const std::filesystem::path&);

// Every *.json below a directory (sorted by path), or the one file. Other JSON files in it are left out.
std::vector<Json> read_records(const std::filesystem::path&);

// Value of a metric of that name, in "metrics" or "timing.metrics"; NaN when it is absent or null.
double metric(const Json& record, const std::string& name);

// The record without what differs from run to run: timing, environment, created, command.
Json without_timing(Json record);

}  // namespace swy::report
