// Text -> typed values by a router's option table, and back to one canonical text per value. Routers never see text,
// so every router accepts and refuses the same spellings.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <mutex>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "core/base/suggest.h"
#include "core/plugin/instance.h"

namespace swy {
namespace {

// Choices stand in the table as "a|b|c", so a chosen one needs a terminated copy. It lives as long as the tables do:
// for the life of the process. There are only as many as there are choices.
const char* interned(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string> strings;
  const std::lock_guard<std::mutex> lock(mutex);
  return strings.insert(text).first->c_str();
}

template <class Number>
bool parse_number(const std::string& text, Number* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string number_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value + 0.0).ptr};  // + 0.0: -0 and 0 are one value
}

std::string expected(const swy_option& option) {
  const std::string range = " in [" + number_text(option.low) + ", " + number_text(option.high) + "]";
  switch (option.type) {
    case SWY_OPT_INT: return "a whole number" + range;
    case SWY_OPT_FLOAT: return "a number" + range;
    case SWY_OPT_BOOL: return "true, false, 1 or 0";
    default: return std::string("one of ") + option.choices;
  }
}

bool parse_value(const swy_option& option, const std::string& text, swy_value* value) {
  *value = {};
  switch (option.type) {
    case SWY_OPT_INT: {
      const bool whole = parse_number(text, &value->i);
      return whole && static_cast<double>(value->i) >= option.low && static_cast<double>(value->i) <= option.high;
    }
    case SWY_OPT_FLOAT: {
      const bool number = parse_number(text, &value->f) && std::isfinite(value->f);
      return number && value->f >= option.low && value->f <= option.high;
    }
    case SWY_OPT_BOOL: value->i = text == "true" || text == "1"; return value->i || text == "false" || text == "0";
    default: {
      std::istringstream choices(option.choices);
      for (std::string choice; std::getline(choices, choice, '|');) {
        if (choice == text) value->s = interned(text);
      }
      return value->s != nullptr;
    }
  }
}

// Only the member the type uses, so that a record or a comparison never sees a plugin's leftovers in the others.
swy_value preset_of(const swy_option& option) {
  swy_value value = {};
  switch (option.type) {
    case SWY_OPT_FLOAT: value.f = option.preset.f; break;
    case SWY_OPT_CHOICE: value.s = option.preset.s; break;
    default: value.i = option.preset.i;
  }
  return value;
}

std::string value_text(const swy_option& option, const swy_value& value) {
  switch (option.type) {
    case SWY_OPT_INT: return std::to_string(value.i);
    case SWY_OPT_FLOAT: return number_text(value.f);
    case SWY_OPT_BOOL: return value.i ? "true" : "false";
    default: return value.s;
  }
}

}  // namespace

std::vector<swy_value> parse_options(const swy_router& router, const OptionText& given) {
  std::vector<std::string> known;
  std::vector<swy_value> values;
  for (uint32_t i = 0; i < router.n_options; ++i) {
    known.emplace_back(router.options[i].name);
    values.push_back(preset_of(router.options[i]));
  }
  for (const auto& [name, text] : given) {
    const size_t i = static_cast<size_t>(std::find(known.begin(), known.end(), name) - known.begin());
    if (i == known.size()) usage_error("router '", router.id, "' has no option '", name, "'", suggestion(name, known));
    if (!parse_value(router.options[i], text, &values[i]))
      usage_error("router '", router.id, "', option '", name, "': '", text, "' is not ", expected(router.options[i]));
  }
  return values;
}

OptionText effective_options(const swy_router& router, const OptionText& given) {
  const std::vector<swy_value> values = parse_options(router, given);
  OptionText text;
  for (size_t i = 0; i < values.size(); ++i) text[router.options[i].name] = value_text(router.options[i], values[i]);
  return text;
}

}  // namespace swy
