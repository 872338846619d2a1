#include "core/conform/result.h"

#include <cctype>

namespace swy::conform {

std::string rule_in(const std::string& message) {
  const std::string mark = "rule R";
  const size_t at = message.rfind(mark);
  if (at == std::string::npos) return "";
  std::string rule = "R";
  for (size_t i = at + mark.size(); i < message.size() && std::isdigit(static_cast<unsigned char>(message[i])); ++i)
    rule += message[i];
  return rule.size() > 1 ? rule : "";
}

std::string clean_text(const std::string& text) {
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

}  // namespace swy::conform
