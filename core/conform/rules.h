// The sentences of core/abi/RULES.md, so that a report says what a rule is and not only its number.
#pragma once
#include <map>
#include <string>

namespace swy::conform {

struct Rule {
  std::string title;  // "Steps only enqueue."
  std::string text;   // what is demanded, up to the reasons
};

// "**R07 — Steps only enqueue.** `forward`, ... files.\n*Why:* ..." and so on, by id. What is no rule is passed over.
std::map<std::string, Rule> parse_rules(const std::string& markdown);
// Those of RULES.md. Throws Error (environment) when it is not found, or holds none.
const std::map<std::string, Rule>& rules();

}  // namespace swy::conform
