#include "core/base/json.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/base/error.h"
#include "core/base/files.h"

namespace swy {
namespace {

using Lines = std::vector<std::string>;

const Json kSchema = Json::parse(R"({
  "type": "object", "additionalProperties": false, "required": ["name"],
  "properties": {
    "name": {"type": "string"},
    "model": {"$ref": "#/definitions/model"},
    "list": {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/model"}}
  },
  "definitions": {"model": {"type": "object", "additionalProperties": false, "properties": {
    "experts": {"type": "integer", "minimum": 1, "maximum": 8},
    "rounding": {"enum": ["round", "ceil"]}}}}
})");

// Proves that a valid document has no errors.
TEST(Schema, Valid) { EXPECT_EQ(schema_errors({{"name", "x"}, {"model", {{"experts", 8}}}}, kSchema), Lines{}); }

// Proves that an unknown key is named with its place and the nearest known key.
TEST(Schema, UnknownKey) {
  EXPECT_EQ(schema_errors({{"name", "x"}, {"model", {{"expert", 3}}}}, kSchema),
            Lines{"/model: unknown key 'expert'; did you mean 'experts'? known: experts, rounding"});
}

// Proves that a value out of range or of the wrong type is shown with what is allowed, inside arrays as well.
TEST(Schema, Values) {
  EXPECT_EQ(schema_errors({{"name", 5}}, kSchema), Lines{"/name: 5 is not allowed; allowed: string"});
  EXPECT_EQ(schema_errors({{"name", "x"}, {"list", {{{"experts", 1}}, {{"experts", 9}}}}}, kSchema),
            Lines{"/list/1/experts: 9 is not allowed; allowed: integer, at least 1, at most 8"});
  EXPECT_EQ(schema_errors({{"name", "x"}, {"model", {{"rounding", "up"}}}}, kSchema),
            Lines{"/model/rounding: \"up\" is not allowed; allowed: one of [\"round\",\"ceil\"]"});
  EXPECT_EQ(schema_errors({{"name", "x"}, {"list", Json::array()}}, kSchema),
            Lines{"/list: [] is not allowed; allowed: array, at least 1 entries"});
}

// Proves that a missing key is named, and that several faults are all listed.
TEST(Schema, MissingAndSeveral) {
  EXPECT_EQ(schema_errors(Json::object(), kSchema), Lines{"/: the key 'name' is missing"});
  EXPECT_EQ(schema_errors({{"nam", "x"}, {"model", {{"experts", 0}}}}, kSchema).size(), 3u);
}

// Proves that a file that is not JSON is a usage error with line and column.
TEST(ReadJson, SaysWhere) {
  const auto path = std::filesystem::temp_directory_path() / "switchyard_json_test.json";
  write_atomically(path, "{\n  \"a\": 1,\n  b\n}\n");
  try {
    read_json(path);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind, Kind::kUsage);
    EXPECT_NE(std::string(e.what()).find("at line 3, column 3"), std::string::npos) << e.what();
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace swy
