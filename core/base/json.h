// JSON documents: read with a clear error, and checked against a JSON Schema with messages for people.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace swy {

using Json = nlohmann::json;  // keys are kept sorted, so equal documents have equal text

// Throws Error (environment) when the file cannot be read, Error (usage) with line and column when it is not JSON.
Json read_json(const std::filesystem::path&);

// What is wrong with `document`, one line per place: JSON pointer, what, allowed values; an unknown key is named with
// the nearest known one. Empty: it is valid. Schemas may use type, enum, const, properties, required,
// additionalProperties, items, minimum, maximum, minItems, pattern and local $ref.
std::vector<std::string> schema_errors(const Json& document, const Json& schema);

// Throws Error (usage) with all of schema_errors; `what` names the document. `schema` is a resource (resources.h).
void require_valid(const Json& document, const std::string& schema, const std::string& what);

}  // namespace swy
