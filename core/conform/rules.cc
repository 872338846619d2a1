#include "core/conform/rules.h"

#include <cctype>

#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/resources.h"

namespace swy::conform {
namespace {

std::string on_one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    const bool blank = std::isspace(static_cast<unsigned char>(c));
    if (!blank)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

}  // namespace

std::map<std::string, Rule> parse_rules(const std::string& markdown) {
  const std::string dash = " — ";
  std::map<std::string, Rule> found;
  for (size_t at = markdown.find("**R"); at != std::string::npos; at = markdown.find("**R", at + 3)) {
    size_t i = at + 3;
    while (i < markdown.size() && std::isdigit(static_cast<unsigned char>(markdown[i]))) ++i;
    const std::string id = markdown.substr(at + 2, i - at - 2);
    const size_t end = markdown.find("**", i);
    if (id.size() < 2 || markdown.compare(i, dash.size(), dash) != 0 || end == std::string::npos) continue;
    const size_t title = i + dash.size();
    const size_t why = std::min(markdown.find("*Why:*", end), markdown.find("\n\n", end));
    found[id] = {on_one_line(markdown.substr(title, end - title)),
                 on_one_line(markdown.substr(end + 2, why == std::string::npos ? why : why - end - 2))};
  }
  return found;
}

const std::map<std::string, Rule>& rules() {
  static const std::map<std::string, Rule> all = [] {
    const std::filesystem::path path = resource("core/abi/RULES.md");
    std::map<std::string, Rule> found = parse_rules(read_text(path));
    if (found.empty()) environment_error(path, " holds no rule; install it again");
    return found;
  }();
  return all;
}

}  // namespace swy::conform
