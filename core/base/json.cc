// valijson gives the verdict and the place; the allowed values and the nearest key are read from the schema here.
#include "core/base/json.h"

#include <set>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/resources.h"
#include "core/base/suggest.h"

namespace swy {
namespace {

const Json& follow(const Json& schema, const Json& node) {
  if (!node.is_object() || !node.contains("$ref")) return node;
  return follow(schema, schema.at(Json::json_pointer(node.at("$ref").get<std::string>().substr(1))));
}

// The part of the schema that rules the place `pointer`; null when the schema says nothing about it.
Json rules_at(const Json& schema, const Json::json_pointer& pointer) {
  std::vector<std::string> path;
  for (Json::json_pointer p = pointer; !p.empty(); p = p.parent_pointer()) path.insert(path.begin(), p.back());
  Json node = follow(schema, schema);
  for (const std::string& key : path) {
    const Json properties = node.value("properties", Json::object());
    if (properties.contains(key)) {
      node = follow(schema, properties[key]);
    } else if (node.contains("items")) {
      node = follow(schema, node["items"]);
    } else if (node.contains("additionalProperties") && node["additionalProperties"].is_object()) {
      node = follow(schema, node["additionalProperties"]);
    } else {
      return Json::object();
    }
  }
  return node;
}

// valijson's context is "<root>", "[key]", "[0]", ...
Json::json_pointer pointer_of(const std::vector<std::string>& context) {
  Json::json_pointer pointer;
  for (const std::string& step : context) {
    if (step.size() >= 2 && step.front() == '[') pointer /= step.substr(1, step.size() - 2);
  }
  return pointer;
}

std::string allowed(const Json& rules) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (rules.contains("enum")) add("one of " + rules["enum"].dump());
  if (rules.contains("const")) add(rules["const"].dump());
  if (rules.contains("type"))
    add(rules["type"].is_string() ? rules["type"].get<std::string>() : "one of " + rules["type"].dump());
  if (rules.contains("minimum")) add("at least " + rules["minimum"].dump());
  if (rules.contains("exclusiveMinimum")) add("above " + rules["exclusiveMinimum"].dump());
  if (rules.contains("maximum")) add("at most " + rules["maximum"].dump());
  if (rules.contains("minItems")) add("at least " + rules["minItems"].dump() + " entries");
  if (rules.contains("pattern")) add("text that matches " + rules["pattern"].dump());
  return text;
}

std::string shorten(std::string text) { return text.size() > 80 ? text.substr(0, 77) + "..." : text; }

// Lines about one place: unknown keys, missing keys, or the value itself.
std::vector<std::string> explain(const Json& document, const Json& schema, const Json::json_pointer& pointer) {
  const Json& value = document.at(pointer);
  const Json rules = rules_at(schema, pointer);
  const std::string place = pointer.empty() ? "/" : pointer.to_string();
  std::vector<std::string> lines, known;
  if (value.is_object() && rules.contains("properties")) {
    for (const auto& [key, unused] : rules["properties"].items()) known.push_back(key);
    if (rules.value("additionalProperties", Json(true)) == Json(false)) {
      for (const auto& [key, unused] : value.items()) {
        if (!rules["properties"].contains(key))
          lines.push_back(place + ": unknown key '" + key + "'" + suggestion(key, known));
      }
    }
    for (const Json& key : rules.value("required", Json::array())) {
      if (!value.contains(key)) lines.push_back(place + ": the key '" + key.get<std::string>() + "' is missing");
    }
  }
  if (lines.empty())
    lines.push_back(place + ": " + shorten(value.dump()) + " is not allowed; allowed: " + allowed(rules));
  return lines;
}

}  // namespace

Json read_json(const std::filesystem::path& path) {
  const std::string text = read_text(path);
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& e) {
    const std::string what = e.what();  // "[json.exception.parse_error.101] parse error at line 3, column 5: ..."
    const size_t at = what.find("at line");
    usage_error("'", path.string(), "' is not JSON: ", at == std::string::npos ? what : what.substr(at));
  }
}

std::vector<std::string> schema_errors(const Json& document, const Json& schema) {
  valijson::Schema compiled;
  valijson::SchemaParser parser;
  parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(schema), compiled);
  valijson::Validator validator(valijson::Validator::kStrongTypes);
  valijson::ValidationResults results;
  if (validator.validate(compiled, valijson::adapters::NlohmannJsonAdapter(document), &results)) return {};
  // A failure deep inside is reported again by everything around it; only the innermost places are worth a line.
  std::set<Json::json_pointer> places;
  for (const auto& error : results) places.insert(pointer_of(error.context));
  std::vector<std::string> lines;
  for (const auto& error : results) {
    const Json::json_pointer pointer = pointer_of(error.context);
    if (error.description.rfind("Failed to validate", 0) == 0 || places.erase(pointer) == 0) continue;
    for (std::string& line : explain(document, schema, pointer)) lines.push_back(std::move(line));
  }
  if (lines.empty()) lines.push_back("/: does not match the schema");
  return lines;
}

void require_valid(const Json& document, const std::string& schema, const std::string& what) {
  const std::vector<std::string> lines = schema_errors(document, read_json(resource(schema)));
  if (lines.empty()) return;
  std::string text;
  for (const std::string& line : lines) text += "\n  " + line;
  usage_error(what, " does not match ", schema, ":", text);
}

}  // namespace swy
